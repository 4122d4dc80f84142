//! Passes over the Graph IR and the Kernel IR, one a file. `pipeline.rs` runs them in order.

pub mod absorb;
pub mod bind;
pub mod bodies;
mod body;
pub mod bytes;
pub mod decompose;
pub mod digits;
pub mod feed;
pub mod fold;
mod images;
pub mod infer;
pub mod layout;
pub mod lower;
pub mod narrow;
pub mod signed;
pub mod sparse;
pub mod strips;
mod substitute;
pub mod widen;
pub mod winograd;
pub mod words;

#[cfg(test)]
pub(crate) mod testing;
