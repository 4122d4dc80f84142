//! What a recurrent network does with an element.

use super::activations::Activation;
use super::kind::Kind;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::ops::composed::{Composer, Value};

/// What all steps of a direction share.
#[derive(Clone)]
pub(super) struct Step<'a> {
    pub(super) kind: Kind,
    pub(super) hidden: i64,
    /// The weights of the state; of a GRU that resets the state before they multiply it, those of its first two gates.
    pub(super) r: Weights,
    /// Such a GRU's last gate.
    pub(super) last: Option<Weights>,
    /// `[H]`: the bias inside of a GRU's reset gate.
    pub(super) inner_bias: Option<Value>,
    /// `[3 * H]`.
    pub(super) peepholes: Option<Value>,
    /// `i64[B]`.
    pub(super) lengths: Option<Value>,
    pub(super) activations: &'a [Activation],
    pub(super) clip: Option<f32>,
    pub(super) input_forget: bool,
}

/// What a step makes: the element's result, and the states.
pub(super) struct Next {
    pub(super) result: Value,
    pub(super) h: Value,
    pub(super) c: Option<Value>,
}

impl Step<'_> {
    /// The values that steps read.
    pub(super) fn values(&mut self) -> Vec<&mut Value> {
        let weights = self.r.values().into_iter().chain(self.last.iter_mut().flat_map(Weights::values));
        let others = [&mut self.inner_bias, &mut self.peepholes, &mut self.lengths];
        weights.chain(others.into_iter().flatten()).collect()
    }

    /// The step of an element: `x` is what its gates have of it, `now` which step it is (one i64, for the lengths).
    pub(super) fn run(
        &self,
        cx: &mut Composer<'_>,
        x: Value,
        [h, c]: [Option<Value>; 2],
        now: impl FnOnce(&mut Composer<'_>) -> Result<Value>,
    ) -> Result<Next> {
        let h = h.ok_or_else(|| Error::internal("a network without a state"))?;
        let (mut next, mut cell) = match (self.kind, c) {
            (Kind::Lstm, Some(c)) => {
                let (h, c) = self.lstm(cx, x, h, c)?;
                (h, Some(c))
            }
            (Kind::Gru, _) => (self.gru(cx, x, h)?, None),
            _ => {
                let product = self.r.product(cx, h)?;
                let sum = cx.add(x, product)?;
                (self.activate(cx, 0, sum)?, None)
            }
        };
        let mut result = next;
        if let Some(lengths) = self.lengths {
            let now = now(cx)?;
            let runs = cx.less(now, lengths)?;
            let runs = cx.unsqueeze(runs, &[1])?;
            let zero = cx.number_like(next, 0.0)?;
            result = cx.choose(runs, next, zero)?;
            next = cx.choose(runs, next, h)?;
            cell = match (cell, c) {
                (Some(new), Some(old)) => Some(cx.choose(runs, new, old)?),
                (new, _) => new,
            };
        }
        Ok(Next { result, h: next, c: cell })
    }

    /// Activation `which` of a clipped sum.
    fn activate(&self, cx: &mut Composer<'_>, which: usize, sum: Value) -> Result<Value> {
        let sum = match self.clip {
            Some(clip) => cx.clamp(sum, -f64::from(clip), clip.into())?,
            None => sum,
        };
        self.activations[which].apply(cx, sum)
    }

    /// The new state and the new cell.
    fn lstm(&self, cx: &mut Composer<'_>, x: Value, h: Value, c: Value) -> Result<(Value, Value)> {
        let hidden = self.hidden;
        let product = self.r.product(cx, h)?;
        let sum = cx.add(x, product)?;
        let gate = |cx: &mut Composer<'_>, i: i64| cx.slice(sum, 1, (i * hidden, (i + 1) * hidden), 1);
        let peep = |cx: &mut Composer<'_>, gate: Value, i: i64, cell: Value| {
            let Some(p) = self.peepholes else { return Ok(gate) };
            let p = cx.slice(p, 0, (i * hidden, (i + 1) * hidden), 1)?;
            let product = cx.mul(p, cell)?;
            cx.add(gate, product)
        };
        let (i, f, g) = (gate(cx, 0)?, gate(cx, 2)?, gate(cx, 3)?);
        let i = peep(cx, i, 0, c)?;
        let i = self.activate(cx, 0, i)?;
        let f = match self.input_forget {
            true => cx.number_less(1.0, i)?,
            false => {
                let f = peep(cx, f, 2, c)?;
                self.activate(cx, 0, f)?
            }
        };
        let g = self.activate(cx, 1, g)?;
        let (kept, new) = (cx.mul(f, c)?, cx.mul(i, g)?);
        let c = cx.add(kept, new)?;
        let o = gate(cx, 1)?;
        let o = peep(cx, o, 1, c)?;
        let o = self.activate(cx, 0, o)?;
        let shown = self.activations[2].apply(cx, c)?;
        Ok((cx.mul(o, shown)?, c))
    }

    /// The new state.
    fn gru(&self, cx: &mut Composer<'_>, x: Value, h: Value) -> Result<Value> {
        let hidden = self.hidden;
        let of_x =
            |cx: &mut Composer<'_>, from: i64, to: i64| cx.slice(x, 1, (from * hidden, to * hidden), 1);
        let gates = of_x(cx, 0, 2)?;
        let mut product = self.r.product(cx, h)?;
        let all = product;
        if self.last.is_none() {
            product = cx.slice(all, 1, (0, 2 * hidden), 1)?;
        }
        let gates = cx.add(gates, product)?;
        let gates = self.activate(cx, 0, gates)?;
        let (z, reset) = (cx.slice(gates, 1, (0, hidden), 1)?, cx.slice(gates, 1, (hidden, 2 * hidden), 1)?);
        let inner = match self.last {
            None => {
                let mut last = cx.slice(all, 1, (2 * hidden, 3 * hidden), 1)?;
                if let Some(bias) = self.inner_bias {
                    last = cx.add(last, bias)?;
                }
                cx.mul(reset, last)?
            }
            Some(third) => {
                let state = cx.mul(reset, h)?;
                third.product(cx, state)?
            }
        };
        let of_last = of_x(cx, 2, 3)?;
        let sum = cx.add(of_last, inner)?;
        let new = self.activate(cx, 1, sum)?;
        let rest = cx.number_less(1.0, z)?;
        let (new, kept) = (cx.mul(rest, new)?, cx.mul(z, h)?);
        cx.add(new, kept)
    }
}
