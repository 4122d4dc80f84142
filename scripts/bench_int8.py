#!/usr/bin/env python3
"""Models in integers: over their floats at every level, and those with scales found at run time over ONNX Runtime.

    bench_int8.py KILN --floats DIR --integers DIR [--cpu native,avx2,avx,sse2] [--rounds 3] [--seconds 1]
    bench_int8.py KILN --dynamic --floats DIR [--zoo DIR] [--threads 1,2] [--rounds 3] [--seconds 1]

--integers has models of the same names as those in --floats, each by `../shared/models/quantise.py IN OUT`. For every level the
minima of both in milliseconds, and their ratio beside the least that it may be (BOUNDS); one thread.

--dynamic lets ONNX Runtime's `quantize_dynamic` make DYNAMIC of --floats, takes minilm_l6_v2_int8 of --zoo too, and
compares times and results with ONNX Runtime on the same file.

Ends with 1 where a ratio is below its bound, a model is slower than with ONNX Runtime, or a cosine below 0.999. All runs take
turns, so that a machine whose speed drifts hurts all alike. Others on models with scales in the file:
`bench_table.py --peers ort,openvino INTEGERS/*.onnx`.
needs: pip install numpy onnx onnxruntime
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from bench_common import table
from common import least_ms_of_ort, ort_session, random_inputs

BOUNDS = {"resnet50": {"native": 3.2, "avx2": 1.8, "avx": 1.4, "sse2": 1.4},
          "mobilenet_v2": {"native": 2.1, "avx2": 1.5, "avx": 1.4, "sse2": 1.4}}
DYNAMIC = {"distilbert_dyn": {"batch": 1, "seq": 128}, "mobilenet_v2": {}}
MINILM = {"batch": 1, "sequence": 128}
LEAST_COSINE = 0.999


def answer(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def kiln_ms(args, path, cpu, threads, flags=()):
    command = [args.kiln, "bench", path, "--json", "--quiet", "--cpu", cpu, "--threads", threads, "--seconds", args.seconds]
    return answer(*command, *flags)["min_ms"]


def over_floats(args):
    below, rows = [], []
    names = sorted(path.stem for path in args.integers.glob("*.onnx") if (args.floats / path.name).exists())
    for cpu in args.cpu.split(","):
        for name in names:
            best = [float("inf")] * 2
            for _ in range(args.rounds):
                files = [folder / f"{name}.onnx" for folder in (args.floats, args.integers)]
                best = [min(least, kiln_ms(args, file, cpu, 1)) for least, file in zip(best, files)]
            ratio, bound = best[0] / best[1], BOUNDS.get(name, {}).get(cpu, 1.0)
            rows.append([name, cpu, *(f"{ms:.3f}" for ms in best), f"{ratio:.2f}", bound])
            if ratio < bound:
                below.append(f"{name} {cpu}: {ratio:.2f}, at least {bound}")
    print(table(["model", "level", "float ms", "int8 ms", "ratio", "at least"], rows))
    return below


def ort_ms(path, threads, dims, seconds):
    """In a process of its own, so that no other's threads are in the way."""
    command = [sys.executable, __file__, "-", "--once", path, "--threads", threads, "--seconds", seconds, "--dims", json.dumps(dims)]
    return answer(*command)["min_ms"]


def once(args):
    feed = random_inputs(args.once, 0, json.loads(args.dims))
    print(json.dumps({"min_ms": least_ms_of_ort(args.once, feed, int(args.threads), args.seconds)}))


def cosine(args, path, dims, flags):
    expected = ort_session(path).run(None, random_inputs(path, 0, dims))
    with tempfile.TemporaryDirectory() as folder:
        found = answer(args.kiln, "run", path, "--json", "--quiet", "--output-dir", folder, *flags)
        found = [np.load(output["file"]) for output in found["outputs"]]
    pairs = [(a.astype(np.float64).ravel(), b.astype(np.float64).ravel()) for a, b in zip(found, expected)]
    return min(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in pairs)


def dynamic(args):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    below, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for name, dims in DYNAMIC.items():
            path = pathlib.Path(folder, f"{name}.onnx")
            # ONNX Runtime has convolutions of integers for weights without a sign alone.
            of_weights = QuantType.QInt8 if name == "distilbert_dyn" else QuantType.QUInt8
            quantize_dynamic(args.floats / path.name, path, weight_type=of_weights)
            models.append((path, dims))
        if args.zoo:
            models.append((args.zoo / "minilm_l6_v2_int8.onnx", MINILM))
        for path, dims in models:
            flags = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
            like = cosine(args, path, dims, flags)
            for threads in args.threads.split(","):
                best = [float("inf")] * 2
                for _ in range(args.rounds):
                    now = kiln_ms(args, path, "native", threads, flags), ort_ms(path, threads, dims, args.seconds)
                    best = [min(pair) for pair in zip(best, now)]
                rows.append([path.stem, threads, *(f"{ms:.3f}" for ms in best), f"{best[1] / best[0]:.2f}", f"{like:.6f}"])
                if best[1] < best[0] or like < LEAST_COSINE:
                    below.append(f"{path.stem}, {threads} threads: {best[1] / best[0]:.2f}, cosine {like:.6f}")
    print(table(["model", "threads", "Kiln ms", "ONNX Runtime ms", "ratio", "cosine"], rows))
    return below


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kiln")
    parser.add_argument("--floats", type=pathlib.Path)
    parser.add_argument("--integers", type=pathlib.Path)
    parser.add_argument("--zoo", type=pathlib.Path)
    parser.add_argument("--dynamic", action="store_true")
    parser.add_argument("--cpu", default="native,avx2,avx,sse2")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--dims", default="{}", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        return once(args)
    if not args.floats or not (args.dynamic or args.integers):
        parser.error("--floats, and --integers or --dynamic")
    below = dynamic(args) if args.dynamic else over_floats(args)
    print("\n".join(below))
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
