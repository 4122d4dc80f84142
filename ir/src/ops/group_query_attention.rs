//! `GroupQueryAttention` of `com.microsoft`: causal attention of a decoder whose heads share keys, with its cache.
//!
//! Spec: ONNX Runtime's contrib operators, version 1. Inputs:
//!
//! ```text
//! query [B, S, N * D], key and value [B, S, G * D]; or all three in query [B, S, (N + 2 G) * D]
//! past_key, past_value     [B, G, P, D], or left out
//! seqlens_k                [B], one less than the number of keys of each sequence, those of the past counted
//! total_sequence_length    the largest number of keys; its value is not asked for
//! cos_cache, sin_cache     tables of angles, for do_rotary
//! position_ids             [B, S], else they follow the past of each sequence
//! attention_bias           added to scores
//! ```
//!
//! Results: y `[B, S, N * D]`, present keys and values `[B, G, P + S, D]`: the valid past of a sequence, then its new ones, then
//! zeros. A sequence has `p = max(seqlens_k + 1 - S, 0)` valid elements of the past, 0 without one. Query
//! s sees the keys t of the present with `t <= p + s`, and `t > p + s - local_window_size` where that is positive.
//!
//! Numerics: as `super::attend` says.
//!
//! Unsupported: a past and present that are one buffer (the present is longer than the past), quantised caches, sinks.

use super::attend::{Attend, Masks, extent, heads, joined, positions};
use super::composed::{Composed, Composer, Value, composed, required};
use super::rotary_embedding::{Turn, table};
use super::{binary, concat, expand, gather, gather_elements, shape, variadic, where_};
use crate::error::Result;
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "GroupQueryAttention",
    domain: MICROSOFT,
    since: (1, 1),
    parse,
    unsupported: "one buffer of past and present, quantised caches, sinks",
};

/// `com.microsoft::GroupQueryAttention`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupQueryAttention {
    /// Heads of the query.
    pub heads: i64,
    /// Heads of key and value.
    pub shared: i64,
    attend: Attend,
    /// Which elements turn; none where nothing does.
    turn: Option<Turn>,
    /// How many keys a query sees; 0 for all before it.
    pub window: i64,
    /// Number of results.
    pub outputs: usize,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(6..=11, 1..=3).or_else(|e| {
        // Key, value and the past may be left out.
        let needed = [0, 5].iter().all(|i| node.inputs.get(*i) == Some(&true));
        if needed && node.inputs.len() <= 11 && (1..=3).contains(&node.outputs) { Ok(()) } else { Err(e) }
    })?;
    let mut number = |name: &str| match node.int(name)? {
        Some(n) if n > 0 => Ok(n),
        Some(n) => bail_invalid!("attribute '{name}' must be positive, found {n}"),
        None => bail_invalid!("attribute '{name}' is missing"),
    };
    let (heads, shared) = (number("num_heads")?, number("kv_num_heads")?);
    for name in ["smooth_softmax", "qk_output", "kv_cache_bit_width"] {
        if node.int(name)?.is_some_and(|v| v > 0) {
            bail_unsupported!("attribute '{name}' is not supported");
        }
    }
    for name in ["k_quant_type", "v_quant_type"] {
        if node.string(name)?.is_some_and(|v| v != "NONE") {
            bail_unsupported!("attribute '{name}' is not supported");
        }
    }
    let interleaved = node.flag("rotary_interleaved", false)?;
    let turn = node.flag("do_rotary", false)?.then_some(Turn { interleaved, size: 0 });
    let scale = node.float("scale")?.filter(|s| *s != 0.0);
    let softcap = node.float("softcap")?.unwrap_or(0.0).max(0.0);
    Ok(Box::new(GroupQueryAttention {
        heads,
        shared,
        attend: Attend { scale, softcap, precision: None },
        turn,
        window: node.int("local_window_size")?.unwrap_or(0).max(0),
        outputs: node.outputs,
    }))
}

impl Op for GroupQueryAttention {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let named = |name: &str, value: Option<Attr>| value.map(|v| (name.to_owned(), v));
        let interleaved = self.turn.is_some_and(|t| t.interleaved);
        [
            named("num_heads", Some(Attr::Int(self.heads))),
            named("kv_num_heads", Some(Attr::Int(self.shared))),
            named("scale", self.attend.scale.map(Attr::Float)),
            named("softcap", Some(Attr::Float(self.attend.softcap)).filter(|_| self.attend.softcap != 0.0)),
            named("do_rotary", self.turn.map(|_| Attr::Int(1))),
            named("rotary_interleaved", interleaved.then_some(Attr::Int(1))),
            named("local_window_size", Some(Attr::Int(self.window)).filter(|_| self.window != 0)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    composed!(product);
}

impl Composed for GroupQueryAttention {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let [mut q, mut k, mut v] = self.apart(cx, inputs)?;
        let past = match [optional(3), optional(4)] {
            [Some(keys), Some(values)] => {
                if [keys, values].iter().any(|p| cx.fact(*p).shape.rank() != 4) {
                    bail_invalid!("past keys and values must have 4 axes");
                }
                Some([keys, values]).filter(|_| !cx.fact(keys).shape[2].is(0))
            }
            [None, None] => None,
            _ => bail_invalid!("past keys and past values must be there both, or none"),
        };
        let ends = required(inputs, 5)?;
        let valid = match past {
            Some(_) => Some(valid(cx, ends, q)?),
            None => None,
        };
        if let Some(turn) = self.turn {
            let (cos, sin) = (required(inputs, 7)?, required(inputs, 8)?);
            let ids = match optional(9) {
                Some(ids) => ids,
                None => rows(cx, q, valid)?,
            };
            let tables = [table(cx, cos, Some(ids), q)?, table(cx, sin, Some(ids), q)?];
            let size = cx.fact(tables[0]).shape[3].as_const().unwrap_or(0).saturating_mul(2);
            let turn = Turn { size, ..turn };
            q = turn.compose(cx, q, tables)?;
            k = turn.compose(cx, k, tables)?;
        }
        if let (Some([keys, values]), Some(valid)) = (past, valid) {
            k = present(cx, keys, k, valid)?;
            v = present(cx, values, v, valid)?;
        }
        let mut masks = Masks { addends: optional(10).into_iter().collect(), visible: vec![] };
        let at = rows(cx, q, valid)?;
        let axes: &[i64] = &[1, 3];
        let at = cx.unsqueeze(at, axes)?;
        let columns = positions(cx, k, 2)?;
        masks.visible.push(cx.apply(&binary::LESS_OR_EQUAL, &[], &[columns, at])?);
        if self.window > 0 {
            let window = cx.constant(Tensor::scalar(self.window));
            let first = cx.apply(&binary::SUB, &[], &[at, window])?;
            masks.visible.push(cx.apply(&binary::GREATER, &[], &[columns, first])?);
        }
        let done = self.attend.compose(cx, [q, k, v], &masks)?;
        let y = joined(cx, done.y)?;
        Ok([y, k, v][..self.outputs].to_vec())
    }
}

impl GroupQueryAttention {
    /// Query, key and value with their heads apart.
    fn apart(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<[Value; 3]> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let query = required(inputs, 0)?;
        let flat = match [optional(1), optional(2)] {
            [Some(key), Some(value)] => [query, key, value],
            [None, None] => {
                let all = cx.fact(query).shape.clone();
                let number = self.heads.saturating_add(self.shared.saturating_mul(2));
                let size = match all.last().and_then(|d| d.as_const()) {
                    Some(width) if all.rank() == 3 && width % number == 0 => width / number,
                    _ => bail_invalid!("query, key and value of {number} heads do not lie in {all}"),
                };
                let (own, shared) = (self.heads * size, self.shared * size);
                [
                    cx.slice(query, 2, (0, own), 1)?,
                    cx.slice(query, 2, (own, own + shared), 1)?,
                    cx.slice(query, 2, (own + shared, own + 2 * shared), 1)?,
                ]
            }
            _ => bail_invalid!("key and value must be there both, or none"),
        };
        let numbers = [self.heads, self.shared, self.shared];
        let mut apart = flat;
        for (value, number) in apart.iter_mut().zip(numbers) {
            *value = heads(cx, *value, number)?;
        }
        Ok(apart)
    }
}

/// How many elements of the past a sequence has, `[B, 1]` of i64.
fn valid(cx: &mut Composer<'_>, ends: Value, q: Value) -> Result<Value> {
    if !cx.fact(ends).dtype.is_int() {
        bail_invalid!("seqlens_k must be integers, found {}", cx.fact(ends).dtype);
    }
    let ends = cx.reshape(ends, &[-1, 1])?;
    let ends = cx.cast(ends, DType::I64)?;
    let (one, zero) = (cx.constant(Tensor::scalar(1i64)), cx.constant(Tensor::scalar(0i64)));
    let new = extent(cx, q, 2)?;
    let all = cx.apply(&binary::ADD, &[], &[ends, one])?;
    let old = cx.apply(&binary::SUB, &[], &[all, new])?;
    cx.apply(&variadic::MAX, &[], &[old, zero])
}

/// The positions of the queries, `[B or 1, S]`.
fn rows(cx: &mut Composer<'_>, q: Value, valid: Option<Value>) -> Result<Value> {
    let steps = positions(cx, q, 2)?;
    match valid {
        Some(valid) => cx.apply(&binary::ADD, &[], &[valid, steps]),
        None => cx.unsqueeze(steps, &[0]),
    }
}

/// The valid elements of the past, then the new ones, then zeros.
fn present(cx: &mut Composer<'_>, past: Value, new: Value, valid: Value) -> Result<Value> {
    let all = cx.apply(&concat::DEF, &[("axis", Attr::Int(2))], &[past, new])?;
    let at = positions(cx, all, 2)?;
    let (old, total) = (extent(cx, past, 2)?, extent(cx, all, 2)?);
    let one = cx.constant(Tensor::scalar(1i64));
    let last = cx.apply(&binary::SUB, &[], &[total, one])?;
    // Element t of the present behind the valid past is element t - valid of the new ones.
    let shift = cx.apply(&binary::SUB, &[], &[old, valid])?;
    let moved = cx.apply(&binary::ADD, &[], &[at, shift])?;
    let moved = cx.apply(&variadic::MIN, &[], &[moved, last])?;
    let inside = cx.apply(&binary::LESS, &[], &[at, valid])?;
    let from = cx.apply(&where_::DEF, &[], &[inside, at, moved])?;
    let along = [("axis", Attr::Int(2))];
    let found = if cx.fact(all).shape[0].is(1) {
        // Rows of a single sequence are copied whole.
        let from = cx.reshape(from, &[-1])?;
        cx.apply(&gather::DEF, &along, &[all, from])?
    } else {
        let from = cx.unsqueeze(from, &[1, 3])?;
        let extents = cx.apply(&shape::DEF, &[], &[all])?;
        let from = cx.apply(&expand::DEF, &[], &[from, extents])?;
        cx.apply(&gather_elements::DEF, &along, &[all, from])?
    };
    let new = extent(cx, new, 2)?;
    let end = cx.apply(&binary::ADD, &[], &[valid, new])?;
    let defined = cx.apply(&binary::LESS, &[], &[at, end])?;
    let (defined, zero) = (cx.unsqueeze(defined, &[1, 3])?, cx.number(cx.fact(all).dtype, 0.0)?);
    cx.apply(&where_::DEF, &[], &[defined, found, zero])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};

    const SIZE: usize = 4;

    fn op(list: &[(&str, Attr)], inputs: usize, outputs: usize) -> Box<dyn Op> {
        let list = [&[("num_heads", Attr::Int(4)), ("kv_num_heads", Attr::Int(2))], list].concat();
        parse("com.microsoft::GroupQueryAttention", 1, &list, inputs, outputs).unwrap()
    }

    /// One sequence by the formula: queries `[S, 4 * SIZE]`, keys and values `[2, T, SIZE]` as far as they are valid.
    fn naive(q: &[f64], k: &[f64], v: &[f64], first: usize, window: usize) -> Vec<f64> {
        let (rows, keys) = (q.len() / (4 * SIZE), k.len() / (2 * SIZE));
        let mut y = vec![0.0; q.len()];
        for (s, h) in (0..rows).flat_map(|s| (0..4).map(move |h| (s, h))) {
            let at = |t: usize, d: usize| (h / 2 * keys + t) * SIZE + d;
            let seen = (0..keys).filter(|t| *t <= first + s && t + window > first + s);
            let weights: Vec<(usize, f64)> = seen
                .map(|t| (t, (0..SIZE).map(|d| q[(s * 4 + h) * SIZE + d] * k[at(t, d)]).sum::<f64>()))
                .map(|(t, dot)| (t, (dot / (SIZE as f64).sqrt()).exp()))
                .collect();
            let sum: f64 = weights.iter().map(|(_, w)| w).sum();
            for d in 0..SIZE {
                y[(s * 4 + h) * SIZE + d] = weights.iter().map(|(t, w)| w / sum * v[at(*t, d)]).sum();
            }
        }
        y
    }

    /// `[2, S, SIZE]` of a sequence `[S, 2 * SIZE]`.
    fn turned(x: &[f64]) -> Vec<f64> {
        let rows = x.len() / (2 * SIZE);
        (0..x.len()).map(|i| x[i / SIZE % rows * 2 * SIZE + i / (rows * SIZE) * SIZE + i % SIZE]).collect()
    }

    #[test]
    fn prompts() {
        let (q, k, v) = (sample(&[1, 3, 16], 5), sample(&[1, 3, 8], 3), sample(&[1, 3, 8], 7));
        let (ends, total) = (Tensor::from_vec(&[1], vec![2i32]), Tensor::from_vec(&[1], vec![3i32]));
        let [qs, ks, vs] = [&q, &k, &v].map(|t| t.to_f64s().unwrap());
        for window in [0, 2] {
            let reach = if window == 0 { 100 } else { window };
            let want = naive(&qs, &turned(&ks), &turned(&vs), 0, reach);
            let want = Tensor::from_vec(&[1, 3, 16], want.into_iter().map(|v| v as f32).collect());
            let op = op(&[("local_window_size", Attr::Int(window as i64))], 7, 3);
            let inputs = [Some(&q), Some(&k), Some(&v), None, None, Some(&ends), Some(&total)];
            let y = op.eval(&inputs).unwrap();
            assert_close(&y[0], &want, 1e-6);
            assert_eq!(y[1].shape, [1, 2, 3, 4]);
        }
        // All three side by side.
        let rows = qs.chunks(16).zip(ks.chunks(8)).zip(vs.chunks(8));
        let all: Vec<f32> = rows.flat_map(|((q, k), v)| [q, k, v].concat()).map(|v| v as f32).collect();
        let all = Tensor::from_vec(&[1, 3, 32], all);
        let inputs = [Some(&all), None, None, None, None, Some(&ends), Some(&total)];
        let want = naive(&qs, &turned(&ks), &turned(&vs), 0, 100);
        let want = Tensor::from_vec(&[1, 3, 16], want.into_iter().map(|v| v as f32).collect());
        assert_close(&op(&[], 7, 1).eval(&inputs).unwrap()[0], &want, 1e-6);
    }

    #[test]
    fn sequences_of_different_lengths() {
        // Of three elements of the past the second sequence has one.
        let (q, k, v) = (sample(&[2, 2, 16], 5), sample(&[2, 2, 8], 3), sample(&[2, 2, 8], 7));
        let (pk, pv) = (sample(&[2, 2, 3, 4], 11), sample(&[2, 2, 3, 4], 13));
        let (ends, total) = (Tensor::from_vec(&[2], vec![4i32, 2]), Tensor::from_vec(&[1], vec![5i32]));
        let y = run(&*op(&[], 7, 3), &[&q, &k, &v, &pk, &pv, &ends, &total], &[]).unwrap();
        assert_eq!([&y[0].shape[..], &y[1].shape], [&[2, 2, 16][..], &[2, 2, 5, 4]]);
        let [qs, ks, vs, pks, pvs] = [&q, &k, &v, &pk, &pv].map(|t| t.to_f64s().unwrap());
        for (b, valid) in [(0, 3), (1, 1)] {
            let joined = |past: &[f64], new: &[f64]| {
                let new = turned(&new[b * 16..][..16]);
                let heads = (0..2).flat_map(|g| {
                    let old = &past[(b * 2 + g) * 12..][..valid * SIZE];
                    old.iter().copied().chain(new[g * 8..][..8].iter().copied()).collect::<Vec<f64>>()
                });
                heads.collect::<Vec<f64>>()
            };
            let (keys, values) = (joined(&pks, &ks), joined(&pvs, &vs));
            let want = naive(&qs[b * 32..][..32], &keys, &values, valid, 100);
            let got = &y[0].to_f64s().unwrap()[b * 32..][..32];
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {want:?}");
            // The valid part of the present.
            let present = y[1].to_f64s().unwrap();
            for g in 0..2 {
                let own = &present[(b * 2 + g) * 20..][..(valid + 2) * SIZE];
                assert_eq!(own, &keys[g * (valid + 2) * SIZE..][..(valid + 2) * SIZE]);
                let rest = &present[(b * 2 + g) * 20..][(valid + 2) * SIZE..20];
                assert!(rest.iter().all(|v| *v == 0.0));
            }
        }
    }

    #[test]
    fn angles_follow_the_past() {
        let (q, k, v) = (sample(&[1, 1, 16], 5), sample(&[1, 1, 8], 3), sample(&[1, 1, 8], 7));
        let (pk, pv) = (sample(&[1, 2, 3, 4], 11), sample(&[1, 2, 3, 4], 13));
        let (cos, sin) = (sample(&[6, 2], 2), sample(&[6, 2], 3));
        let (ends, total) = (Tensor::from_vec(&[1], vec![3i32]), Tensor::from_vec(&[1], vec![4i32]));
        let turning = [("do_rotary", Attr::Int(1))];
        let inputs = [&q, &k, &v, &pk, &pv, &ends, &total, &cos, &sin];
        let y = run(&*op(&turning, 9, 1), &inputs, &[]).unwrap();
        let rotate = |x: &Tensor, heads: i64| {
            let list = [("num_heads", Attr::Int(heads))];
            let op = parse("com.microsoft::RotaryEmbedding", 1, &list, 4, 1).unwrap();
            let at = Tensor::from_vec(&[1, 1], vec![3i64]);
            op.eval(&[Some(x), Some(&at), Some(&cos), Some(&sin)]).unwrap().swap_remove(0)
        };
        let (q, k) = (rotate(&q, 4), rotate(&k, 2));
        let want = run(&*op(&[], 7, 1), &[&q, &k, &v, &pk, &pv, &ends, &total], &[]).unwrap();
        assert_close(&y[0], &want[0], 1e-6);
    }

    #[test]
    fn refusals() {
        let op = op(&[], 7, 1);
        let (q, k) = (&[1i64, 3, 16][..], &[1i64, 3, 8][..]);
        let past = &[1i64, 2, 3, 4][..];
        assert!(refusal(&*op, &[q, k, k, past, past, &[1], &[1]]).contains("seqlens_k must be integers"));
        assert!(refusal(&*op, &[q, k, k, k, k, &[1], &[1]]).contains("must have 4 axes"));
        let list = [("num_heads", Attr::Int(4)), ("kv_num_heads", Attr::Int(2))];
        let sinks = [&list[..], &[("smooth_softmax", Attr::Int(1))]].concat();
        assert!(parse("com.microsoft::GroupQueryAttention", 1, &sinks, 7, 1).is_err());
        assert!(parse("com.microsoft::GroupQueryAttention", 1, &list[..1], 7, 1).is_err());
    }
}
