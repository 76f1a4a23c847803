#!/usr/bin/env python3
"""Golden vectors of ggml's block types, made with ggml itself, for tests/golden/blocks.

    python3 -m venv VENV && VENV/bin/pip install gguf numpy llama-cpp-python
    VENV/bin/python tools/golden_blocks.py tests/golden/blocks/blocks.gguf

For each type: TYPE.blocks, bytes of two rows of 256 (random, scales kept finite), as they are;
TYPE.values, what ggml's C makes of them (gguf.quants must agree). And one matrix `weights` [8, 256]
with `importance` [256], and for each type the squared error that ggml's own quantiser leaves:
key TYPE.error [2], without importance and weighted.
"""
import ctypes
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np
from gguf import quants

ROWS, COLUMNS = 8, 256
TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
         "IQ4_XS"]
HALVES = {  # byte offsets of the scales, which random bytes must not make infinite
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
FLOATS = ctypes.POINTER(ctypes.c_float)


def library():
    lib = pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"
    lib = ctypes.CDLL(str(lib))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, FLOATS, ctypes.c_void_p, ctypes.c_int64,
                                        ctypes.c_int64, ctypes.c_int64, FLOATS]
    return lib


def floats(array):
    return array.ctypes.data_as(FLOATS) if array is not None else None


def dequantise(lib, name, blocks, count):
    out = np.zeros(count, np.float32)
    row = getattr(lib, "dequantize_row_" + name.lower().replace("_k", "_K"))
    row.argtypes = [ctypes.c_void_p, FLOATS, ctypes.c_int64]
    row(blocks.ctypes.data, floats(out), count)
    return out


def random_blocks(name, rng):
    elems, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (2 * COLUMNS // elems, size), dtype=np.uint8)
    for at in HALVES[name]:
        half = rng.normal(0, 0.05, len(blocks)).astype(np.float16)
        blocks[:, at:at + 2] = half.view(np.uint8).reshape(-1, 2)
    return blocks


def error_of(lib, name, weights, importance):
    kind = gguf.GGMLQuantizationType[name]
    elems, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(weights.size // elems * size, np.uint8)
    lib.ggml_quantize_chunk(kind.value, floats(weights), out.ctypes.data, 0, ROWS, COLUMNS,
                            floats(importance))
    back = dequantise(lib, name, out, weights.size).reshape(weights.shape)
    miss = (back.astype(np.float64) - weights) ** 2
    return float((miss * (1 if importance is None else importance.astype(np.float64))).sum())


def main():
    lib, rng = library(), np.random.default_rng(20)
    weights = (rng.standard_t(6, (ROWS, COLUMNS)) * 0.03).astype(np.float32)
    importance = np.exp(rng.normal(0, 1, COLUMNS)).astype(np.float32)
    writer = gguf.GGUFWriter(sys.argv[1], "blocks")
    writer.add_tensor("weights", weights)
    writer.add_tensor("importance", importance)
    for name in TYPES:
        blocks = random_blocks(name, rng)
        values = dequantise(lib, name, blocks, 2 * COLUMNS)
        other = quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).ravel()
        assert (values.view(np.uint32) == other.view(np.uint32)).all(), name
        writer.add_tensor(name + ".blocks", blocks.ravel().view(np.int8))
        writer.add_tensor(name + ".values", values)
        writer.add_array(name + ".error", [error_of(lib, name, weights, None),
                                           error_of(lib, name, weights, importance)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
