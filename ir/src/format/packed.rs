//! Panels: the layout of a contraction's weights.
//!
//! `nr` columns lie side by side, depth runs through them, panels follow each other; the last panel is filled up
//! with zeros. A kernel reads a panel, or several beside each other, from front to back.
//!
//! ```text
//!              columns 0..nr        columns nr..2nr
//!            +----------------+   +----------------+
//!  depth 0   | 0  1 .. nr-1   |   | panel_stride   |     panel_stride = depth * nr
//!  depth 1   | nr ..          |   |                |
//!  ...       |                |   |                |
//!            +----------------+   +----------------+
//! ```
//!
//! Batches (groups) follow each other, `panels * panel_stride` apart.
//!
//! Bytes and words are multiplied several steps of depth at a time, so these lie together in a column ([`Steps`]):
//!
//! ```text
//!   single   depth 0: 0 1 .. nr-1   depth 1: nr ..
//!   fours    depth 0 to 3 of column 0, of column 1, ..
//!   eights   depth 0 to 7 of column 0, of column 1, ..
//!   pairs    depth 0 and 2 of column 0, of column 1, .., then depth 1 and 3 of column 0, ..
//!   words    depth 0 and 1 of column 0, of column 1, .., then depth 2 and 3 of column 0, ..
//!   crossed  as single, in panels of two columns: every other byte of two steps is a pair of words
//!   watched  as fours, and behind so many steps of depth as many bounds
//! ```

use crate::error::{Error, Result};

/// Which steps of depth of a column lie together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Steps {
    /// None: a step is a row of the panel.
    #[default]
    Single,
    /// Four: a lane's operand of an instruction that multiplies bytes, or of one that does so two by two in 16 bits, which the
    /// weights prove to be enough.
    Fours,
    /// Eight: half an operand of an instruction that multiplies the bytes of two rows with those of two columns.
    Eights,
    /// Two, of every four the even ones and then the odd ones: bytes that become pairs of words.
    Pairs,
    /// Two: a lane's operand of an instruction that multiplies words, or half a lane's of one that multiplies bytes. Depth is a
    /// multiple of four.
    Words,
    /// None, in panels of [`CROSSED`] columns: bytes, of which a machine makes words of every other one. Depth is a multiple of
    /// four.
    Crossed,
    /// Four, as [`Steps::Fours`], for sums of products in 16 bits that fit as a rule: of four, or at least of two. Behind every run
    /// of so many steps, eight or more, lie their bounds ([`Panels::watch`]), filled up with zeros to whole columns.
    Watched(u8),
}

/// Columns of a panel of [`Steps::Crossed`].
pub const CROSSED: usize = 2;

impl Steps {
    /// The number of steps that depth is a multiple of.
    pub fn of_depth(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Eights => 8,
            Self::Watched(run) => run.into(),
            _ => 4,
        }
    }

    /// Elements of a panel of `nr` columns with so many steps.
    pub fn elements(self, depth: usize, nr: usize) -> usize {
        match self {
            Self::Watched(run) => depth / usize::from(run.max(1)) * watched_run(run.into(), nr),
            _ => depth * nr,
        }
    }

    /// Where column `col` of step `k` lies in a panel of `nr` columns.
    pub fn place(self, k: usize, col: usize, nr: usize) -> usize {
        match self {
            Self::Single | Self::Crossed => k * nr + col,
            Self::Fours => k / 4 * 4 * nr + 4 * col + k % 4,
            Self::Eights => k / 8 * 8 * nr + 8 * col + k % 8,
            Self::Pairs => k / 4 * 4 * nr + k % 2 * 2 * nr + 2 * col + k % 4 / 2,
            Self::Words => k / 2 * 2 * nr + 2 * col + k % 2,
            Self::Watched(run) => {
                let run = usize::from(run.max(1));
                k / run * watched_run(run, nr) + Self::Fours.place(k % run, col, nr)
            }
        }
    }
}

/// Elements of a run of steps and their bounds.
fn watched_run(run: usize, nr: usize) -> usize {
    run * nr + run.next_multiple_of(nr.max(1))
}

/// Whether sums of products of such weights with unsigned bytes fit 16 bits, whatever these are, and whichever are added.
fn sums_fit(weights: &[i8]) -> bool {
    let most = i32::from(i16::MAX) / i32::from(u8::MAX);
    let sum = |sign: i32| weights.iter().map(|w| (sign * i32::from(*w)).max(0)).sum::<i32>();
    sum(1) <= most && sum(-1) <= most
}

/// Whether the sum of two products of such weights with unsigned bytes fits 16 bits, whatever these are.
pub fn two_fit(a: i8, b: i8) -> bool {
    sums_fit(&[a, b])
}

/// Bounds of four steps, by the weights of each column.
fn bounds_of(columns: impl Iterator<Item = [i8; 4]> + Clone) -> [u8; 4] {
    let mut greatest = [0u32; 4];
    for column in columns.clone() {
        for (most, weight) in greatest.iter_mut().zip(column) {
            *most = (*most).max(weight.unsigned_abs().into());
        }
    }
    let parts =
        columns.flat_map(|column| [1, -1].map(|sign| column.map(|w| (sign * i32::from(w)).max(0) as u32)));
    let least = parts
        .filter_map(|weights| least_beyond(weights, greatest))
        .min_by(|a, b| (a[0] * b[1]).cmp(&(b[0] * a[1])));
    least.map_or([0; 4], |[sum, of]| greatest.map(|most| (u64::from(most) * HALF * of).div_ceil(sum) as u8))
}

/// Sums of products beyond 16 bits begin here.
const BEYOND: u32 = 1 << 15;
/// What bounds times bytes are then.
const HALF: u64 = 1 << 14;

/// The least sum of unsigned bytes times `costs` whose sum times `weights` leaves 16 bits, as a numerator and a denominator;
/// `None` where none does. As much as possible has the least cost for its weight.
fn least_beyond(mut weights: [u32; 4], mut costs: [u32; 4]) -> Option<[u64; 2]> {
    let greatest = u32::from(u8::MAX);
    if weights.iter().sum::<u32>() * greatest < BEYOND {
        return None;
    }
    // What adds nothing comes last, whatever it costs.
    for (weight, cost) in weights.iter().zip(&mut costs) {
        *cost += u32::from(*weight == 0);
    }
    for (a, b) in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)] {
        if costs[b] * weights[a] < costs[a] * weights[b] {
            weights.swap(a, b);
            costs.swap(a, b);
        }
    }
    let (mut left, mut cost) = (BEYOND, 0);
    for (weight, each) in weights.into_iter().zip(costs) {
        if weight * greatest >= left {
            return Some([u64::from(cost * weight + left * each), weight.into()]);
        }
        left -= weight * greatest;
        cost += each * greatest;
    }
    None
}

/// Sums of products of bytes with [`Panels::watch`]'s bounds, in 16 bits without a sign, have one of these bits where sums of the
/// products with weights may leave 16 bits.
pub const WATCHED: u16 = 0b11 << 14;

/// A strided source and the panels it is packed into. Extents and strides are elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Panels {
    /// First element of the source.
    pub offset: usize,
    /// `(extent, stride)` of each batch loop, outermost first.
    pub batch: Vec<(usize, isize)>,
    /// `(extent, stride)` of each depth loop, outermost first.
    pub depth: Vec<(usize, isize)>,
    /// `(extent, stride)` of the columns.
    pub cols: (usize, isize),
    /// Columns of a panel.
    pub nr: usize,
    /// Which steps lie together; depth is a multiple of [`Steps::of_depth`].
    pub steps: Steps,
}

impl Panels {
    /// Steps of depth.
    pub fn depth_extent(&self) -> usize {
        self.depth.iter().map(|d| d.0).product()
    }

    /// Elements from one panel to the next.
    pub fn panel_stride(&self) -> usize {
        self.steps.elements(self.depth_extent(), self.nr)
    }

    /// Number of panels of one batch.
    pub fn panels(&self) -> usize {
        self.cols.0.div_ceil(self.nr)
    }

    /// Elements of the packed form.
    pub fn len(&self) -> usize {
        self.batch.iter().map(|b| b.0).product::<usize>() * self.panels() * self.panel_stride()
    }

    /// Whether there is nothing to pack.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed form of `source`.
    pub fn encode<T: Copy + Default>(&self, source: &[T]) -> Result<Vec<T>> {
        self.check(source.len())?;
        let mut out = vec![T::default(); self.len()];
        self.visit(&mut |to, from| out[to] = source[from]);
        Ok(out)
    }

    /// The source again, `len` elements long, from its packed form; elements that are not packed are 0.
    pub fn decode<T: Copy + Default>(&self, packed: &[T], len: usize) -> Result<Vec<T>> {
        self.check(len)?;
        if packed.len() != self.len() {
            return Err(Error::internal(format!(
                "panels of {} elements, expected {}",
                packed.len(),
                self.len()
            )));
        }
        let mut out = vec![T::default(); len];
        self.visit(&mut |to, from| out[from] = packed[to]);
        Ok(out)
    }

    /// Writes the bounds of [`Steps::Watched`] into packed signed bytes, one for each step. Four products are added in 16 bits, of
    /// two neighbours along the depth of each half of a run. Where those of a column leave 16 bits, whichever of them are added,
    /// the bounds times the bytes are 2^14 at least ([`WATCHED`]), and they are less than 2^16. They are as the greatest weights
    /// of the steps, at most half of these, rounded up; where no bytes lead out of 16 bits they are 0.
    pub fn watch(&self, packed: &mut [u8]) {
        let Steps::Watched(run) = self.steps else { return };
        let (run, nr) = (usize::from(run.max(1)), self.nr);
        for run_of_panel in packed.chunks_exact_mut(watched_run(run, nr)) {
            let (weights, bounds) = run_of_panel.split_at_mut(run * nr);
            for k in (0..run / 2).step_by(2) {
                let steps = [k, k + 1, run / 2 + k, run / 2 + k + 1];
                let columns = (0..nr).map(|col| steps.map(|k| weights[Steps::Fours.place(k, col, nr)] as i8));
                for (k, bound) in steps.into_iter().zip(bounds_of(columns)) {
                    bounds[k] = bound;
                }
            }
        }
    }

    fn check(&self, len: usize) -> Result<()> {
        let loops = self.batch.iter().chain(&self.depth).chain([&self.cols]);
        let (mut lo, mut hi) = (self.offset as isize, self.offset as isize);
        for (extent, stride) in loops {
            let reach = stride * (*extent as isize - 1).max(0);
            (lo, hi) = (lo + reach.min(0), hi + reach.max(0));
        }
        if !self.depth_extent().is_multiple_of(self.steps.of_depth()) {
            return Err(Error::internal(format!("{} steps of depth in fours", self.depth_extent())));
        }
        if !self.is_empty() && (lo < 0 || hi >= len as isize) {
            return Err(Error::internal(format!("packing reads elements {lo} to {hi} of {len}")));
        }
        Ok(())
    }

    /// Calls `f(packed index, source index)` for every element.
    fn visit(&self, f: &mut impl FnMut(usize, usize)) {
        let depth = offsets(&self.depth);
        let (panels, nr) = (self.panels(), self.nr);
        for (b, base) in offsets(&self.batch).into_iter().enumerate() {
            for panel in 0..panels {
                let cols = (self.cols.0 - panel * nr).min(nr);
                let start = (b * panels + panel) * self.panel_stride();
                let first = self.offset as isize + base + (panel * nr) as isize * self.cols.1;
                for (k, step) in depth.iter().enumerate() {
                    for col in 0..cols {
                        let to = start + self.steps.place(k, col, nr);
                        f(to, (first + step + col as isize * self.cols.1) as usize);
                    }
                }
            }
        }
    }
}

/// Offsets of all iterations of nested loops, innermost fastest.
fn offsets(loops: &[(usize, isize)]) -> Vec<isize> {
    loops.iter().fold(vec![0], |outer, (extent, stride)| {
        outer.iter().flat_map(|o| (0..*extent as isize).map(move |i| o + i * stride)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_matrix_in_panels_of_four() {
        // 6 columns, depth 2, stored column by column.
        let source: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let panels = Panels {
            offset: 0,
            batch: vec![],
            depth: vec![(2, 1)],
            cols: (6, 2),
            nr: 4,
            steps: Steps::Single,
        };
        let packed = panels.encode(&source).unwrap();
        assert_eq!(packed, [0., 2., 4., 6., 1., 3., 5., 7., 8., 10., 0., 0., 9., 11., 0., 0.]);
        assert_eq!(panels.decode(&packed, 12).unwrap(), source);
    }

    #[test]
    fn two_products_fit_16_bits() {
        for (a, b) in [(-128i8, 0i8), (-64, -64), (127, 1), (127, -128), (64, 64), (0, 0)] {
            assert!(two_fit(a, b) && two_fit(b, a), "{a} {b}");
        }
        for (a, b) in [(-128i8, -1i8), (127, 2), (65, 64)] {
            assert!(!two_fit(a, b) && !two_fit(b, a), "{a} {b}");
        }
    }

    #[test]
    fn watched_bytes_have_bounds_behind_them() {
        // 3 columns, depth 32 in two runs; some products with columns 0 and 1 may leave 16 bits.
        let mut source = vec![1u8; 96];
        for (k, value) in [(2, 127), (10, 127), (30, -128i8 as u8), (31, -1i8 as u8)] {
            source[32 + k] = value;
        }
        source[3] = -77i8 as u8;
        let panels = Panels {
            offset: 0,
            batch: vec![],
            depth: vec![(32, 1)],
            cols: (3, 32),
            nr: 2,
            steps: Steps::Watched(16),
        };
        let mut packed = panels.encode(&source).unwrap();
        assert_eq!((packed.len(), panels.panel_stride()), (2 * 96, 96));
        panels.watch(&mut packed);
        assert_eq!(panels.decode(&packed, 96).unwrap(), source);
        let bounds = |panel: usize, run: usize| &packed[panel * 96 + run * 48 + 32..][..16];
        let mut expected = [[0; 16]; 2];
        // Steps 2, 3, 10 and 11 are added, and so are 22, 23, 30 and 31.
        (expected[0][2], expected[0][3], expected[0][10], expected[0][11]) = (64, 39, 64, 1);
        (expected[1][6], expected[1][7], expected[1][14], expected[1][15]) = (1, 1, 64, 1);
        assert_eq!([bounds(0, 0), bounds(0, 1)], [&expected[0], &expected[1]]);
        assert_eq!((bounds(1, 0), bounds(1, 1)), (&[0; 16][..], &[0; 16][..]));
        // Bounds take whole columns.
        assert_eq!(Panels { nr: 24, ..panels }.panel_stride(), 2 * (16 * 24 + 24));
    }

    #[test]
    fn sums_that_leave_16_bits_are_seen() {
        // Two columns and the bytes of their four steps, at random and at the ends of the range.
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let (mut beyond, mut clear) = (0, 0);
        for i in 0..3000 {
            let mut weights = [[0u8; 16]; 2];
            for steps in &mut weights {
                for k in [0, 1, 8, 9] {
                    steps[k] =
                        if i % 3 == 0 { [127, 128, 0, 0, 30][usize::from(next() % 5)] } else { next() };
                }
            }
            let panels = Panels {
                offset: 0,
                batch: vec![],
                depth: vec![(16, 1)],
                cols: (2, 16),
                nr: 2,
                steps: Steps::Watched(16),
            };
            let mut packed = panels.encode(&weights.concat()).unwrap();
            panels.watch(&mut packed);
            let bounds = &packed[32..];
            let x = [0, 1, 8, 9].map(|k| (k, if i % 2 == 0 { next() | 0xc0 } else { next() }));
            let sum = |of: &[usize], part: &dyn Fn(usize) -> i32| {
                of.iter().map(|i| part(x[*i].0) * i32::from(x[*i].1)).sum::<i32>()
            };
            for of in [&[0, 1][..], &[2, 3], &[0, 1, 2, 3]] {
                let bound = sum(of, &|k| i32::from(bounds[k]));
                assert!(bound < 1 << 16);
                let leaves =
                    weights.iter().any(|w| i16::try_from(sum(of, &|k| i32::from(w[k] as i8))).is_err());
                let watched = bound as u16 & WATCHED != 0;
                assert!(watched || !leaves, "{weights:?} {x:?}");
                beyond += u32::from(leaves);
                clear += u32::from(!watched);
            }
        }
        assert!(beyond > 250 && clear > 250, "{beyond} {clear}");
    }

    #[test]
    fn bytes_in_fours_and_pairs() {
        // 3 columns, depth 4, stored column by column: step k of column c is 10 c + k.
        let source: Vec<u8> = (0..3).flat_map(|c| (0..4).map(move |k| 10 * c + k)).collect();
        let panels =
            |steps| Panels { offset: 0, batch: vec![], depth: vec![(4, 1)], cols: (3, 4), nr: 2, steps };
        let fours = panels(Steps::Fours).encode(&source).unwrap();
        assert_eq!(fours, [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 0, 0, 0, 0]);
        let pairs = panels(Steps::Pairs).encode(&source).unwrap();
        assert_eq!(pairs, [0, 2, 10, 12, 1, 3, 11, 13, 20, 22, 0, 0, 21, 23, 0, 0]);
        assert_eq!(panels(Steps::Pairs).decode(&pairs, 12).unwrap(), source);
        let words = panels(Steps::Words).encode(&source).unwrap();
        assert_eq!(words, [0, 1, 10, 11, 2, 3, 12, 13, 20, 21, 0, 0, 22, 23, 0, 0]);
        assert_eq!(panels(Steps::Words).decode(&words, 12).unwrap(), source);
        let crossed = panels(Steps::Crossed).encode(&source).unwrap();
        assert_eq!(crossed, [0, 10, 1, 11, 2, 12, 3, 13, 20, 0, 21, 0, 22, 0, 23, 0]);
        assert_eq!(panels(Steps::Crossed).decode(&crossed, 12).unwrap(), source);
        assert!(Panels { depth: vec![(3, 1)], ..panels(Steps::Fours) }.encode(&source).is_err());
    }

    #[test]
    fn bytes_in_eights() {
        // 3 columns, depth 16, stored column by column: step k of column c is 16 c + k.
        let source: Vec<u8> = (0..48).collect();
        let panels = Panels {
            offset: 0,
            batch: vec![],
            depth: vec![(16, 1)],
            cols: (3, 16),
            nr: 2,
            steps: Steps::Eights,
        };
        let packed = panels.encode(&source).unwrap();
        let runs: Vec<u8> = packed.chunks_exact(8).map(|run| run[0]).collect();
        assert_eq!(runs, [0, 16, 8, 24, 32, 0, 40, 0]);
        assert_eq!(packed[8..16], [16, 17, 18, 19, 20, 21, 22, 23]);
        assert_eq!(panels.decode(&packed, 48).unwrap(), source);
        assert!(Panels { depth: vec![(12, 1)], ..panels }.encode(&source).is_err());
    }

    #[test]
    fn batches_follow_each_other_and_out_of_range_is_refused() {
        let source: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let panels = Panels {
            offset: 0,
            batch: vec![(2, 12)],
            depth: vec![(3, 1), (2, 3)],
            cols: (2, 6),
            nr: 4,
            steps: Steps::Single,
        };
        let packed = panels.encode(&source).unwrap();
        assert_eq!(packed.len(), 2 * 6 * 4);
        assert_eq!(packed[24], 12.0);
        assert_eq!(panels.decode(&packed, 24).unwrap(), source);
        assert!(panels.encode(&source[..23]).is_err());
    }
}
