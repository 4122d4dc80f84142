#!/usr/bin/env python3
"""Writes what ONNX Runtime makes of the shipped models: tests/models/*/NAME.expected.npy.

The input is `random:1`, so that only outputs need storing.

    python3 scripts/make_expected.py        needs: pip install numpy onnx onnxruntime
"""
import numpy as np

from common import REPOSITORY, random_inputs, run_ort


def main():
    for path in sorted(REPOSITORY.glob("tests/models/*/*.onnx")):
        (output,) = run_ort(path, random_inputs(path, 1), optimise=False)
        target = path.with_suffix(".expected.npy")
        np.save(target, output)
        print(f"{target.relative_to(REPOSITORY)}  {output.dtype}{list(output.shape)}")


if __name__ == "__main__":
    main()
