#!/usr/bin/env python3
"""The zoo against ONNX Runtime: every model at three sizes on real inputs, then time, then plain loops.

    compare_zoo.py ZOO                  ZOO: a folder of fetch_zoo.py, with --data and --speech
    compare_zoo.py ZOO NAME...          these models alone
    compare_zoo.py ZOO --aarch64 LEVEL  the same as static libraries for AArch64 under QEMU, compiled for each size
    compare_zoo.py ZOO --time           milliseconds of both at one thread and two, in turns, as a Markdown table, and
                                        every kernel in plain loops that takes more than 1 % of a model's time

zoo.toml has the dimensions, bounds and sizes of each model, zoo_inputs.py makes the inputs. Classes, boxes, texts and areas must
be the same; probabilities within 1e-3, other numbers within 1e-3 of the largest. Exit code 1 where one is not, and with
--time where a model is slower than ONNX Runtime or has such a kernel.
Needs: pip install -r requirements.txt; a built kiln (KILN names another binary), for --aarch64 what aarch64.py needs.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import numpy as np
import onnx

import aarch64
import zoo_inputs
from bench_common import geometric_mean, table, thread_counts
from common import REPOSITORY, kiln_binary, ort_session, run_kiln

TOLERANCE = 1e-3
# Boxes: least score, most overlap of two of a class, and how far their edges may be apart, in pixels of 1,024.
SCORE, OVERLAP, EDGE = 0.25, 0.45, 0.1
# Where a map of text begins.
INK = 0.3
# The part of a model's time above which plain loops are told of, if it is as many microseconds: below, calls are measured.
PLAIN, LEAST_US = 0.01, 1.0
ROUNDS = 2


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def boxes(output):
    """(class, score, box) that are left of 4 + classes numbers for each place, the best first."""
    rows = output[0].T
    score, kind = rows[:, 4:].max(1), rows[:, 4:].argmax(1)
    found = []
    for i in np.argsort(-score, kind="stable"):
        if score[i] < SCORE:
            break
        x, y, w, h = rows[i, :4]
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        if all(kind[i] != k or overlap(box, b) < OVERLAP for k, _, b in found):
            found.append((int(kind[i]), float(score[i]), box))
    return sorted(found, key=lambda one: (one[0], *one[2].round().tolist()))


def overlap(a, b):
    size = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return size / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - size)


def read(path, output):
    """Text by the greatest of each step, repetitions and blanks left out."""
    listed = {p.key: p.value for p in onnx.load(str(path)).metadata_props}["character"].split("\n")
    signs = ["", *listed, " "]
    lines = []
    for steps in output.argmax(-1):
        kept = [step for i, step in enumerate(steps) if i == 0 or step != steps[i - 1]]
        lines.append("".join(signs[min(step, len(signs) - 1)] for step in kept))
    return lines


def largest(found, expected):
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0))


def judged(judge, path, found, expected):
    """(whether the answers are the same, the largest error, what they are)."""
    first, other = found[0], expected[0]
    if judge == "numbers":
        errors = [largest(f, e) / max(float(np.abs(e).max(initial=0)), 1e-9) for f, e in zip(found, expected)]
        return True, max(errors), f"{len(found)} results of up to {max(e.size for e in expected)} numbers"
    if judge == "speech":
        return True, max(map(largest, found, expected)), f"{float(other.max()):.3f} at most"
    if judge in ("logits", "classes"):
        chances = [softmax(o.astype(np.float64)) if judge == "logits" else o for o in (first, other)]
        kinds = other.argmax(-1)
        return bool((first.argmax(-1) == kinds).all()), largest(*chances), f"classes {kinds.tolist()}"
    if judge == "boxes":
        ours, theirs = boxes(first), boxes(other)
        same = [k for k, *_ in ours] == [k for k, *_ in theirs]
        pairs = list(zip(ours, theirs)) if same else []
        same &= all(np.abs(a - b).max() < EDGE for (*_, a), (*_, b) in pairs)
        return same, largest(first[:, 4:], other[:, 4:]), f"{len(theirs)} boxes"
    if judge == "areas":
        areas = zoo_inputs.components(other[0, 0] > INK)
        return zoo_inputs.components(first[0, 0] > INK) == areas, largest(first, other), f"{len(areas)} areas"
    if judge == "text":
        lines = read(path, other)
        return read(path, first) == lines, largest(first, other), " | ".join(lines)
    raise ValueError(judge)


def flags(entry):
    bounds = [word for bound in entry.get("bounds", []) for word in ("--bound", bound)]
    return [word for dim in entry["dims"] for word in ("--dim", dim)] + bounds


def emulated(path, folder, feed, level, bounds):
    """The outputs of a static library for AArch64."""
    model = onnx.load(str(path), load_external_data=False)
    shapes = {name: value.shape for name, value in feed.items()}
    constant = {value.name for value in model.graph.initializer}
    blobs = [feed[value.name].tobytes() for value in model.graph.input if value.name not in constant]
    words = aarch64.extents(model, shapes) + [word for bound in bounds for word in ("--bound", bound)]
    return aarch64.outputs_of(path, blobs, len(model.graph.output), pathlib.Path(folder), level, words)


def compare(zoo, path, entry, level=None):
    """One model at its sizes; gives whether all agree."""
    session, good = ort_session(path), True
    for size in entry["sizes"]:
        feed = getattr(zoo_inputs, entry["inputs"])(zoo, size)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "inputs.npz")
            np.savez(file, **feed)
            try:
                if level:
                    found = emulated(path, folder, feed, level, entry.get("bounds", []))
                else:
                    found, _ = run_kiln(path, folder, "--inputs", str(file), *flags(entry))
            except RuntimeError as error:
                print(f"FAIL {path.stem:24s} {size!s:14s} {error}", flush=True)
                return False
        expected = session.run(None, feed)
        if level:
            found = [np.frombuffer(data, e.dtype).reshape(e.shape) if len(data) == e.nbytes else np.frombuffer(data, np.uint8)
                     for data, e in zip(found, expected)]
        if [f.shape for f in found] != [e.shape for e in expected]:
            print(f"FAIL {path.stem:24s} {size!s:14s} shapes {[f.shape for f in found]}", flush=True)
            good = False
            continue
        same, error, text = judged(entry["judge"], path, found, expected)
        right = same and error <= TOLERANCE
        good &= right
        print(f"{'ok  ' if right else 'FAIL'} {path.stem:24s} {size!s:14s} {error:.1e}   {text}", flush=True)
    return good


def kiln_times(path, entry, file, threads, *more):
    command = [kiln_binary(), "bench", str(path), "--json", "--inputs", str(file), "--threads", str(threads)]
    result = subprocess.run(command + flags(entry) + list(more), capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def ort_time(session, feed, seconds):
    """The least of five runs or more, in milliseconds."""
    best, end, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, feed)
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best * 1e3


def measure(zoo, path, entry, threads, seconds):
    """Rows (model, threads, kiln, ONNX Runtime, ratio), and its kernels in plain loops that take too much time."""
    rows, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "inputs.npz")
        feed = getattr(zoo_inputs, entry["inputs"])(zoo, entry["sizes"][entry["at"]])
        np.savez(file, **feed)
        for count in threads:
            session, ours, theirs = ort_session(path, count), float("inf"), float("inf")
            for turn in range(ROUNDS):
                profile = ["--profile"] if count == 1 and turn == 0 else []
                theirs = min(theirs, ort_time(session, feed, seconds))
                found = kiln_times(path, entry, file, count, "--seconds", str(seconds), *profile)
                ours = min(ours, found["min_ms"])
                for kernel in found.get("profile", []):
                    if kernel["plain_loops"] and kernel["share"] > PLAIN and kernel["us"] > LEAST_US:
                        plain.append((path.stem, kernel["name"], kernel["share"]))
            rows.append((path.stem, count, ours, theirs, theirs / ours))
    return rows, plain


def timed(zoo, entries, threads, seconds):
    rows, plain = [], []
    for name, entry in entries.items():
        if entry["float"]:
            more = measure(zoo, zoo / f"{name}.onnx", entry, threads, seconds)
            rows += more[0]
            plain += more[1]
            print(".", end="", file=sys.stderr, flush=True)
    cells = [(name, count, f"{a:.3f}", f"{b:.3f}", f"{ratio:.2f}") for name, count, a, b, ratio in rows]
    print(table(["model", "threads", "Kiln ms", "ONNX Runtime ms", "ratio"], cells))
    for count in threads:
        ratios = [row[4] for row in rows if row[1] == count]
        print(f"\n{count} threads: geometric mean {geometric_mean(ratios):.2f}, lowest {min(ratios, default=0):.2f}")
    for name, kernel, share in plain:
        print(f"plain loops: {name} {kernel} {share:.1%}")
    return not plain and all(row[4] >= 1 for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--aarch64", metavar="LEVEL", choices=["neon", "dotprod", "i8mm"])
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--threads", type=thread_counts, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    entries = tomllib.loads((REPOSITORY / "scripts/zoo.toml").read_text())
    for name in args.names:
        if name not in entries:
            parser.error(f"zoo.toml has no '{name}'")
    entries = {name: entry for name, entry in entries.items() if not args.names or name in args.names}
    if args.time:
        return 0 if timed(args.zoo, entries, args.threads, args.seconds) else 1
    good = [compare(args.zoo, args.zoo / f"{name}.onnx", entry, args.aarch64) for name, entry in entries.items()]
    print(f"{sum(good)} of {len(good)} models agree")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
