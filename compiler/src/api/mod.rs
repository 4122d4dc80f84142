//! The library's front door.

mod artifact;
mod compiler;
mod emits;
mod loaded;
mod write;

pub use crate::names::{c_identifier, is_c_identifier};
pub use artifact::{Artifact, Planned};
pub use compiler::Compiler;
pub use emits::Emit;
pub use loaded::Loaded;
pub use write::weights_file;
