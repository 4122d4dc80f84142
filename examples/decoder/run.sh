#!/bin/sh
# Builds Kiln, compiles a decoder whose cache has an open length, and generates tokens with it, a call for each.
# Needs cargo and a C compiler.
set -eu
cd "$(dirname "$0")/../.."
here=examples/decoder
out=target/decoder
cargo build --release -p kiln-cli
./target/release/kiln compile "$here/decoder.onnx" --dim past=0..30 -o "$out" --name decoder
"${CC:-cc}" -std=c99 -O2 -Wall -Wextra -I "$out" "$here/main.c" "$out/libdecoder.a" -lm -o "$out/generate"
"$out/generate" "$here/tokens.npy" "$here/scores.npy"
