//! The library's front door.

mod artifact;
mod compiler;
mod loaded;
mod names;

pub use artifact::{Artifact, Emit, Planned};
pub use compiler::Compiler;
pub use loaded::Loaded;
pub use names::{c_identifier, is_c_identifier};
