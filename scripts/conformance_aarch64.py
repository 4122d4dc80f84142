#!/usr/bin/env python3
"""Runs the official ONNX test cases as static libraries for AArch64 under QEMU, and compares with the expected outputs.

    conformance_aarch64.py [--level neon|dotprod|i8mm|PROCESSOR] [--every N] [--only TEXT]      exit code 1 when one differs

Cases are those of tests/conformance/passes.txt, from the Python package onnx. Those that pass with bound inputs only have constants in
place of the inputs that `kiln check --bind-inputs` binds. --every N takes each Nth case. Integers must be equal, floats within
rtol 1e-3 / atol 1e-4, the latter relative to the output's largest magnitude.
Needs: pip install -r requirements.txt; a built kiln (KILN names another binary), aarch64-linux-gnu-gcc, qemu-aarch64-static.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

import aarch64
from common import REPOSITORY, difference, kiln_binary

CASES = pathlib.Path(onnx.backend.test.__path__[0]) / "data"
FOURS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)


def tensor(path):
    value = onnx.TensorProto()
    value.ParseFromString(path.read_bytes())
    return value


def raw(value):
    """The bytes of a tensor as a buffer has them: a number of 4 bits is a byte."""
    array = numpy_helper.to_array(value)
    return array.astype(np.int8).tobytes() if value.data_type in FOURS else array.tobytes()


def bound(model, inputs, names):
    """The model with constants in place of these inputs, and the others."""
    graph = model.graph
    kept = [value for value in graph.input if value.name not in names]
    for name in names:
        constant = onnx.TensorProto()
        constant.CopyFrom(inputs[name])
        constant.name = name
        graph.initializer.append(constant)
    del graph.input[:]
    graph.input.extend(kept)
    return {name: value for name, value in inputs.items() if name not in names}


def differs(found, expected):
    """Why an output is not what it should be, or nothing."""
    wanted = raw(expected)
    if found == wanted:
        return None
    array = numpy_helper.to_array(expected)
    if len(found) != len(wanted):
        return f"{len(found)} bytes instead of {len(wanted)}"
    if expected.data_type in FOURS or array.dtype.kind in "iub":
        return "integers differ"
    ours, theirs = (x.astype(np.float64) for x in (np.frombuffer(found, array.dtype).reshape(array.shape), array))
    same = (ours == theirs) | np.isnan(ours) & np.isnan(theirs)
    good, error = difference(np.where(same, 0, ours), np.where(same, 0, theirs))
    return None if good else f"error {error:.1e}"


def constants_of(cases):
    """The inputs that become constants of each case."""
    if not cases:
        return {}
    command = [kiln_binary(), "check", *(CASES / case for case in cases), "--bind-inputs", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[-1])
    return {case: one["bound"] for case, one in zip(cases, found["cases"])}


def check(case, constants, level):
    """Why a case fails, or nothing, with these inputs as constants."""
    reasons = []
    for data in sorted((CASES / case).glob("test_data_set_*")):
        model = onnx.load(str(data.parent / "model.onnx"))
        constant = {value.name for value in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in constant]
        files = [tensor(data / f"input_{i}.pb") for i in range(len(names))]
        expected = [tensor(data / f"output_{i}.pb") for i in range(len(model.graph.output))]
        inputs = dict(zip(names, files))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            given = bound(model, inputs, constants)
            onnx.save(model, str(path))
            try:
                shapes = {name: list(value.dims) for name, value in given.items()}
                found = aarch64.outputs_of(path, [raw(value) for value in given.values()], len(expected), pathlib.Path(folder),
                                           level, aarch64.extents(model, shapes))
                reason = next((why for f, e in zip(found, expected) if (why := differs(f, e))), None)
            except RuntimeError as error:
                reason = str(error)
        if reason:
            reasons.append(reason)
    return "; ".join(reasons)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="neon")
    parser.add_argument("--every", default=1, type=int)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    lines = (REPOSITORY / "tests/conformance/passes.txt").read_text().splitlines()
    cases = [line.split() for line in lines if line and not line.startswith("#")][::args.every]
    cases = [words for words in cases if args.only in words[0]]
    constants = constants_of([case for case, *ways in cases if ways])
    failed = 0
    for case, *_ in cases:
        if reason := check(case, constants.get(case, []), args.level):
            failed += 1
            print(f"{case}: {reason}", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} cases agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
