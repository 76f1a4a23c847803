#!/usr/bin/env python3
"""peer_tokenizers.py: what bench/text_bench.c does, with Hugging Face's tokenizers.

  peer_tokenizers.py train TEXT VOCAB THREADS TOKENIZER_JSON
  peer_tokenizers.py encode TOKENIZER_JSON TEXT THREADS

The same documents (whole lines of about 4 KiB), the same byte-level alphabet and special tokens;
the fastest call each library version has (encode_batch_fast: no offsets). Prints one JSON line.
"""
import json
import os
import sys
import time

DOCUMENT_BYTES = 4096


def documents(path):
    data = open(path, "rb").read()
    at = 0
    result = []
    while at < len(data):
        end = at + DOCUMENT_BYTES
        line = data.find(b"\n", end) if end < len(data) else -1
        end = line + 1 if line >= 0 else len(data)
        result.append(data[at:end].decode("utf-8", "replace"))
        at = end
    return result, len(data)


def main():
    threads = sys.argv[4]
    os.environ["RAYON_NUM_THREADS"] = threads
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads != "1" else "false"
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if sys.argv[1] == "train":
        texts, size = documents(sys.argv[2])
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=int(sys.argv[3]), show_progress=False, max_token_length=64,
            special_tokens=["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        start = time.perf_counter()
        tokenizer.train_from_iterator(texts, trainer)
        seconds = time.perf_counter() - start
        tokenizer.save(sys.argv[5])
        extra = {"vocab": tokenizer.get_vocab_size()}
    else:
        tokenizer = Tokenizer.from_file(sys.argv[2])
        texts, size = documents(sys.argv[3])
        encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        start = time.perf_counter()
        encoded = encode(texts, add_special_tokens=False)
        seconds = time.perf_counter() - start
        extra = {"tokens": sum(len(e.ids) for e in encoded)}
    print(json.dumps({"seconds": round(seconds, 4), "mb_per_s": round(size / 1e6 / seconds, 3),
                      **extra}))


if __name__ == "__main__":
    main()
