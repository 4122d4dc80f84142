//! What a nest accumulates: its loops of reduction, and their innermost iteration.

use kiln_ir::DType;
use kiln_targets::simd::sequences::{keep_first, splat_bits};
use kiln_targets::simd::{Lane, Op2, R, Simd, Src, V};

use super::super::trips::trips;
use super::super::vexpr::{At, Operand, lane};
use super::super::walk::AccessId;
use super::{Generator, Work};

impl Generator<'_> {
    /// What accumulators' lanes are taken for.
    pub(super) fn lane(&self) -> Lane {
        lane(self.acc)
    }

    /// Lanes from `n` on become the empty reduction.
    pub(super) fn keep_first<S: Simd>(&self, s: &mut S, d: &V, n: usize) -> R {
        match self.lane() {
            Lane::F32 => s.keep_first(d, n, f32::from_bits(self.identity as u32)),
            lane => keep_first(s, lane, d, n, self.identity),
        }
    }

    pub(super) fn empty<S: Simd>(&mut self, s: &mut S, tile: i64, vectors: usize) -> R<Vec<V>> {
        if let Work::Greatest { .. } = self.work {
            return (0..tile as usize * vectors).map(|_| s.splat(0.0)).collect();
        }
        (0..tile as usize * vectors).map(|_| splat_bits(s, self.lane(), self.identity)).collect()
    }

    /// The same with what sums begin with.
    pub(super) fn beginnings<S: Simd>(&mut self, s: &mut S, tile: i64, widths: &[usize]) -> R<Vec<V>> {
        let Some(start) = self.start else { return self.empty(s, tile, widths.len()) };
        let mut all = Vec::new();
        for t in 0..tile {
            let ahead = self.ahead(t, 0, widths.len());
            for at in self.places(&ahead, widths) {
                all.push(at.load(s, start)?.into_reg(s, &self.walk)?);
            }
        }
        Ok(all)
    }

    /// The reduced loops from the `i`th on, without those from the `last`th on.
    pub(super) fn reduce<S: Simd>(
        &mut self,
        s: &mut S,
        i: usize,
        last: usize,
        body: &mut dyn FnMut(&mut Self, &mut S) -> R,
    ) -> R {
        if i == last {
            return body(self, s);
        }
        let l = self.reduced[i];
        let unrolled = self.nest.unrolled.contains(&l);
        for (from, to) in self.walk.parts(l) {
            if unrolled {
                for at in from..to {
                    self.walk.set_range(l, (at, at + 1));
                    self.reduce(s, i + 1, last, body)?;
                    self.walk.skip(l, 1);
                    self.walk.step_sized(s, l, 1)?;
                }
                self.walk.step_sized(s, l, from - to)?;
            } else {
                self.walk.set_range(l, (from, to));
                trips(self, s, l, to - from, 1, &mut |this, s| this.reduce(s, i + 1, last, body))?;
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// Like [`Self::accumulate`] where accumulators are laid out for `vectors` vectors per tile iteration.
    pub(super) fn accumulate_strided<S: Simd>(
        &mut self,
        s: &mut S,
        acc: &[V],
        vectors: usize,
        widths: &[usize],
        tile: i64,
    ) -> R {
        for t in 0..tile {
            let row = &acc[t as usize * vectors..][..vectors];
            if let Work::Reduce { op, value } = &self.work
                && !value.is_product()
            {
                self.accumulate_all(s, row, t, widths, (*op, value))?;
                continue;
            }
            for (j, &n) in widths.iter().enumerate() {
                self.accumulate_one(s, &row[j], t, j, n, None)?;
            }
        }
        Ok(())
    }

    /// One iteration of the reduced loops for all accumulators.
    pub(super) fn accumulate<S: Simd>(&mut self, s: &mut S, acc: &[V], widths: &[usize], tile: i64) -> R {
        for (j, &n) in widths.iter().enumerate() {
            // Weights that all iterations of the tile use are loaded once.
            let weight = match (&self.work, self.nest.tile) {
                (Work::Dot { input, weight }, Some((tiled, _))) if tile > 1 => {
                    let alive = self.contributes(*input)?;
                    if alive && self.walk.stride(*weight, tiled) == 0 {
                        let ahead = [(self.nest.vector, (j * self.lanes) as i64)];
                        let at = At { walk: &self.walk, lane: self.nest.vector, ahead: &ahead, n };
                        Some(at.load(s, *weight)?.into_reg(s, &self.walk)?)
                    } else {
                        None
                    }
                }
                _ => None,
            };
            for t in 0..tile {
                self.accumulate_one(s, &acc[t as usize * widths.len() + j], t, j, n, weight.as_ref())?;
            }
            if let Some(weight) = weight {
                s.free(weight);
            }
        }
        Ok(())
    }

    /// `acc += a * b` of a window's elements and weights.
    pub(super) fn add_product<S: Simd>(&self, s: &mut S, acc: &V, a: &V, b: Src<'_>) -> R {
        if self.words { s.fma_words(acc, a, b) } else { s.fma_as(self.lane(), acc, a, b) }
    }

    /// Whether an input that may be padding adds anything here.
    pub(super) fn contributes(&self, input: AccessId) -> R<bool> {
        Ok(match self.walk.outside(input)? {
            None => true,
            Some(value) => match self.work {
                // Least values stand for padding that never wins.
                Work::Window { op: Op2::MaxNan, .. } => value.to_f64() > f64::from(f32::MIN),
                Work::Greatest { .. } => value.bits as u8 != if self.acc == DType::I8 { 0x80 } else { 0 },
                _ => value.to_f64() != 0.0,
            },
        })
    }

    pub(super) fn accumulate_one<S: Simd>(
        &self,
        s: &mut S,
        acc: &V,
        t: i64,
        j: usize,
        n: usize,
        shared_weight: Option<&V>,
    ) -> R {
        let offset = (j * self.lanes) as i64;
        let mut ahead = vec![(self.nest.vector, offset)];
        ahead.extend(self.nest.tile.map(|(l, _)| (l, t)));
        let at = At { walk: &self.walk, lane: self.nest.vector, ahead: &ahead, n };
        let partial = self.across.is_some() && n < self.lanes;
        match &self.work {
            Work::Map
            | Work::Bytes
            | Work::Copy { .. }
            | Work::Repeat { .. }
            | Work::LookUp { .. }
            | Work::Arg { .. } => Ok(()),
            Work::Greatest { input } => {
                if self.contributes(*input)? {
                    let x = self.load_unsigned(s, &at, *input)?;
                    s.max_bytes(acc, &x)?;
                    s.free(x);
                }
                Ok(())
            }
            Work::Dot { input, weight } => {
                if !self.contributes(*input)? {
                    return Ok(());
                }
                if let Some(weight) = shared_weight {
                    let x = at.load(s, *input)?;
                    self.add_product(s, acc, weight, x.src(&self.walk))?;
                    x.free(s);
                    return Ok(());
                }
                let x = at.load(s, *input)?.into_reg(s, &self.walk)?;
                if partial {
                    self.keep_first(s, &x, n)?;
                }
                let w = at.load(s, *weight)?;
                self.add_product(s, acc, &x, w.src(&self.walk))?;
                w.free(s);
                s.free(x);
                Ok(())
            }
            Work::Window { op, input } => {
                if !self.contributes(*input)? {
                    return Ok(());
                }
                let mut x = at.load(s, *input)?;
                if partial {
                    let reg = x.into_reg(s, &self.walk)?;
                    self.keep_first(s, &reg, n)?;
                    x = Operand::Reg(reg);
                }
                s.op2_as(self.lane(), *op, acc, x.src(&self.walk))?;
                x.free(s);
                Ok(())
            }
            Work::Reduce { op: Op2::Add, value } if value.is_product() && !partial => {
                let (a, b) = value.as_product(s, &at)?.expect("the value is a product");
                s.fma(acc, &a, b.src(&self.walk))?;
                b.free(s);
                s.free(a);
                Ok(())
            }
            Work::Reduce { op, value } => {
                for v in value.eval(s, &at, None)? {
                    if partial {
                        self.keep_first(s, &v, n)?;
                    }
                    s.op2_as(self.lane(), *op, acc, Src::Reg(&v))?;
                    s.free(v);
                }
                Ok(())
            }
        }
    }
}
