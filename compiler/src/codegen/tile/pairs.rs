//! Steps of tiles of bytes whose products fit 16 bits two by two: four steps of depth at a time.
//!
//! Weights prove it ([`two_fit`](kiln_ir::format::packed::two_fit)), or a run of activations is looked at before it is multiplied
//! ([`Steps::Watched`](kiln_ir::format::packed::Steps)). Mostly even four products fit, so that two multiplications of bytes take
//! one of words:
//!
//! ```text
//!   run of 32:   steps 0 1 2 3 | 4 5 6 7 | ..      steps 16 17 18 19 | 20 21 22 23 | ..
//!                      '-----------------------------'                                     one sum in 32 bits
//! ```
//!
//! Large weights and large activations of one sign meet seldom; a run in which four might leave 16 bits is multiplied two by
//! two, and one in which two might, in halves, which always fit:
//!
//! ```text
//!   x = (x & 127) + (x & 128)        127 * (127 + 127) and 128 * (127 + 127) < 2^15, 128 * (128 + 128) = 2^15
//! ```

use kiln_ir::format::packed::WATCHED;
use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Op2, R, Refusal, Simd, Src, V};

use super::{Extent, Generator};

/// Elements from a column to the next one where four steps of depth lie together.
const FOURS: i64 = 4;
/// Two words of 1.
const ONES: u32 = 0x0001_0001;
/// Two words of [`WATCHED`].
const BEYOND: u32 = (WATCHED as u32) << 16 | WATCHED as u32;
/// The parts of activations that are multiplied one by one.
const PARTS: [u32; 2] = [0x7f7f_7f7f, 0x8080_8080];

/// How many products of a run are added in 16 bits.
#[derive(Clone, Copy, PartialEq)]
enum Added {
    Two,
    Four,
}

impl Generator<'_> {
    /// Makes the constant of [`Generator::step_of_pairs`], before any tile.
    pub(super) fn prepare_pairs<S: Simd>(s: &mut S) -> R {
        s.prepare_constant(ONES)
    }

    /// Whether the panels are those of an instruction for four bytes that the machine does not have.
    pub(super) fn in_pairs<S: Simd>(&self, s: &S) -> bool {
        self.tile.quad.is_some() && self.column == FOURS && !s.has_dot4() && !s.has_signed_dot4()
    }

    /// Rows pass by one at a time; the panel's vectors are operands in memory.
    pub(super) fn step_of_pairs<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        self.products_of_pairs(s, l, k, acc, tile, None)
    }

    /// The steps of a run, with bounds behind them.
    pub(super) fn watched_run<S: Simd>(
        &self,
        s: &mut S,
        l: LoopId,
        count: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let four = self.sums_of_bounds(s, count, tile, Added::Four)?;
        s.either_of_bits(
            four,
            BEYOND,
            &mut |s| {
                let two = self.sums_of_bounds(s, count, tile, Added::Two)?;
                s.either_of_bits(two, BEYOND, &mut |s| self.run_in_parts(s, l, count, acc, tile), &mut |s| {
                    (0..count).try_for_each(|k| self.step_of_pairs(s, Some(l), k, acc, tile))
                })
            },
            &mut |s| (0..count / 2).try_for_each(|k| self.step_of_fours(s, l, [k, count / 2 + k], acc, tile)),
        )
    }

    /// The steps of a run one after the other, each for both parts of the activations' bits.
    fn run_in_parts<S: Simd>(&self, s: &mut S, l: LoopId, count: i64, acc: &[V], tile: Extent) -> R {
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        let strides = [(lhs, self.walk.stride(self.lhs, l)), (rhs, self.walk.stride(self.rhs, l))];
        let steps = u32::try_from(count).map_err(|_| Refusal::unsupported("a run of no steps"))?;
        s.repeat(steps, &mut |s| {
            for part in PARTS {
                self.products_of_pairs(s, None, 0, acc, tile, Some(part))?;
            }
            strides.iter().for_each(|(p, stride)| s.advance(p, *stride));
            Ok(())
        })?;
        strides.iter().for_each(|(p, stride)| s.advance(p, -stride * count));
        Ok(())
    }

    /// Words that have a bit of [`WATCHED`] where sums of products with some row of a run may leave 16 bits.
    fn sums_of_bounds<S: Simd>(&self, s: &mut S, count: i64, tile: Extent, added: Added) -> R<V> {
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        let (bytes, panel) = (FOURS * count, i64::from(self.tile.panel));
        // Half of the run, in whole lanes.
        let (half, lanes) = (bytes / 2, count as usize / 2);
        let mut all: Option<V> = None;
        for at in tile.from / panel..=(tile.from + tile.cols - 1) / panel {
            let disp = self.walk.disp(self.rhs, &[], at * self.tile.panel_stride + bytes * panel)?;
            let bounds = [s.load(rhs, disp, lanes)?, s.load(rhs, disp + half as i32, lanes)?];
            for r in 0..tile.rows {
                let of_half = |s: &mut S, i: usize| {
                    let disp = self.walk.disp(self.lhs, &self.ahead(None, 0, r), i as i64 * half)?;
                    let x = s.load(lhs, disp, lanes)?;
                    s.madd_bytes(&x, Src::Reg(&bounds[i]))?;
                    Ok::<V, Refusal>(x)
                };
                let (x, y) = (of_half(s, 0)?, of_half(s, 1)?);
                match added {
                    Added::Two => s.op2(Op2::Or, &x, Src::Reg(&y))?,
                    Added::Four => s.add_words(&x, &y, false)?,
                }
                s.free(y);
                match &all {
                    Some(all) => {
                        s.op2(Op2::Or, all, Src::Reg(&x))?;
                        s.free(x);
                    }
                    None => all = Some(x),
                }
            }
            bounds.into_iter().for_each(|b| s.free(b));
        }
        all.ok_or_else(|| Refusal::unsupported("a tile without rows"))
    }

    /// Products of two steps, of which four are added in 16 bits.
    fn step_of_fours<S: Simd>(&self, s: &mut S, l: LoopId, steps: [i64; 2], acc: &[V], tile: Extent) -> R {
        let vectors = acc.len() / tile.rows as usize;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        for r in 0..tile.rows {
            let splat =
                |s: &mut S, k| s.load_splat(lhs, self.walk.disp(self.lhs, &self.ahead(Some(l), k, r), 0)?);
            let (a, b) = (splat(s, steps[0])?, splat(s, steps[1])?);
            for (j, acc) in acc[r as usize * vectors..][..vectors].iter().enumerate() {
                let product = |s: &mut S, a: &V, k| {
                    s.products_of_bytes(a, Src::Mem(rhs, self.rhs_at(Some(l), k, j, tile)?.0))
                };
                let (sum, other) = (product(s, &a, steps[0])?, product(s, &b, steps[1])?);
                s.add_words(&sum, &other, false)?;
                s.free(other);
                s.madd_words(&sum, Src::Bits(ONES))?;
                s.op2(Op2::IntAdd, acc, Src::Reg(&sum))?;
                s.free(sum);
            }
            s.free(a);
            s.free(b);
        }
        Ok(())
    }

    /// Products of a step, of a part of the activations' bits or of all.
    fn products_of_pairs<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
        part: Option<u32>,
    ) -> R {
        let vectors = acc.len() / tile.rows as usize;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        for r in 0..tile.rows {
            let a = s.load_splat(lhs, self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?)?;
            if let Some(bits) = part {
                s.op2(Op2::And, &a, Src::Bits(bits))?;
            }
            for (j, acc) in acc[r as usize * vectors..][..vectors].iter().enumerate() {
                let weights = Src::Mem(rhs, self.rhs_at(l, k, j, tile)?.0);
                let product = s.products_of_bytes(&a, weights)?;
                s.madd_words(&product, Src::Bits(ONES))?;
                s.op2(Op2::IntAdd, acc, Src::Reg(&product))?;
                s.free(product);
            }
            s.free(a);
        }
        Ok(())
    }
}
