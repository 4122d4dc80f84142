//! What the quantiser is asked for.

use kiln_calibrate::Machine;

/// How the range of activations is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From the least to the largest.
    MinMax,
    /// 99.99 % of the elements.
    Percentile,
    /// The range with the least mean square error.
    Mse,
    /// The range that loses the least information.
    Entropy,
}

/// Bits of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// -127 to 127.
    Int8,
    /// -7 to 7, two in a byte.
    Int4,
}

impl Width {
    /// The largest weight.
    pub(crate) fn most(self) -> i32 {
        match self {
            Self::Int8 => 127,
            Self::Int4 => 7,
        }
    }
}

/// How weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest number.
    Nearest,
    /// One after the other, each taking into account what those before have changed in the layer's result.
    SecondOrder,
}

/// Which layers stay float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those nodes.
    Nodes(Vec<String>),
    /// As few as let the target be met, the most sensitive first.
    Auto,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// An error of the results: the root of the mean square of differences, relative to that of the float results.
    Error(f64),
    /// So much less accuracy than the float model, in points of a hundred.
    Drop(f64),
}

/// What the quantiser is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ranges of activations.
    pub method: Method,
    /// Bits of weights.
    pub width: Width,
    /// Rounding of weights.
    pub rounding: Rounding,
    /// Whether channels are scaled between products, where that makes the error smaller.
    pub equalise: bool,
    /// Whether pairs of weights are limited so that sums of two products fit 16 bits: [`crate::pairs`].
    pub pairs: bool,
    /// Layers that stay float.
    pub keep: Keep,
    /// What is to be reached.
    pub target: Option<Target>,
    /// How models run.
    pub machine: Machine,
}
