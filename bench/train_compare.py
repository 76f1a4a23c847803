#!/usr/bin/env python3
"""Training speed beside PyTorch, in one run: our benchmark and the peer in turn, medians.

usage: bench/train_compare.py TRAIN_BENCH PEER_PYTHON [--rounds N] [--steps N] [--shapes a b c]
                              [--modes eager compile]

TRAIN_BENCH: build folder's bench/train_bench (meson -Dbenches=true). PEER_PYTHON: an interpreter
with torch. Each round runs every side once per shape; a side's figure is the median over rounds of
its own median step. Prints one JSON object.
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
    parser.add_argument("--modes", nargs="+", default=["eager", "compile"])
    args = parser.parse_args()
    result = {"machine": machine(), "rounds": args.rounds, "steps": args.steps, "shapes": {}}
    for shape in args.shapes:
        sides = {"bastide": []} | {mode: [] for mode in args.modes}
        for _ in range(args.rounds):
            row = last_json([args.bench, "--json", "--steps", str(args.steps), shape])
            sides["bastide"].append((row["tokens_per_second"], row["peak_rss_mib"], row["gflops"]))
            for mode in args.modes:
                row = last_json([args.python, os.path.join(here, "peer_train.py"), "--shape", shape,
                                 "--mode", mode, "--steps", str(args.steps), "--here"])
                memory = find(row, "peak_bytes") / 1048576
                sides[mode].append((find(row, "tokens_per_second"), memory, 0))
        best = max(statistics.median(r[0] for r in sides[m]) for m in args.modes)
        ours = statistics.median(r[0] for r in sides["bastide"])
        memory = {k: statistics.median(r[1] for r in v) for k, v in sides.items()}
        least = min(memory[m] for m in args.modes)
        result["shapes"][shape] = {
            "tokens_per_second": {k: statistics.median(r[0] for r in v) for k, v in sides.items()},
            "gflops": statistics.median(r[2] for r in sides["bastide"]),
            "peak_mib": memory, "speed_ratio": ours / best,
            "memory_ratio": memory["bastide"] / least}
        print(json.dumps({shape: result["shapes"][shape]}), flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
