//! Identity of an artefact: a hash of everything that decides its bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::digest::Digest;
use crate::pipeline::Options;
use crate::variant::Variant;

/// SHA-256, in hexadecimal, of name, targets, options, kernels and weights.
pub fn of(name: &str, variants: &[Variant<'_>], options: &Options) -> String {
    let mut hash = Digest::default();
    let _ = write!(
        hash,
        "kiln {} {name} opt {} winograd {} fast requantize {}",
        env!("CARGO_PKG_VERSION"),
        options.opt,
        options.winograd,
        options.fast_requantize
    );
    // Bytes that variants share count once: which those are stands in the plans.
    let mut seen = BTreeSet::new();
    for Variant { plan, target } in variants {
        let _ = write!(hash, "{target:?}{plan}");
        let new = plan.weights.iter().filter(|w| seen.insert((w.offset_bytes, w.tensor.data.len())));
        new.for_each(|weight| hash.bytes(&weight.tensor.data));
    }
    hash.hex()
}
