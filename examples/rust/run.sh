#!/bin/sh
# Builds the program, with Kiln as its build dependency, and classifies a photo. Needs cargo alone.
set -eu
cd "$(dirname "$0")/../.."
# The versions that Kiln is tested with; a user's crate has a lock file of its own.
cp Cargo.lock examples/rust/Cargo.lock
cargo run --release --manifest-path examples/rust/Cargo.toml --target-dir target/rust -- examples/quickstart/cat.ppm
