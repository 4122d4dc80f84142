#!/usr/bin/env python3
"""Compares two commits: speed, size of code, compile time, peak memory.

    bench_commits.py OLD NEW [MODEL.onnx...] [--threads 1,2] [--rounds 5] [--seconds 1] [--json]

OLD and NEW are what git understands, `.` for the working tree as it is, or the path of a built kiln. A commit is built in a worktree under
target/compare/, once. Every round runs `kiln bench` of both in turn; the speed-up is the median of the rounds'
ratios, above 1 where NEW is faster. Sizes, compile time and peak memory are those of `kiln compile` for the same CPU.
Without models it measures those of the README's table.

needs: git, cargo
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

import bench_common as common

COMPARE = common.REPOSITORY / "target/compare"


def git(*words, **options):
    return subprocess.run(["git", "-C", str(common.REPOSITORY), *words], check=True, text=True,
                          capture_output=True, **options).stdout.strip()


def build(revision):
    """The kiln of a revision and what to call it."""
    # What cargo prints is for people: not among the tables.
    cargo = ["cargo", "build", "--release", "--bin", "kiln"]
    if revision == ".":
        subprocess.run(cargo, cwd=common.REPOSITORY, check=True, stdout=sys.stderr)
        return common.REPOSITORY / "target/release/kiln", "working tree"
    if pathlib.Path(revision).is_file():
        return pathlib.Path(revision).resolve(), revision
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    binary = COMPARE / f"kiln-{commit[:12]}"
    if not binary.exists():
        tree = COMPARE / f"tree-{commit[:12]}"
        COMPARE.mkdir(parents=True, exist_ok=True)
        if not tree.exists():
            git("worktree", "add", "--detach", "--force", str(tree), commit)
        try:
            # One folder for both: dependencies are built once.
            subprocess.run(cargo, cwd=tree, check=True, stdout=sys.stderr,
                           env={**os.environ, "CARGO_TARGET_DIR": str(COMPARE / "build")})
            partial = binary.with_suffix(".part")
            partial.write_bytes((COMPARE / "build/release/kiln").read_bytes())
            partial.chmod(0o755)
            partial.rename(binary)
        finally:
            git("worktree", "remove", "--force", str(tree))
    return binary, f"{revision} ({commit[:9]})"


def answer(command):
    """The JSON object that a command prints, or None with its error on stderr."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{shlex.join(str(w) for w in command)}: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compiled(kiln, path, args):
    with tempfile.TemporaryDirectory() as folder:
        return answer([kiln, "compile", path, "-o", folder, "--cpu", args.cpu, "--json", *common.kiln_dims(path)])


def compare(old, new, path, threads, args):
    """One row of the table, or None."""
    minima, ratios = ([], []), []
    for number in range(args.rounds):
        times = {}
        # Who goes first changes: what the first does to the machine hurts both alike.
        for side, kiln in sorted(enumerate((old, new)), reverse=number % 2 == 1):
            result = answer([kiln, "bench", path, "--threads", threads, "--seconds", args.seconds, "--cpu", args.cpu,
                             "--json", *common.kiln_dims(path), *shlex.split(args.options)])
            if result is None:
                return None
            times[side] = result["min_ms"]
            minima[side].append(result["min_ms"])
        ratios.append(times[0] / times[1])
    sizes = [compiled(kiln, path, args) for kiln in (old, new)]
    if None in sizes:
        return None
    row = {"model": path.stem, "threads": threads, "speed_up": statistics.median(ratios), "ratios": ratios,
           "min_ms": [min(m) for m in minima]}
    for field in ("code_bytes", "weights_bytes", "arena_bytes", "compile_ms", "peak_rss_bytes"):
        row[field] = [size.get(field) for size in sizes]
    return row


def change(pair, text):
    return " -> ".join("-" if value is None else text(value) for value in pair)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW")
    common.add_model_arguments(parser)
    parser.add_argument("--threads", type=common.thread_counts, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="per commit and round")
    parser.add_argument("--cpu", default="native")
    parser.add_argument("--options", default="", help="more for kiln bench of both")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        (old, old_name), (new, new_name) = build(args.old), build(args.new)
    except subprocess.CalledProcessError as error:
        print(f"cannot build: {error} {error.stderr or ''}", file=sys.stderr)
        return 1
    rows = []
    if not args.json:
        print(f"{old_name} -> {new_name}, --cpu {args.cpu}, {args.rounds} rounds\n")
        head = ["model", "threads", "ms", "speed-up", "code KiB", "compile ms", "peak MiB"]
        print(common.table(head, []), flush=True)
    wanted = common.models(args)
    for threads in args.threads:
        for path in wanted:
            row = compare(old, new, path, threads, args)
            if row is None:
                continue
            rows.append(row)
            if not args.json:
                print(common.row([
                    row["model"], threads, change(row["min_ms"], lambda ms: f"{ms:.4g}"), f"{row['speed_up']:.3f}",
                    change(row["code_bytes"], lambda n: f"{n / 1024:.1f}"),
                    change(row["compile_ms"], lambda ms: f"{ms:.0f}"),
                    change(row["peak_rss_bytes"], lambda n: f"{n / 2**20:.0f}"),
                ]), flush=True)
    means = {t: common.geometric_mean([r["speed_up"] for r in rows if r["threads"] == t]) for t in args.threads}
    if args.json:
        print(json.dumps({"old": old_name, "new": new_name, "rows": rows,
                          "geometric_mean": {str(t): m for t, m in means.items() if m == m}}))
    else:
        print()
        for threads, mean in means.items():
            print(f"geometric mean at {threads} thread{'s' * (threads > 1)}: {mean:.3f}")
    return 0 if len(rows) == len(wanted) * len(args.threads) and rows else 1


if __name__ == "__main__":
    sys.exit(main())
