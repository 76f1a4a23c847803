#!/usr/bin/env python3
"""Training speed beside PyTorch, in one run: our benchmark and the peer in turn, medians.

usage: bench/train_compare.py TRAIN_BENCH PEER_PYTHON [--rounds N] [--steps N] [--shapes a b c]
                              [--modes eager compile medium]

TRAIN_BENCH: build folder's bench/train_bench (meson -Dbenches=true). PEER_PYTHON: an interpreter
with torch. Each round runs every side once per shape; a side's figure is the median over rounds of
its own median step. Ours runs in both precisions: "full" is as exact as f32, like the peer's eager
and compile; "high" has 16 bits of mantissa; the peer's "medium" (compiled) has 8. speed_ratio is
full over the faster of eager and compile. Prints one JSON object.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess

here = os.path.dirname(os.path.abspath(__file__))


def last_json(command):
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return rows[-1]


def find(row, *names):
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(names)


def machine():
    name = platform.machine()
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=["a", "b", "c"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compile", "medium"])
    args = parser.parse_args()
    result = {"machine": machine(), "rounds": args.rounds, "steps": args.steps, "shapes": {}}
    for shape in args.shapes:
        sides = {"full": [], "high": []} | {mode: [] for mode in args.modes}
        for _ in range(args.rounds):
            for side in ("full", "high"):
                flags = ["--high"] if side == "high" else []
                row = last_json([args.bench, "--json", "--steps", str(args.steps), *flags, shape])
                sides[side].append((row["tokens_per_second"], row["peak_rss_mib"], row["gflops"]))
            for mode in args.modes:
                row = last_json([args.python, os.path.join(here, "peer_train.py"), "--shape", shape,
                                 "--mode", mode, "--steps", str(args.steps), "--here"])
                memory = find(row, "peak_bytes") / 1048576
                sides[mode].append((find(row, "tokens_per_second"), memory, 0))
        speed = {k: statistics.median(r[0] for r in v) for k, v in sides.items()}
        memory = {k: statistics.median(r[1] for r in v) for k, v in sides.items()}
        exact = [m for m in args.modes if m != "medium"]
        best = max(speed[m] for m in exact)
        result["shapes"][shape] = {
            "tokens_per_second": speed,
            "gflops": {k: statistics.median(r[2] for r in sides[k]) for k in ("full", "high")},
            "peak_mib": memory, "speed_ratio": speed["full"] / best,
            "speed_ratio_high": speed["high"] / best,
            "memory_ratio": memory["full"] / min(memory[m] for m in exact)}
        print(json.dumps({shape: result["shapes"][shape]}), flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
