#!/bin/sh
# Passes all tests: with nextest, which runs them in parallel, where it is installed. Our own crates are built with
# assertions, so that every verifier runs after every pass, and with checks of overflow; dependencies stay as they are.
set -eu
cd "$(dirname "$0")"
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --release --workspace "$@"
    cargo test --release --workspace --doc
else
    cargo test --release --workspace "$@"
fi
