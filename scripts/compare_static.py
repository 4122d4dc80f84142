#!/usr/bin/env python3
"""Compares models with branches, recurrent layers and open dimensions with ONNX Runtime at several sizes: run in the process, as a static
library on this machine, and as one for AArch64 under qemu.

    compare_static.py MODELS_FOLDER... [--models NAME,..] [--skip-aarch64]      exit code 1 when one is outside the tolerance

Folders hold what shared/zoo/fetch_zoo.py and make_models.py write. Outputs must be within rtol 1e-3 / atol 1e-4, the latter relative
to the output's largest magnitude. What is open (OPEN) is compiled once for all sizes, what is not for each.
Needs: pip install -r requirements.txt; a built kiln (KILN names another binary), cc, aarch64-linux-gnu-gcc, qemu-aarch64-static.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

from common import DTYPES, difference, kiln_binary, random_tensor, run_ort

# Dimensions by name or by INPUT.AXIS, inputs that are no random numbers.
SIZES = {
    "silero_vad_v6": [({"input.0": n, "input.1": length, "state.1": n}, {"sr": rate})
                      for n, length, rate in ((1, 576, 16000), (3, 576, 16000), (2, 288, 8000))],
    "silero_vad_16k_sequence": [({"sequence_length": n}, {}) for n in (1, 7, 20)],
    "deepfilternet3_enc": [({"S": n}, {}) for n in (1, 10, 37)],
    "deepfilternet3_df_dec": [({"S": n}, {}) for n in (1, 10, 37)],
    "distilbert_dyn": [({"batch": n, "seq": s}, {"attention_mask": 1}) for n, s in ((1, 7), (2, 64), (4, 128))],
}
OPEN = {
    "silero_vad_v6": {"input.0": "1..4", "state.1": "1..4"},
    "silero_vad_16k_sequence": {"sequence_length": "1..20"},
    "deepfilternet3_enc": {"S": "1..40"},
    "deepfilternet3_df_dec": {"S": "1..40"},
    "distilbert_dyn": {"batch": "1..4", "seq": "1..128"},
}

MAIN = """#include "m.h"
#include <stdio.h>
#include <stdlib.h>
static void *room(size_t bytes) { void *p = 0; return posix_memalign(&p, 64, bytes ? bytes + 64 : 64) ? 0 : p; }
int main(int argc, char **argv) {
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (argc != 3 || !in || !out) return 100;
%s    return fclose(out);
}
"""


def main_of(inputs, outputs, dims):
    """A program that reads the inputs of a model, runs it, and writes its outputs."""
    lines = []
    if dims:
        lines += ["m_sizes sizes = { %s };" % ", ".join(str(n) for n in dims)]
    lines += ["void *inputs[] = { %s 0 };" % " ".join(f"room(m_INPUT_{i}_BYTES)," for i in range(len(inputs))),
              "void *outputs[] = { %s 0 };" % " ".join(f"room(m_OUTPUT_{i}_BYTES)," for i in range(len(outputs))),
              "unsigned char *arena = 0;",
              "if (posix_memalign((void **)&arena, m_ARENA_ALIGN, m_ARENA_BYTES + m_ARENA_ALIGN)) return 101;"]
    lines += [f"if (fread(inputs[{i}], 1, {value.nbytes}, in) != {value.nbytes}) return 102;"
              for i, value in enumerate(inputs)]
    lines += ["int status = m_run((const void *const *)inputs, outputs, arena%s);" % (", &sizes" if dims else ""),
              'if (status) { fprintf(stderr, "status %d\\n", status); return 103; }']
    lines += [f"if (fwrite(outputs[{i}], 1, {value.nbytes}, out) != {value.nbytes}) return 104;"
              for i, value in enumerate(outputs)]
    return MAIN % "".join(f"    {line}\n" for line in lines)


def run(command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{command[0]} {command[1]}: exit code {result.returncode}: {result.stderr.strip()[-500:]}")


def feed_of(path, dims, given):
    """Name to array for every input at these sizes."""
    graph = onnx.load(str(path), load_external_data=False).graph
    constants = {i.name for i in graph.initializer}
    feed = {}
    for position, value in enumerate(v for v in graph.input if v.name not in constants):
        tensor = value.type.tensor_type
        shape = [dims.get(f"{value.name}.{axis}", dims.get(d.dim_param, d.dim_value)) for axis, d in
                 enumerate(tensor.shape.dim)]
        dtype = DTYPES[tensor.elem_type]
        fixed = given.get(value.name)
        feed[value.name] = np.full(shape, fixed, dtype) if fixed is not None else random_tensor(dtype, shape, 0, position)
    return feed


def flags(dims):
    return [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]


def in_process(path, folder, feed, dims):
    np.savez(folder / "in.npz", **feed)
    command = [kiln_binary(), "run", path, "--inputs", folder / "in.npz", "--output-dir", folder, "--quiet"]
    run(command + flags(dims))
    graph = onnx.load(str(path), load_external_data=False).graph
    return [np.load(folder / f"{value.name}.npy") for value in graph.output]


def library(path, folder, feed, expected, dims, cc, target, runner):
    """The outputs of a static library, compiled once for all sizes of what is open."""
    opened = OPEN.get(path.stem, {})
    fixed = {name: size for name, size in dims.items() if name not in opened}
    built = folder / "-".join([target or "host", *map(str, fixed.values())])
    if not (built / "libm.a").exists():
        wanted = [] if target is None else ["--target", target]
        run([kiln_binary(), "compile", path, "-o", built, "--name", "m", "--quiet", *wanted, *flags(opened | fixed)])
    order = [dims[name] for name in sorted(opened)] if opened else []
    (built / "main.c").write_text(main_of(list(feed.values()), expected, order))
    run([cc, "-O1", "-Wall", "-Werror", "-static", built / "main.c", built / "libm.a", "-o", built / "main"])
    (built / "in").write_bytes(b"".join(value.tobytes() for value in feed.values()))
    run([*runner, built / "main", built / "in", built / "out"])
    data, found = (built / "out").read_bytes(), []
    for value in expected:
        found.append(np.frombuffer(data[:value.nbytes], value.dtype).reshape(value.shape))
        data = data[value.nbytes:]
    return found


def compare(path, skip):
    """Whether a model agrees everywhere; prints a line for each size."""
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for dims, given in SIZES[path.stem]:
            feed = feed_of(path, dims, given)
            expected = run_ort(path, feed)
            ways = {"process": lambda: in_process(path, folder, feed, dims),
                    "library": lambda: library(path, folder, feed, expected, dims, "cc", None, [])}
            if not skip:
                ways["AArch64"] = lambda: library(path, folder, feed, expected, dims, "aarch64-linux-gnu-gcc",
                                                  "aarch64-unknown-linux-gnu", ["qemu-aarch64-static"])
            texts = []
            for way, outputs in ways.items():
                try:
                    results = [difference(f, e) for f, e in zip(outputs(), expected, strict=True)]
                except RuntimeError as error:
                    texts.append(f"{way}: {error}")
                    good = False
                    continue
                good &= all(ok for ok, _ in results)
                texts.append(f"{way} {max(error for _, error in results):.1e}")
            print(f"{path.stem} {dims} {given or ''}: {', '.join(texts)}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--models", default=",".join(SIZES), type=lambda text: text.split(","))
    parser.add_argument("--skip-aarch64", action="store_true")
    args = parser.parse_args()
    if unknown := [name for name in args.models if name not in SIZES]:
        parser.error(f"--models {','.join(unknown)}: there are {', '.join(SIZES)}")
    good = True
    for name in args.models:
        paths = [folder / f"{name}.onnx" for folder in args.folders if (folder / f"{name}.onnx").exists()]
        if not paths:
            print(f"{name}: not there")
            good = False
            continue
        good &= compare(paths[0], args.skip_aarch64)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
