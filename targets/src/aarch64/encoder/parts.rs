//! What the parts of the encoder have in common.

/// Lanes of 32 bits.
pub(super) const LANES: usize = 4;

/// A load or a store of a vector: where its instruction is, and of what.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) at: usize,
    pub(super) store: bool,
    pub(super) register: u32,
    pub(super) base: u32,
    pub(super) disp: i64,
}

/// The same word in every lane.
pub(super) fn words(bits: u32) -> u128 {
    longs(u64::from(bits) << 32 | u64::from(bits))
}

/// The same 64 bits twice.
pub(super) fn longs(bits: u64) -> u128 {
    u128::from(bits) << 64 | u128::from(bits)
}

/// All ones in the first lanes of 32 bits.
pub(super) fn first_lanes(n: usize) -> u128 {
    if n >= LANES { u128::MAX } else { (1 << (32 * n)) - 1 }
}
