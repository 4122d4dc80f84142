#!/bin/sh
# Compiles a model as packages for CMake and pkg-config, and builds the quick start's program with each, and one in C++.
# Needs cargo, compilers of C and C++, cmake and pkg-config.
set -eu
cd "$(dirname "$0")/../.."
out=target/packages
model="$out/model"
cargo build --release -p kiln-cli
./target/release/kiln compile tests/models/seed_cifar10/wm_025_aug_float.onnx -o "$model" --name cifar10 \
    --emit lib,shared,hpp,cmake,pkgconfig

cmake -S examples/packages -B "$out/cmake" -DCMAKE_PREFIX_PATH="$PWD/$model" -DCMAKE_BUILD_TYPE=Release
cmake --build "$out/cmake"
"$out/cmake/classify" examples/quickstart/cat.ppm
"$out/cmake/classify_shared" examples/quickstart/cat.ppm
"$out/cmake/classify_cpp"

PKG_CONFIG_PATH="$model"
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
"${CC:-cc}" -std=c99 -O2 examples/quickstart/main.c $(pkg-config --cflags --libs cifar10) -o "$out/classify"
# Where both libraries lie the linker takes the shared one.
LD_LIBRARY_PATH="$model" "$out/classify" examples/quickstart/cat.ppm
