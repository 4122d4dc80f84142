#!/usr/bin/env python3
"""LSTM and GRU layers in Kiln and ONNX Runtime, in turns on one thread, for a grid of units, batches and lengths.

    bench_recurrent.py [--kinds LSTM,GRU] [--units 64,128,256,512] [--batches 1,8] [--steps 1,10,100] [--rounds 3]
    bench_recurrent.py --weights bytes,blocks,zeros --units 512 --batches 1

Prints the least times of each and their ratio (above 1: Kiln is faster), the geometric mean and the lowest. With --weights a
layer is compared with Kiln's own of dense floats instead: `bytes` are weights behind a DequantizeLinear, `blocks` and `zeros` have
90 % zeros, in blocks of four rows and one by one. The binary is target/release/kiln or $KILN.
needs: numpy onnx onnxruntime
"""
import argparse
import functools
import itertools
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
from bench_sparse import pruned
from common import kiln_binary

GATES = {"LSTM": 4, "GRU": 3}
WEIGHTS = {"blocks": 4, "zeros": 1}
ZEROS = 0.9


def numbers(text):
    return [int(word) for word in text.split(",")]


def as_bytes(name, values):
    """Constants of 8 bits with a scale for the whole matrix, and the node that makes floats of them."""
    scale = np.float32(np.abs(values).max() / 127)
    given = [numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}_bytes"),
             numpy_helper.from_array(scale, f"{name}_scale")]
    return given, helper.make_node("DequantizeLinear", [tensor.name for tensor in given], [name])


def layer(kind, units, batch, steps, weights="floats"):
    """A model of one layer whose elements are as wide as its state."""
    rng = np.random.default_rng(0)
    gates = GATES[kind]
    shapes = {"W": (1, gates * units, units), "R": (1, gates * units, units), "B": (1, 2 * gates * units)}
    constants, nodes = [], []
    for name, shape in shapes.items():
        values = (rng.standard_normal(shape) / units ** 0.5).astype(np.float32)
        if weights == "bytes" and name != "B":
            given, node = as_bytes(name, values)
            constants += given
            nodes.append(node)
            continue
        if weights in WEIGHTS and name != "B":
            values = pruned(values[0], WEIGHTS[weights], ZEROS)[None]
        constants.append(numpy_helper.from_array(values, name))
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes.append(helper.make_node(kind, ["X", "W", "R", "B"], ["Y"], hidden_size=units, **attributes))
    graph = helper.make_graph(
        nodes, kind.lower(),
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, (steps, batch, units))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (steps, 1, batch, units))], constants)
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
    parser.add_argument("--weights", default=[], type=lambda text: text.split(","), help="of bytes, blocks, zeros")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--seconds", default=0.15, type=float, help="of one measurement")
    args = parser.parse_args()
    if unknown := set(args.weights) - {"bytes", *WEIGHTS}:
        parser.error(f"--weights knows bytes, blocks and zeros, not {', '.join(sorted(unknown))}")
    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        for case in itertools.product(args.kinds, args.units, args.batches, args.steps):
            for weights in args.weights or ["floats"]:
                path, dense = (pathlib.Path(folder) / f"{name}.onnx" for name in ("layer", "dense"))
                onnx.save(layer(*case, weights), path)
                onnx.save(layer(*case), dense)
                kind, units, batch, steps = case
                other = functools.partial(ours, dense) if args.weights else functools.partial(theirs, path, (steps, batch, units))
                times = [(ours(path, args.seconds), other(args.seconds)) for _ in range(args.rounds)]
                kiln, other = (min(column) for column in zip(*times))
                ratios.append(other / kiln)
                rows.append((*case, *[weights] * bool(args.weights), f"{kiln:.4f}", f"{other:.4f}", f"{ratios[-1]:.2f}"))
                print(*rows[-1], flush=True)
    columns = ("weights", "kiln ms", "floats ms") if args.weights else ("kiln ms", "onnxruntime ms")
    print(table(("layer", "units", "batch", "steps", *columns, "ratio"), rows))
    print(f"geometric mean {geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}, below 1: {sum(r < 1 for r in ratios)}")


if __name__ == "__main__":
    main()
