//! `Attention`: products of queries with keys, a softmax, and its product with values (ONNX, since 23 and 24).
//!
//! Spec: q, k and v as `[batch, heads, sequence, size]`, or `[batch, sequence, heads * size]` with the attributes `q_num_heads`
//! and `kv_num_heads`. Then optionally: `attn_mask`, bool (true where a score counts) or added, which broadcasts to the scores
//! and hides what it does not reach of the last axis; `past_key` and `past_value`, which precede k and v; and
//! `nonpad_kv_seqlen` (24), the number of keys of each batch that count. `is_causal` hides later keys. Results: y, the keys
//! and values with the past ones, and scores after the step that `qk_matmul_output_mode` names: 0 the product, 1 the mask,
//! 2 the cap, 3 the softmax.
//!
//! Numerics: as `super::attend` says; a row that is hidden whole is NaN.
//!
//! Unsupported: open extents of heads; a mask with an open last axis that is shorter than the keys.

use super::attend::{Attend, Masks, causal, extent, heads, joined, positions};
use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, concat, pad};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "Attention", domain: "", since: (23, 24), parse, unsupported: "open extents of heads" };

/// ONNX `Attention`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// How scores become weights.
    attend: Attend,
    /// Whether later keys are hidden.
    pub causal: bool,
    /// Heads of the query, and of key and value, where they lie side by side.
    pub heads: [Option<i64>; 2],
    /// Which scores are the fourth result.
    pub mode: usize,
    /// Number of results.
    pub outputs: usize,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=7, 1..=4)?;
    let precision = match node.int("softmax_precision")? {
        None | Some(0) => None,
        Some(n) => {
            let dtype = i32::try_from(n).ok().and_then(|n| DType::from_onnx(n).ok());
            match dtype.filter(|t| t.is_float()) {
                Some(dtype) => Some(dtype),
                None => {
                    bail_invalid!("attribute 'softmax_precision' must name a floating-point type, found {n}")
                }
            }
        }
    };
    let scale = node.float("scale")?;
    let softcap = node.float("softcap")?.unwrap_or(0.0);
    if softcap < 0.0 || softcap.is_nan() {
        bail_invalid!("attribute 'softcap' must not be negative, found {softcap}");
    }
    let mode = match node.int("qk_matmul_output_mode")?.unwrap_or(0) {
        mode @ 0..=3 => mode as usize,
        mode => bail_invalid!("attribute 'qk_matmul_output_mode' must be 0 to 3, found {mode}"),
    };
    Ok(Box::new(Attention {
        attend: Attend { scale, softcap, precision },
        causal: node.flag("is_causal", false)?,
        heads: [node.int("q_num_heads")?, node.int("kv_num_heads")?],
        mode,
        outputs: node.outputs,
    }))
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let Attend { scale, softcap, precision } = self.attend;
        let int = |name: &str, value: Option<i64>| value.map(|v| (name.to_owned(), Attr::Int(v)));
        let float = |name: &str, value: Option<f32>| value.map(|v| (name.to_owned(), Attr::Float(v)));
        [
            int("is_causal", self.causal.then_some(1)),
            int("q_num_heads", self.heads[0]),
            int("kv_num_heads", self.heads[1]),
            int("qk_matmul_output_mode", Some(self.mode as i64).filter(|m| *m != 0)),
            int("softmax_precision", precision.map(|t| t.to_onnx().into())),
            float("scale", scale),
            float("softcap", Some(softcap).filter(|c| *c != 0.0)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    composed!(product);
}

impl Composed for Attention {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let operands = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
        let ranks = operands.map(|v| cx.fact(v).shape.rank());
        let flat = match ranks {
            [3, 3, 3] => true,
            [4, 4, 4] => false,
            _ => bail_invalid!("query, key and value must all have 3 axes or all have 4, found {ranks:?}"),
        };
        let [mut q, mut k, mut v] = operands;
        if flat {
            let missing = |name: &str| Error::invalid(format!("attribute '{name}' is missing"));
            let number = self.heads[0].ok_or_else(|| missing("q_num_heads"))?;
            let shared = self.heads[1].ok_or_else(|| missing("kv_num_heads"))?;
            (q, k, v) = (heads(cx, q, number)?, heads(cx, k, shared)?, heads(cx, v, shared)?);
        }
        let past = [optional(4), optional(5)];
        let mut first = None;
        if let [Some(keys), Some(values)] = past {
            let axis = [("axis", Attr::Int(2))];
            if cx.fact(keys).shape.rank() != 4 {
                bail_invalid!("past keys must have 4 axes, found {}", cx.fact(keys).shape);
            }
            first = Some(extent(cx, keys, 2)?);
            k = cx.apply(&concat::DEF, &axis, &[keys, k])?;
            v = cx.apply(&concat::DEF, &axis, &[values, v])?;
        } else if past.iter().any(Option::is_some) {
            bail_invalid!("past keys and past values must be there both, or none");
        }
        let mut masks = Masks::default();
        if let Some(mask) = optional(3) {
            let mask = reaching(cx, mask, k)?;
            match cx.fact(mask).dtype {
                DType::Bool => masks.visible.push(mask),
                t if t.is_float() => masks.addends.push(mask),
                t => bail_unsupported!("a mask of type {t} is not supported: it must be bool or float"),
            }
        }
        if self.causal {
            let visible = causal(cx, q, k, first)?;
            masks.visible.push(visible);
        }
        if let Some(lengths) = optional(6) {
            if cx.fact(lengths).shape.rank() != 1 {
                bail_invalid!("the lengths must be a vector, found {}", cx.fact(lengths).shape);
            }
            let (lengths, at) = (cx.unsqueeze(lengths, &[1, 2, 3])?, positions(cx, k, 2)?);
            let visible = cx.apply(&binary::LESS, &[], &[at, lengths])?;
            masks.visible.push(visible);
        }
        let done = self.attend.compose(cx, [q, k, v], &masks)?;
        let y = if flat { joined(cx, done.y)? } else { done.y };
        let scores = *done.scores.get(self.mode).unwrap_or(&done.weights);
        Ok([y, k, v, scores][..self.outputs].to_vec())
    }
}

/// A mask for all keys: it hides those behind its last.
fn reaching(cx: &mut Composer<'_>, mask: Value, k: Value) -> Result<Value> {
    let fact = cx.fact(mask).clone();
    let rank = fact.shape.rank();
    if !(1..=4).contains(&rank) {
        bail_invalid!("a mask must have 1 to 4 axes, found {}", fact.shape);
    }
    let (own, keys) = (&fact.shape[rank - 1], &cx.fact(k).shape[2]);
    let missing = match (own.as_const(), keys.as_const()) {
        (Some(own), Some(keys)) if own <= keys => keys - own,
        (Some(_), Some(_)) => bail_invalid!("a mask of shape {} for {keys} keys", fact.shape),
        _ if own == keys => 0,
        _ => bail_unsupported!("a mask of {own} keys for {keys} is not supported: bind them with --dim"),
    };
    if missing == 0 {
        return Ok(mask);
    }
    let mut pads = vec![0; 2 * rank];
    pads[2 * rank - 1] = missing;
    let pads = cx.integers(&pads);
    let outside = match fact.dtype {
        DType::Bool => cx.number(DType::Bool, 0.0)?,
        t => cx.number(t, f64::NEG_INFINITY)?,
    };
    cx.apply(&pad::DEF, &[], &[mask, pads, outside])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    /// Attention of one batch by its formula: `visible` tells which keys a query of a head sees.
    fn naive(
        [q, k, v]: [&Tensor; 3],
        visible: impl Fn(usize, usize) -> bool,
        addend: impl Fn(usize, usize) -> f64,
    ) -> Tensor {
        let [heads, rows, size] = [q.shape[1], q.shape[2], q.shape[3]];
        let [groups, keys, width] = [k.shape[1], k.shape[2], v.shape[3]];
        let (qs, ks, vs) = (q.to_f64s().unwrap(), k.to_f64s().unwrap(), v.to_f64s().unwrap());
        let mut y = Vec::new();
        for h in 0..heads {
            let g = h / (heads / groups);
            for s in 0..rows {
                let score = |t: usize| {
                    let dot: f64 = (0..size)
                        .map(|d| qs[(h * rows + s) * size + d] * ks[(g * keys + t) * size + d])
                        .sum();
                    if visible(s, t) { dot / (size as f64).sqrt() + addend(s, t) } else { f64::NEG_INFINITY }
                };
                let exps: Vec<f64> = (0..keys).map(|t| score(t).exp()).collect();
                let sum: f64 = exps.iter().sum();
                y.extend((0..width).map(|e| {
                    let at = |t: usize| vs[(g * keys + t) * width + e];
                    (0..keys).map(|t| exps[t] / sum * at(t)).sum::<f64>() as f32
                }));
            }
        }
        Tensor::from_vec(&[1, heads, rows, width], y)
    }

    fn attention(list: &[(&str, Attr)], inputs: &[&Tensor], outputs: usize) -> Vec<Tensor> {
        let op = parse("Attention", 24, list, inputs.len(), outputs).unwrap();
        run(&*op, inputs, &[]).unwrap()
    }

    #[test]
    fn heads_with_keys_of_their_own_and_shared() {
        for groups in [4, 2, 1] {
            let q = sample(&[1, 4, 5, 8], 5);
            let (k, v) = (sample(&[1, groups, 6, 8], 3), sample(&[1, groups, 6, 7], 7));
            let want = naive([&q, &k, &v], |_, _| true, |_, _| 0.0);
            assert_close(&attention(&[], &[&q, &k, &v], 1)[0], &want, 1e-6);
            let want = naive([&q, &k, &v], |s, t| t <= s, |_, _| 0.0);
            assert_close(&attention(&[("is_causal", Attr::Int(1))], &[&q, &k, &v], 1)[0], &want, 1e-6);
        }
    }

    #[test]
    fn masks() {
        let (q, k, v) = (sample(&[1, 2, 5, 8], 5), sample(&[1, 2, 6, 8], 3), sample(&[1, 2, 6, 7], 7));
        let seen = |s: usize, t: usize| !(s * 7 + t * 3).is_multiple_of(4) || t == 0;
        // The mask may end before the keys do.
        let bools = Tensor::from_bools(&[5, 4], (0..20).map(|i| seen(i / 4, i % 4)));
        let want = naive([&q, &k, &v], |s, t| t < 4 && seen(s, t), |_, _| 0.0);
        assert_close(&attention(&[], &[&q, &k, &v, &bools], 1)[0], &want, 1e-6);
        let added = sample(&[1, 1, 5, 6], 11);
        let at = added.to_f64s().unwrap();
        let want = naive([&q, &k, &v], |s, t| t <= s, |s, t| at[s * 6 + t]);
        let causal = [("is_causal", Attr::Int(1))];
        assert_close(&attention(&causal, &[&q, &k, &v, &added], 1)[0], &want, 1e-6);
        let (lengths, zeros) = (Tensor::from_vec(&[1], vec![3i64]), Tensor::from_bools(&[1], [true]));
        let op = parse("Attention", 24, &[], 7, 1).unwrap();
        let inputs = [&q, &k, &v, &zeros, &lengths].map(Some);
        let inputs = [inputs[0], inputs[1], inputs[2], None, None, None, inputs[4]];
        let want = naive([&q, &k, &v], |_, t| t < 3, |_, _| 0.0);
        assert_close(&op.eval(&inputs).unwrap()[0], &want, 1e-6);
    }

    #[test]
    fn the_past_precedes_and_is_handed_on() {
        let q = sample(&[1, 2, 12], 5);
        let (k, v) = (sample(&[1, 2, 12], 3), sample(&[1, 2, 9], 7));
        let (pk, pv) = (sample(&[1, 3, 4, 4], 11), sample(&[1, 3, 4, 3], 13));
        let list =
            [("q_num_heads", Attr::Int(3)), ("kv_num_heads", Attr::Int(3)), ("is_causal", Attr::Int(1))];
        let mask = Tensor::from_bools(&[2, 6], (0..12).map(|i| i % 6 != 1));
        let y = attention(&list, &[&q, &k, &v, &mask, &pk, &pv], 3);
        assert_eq!(
            [&y[0].shape[..], &y[1].shape, &y[2].shape],
            [&[1, 2, 9][..], &[1, 3, 6, 4], &[1, 3, 6, 3]]
        );
        let apart = |t: &Tensor, size: usize| {
            let v = t.to_f64s().unwrap();
            let at = |i: usize| v[(i / size % 2) * 3 * size + i / (2 * size) * size + i % size] as f32;
            Tensor::from_vec(&[1, 3, 2, size], (0..6 * size).map(at).collect())
        };
        let want = naive([&apart(&q, 4), &y[1], &y[2]], |s, t| t != 1 && t <= s + 4, |_, _| 0.0);
        assert_close(&apart(&y[0], 3), &want, 1e-6);
    }

    #[test]
    fn scores_on_their_way() {
        let (q, k, v) = (sample(&[1, 2, 3, 4], 5), sample(&[1, 2, 3, 4], 3), sample(&[1, 2, 3, 4], 7));
        let added = sample(&[3, 3], 11);
        let mut all = Vec::new();
        for mode in 0..4 {
            let list = [
                ("qk_matmul_output_mode", Attr::Int(mode)),
                ("softcap", Attr::Float(2.0)),
                ("scale", Attr::Float(0.25)),
                ("softmax_precision", Attr::Int(DType::F64.to_onnx().into())),
            ];
            all.push(attention(&list, &[&q, &k, &v, &added], 4).swap_remove(3).to_f64s().unwrap());
        }
        let mask = added.to_f64s().unwrap();
        for i in 0..18 {
            assert!((all[0][i] + mask[i % 9] - all[1][i]).abs() < 1e-6);
            assert!(((all[1][i] / 2.0).tanh() * 2.0 - all[2][i]).abs() < 1e-6);
        }
        assert!(all[3].chunks(3).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-6));
    }

    #[test]
    fn refusals() {
        let op = parse("Attention", 23, &[], 3, 1).unwrap();
        assert!(refusal(&*op, &[&[1, 2, 8], &[1, 2, 8], &[1, 2, 8]]).contains("'q_num_heads' is missing"));
        let (q, k) = (&[1i64, 3, 2, 8][..], &[1i64, 2, 2, 8][..]);
        assert!(refusal(&*op, &[q, k, k]).contains("do not divide into groups"));
        assert!(refusal(&*op, &[q, &[1, 2, 8], k]).contains("must all have 3 axes or all have 4"));
        let op = parse("Attention", 23, &[], 4, 1).unwrap();
        assert!(refusal(&*op, &[q, q, q, &[2, 5]]).contains("a mask of shape"));
        assert!(parse("Attention", 23, &[("qk_matmul_output_mode", Attr::Int(4))], 3, 1).is_err());
        assert!(parse("Attention", 23, &[("softcap", Attr::Float(-1.0))], 3, 1).is_err());
    }
}
