//! Steps of tiles of words: four steps of depth, two to a multiplication. Weights that are bytes become words as they are
//! loaded.

use kiln_ir::format::packed::CROSSED;
use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Op2, R, Simd, Src, V};

use super::{Extent, Generator};

/// Bytes of two words.
const PAIR: i64 = 4;

impl Generator<'_> {
    /// Whichever of the rows' broadcasts and the panel's vectors are fewer stay in registers, the others pass by one at a time.
    pub(super) fn step_of_words<S: Simd>(
        &mut self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let (rows, lanes) = (tile.rows as usize, self.lanes);
        let vectors = acc.len() / rows;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        for pair in 0..2 {
            let a = |s: &mut S, r: usize| {
                let disp = self.walk.disp(self.lhs, &self.ahead(l, k, r as i64), pair * PAIR)?;
                s.load_splat(lhs, disp)
            };
            // Behind the first pairs of the panel's columns are the second ones.
            let behind = (2 * pair * self.bytes) as i32 * self.tile.panel as i32;
            let b = |s: &mut S, j: usize| {
                let disp = self.rhs_at(l, k, j, tile)?.0 + behind;
                if self.bytes == 1 { s.load_words(rhs, disp, true) } else { s.load(rhs, disp, lanes) }
            };
            if rows < vectors {
                let all = (0..rows).map(|r| a(s, r)).collect::<R<Vec<V>>>()?;
                for j in 0..vectors {
                    let b = b(s, j)?;
                    add_products(s, all.iter().enumerate().map(|(r, a)| (&acc[r * vectors + j], a)), b)?;
                }
                all.into_iter().for_each(|a| s.free(a));
            } else {
                let all = (0..vectors).map(|j| b(s, j)).collect::<R<Vec<V>>>()?;
                for r in 0..rows {
                    let a = a(s, r)?;
                    add_products(s, acc[r * vectors..][..vectors].iter().zip(&all), a)?;
                }
                all.into_iter().for_each(|b| s.free(b));
            }
        }
        Ok(())
    }
}

impl Generator<'_> {
    /// The same with [`Steps::Crossed`](kiln_ir::format::packed::Steps): the tile's rows beside each other, four columns at a time.
    pub(super) fn step_of_crossed<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let rows = tile.rows as usize;
        let vectors = acc.len() / rows;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        let columns = CROSSED as i64;
        for pair in 0..2 {
            let a = |r| self.walk.disp(self.lhs, &self.ahead(l, k, r), pair * PAIR);
            let a = (0..tile.rows).map(a).collect::<R<Vec<i32>>>()?;
            for j in 0..vectors {
                let sums: Vec<&V> = acc.iter().skip(j).step_by(vectors).collect();
                // Behind the tile's last columns there may be no panel: the lanes there are for nothing.
                let first = (j * self.lanes) as i64;
                let panel = |n: i64| {
                    let at = tile.from + if first + n < tile.cols { first + n } else { first };
                    let panel = at / columns * self.tile.panel_stride;
                    self.walk.disp(self.rhs, &self.ahead(l, k, 0), panel + pair * PAIR)
                };
                s.fma_crossed(&sums, (lhs, &a), (rhs, [panel(0)?, panel(columns)?]))?;
            }
        }
        Ok(())
    }
}

/// `d += a * b` for all pairs of sums and words, with the words `b`, whose register the last product takes. The last two products
/// come before they are added: cores that add in the places that multiply then do so when there is nothing to multiply.
fn add_products<'v, S: Simd>(s: &mut S, pairs: impl Iterator<Item = (&'v V, &'v V)>, b: V) -> R {
    let mut pairs = pairs.peekable();
    let mut waiting: Option<(&V, V)> = None;
    while let Some((d, a)) = pairs.next() {
        if s.has_dot4() {
            s.fma_words(d, a, Src::Reg(&b))?;
            continue;
        }
        if pairs.peek().is_some() {
            if let Some((d, product)) = waiting.take() {
                add(s, d, product)?;
            }
            waiting = Some((d, s.products_of_words(&b, Src::Reg(a))?));
            continue;
        }
        s.madd_words(&b, Src::Reg(a))?;
        if let Some((d, product)) = waiting.take() {
            add(s, d, product)?;
        }
        s.op2(Op2::IntAdd, d, Src::Reg(&b))?;
    }
    s.free(b);
    Ok(())
}

fn add<S: Simd>(s: &mut S, d: &V, product: V) -> R {
    s.op2(Op2::IntAdd, d, Src::Reg(&product))?;
    s.free(product);
    Ok(())
}
