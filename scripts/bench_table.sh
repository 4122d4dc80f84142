#!/bin/sh
# A table of Kiln against ONNX Runtime, OpenVINO and MNN, side by side, in rounds.
#
#     bench_table.sh MODELS_FOLDER [THREADS [ROUNDS]]
#
# Needs the comparison script of the shared folder beside the checkout and, for the peers,
# pip install numpy onnx onnxruntime openvino MNN (PYTHON names the interpreter). Figures are ratios of one run.
set -eu
cd "$(dirname "$0")/.."
models=$1 threads=${2:-1} rounds=${3:-5}
python=${PYTHON:-python3}
PATH="$(dirname "$(command -v "$python")"):$PATH"
for model in "$models"/*.onnx tests/models/seed_cifar10/*.onnx; do
    ours="target/release/kiln bench $model --threads $threads --seconds 1 --json"
    row=$("$python" ../shared/bench/peers.py "$model" --threads "$threads" --rounds "$rounds" --seconds 1 --json \
        --ours "$ours" 2>/dev/null) || continue
    echo "$row" | "$python" -c '
import json, sys
r = json.load(sys.stdin)
ms = {name: row["min_ms"] for name, row in r["rows"].items()}
cells = " ".join("%s %.3f" % (name, ms[name]) for name in ("ours", "ort", "openvino", "mnn") if name in ms)
print("%-28s %s  speed-up %.2f" % (r["model"], cells, r.get("speedup_over_fastest_peer", float("nan"))), flush=True)'
done
