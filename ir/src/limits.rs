//! Bounds on what is asked for: those that nothing exceeds, and those that users set.

/// The largest extent of an axis; products of a few stay within 64 bits, and no memory holds more.
pub const MAX_EXTENT: i64 = 1 << 40;

/// The most elements of a tensor: no machine holds it, and products of extents stay far from 2^63.
pub const MAX_ELEMENTS: i64 = 1 << 40;

/// The most axes of a tensor, as in NumPy.
pub const MAX_RANK: usize = 64;

/// How much a model may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the model file; protobuf itself ends below 2 GiB.
    pub max_model_bytes: u64,
    /// Bytes of all constants of the model together, external data included; and of any one value that it computes.
    pub max_tensor_bytes: u64,
    /// Bytes of the arena: what the values that live at one time need, with the padding around them.
    pub max_arena_bytes: u64,
    /// Messages inside messages; a subgraph takes three.
    pub max_depth: usize,
    /// Bytes that constant folding may add to the model beyond the constants that it removes.
    pub fold_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_model_bytes: (1 << 31) - 1,
            max_tensor_bytes: 1 << 34,
            max_arena_bytes: 1 << 35,
            max_depth: 100,
            fold_bytes: 1 << 24,
        }
    }
}
