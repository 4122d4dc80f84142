#!/usr/bin/env python3
"""Models as C99 against the SSE2 library of the same models and the C of emx-onnx-cgen, by one compiler with one set of flags.

    bench_c99.py [MODEL.onnx...] [--flags=-O2] [--rounds 5] [--speed] [--emx PATH] [--json]

Each model (by default those that the repository ships) is compiled three ways, and the three run in turn, so that a machine that
drifts does so for all. Times are minima in milliseconds on one thread; code is the .text of the object; the error is the greatest
difference from the library's results over their greatest magnitude. Ends with 1 where the C takes more than four times as long as
the library, is less than three times as fast as the other C, or has more code than that.

needs: cargo build --release, a C compiler; pip install emx-onnx-cgen, whose command is looked for beside Python or at --emx
"""
import argparse
import ctypes
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx

import common

# At most so many times the library's time, at least so many times the other C's speed.
SLOWEST, FASTER = 4.0, 3.0


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)


def text_bytes(path):
    lines = run("size", "-A", path).stdout.splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(".text"))


def shared(folder, name, sources, flags):
    out = folder / f"{name}.so"
    run("cc", *flags, "-shared", "-fPIC", *sources, "-o", out, "-lm")
    return ctypes.CDLL(str(out))


class Compiled:
    """A model behind Kiln's header."""

    def __init__(self, library, header):
        text = header.read_text()
        value = lambda macro: int(re.search(rf"#define m_{macro} (\d+)", text)[1])
        align = value("ARENA_ALIGN")
        self.arena = np.full(value("ARENA_BYTES") + align, 255, np.uint8)
        self.run = library.m_run
        self.at = ctypes.c_void_p(self.arena.ctypes.data + -self.arena.ctypes.data % align)
        self.out = np.zeros(value("OUTPUT_0_BYTES") // 4, np.float32)

    def __call__(self, array):
        ins = (ctypes.c_void_p * 1)(array.ctypes.data)
        outs = (ctypes.c_void_p * 1)(self.out.ctypes.data)
        start = time.perf_counter()
        status = self.run(ins, outs, self.at)
        took = time.perf_counter() - start
        assert status == 0, status
        return took


def bound(path, folder):
    """A copy of the model whose open dimensions are 1."""
    model = onnx.load(str(path))
    for value in [*model.graph.input, *model.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value <= 0:
                dim.dim_value = 1
    onnx.save(model, str(folder / "bound.onnx"))
    return folder / "bound.onnx"


def peer(path, folder, emx, flags, out):
    """What runs the other generator's C, and its code; None where it has none for the model."""
    try:
        run("timeout", "300", emx, "compile", bound(path, folder), folder / "emx.c", "--model-name", "emx")
    except subprocess.CalledProcessError as error:
        print(f"{path.stem}: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None, None
    run("cc", *flags, "-c", folder / "emx.c", "-o", folder / "emx.o")
    function = shared(folder, "emx", [folder / "emx.c"], flags).emx

    def call(array):
        start = time.perf_counter()
        function(array.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p))
        return time.perf_counter() - start

    return call, text_bytes(folder / "emx.o")


def measure(path, args, flags, folder):
    kiln = common.kiln_binary()
    run(kiln, "compile", path, "-o", folder / "c", "--emit", "c,report", "--quiet", "--name", "m",
        *(["--features", "+speed"] if args.speed else []))
    run(kiln, "compile", path, "-o", folder / "lib", "--cpu", "sse2", "--emit", "lib,header", "--quiet", "--name", "m")
    run("cc", *flags, "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", folder / "c/m.c", "-o", folder / "m.o")
    own = Compiled(shared(folder, "c99", [folder / "c/m.c"], flags), folder / "c/m.h")
    whole = ["-Wl,--whole-archive", folder / "lib/libm.a", "-Wl,--no-whole-archive"]
    library = Compiled(shared(folder, "library", whole, []), folder / "lib/m.h")
    other = np.zeros_like(own.out)
    emx, emx_text = peer(path, folder, args.emx, flags, other) if args.emx else (None, None)
    (array,) = common.random_inputs(path, 1).values()
    least = {}
    for _ in range(args.rounds):
        for name, call in (("c99", own), ("sse2", library), ("emx", emx)):
            if call is not None:
                until = time.perf_counter() + 0.1
                while time.perf_counter() < until:
                    least[name] = min(least.get(name, np.inf), 1e3 * call(array))
    scale = np.abs(library.out).max()
    row = {"model": path.stem, "c99_ms": least["c99"], "sse2_ms": least["sse2"], "over_sse2": least["c99"] / least["sse2"],
           "text": text_bytes(folder / "m.o"), "same_bits": bool((own.out.view(np.uint32) == library.out.view(np.uint32)).all()),
           "error": float(np.abs(own.out - library.out).max() / scale)}
    if emx is not None:
        row |= {"emx_ms": least["emx"], "faster": least["emx"] / least["c99"], "emx_text": emx_text,
                "emx_error": float(np.abs(own.out - other).max() / scale)}
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--flags", default="-O2", help="of the C compiler")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--speed", action="store_true", help="the large and fast form")
    beside = shutil.which("emx-onnx-cgen", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("emx-onnx-cgen")
    parser.add_argument("--emx", default=beside, help="the command of emx-onnx-cgen")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    shipped = common.REPOSITORY / "tests/models"
    models = args.models or sorted([*shipped.glob("tiny/*.onnx"), *shipped.glob("seed_cifar10/*.onnx")])
    rows, holds = [], True
    for path in models:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(path, args, ["-std=c99", *args.flags.split()], pathlib.Path(folder))
        holds &= row["over_sse2"] <= SLOWEST and row["error"] <= 1e-5
        holds &= row.get("faster", FASTER) >= FASTER and row["text"] < row.get("emx_text", row["text"] + 1)
        rows.append(row)
        if not args.json:
            line = f"{row['model']:22s} {row['c99_ms']:.4f} ms, over SSE2 {row['over_sse2']:.2f}, text {row['text']:6d}, "
            line += "same bits" if row["same_bits"] else f"error {row['error']:.1e}"
            if "faster" in row:
                line += f"; emx {row['emx_ms']:.4f} ms ({row['faster']:.1f} x), text {row['emx_text']:6d}"
            print(line, flush=True)
    if args.json:
        print(json.dumps(rows))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
