//! How the activations of a product become rows of numbers that are multiplied by a row of weights.

use kiln_onnx::Node;

/// Where the numbers of a product come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// The innermost axis of the activations.
    Rows,
    /// A window over the axes behind channels.
    Taps {
        /// Channels that a group of results reads.
        channels: usize,
        /// Groups of channels.
        groups: usize,
        /// Along each axis in space.
        kernel: Vec<usize>,
        /// Steps between windows.
        strides: Vec<usize>,
        /// Steps between taps.
        dilations: Vec<usize>,
        /// What stands around the activations.
        pads: Pads,
    },
}

/// What stands around the activations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pads {
    /// So many zeros before each axis, then so many behind each.
    Given(Vec<usize>),
    /// As many as make an extent a multiple of the step; an odd one stands behind, or before.
    Same {
        /// Whether an odd zero stands before.
        before: bool,
    },
}

impl Window {
    /// Of a convolution with weights of this shape.
    pub fn of(node: &Node, weights: &[usize]) -> Option<Self> {
        let rank = weights.len() - 2;
        let kernel = weights[2..].to_vec();
        if node.ints("kernel_shape").is_some_and(|k| k.iter().zip(&kernel).any(|(a, b)| *a != *b as i64)) {
            return None;
        }
        let list = |name: &str, n: usize, default: usize| -> Option<Vec<usize>> {
            match node.ints(name) {
                None => Some(vec![default; n]),
                Some(values) if values.len() == n => {
                    values.iter().map(|v| usize::try_from(*v).ok()).collect()
                }
                Some(_) => None,
            }
        };
        let pads = match node.string("auto_pad").as_deref() {
            None | Some("" | "NOTSET") => Pads::Given(list("pads", 2 * rank, 0)?),
            Some("VALID") => Pads::Given(vec![0; 2 * rank]),
            Some("SAME_UPPER") => Pads::Same { before: false },
            Some("SAME_LOWER") => Pads::Same { before: true },
            Some(_) => return None,
        };
        let groups = usize::try_from(node.int("group").unwrap_or(1)).ok()?;
        let (strides, dilations) = (list("strides", rank, 1)?, list("dilations", rank, 1)?);
        if strides.contains(&0) || dilations.contains(&0) {
            return None;
        }
        Some(Self::Taps { channels: weights[1], groups, kernel, strides, dilations, pads })
    }

    /// How many rows activations of this shape make, for each group.
    pub fn rows(&self, shape: &[usize]) -> usize {
        match self {
            Self::Rows => shape.iter().rev().skip(1).product(),
            Self::Taps { .. } => {
                shape.first().map_or(0, |n| n * self.positions(shape).iter().product::<usize>())
            }
        }
    }

    /// Extents of the result in space.
    fn positions(&self, shape: &[usize]) -> Vec<usize> {
        let Self::Taps { kernel, strides, dilations, pads, .. } = self else { return Vec::new() };
        let rank = kernel.len();
        (0..rank)
            .map(|i| {
                let extent = shape.get(2 + i).copied().unwrap_or(0);
                match pads {
                    Pads::Same { .. } => extent.div_ceil(strides[i]),
                    Pads::Given(p) => {
                        let whole = extent + p[i] + p[rank + i];
                        let span = dilations[i] * kernel[i].saturating_sub(1) + 1;
                        whole.checked_sub(span).map_or(0, |rest| rest / strides[i] + 1)
                    }
                }
            })
            .collect()
    }

    /// Zeros before each axis in space.
    fn before(&self, shape: &[usize]) -> Vec<usize> {
        let Self::Taps { kernel, strides, dilations, pads, .. } = self else { return Vec::new() };
        match pads {
            Pads::Given(p) => p[..kernel.len()].to_vec(),
            Pads::Same { before } => (0..kernel.len())
                .map(|i| {
                    let extent = shape[2 + i];
                    let span = (extent.div_ceil(strides[i]).max(1) - 1) * strides[i]
                        + dilations[i] * (kernel[i] - 1)
                        + 1;
                    let total = span.saturating_sub(extent);
                    if *before { total.div_ceil(2) } else { total / 2 }
                })
                .collect(),
        }
    }

    /// Calls `see` with the numbers that make row `row` in group `group`: as many as a row of weights has.
    pub fn gather(&self, x: &[f32], shape: &[usize], group: usize, row: usize, out: &mut Vec<f32>) {
        out.clear();
        let Self::Taps { channels, groups, kernel, strides, dilations, .. } = self else {
            let depth = shape.last().copied().unwrap_or(0);
            out.extend_from_slice(&x[row * depth..(row + 1) * depth]);
            return;
        };
        let positions = self.positions(shape);
        let before = self.before(shape);
        let per_image: usize = positions.iter().product();
        let (image, mut rest) = (row / per_image, row % per_image);
        let rank = kernel.len();
        // The first tap's place along each axis, left of the image where there is padding.
        let mut first = vec![0isize; rank];
        for i in (0..rank).rev() {
            first[i] = (rest % positions[i] * strides[i]) as isize - before[i] as isize;
            rest /= positions[i];
        }
        let space: usize = shape[2..].iter().product();
        let taps: usize = kernel.iter().product();
        for c in 0..*channels {
            let plane = (image * channels * groups + group * channels + c) * space;
            for tap in 0..taps {
                let (mut rest, mut at, mut stride, mut inside) = (tap, 0usize, 1usize, true);
                for i in (0..rank).rev() {
                    let place = first[i] + (rest % kernel[i] * dilations[i]) as isize;
                    rest /= kernel[i];
                    inside &= place >= 0 && (place as usize) < shape[2 + i];
                    at += if inside { place as usize * stride } else { 0 };
                    stride *= shape[2 + i];
                }
                out.push(if inside { x[plane + at] } else { 0.0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: &[usize], strides: &[usize], pads: Pads) -> Window {
        Window::Taps {
            channels: 1,
            groups: 1,
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            dilations: vec![1; kernel.len()],
            pads,
        }
    }

    #[test]
    fn taps_outside_are_zero() {
        let w = window(&[2, 2], &[1, 1], Pads::Given(vec![1, 1, 0, 0]));
        let x = [1.0, 2.0, 3.0, 4.0];
        let shape = [1, 1, 2, 2];
        assert_eq!(w.rows(&shape), 4);
        let row = |row| {
            let mut out = Vec::new();
            w.gather(&x, &shape, 0, row, &mut out);
            out
        };
        assert_eq!(row(0), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(row(1), [0.0, 0.0, 1.0, 2.0]);
        assert_eq!(row(3), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn padding_by_itself() {
        let w = window(&[3], &[2], Pads::Same { before: false });
        let (x, shape) = ([1.0, 2.0, 3.0, 4.0], [1, 1, 4]);
        assert_eq!(w.rows(&shape), 2);
        let mut out = Vec::new();
        w.gather(&x, &shape, 0, 1, &mut out);
        assert_eq!(out, [3.0, 4.0, 0.0]);
        assert_eq!(Window::Rows.rows(&[2, 3, 4]), 6);
    }
}
