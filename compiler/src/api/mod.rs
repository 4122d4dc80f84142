//! The library's front door.

mod artifact;
mod compiler;
mod loaded;

pub use crate::names::{c_identifier, is_c_identifier};
pub use artifact::{Artifact, Emit, Planned};
pub use compiler::Compiler;
pub use loaded::Loaded;
