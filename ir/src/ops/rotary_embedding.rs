//! `RotaryEmbedding`: turns pairs of elements by angles that grow with their position (ONNX, since 23, and `com.microsoft`).
//!
//! ```text
//! y[i]        = cos[p, i] * x[i] - sin[p, i] * x[i + R/2]
//! y[i + R/2]  = sin[p, i] * x[i] + cos[p, i] * x[i + R/2]         i < R/2; with interleaved 2i and 2i + 1
//! ```
//!
//! for the first `R = rotary_embedding_dim` elements of each head, all of them for 0; the others stay. Shapes: x
//! `[batch, heads, sequence, size]`, or `[batch, sequence, heads * size]` with `num_heads`. cos and sin are tables
//! `[positions, R / 2]` with `position_ids` `[batch, sequence]`, else `[batch, sequence, R / 2]`.
//!
//! `com.microsoft`, version 1: inputs in the order x, position_ids, cos, sin; `position_ids` may be the single position of
//! the first element. Without `num_heads` a head is as long as the tables say.
//!
//! Unsupported: `is_packed_batching`, `scale` other than 1.
//! Numerics: in the element type.

use super::attend::{heads, joined, positions};
use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, concat, gather};
use crate::error::Result;
use crate::op::{Attr, Attrs, MICROSOFT as DOMAIN, NodeProto, Op, OpDef};
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "RotaryEmbedding",
    domain: "",
    since: (23, 23),
    parse: |node| parse("", node),
    unsupported: "",
};

/// `com.microsoft::RotaryEmbedding`.
pub const MICROSOFT: OpDef = OpDef {
    name: "RotaryEmbedding",
    domain: DOMAIN,
    since: (1, 1),
    parse: |node| parse(DOMAIN, node),
    unsupported: "packed batches, scale",
};

/// `RotaryEmbedding` of either domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotaryEmbedding {
    domain: &'static str,
    /// The turn.
    turn: Turn,
    /// Heads that lie side by side; 0 where that is not said.
    pub heads: i64,
}

/// Which elements turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    /// Pairs are neighbours.
    pub interleaved: bool,
    /// How many elements of a head turn; 0 for all.
    pub size: i64,
}

fn parse(domain: &'static str, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    if domain.is_empty() {
        node.arity(3..=4, 1..=1)?;
    } else {
        node.arity(4..=4, 1..=1)?;
        if node.flag("is_packed_batching", false)? {
            bail_unsupported!("attribute 'is_packed_batching' = 1 is not supported");
        }
        if node.float("scale")?.is_some_and(|s| s != 1.0) {
            bail_unsupported!("attribute 'scale' other than 1 is not supported");
        }
    }
    let turn = Turn {
        interleaved: node.flag("interleaved", false)?,
        size: node.int("rotary_embedding_dim")?.unwrap_or(0),
    };
    Ok(Box::new(RotaryEmbedding { domain, turn, heads: node.int("num_heads")?.unwrap_or(0) }))
}

impl Op for RotaryEmbedding {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        self.domain
    }

    fn attrs(&self) -> Attrs {
        let all = [
            ("interleaved", i64::from(self.turn.interleaved)),
            ("rotary_embedding_dim", self.turn.size),
            ("num_heads", self.heads),
        ];
        all.into_iter().filter(|(_, v)| *v != 0).map(|(name, v)| (name.to_owned(), Attr::Int(v))).collect()
    }

    composed!();
}

impl Composed for RotaryEmbedding {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let order = if self.domain.is_empty() { [1, 2, 3] } else { [2, 3, 1] };
        let x = required(inputs, 0)?;
        let (cos, sin) = (required(inputs, order[0])?, required(inputs, order[1])?);
        let ids = inputs.get(order[2]).copied().flatten();
        let flat = match cx.fact(x).shape.rank() {
            3 => true,
            4 => false,
            _ => bail_invalid!("the input must have 3 or 4 axes, found {}", cx.fact(x).shape),
        };
        let apart = if flat {
            let number = self.number(cx, x, cos)?;
            heads(cx, x, number)?
        } else {
            x
        };
        let tables = [table(cx, cos, ids, apart)?, table(cx, sin, ids, apart)?];
        let y = self.turn.compose(cx, apart, tables)?;
        Ok(vec![if flat { joined(cx, y)? } else { y }])
    }
}

impl RotaryEmbedding {
    /// Heads of an input whose heads lie side by side.
    fn number(&self, cx: &Composer<'_>, x: Value, cos: Value) -> Result<i64> {
        if self.heads != 0 {
            return Ok(self.heads);
        }
        let (x, cos) = (&cx.fact(x).shape, &cx.fact(cos).shape);
        match (x[2].as_const(), cos.last().and_then(|d| d.as_const())) {
            (Some(hidden), Some(half)) if !self.domain.is_empty() && self.turn.size == 0 && half > 0 => {
                Ok(hidden / (2 * half))
            }
            _ => bail_invalid!("attribute 'num_heads' is missing"),
        }
    }
}

/// The values of a table at the positions of x, `[batch or 1, 1, sequence, R / 2]`.
pub(super) fn table(cx: &mut Composer<'_>, table: Value, ids: Option<Value>, x: Value) -> Result<Value> {
    let rank = cx.fact(table).shape.rank();
    let Some(ids) = ids else {
        if rank != 3 {
            bail_invalid!("without positions a table must have 3 axes, found {}", cx.fact(table).shape);
        }
        return cx.unsqueeze(table, &[1]);
    };
    if rank != 2 {
        bail_invalid!("a table must have 2 axes, found {}", cx.fact(table).shape);
    }
    let ids = match cx.fact(ids).shape.rank() {
        2 => ids,
        // The position of the first.
        1 if cx.fact(ids).shape.elements().is(1) => {
            let steps = positions(cx, x, 2)?;
            let all = cx.apply(&binary::ADD, &[], &[steps, ids])?;
            cx.unsqueeze(all, &[0])?
        }
        _ => bail_invalid!("positions must be [batch, sequence], found {}", cx.fact(ids).shape),
    };
    let rows = cx.apply(&gather::DEF, &[("axis", Attr::Int(0))], &[table, ids])?;
    cx.unsqueeze(rows, &[1])
}

impl Turn {
    /// Turns `x [batch, heads, sequence, size]` by cos and sin.
    pub(super) fn compose(&self, cx: &mut Composer<'_>, x: Value, tables: [Value; 2]) -> Result<Value> {
        let Some(size) = cx.fact(x).shape[3].as_const() else {
            bail_unsupported!("heads of an open extent are not supported: bind it with --dim")
        };
        let turned = if self.size == 0 { size } else { self.size };
        let half = turned / 2;
        if turned < 0 || turned > size || turned % 2 != 0 {
            bail_invalid!("{turned} elements of a head of {size} do not turn in pairs");
        }
        for table in tables {
            let fact = cx.fact(table);
            if fact.dtype != cx.fact(x).dtype {
                bail_invalid!("a table of type {} for {}", fact.dtype, cx.fact(x).dtype);
            }
            if fact.shape.rank() != 4 || fact.shape[3].as_const().is_some_and(|n| n != half) {
                bail_invalid!("a table of {} angles for {half} pairs", fact.shape);
            }
        }
        let [a, b] = match self.interleaved {
            true => [cx.slice(x, 3, (0, turned), 2)?, cx.slice(x, 3, (1, turned), 2)?],
            false => [cx.slice(x, 3, (0, half), 1)?, cx.slice(x, 3, (half, turned), 1)?],
        };
        let [cos, sin] = tables;
        let mut product = |x: Value, y: Value| cx.apply(&binary::MUL, &[], &[x, y]);
        let (real, imaginary) = ([product(cos, a)?, product(sin, b)?], [product(sin, a)?, product(cos, b)?]);
        let real = cx.apply(&binary::SUB, &[], &real)?;
        let imaginary = cx.apply(&binary::ADD, &[], &imaginary)?;
        let mut parts = if self.interleaved {
            let pair = [cx.unsqueeze(real, &[4])?, cx.unsqueeze(imaginary, &[4])?];
            let pairs = cx.apply(&concat::DEF, &[("axis", Attr::Int(4))], &pair)?;
            vec![cx.reshape(pairs, &[0, 0, 0, turned])?]
        } else {
            vec![real, imaginary]
        };
        if turned < size {
            parts.push(cx.slice(x, 3, (turned, size), 1)?);
        }
        match parts[..] {
            [whole] => Ok(whole),
            _ => cx.apply(&concat::DEF, &[("axis", Attr::Int(3))], &parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    /// One batch `[1, heads, sequence, size]` by the formula.
    fn naive(x: &Tensor, tables: [&Tensor; 2], ids: &[usize], turned: usize, interleaved: bool) -> Tensor {
        let [cos, sin] = tables.map(|t| t.to_f64s().unwrap());
        let (size, half) = (x.shape[3], turned / 2);
        let mut y = x.to_f64s().unwrap();
        for (row, head) in y.chunks_mut(size).enumerate() {
            let at = ids[row % x.shape[2]] * half;
            for i in 0..half {
                let (m, n) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (a, b) = (head[m], head[n]);
                head[m] = cos[at + i] * a - sin[at + i] * b;
                head[n] = sin[at + i] * a + cos[at + i] * b;
            }
        }
        Tensor::from_vec(&x.shape, y.into_iter().map(|v| v as f32).collect())
    }

    #[test]
    fn all_and_some_elements_in_either_order() {
        let x = sample(&[1, 2, 3, 8], 5);
        let ids = Tensor::from_vec(&[1, 3], vec![4i64, 0, 2]);
        for (turned, interleaved) in [(8, false), (8, true), (4, false), (4, true)] {
            let (cos, sin) = (sample(&[5, turned / 2], 3), sample(&[5, turned / 2], 7));
            let size = if turned == 8 { 0 } else { turned as i64 };
            let list =
                [("interleaved", Attr::Int(interleaved.into())), ("rotary_embedding_dim", Attr::Int(size))];
            let op = parse("RotaryEmbedding", 23, &list, 4, 1).unwrap();
            let want = naive(&x, [&cos, &sin], &[4, 0, 2], turned, interleaved);
            assert_close(&run(&*op, &[&x, &cos, &sin, &ids], &[]).unwrap()[0], &want, 1e-6);
            let op = parse("com.microsoft::RotaryEmbedding", 1, &list, 4, 1).unwrap();
            assert_close(&run(&*op, &[&x, &ids, &cos, &sin], &[]).unwrap()[0], &want, 1e-6);
            // The position of the first element alone.
            let want = naive(&x, [&cos, &sin], &[1, 2, 3], turned, interleaved);
            let first = Tensor::from_vec(&[1], vec![1i64]);
            assert_close(&run(&*op, &[&x, &first, &cos, &sin], &[]).unwrap()[0], &want, 1e-6);
        }
    }

    #[test]
    fn heads_side_by_side() {
        let (x, cos, sin) = (sample(&[2, 3, 16], 5), sample(&[2, 3, 4], 3), sample(&[2, 3, 4], 7));
        let op = parse("RotaryEmbedding", 23, &[("num_heads", Attr::Int(2))], 3, 1).unwrap();
        let y = run(&*op, &[&x, &cos, &sin], &[]).unwrap();
        assert_eq!(y[0].shape, [2, 3, 16]);
        let v = x.to_f64s().unwrap();
        let (c, s) = (cos.to_f64s().unwrap(), sin.to_f64s().unwrap());
        let y = y[0].to_f64s().unwrap();
        // Second batch, third element, second head, third pair.
        let (at, table) = (((3 + 2) * 2 + 1) * 8 + 2, (3 + 2) * 4 + 2);
        assert!((y[at] - (c[table] * v[at] - s[table] * v[at + 4])).abs() < 1e-6);
        let op = parse("com.microsoft::RotaryEmbedding", 1, &[], 4, 1).unwrap();
        let ids = Tensor::from_vec(&[2, 3], vec![1i64, 0, 2, 1, 1, 0]);
        run(&*op, &[&x, &ids, &sample(&[3, 4], 3), &sample(&[3, 4], 7)], &[]).unwrap();
    }

    #[test]
    fn refusals() {
        let op = parse("RotaryEmbedding", 23, &[], 3, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3, 16], &[2, 3, 4], &[2, 3, 4]]).contains("'num_heads' is missing"));
        assert!(refusal(&*op, &[&[2, 2, 3, 7], &[2, 3, 3], &[2, 3, 3]]).contains("do not turn in pairs"));
        assert!(refusal(&*op, &[&[2, 2, 3, 8], &[2, 3, 3], &[2, 3, 3]]).contains("angles for 4 pairs"));
        assert!(refusal(&*op, &[&[2, 2, 3, 8], &[5, 4], &[5, 4]]).contains("must have 3 axes"));
    }
}
