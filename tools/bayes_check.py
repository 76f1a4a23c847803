#!/usr/bin/env python3
"""Prints what scikit-learn says where src/eval/bayes_test.c has numbers.

usage: bayes_check.py             the small texts of agrees_with_scikit_learn
       bayes_check.py FILE.jsonl SEED   a saved dataset, split as dataset_split does
Needs scikit-learn (1.9.1 was used)."""
import json
import sys

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

MASK = (1 << 64) - 1


def small(text):  # ASCII only, as the C code does
    return "".join(c.lower() if c.isascii() else c for c in text)


def vectorizer():
    return CountVectorizer(preprocessor=small, token_pattern=r"[a-z0-9\x80-\U0010ffff]{2,}",
                           ngram_range=(1, 2))


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def philox(key, counter):  # Philox4x32-10, counter in the low 64 bits
    x = [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(p1 >> 32) ^ x[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ x[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x


def mini():
    texts = ["Curl fetches URLs, and curl resumes.", "wget fetches files\ndepends: libc6",
             "a fast chess game", "Chess-game with 3D board\ndepends: libsdl",
             "café music player", "plays music files\na b"]
    labels = [0, 0, 1, 1, 3, 3]
    v = vectorizer()
    x = v.fit_transform(texts)
    print("features", len(v.vocabulary_))
    for text, alpha in [("curl plays chess", 1.0), ("music files café", 0.1), ("nothing known", 1.0),
                        ("CHESS game\ndepends: libsdl", 0.01)]:
        p = MultinomialNB(alpha=alpha).fit(x, labels).predict_log_proba(v.transform([text]))[0]
        print(json.dumps(text, ensure_ascii=False), alpha, ", ".join("%.12f" % q for q in p))


def split_of(seed, group):
    h = fnv(b"split")
    k = philox((h & 0xFFFFFFFF, h >> 32), seed)
    b = philox((k[0], k[1]), fnv(group.encode()))
    u = ((b[1] << 32 | b[0]) >> 11) * 2.0**-53
    return "train" if u < 0.90 else "valid" if u < 0.95 else "test"


def whole(path, seed):
    parts = {"train": [], "valid": [], "test": []}
    for line in open(path, encoding="utf-8"):
        r = json.loads(line)
        parts[split_of(seed, r.get("group", r["text"]))].append(r)
    y = {s: np.array([r["label"] for r in rs]) for s, rs in parts.items()}
    for name, read in [("text", lambda r: r["text"]),
                       ("all fields", lambda r: r["text"] + "\n" + r.get("context", ""))]:
        v = vectorizer()
        x = {s: (v.fit_transform if s == "train" else v.transform)([read(r) for r in rs])
             for s, rs in parts.items()}
        best = (-1, 0)
        for alpha in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
            accuracy = (MultinomialNB(alpha=alpha).fit(x["train"], y["train"])
                        .predict(x["valid"]) == y["valid"]).mean()
            best = max(best, (accuracy, -alpha))
        p = MultinomialNB(alpha=-best[1]).fit(x["train"], y["train"]).predict(x["test"])
        print("test %d: %s %.4f (valid %.4f, alpha %g, %d features)" % (
            len(p), name, (p == y["test"]).mean(), best[0], -best[1], len(v.vocabulary_)))


if __name__ == "__main__":
    mini() if len(sys.argv) == 1 else whole(sys.argv[1], int(sys.argv[2]))
