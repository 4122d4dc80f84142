//! Helpers of the benchmarks.

pub mod graphs;
