//! Tensors for eyes: numbers, statistics, histograms, pictures.

pub(crate) mod array;
pub(crate) mod histogram;
pub(crate) mod picture;
mod sixel;
pub(crate) mod stats;
