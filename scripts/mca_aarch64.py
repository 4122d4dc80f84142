#!/usr/bin/env python3
"""Inner loops of a model's kernels on AArch64 by llvm-mca, beside what their multiply-adds alone would take.

    mca_aarch64.py MODEL.onnx [--level neon|dotprod|i8mm|PROCESSOR] [--cores cortex-a53,cortex-a55,cortex-a72,cortex-a76] [--most 8]

For the loops along depth (no other one inside, no stores) that have most multiply-adds, for each shape of loop: instructions,
multiply-adds, and for each core cycles and the part of the limit, which is the throughput of the multiply-adds alone by the same model.
LLVM models some cores by their neighbours (14 takes a Cortex-A76 for an A57). Its A53 finishes in order, so that loads behind
multiply-adds of floats wait for these. Its A55 starts two multiply-adds of floats of 128 bits a cycle, which is all that it starts, so
that every load takes the place of one: mca_tiles.py shows that of the tiles that 32 registers hold none can reach more than 86 % there,
with rows as they lie.
The core itself starts one (Arm's Software Optimization Guide; LLVM's model agrees for `fmul`, `fadd` and `mla` of 128 bits). So for it
the same loop is counted twice more, limit one a cycle, with another instruction of the same operands in place of each `fmla`:
- `sabd`, of which the model starts one of 128 bits a cycle and which lets a load beside it go on, as its `fmla` does (LLVM 19 and 22;
  in 14 it finishes in order too). Sums are further apart than a latency, so that it adds to nothing makes no difference;
- `mla`, of the latency of `fmla` (4), which finishes in order there: a load, which takes 3, starts a cycle behind it, alone.

Products of bytes without an instruction for four have two widening limits. By pairs: smull, smlal and sadalp are three instructions for 16
of them, and the part of the limit is that of these. By lane: smlal of words is one instruction for four; beside it stands how many
products there are in a cycle, over those.

Needs: a built kiln (KILN names another binary), llvm-mca (LLVM_MCA names another one, as llvm-mca-19).
"""
import argparse
import os
import re
import subprocess

import common

PRODUCTS = re.compile(r"(fmla|fmlal2?|sdot|udot|usdot|sudot|u?smmla|smull2?|smlal2?|sadalp) ")

# Cores that start one multiply-add of floats of 128 bits a cycle where LLVM's start two, and what their limit is counted with.
ONE_A_CYCLE = ("cortex-a55",)
COUNTED_AS = ("sabd", "mla")

PAIRS = re.compile(r"(smull2?|smlal2?) v\d+\.8h")
SMLAL = "smlal v0.4s, v1.4h, v2.h[0]"


def loops(text):
    """(kernel, instructions) of each loop that has no other one inside and writes nothing, without its branch."""
    kernel, code = None, []
    for line in [*text.splitlines(), "; kernel end"]:
        if not line.startswith("; kernel"):
            code += [line.strip()] if line.strip() else []
            continue
        labels = {word[:-1]: i for i, word in enumerate(code) if re.fullmatch(r"L\d+:", word)}
        for i, word in enumerate(code):
            found = re.fullmatch(r"(?:b\.\w+|cbn?z \w+,) (L\d+)", word)
            if found and labels.get(found[1], i) < i:
                body = code[labels[found[1]] + 1:i]
                if not any(re.match(r"L\d+:|st[rp] ", inside) for inside in body):
                    yield kernel, body
        kernel, code = line[2:], []


def counted_as(name, body):
    """A loop with another instruction of the same registers in place of each multiply-add of floats of 128 bits."""
    return [re.sub(r"^fmla (v\d+\.4s, v\d+\.4s, v\d+)\.(?:s\[\d\]|4s)$", rf"{name} \1.4s", word) for word in body]


def mca(body, core, what):
    """A number of llvm-mca's summary for 100 iterations."""
    program = os.environ.get("LLVM_MCA", "llvm-mca")
    command = [program, "-mtriple=aarch64-linux-gnu", f"-mcpu={core}", "-mattr=+dotprod,+i8mm,+fp16fml", "-iterations=100"]
    result = subprocess.run(command, input="\n".join(body) + "\n", capture_output=True, text=True, check=True)
    return float(re.search(what + r":\s+([\d.]+)", result.stdout)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--level", default="neon")
    parser.add_argument("--cores", default="cortex-a53,cortex-a55,cortex-a72,cortex-a76", type=lambda text: text.split(","))
    parser.add_argument("--most", default=8, type=int)
    args = parser.parse_args()
    command = [common.kiln_binary(), "dump", args.model, "--stage", "asm", "--target", "aarch64-unknown-linux-gnu", "--cpu", args.level]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shapes = {}
    for kernel, body in loops(text):
        products = [word for word in body if PRODUCTS.match(word)]
        if products:
            shapes.setdefault(tuple(word.split()[0] for word in body), (kernel, body, products))
    for kernel, body, products in sorted(shapes.values(), key=lambda shape: -len(shape[2]))[:args.most]:
        print(f"{kernel}: {len(body) + 1} instructions, {len(products)} multiply-adds")
        for core in args.cores:
            cycles = mca(body, core, "Total Cycles") / 100
            limit = mca(products, core, "Block RThroughput")
            text = f"    {core:12s} {cycles:7.1f} cycles, limit {limit:6.1f}: {100 * limit / cycles:5.1f} %"
            if pairs := sum(bool(PAIRS.match(word)) for word in products):
                rate, other = 8 * pairs / cycles, 4 / mca([SMLAL], core, "Block RThroughput")
                text += f" by pairs; {rate:.2f} products a cycle, {100 * rate / other:.0f} % of the limit by lane"
            if core in ONE_A_CYCLE and any(word.startswith("fmla ") for word in products):
                for name in COUNTED_AS:
                    cycles = mca(counted_as(name, body), core, "Total Cycles") / 100
                    limit = mca(counted_as(name, products), core, "Block RThroughput")
                    text += f"; one a cycle, as {name}: {cycles:.1f} of {limit:.0f}, {100 * limit / cycles:.1f} %"
            print(text)


if __name__ == "__main__":
    main()
