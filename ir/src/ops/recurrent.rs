//! `LSTM`, `GRU`, `RNN`, and `com.microsoft::DynamicQuantizeLSTM`: networks that keep a state from one element of a sequence to
//! the next.
//!
//! Spec: ONNX LSTM, GRU and RNN, versions 1 to 22; ONNX Runtime's contrib operator. `x` `[T, B, I]` (`[B, T, I]` with `layout` 1), `w`
//! `[D, G * H, I]`, `r` `[D, G * H, H]`, `b` `[D, 2 * G * H]`, `sequence_lens` `[B]`, states `[D, B, H]`, peepholes `[D, 3 * H]`, with G
//! gates and D directions. Results: all states `[T, D, B, H]`, the last ones.
//!
//! ```text
//! RNN    h' = f(x w + h r + b)
//! GRU    z, r = f(x w + h r + b)    n = g(x w + (r * h) r + b)    h' = (1 - z) * n + z * h
//! LSTM   i, o, f = f(x w + h r + b + p * c)    c' = f * c + i * g(x w + h r + b)    h' = o * h(c')
//! ```
//!
//! Made of other operators: one product of all elements with `w` (`steps.rs`), then for each element what depends on the state
//! (`step.rs`): unrolled where the length is known, in a loop where it is open.
//! Quantised products are those of `DynamicQuantizeMatMul`, those with dequantised bytes of `MatMulNBits`.
//!
//! Unsupported: elements of open size.

mod activations;
mod kind;
mod sizes;
mod step;
mod steps;
mod weights;

use super::composed::{Composed, Composer, Value, composed, required};
use super::{reverse_sequence, squeeze};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use activations::Activation;
use kind::Kind;
use sizes::{fits, shaped};
use steps::Direction;
use weights::Weights;

/// The attribute of networks whose weights are bytes in blocks, as MatMulNBits has them: elements of a block of `w` and of `r`,
/// 0 where they are floats. Such weights are `u8[D, G * H, blocks, block]` with 128 as zero; their scales `[D, G * H * blocks]`
/// are the inputs [`SCALES`].
pub(crate) const BLOCKS: &str = "kiln.blocks";
/// The inputs of the scales of `w` and `r`.
pub(crate) const SCALES: [usize; 2] = [8, 9];

/// A recurrent network.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    name: &'static str,
    kind: Kind,
    /// Weights are quantised, with scales and zero points as further inputs.
    quantised: bool,
    /// `forward`, `reverse` or `bidirectional`.
    direction: String,
    hidden: i64,
    /// Of all directions.
    activations: Vec<Activation>,
    clip: Option<f32>,
    batch_first: bool,
    /// LSTM: the forget gate is one less the input gate.
    input_forget: bool,
    /// GRU: the state is multiplied before the reset gate is applied.
    linear_before_reset: bool,
    /// Of [`BLOCKS`].
    blocks: [i64; 2],
    outputs: usize,
}

fn parse(node: &mut NodeProto<'_>, name: &'static str, kind: Kind, quantised: bool) -> Result<Box<dyn Op>> {
    let states = if kind == Kind::Lstm { 2 } else { 1 };
    let inputs = match (kind, quantised) {
        (Kind::Lstm, true) => 12..=12,
        (Kind::Lstm, false) => 3..=8,
        _ => 3..=6,
    };
    let blocks = match node.ints(BLOCKS)? {
        None => [0, 0],
        Some(list) => match list[..] {
            [w, r] if !quantised && [w, r].iter().all(|n| (0..1 << 31).contains(n)) => [w, r],
            _ => bail_invalid!("attribute '{BLOCKS}' must be two sizes of blocks, found {list:?}"),
        },
    };
    let scaled = SCALES.iter().zip(blocks).all(|(i, block)| block == 0 || node.inputs.get(*i) == Some(&true));
    if !scaled {
        bail_invalid!("weights in blocks need scales");
    }
    let inputs = if blocks == [0, 0] { inputs } else { 3..=SCALES[1] + 1 };
    if quantised {
        // Those in between may be left out.
        if node.inputs.len() != 12 || [0, 1, 2, 8, 9, 10, 11].iter().any(|i| !node.inputs[*i]) {
            bail_invalid!("needs 12 inputs, of which bias, lengths, states and peepholes may be left out");
        }
    } else {
        node.arity(inputs, 0..=1 + states)?;
    }
    let direction = node.string("direction")?.unwrap_or_else(|| "forward".to_owned());
    if !matches!(&*direction, "forward" | "reverse" | "bidirectional") {
        bail_invalid!("attribute 'direction' must be forward, reverse or bidirectional, found '{direction}'");
    }
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let Some(hidden) = node.int("hidden_size")?.filter(|h| (1..1 << 31).contains(h)) else {
        bail_invalid!("attribute 'hidden_size' is missing or out of range")
    };
    let given = node.strings("activations")?.unwrap_or_default();
    let by_default = kind.activations().iter().map(|s| (*s).to_owned());
    let names: Vec<String> = match given.is_empty() {
        true => by_default.clone().chain(by_default).take(directions * kind.activations().len()).collect(),
        false => given,
    };
    if names.len() != directions * kind.activations().len() {
        bail_invalid!("{} activations for {directions} directions", names.len());
    }
    let (alphas, betas) = (node.floats("activation_alpha")?, node.floats("activation_beta")?);
    let activations = activations::parse(&names, alphas.as_deref(), betas.as_deref())?;
    let clip = node.float("clip")?;
    if clip.is_some_and(|c| c.is_nan() || c <= 0.0) {
        bail_invalid!("attribute 'clip' must be positive, found {clip:?}");
    }
    // Of the first version: whether all states are a result, which the outputs say.
    node.int("output_sequence")?;
    Ok(Box::new(Recurrent {
        name,
        kind,
        quantised,
        direction,
        hidden,
        activations,
        clip,
        batch_first: node.flag("layout", false)?,
        input_forget: kind == Kind::Lstm && node.flag("input_forget", false)?,
        linear_before_reset: kind == Kind::Gru && node.flag("linear_before_reset", false)?,
        blocks,
        outputs: node.outputs,
    }))
}

const UNSUPPORTED: &str = "elements of open size";

/// `RNN`.
pub const RNN: OpDef = OpDef {
    name: "RNN",
    domain: "",
    since: (1, 22),
    parse: |node| parse(node, "RNN", Kind::Rnn, false),
    unsupported: UNSUPPORTED,
};

/// `GRU`.
pub const GRU: OpDef = OpDef { name: "GRU", parse: |node| parse(node, "GRU", Kind::Gru, false), ..RNN };

/// `LSTM`.
pub const LSTM: OpDef = OpDef { name: "LSTM", parse: |node| parse(node, "LSTM", Kind::Lstm, false), ..RNN };

/// `com.microsoft::DynamicQuantizeLSTM`.
pub const QUANTISED: OpDef = OpDef {
    name: "DynamicQuantizeLSTM",
    domain: MICROSOFT,
    since: (1, 1),
    parse: |node| parse(node, "DynamicQuantizeLSTM", Kind::Lstm, true),
    unsupported: UNSUPPORTED,
};

impl Op for Recurrent {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domain(&self) -> &'static str {
        if self.quantised { MICROSOFT } else { "" }
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = activations::attrs(&self.activations);
        attrs.insert("direction".to_owned(), Attr::Str(self.direction.clone()));
        attrs.insert("hidden_size".to_owned(), Attr::Int(self.hidden));
        if let Some(clip) = self.clip {
            attrs.insert("clip".to_owned(), Attr::Float(clip));
        }
        for (name, on) in [
            ("layout", self.batch_first),
            ("input_forget", self.input_forget),
            ("linear_before_reset", self.linear_before_reset),
        ] {
            if on {
                attrs.insert(name.to_owned(), Attr::Int(1));
            }
        }
        if self.blocks != [0, 0] {
            attrs.insert(BLOCKS.to_owned(), Attr::Ints(self.blocks.to_vec()));
        }
        attrs
    }

    composed!(product);
}

impl Composed for Recurrent {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let mut x = required(inputs, 0)?;
        super::values::float(cx.fact(x), "the sequence")?;
        if self.batch_first && cx.fact(x).shape.rank() == 3 {
            x = cx.transpose(x, &[1, 0, 2])?;
        }
        let shape = cx.fact(x).shape.clone();
        let [time, batch, input] = &shape[..] else {
            bail_invalid!("a sequence must have 3 axes, found {shape}")
        };
        let Some(input) = input.as_const() else {
            return Err(Error::unsupported(format!(
                "a sequence {shape} of elements of open size is not supported"
            ))
            .hint("bind the last dimension with --dim"));
        };
        let (gates, hidden) = (self.kind.gates() * self.hidden, self.hidden);
        let directions = if self.direction == "bidirectional" { 2 } else { 1 };
        let (w, r) = (required(inputs, 1)?, required(inputs, 2)?);
        let of_shape = |cx: &Composer<'_>, value: Option<Value>, what: &str, expected: &[Dim]| {
            value.map_or(Ok(()), |value| fits(cx, value, what, expected))
        };
        let dims = |shape: &[i64]| shape.iter().map(|n| Dim::Const(*n)).collect::<Vec<Dim>>();
        let product = |of: i64, block: i64| match (self.quantised, block) {
            (true, _) => vec![directions, of, gates],
            (false, 0) => vec![directions, gates, of],
            (false, block) => vec![directions, gates, (of + block - 1) / block, block],
        };
        let [of_w, of_r] = self.blocks;
        of_shape(cx, Some(w), "weights of elements", &dims(&product(input, of_w)))?;
        of_shape(cx, Some(r), "weights of the state", &dims(&product(hidden, of_r)))?;
        let (bias, lengths, peepholes) =
            (optional(3), optional(4), optional(7).filter(|_| self.kind == Kind::Lstm));
        of_shape(cx, bias, "the bias", &dims(&[directions, 2 * gates]))?;
        of_shape(cx, lengths, "lengths", std::slice::from_ref(batch))?;
        of_shape(cx, peepholes, "peepholes", &dims(&[directions, 3 * hidden]))?;
        let mut state = [directions.into(), batch.clone(), hidden.into()];
        if self.batch_first {
            state.swap(0, 1);
        }
        let mut states = Vec::new();
        for (i, what) in [(5, "the initial state"), (6, "the initial cell")] {
            let needed = i == 5 || self.kind == Kind::Lstm;
            let given = optional(i).filter(|_| needed);
            of_shape(cx, given, what, &state)?;
            let given = match given {
                Some(given) if self.batch_first => Some(cx.transpose(given, &[1, 0, 2])?),
                given => given,
            };
            states.push(given);
        }
        // Lengths that are the sequence's say nothing.
        let whole = |t: &Tensor| t.to_i64s().is_ok_and(|all| all.iter().all(|n| time.is(*n)));
        let lengths = lengths.filter(|v| !cx.fact(*v).tensor().is_some_and(whole));
        let lengths = lengths.map(|v| {
            let v = cx.cast(v, DType::I64)?;
            // An extent of another name is the batch.
            if cx.fact(v).shape[0] == *batch { Ok(v) } else { shaped(cx, v, std::slice::from_ref(batch), x) }
        });
        let lengths = lengths.transpose()?;
        if time.is(0) {
            bail_invalid!("the sequence {shape} has no elements");
        }
        let (mut all, mut last) = (Vec::new(), [Vec::new(), Vec::new()]);
        for d in 0..directions {
            let backward = self.direction == "reverse" || d == 1;
            let part = |cx: &mut Composer<'_>, value: Option<Value>, shape: &[Dim]| {
                let Some(value) = value else { return Ok(None) };
                let part = cx.slice(value, 0, (d, d + 1), 1)?;
                // A loop's states have the type that a turn gives them; where there is none, a batch of another name stays.
                if steps::unrolled(time).is_some() && shape.iter().any(|d| d.as_const().is_none()) {
                    let axis = cx.integers(&[0]);
                    return cx.apply(&squeeze::SQUEEZE, &[], &[part, axis]).map(Some);
                }
                shaped(cx, part, shape, x).map(Some)
            };
            let row =
                |cx: &mut Composer<'_>, value: Option<Value>, shape: &[i64]| part(cx, value, &dims(shape));
            let state = [batch.clone(), hidden.into()];
            let turned = match (backward, lengths) {
                (true, Some(lengths)) => cx.apply(&reverse_sequence::DEF, &[], &[x, lengths])?,
                _ => x,
            };
            let both = [(w, input, 8, 0), (r, hidden, 10, 1)];
            let [w, r] = both.map(|(value, of, scales, which)| -> Result<Weights> {
                let block = self.blocks[which];
                if block > 0 {
                    let (d, blocks) = (d as usize, (of + block - 1) / block);
                    let scales = required(inputs, SCALES[which])?;
                    let value = weights::known(cx, value, (d, d + 1), &[gates, blocks, block])?;
                    let scales = weights::known(cx, scales, (d, d + 1), &[gates * blocks])?;
                    return Ok(Weights::Bytes { value, scales, from: of, columns: gates, block });
                }
                let Some(value) = row(cx, Some(value), &product(of, block)[1..])? else {
                    bail_invalid!("weights are left out")
                };
                if !self.quantised {
                    return Ok(Weights::Floats(cx.transpose(value, &[1, 0])?));
                }
                let mut parameter = |i: usize| -> Result<Value> {
                    let value = required(inputs, i)?;
                    let per = cx.extents(value, "a scale")?;
                    let columns: &[i64] = if per.len() == 2 { &[gates] } else { &[] };
                    row(cx, Some(value), columns)?
                        .ok_or_else(|| crate::Error::internal("a scale is left out"))
                };
                let (scale, zero) = (parameter(scales)?, parameter(scales + 1)?);
                Ok(Weights::Quantised { value, scale, zero })
            });
            let direction = Direction {
                kind: self.kind,
                x: turned,
                extents: [time.clone(), batch.clone(), input.into()],
                hidden,
                w: w?,
                r: r?,
                bias: row(cx, bias, &[2 * gates])?,
                peepholes: row(cx, peepholes, &[3 * hidden])?,
                lengths,
                h: part(cx, states[0], &state)?,
                c: part(cx, states[1], &state)?,
                // Sequences of several lengths are turned round instead.
                backward: backward && lengths.is_none(),
                activations: &self.activations[d as usize * self.kind.activations().len()..],
                clip: self.clip,
                input_forget: self.input_forget,
                linear_before_reset: self.linear_before_reset,
            };
            let done = direction.run(cx)?;
            let mut y = done.all;
            if let (true, Some(lengths)) = (backward, lengths) {
                y = cx.apply(&reverse_sequence::DEF, &[], &[y, lengths])?;
            }
            all.push(shaped(cx, y, &[time.clone(), 1i64.into(), batch.clone(), hidden.into()], x)?);
            for (last, state) in last.iter_mut().zip([Some(done.h), done.c]) {
                if let Some(state) = state {
                    last.push(shaped(cx, state, &[1i64.into(), batch.clone(), hidden.into()], x)?);
                }
            }
        }
        let y = cx.concat(&all, 1)?;
        let mut results = vec![if self.batch_first { cx.transpose(y, &[2, 0, 1, 3])? } else { y }];
        for state in last.iter().filter(|l| !l.is_empty()) {
            let state = cx.concat(state, 0)?;
            results.push(if self.batch_first { cx.transpose(state, &[1, 0, 2])? } else { state });
        }
        results.truncate(self.outputs);
        Ok(results)
    }
}

#[cfg(test)]
mod tests;
