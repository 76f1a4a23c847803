#!/usr/bin/env python3
"""Reads a GGUF file with the reference reader and prints what it understood.

    python3 -m venv VENV && VENV/bin/pip install gguf
    BASTIDE_GGUF_OUT=FILE build/gguf_test && VENV/bin/python tools/check_gguf.py FILE [--sample]

With --sample the file must be the one that the unit test writes: every value is compared.
Exit status 0: readable (and equal); 1: not.
"""
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFReader


def value(field):
    return field.contents() if hasattr(field, "contents") else field.parts[field.data[0]]


def check_sample(reader):
    fields = {name: value(field) for name, field in reader.fields.items()}
    expected = {
        "GGUF.version": 3, "GGUF.tensor_count": 3, "GGUF.kv_count": 9,
        "general.architecture": "llama", "llama.block_count": 2,
        "general.parameter_count": 1 << 40, "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.tokens": ["<s>", "", "a\0b", "\u2581the"],
        "tokenizer.ggml.token_type": [3, -1, 1, 1],
        "tokenizer.ggml.scores": [0, -1.5, -1e10, 3], "empty": [],
    }
    wrong = [name for name, want in expected.items() if fields.get(name) != want]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    numbers = (numpy.arange(136) * 7 % 256).astype(numpy.uint8)
    for name, kind, shape, size in [
        ("token_embd.weight", GGMLQuantizationType.F32, [4, 2], 32),
        ("blk.0.attn_q.weight", GGMLQuantizationType.Q8_0, [64, 2], 136),
        ("output_norm.weight", GGMLQuantizationType.BF16, [3], 6),
    ]:
        tensor = tensors[name]
        raw = numpy.ascontiguousarray(tensor.data).view(numpy.uint8).ravel()
        if (tensor.tensor_type != kind or list(tensor.shape) != shape
                or not numpy.array_equal(raw, numbers[:size])):
            wrong.append(name)
    return wrong


def main():
    reader = GGUFReader(sys.argv[1])
    for name, field in reader.fields.items():
        print(name, [kind.name for kind in field.types])
    for tensor in reader.tensors:
        print(tensor.name, tensor.tensor_type.name, list(map(int, tensor.shape)), tensor.n_bytes)
    wrong = check_sample(reader) if "--sample" in sys.argv else []
    for name in wrong:
        print("DIFFERS:", name)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
