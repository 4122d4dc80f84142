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
    /// Two, of every four the even ones and then the odd ones: bytes that become pairs of words.
    Pairs,
    /// Two: a lane's operand of an instruction that multiplies words. Depth is a multiple of four.
    Words,
    /// None, in panels of [`CROSSED`] columns: bytes, of which a machine makes words of every other one. Depth is a multiple of
    /// four.
    Crossed,
    /// Four, as [`Steps::Fours`], for products two by two in 16 bits that fit as a rule. Behind every run of so many steps lie
    /// their bounds ([`Panels::watch`]), filled up with zeros to whole columns.
    Watched(u8),
}

/// Columns of a panel of [`Steps::Crossed`].
pub const CROSSED: usize = 2;

impl Steps {
    /// The number of steps that depth is a multiple of.
    pub fn of_depth(self) -> usize {
        match self {
            Self::Single => 1,
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

/// Whether the sum of two products of such weights with unsigned bytes fits 16 bits, whatever these are.
pub fn two_fit(a: i8, b: i8) -> bool {
    let (a, b) = (i32::from(a), i32::from(b));
    let most = i32::from(i16::MAX) / i32::from(u8::MAX);
    a.max(0) + b.max(0) <= most && a.min(0) + b.min(0) >= -most
}

/// The least sum of two unsigned bytes whose products with these weights may leave 16 bits in their sum; `None` where none do.
fn least_beyond(a: i8, b: i8) -> Option<u32> {
    if i16::from(a).signum() * i16::from(b).signum() != 1 {
        return None;
    }
    let most = if a > 0 { i32::from(i16::MAX) } else { -i32::from(i16::MIN) };
    let (a, b) = (i32::from(a).abs(), i32::from(b).abs());
    // Of all bytes with a sum the greatest total has as much as possible times the greater weight.
    let greatest = i32::from(u8::MAX);
    let rest = (most - greatest * a.max(b)) / a.min(b) + 1;
    (rest <= greatest).then_some((greatest + rest) as u32)
}

/// Products of bytes with [`Panels::watch`]'s bounds have this bit in the sum of two that may be too large.
pub const WATCHED: u16 = 1 << 14;

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

    /// Writes the bounds of [`Steps::Watched`] into packed signed bytes: two equal bytes for every two neighbours along the
    /// depth. Where a column's two products with unsigned bytes do not fit 16 bits, these bytes times the bounds are at least
    /// [`WATCHED`] in their sum, and never twice that.
    pub fn watch(&self, packed: &mut [u8]) {
        let Steps::Watched(run) = self.steps else { return };
        let (run, nr) = (usize::from(run.max(1)), self.nr);
        for run_of_panel in packed.chunks_exact_mut(watched_run(run, nr)) {
            let (weights, bounds) = run_of_panel.split_at_mut(run * nr);
            for k in (0..run).step_by(2) {
                let weight = |k, col| weights[Steps::Fours.place(k, col, nr)] as i8;
                let least = (0..nr).filter_map(|col| least_beyond(weight(k, col), weight(k + 1, col))).min();
                bounds[k..k + 2].fill(least.map_or(0, |sum| u32::from(WATCHED).div_ceil(sum) as u8));
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
    fn sums_of_bytes_beyond_16_bits() {
        for (a, b) in
            [(127i8, 127i8), (127, 2), (-128, -128), (-128, -1), (65, 64), (-100, -29), (100, -100), (64, 64)]
        {
            let pairs = || (0..=255i32).flat_map(|x| (0..=255).map(move |y| (x, y)));
            let beyond = |&(x, y): &(i32, i32)| i16::try_from(x * i32::from(a) + y * i32::from(b)).is_err();
            let least = pairs().filter(beyond).map(|(x, y)| (x + y) as u32).min();
            assert_eq!(least_beyond(a, b), least, "{a} {b}");
            assert_eq!(least_beyond(b, a), least);
            assert_eq!(least.is_none(), two_fit(a, b) || a.signum() != b.signum());
        }
    }

    #[test]
    fn watched_bytes_have_bounds_behind_them() {
        // 3 columns, depth 32 in two runs; the second and the last pairs of column 1 may leave 16 bits.
        let mut source = vec![1u8; 96];
        for (k, value) in [(2, 127), (3, 127), (30, -128i8 as u8), (31, -1i8 as u8)] {
            source[32 + k] = value;
        }
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
        let expected = |k: usize, sum: u32| {
            let mut all = [0; 16];
            all[k..k + 2].fill(16384u32.div_ceil(sum) as u8);
            all
        };
        assert_eq!(bounds(0, 0), expected(2, 255 + 4));
        assert_eq!(bounds(0, 1), expected(14, 255 + 129));
        assert_eq!((bounds(1, 0), bounds(1, 1)), (&[0; 16][..], &[0; 16][..]));
        // Bounds take whole columns.
        assert_eq!(Panels { nr: 24, ..panels }.panel_stride(), 2 * (16 * 24 + 24));
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
