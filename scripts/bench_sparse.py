#!/usr/bin/env python3
"""Pruned models against the same models with all weights: how many times as fast, and whether that is enough.

    bench_sparse.py [--folder FOLDER] [--cases NAME..] [--cpu native,avx2] [--threads 1] [--rounds 5] [--seconds 0.5]
                    [--kernels] [--json]

Weights are zeroed by size alone, a part of each matrix, in blocks of neighbouring output channels or one by one: every
convolution of 16 or more input channels that is no depthwise one, and a product of one row with a matrix of 4096 x 4096. That
says what such a model costs and nothing about how well it works. Dense and sparse run in turn, each in a process of its own;
times are the least of all rounds. Ends with 1 if a case is slower than it should be.
needs: numpy onnx
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench_common import kiln_dims, table
from common import kiln_binary

# Model, rows of a block, zeros, how many times as fast it should be: 1 is where zeros begin to pay.
CASES = [
    ("resnet50", 4, 0.9, 3.0), ("mobilenet_v2", 4, 0.9, 1.9), ("resnet50", 1, 0.9, 2.2), ("mobilenet_v2", 1, 0.9, 1.5),
    ("resnet50", 4, 0.8, 1.6), ("resnet50", 4, 0.5, 1.0), ("mobilenet_v2", 4, 0.5, 1.0), ("resnet50", 1, 0.7, 1.0),
    ("mobilenet_v2", 1, 0.7, 1.0), ("gemm", 4, 0.9, 4.0), ("gemm", 1, 0.9, 4.0),
]
LEAST_CHANNELS = 16
GEMM = 4096


def name_of(model, block, zeros):
    return f"{model}_{round(100 * zeros)}_{block}"


def pruned(weight, block, zeros):
    """The weight with a part of its blocks zeroed: the weakest by the sum of their sizes."""
    rows = weight.reshape(weight.shape[0], -1)
    block = block if rows.shape[0] % block == 0 else 1
    size = np.abs(rows.reshape(rows.shape[0] // block, block, -1)).sum(1)
    kept = np.repeat(size >= np.quantile(size, zeros), block, axis=0)
    return (rows * kept).reshape(weight.shape).astype(weight.dtype)


def gemm():
    """A row times a matrix."""
    weight = (np.random.default_rng(0).standard_normal((GEMM, GEMM)) * 0.02).astype(np.float32)
    given = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.zeros(GEMM, np.float32), "b")]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, GEMM])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, GEMM])], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def prune(model, block, zeros):
    given = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        tensor = given.get(node.input[1]) if node.op_type in ("Conv", "Gemm") else None
        if tensor is None or node.op_type == "Gemm" and list(tensor.dims) != [GEMM, GEMM]:
            continue
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if groups == 1 and tensor.dims[1] >= LEAST_CHANNELS:
            tensor.CopyFrom(numpy_helper.from_array(pruned(numpy_helper.to_array(tensor), block, zeros), tensor.name))


def files(cases, folder, to):
    """The dense file and the pruned one of each case; cases whose model is missing are told of and left out."""
    found = []
    for case in cases:
        model, block, zeros, _ = case
        dense = folder / f"{model}.onnx"
        if model == "gemm":
            dense = to / "gemm.onnx"
            if not dense.exists():
                onnx.save(gemm(), dense)
        if not dense.exists():
            print(f"{dense} is missing", file=sys.stderr)
            continue
        sparse = to / f"{name_of(*case[:3])}.onnx"
        if not sparse.exists():
            loaded = onnx.load(dense)
            prune(loaded, block, zeros)
            onnx.save(loaded, sparse)
        found.append((case, dense, sparse))
    return found


def least(path, cpu, args):
    """Milliseconds of the fastest run, or the sum of each kernel's."""
    command = [args.kiln, "bench", str(path), "--cpu", cpu, "--threads", str(args.threads), "--seconds",
               str(args.seconds), "--json", "--quiet", *kiln_dims(path)]
    done = subprocess.run(command + ["--profile"] * args.kernels, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.strip().splitlines()[-1])
    return sum(kernel["us"] for kernel in report["profile"]) / 1000 if args.kernels else report["min_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(".cache/models"), help="the dense models")
    parser.add_argument("--keep", type=pathlib.Path, help="where the pruned models are, or are written")
    parser.add_argument("--cases", nargs="+", help=f"of {', '.join(name_of(*case[:3]) for case in CASES)}")
    parser.add_argument("--cpu", default="native,avx2", help="levels, each measured by itself")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per run")
    parser.add_argument("--kernels", action="store_true",
                        help="sums of the kernels' least times, on one thread: for machines that have something else to do")
    parser.add_argument("--kiln", default=kiln_binary())
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    args = parser.parse_args()
    chosen = [case for case in CASES if args.cases is None or name_of(*case[:3]) in args.cases]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        to = args.keep or pathlib.Path(temporary)
        to.mkdir(parents=True, exist_ok=True)
        for (case, dense, sparse) in files(chosen, args.folder, to):
            for cpu in args.cpu.split(","):
                best = [float("inf")] * 2
                for number in range(args.rounds):
                    for side in (number % 2, 1 - number % 2):
                        best[side] = min(best[side], least((dense, sparse)[side], cpu, args))
                rows.append({"case": name_of(*case[:3]), "cpu": cpu, "dense_ms": best[0], "sparse_ms": best[1],
                             "speed_up": best[0] / best[1], "wanted": case[3]})
    slow = [f"{r['case']} {r['cpu']}" for r in rows if r["speed_up"] < r["wanted"]]
    if args.json:
        print(json.dumps({"threads": args.threads, "rows": rows, "slow": slow}))
    else:
        head = ["model, % zeros, rows of a block", "level", "dense ms", "sparse ms", "speed-up", "wanted"]
        cells = [[r["case"], r["cpu"], f"{r['dense_ms']:.4g}", f"{r['sparse_ms']:.4g}", f"{r['speed_up']:.2f}",
                  f"{r['wanted']:.1f}"] for r in rows]
        print(table(head, cells))
        print(f"\n{len(slow)} of {len(rows)} slower than wanted" + "".join(f"\n  {name}" for name in slow))
    return 1 if slow or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
