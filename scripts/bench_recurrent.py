#!/usr/bin/env python3
"""LSTM and GRU layers in Kiln and ONNX Runtime, in turns on one thread, for a grid of units, batches and lengths.

    bench_recurrent.py [--kinds LSTM,GRU] [--units 64,128,256,512] [--batches 1,8] [--steps 1,10,100] [--rounds 3]

Prints the least times of each and their ratio (above 1: Kiln is faster), the geometric mean and the lowest. The binary is
target/release/kiln or $KILN.
needs: numpy onnx onnxruntime
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bench_common import geometric_mean, table
from common import kiln_binary

GATES = {"LSTM": 4, "GRU": 3}


def numbers(text):
    return [int(word) for word in text.split(",")]


def layer(kind, units, batch, steps):
    """A model of one layer whose elements are as wide as its state."""
    rng = np.random.default_rng(0)
    gates = GATES[kind]
    shapes = {"W": (1, gates * units, units), "R": (1, gates * units, units), "B": (1, 2 * gates * units)}
    weights = [numpy_helper.from_array((rng.standard_normal(shape) / units ** 0.5).astype(np.float32), name)
               for name, shape in shapes.items()]
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(kind, ["X", "W", "R", "B"], ["Y"], hidden_size=units, **attributes)
    graph = helper.make_graph(
        [node], kind.lower(),
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, (steps, batch, units))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (steps, 1, batch, units))], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ours(path, seconds):
    command = [kiln_binary(), "bench", str(path), "--threads", "1", "--seconds", str(seconds), "--json", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.strip().splitlines()[-1])["min_ms"]


def theirs(path, shape, seconds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"X": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    session.run(None, feed)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, feed)
        best = min(best, (time.perf_counter() - start) * 1e3)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="LSTM,GRU", type=lambda text: text.split(","))
    parser.add_argument("--units", default="64,128,256,512", type=numbers)
    parser.add_argument("--batches", default="1,8", type=numbers)
    parser.add_argument("--steps", default="1,10,100", type=numbers)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--seconds", default=0.15, type=float, help="of one measurement")
    args = parser.parse_args()
    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            for units in args.units:
                for batch in args.batches:
                    for steps in args.steps:
                        path = pathlib.Path(folder) / f"{kind}_{units}_{batch}_{steps}.onnx"
                        onnx.save(layer(kind, units, batch, steps), path)
                        times = [(ours(path, args.seconds), theirs(path, (steps, batch, units), args.seconds))
                                 for _ in range(args.rounds)]
                        kiln, other = (min(column) for column in zip(*times))
                        ratios.append(other / kiln)
                        rows.append((kind, units, batch, steps, f"{kiln:.4f}", f"{other:.4f}", f"{ratios[-1]:.2f}"))
                        print(*rows[-1], flush=True)
    print(table(("layer", "units", "batch", "steps", "kiln ms", "onnxruntime ms", "ratio"), rows))
    print(f"geometric mean {geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}, below 1: {sum(r < 1 for r in ratios)}")


if __name__ == "__main__":
    main()
