#!/usr/bin/env python3
"""Which models are slower on several threads than on one.

    bench_threads.py MODEL.onnx|FOLDER... [--threads 2] [--rounds 3] [--seconds 0.1] [--least 0.97] [--json]

Every round runs `kiln bench` at one thread and at several, in turn, each in a process of its own. The speed-up is the
ratio of the least times. Models below `--least` are measured again, in five times as many rounds, which tells what is slower
from what was disturbed. Ends with 1 if any is left.

needs: cargo build --release
"""
import argparse
import json
import pathlib
import subprocess
import sys

import bench_common as common

AGAIN = 5


def least(path, threads, args):
    """Milliseconds of the fastest run, or None where the model does not run."""
    command = [args.kiln, "bench", str(path), "--threads", str(threads), "--seconds", str(args.seconds), "--json",
               "--quiet", *common.kiln_dims(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.strip().splitlines()[-1])["min_ms"] if done.returncode == 0 else None


def measure(path, rounds, args):
    """Least milliseconds at one thread and at several, or None."""
    best = [float("inf")] * 2
    for number in range(rounds):
        for side in (number % 2, 1 - number % 2):
            time = least(path, (1, args.threads)[side], args)
            if time is None:
                return None
            best[side] = min(best[side], time)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="ONNX files, or folders of them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1, help="per run")
    parser.add_argument("--least", type=float, default=0.97, help="a lower speed-up is slower: clocks are not exact")
    parser.add_argument("--kiln", default=str(common.REPOSITORY / "target/release/kiln"))
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    args = parser.parse_args()
    rows = []
    for path in [file for given in args.models for file in (sorted(given.glob("*.onnx")) if given.is_dir() else [given])]:
        best = measure(path, args.rounds, args)
        if best is not None and best[0] < args.least * best[1]:
            best = [min(pair) for pair in zip(best, measure(path, AGAIN * args.rounds, args))]
        if best is None:
            print(f"{path.stem}: not run", file=sys.stderr)
            continue
        rows.append({"model": path.stem, "min_ms": best, "speed_up": best[0] / best[1]})
    rows.sort(key=lambda row: row["speed_up"])
    slower = [row["model"] for row in rows if row["speed_up"] < args.least]
    mean = common.geometric_mean([row["speed_up"] for row in rows])
    if args.json:
        print(json.dumps({"threads": args.threads, "rows": rows, "slower": slower, "geometric_mean": mean}))
    else:
        head = ["model", "ms at 1", f"ms at {args.threads}", "speed-up"]
        cells = [[r["model"], *(f"{ms:.4g}" for ms in r["min_ms"]), f"{r['speed_up']:.3f}"] for r in rows]
        print(common.table(head, cells))
        print(f"\n{len(rows)} models: geometric mean {mean:.3f}, {len(slower)} slower on {args.threads} threads")
    return 1 if slower or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
