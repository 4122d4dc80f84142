//! `kiln repl`: on a pseudo-terminal as a person uses it, and in scripts.
#![cfg(unix)]

mod scripts;
mod terminal;
mod transcript;

use std::path::PathBuf;

/// The model that the repository ships for digits.
fn shipped() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/tiny/mnist_cnn.onnx");
    path.canonicalize().unwrap().display().to_string()
}
