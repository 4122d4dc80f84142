#!/bin/sh
# Builds Kiln, compiles a forest and a pipeline of scikit-learn, and compares what they say of 150 flowers with scikit-learn.
# Needs cargo and a C compiler.
set -eu
cd "$(dirname "$0")/../.."
here=examples/scikit-learn
cargo build --release -p kiln-cli
for model in forest pipeline; do
    out="target/scikit-learn/$model"
    ./target/release/kiln compile "$here/$model.onnx" --dim X.0=150 -o "$out" --name model
    "${CC:-cc}" -std=c99 -O2 -Wall -Wextra -I "$out" "$here/main.c" "$out/libmodel.a" -lm -o "$out/classify"
    printf '%s: ' "$model"
    "$out/classify" "$here/flowers.npy" "$here/$model.labels.npy" "$here/$model.probabilities.npy"
done
