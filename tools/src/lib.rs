//! What the command and the interactive session share: files of tensors and images, random tensors, tables, times, and what
//! is told of kernels.

pub mod explain;
pub mod heat;
pub mod images;
pub mod measure;
pub mod npy;
pub mod profile;
pub mod progress;
pub mod random;
pub mod rewrites;
pub mod samples;
pub mod summary;
pub mod table;

use anstyle::{AnsiColor, Style};

/// What deserves a look.
pub const NOTE: Style = AnsiColor::Yellow.on_default().bold();
