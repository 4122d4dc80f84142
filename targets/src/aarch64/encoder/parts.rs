//! What the parts of the encoder have in common.

/// Lanes of 32 bits.
pub(super) const LANES: usize = 4;

/// Vector registers in the order in which they are handed out; the low halves of the last eight are the caller's.
pub(super) const VECTORS: [u32; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 8, 9, 10, 11, 12,
    13, 14, 15,
];

/// Straight code that is not in order yet: where it begins, and vector registers that were free there.
#[derive(Clone, Copy)]
pub(super) struct Straight {
    pub(super) start: usize,
    pub(super) free: u32,
}

impl Straight {
    pub(super) const EMPTY: Self = Self { start: 0, free: u32::MAX };
}

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
