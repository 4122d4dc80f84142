//! Minimal filtering of bytes, exact: whole matrices, words, and one division at the end.
//!
//! With `G` times 24 (F(4x4), or 2 for F(2x2)) and a factor of four in `At` all matrices are whole, and the results are those of
//! the convolution times the square of that. Transformed activations and weights fit 16 bits:
//!
//! ```text
//!              inputs, at most            weights, at most
//!   F(2x2)     255 * 4      =  1,020      128 * 3 * 3   =  1,152
//!   F(4x4)     255 * 68     = 17,340      128 * 12 * 12 = 18,432
//! ```
//!
//! Sums of their products wrap in 32 bits, and so do those of the last transform. What is left is the result times 4 or 576, but
//! for multiples of 2^32: multiplied by the inverse of the odd part and shifted to the right it is the result, if that fits
//! the bits that are left. Weights tell ([`most`]).

use kiln_ir::Tensor;
use kiln_ir::kernel::{BinaryOp, Expr, Scalar};
use kiln_ir::types::DType;

use super::matrices::{Filter, WINDOW};

/// The greatest byte.
const MOST: i64 = 255;

impl Filter {
    /// `G` times 2 or 24, its last row times 6.
    pub(super) fn whole_weights(self) -> &'static [[f64; WINDOW]] {
        match self {
            Self::Two => &[[2.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 2.0]],
            Self::Four => &[
                [6.0, 0.0, 0.0],
                [-4.0, -4.0, -4.0],
                [-4.0, 4.0, -4.0],
                [1.0, 2.0, 4.0],
                [1.0, -2.0, 4.0],
                [0.0, 0.0, 6.0],
            ],
        }
    }

    /// `At`, with the factor that the last row of the weights lacks.
    pub(super) fn whole_output(self) -> Tensor {
        match self {
            Self::Two => self.output(),
            Self::Four => {
                let mut rows = self.output().to_f64s().unwrap_or_default();
                if let Some(last) = rows.last_mut() {
                    *last = 4.0;
                }
                let rows = rows.into_iter().map(|v| v as f32).collect();
                Tensor::from_vec::<f32>(&[self.outputs(), self.inputs()], rows)
            }
        }
    }

    /// The odd part and the power of two of what results are multiplied by.
    fn multiplied(self) -> (u32, u8) {
        match self {
            Self::Two => (1, 2),
            Self::Four => (9, 6),
        }
    }

    /// The result: the sum divided by what it is multiplied by.
    pub(super) fn quotient(self) -> Expr {
        let (odd, bits) = self.multiplied();
        let whole = |v: u32| Expr::Const(Scalar::int(DType::I32, i64::from(v as i32)));
        let odd_part =
            if odd == 1 { Expr::Acc } else { Expr::binary(BinaryOp::Mul, Expr::Acc, whole(inverse(odd))) };
        Expr::binary(BinaryOp::Shr, odd_part, whole(bits.into()))
    }

    /// Whether results of this magnitude fit the bits that are left.
    pub(super) fn holds(self, most: i64) -> bool {
        most < 1 << (31 - self.multiplied().1)
    }
}

/// The number whose product with an odd one is 1 but for multiples of 2^32.
fn inverse(odd: u32) -> u32 {
    // Each step doubles the bits that are right, three at first.
    (0..4).fold(odd, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
}

/// The greatest magnitude of a sum of unsigned bytes times these signed ones, `outputs` of them along the axis `axis`.
pub(super) fn most(weights: &Tensor, axis: usize) -> i64 {
    let inner: usize = weights.shape[axis + 1..].iter().product();
    let mut sums = vec![(0i64, 0i64); weights.shape[axis]];
    for (i, byte) in weights.data.iter().enumerate() {
        let (below, above) = &mut sums[i / inner.max(1) % weights.shape[axis]];
        let weight = i64::from(*byte as i8);
        *below -= weight.min(0);
        *above += weight.max(0);
    }
    sums.into_iter().map(|(below, above)| MOST * below.max(above)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis_is_a_convolution_times_a_whole_number() {
        for (filter, times) in [(Filter::Two, 2.0), (Filter::Four, 24.0)] {
            let (m, t) = (filter.outputs(), filter.inputs());
            let of = |tensor: Tensor| tensor.to_f64s().unwrap();
            let (bt, at, g) = (of(filter.input()), of(filter.whole_output()), filter.whole_weights());
            for unit in 0..t {
                for (k, i) in (0..WINDOW).flat_map(|k| (0..m).map(move |i| (k, i))) {
                    let y: f64 = (0..t).map(|x| at[i * t + x] * g[x][k] * bt[x * t + unit]).sum();
                    assert_eq!(y, if i + k == unit { times } else { 0.0 }, "{filter:?} {unit} {k} {i}");
                }
            }
            let (odd, bits) = filter.multiplied();
            assert_eq!(times * times, f64::from(odd << bits));
            assert_eq!(inverse(odd).wrapping_mul(odd), 1);
        }
    }

    #[test]
    fn words_hold_what_is_transformed() {
        for (filter, inputs, weights) in [(Filter::Two, 1020.0, 1152.0), (Filter::Four, 17_340.0, 18_432.0)] {
            let t = filter.inputs();
            let bt = filter.input().to_f64s().unwrap();
            // The greatest and the least sums of bytes: where the products of coefficients are positive, and negative.
            let parts = |row: &[f64]| {
                let sum =
                    |keep: fn(&f64) -> bool| row.iter().filter(|v| keep(v)).map(|v| v.abs()).sum::<f64>();
                (sum(|v| *v > 0.0), sum(|v| *v < 0.0))
            };
            let rows: Vec<(f64, f64)> = bt.chunks(t).map(parts).collect();
            let pairs = rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b)));
            let most =
                pairs.map(|(a, b)| (a.0 * b.0 + a.1 * b.1).max(a.0 * b.1 + a.1 * b.0)).fold(0.0, f64::max);
            assert_eq!(255.0 * most, inputs);
            let sums = filter.whole_weights().iter().map(|g| g.iter().map(|v| v.abs()).sum::<f64>());
            let most = sums.fold(0.0, f64::max);
            assert_eq!(128.0 * most * most, weights);
            assert!(inputs.max(weights) <= f64::from(i16::MAX));
        }
    }

    #[test]
    fn bounds_of_sums_and_what_fits() {
        // Two outputs along the second axis: sums of weights -130 and 3, 7 and -1.
        let weights = Tensor::from_vec::<i8>(&[2, 2, 2], vec![-128, 3, 7, 0, -2, 0, -1, 0]);
        assert_eq!(most(&weights, 1), 255 * 130);
        assert_eq!(most(&weights, 0), 255 * 128);
        assert!(Filter::Four.holds((1 << 25) - 1) && !Filter::Four.holds(1 << 25));
        assert!(Filter::Two.holds((1 << 29) - 1) && !Filter::Two.holds(1 << 29));
    }
}
