//! Products of bytes and of words, and tables of bytes.

use super::Encoder;
use super::address::{LOAD_8, LOAD_16};
use crate::aarch64::isa::*;
use crate::simd::{P, R, Refusal, Simd as _, Src, V};

/// Vectors of sums whose products take turns; even.
const TURNS: usize = 4;

impl Encoder {
    /// [`Simd::dot4`](crate::simd::Simd::dot4).
    pub(super) fn dot_bytes(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        if !self.mixed_dots {
            return Err(Refusal::unsupported("products of four bytes by an instruction"));
        }
        let to = self.reg(d);
        if self.is_first_lane(a) {
            // The signed ones are the vector's here.
            let (b, temporary) = self.operand(b)?;
            self.put(SUDOT_LANE, &[to.into(), b.into(), a.0.into(), 0]);
            self.release(temporary);
            return Ok(());
        }
        let a = self.reg(a);
        let (b, temporary) = match b {
            Src::Reg(b) => (b.0, None),
            Src::Splat(p, disp) => {
                let b = self.load_first_lane(p, disp)?;
                (b.0, Some(b))
            }
            b => self.operand(b)?,
        };
        if self.first_lanes >> b & 1 == 1 {
            self.put(USDOT_LANE, &[to.into(), a.into(), b.into(), 0]);
        } else {
            self.three_of_all(USDOT, to, a, b);
        }
        self.release(temporary);
        Ok(())
    }

    /// [`Simd::dot8`](crate::simd::Simd::dot8).
    pub(super) fn dot_blocks(&mut self, d: &V, a: &V, b: &V) -> R {
        if !self.blocks_of_dots {
            return Err(Refusal::unsupported("products of eight bytes of two rows and columns"));
        }
        let (d, a, b) = (self.reg(d), self.reg(a), self.reg(b));
        self.three_of_all(USMMLA, d, a, b);
        Ok(())
    }

    /// [`Simd::halves_together`](crate::simd::Simd::halves_together).
    pub(super) fn zip_halves(&mut self, a: V, b: V) -> R<[V; 2]> {
        let low = self.vector()?;
        let (l, x, y) = (i64::from(low.0), i64::from(self.reg(&a)), i64::from(self.reg(&b)));
        self.put(ZIP1_2D, &[l, x, y]);
        self.put(ZIP2_2D, &[y, x, y]);
        self.free(a);
        Ok([low, b])
    }

    /// [`Simd::madd_words`](crate::simd::Simd::madd_words).
    pub(super) fn multiply_words(&mut self, d: &V, s: Src<'_>) -> R {
        let low = self.vector()?;
        let (s, temporary) = self.operand(s)?;
        let (d, l) = (self.reg(d), low.0);
        self.put(SMULL_4S, &[l.into(), d.into(), s.into()]);
        self.put(SMULL2_4S, &[d.into(), d.into(), s.into()]);
        self.put(ADDP_4S, &[d.into(), l.into(), d.into()]);
        self.release(temporary);
        self.free(low);
        Ok(())
    }

    /// [`Simd::fma_words`](crate::simd::Simd::fma_words).
    pub(super) fn add_products_of_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (low, high) = (self.vector()?, self.vector()?);
        let (b, temporary) = self.operand(b)?;
        let (d, a) = (i64::from(self.reg(d)), i64::from(self.reg(a)));
        let (l, h) = (i64::from(low.0), i64::from(high.0));
        self.put(SMULL_4S, &[l, a, b.into()]);
        self.put(SMULL2_4S, &[h, a, b.into()]);
        self.put(ADDP_4S, &[l, l, h]);
        self.put(ADD_4S, &[d, d, l]);
        self.release(temporary);
        self.free(high);
        self.free(low);
        Ok(())
    }

    /// [`Simd::fma_pairs`](crate::simd::Simd::fma_pairs). Cores that run in order wait for nothing: four vectors take turns, and the next
    /// row's pairs are made before sums are added.
    pub(super) fn add_pairs_of_bytes(&mut self, d: &[V], b: &[[V; 2]], a: &[V], lane: usize) -> R {
        let pairs = [self.vector()?, self.vector()?];
        let vectors = d.len() / a.len().max(1);
        let products = (0..vectors.min(TURNS)).map(|_| self.vector()).collect::<R<Vec<V>>>()?;
        self.splat_pairs(&pairs, a.first(), lane);
        for (r, d) in d.chunks(vectors.max(1)).enumerate() {
            for (turn, d) in d.chunks(TURNS).enumerate() {
                for (step, ops) in [[SMULL_8H, SMULL2_8H], [SMLAL_8H, SMLAL2_8H]].into_iter().enumerate() {
                    for (j, product) in products.iter().take(d.len()).enumerate() {
                        let b = self.reg(&b[(turn * TURNS + j) / 2][step]);
                        self.put(ops[j % 2], &[product.0.into(), b.into(), pairs[step].0.into()]);
                    }
                }
                if (turn + 1) * TURNS >= vectors {
                    self.splat_pairs(&pairs, a.get(r + 1), lane);
                }
                for (product, d) in products.iter().zip(d) {
                    let d = self.reg(d);
                    self.put(SADALP_4S, &[d.into(), product.0.into()]);
                }
            }
        }
        pairs.into_iter().chain(products).for_each(|v| self.free(v));
        Ok(())
    }

    /// A row's two pairs of bytes, eight times each.
    fn splat_pairs(&mut self, to: &[V; 2], row: Option<&V>, lane: usize) {
        let Some(row) = row.map(|row| self.reg(row)) else { return };
        for (i, to) in to.iter().enumerate() {
            self.put(DUP_H, &[to.0.into(), row.into(), (2 * lane + i) as i64]);
        }
    }

    /// [`Simd::look_up_part`](crate::simd::Simd::look_up_part): the instruction gives 0 beyond the table's end.
    pub(super) fn entries_of_part(&mut self, d: &V, p: &P, disp: i32) -> R {
        let table = self.vector()?;
        self.transfer(LOAD_16, table.0, p, disp);
        let d = self.reg(d);
        self.put(TBL_1, &[d.into(), table.0.into(), d.into()]);
        self.free(table);
        Ok(())
    }

    /// [`Simd::load_words`](crate::simd::Simd::load_words).
    pub(super) fn extended_bytes(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        let v = self.vector()?;
        self.transfer(LOAD_8, v.0, p, disp);
        self.put(if signed { SSHLL_8H } else { USHLL_8H }, &[v.0.into(), v.0.into(), 0]);
        Ok(v)
    }
}
