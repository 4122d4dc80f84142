//! `MultiHeadAttention` and `Attention` of `com.microsoft`: attention with masks and a cache of keys and values.
//!
//! Spec: ONNX Runtime's contrib operators, version 1. Inputs of `MultiHeadAttention`, of which all but the first may be left out:
//!
//! ```text
//! query          [B, S, N * D], or [B, S, N, 3, D] of query, key and value
//! key, value     [B, L, N * D] and [B, L, N * E]; [B, L, N, 2, D] of both; or [B, N, L, D] and [B, N, L, E]
//! bias           [N * D + N * D + N * E], added to query, key and value that have 3 axes
//! mask           see below
//! attention_bias added to scores, broadcasts to [B, N, S, T]
//! past_key, past_value   [B, N, P, D] and [B, N, P, E], before key and value: T = P + L
//! ```
//!
//! Results: y `[B, S, N * E]`, keys and values with the past ones, scores before the softmax. `Attention` makes query, key and
//! value itself, as `x . weights + bias`, with parts of the lengths `qkv_hidden_sizes`, else thirds; its inputs are x, weights,
//! bias, mask, past `[2, B, N, P, D]` and attention_bias, its results y and the past with the present.
//!
//! The mask is `[B, T]` or `[B, S, T]` where a score counts that is greater than 0; or the number of keys that count, `[B]`; or
//! those numbers followed by the first keys that count, `[2 * B]`. `mask_filter_value` is added to scores that do not count.
//! With `unidirectional` later keys are hidden.
//!
//! Numerics: as `super::attend` says.
//!
//! Unsupported: other masks, caches that are written in place, rotations.

use super::attend::{Attend, Masks, causal, extent, heads, joined, positions};
use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, concat, matmul, squeeze, where_};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op, OpDef};
use crate::{bail_invalid, bail_unsupported};

/// `com.microsoft::MultiHeadAttention`.
pub const DEF: OpDef = OpDef {
    name: "MultiHeadAttention",
    domain: MICROSOFT,
    since: (1, 1),
    parse: |node| parse(false, node),
    unsupported: "packed masks, caches in place",
};

/// `com.microsoft::Attention`.
pub const SELF: OpDef = OpDef {
    name: "Attention",
    parse: |node| parse(true, node),
    unsupported: "masks of 4 axes, caches in place, rotation",
    ..DEF
};

/// Attention of `com.microsoft`.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiHeadAttention {
    /// Whether query, key and value are made here.
    projects: bool,
    /// Number of heads.
    pub heads: i64,
    /// Factor of the products.
    pub scale: Option<f32>,
    /// Added to scores that do not count.
    pub filter: f32,
    /// Whether later keys are hidden.
    pub causal: bool,
    /// The lengths of query, key and value that are made here.
    pub sizes: Option<Vec<i64>>,
    /// Number of results.
    pub outputs: usize,
}

fn parse(projects: bool, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    match projects {
        true => node.arity(2..=6, 1..=2)?,
        false => node.arity(1..=8, 1..=4)?,
    }
    let heads = match node.int("num_heads")? {
        Some(heads) if heads > 0 => heads,
        Some(heads) => bail_invalid!("attribute 'num_heads' must be positive, found {heads}"),
        None => bail_invalid!("attribute 'num_heads' is missing"),
    };
    let mut sizes = None;
    if projects {
        for name in ["do_rotary", "past_present_share_buffer"] {
            if node.flag(name, false)? {
                bail_unsupported!("attribute '{name}' = 1 is not supported");
            }
        }
        node.int("rotary_embedding_dim")?;
        sizes = node.ints("qkv_hidden_sizes")?.filter(|sizes| !sizes.is_empty());
        if sizes.as_ref().is_some_and(|s| s.len() != 3 || s.iter().any(|n| *n <= 0) || s[0] != s[1]) {
            bail_invalid!("attribute 'qkv_hidden_sizes' must be three lengths, the first two equal");
        }
    }
    Ok(Box::new(MultiHeadAttention {
        projects,
        heads,
        scale: node.float("scale")?.filter(|s| *s != 0.0),
        filter: node.float("mask_filter_value")?.unwrap_or(-10000.0),
        causal: node.flag("unidirectional", false)?,
        sizes,
        outputs: node.outputs,
    }))
}

impl Op for MultiHeadAttention {
    fn name(&self) -> &'static str {
        if self.projects { SELF.name } else { DEF.name }
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let named = |name: &str, value: Option<Attr>| value.map(|v| (name.to_owned(), v));
        [
            named("num_heads", Some(Attr::Int(self.heads))),
            named("mask_filter_value", Some(Attr::Float(self.filter))),
            named("scale", self.scale.map(Attr::Float)),
            named("unidirectional", self.causal.then_some(Attr::Int(1))),
            named("qkv_hidden_sizes", self.sizes.clone().map(Attr::Ints)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    composed!(product);
}

/// What attention is of.
struct Operands {
    /// `[B, N, S, D]`, `[B, N, L, D]` and `[B, N, L, E]`.
    qkv: [Value; 3],
    mask: Option<Value>,
    bias: Option<Value>,
    past: [Option<Value>; 2],
}

impl Composed for MultiHeadAttention {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let found = if self.projects { self.projected(cx, inputs)? } else { self.given(cx, inputs)? };
        let [q, mut k, mut v] = found.qkv;
        let mut first = None;
        match found.past {
            [Some(keys), Some(values)] => {
                let axis = [("axis", Attr::Int(2))];
                if [keys, values].iter().any(|p| cx.fact(*p).shape.rank() != 4) {
                    bail_invalid!("past keys and values must have 4 axes");
                }
                first = Some(extent(cx, keys, 2)?);
                k = cx.apply(&concat::DEF, &axis, &[keys, k])?;
                v = cx.apply(&concat::DEF, &axis, &[values, v])?;
            }
            [None, None] => {}
            _ => bail_invalid!("past keys and past values must be there both, or none"),
        }
        let mut masks = Masks::default();
        if let Some(mask) = found.mask {
            masks.addends.push(self.filtered(cx, mask, q, k)?);
        }
        masks.addends.extend(found.bias);
        if self.causal {
            masks.visible.push(causal(cx, q, k, first)?);
        }
        let attend = Attend { scale: self.scale, ..Attend::default() };
        let done = attend.compose(cx, [q, k, v], &masks)?;
        let y = joined(cx, done.y)?;
        if !self.projects {
            return Ok([y, k, v, done.scores[2]][..self.outputs].to_vec());
        }
        if self.outputs == 1 {
            return Ok(vec![y]);
        }
        let pair = [cx.unsqueeze(k, &[0])?, cx.unsqueeze(v, &[0])?];
        Ok(vec![y, cx.apply(&concat::DEF, &[("axis", Attr::Int(0))], &pair)?])
    }
}

impl MultiHeadAttention {
    /// The operands of `MultiHeadAttention`.
    fn given(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Operands> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let (query, bias) = (required(inputs, 0)?, optional(3));
        let qkv = match (optional(1), optional(2)) {
            (None, None) => parts(cx, query, 3)?.try_into().map_err(|_| Error::internal("three parts"))?,
            (Some(key), None) => {
                let pair = parts(cx, key, 2)?;
                [heads(cx, query, self.heads)?, pair[0], pair[1]]
            }
            (Some(key), Some(value)) if cx.fact(key).shape.rank() == 4 => {
                [heads(cx, query, self.heads)?, key, value]
            }
            (Some(key), Some(value)) => {
                let mut flat = [query, key, value];
                if let Some(bias) = bias {
                    flat = biased(cx, flat, bias)?;
                }
                let [q, k, v] = flat;
                [heads(cx, q, self.heads)?, heads(cx, k, self.heads)?, heads(cx, v, self.heads)?]
            }
            (None, Some(_)) => bail_invalid!("a value without a key"),
        };
        let apart = optional(2).is_none_or(|v| cx.fact(v).shape.rank() == 4);
        if bias.is_some() && apart {
            bail_unsupported!("a bias of operands whose heads are apart is not supported");
        }
        Ok(Operands { qkv, mask: optional(4), bias: optional(5), past: [optional(6), optional(7)] })
    }

    /// The operands of `Attention`.
    fn projected(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Operands> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let (x, weights) = (required(inputs, 0)?, required(inputs, 1)?);
        if cx.fact(x).shape.rank() != 3 || cx.fact(weights).shape.rank() != 2 {
            bail_invalid!("the input must have 3 axes and the weights 2");
        }
        let Some(width) = cx.fact(weights).shape[1].as_const() else {
            bail_unsupported!("weights of an open extent are not supported")
        };
        let sizes = self.sizes.clone().unwrap_or_else(|| vec![width / 3; 3]);
        if sizes.iter().fold(0i64, |n, s| n.saturating_add(*s)) != width {
            bail_invalid!("{width} columns of weights are not query, key and value of {sizes:?}");
        }
        let mut all = cx.apply(&matmul::DEF, &[], &[x, weights])?;
        if let Some(bias) = optional(2) {
            all = cx.apply(&binary::ADD, &[], &[all, bias])?;
        }
        let mut at = 0;
        let mut qkv = [all; 3];
        for (part, size) in qkv.iter_mut().zip(sizes) {
            let flat = cx.slice(all, 2, (at, at + size), 1)?;
            *part = heads(cx, flat, self.heads)?;
            at += size;
        }
        let mut past = [None; 2];
        if let Some(both) = optional(4) {
            if cx.fact(both).shape.rank() != 5 {
                bail_invalid!("the past must have 5 axes, found {}", cx.fact(both).shape);
            }
            let axis = cx.integers(&[0]);
            for (i, one) in past.iter_mut().enumerate() {
                let part = cx.slice(both, 0, (i as i64, i as i64 + 1), 1)?;
                *one = Some(cx.apply(&squeeze::SQUEEZE, &[], &[part, axis])?);
            }
        }
        Ok(Operands { qkv, mask: optional(3), bias: optional(5), past })
    }

    /// What is added to scores for a mask.
    fn filtered(&self, cx: &mut Composer<'_>, mask: Value, q: Value, k: Value) -> Result<Value> {
        let (dtype, own) = (cx.fact(q).dtype, cx.fact(mask).shape.clone());
        let kind = cx.fact(mask).dtype;
        if !kind.is_int() {
            bail_invalid!("a mask must be integers, found {kind}");
        }
        let counts = match own.rank() {
            1 => {
                let batch = cx.fact(q).shape[0].clone();
                let both = own[0].as_const().zip(batch.as_const());
                let columns = positions(cx, k, 2)?;
                let columns = cx.cast(columns, kind)?;
                if own[0] == batch || both.is_some_and(|(n, b)| n == b) {
                    let ends = cx.unsqueeze(mask, &[1, 2, 3])?;
                    cx.apply(&binary::LESS, &[], &[columns, ends])?
                } else if let Some((n, b)) = both
                    && n == 2 * b
                {
                    let ends = cx.slice(mask, 0, (0, b), 1)?;
                    let starts = cx.slice(mask, 0, (b, n), 1)?;
                    let (ends, starts) = (cx.unsqueeze(ends, &[1, 2, 3])?, cx.unsqueeze(starts, &[1, 2, 3])?);
                    let before = cx.apply(&binary::LESS, &[], &[columns, ends])?;
                    let behind = cx.apply(&binary::GREATER_OR_EQUAL, &[], &[columns, starts])?;
                    cx.apply(&binary::AND, &[], &[before, behind])?
                } else {
                    bail_unsupported!("a mask of shape {own} for a batch of {batch} is not supported")
                }
            }
            2 | 3 => {
                let zero = cx.number(kind, 0.0)?;
                let axes: &[i64] = if own.rank() == 2 { &[1, 2] } else { &[1] };
                let wide = cx.unsqueeze(mask, axes)?;
                cx.apply(&binary::GREATER, &[], &[wide, zero])?
            }
            n => bail_unsupported!("a mask of {n} axes is not supported"),
        };
        let (nothing, filter) = (cx.number(dtype, 0.0)?, cx.number(dtype, self.filter.into())?);
        cx.apply(&where_::DEF, &[], &[counts, nothing, filter])
    }
}

/// `[B, L, N, count, D]` as so many `[B, N, L, D]`.
fn parts(cx: &mut Composer<'_>, value: Value, count: i64) -> Result<Vec<Value>> {
    let shape = cx.fact(value).shape.clone();
    if shape.rank() != 5 || !shape[3].is(count) {
        bail_invalid!("needs 5 axes of which the fourth is {count}, found {shape}");
    }
    let axis = cx.integers(&[3]);
    let part = |i| {
        let part = cx.slice(value, 3, (i, i + 1), 1)?;
        let part = cx.apply(&squeeze::SQUEEZE, &[], &[part, axis])?;
        cx.transpose(part, &[0, 2, 1, 3])
    };
    (0..count).map(part).collect()
}

/// Query, key and value with their parts of a bias.
fn biased(cx: &mut Composer<'_>, flat: [Value; 3], bias: Value) -> Result<[Value; 3]> {
    let mut at = 0i64;
    let mut sums = flat;
    for sum in &mut sums {
        let Some(size) = cx.fact(*sum).shape.last().and_then(|d| d.as_const()) else {
            bail_unsupported!("heads of an open extent are not supported: bind it with --dim")
        };
        let own = cx.slice(bias, 0, (at, at + size), 1)?;
        *sum = cx.apply(&binary::ADD, &[], &[*sum, own])?;
        at += size;
    }
    if cx.fact(bias).shape.rank() != 1 || cx.fact(bias).shape[0].as_const().is_some_and(|n| n != at) {
        bail_invalid!("the bias must have {at} elements, found {}", cx.fact(bias).shape);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, ints, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    const B: usize = 2;
    const S: usize = 3;

    fn op(name: &str, list: &[(&str, Attr)], inputs: usize, outputs: usize) -> Box<dyn Op> {
        let list = [&[("num_heads", Attr::Int(2))], list].concat();
        parse(&format!("com.microsoft::{name}"), 1, &list, inputs, outputs).unwrap()
    }

    /// Attention of ONNX, whose definition is tested by formula.
    fn plain(inputs: [Option<&Tensor>; 6], causal: bool) -> Tensor {
        let list = [
            ("q_num_heads", Attr::Int(2)),
            ("kv_num_heads", Attr::Int(2)),
            ("is_causal", Attr::Int(causal.into())),
        ];
        let op = parse("Attention", 24, &list, 6, 1).unwrap();
        op.eval(&inputs).unwrap().swap_remove(0)
    }

    fn sum(x: &Tensor, y: &Tensor) -> Tensor {
        let op = parse("Add", 14, &[], 2, 1).unwrap();
        op.eval(&[Some(x), Some(y)]).unwrap().swap_remove(0)
    }

    fn part(x: &Tensor, axis: i64, range: [i64; 2]) -> Tensor {
        let list = [("axes", ints(&[axis])), ("starts", ints(&range[..1])), ("ends", ints(&range[1..]))];
        parse("Slice", 1, &list, 1, 1).unwrap().eval(&[Some(x)]).unwrap().swap_remove(0)
    }

    fn operands() -> [Tensor; 3] {
        [sample(&[B, S, 8], 5), sample(&[B, S, 8], 3), sample(&[B, S, 6], 7)]
    }

    #[test]
    fn a_bias_of_all_three() {
        let [q, k, v] = operands();
        let bias = sample(&[22], 2);
        let y = run(&*op("MultiHeadAttention", &[], 4, 3), &[&q, &k, &v, &bias], &[]).unwrap();
        let [q, k, v] = [
            sum(&q, &part(&bias, 0, [0, 8])),
            sum(&k, &part(&bias, 0, [8, 16])),
            sum(&v, &part(&bias, 0, [16, 22])),
        ];
        assert_close(&y[0], &plain([Some(&q), Some(&k), Some(&v), None, None, None], false), 1e-6);
        assert_eq!(y[1].shape, [B, 2, S, 4]);
    }

    #[test]
    fn every_mask() {
        let [q, k, v] = operands();
        let filter = [("mask_filter_value", Attr::Float(-3.0)), ("unidirectional", Attr::Int(1))];
        let op = op("MultiHeadAttention", &filter, 5, 1);
        let seen = [1, 1, 0, 1, 0, 0];
        for (mask, rows) in [
            (Tensor::from_vec(&[B], vec![2, 1]), seen),
            (Tensor::from_vec(&[2 * B], vec![3, 2, 1, 0]), [0, 1, 1, 1, 1, 0]),
            (Tensor::from_vec(&[B, S], seen.to_vec()), seen),
            (Tensor::from_vec(&[B, 1, S], vec![1, 0, 1, 0, 1, 1]), [1, 0, 1, 0, 1, 1]),
        ] {
            let inputs = [Some(&q), Some(&k), Some(&v), None, Some(&mask)];
            let added = rows.map(|n| if n > 0 { 0f32 } else { -3.0 }).to_vec();
            let added = Tensor::from_vec(&[B, 1, 1, S], added);
            let want = plain([Some(&q), Some(&k), Some(&v), Some(&added), None, None], true);
            assert_close(&op.eval(&inputs).unwrap()[0], &want, 1e-6);
            // The way of machine code, with a bias of nothing.
            let nothing = Tensor::from_vec(&[22], vec![0f32; 22]);
            assert_close(&run(&*op, &[&q, &k, &v, &nothing, &mask], &[]).unwrap()[0], &want, 1e-6);
        }
    }

    #[test]
    fn a_cache() {
        let [q, k, v] = operands();
        let (pk, pv) = (sample(&[B, 2, 4, 4], 11), sample(&[B, 2, 4, 3], 13));
        let op = op("MultiHeadAttention", &[("unidirectional", Attr::Int(1))], 8, 3);
        let inputs = [Some(&q), Some(&k), Some(&v), None, None, None, Some(&pk), Some(&pv)];
        let y = op.eval(&inputs).unwrap();
        let want = plain([Some(&q), Some(&k), Some(&v), None, Some(&pk), Some(&pv)], true);
        assert_close(&y[0], &want, 1e-6);
        assert_eq!([&y[1].shape, &y[2].shape], [&[B, 2, 7, 4], &[B, 2, 7, 3]]);
    }

    #[test]
    fn operands_that_lie_together() {
        let [q, k, _] = operands();
        let v = sample(&[B, S, 8], 7);
        let want = plain([Some(&q), Some(&k), Some(&v), None, None, None], false);
        let at = |t: &Tensor, row: usize, head: usize, d: usize| {
            t.to_f64s().unwrap()[row * 8 + head * 4 + d] as f32
        };
        let packed = |all: &[&Tensor]| {
            let n = all.len();
            let element = |i: usize| at(all[i / 4 % n], i / (8 * n), i / (4 * n) % 2, i % 4);
            Tensor::from_vec(&[B, S, 2, n, 4], (0..B * S * 8 * n).map(element).collect())
        };
        let y = run(&*op("MultiHeadAttention", &[], 1, 1), &[&packed(&[&q, &k, &v])], &[]).unwrap();
        assert_close(&y[0], &want, 1e-6);
        let y = run(&*op("MultiHeadAttention", &[], 2, 1), &[&q, &packed(&[&k, &v])], &[]).unwrap();
        assert_close(&y[0], &want, 1e-6);
    }

    #[test]
    fn operands_that_are_made() {
        let (x, weights, bias) = (sample(&[B, S, 5], 5), sample(&[5, 22], 3), sample(&[22], 7));
        let product = parse("MatMul", 13, &[], 2, 1).unwrap();
        let all = sum(&product.eval(&[Some(&x), Some(&weights)]).unwrap()[0], &bias);
        let [q, k, v] = [[0, 8], [8, 16], [16, 22]].map(|range| part(&all, 2, range));
        let sizes = ("qkv_hidden_sizes", ints(&[8, 8, 6]));
        let y = run(&*op("Attention", &[sizes], 3, 1), &[&x, &weights, &bias], &[]).unwrap();
        assert_close(&y[0], &plain([Some(&q), Some(&k), Some(&v), None, None, None], false), 1e-5);
        // With a cache, whose two parts lie in one.
        let (weights, past) = (sample(&[5, 24], 3), sample(&[2, B, 2, 4, 4], 11));
        let all = product.eval(&[Some(&x), Some(&weights)]).unwrap().swap_remove(0);
        let [q, k, v] = [[0, 8], [8, 16], [16, 24]].map(|range| part(&all, 2, range));
        let inputs = [Some(&x), Some(&weights), None, None, Some(&past)];
        let y = op("Attention", &[], 5, 2).eval(&inputs).unwrap();
        let halves = [[0, 1], [1, 2]].map(|r| part(&past, 0, r).reshaped(&[B, 2, 4, 4]).unwrap());
        let want = plain([Some(&q), Some(&k), Some(&v), None, Some(&halves[0]), Some(&halves[1])], false);
        assert_close(&y[0], &want, 1e-5);
        assert_eq!(y[1].shape, [2, B, 2, 7, 4]);
    }

    #[test]
    fn refusals() {
        let op = op("MultiHeadAttention", &[], 3, 1);
        let x = &[2i64, 3, 8][..];
        assert!(refusal(&*op, &[&[2, 3, 7], x, x]).contains("do not divide into 2 heads"));
        assert!(refusal(&*op, &[x, &[2, 3], x]).contains("needs 3 axes"));
        assert!(parse("com.microsoft::MultiHeadAttention", 1, &[], 3, 1).is_err());
        let turned = [("num_heads", Attr::Int(2)), ("do_rotary", Attr::Int(1))];
        assert!(
            parse("com.microsoft::Attention", 1, &turned, 2, 1).unwrap_err().message.contains("do_rotary")
        );
    }
}
