"""What the benchmark scripts share: models, their open dimensions, tables."""
import argparse
import math
import os
import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# The models of the table, with values for open dimensions; those that the repository does not ship are made by
# ../shared/models/make_models.py.
LARGE = ["mobilenet_v2", "mobilenet_v3_large", "resnet18", "resnet50", "squeezenet1_1", "efficientnet_b0", "googlenet",
         "vit_b_16", "bert_base_128", "distilbert_dyn"]
SHIPPED = ["tiny/tiny_kws_dscnn", "tiny/tiny_vww_mobilenet", "tiny/tiny_ic_resnet8", "tiny/tiny_ad_autoencoder",
           "seed_cifar10/wm_005_aug_float", "seed_cifar10/wm_025_aug_float", "seed_cifar10/wm_075_aug_float"]
DIMS = {"distilbert_dyn": {"batch": 1, "seq": 64}}


def add_model_arguments(parser):
    parser.add_argument("models", nargs="*", type=pathlib.Path,
                        help="ONNX files; by default those of the table")
    parser.add_argument("--folder", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("KILN_MODELS", REPOSITORY / ".cache/models")),
                        help="where the models that are not shipped are (default: $KILN_MODELS or .cache/models)")


def models(args, names=None):
    """The files to measure. What is missing is told of and left out."""
    if args.models:
        found = args.models
    else:
        shipped = [REPOSITORY / "tests/models" / f"{name}.onnx" for name in SHIPPED]
        found = [args.folder / f"{name}.onnx" for name in LARGE] + shipped
        if names is not None:
            found = [path for path in found if path.stem in names]
    for path in found:
        if not path.exists():
            print(f"{path} is missing", file=sys.stderr)
    return [path for path in found if path.exists()]


def kiln_dims(path):
    return [word for name, value in DIMS.get(path.stem, {}).items() for word in ("--dim", f"{name}={value}")]


def geometric_mean(ratios):
    return math.exp(sum(math.log(r) for r in ratios) / len(ratios)) if ratios else float("nan")


def thread_counts(text):
    counts = [int(word) for word in text.split(",")]
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError("numbers of threads, as in 1,2")
    return counts


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows):
    """A Markdown table."""
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])
