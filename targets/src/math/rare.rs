//! What hardly ever is needed.

/// Of a function what hardly ever is needed: a part of its domain that a definition leaves to
/// `Arithmetic::rarely`. Always in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rare {
    /// Sine of any f32.
    AnySin,
    /// Cosine of any f32.
    AnyCos,
    /// Sine of large numbers.
    Sin,
    /// Cosine of large numbers.
    Cos,
    /// Tangent of large numbers.
    Tan,
    /// Remainder of numbers whose quotient is large.
    Rem,
}
