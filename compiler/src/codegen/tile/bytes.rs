//! Steps of tiles of bytes: four steps of depth at a time.
//!
//! Where a machine multiplies four bytes that all have signs, activations that have none lose half of their range here, and a sum
//! of the weights of each column makes up for it: `sum of a w = sum of (a - 128) w + 128 sum of w`. Those that could be stored so
//! already have signs (`passes::signed`).

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::bytes::{self, Bytes};
use kiln_targets::simd::{Element, Lane, Op1, Op2, R, Simd, Src, V};

use super::{Extent, Generator};

/// The highest bit of each of four bytes: half of their range.
const HALF: u32 = 0x8080_8080;
/// Four bytes of 1.
const ONES: u32 = 0x0101_0101;
/// Bits of half of the range.
const HALF_BITS: u8 = 7;

impl Generator<'_> {
    /// The panel's vectors stay in registers, rows pass by one at a time.
    pub(super) fn step_of_bytes<S: Simd>(
        &mut self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let signed = self.walk.element(self.lhs) == Element::I8;
        if s.has_signed_dot4() {
            return self.step_of_signed_bytes(s, l, k, acc, tile);
        }
        if signed {
            return self.steps_of_signs(s, (l, k), acc, tile, 1);
        }
        let vectors = acc.len() / tile.rows as usize;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        // Behind the pairs of the panel's columns are those of the odd steps.
        let half = 2 * self.tile.panel as i32;
        let b = (0..vectors)
            .map(|j| bytes::load(s, rhs, self.rhs_at(l, k, j, tile)?.0, half))
            .collect::<R<Vec<Bytes>>>()?;
        for r in 0..tile.rows {
            let a = bytes::load_splat(s, lhs, self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?)?;
            for (acc, b) in acc[r as usize * vectors..][..vectors].iter().zip(&b) {
                bytes::add_products(s, acc, &a, b)?;
            }
            a.free(s);
        }
        b.into_iter().for_each(|b| b.free(s));
        Ok(())
    }

    fn step_of_signed_bytes<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let vectors = acc.len() / tile.rows as usize;
        let mut b = Vec::with_capacity(vectors);
        for j in 0..vectors {
            let weights = s.load(self.walk.ptr(self.rhs), self.rhs_at(l, k, j, tile)?.0, self.lanes)?;
            self.add_weights(s, j, &weights)?;
            b.push(weights);
        }
        for r in 0..tile.rows {
            let a =
                s.load_splat(self.walk.ptr(self.lhs), self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?)?;
            self.make_signed(s, &a)?;
            for (acc, b) in acc[r as usize * vectors..][..vectors].iter().zip(&b) {
                s.signed_dot4(acc, &a, Src::Reg(b))?;
            }
            s.free(a);
        }
        b.into_iter().for_each(|b| s.free(b));
        Ok(())
    }

    /// Begins the sums of weights of a tile, where there are any.
    pub(super) fn open_weight_sums<S: Simd>(&mut self, s: &mut S, vectors: usize) -> R {
        let of_bytes = self.tile.quad.is_some() && self.walk.element(self.lhs) == Element::U8;
        if of_bytes && s.has_signed_dot4() {
            self.weight_sums = (0..vectors).map(|_| s.splat(0.0)).collect::<R<_>>()?;
        }
        Ok(())
    }

    /// Adds weights to the sum of their columns.
    pub(super) fn add_weights<S: Simd>(&self, s: &mut S, j: usize, weights: &V) -> R {
        self.weight_sums.get(j).map_or(Ok(()), |sum| s.signed_dot4(sum, weights, Src::Bits(ONES)))
    }

    /// Takes half of their range from activations, where weights are added up for it.
    pub(super) fn make_signed<S: Simd>(&self, s: &mut S, activations: &V) -> R {
        if self.weight_sums.is_empty() { Ok(()) } else { s.op2(Op2::Xor, activations, Src::Bits(HALF)) }
    }

    /// `acc += b * a[lane]` of four bytes each.
    pub(super) fn dot_lane<S: Simd>(&self, s: &mut S, acc: &V, b: &V, a: &V, lane: usize) -> R {
        if s.has_signed_dot4() { s.signed_dot4_lane(acc, b, a, lane) } else { s.dot4_lane(acc, b, a, lane) }
    }

    /// Makes up for the half of their range that activations have lost.
    pub(super) fn close_weight_sums<S: Simd>(&mut self, s: &mut S, acc: &[V]) -> R {
        let sums = std::mem::take(&mut self.weight_sums);
        for sum in &sums {
            s.op1_as(Lane::I32, Op1::Shl(HALF_BITS), sum)?;
        }
        for (acc, sum) in acc.iter().zip(sums.iter().cycle()) {
            s.op2(Op2::IntAdd, acc, Src::Reg(sum))?;
        }
        sums.into_iter().for_each(|sum| s.free(sum));
        Ok(())
    }
}
