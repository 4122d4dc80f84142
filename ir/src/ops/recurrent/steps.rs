//! One direction of a recurrent network: what depends on the elements alone, all at once, then element by element.
//!
//! A sequence of known length is unrolled; one of open length, or a very long one, is a loop, whose states are those of the
//! network.

use super::activations::Activation;
use super::kind::Kind;
use super::sizes::{shaped, zeros};
use super::step::Step;
use super::weights::Weights;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::ops::attend;
use crate::ops::composed::{Composer, Value};
use crate::ops::repeated::Made;
use crate::tensor::Tensor;
use crate::types::DType;

/// What one direction has.
pub(super) struct Direction<'a> {
    pub(super) kind: Kind,
    /// `[T, B, I]`.
    pub(super) x: Value,
    /// T, B and I.
    pub(super) extents: [Dim; 3],
    pub(super) hidden: i64,
    pub(super) w: Weights,
    pub(super) r: Weights,
    /// `[2 * G * H]`.
    pub(super) bias: Option<Value>,
    /// `[3 * H]`.
    pub(super) peepholes: Option<Value>,
    /// `i64[B]`.
    pub(super) lengths: Option<Value>,
    pub(super) h: Option<Value>,
    pub(super) c: Option<Value>,
    /// From the last element to the first.
    pub(super) backward: bool,
    pub(super) activations: &'a [Activation],
    pub(super) clip: Option<f32>,
    pub(super) input_forget: bool,
    pub(super) linear_before_reset: bool,
}

/// What it gives.
pub(super) struct Done {
    /// `[T, B, H]`, in the order of the sequence.
    pub(super) all: Value,
    pub(super) h: Value,
    pub(super) c: Option<Value>,
}

/// Elements of a sequence that are unrolled: a turn costs some calls more than a step of straight code, and a thousand steps
/// take a second to compile.
const UNROLLED: i64 = 1 << 10;
/// A slice from the last element to the first.
const TURNED: (i64, i64) = (-1, i64::MIN + 1);

/// How many steps are unrolled; nothing where there is a loop.
pub(super) fn unrolled(time: &Dim) -> Option<i64> {
    time.as_const().filter(|n| *n <= UNROLLED)
}

impl Direction<'_> {
    pub(super) fn run(&self, cx: &mut Composer<'_>) -> Result<Done> {
        let ([time, batch, input], hidden) = (&self.extents, self.hidden);
        let gates = self.kind.gates() * hidden;
        let dtype = cx.dtype(self.x);
        // One of them may be open, and so what they make together.
        let rows = (time.clone() * batch.clone()).as_const().unwrap_or(-1);
        let input = input.as_const().ok_or_else(|| Error::internal("elements of an open size"))?;
        let unrolled = unrolled(time);
        let x = match self.backward && unrolled.is_none() {
            true => cx.slice(self.x, 0, TURNED, -1)?,
            false => self.x,
        };
        let flat = cx.reshape(x, &[rows, input])?;
        let mut of_x = self.w.product(cx, flat)?;
        // The state's bias of the last gate of a GRU is inside its reset gate.
        let mut inner_bias = None;
        if let Some(bias) = self.bias {
            let (first, mut second) =
                (cx.slice(bias, 0, (0, gates), 1)?, cx.slice(bias, 0, (gates, 2 * gates), 1)?);
            if self.kind == Kind::Gru && self.linear_before_reset {
                inner_bias = Some(cx.slice(second, 0, (2 * hidden, gates), 1)?);
                let outer = cx.slice(second, 0, (0, 2 * hidden), 1)?;
                let zeros = cx.constant(Tensor::zeros(dtype, &[hidden as usize]));
                second = cx.concat(&[outer, zeros], 0)?;
            }
            let both = cx.add(first, second)?;
            of_x = cx.add(of_x, both)?;
        }
        let of_x = shaped(cx, of_x, &[time.clone(), batch.clone(), gates.into()], self.x)?;
        let state = |cx: &mut Composer<'_>, given: Option<Value>| {
            given.map_or_else(|| zeros(cx, &[batch.clone(), hidden.into()], self.x), Ok)
        };
        let h = state(cx, self.h)?;
        let c = (self.kind == Kind::Lstm).then(|| state(cx, self.c)).transpose()?;
        let split = self.kind == Kind::Gru && !self.linear_before_reset;
        let (mut r, mut last) = (self.r, None);
        if split {
            r = self.r.columns(cx, (0, 2 * hidden))?;
            last = Some(self.r.columns(cx, (2 * hidden, 3 * hidden))?);
        }
        let step = Step {
            kind: self.kind,
            hidden,
            r,
            last,
            inner_bias,
            peepholes: self.peepholes,
            lengths: self.lengths,
            activations: self.activations,
            clip: self.clip,
            input_forget: self.input_forget,
        };
        match unrolled {
            Some(time) => self.unrolled(cx, &step, of_x, time, [Some(h), c]),
            None => self.repeated(cx, step, of_x, [Some(h), c]),
        }
    }

    /// A step after the other.
    fn unrolled(
        &self,
        cx: &mut Composer<'_>,
        step: &Step<'_>,
        of_x: Value,
        time: i64,
        mut states: [Option<Value>; 2],
    ) -> Result<Done> {
        let (batch, gates) = (&self.extents[1], self.kind.gates() * self.hidden);
        let mut all = Vec::with_capacity(time as usize);
        for number in 0..time {
            let t = if self.backward { time - 1 - number } else { number };
            let part = cx.slice(of_x, 0, (t, t + 1), 1)?;
            let part = shaped(cx, part, &[batch.clone(), gates.into()], self.x)?;
            let next = step.run(cx, part, states, |cx| cx.number(DType::I64, number as f64))?;
            let shape = [1i64.into(), batch.clone(), self.hidden.into()];
            all.push(shaped(cx, next.result, &shape, self.x)?);
            states = [Some(next.h), next.c];
        }
        if self.backward {
            all.reverse();
        }
        let all = cx.concat(&all, 0)?;
        let [h, c] = states;
        Ok(Done { all, h: h.ok_or_else(|| Error::internal("a network without a state"))?, c })
    }

    /// A loop of one step; a sequence that runs backwards has been turned round.
    fn repeated(
        &self,
        cx: &mut Composer<'_>,
        mut step: Step<'_>,
        of_x: Value,
        states: [Option<Value>; 2],
    ) -> Result<Done> {
        let turns = attend::extent(cx, self.x, 0)?;
        let mut captured = vec![of_x];
        captured.extend(step.values().into_iter().map(|v| *v));
        let states: Vec<Value> = states.into_iter().flatten().collect();
        let results = cx.repeat(turns, &states, &captured, &mut |cx, turn| {
            let mut outer = turn.captured.iter().copied();
            let missing = || Error::internal("a captured value is left out");
            let of_x = outer.next().ok_or_else(missing)?;
            for value in step.values() {
                *value = outer.next().ok_or_else(missing)?;
            }
            let part = cx.gather(of_x, turn.number, 0)?;
            let states = [0, 1].map(|i| turn.states.get(i).copied());
            let next = step.run(cx, part, states, |_| Ok(turn.number))?;
            Ok(Made {
                states: [Some(next.h), next.c].into_iter().flatten().collect(),
                scanned: vec![next.result],
            })
        })?;
        let [h, rest @ ..] = &results[..] else { return Err(Error::internal("a loop without a state")) };
        let [c @ .., all] = rest else { return Err(Error::internal("a loop without elements")) };
        let mut all = *all;
        if self.backward {
            all = cx.slice(all, 0, TURNED, -1)?;
        }
        Ok(Done { all, h: *h, c: c.first().copied() })
    }
}
