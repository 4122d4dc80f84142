//! One direction of a recurrent network, element by element.

use super::activations::Activation;
use super::kind::Kind;
use crate::error::{Error, Result};
use crate::op::Attr;
use crate::ops::composed::{Composer, Value};
use crate::ops::{matmul, matmul_integer_to_float, matmul_nbits};
use crate::tensor::Tensor;
use crate::types::DType;

/// A matrix `[from, gates * hidden]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights {
    Floats(Value),
    Quantised {
        value: Value,
        scale: Value,
        zero: Value,
    },
    /// `u8[columns, blocks, block]` with 128 as zero, and as many scales as blocks.
    Bytes {
        value: Value,
        scales: Value,
        from: i64,
        columns: i64,
        block: i64,
    },
}

impl Weights {
    /// `a` times the matrix.
    fn product(self, cx: &mut Composer<'_>, a: Value) -> Result<Value> {
        match self {
            Self::Floats(value) => cx.apply(&matmul::DEF, &[], &[a, value]),
            Self::Quantised { value, scale, zero } => {
                cx.apply(&matmul_integer_to_float::DYNAMIC, &[], &[a, value, scale, zero])
            }
            Self::Bytes { value, scales, from, columns, block } => {
                let list = [("K", from), ("N", columns), ("bits", 8), ("block_size", block)];
                cx.apply(&matmul_nbits::DEF, &list.map(|(name, n)| (name, Attr::Int(n))), &[a, value, scales])
            }
        }
    }

    /// The columns of some gates.
    fn columns(self, cx: &mut Composer<'_>, range: (i64, i64)) -> Result<Self> {
        match self {
            Self::Floats(value) => Ok(Self::Floats(cx.slice(value, 1, range, 1)?)),
            Self::Quantised { .. } => Err(Error::internal("quantised columns")),
            Self::Bytes { value, scales, from, block, .. } => {
                let (blocks, columns) = ((from + block - 1) / block, range.1 - range.0);
                let [low, high] = [range.0, range.1].map(|v| v as usize);
                let value = known(cx, value, (low, high), &[columns, blocks, block])?;
                let scaled = (low * blocks as usize, high * blocks as usize);
                let scales = known(cx, scales, scaled, &[columns * blocks])?;
                Ok(Self::Bytes { value, scales, from, columns, block })
            }
        }
    }
}

/// Part of the first axis of a value, in another shape; of a constant a constant, as products whose weights stay bytes need it.
pub(super) fn known(
    cx: &mut Composer<'_>,
    value: Value,
    (from, to): (usize, usize),
    shape: &[i64],
) -> Result<Value> {
    let Some(tensor) = cx.fact(value).tensor() else {
        let part = cx.slice(value, 0, (from as i64, to as i64), 1)?;
        return cx.reshape(part, shape);
    };
    let each = tensor.data.len() / tensor.shape.first().copied().unwrap_or(1).max(1);
    if to * each > tensor.data.len() {
        return Err(Error::internal("a part of a constant that it does not have"));
    }
    let shape = shape.iter().map(|n| *n as usize).collect();
    let part = Tensor::new(tensor.dtype, shape, tensor.data.slice(from * each..to * each))?;
    Ok(cx.constant(part))
}

/// What one direction has.
pub(super) struct Direction<'a> {
    pub(super) kind: Kind,
    /// `[T, B, I]`.
    pub(super) x: Value,
    /// T, B, I and H.
    pub(super) extents: [i64; 4],
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
    /// `[1, B, H]` for each element, in the order of the sequence.
    pub(super) all: Vec<Value>,
    pub(super) h: Value,
    pub(super) c: Option<Value>,
}

impl Direction<'_> {
    pub(super) fn run(&self, cx: &mut Composer<'_>) -> Result<Done> {
        let [time, batch, input, hidden] = self.extents;
        let gates = self.kind.gates() * hidden;
        let dtype = cx.dtype(self.x);
        let flat = cx.reshape(self.x, &[time * batch, input])?;
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
        let of_x = cx.reshape(of_x, &[time, batch, gates])?;
        let state = |cx: &mut Composer<'_>, given: Option<Value>| {
            given.unwrap_or_else(|| cx.constant(Tensor::zeros(dtype, &[batch as usize, hidden as usize])))
        };
        let mut h = state(cx, self.h);
        let mut c = (self.kind == Kind::Lstm).then(|| state(cx, self.c));
        let mut all = Vec::with_capacity(time as usize);
        for step in 0..time {
            let t = if self.backward { time - 1 - step } else { step };
            let part = cx.slice(of_x, 0, (t, t + 1), 1)?;
            let part = cx.reshape(part, &[batch, gates])?;
            let (mut next, mut cell) = match (self.kind, c) {
                (Kind::Lstm, Some(c)) => {
                    let (h, c) = self.lstm(cx, part, h, c)?;
                    (h, Some(c))
                }
                (Kind::Gru, _) => (self.gru(cx, part, h, inner_bias)?, None),
                _ => {
                    let product = self.r.product(cx, h)?;
                    let sum = cx.add(part, product)?;
                    (self.activate(cx, 0, sum)?, None)
                }
            };
            let mut result = next;
            if let Some(lengths) = self.lengths {
                let now = cx.number(DType::I64, step as f64)?;
                let runs = cx.less(now, lengths)?;
                let runs = cx.reshape(runs, &[batch, 1])?;
                let zero = cx.number(dtype, 0.0)?;
                result = cx.choose(runs, next, zero)?;
                next = cx.choose(runs, next, h)?;
                cell = match (cell, c) {
                    (Some(new), Some(old)) => Some(cx.choose(runs, new, old)?),
                    (new, _) => new,
                };
            }
            all.push(cx.reshape(result, &[1, batch, hidden])?);
            (h, c) = (next, cell);
        }
        if self.backward {
            all.reverse();
        }
        Ok(Done { all, h, c })
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
        let hidden = self.extents[3];
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
    fn gru(&self, cx: &mut Composer<'_>, x: Value, h: Value, inner_bias: Option<Value>) -> Result<Value> {
        let hidden = self.extents[3];
        let of_x =
            |cx: &mut Composer<'_>, from: i64, to: i64| cx.slice(x, 1, (from * hidden, to * hidden), 1);
        let gates = of_x(cx, 0, 2)?;
        let (product, last) = if self.linear_before_reset {
            let product = self.r.product(cx, h)?;
            let last = cx.slice(product, 1, (2 * hidden, 3 * hidden), 1)?;
            (cx.slice(product, 1, (0, 2 * hidden), 1)?, Some(last))
        } else {
            let two = self.r.columns(cx, (0, 2 * hidden))?;
            (two.product(cx, h)?, None)
        };
        let gates = cx.add(gates, product)?;
        let gates = self.activate(cx, 0, gates)?;
        let (z, reset) = (cx.slice(gates, 1, (0, hidden), 1)?, cx.slice(gates, 1, (hidden, 2 * hidden), 1)?);
        let inner = match (last, inner_bias) {
            (Some(last), Some(bias)) => {
                let sum = cx.add(last, bias)?;
                cx.mul(reset, sum)?
            }
            (Some(last), None) => cx.mul(reset, last)?,
            (None, _) => {
                let state = cx.mul(reset, h)?;
                let third = self.r.columns(cx, (2 * hidden, 3 * hidden))?;
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
