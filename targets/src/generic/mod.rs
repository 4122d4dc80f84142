//! What every machine can do: the vector builder on Cranelift.

pub mod clif;
