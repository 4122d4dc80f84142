//! Identity of an artefact: a hash of everything that decides its bytes.

use std::fmt::{self, Write as _};

use kiln_ir::kernel::plan::Plan;
use sha2::{Digest, Sha256};

use crate::pipeline::Options;

/// Feeds text to the hash as it is formatted.
struct Text<'a>(&'a mut Sha256);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// SHA-256, in hexadecimal, of name, target, options, kernels and weights.
pub fn of(name: &str, plan: &Plan, options: &Options) -> String {
    let mut hash = Sha256::new();
    // Neither formatting nor hashing fails.
    let _ = write!(
        Text(&mut hash),
        "kiln {} {name} {:?} opt {} winograd {}",
        env!("CARGO_PKG_VERSION"),
        options.target,
        options.opt,
        options.winograd
    );
    let _ = write!(Text(&mut hash), "{plan}");
    for weight in &plan.weights {
        hash.update(&weight.tensor.data);
    }
    let mut out = String::new();
    for byte in hash.finalize() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
