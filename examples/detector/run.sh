#!/bin/sh
# Builds Kiln, compiles a detector with NonMaxSuppression in its graph, and finds the squares in a picture.
# Needs cargo and a C compiler.
set -eu
cd "$(dirname "$0")/../.."
here=examples/detector
out=target/detector
cargo build --release -p kiln-cli
./target/release/kiln compile "$here/detector.onnx" -o "$out" --name detector
"${CC:-cc}" -std=c99 -O2 -Wall -Wextra -I "$out" "$here/main.c" "$out/libdetector.a" -lm -o "$out/detect"
"$out/detect" "$here/picture.npy" "$here/boxes.npy" "$here/scores.npy" "$here/classes.npy"
