#!/bin/sh
# Passes all tests: with nextest, which runs them in parallel, where it is installed.
set -eu
cd "$(dirname "$0")"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --release --workspace "$@"
else
    cargo test --release --workspace "$@"
fi
