//! Steps of tiles of bytes whose products fit 16 bits two by two: four steps of depth at a time.
//!
//! Weights prove it ([`two_fit`](kiln_ir::format::packed::two_fit)), or a run of activations is looked at before it is multiplied
//! ([`Steps::Watched`](kiln_ir::format::packed::Steps)). Two large weights of one sign and two large activations meet seldom; a
//! run in which they do is multiplied in halves, which always fit:
//!
//! ```text
//!   x = (x & 127) + (x & 128)        127 * (127 + 127) and 128 * (127 + 127) < 2^15, 128 * (128 + 128) = 2^15
//! ```

use kiln_ir::format::packed::WATCHED;
use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Lane, Op2, R, Refusal, Simd, Src, V};

use super::{Extent, Generator};

/// Elements from a column to the next one where four steps of depth lie together.
const FOURS: i64 = 4;
/// Two words of 1.
const ONES: u32 = 0x0001_0001;
/// Two words of [`WATCHED`].
const BEYOND: u32 = (WATCHED as u32) << 16 | WATCHED as u32;
/// The parts of activations that are multiplied one by one.
const PARTS: [u32; 2] = [0x7f7f_7f7f, 0x8080_8080];

impl Generator<'_> {
    /// Makes the constant of [`Generator::step_of_pairs`], before any tile.
    pub(super) fn prepare_pairs<S: Simd>(s: &mut S) -> R {
        s.prepare_constant(ONES)
    }

    /// Whether the panels are those of an instruction for four bytes that the machine does not have.
    pub(super) fn in_pairs<S: Simd>(&self, s: &S) -> bool {
        self.tile.quad.is_some() && self.column == FOURS && !s.has_dot4()
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
        let beyond = self.beyond(s, count, tile)?;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        let strides = [(lhs, self.walk.stride(self.lhs, l)), (rhs, self.walk.stride(self.rhs, l))];
        let steps = u32::try_from(count).map_err(|_| Refusal::unsupported("a run of no steps"))?;
        s.either(
            beyond,
            &mut |s| {
                s.repeat(steps, &mut |s| {
                    for part in PARTS {
                        self.products_of_pairs(s, None, 0, acc, tile, Some(part))?;
                    }
                    strides.iter().for_each(|(p, stride)| s.advance(p, *stride));
                    Ok(())
                })?;
                strides.iter().for_each(|(p, stride)| s.advance(p, -stride * count));
                Ok(())
            },
            &mut |s| (0..count).try_for_each(|k| self.step_of_pairs(s, Some(l), k, acc, tile)),
        )
    }

    /// A mask that is set where products with some row of a run may leave 16 bits.
    fn beyond<S: Simd>(&self, s: &mut S, count: i64, tile: Extent) -> R<V> {
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        let (bytes, panel) = (FOURS * count, i64::from(self.tile.panel));
        let lanes = count as usize;
        let mut all: Option<V> = None;
        for at in tile.from / panel..=(tile.from + tile.cols - 1) / panel {
            let disp = self.walk.disp(self.rhs, &[], at * self.tile.panel_stride + bytes * panel)?;
            // Bounds that are no whole vector end where the weights may end.
            let bounds = if lanes < self.lanes { Some(s.load(rhs, disp, lanes)?) } else { None };
            for r in 0..tile.rows {
                let x = s.load(lhs, self.walk.disp(self.lhs, &self.ahead(None, 0, r), 0)?, lanes)?;
                s.madd_bytes(&x, bounds.as_ref().map_or(Src::Mem(rhs, disp), Src::Reg))?;
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
        let all = all.ok_or_else(|| Refusal::unsupported("a tile without rows"))?;
        s.op2(Op2::And, &all, Src::Bits(BEYOND))?;
        let mask = s.splat(0.0)?;
        s.op2_as(Lane::I32, Op2::Lt, &mask, Src::Reg(&all))?;
        s.free(all);
        Ok(mask)
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
