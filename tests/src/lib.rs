//! Helpers of the cross-crate tests.

pub mod boards;
pub mod bochs;
pub mod compare;
pub mod driver;
pub mod models;
pub mod modules;
pub mod operator;
pub mod random;
pub mod sources;
pub mod stages;
pub mod stepped;
pub mod sweeps;
pub mod tools;

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// What went wrong in a test, as text.
pub type Outcome<T = ()> = Result<T, String>;

/// Any error as text.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
