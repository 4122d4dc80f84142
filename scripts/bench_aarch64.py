#!/usr/bin/env python3
"""Instructions of a run of whole models on AArch64, ours and of ONNX Runtime's wheel, counted under QEMU.

    bench_aarch64.py [MODEL.onnx...] [--level neon|dotprod|i8mm|armv8.6] [--kernels] [--no-ort] [--json]

By default mobilenet_v2, resnet50 and bert_base_128 of the folder that KILN_MODELS names, and with --quantised FOLDER
efficientnet_lite0.onnx of it. A level is run on the processor that stands for it: neon on a Cortex-A72, dotprod on a Cortex-A76, i8mm
on QEMU's max without SVE. What is counted is the difference between a process that runs the model once and one that only loads it (in
ONNX Runtime the first run takes 0.1 % more than the second). Outputs of both are compared. "ideal" is multiply-adds over those that an
instruction does: 4 of floats, 8 of bytes by smlal, 16 by sdot and 32 by smmla.

--kernels lists our functions by their instructions.

Needs: a built kiln (KILN names another binary), aarch64-linux-gnu-gcc with its C++ library (g++-aarch64-linux-gnu), qemu-user (the
static one has no plugins), cc, pip; pip install -r scripts/requirements.txt. The wheel is downloaded by pip into --cache.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnx

import common
from bench_common import DIMS, REPOSITORY

MODELS = ["mobilenet_v2", "resnet50", "bert_base_128"]
CC = "aarch64-linux-gnu-gcc"
LIBRARIES = pathlib.Path("/usr/aarch64-linux-gnu/lib")
# QEMU's name of a processor, its part in the identification register, what Linux calls its features, multiply-adds of bytes by an
# instruction.
PROCESSORS = {
    "neon": ("cortex-a72", "0xd08", "fp asimd aes pmull sha1 sha2 crc32 cpuid", 8),
    "dotprod": ("cortex-a76", "0xd0b", "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp", 16),
    "i8mm": ("max,sve=off,sme=off", "0xd40",
             "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp i8mm bf16", 32),
    "armv8.6": ("max,sve=off,sme=off", "0xd40",
                "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp asimdfhm i8mm bf16", 32),
}
MAIN = """#include "m.h"
#include <stdio.h>
#include <stdlib.h>
static void *room(size_t bytes) { void *p = 0; return posix_memalign(&p, 64, bytes + 64) ? 0 : p; }
int main(int argc, char **argv) {
    void *inputs[] = { %s }, *outputs[] = { %s }, *arena = room(m_ARENA_BYTES);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    if (argc != 4 || !in || !out) return 2;
    %s
    int status = 0;
    for (int i = atoi(argv[1]); i-- && !status;) status = m_run((const void *const *)inputs, outputs, arena);
    fwrite(outputs[0], 1, m_OUTPUT_0_BYTES, out);
    fflush(0);
    _Exit(status);
}
"""


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout


def wheel(cache):
    """The folder with ONNX Runtime's library for AArch64."""
    library = cache / "libonnxruntime.so.1"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        version = next(line for line in (REPOSITORY / "scripts/requirements.txt").read_text().splitlines()
                       if line.startswith("onnxruntime=="))
        run(sys.executable, "-m", "pip", "download", version, "--platform", "manylinux_2_28_aarch64", "--only-binary=:all:",
            "--no-deps", "-d", cache)
        with zipfile.ZipFile(next(cache.glob("onnxruntime-*.whl"))) as archive:
            member = next(n for n in archive.namelist() if "capi/libonnxruntime.so.1." in n)
            library.write_bytes(archive.read(member))
    return cache


def machine(folder, level):
    """A root that tells programs of the processor of a level, which QEMU does not: /proc/cpuinfo is the host's there."""
    _, part, features, _ = PROCESSORS[level]
    for name in ("proc", "sys/devices/system/cpu"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "lib").symlink_to(LIBRARIES)
    (folder / "proc/cpuinfo").write_text(
        f"processor\t: 0\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part}\nCPU revision\t: 3\n\n")
    for name in ("possible", "present", "kernel_max"):
        (folder / "sys/devices/system/cpu" / name).write_text("0\n")
    return folder


def counted(folder, level, libraries, *program):
    """Address to how often its instruction ran."""
    environment = ["-E", f"LD_LIBRARY_PATH={libraries}"] if libraries else []
    run("qemu-aarch64", "-cpu", PROCESSORS[level][0], "-L", folder / "root", *environment, "-plugin",
        f"{folder}/count.so,to={folder}/counts", *program)
    counts = collections.Counter()
    for line in (folder / "counts").read_text().splitlines():
        address, count = line.split()
        counts[int(address, 16)] = int(count)
    return counts


def ours(path, folder, level, feed, fixed):
    """(instructions, {function: instructions}, the first output's bytes)"""
    dims = [word for name, extent in fixed.items() for word in ("--dim", f"{name}={extent}")]
    run(common.kiln_binary(), "compile", path, "-o", folder, "--name", "m", "--quiet", "--target", "aarch64-unknown-linux-gnu",
        "--cpu", level, *dims)
    outputs = len(onnx.load(str(path), load_external_data=False).graph.output)
    reads = "\n    ".join(f"if (fread(inputs[{i}], 1, m_INPUT_{i}_BYTES, in) != m_INPUT_{i}_BYTES) return 3;"
                          for i in range(len(feed)))
    (folder / "main.c").write_text(MAIN % (", ".join(f"room(m_INPUT_{i}_BYTES)" for i in range(len(feed))),
                                           ", ".join(f"room(m_OUTPUT_{i}_BYTES)" for i in range(outputs)), reads))
    run(CC, "-O1", "-static", folder / "main.c", folder / "libm.a", "-o", folder / "main")
    (folder / "in").write_bytes(b"".join(value.tobytes() for value in feed.values()))
    counts = [counted(folder, level, None, folder / "main", runs, folder / "in", folder / "out") for runs in (0, 1)]
    functions, symbols = collections.Counter(), []
    for line in run("aarch64-linux-gnu-nm", folder / "main").splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tT" and not words[2].startswith("$"):
            symbols.append((int(words[0], 16), words[2]))
    symbols.sort()
    addresses = np.array([address for address, _ in symbols], np.uint64)
    for address, count in counts[1].items():
        place = int(np.searchsorted(addresses, np.uint64(address), "right")) - 1
        more = count - counts[0][address]
        if more and place >= 0:
            functions[symbols[place][1]] += more
    return sum(counts[1].values()) - sum(counts[0].values()), functions, (folder / "out").read_bytes()


def theirs(path, folder, level, feed, libraries):
    """(instructions, the first output's bytes)"""
    lines = []
    for i, (name, value) in enumerate(feed.items()):
        value.tofile(folder / f"in{i}")
        kind = next(k for k, dtype in common.DTYPES.items() if dtype == value.dtype)
        lines.append(f"{name} {kind} {value.ndim} {' '.join(map(str, value.shape))} {folder}/in{i}\n")
    (folder / "list").write_text("".join(lines))
    run(CC, "-O1", REPOSITORY / "scripts/ort_aarch64.c", "-o", folder / "ort", libraries / "libonnxruntime.so.1",
        "-Wl,--allow-shlib-undefined")
    counts = [sum(counted(folder, level, libraries, folder / "ort", path, runs, folder / "list", folder / "out").values())
              for runs in (0, 1)]
    return counts[1] - counts[0], (folder / "out").read_bytes()


def ideal(path, level, fixed):
    """Multiply-adds over those of an instruction: of floats, or of bytes where the model's products are of them."""
    dims = [word for name, extent in fixed.items() for word in ("--dim", f"{name}={extent}")]
    macs = json.loads(run(common.kiln_binary(), "inspect", path, "--json", *dims).strip().splitlines()[-1])["macs"]
    quantised = any(node.op_type in ("DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
                    for node in onnx.load(str(path), load_external_data=False).graph.node)
    return macs / (PROCESSORS[level][3] if quantised else 4)


def measure(path, args, libraries):
    fixed = DIMS.get(path.stem, {})
    feed = common.random_inputs(path, 0, fixed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        machine(folder / "root", args.level)
        run("cc", "-O2", "-shared", "-fPIC", REPOSITORY / "scripts/count_instructions.c", "-o", folder / "count.so")
        count, functions, found = ours(path, folder, args.level, feed, fixed)
        row = {"model": path.stem, "level": args.level, "ideal": ideal(path, args.level, fixed), "kiln": count}
        if not args.no_ort:
            row["ort"], expected = theirs(path, folder, args.level, feed, libraries)
            found, expected = (np.frombuffer(data, np.float32).astype(float) for data in (found, expected))
            row["ratio"] = row["ort"] / count
            row["difference"] = float(np.abs(found - expected).max() / np.abs(expected).max())
    row["kernels"] = dict(functions.most_common())
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--level", default="neon", choices=list(PROCESSORS))
    parser.add_argument("--folder", type=pathlib.Path, default=os.environ.get("KILN_MODELS", REPOSITORY / ".cache/models"))
    parser.add_argument("--quantised", type=pathlib.Path, help="a folder with efficientnet_lite0.onnx in integers")
    parser.add_argument("--cache", type=pathlib.Path, default=REPOSITORY / ".cache/ort-aarch64")
    parser.add_argument("--kernels", action="store_true", help="our functions")
    parser.add_argument("--no-ort", action="store_true", help="ours alone")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    models = args.models or [args.folder / f"{name}.onnx" for name in MODELS]
    if args.quantised:
        models.append(args.quantised / "efficientnet_lite0.onnx")
    libraries = None if args.no_ort else wheel(args.cache)
    for path in models:
        row = measure(path, args, libraries)
        if args.json:
            print(json.dumps(row), flush=True)
            continue
        text = f"{row['model']:20s} {args.level:8s} {row['kiln'] / 1e6:9.1f} million, ideal {row['ideal'] / 1e6:8.1f}"
        if "ort" in row:
            text += f", ONNX Runtime {row['ort'] / 1e6:9.1f} = {row['ratio']:.2f}, difference {row['difference']:.1e}"
        print(text, flush=True)
        for name, count in list(row["kernels"].items())[:40] if args.kernels else []:
            print(f"    {name:40s} {count / 1e6:9.2f} {100 * count / row['kiln']:5.1f} %")


if __name__ == "__main__":
    main()
