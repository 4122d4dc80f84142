#!/usr/bin/env python3
"""Open dimensions against fixed ones, in turns.

    scripts/bench_open.py KILN MODEL --open batch=1..8 --at batch=1 --at batch=8 [--dim NAME=N] [--cpu avx2,avx512]
                          [--threads 1,2] [--rounds 5] [--seconds 0.5]

For every level, number of threads and size: minima in milliseconds of one artefact for all sizes and of the model compiled for
that size, and their ratio. Runs take turns, so that whatever else the machine does meets both alike.
"""
import argparse
import json
import subprocess


def bench(kiln, model, flags, args, cpu, threads):
    command = [kiln, "bench", model, "--json", "--quiet", "--cpu", cpu, "--threads", threads, "--seconds", args.seconds]
    done = subprocess.run(command + flags, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command + flags)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])["min_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kiln")
    parser.add_argument("model")
    parser.add_argument("--open", action="append", required=True, help="NAME=LO..HI[:TYPICAL], several times")
    parser.add_argument("--at", action="append", required=True, help="NAME=N[,NAME=N], several times")
    parser.add_argument("--dim", action="append", default=[], help="NAME=N, fixed in both")
    parser.add_argument("--cpu", default="avx2,avx512")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", default="0.5")
    args = parser.parse_args()
    fixed = [flag for dim in args.dim for flag in ("--dim", dim)]
    print("| level | threads | size | open ms | fixed ms | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for cpu in args.cpu.split(","):
        for threads in args.threads.split(","):
            for at in args.at:
                sizes = at.split(",")
                opened = fixed + [f for dim in args.open for f in ("--dim", dim)] + [f for n in sizes for f in ("--at", n)]
                closed = fixed + [f for n in sizes for f in ("--dim", n)]
                best = [float("inf")] * 2
                for _ in range(args.rounds):
                    for i, flags in enumerate((opened, closed)):
                        best[i] = min(best[i], bench(args.kiln, args.model, flags, args, cpu, threads))
                print(f"| {cpu} | {threads} | {at} | {best[0]:.2f} | {best[1]:.2f} | {best[0] / best[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
