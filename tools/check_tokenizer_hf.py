#!/usr/bin/env python3
"""check_tokenizer_hf.py: our ids against Hugging Face's, on real and on random text.

  check_tokenizer_hf.py TEXT_BENCH TOKENIZER FILE...

Needs the packages tokenizers, transformers and jinja2 in any environment; sentencepiece for its
models. TOKENIZER is a tokenizer.json: it is loaded there as it is and after our saving, and the saved
folder as AutoTokenizer; compared are the ids of each file (UTF-8 part), of random characters of all
planes, of whitespace and contractions, and of chats.
Or it is a file of another format (tokenizer.model, tekken.json, GGUF, .tiktoken): then the ids of our
reading are compared with those Hugging Face gives with the tokenizer.json we write, and of a
SentencePiece model with sentencepiece's; every file is also cut into its lines.
Prints one line per comparison; exit status 1 when any differs. Known to differ: Unigram with a
charsmap, which Hugging Face applies by grapheme and drops what follows the first entry; NFC and NFKC
of characters younger than its tables.
"""
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

ROLES = {"s": "system", "u": "user", "a": "assistant"}
CHATS = [
    ["uHello"],
    ["sYou are brief.", "uHello", "aHi there.", "u  two blanks first"],
    ["u\n\nnewlines first", "a answers\n", "u"],
    ["uça va ? 日本語 \U0001f600", "a", "ulast\t"],
    ["s\n", "u\r\n x", "a\n\n\n", "u 'll"],
]


def ours(bench, verb, tokenizer, data):
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        out = subprocess.run([bench, verb, tokenizer, file.name], check=True, capture_output=True)
    return [int(line) for line in out.stdout.split()]


def random_texts(seed):
    rng = random.Random(seed)
    ranges = [(0, 0x7F), (0x80, 0x24F), (0x300, 0x36F), (0x370, 0x1FFF), (0x2000, 0x206F),
              (0x3000, 0x9FFF), (0xA000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF),
              (0xE0000, 0x10FFFF)]
    for _ in range(40):
        low, high = rng.choice(ranges)
        yield "".join(chr(rng.randint(low, high)) for _ in range(400))
    for _ in range(40):
        alphabet = " \n\t\r\u00a0\u180e\u3000\u0085ab'sdlmretv19.!é\u0301日"
        yield "".join(rng.choice(alphabet) for _ in range(400))
    for _ in range(10):
        yield "".join(rng.choice("ab") for _ in range(5000))
    yield " " * 1000 + "x" + "\n" * 1000
    yield "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def report(name, same, counts):
    print(f"{'same' if same else 'DIFFERENT'}  {name}  {counts} ids", flush=True)
    return same


def ours_of_many(bench, tokenizer, texts):
    """The ids of each text in one run; texts hold no NUL."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(text.encode() + b"\0" for text in texts))
        file.flush()
        out = subprocess.run([bench, "texts", tokenizer, file.name], check=True,
                             capture_output=True)
    return [[int(i) for i in line.split()] for line in out.stdout.decode().split("\n")[:-1]]


def check_other_format(bench, path, files):
    texts = list(random_texts(7))[:-1]
    texts += ["".join(chr(c) for c in range(start, start + 800) if not 0xD800 <= c < 0xE000)
              for start in range(1, 0x30000, 800)]
    for file in files:
        text = Path(file).read_bytes().decode("utf-8", "ignore")
        texts += [text] + text.split("\n")
    texts = [text.replace("\0", "") for text in texts]
    texts = [text for text in texts if text]
    good = True
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([bench, "folder", path, folder], check=True)
        saved = str(Path(folder) / "tokenizer.json")
        peers = {"tokenizers": Tokenizer.from_file(saved)}
        peers["tokenizers"].encode_special_tokens = True
        if ".model" in Path(path).name:
            import sentencepiece
            peers["sentencepiece"] = sentencepiece.SentencePieceProcessor(model_file=path)
        mine, again = (ours_of_many(bench, p, texts) for p in (path, saved))
        for name, peer in peers.items():
            theirs = [peer.encode(text) if name == "sentencepiece" else
                      peer.encode(text, add_special_tokens=False).ids for text in texts]
            for what, got in (("read", mine), ("saved", again)):
                differ = sum(a != b for a, b in zip(got, theirs))
                good &= report(f"{what} and {name}, {differ} of {len(texts)} texts differ",
                               differ == 0, sum(map(len, got)))
    return good


def main():
    bench, path, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    if not path.endswith("tokenizer.json"):
        return 0 if check_other_format(bench, path, files) else 1
    good = True
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([bench, "folder", path, folder], check=True)
        theirs = Tokenizer.from_file(path)
        saved = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        auto = AutoTokenizer.from_pretrained(folder)
        texts = [(Path(f).name, Path(f).read_bytes().decode("utf-8", "ignore")) for f in files]
        joined = list(random_texts(7))
        texts += [(f"random {i}", text) for i, text in enumerate(joined)]
        specials = [t.content for t in theirs.get_added_tokens_decoder().values() if t.special]
        for name, text in texts:
            for special in specials:
                text = text.replace(special, " ")
            want = theirs.encode(text, add_special_tokens=False).ids
            got = ours(bench, "ids", path, text.encode())
            again = saved.encode(text, add_special_tokens=False).ids
            wrapped = auto(text, add_special_tokens=False)["input_ids"]
            good &= report(name, want == got == again == wrapped, len(got))
        if all(s in specials for s in ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")):
            for i, chat in enumerate(CHATS):
                messages = [{"role": ROLES[m[0]], "content": m[1:]} for m in chat]
                want = auto.apply_chat_template(messages, add_generation_prompt=True,
                                                return_dict=False)
                got = ours(bench, "chat", path, b"\0".join(m.encode() for m in chat))
                good &= report(f"chat {i}", want == got, len(got))
                print(repr(auto.apply_chat_template(messages, add_generation_prompt=True,
                                                    tokenize=False)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
