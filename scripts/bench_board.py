#!/usr/bin/env python3
"""Instructions of models in integers on an emulated Cortex-M4, as C99 by arm-none-eabi-gcc.

    bench_board.py [MODEL.onnx...] [--flags=-O2] [--kernels] [--json]

Each model (by default tiny_kws, tiny_vww and tiny_ic) is quantised, compiled to C, and runs once on QEMU's mps2-an386, where a
plugin (count_instructions.c) counts how often each instruction runs. For the inner loops (those without another loop inside that
have products) and for all kernels the table has instructions per pair of multiply-adds: SMLAD does a pair, SMLABB and MLA one
half. The limit of SMLAD is 1; operands come from memory, so that 2 is what a register file of 14 allows. SMLAD also multiplies
single numbers and zeros, a channel that an image is filled up with or a window's last row: per pair of multiply-adds that the model
has, all instructions are told beside it. Of windows the innermost loop is that over results, requantisation and all. Ends with 1
where inner loops have more than 2.5.

needs: cargo build --release, gcc-arm-none-eabi, qemu-system-arm, a C compiler; pip install -r scripts/requirements.txt
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx

import common

MODELS = ["tiny_kws_dscnn", "tiny_vww_mobilenet", "tiny_ic_resnet8"]
MACHINE = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
HERE = common.REPOSITORY
# Instructions per pair in inner loops, at most.
MOST = 2.5
# Pairs of multiply-adds that an instruction does.
PAIRS = {"smlad": 1.0, "smlabb": 0.5, "smlatb": 0.5, "smlabt": 0.5, "smlatt": 0.5, "mla": 0.5}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


def quantised(path, folder):
    """The model in integers, by random numbers."""
    name, _, shape = common.inputs_of(onnx.load(str(path)))[0]
    samples = np.random.default_rng(0).standard_normal([8, *shape[1:]]).astype(np.float32)
    np.savez(folder / "samples.npz", **{name: samples})
    out = folder / "quantised.onnx"
    run(common.kiln_binary(), "quantize", path, "-o", out, "--calibrate", folder / "samples.npz", "--quiet")
    return out


def macs(path):
    return json.loads(run(common.kiln_binary(), "inspect", path, "--json").strip().splitlines()[-1])["macs"]


def counted(path, folder, flags):
    """The disassembly of a model's code as {function: [(address, word, target of a branch, count)]}, and its bytes."""
    run(common.kiln_binary(), "compile", path, "-o", folder, "--emit", "c", "--quiet", "--name", "m", "--target",
        "thumbv7em-none-eabihf")
    run("arm-none-eabi-gcc", *MACHINE, *flags, "-std=c99", "-ffreestanding", "-c", folder / "m.c", "-o", folder / "m.o")
    main = folder / "main.c"
    main.write_text(f'''#include "{HERE}/tests/boards/board.c"
#include "m.h"
static int drive(void) {{
    void *in[] = {{room(m_INPUT_0_BYTES)}}, *out[] = {{room(m_OUTPUT_0_BYTES)}};
    if (!take(in[0], m_INPUT_0_BYTES)) return 102;
    return m_run((const void *const *)in, out, room((m_ARENA_BYTES + 63) / 64 * 64));
}}
''')
    boards = HERE / "tests/boards"
    run("arm-none-eabi-gcc", *MACHINE, "-std=gnu11", "-O1", "-ffreestanding", "-nostdlib", "-L", boards, "-T", "m4.ld", main,
        folder / "m.o", "-lgcc", "-o", folder / "m.elf")
    feed = common.random_inputs(path, 1)
    (folder / "inputs.bin").write_bytes(b"".join(array.tobytes() for array in feed.values()))
    run("cc", "-O2", "-shared", "-fPIC", HERE / "scripts/count_instructions.c", "-o", folder / "count.so")
    run("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-semihosting-config", "enable=on,target=native", "-plugin",
        f"{folder}/count.so,to={folder}/counts", "-kernel", folder / "m.elf", cwd=folder, stdin=subprocess.DEVNULL)
    counts = {}
    for line in (folder / "counts").read_text().splitlines():
        address, count = line.split()
        counts[int(address, 16)] = int(count)
    sizes = run("arm-none-eabi-size", "-A", folder / "m.o")
    size = sum(int(line.split()[1]) for line in sizes.splitlines() if line.startswith(".text"))
    functions, current = {}, None
    for line in run("arm-none-eabi-objdump", "-d", "--no-show-raw-insn", folder / "m.elf").splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:", line):
            current = functions.setdefault(head[1], [])
        elif (found := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)", line)) and not found[2].startswith("."):
            branch = re.match(r"(?:\S+, )?([0-9a-f]+) <", found[3]) if re.match(r"c?bn?z?|b\w\w(\.|$)", found[2]) else None
            address = int(found[1], 16)
            functions[list(functions)[-1]].append(
                (address, found[2].split(".")[0], int(branch[1], 16) if branch else None, counts.get(address, 0)))
    del current
    return {name: code for name, code in functions.items() if name.startswith("m_") or name.startswith("__")}, size


def inner_loops(code):
    """(instructions run, pairs) of each loop without a loop inside that has products."""
    backwards = [(target, address) for address, _, target, _ in code if target is not None and target <= address]
    for start, end in backwards:
        if any((s, e) != (start, end) and start <= s and e <= end for s, e in backwards):
            continue
        inside = [(word, count) for address, word, _, count in code if start <= address <= end]
        pairs = sum(PAIRS.get(word, 0) * count for word, count in inside)
        if pairs:
            yield sum(count for _, count in inside), pairs, end - start


def measure(path, flags, kernels):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        functions, size = counted(quantised(path, folder), folder, flags)
    total = sum(count for code in functions.values() for *_, count in code)
    loops = [loop for code in functions.values() for loop in inner_loops(code)]
    # Sums of words alone: what a model's own arithmetic of addresses is made of is not among them.
    inner, pairs = sum(loop[0] for loop in loops), sum(loop[1] for loop in loops)
    if kernels:
        for name, code in functions.items():
            ran = sum(count for *_, count in code)
            if ran:
                of = [f"{n / p:.2f} ({p:.0f} pairs)" for n, p, _ in inner_loops(code)]
                print(f"  {name[:60]:60s} {ran:10d} {100 * ran / total:5.1f} %  {', '.join(of)}")
    work = macs(path)
    return {"model": path.stem, "text_bytes": size, "instructions": total, "macs": work,
            "per_pair": total / (work / 2), "inner_loops": inner, "inner_pairs": pairs, "inner_per_pair": inner / max(pairs, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--flags", default="-O2", help="of arm-none-eabi-gcc")
    parser.add_argument("--kernels", action="store_true", help="each function")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    models = args.models or [HERE / "tests/models/tiny" / f"{name}.onnx" for name in MODELS]
    rows = []
    for path in models:
        row = measure(path, args.flags.split(), args.kernels and not args.json)
        rows.append(row)
        if not args.json:
            print(f"{row['model']:20s} text {row['text_bytes']:6d}  instructions {row['instructions']:10d}  "
                  f"multiply-adds {row['macs']:9d}  a pair: {row['per_pair']:.2f}, in inner loops {row['inner_per_pair']:.2f}",
                  flush=True)
    if args.json:
        print(json.dumps(rows))
    return 0 if all(row["inner_per_pair"] <= MOST for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
