#!/usr/bin/env python3
"""Open dimensions against fixed ones, in turns.

    scripts/bench_open.py KILN MODEL --open batch=1..8 --at batch=1 --at batch=8 [--dim NAME=N]
    scripts/bench_open.py KILN --table --models DIR --zoo DIR [--only NAME,NAME]
                          [--cpu avx2,avx512] [--threads 1,2] [--rounds 5] [--seconds 0.5] [--ort] [--agree] [--arena]

For every level, number of threads and size: minima in milliseconds of one artefact for all sizes and of the model compiled for
that size, and their ratio. Runs take turns, so that whatever else the machine does meets both alike.

--table measures the models of CASES at their sizes, each held to its bound; the end says what is above. DIR has what
`../shared/models/make_models.py DIR --batch` makes, or the zoo. Height and width of a model that has them fixed are made open in
a copy of it.
--ort has ONNX Runtime take a turn too, on the same file at the same size: the last column is its time over that of the open
artefact. It takes the instructions that the machine has, so that column means something at `--cpu native`.
--arena measures nothing: bytes of the arena are compared with those of the model compiled for the greatest sizes.
--agree measures nothing: results of the open artefact, as compiled code, are compared with ONNX Runtime's at every size.
needs: pip install numpy onnx onnxruntime (with MODEL alone: nothing)
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

BATCH = {"open": ["batch=1..8"], "at": {"batch=1": 1.10, "batch=8": 1.10}}
SIZES_224 = {"height=128,width=160": 1.15, "height=224,width=224": 1.15, "height=320,width=256": 1.15}
# Paddle's names for batch, height and width.
PADDLE = [f"p2o.DynamicDimension.{i}" for i in range(3)]


def paddle(height, width):
    return f"{PADDLE[1]}={height},{PADDLE[2]}={width}"


# What is open, what is fixed, and how much slower than fixed each size may be. `image` makes the axes of the input open.
CASES = {
    "mobilenet_v2": {"file": "mobilenet_v2_batch", **BATCH},
    "resnet50": {"file": "resnet50_batch", **BATCH},
    "efficientnet_b0": {"file": "efficientnet_b0_batch", **BATCH},
    "squeezenet1_1": {"file": "squeezenet1_1_batch", **BATCH},
    "distilbert_batch": {"file": "distilbert_dyn", "dim": ["seq=64"], "open": ["batch=1..4"],
                         "at": {"batch=1": 1.10, "batch=4": 1.10}},
    "distilbert_seq": {"file": "distilbert_dyn", "dim": ["batch=1"], "open": ["seq=1..512"],
                       "at": {"seq=7": 1.25, "seq=64": 1.10, "seq=128": 1.10, "seq=512": 1.10}},
    "ppocrv4_det": {"file": "ppocrv4_det", "dim": [f"{PADDLE[0]}=1"], "open": [f"{n}=32..960:640" for n in PADDLE[1:]],
                    "at": {paddle(320, 320): 1.15, paddle(480, 640): 1.15, paddle(960, 960): 1.15}},
    "efficientnet_lite0": {"file": "efficientnet_lite0", "image": {2: "height", 3: "width"}, "dim": ["batch=1"],
                           "open": ["height=96..320:224", "width=96..320:224"], "at": SIZES_224},
}


def opened(path, axes, folder):
    """A copy of a model whose first input has names for these axes."""
    import onnx

    model = onnx.load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in constants)
    for axis, name in axes.items():
        first.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    target = pathlib.Path(folder, f"{path.stem}_open.onnx")
    onnx.save(model, target)
    return target


def answer(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def kiln(args, model, flags, cpu, threads):
    command = [args.kiln, "bench", model, "--json", "--quiet", "--cpu", cpu, "--threads", threads]
    return answer([*command, "--seconds", args.seconds, *flags])["min_ms"]


def values(flags):
    """Name to number of `--dim NAME=N` and `--at NAME=N`; bounds are left out."""
    pairs = (flag.rsplit("=", 1) for flag in flags if "=" in flag and ".." not in flag.rsplit("=", 1)[1])
    return {name: int(number) for name, number in pairs}


def ort_once(model, threads, seconds, sizes):
    """The least time of a run in this process, as JSON: what the process that measures calls."""
    from common import least_ms_of_ort, random_inputs

    print(json.dumps({"min_ms": least_ms_of_ort(model, random_inputs(model, 0, sizes), threads, seconds)}))


def ort(args, model, flags, threads):
    sizes = json.dumps(values(flags))
    return answer([sys.executable, __file__, model, "--ort-once", sizes, "--threads", threads, "--seconds", args.seconds])["min_ms"]


def measured(args, name, model, case):
    """Rows of one model; gives what is above its bound."""
    above = []
    fixed = [flag for dim in case.get("dim", []) for flag in ("--dim", dim)]
    for cpu in args.cpu.split(","):
        for threads in args.threads.split(","):
            for at, bound in case["at"].items():
                sizes = at.split(",")
                open_flags = fixed + [f for dim in case["open"] for f in ("--dim", dim)] + [f for n in sizes for f in ("--at", n)]
                closed = fixed + [f for n in sizes for f in ("--dim", n)]
                runs = [lambda: kiln(args, model, open_flags, cpu, threads), lambda: kiln(args, model, closed, cpu, threads)]
                if args.ort:
                    runs.append(lambda: ort(args, model, closed, threads))
                best = [float("inf")] * len(runs)
                for _ in range(args.rounds):
                    best = [min(least, run()) for least, run in zip(best, runs)]
                cells = [f"{best[0]:.2f}", f"{best[1]:.2f}", f"{best[0] / best[1]:.3f}"]
                if args.ort:
                    cells += [f"{best[2]:.2f}", f"{best[2] / best[0]:.2f}"]
                    if best[2] < best[0]:
                        above.append(f"{name} {cpu} {threads} {at}: slower than ONNX Runtime")
                if best[0] > bound * best[1]:
                    above.append(f"{name} {cpu} {threads} {at}: {best[0] / best[1]:.3f}, bound {bound}")
                print("| " + " | ".join([name, cpu, threads, at, *cells]) + " |", flush=True)
    return above


def agreement(args, name, model, case):
    """Largest errors of the open artefact's results beside ONNX Runtime's; gives sizes at which they differ."""
    import numpy

    from common import difference, random_inputs, run_ort

    differ = []
    fixed = [flag for dim in case.get("dim", []) + case["open"] for flag in ("--dim", dim)]
    for cpu in args.cpu.split(","):
        for at in case["at"]:
            feed = random_inputs(model, 0, values([*case.get("dim", []), *at.split(",")]))
            with tempfile.TemporaryDirectory() as folder:
                flags = [f for n in at.split(",") for f in ("--at", n)]
                # The inputs of seed 0 are the same numbers here and there.
                found = answer([args.kiln, "run", model, "--json", "--quiet", "--cpu", cpu, "--output-dir", folder, *fixed, *flags])
                results = [numpy.load(output["file"]) for output in found["outputs"]]
            wanted, plain = run_ort(model, feed), run_ort(model, feed, optimise=False)
            pairs = list(zip(results, wanted))
            error = max(difference(*pair)[1] for pair in pairs)
            # Where results hang on rounding, ONNX Runtime with and without its rewrites tells how much.
            own = max(difference(*pair)[1] for pair in zip(plain, wanted))
            within = error <= own or all(difference(*pair)[0] for pair in pairs)
            print("| " + " | ".join([name, cpu, at, f"{error:.1e}", "agrees" if within else "DIFFERS"]) + " |", flush=True)
            differ += [] if within else [f"{name} {cpu} {at}: differs from ONNX Runtime by {error:.1e}"]
    return differ


# What leaving dimensions open may add to the arena of the greatest sizes.
MORE = 1.05


def arenas(args, name, model, case):
    """Bytes of the open artefact's arena and of that for the greatest sizes; gives levels at which it is too large."""
    above = []
    fixed = [flag for dim in case.get("dim", []) for flag in ("--dim", dim)]
    opened = fixed + [f for dim in case["open"] for f in ("--dim", dim)]
    most = [dim.split("..")[0].rsplit("=", 1)[0] + "=" + dim.split("..")[1].split(":")[0] for dim in case["open"]]
    closed = fixed + [f for dim in most for f in ("--dim", dim)]
    for cpu in args.cpu.split(","):
        command = [args.kiln, "compile", model, "--json", "--quiet", "--emit", "report", "--cpu", cpu, "--name", "m"]
        with tempfile.TemporaryDirectory() as folder:
            sizes = [answer([*command, "-o", folder, *flags])["arena_bytes"] for flags in (opened, closed)]
        print("| " + " | ".join([name, cpu, *map(str, sizes), f"{sizes[0] / sizes[1]:.3f}"]) + " |", flush=True)
        if sizes[0] > MORE * sizes[1]:
            above.append(f"{name} {cpu}: arena of {sizes[0]} bytes, {sizes[1]} for the greatest sizes")
    return above


def found(args, case):
    for folder in (args.models, args.zoo):
        path = pathlib.Path(folder or "/", f"{case['file']}.onnx")
        if folder and path.exists():
            return path
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kiln")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--open", action="append", help="NAME=LO..HI[:TYPICAL], several times")
    parser.add_argument("--at", action="append", help="NAME=N[,NAME=N], several times")
    parser.add_argument("--dim", action="append", default=[], help="NAME=N, fixed in both")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--models")
    parser.add_argument("--zoo")
    parser.add_argument("--only")
    parser.add_argument("--cpu", default="avx2,avx512")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", default="0.5")
    parser.add_argument("--ort", action="store_true")
    parser.add_argument("--agree", action="store_true")
    parser.add_argument("--arena", action="store_true")
    parser.add_argument("--ort-once", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ort_once:
        return ort_once(args.kiln, int(args.threads), float(args.seconds), json.loads(args.ort_once))
    if args.table:
        names = args.only.split(",") if args.only else list(CASES)
        if unknown := [name for name in names if name not in CASES]:
            parser.error(f"--only {','.join(unknown)}: there are {', '.join(CASES)}")
        cases = {name: CASES[name] for name in names}
    elif args.model and args.open and args.at:
        cases = {pathlib.Path(args.model).stem: {"open": args.open, "dim": args.dim, "at": dict.fromkeys(args.at, float("inf"))}}
    else:
        parser.error("MODEL with --open and --at, or --table")
    if args.arena:
        head, run = ["model", "level", "open bytes", "fixed bytes", "ratio"], arenas
    elif args.agree:
        head, run = ["model", "level", "size", "error", ""], agreement
    else:
        head, run = ["model", "level", "threads", "size", "open ms", "fixed ms", "ratio"], measured
        head += ["ONNX Runtime ms", "ratio"] if args.ort else []
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    above = []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in cases.items():
            path = found(args, case) if args.table else pathlib.Path(args.model)
            if path is None:
                above.append(f"{name}: {case['file']}.onnx is missing")
                continue
            path = opened(path, case["image"], folder) if "image" in case else path
            above += run(args, name, str(path), case)
    for line in above:
        print(line, file=sys.stderr)
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
