//! `GlobalAveragePool`: the mean of each channel (ONNX `GlobalAveragePool`, since 1 and 22).
//!
//! ```text
//! y[n, c, 0...] = mean over q of x[n, c, q...]
//! ```
//!
//! Shapes: x `[N, C, ...]`, y `[N, C, 1...]`. Numerics and lowering: those of `ReduceMean` (see [`super::reduce`]).
//!
//! f16 and bf16 are computed in f32.

use super::global_max_pool::global_pool;
use super::reduce::Reduction;

global_pool!(GlobalAveragePool, "GlobalAveragePool", Reduction::Mean);
