#!/usr/bin/env python3
"""A command with ONNX Runtime and oneDNN held to AVX2, to be measured as on a machine without AVX-512 and VNNI.

    mask_cpuid.py COMMAND...      as in: mask_cpuid.py python3 scripts/bench_table.py INTEGERS/*.onnx --peers ort,openvino --options='--cpu avx2'

Neither has an option for it (oneDNN, which OpenVINO has in it, reads ONEDNN_MAX_CPU_ISA). So a copy of the onnxruntime
package gets `ud2` for each `cpuid`, which mask_cpuid.c answers without those bits. The copy is made in .cache/masked once.
needs: gcc, objdump; pip install onnxruntime
"""
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache/masked"


def masked(library):
    """Replaces every `cpuid` of a library."""
    heads = subprocess.run(["objdump", "-h", library], capture_output=True, text=True, check=True).stdout
    text = next(line.split() for line in heads.splitlines() if " .text " in line)
    moved = int(text[5], 16) - int(text[3], 16)
    code, found = bytearray(library.read_bytes()), 0
    with subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", library], stdout=subprocess.PIPE, text=True) as listing:
        for line in listing.stdout:
            if line.rstrip().endswith("cpuid"):
                at = int(line.split(":")[0], 16) + moved
                if code[at:at + 2] != b"\x0f\xa2":
                    raise SystemExit(f"{library}: no cpuid at {at:#x}")
                code[at + 1] = 0x0b
                found += 1
    if not found:
        raise SystemExit(f"{library}: no cpuid")
    library.write_bytes(code)


def make():
    package = pathlib.Path(importlib.util.find_spec("onnxruntime").origin).parent
    unfinished = CACHE.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(package, unfinished / "onnxruntime")
    for library in unfinished.glob("onnxruntime/capi/onnxruntime_pybind11_state*.so"):
        masked(library)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", HERE / "mask_cpuid.c", "-o", unfinished / "mask_cpuid.so"], check=True)
    unfinished.rename(CACHE)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    if not CACHE.exists():
        CACHE.parent.mkdir(exist_ok=True)
        make()
    path = os.pathsep.join([str(CACHE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(CACHE / "mask_cpuid.so"), "ONEDNN_MAX_CPU_ISA": "AVX2"}
    os.execvpe(sys.argv[1], sys.argv[1:], environment)


if __name__ == "__main__":
    main()
