//! Identity of an artefact: a hash of everything that decides its bytes.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

use crate::pipeline::Options;
use crate::variant::Variant;

/// Feeds text to the hash as it is formatted.
struct Text<'a>(&'a mut Sha256);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// SHA-256, in hexadecimal, of name, targets, options, kernels and weights.
pub fn of(name: &str, variants: &[Variant<'_>], options: &Options) -> String {
    let mut hash = Sha256::new();
    // Neither formatting nor hashing fails.
    let _ = write!(
        Text(&mut hash),
        "kiln {} {name} opt {} winograd {}",
        env!("CARGO_PKG_VERSION"),
        options.opt,
        options.winograd
    );
    // Bytes that variants share count once: which those are stands in the plans.
    let mut seen = BTreeSet::new();
    for Variant { plan, target } in variants {
        let _ = write!(Text(&mut hash), "{target:?}{plan}");
        let new = plan.weights.iter().filter(|w| seen.insert((w.offset_bytes, w.tensor.data.len())));
        new.for_each(|weight| hash.update(&weight.tensor.data));
    }
    hex(hash)
}

/// SHA-256, in hexadecimal, of a text.
pub fn of_text(text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    let mut out = String::new();
    for byte in hash.finalize() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
