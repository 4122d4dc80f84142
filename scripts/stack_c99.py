#!/usr/bin/env python3
"""The stack that a model as C99 takes with a given compiler, in total and kernel by kernel.

    stack_c99.py NAME.c [--cc arm-none-eabi-gcc] [--flags="-O2 -mcpu=cortex-m4 -mthumb"] [--json]

The file, which `kiln compile --emit c` writes beside NAME.h, is compiled with -fstack-usage; gcc writes the tree of calls too
(-fcallgraph-info), and the table has what NAME_run takes along it at most, below the stack pointer at the call: its own, that of the
deepest kernel, and that of the compiler's own library (libgcc), whose functions are read from its disassembly for Arm and RISC-V.
A kernel that is part of NAME_run (inlined) has no row. clang writes no tree: there every function that leads to kernels counts.
Threads of NAME_run_parallel take what a piece takes; what the host's parallel_for takes is not in the table, and neither is what an
interrupt pushes. A function that is not found is named, and the command ends with 1: the total would be too small.
"""
import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

INDIRECT = "__indirect_call"
# Bytes of a register that a push of Arm writes.
REGISTERS = {"r": 4, "s": 4, "d": 8, "q": 16}


def run(*command, **options):
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if ended.returncode:
        sys.exit(f"{command[0]}: {ended.stderr.strip()}")
    return ended.stdout


def plain(name):
    """The name in the source of a function that the compiler has made copies or parts of."""
    return name.split(":")[-1].split(".")[0]


def read_tree(path):
    """{function: bytes} and {function: functions that it calls} of gcc's graph."""
    own, calls = {}, {}
    text = path.read_text()
    for title, label in re.findall(r'node: \{ title: "([^"]*)" label: "([^"]*)"', text):
        if size := re.search(r"(\d+) bytes \(([^)]*)\)", label):
            if "dynamic" in size[2] and "bounded" not in size[2]:
                sys.exit(f"{title} has stack of a size that is known at run time only")
            own[title] = int(size[1])
    for source, target in re.findall(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"', text):
        calls.setdefault(source, set()).add(target)
    return own, calls


def read_usage(path, name):
    """The same of a list without calls: functions that lead to kernels are taken to call each other, in the order of the file."""
    own = {}
    for line in path.read_text().splitlines():
        place, size, _ = line.rsplit("\t", 2)
        own[place.rsplit(":", 1)[1]] = int(size)
    chain = [f for f in (f"{name}_run", f"{name}_run_parallel", f"{name}_fork") if f in own]
    calls = {above: {below} for above, below in zip(chain, chain[1:])}
    for last in [*chain[-1:], f"{name}_piece"]:
        calls.setdefault(last, set()).add(INDIRECT)
    return own, calls


def pushed(word, operands):
    """Bytes by which an instruction of Arm or RISC-V moves the stack pointer down."""
    if word in ("push", "vpush") or (word.startswith(("stmdb", "vstmdb")) and operands.startswith("sp!")):
        total = 0
        for part in re.search(r"\{(.*)\}", operands)[1].split(","):
            first, _, last = part.strip().partition("-")
            count = int(last[1:]) - int(first[1:]) + 1 if last else 1
            total += count * REGISTERS.get(first[0], 4)
        return total
    if word.startswith("str") and (found := re.search(r"\[sp, #-(\d+)\]!", operands)):
        return int(found[1])
    if word.startswith("sub") and (found := re.match(r"sp, (?:sp, )?#(\d+)", operands)):
        return int(found[1])
    if word.endswith("addi") and (found := re.match(r"sp,sp,-(\d+)", operands)):
        return int(found[1])
    if word == "add" and (found := re.match(r"sp,sp,-(\d+)", operands)):
        return int(found[1])
    return 0


def read_library(cc, flags, wanted):
    """The same of functions of libgcc, as much as their instructions push: all of it, whichever way they go."""
    archive = run(cc, *flags, "-print-libgcc-file-name").strip()
    objdump = re.sub(r"(gcc|clang)(-[\d.]+)?$", "objdump", cc)
    own, calls, at, names = {}, {}, None, []
    for line in run(objdump, "-dr", "--no-show-raw-insn", archive).splitlines():
        if re.match(r"[0-9a-f]+ <\.L", line):
            continue  # a label inside a function
        if head := re.match(r"[0-9a-f]+ <([^>+]*)>:", line):
            # Several names of one place lead to each other.
            at = head[1]
            own.setdefault(at, 0)
            if names:
                calls.setdefault(names[-1], set()).add(at)
            names = [at]
        elif line.startswith(("In archive", "Disassembly")) or "file format" in line:
            names = []
        elif found := re.match(r"\s+[0-9a-f]+:\s+R_\w*(?:CALL|JUMP|JAL)\w*\s+([^.\s]\S*)", line):
            calls.setdefault(at, set()).add(re.split(r"[+-]0x", found[1])[0])
        elif found := re.match(r"\s+[0-9a-f]+:\s+(\S+)\s*([^<;]*)(?:<([^>+]*)[^>]*>)?", line):
            own[at] += pushed(found[1].split(".")[0] if found[1][0] != "c" else found[1], found[2])
            if found[3] and found[3] != at and found[3][0] != "." and re.match(r"c?[bj]", found[1]):
                calls.setdefault(at, set()).add(found[3])
            # What never comes back does not lead to what stands behind it.
            names = [] if re.match(r"(b|b\.[nw]|bx|j|jr|ret|c\.j|pop)$", found[1]) else names
    # A function has several names at times, of which one is in the disassembly.
    nm = re.sub("objdump$", "nm", objdump)
    member, places = None, {}
    for line in run(nm, archive).splitlines():
        if line.endswith(":"):
            member = line
        elif (word := line.split()) and len(word) == 3 and word[1] in "TtWw":
            places.setdefault((member, word[0]), []).append(word[2])
    for names in places.values():
        shown = [name for name in names if name in own]
        for name in names:
            if shown and name not in own:
                own[name], calls[name] = 0, {shown[0]}
    seen, left = {}, list(wanted)
    while left:
        name = left.pop()
        if name in own and name not in seen:
            seen[name] = own[name]
            left.extend(calls.get(name, ()))
    return seen, {name: calls[name] for name in seen if name in calls}


class Stack:
    """Depths along a tree of calls."""

    def __init__(self, own, calls, name):
        self.own, self.calls, self.known, self.missing = own, calls, {}, set()
        self.kernels = {f: plain(f) for f in own if re.match(rf"{re.escape(name)}_k\d+_", plain(f))}

    def below(self, function, path=()):
        """What a function takes with all that it calls."""
        if function in self.known:
            return self.known[function]
        if function in path:
            sys.exit(f"{function} calls itself")
        if function == INDIRECT:
            callees, size = set(self.kernels), 0
        else:
            callees, size = self.calls.get(function, set()), self.own.get(function)
            if size is None:
                self.missing.add(function)
                size = 0
        deepest = max((self.below(callee, (*path, function)) for callee in callees), default=0)
        self.known[function] = size + deepest
        return self.known[function]

    def of(self, source_name):
        """That of a function by its name in the source; 0 where it is part of others."""
        titles = [f for f in self.own if f.split(":")[-1] == source_name]
        return max((self.below(f) for f in titles), default=0)


def measure(source, cc, flags):
    name = source.stem
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        base = [cc, *flags, "-std=c99", "-c", source.resolve(), "-o", folder / "m.o", "-fstack-usage"]
        tree = subprocess.run([str(w) for w in [*base, "-fcallgraph-info=su"]], capture_output=True, text=True)
        if tree.returncode == 0 and (folder / "m.ci").exists():
            own, calls = read_tree(folder / "m.ci")
            outside = {callee for callees in calls.values() for callee in callees} - set(own) - {INDIRECT}
        else:
            run(*base)
            own, calls = read_usage(folder / "m.su", name)
            symbols = run(re.sub(r"(gcc|clang)(-[\d.]+)?$", "nm", cc), "-u", folder / "m.o").split()
            outside = {symbol for symbol in symbols if symbol not in ("U", "w")}
            for function in [f for f in own if re.match(rf"{re.escape(name)}_k\d+_", f)]:
                calls[function] = calls.get(function, set()) | outside
    if outside:
        library, further = read_library(cc, flags, outside)
        own |= library
        calls |= further
    stack = Stack(own, calls, name)
    kernels = {plain(f): {"own": own[f], "total": stack.below(f)} for f in sorted(stack.kernels)}
    result = {"name": name, "run": stack.of(f"{name}_run"), "run_parallel": stack.of(f"{name}_run_parallel"),
              "piece": stack.of(f"{name}_piece"), "kernels": kernels, "missing": sorted(stack.missing)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--cc", default="arm-none-eabi-gcc", help="a gcc, or a clang")
    parser.add_argument("--flags", default="-O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.source, args.cc, shlex.split(args.flags))
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{'own':>8s} {'total':>8s}")
        for name, sizes in sorted(result["kernels"].items(), key=lambda item: -item[1]["total"]):
            print(f"{sizes['own']:8d} {sizes['total']:8d}  {name}")
        print(f"{result['run']:17d}  {result['name']}_run, with all that it calls")
        print(f"{result['piece']:17d}  a piece of {result['name']}_run_parallel, on a thread of the host")
    if result["missing"]:
        print(f"not found, so not counted: {', '.join(result['missing'])}", file=sys.stderr)
    return 1 if result["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())
