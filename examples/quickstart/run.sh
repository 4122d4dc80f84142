#!/bin/sh
# Builds Kiln, compiles a trained model to a static library, links it into main.c and classifies a photo.
# Needs cargo and a C compiler.
set -eu
cd "$(dirname "$0")/../.."
out=target/quickstart
cargo build --release -p kiln-cli
./target/release/kiln compile tests/models/seed_cifar10/wm_025_aug_float.onnx -o "$out" --name cifar10
"${CC:-cc}" -std=c99 -O2 -Wall -Wextra -I "$out" examples/quickstart/main.c "$out/libcifar10.a" -o "$out/classify"
"$out/classify" examples/quickstart/cat.ppm
