#!/usr/bin/env python3
"""text_compare.py: our tokenizer and Hugging Face's in turn, on the same text; prints JSON.

  text_compare.py TEXT_BENCH PYTHON TEXT VOCAB [ROUNDS]

PYTHON has the package tokenizers. Each round runs every case once for each side, one after the
other, so that both meet the same machine; figures are medians of the rounds (default 5). Encoding
uses the vocabulary trained here, on both sides; the numbers of tokens must agree.
"""
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PEER = Path(__file__).resolve().parent.parent / "tools" / "peer_tokenizers.py"


def run(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def main():
    bench, python, text, vocab = sys.argv[1:5]
    rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 5
    with tempfile.TemporaryDirectory() as folder:
        made, theirs = f"{folder}/ours.json", f"{folder}/theirs.json"
        run([bench, "train", text, vocab, "1", made])
        cases = {}
        for threads in ("1", "2"):
            cases[f"train_{threads}"] = (
                [bench, "train", text, vocab, threads, made],
                [python, str(PEER), "train", text, vocab, threads, theirs])
            cases[f"encode_{threads}"] = (
                [bench, "encode", made, text, threads],
                [python, str(PEER), "encode", made, text, threads])
        figures = {name: ([], []) for name in cases}
        for _ in range(rounds):
            for name, commands in cases.items():
                results = [run(command) for command in commands]
                if "tokens" in results[0] and results[0]["tokens"] != results[1]["tokens"]:
                    sys.exit(f"{name}: {results[0]['tokens']} and {results[1]['tokens']} tokens")
                for side in range(2):
                    figures[name][side].append(results[side]["mb_per_s"])
    report = {"text": Path(text).name, "bytes": Path(text).stat().st_size, "vocab": int(vocab),
              "rounds": rounds}
    for name, sides in figures.items():
        ours, peer = (statistics.median(side) for side in sides)
        report[name] = {"ours_mb_per_s": ours, "peer_mb_per_s": peer,
                        "ratio": round(ours / peer, 2)}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
