//! The matrices of minimal filtering for windows of three: interpolation at 0, 1, -1 (2, -2) and infinity.

use kiln_ir::Tensor;

/// Weights along an axis of the window.
pub(super) const WINDOW: usize = 3;
/// Inputs of the largest tile along an axis.
pub(super) const MOST_INPUTS: usize = 6;

/// A size of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// F(2x2, 3x3).
    Two,
    /// F(4x4, 3x3).
    Four,
}

impl Filter {
    /// Results of a tile along an axis.
    pub(super) fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Size of the tiles of results, in words.
    pub(super) fn name(self) -> String {
        format!("F({0}x{0}, {WINDOW}x{WINDOW})", self.outputs())
    }

    /// Inputs of a tile along an axis.
    pub(super) fn inputs(self) -> usize {
        self.outputs() + WINDOW - 1
    }

    /// `Bt`.
    pub(super) fn input(self) -> Tensor {
        let rows = match self {
            Self::Two => {
                [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]]
                    .concat()
            }
            Self::Four => [
                [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
                [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
                [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
                [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
                [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
                [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
            ]
            .concat(),
        };
        Tensor::from_vec::<f32>(&[self.inputs(), self.inputs()], rows)
    }

    /// `G`, row by row.
    pub(super) fn weights(self) -> &'static [[f64; WINDOW]] {
        match self {
            Self::Two => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            Self::Four => &[
                [1.0 / 4.0, 0.0, 0.0],
                [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
                [0.0, 0.0, 1.0],
            ],
        }
    }

    /// `At`.
    pub(super) fn output(self) -> Tensor {
        let rows = match self {
            Self::Two => [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]].concat(),
            Self::Four => [
                [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
                [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
                [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
            ]
            .concat(),
        };
        Tensor::from_vec::<f32>(&[self.outputs(), self.inputs()], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis_is_the_definition_of_a_convolution() {
        for filter in [Filter::Two, Filter::Four] {
            let (m, t) = (filter.outputs(), filter.inputs());
            let of = |tensor: Tensor| tensor.to_f64s().unwrap();
            let (bt, at, g) = (of(filter.input()), of(filter.output()), filter.weights());
            // Bilinear: it is enough to try units.
            for unit in 0..t {
                for (k, i) in (0..WINDOW).flat_map(|k| (0..m).map(move |i| (k, i))) {
                    let y: f64 = (0..t).map(|x| at[i * t + x] * g[x][k] * bt[x * t + unit]).sum();
                    let expected = if i + k == unit { 1.0 } else { 0.0 };
                    assert!((y - expected).abs() < 1e-12, "{filter:?} {unit} {k} {i}: {y}");
                }
            }
        }
    }
}
