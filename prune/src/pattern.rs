//! What is removed together: single weights, blocks, N of M, channels; and how a layer's matrix falls into that.

use std::fmt;
use std::ops::Range;

use kiln_calibrate::{Weights, Window};

/// What is removed together. Rows of a layer's matrix are channels of its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Blocks of so many rows by so many channels of what is read, at one tap of a window.
    Blocks {
        /// Rows.
        rows: usize,
        /// Channels.
        columns: usize,
    },
    /// Of each `of` channels of what is read `kept` stay, row by row.
    Of {
        /// How many stay.
        kept: usize,
        /// Of how many.
        of: usize,
    },
    /// Channels between layers: the model itself shrinks.
    Channels,
}

/// The blocks that compressed rows can have.
const BLOCKS: &[(usize, usize)] = &[(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (1, 4), (4, 4)];
/// The largest group of N:M.
const MOST_OF: usize = 64;

impl Pattern {
    /// `RxC`, one of the blocks that weights are stored in.
    ///
    /// # Errors
    ///
    /// What there is instead, in words.
    pub fn block(text: &str) -> Result<Self, String> {
        let parts = text.split_once(['x', 'X']);
        let parsed = parts.and_then(|(r, c)| Some((r.parse().ok()?, c.parse().ok()?)));
        match parsed.filter(|b| BLOCKS.contains(b)) {
            Some((rows, columns)) => Ok(Self::Blocks { rows, columns }),
            None => {
                let known: Vec<String> = BLOCKS.iter().map(|(r, c)| format!("{r}x{c}")).collect();
                Err(format!("'{text}' is no block; there are {}", known.join(", ")))
            }
        }
    }

    /// `N:M`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn of(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':');
        match parts.and_then(|(n, m)| Some((n.parse::<usize>().ok()?, m.parse::<usize>().ok()?))) {
            Some((kept, of)) if 0 < kept && kept < of && of <= MOST_OF => Ok(Self::Of { kept, of }),
            _ => Err(format!("'{text}' is not N:M with 0 < N < M <= {MOST_OF}, such as 2:4")),
        }
    }

    /// The part that is removed, where the pattern itself says so.
    pub fn sparsity(self) -> Option<f64> {
        match self {
            Self::Of { kept, of } => Some(1.0 - kept as f64 / of as f64),
            _ => None,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks { rows, columns } => write!(f, "{rows}x{columns}"),
            Self::Of { kept, of } => write!(f, "{kept}:{of}"),
            Self::Channels => f.write_str("channels"),
        }
    }
}

/// How a layer's matrix falls into blocks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    /// Rows that share what is removed; within a group of channels.
    pub(crate) rows: Vec<Range<usize>>,
    /// Columns that are removed together.
    pub(crate) columns: Vec<Vec<usize>>,
    /// For N:M: blocks of columns that form a group, and how many of them may be removed.
    pub(crate) limits: Option<Vec<(Vec<usize>, usize)>>,
}

impl Grid {
    pub(crate) fn of(weights: &Weights, pattern: Pattern) -> Self {
        let (rows, columns) = match pattern {
            Pattern::Blocks { rows, columns } => (rows, columns),
            Pattern::Of { .. } => (1, 1),
            Pattern::Channels => (weights.rows, 1),
        };
        let per_group = weights.rows / weights.groups.max(1);
        let rows = (0..weights.groups)
            .flat_map(|g| {
                let (from, to) = (g * per_group, (g + 1) * per_group);
                (from..to).step_by(rows).map(move |r| r..(r + rows).min(to))
            })
            .collect();
        let order = along_channels(weights);
        let columns: Vec<Vec<usize>> =
            order.iter().flat_map(|tap| tap.chunks(columns).map(<[usize]>::to_vec)).collect();
        let limits = match pattern {
            Pattern::Of { kept, of } => {
                let mut at = 0;
                let mut groups = Vec::new();
                for tap in &order {
                    for chunk in tap.chunks(of) {
                        let blocks: Vec<usize> = (at..at + chunk.len()).collect();
                        at += chunk.len();
                        groups.push((blocks, chunk.len().saturating_sub(kept)));
                    }
                }
                Some(groups)
            }
            _ => None,
        };
        Self { rows, columns, limits }
    }
}

/// Columns by tap of the window, each with its channels in order.
fn along_channels(weights: &Weights) -> Vec<Vec<usize>> {
    let taps = match &weights.window {
        Window::Rows => 1,
        Window::Taps { kernel, .. } => kernel.iter().product(),
    };
    let channels = weights.depth / taps.max(1);
    (0..taps).map(|t| (0..channels).map(|c| c * taps + t).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_calibrate::Pads;

    fn weights(rows: usize, channels: usize, groups: usize, kernel: Vec<usize>) -> Weights {
        let depth = channels * kernel.iter().product::<usize>();
        let rank = kernel.len();
        Weights {
            name: "w".to_owned(),
            bias: None,
            takes_bias: true,
            axis: 0,
            rows,
            depth,
            groups,
            window: Window::Taps {
                channels,
                groups,
                kernel,
                strides: vec![1; rank],
                dilations: vec![1; rank],
                pads: Pads::Given(vec![0; 2 * rank]),
            },
        }
    }

    #[test]
    fn words_are_patterns() {
        assert_eq!(Pattern::block("4x1"), Ok(Pattern::Blocks { rows: 4, columns: 1 }));
        assert_eq!(Pattern::of("2:4").unwrap().sparsity(), Some(0.5));
        for wrong in ["3x1", "4", "x", "4x1x1", ""] {
            assert!(Pattern::block(wrong).unwrap_err().contains("16x1"), "{wrong}");
        }
        for wrong in ["4:2", "0:4", "2:2", "2", "1:65", "a:b"] {
            assert!(Pattern::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_lie_along_channels_and_within_groups() {
        // Six channels at each of two taps; two groups of five rows.
        let weights = weights(10, 6, 2, vec![2]);
        let grid = Grid::of(&weights, Pattern::Blocks { rows: 4, columns: 4 });
        assert_eq!(grid.rows, [0..4, 4..5, 5..9, 9..10]);
        assert_eq!(grid.columns, [vec![0, 2, 4, 6], vec![8, 10], vec![1, 3, 5, 7], vec![9, 11]]);
        let grid = Grid::of(&weights, Pattern::Of { kept: 2, of: 4 });
        assert_eq!(grid.rows.len(), 10);
        let limits = grid.limits.unwrap();
        assert_eq!(limits[0], (vec![0, 1, 2, 3], 2));
        assert_eq!(limits[1], (vec![4, 5], 0));
        assert_eq!(limits.len(), 4);
    }
}
