#!/usr/bin/env python3
"""What float tiles of an in-order core can reach by llvm-mca at all, whatever the order of their instructions.

    mca_tiles.py [--core cortex-a55] [--most 12]

Every tile of rows by vectors of columns whose sums, elements of rows and vectors of columns are in 32 registers, with each way to
load: a vector, pairs, lists of two to four. Elements of rows come as vectors of four steps of depth, or as lists of them; or rows are
packed, four to a vector, step by step. Registers are for what a step needs alone, none for what is on its way: lists of four take
11 cycles on a Cortex-A55, so that the best of these wait. The part of
the limit is what multiply-adds alone would take over the throughput of the whole loop, both as llvm-mca has it without waiting for
anything, counters and branches left out; so it is a bound.

Needs: llvm-mca.
"""
import argparse
import re
import subprocess

REGISTERS = 32
# Steps of depth in a loop where rows are packed.
STEPS = 4
# How vectors that follow each other are loaded, and how many at a time.
LOADS = {"ldr": 1, "ldp": 2, "ld1 x2": 2, "ld1 x3": 3, "ld1 x4": 4}


def load(way, register, pointer, offset):
    """An instruction that loads so many vectors into registers from this one on. Lists move their pointer."""
    if way == "ldr":
        return f"ldr q{register}, [x{pointer}, #{offset}]"
    if way == "ldp":
        return f"ldp q{register}, q{register + 1}, [x{pointer}, #{offset}]"
    count = LOADS[way]
    names = ", ".join(f"v{register + i}.4s" for i in range(count))
    return f"ld1 {{ {names} }}, [x{pointer}], #{16 * count}"


def throughput(body, core):
    command = ["llvm-mca", "-mtriple=aarch64-linux-gnu", f"-mcpu={core}", "-iterations=1"]
    result = subprocess.run(command, input="\n".join(body) + "\n", capture_output=True, text=True, check=True)
    return float(re.search(r"Block RThroughput:\s+([\d.]+)", result.stdout)[1])


def tile(rows, vectors, of_rows, of_columns):
    """Loads and multiply-adds of a loop, or nothing where registers are too few."""
    held, group = LOADS[of_rows], LOADS[of_columns]
    sums = rows * vectors
    a, b = sums, sums + rows * held
    if b + group > REGISTERS or vectors % group:
        return None
    loads = [load(of_rows, a + r * held, 1 + r, 0) for r in range(rows)]
    products = []
    for k in range(4 * held):
        for first in range(0, vectors, group):
            loads.append(load(of_columns, b, 0, 0))
            products += [f"fmla v{r * vectors + first + j}.4s, v{b + j}.4s, v{a + r * held + k // 4}.s[{k % 4}]"
                         for j in range(group) for r in range(rows)]
    return loads, products


def packed(rows, vectors, of_rows, of_columns):
    """The same where vectors of rows are four of them in one step."""
    if rows % 4:
        return None
    count = rows // 4
    held, group = max(count, LOADS[of_rows]), max(vectors, LOADS[of_columns])
    sums = rows * vectors
    a, b = sums, sums + held
    if b + group > REGISTERS or STEPS * count % LOADS[of_rows] or STEPS * vectors % LOADS[of_columns]:
        return None
    loads = [load(of_rows, a, 1, 0)] * (STEPS * count // LOADS[of_rows])
    loads += [load(of_columns, b, 2, 0)] * (STEPS * vectors // LOADS[of_columns])
    products = [f"fmla v{r * vectors + j}.4s, v{b + j}.4s, v{a + r // 4}.s[{r % 4}]"
                for j in range(vectors) for r in range(rows)]
    return loads, products * STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", default="cortex-a55")
    parser.add_argument("--most", default=12, type=int)
    args = parser.parse_args()
    found = []
    for rows in range(1, 17):
        for vectors in range(1, 17):
            for of_rows in LOADS:
                for of_columns in LOADS:
                    for name, way in (("", tile), ("packed, ", packed)):
                        if made := way(rows, vectors, of_rows, of_columns):
                            loads, products = made
                            part = throughput(products, args.core) / throughput(loads + products, args.core)
                            found.append((part, rows, vectors, name + of_rows, of_columns, made))
    found.sort(key=lambda one: -one[0])
    print(f"{len(found)} tiles on {args.core}, the best:\n")
    print("| tile | rows by | columns by | multiply-adds | loads | % of the limit at most |\n|---|---|---|---|---|---|")
    for part, rows, vectors, of_rows, of_columns, (loads, products) in found[:args.most]:
        print(f"| {rows} x {4 * vectors} | {of_rows} | {of_columns} | {len(products)} | {len(loads)} | {100 * part:.1f} |")


if __name__ == "__main__":
    main()
