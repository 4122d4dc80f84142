//! `TensorScatter`: a cache of keys or values with new ones written into it.
//!
//! Spec: ONNX TensorScatter, version 24. `past` `[B, .., P, ..]`, `update` the same with T in the place of P on `axis` (-2, not 0),
//! `write_indices` `[B]` where it begins in each batch, 0 if left out. `mode` `circular` goes on at the beginning behind the end.
//! Made of other operators: every position of the result asks which update it has, if any.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{gather_elements, modulo};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, axis_of};

/// `TensorScatter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorScatter {
    axis: i64,
    circular: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    let circular = match node.string("mode")?.as_deref() {
        None | Some("linear") => false,
        Some("circular") => true,
        Some(other) => bail_invalid!("attribute 'mode' must be linear or circular, found '{other}'"),
    };
    Ok(Box::new(TensorScatter { axis: node.int("axis")?.unwrap_or(-2), circular }))
}

/// `TensorScatter`.
pub const DEF: OpDef = OpDef { name: "TensorScatter", domain: "", since: (24, 24), parse, unsupported: "" };

impl Op for TensorScatter {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mode = if self.circular { "circular" } else { "linear" };
        Attrs::from([
            ("axis".to_owned(), Attr::Int(self.axis)),
            ("mode".to_owned(), Attr::Str(mode.to_owned())),
        ])
    }

    composed!();
}

impl Composed for TensorScatter {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (past, update) = (required(inputs, 0)?, required(inputs, 1)?);
        let (shape, new) = (cx.extents(past, "a cache")?, cx.extents(update, "an update")?);
        let axis = axis_of(self.axis, shape.len())?;
        let fits = |(a, (p, n)): (usize, (&i64, &i64))| if a == axis { n <= p } else { n == p };
        if axis == 0 || new.len() != shape.len() || !shape.iter().zip(&new).enumerate().all(fits) {
            bail_invalid!("an update of shape {new:?} does not fit a cache of {shape:?} along axis {axis}");
        }
        if new[axis] == 0 {
            return Ok(vec![past]);
        }
        let mut along = vec![1; shape.len()];
        along[axis] = shape[axis];
        let places: Vec<i64> = (0..shape[axis]).collect();
        let extents: Vec<usize> = along.iter().map(|n| *n as usize).collect();
        let mut place = cx.constant(Tensor::from_vec(&extents, places));
        if let Some(begin) = inputs.get(2).copied().flatten() {
            if cx.dtype(begin) != DType::I64 || cx.extents(begin, "write indices")? != [shape[0]] {
                bail_invalid!("write indices {} must be i64[{}]", cx.fact(begin).ty(), shape[0]);
            }
            let mut rows = vec![1; shape.len()];
            rows[0] = shape[0];
            let begin = cx.reshape(begin, &rows)?;
            place = cx.sub(place, begin)?;
        }
        if self.circular {
            let extent = cx.number_like(place, shape[axis] as f64)?;
            place = cx.apply(&modulo::DEF, &[], &[place, extent])?;
        }
        let is_new = cx.within(place, 0.0, (new[axis] - 1) as f64)?;
        let inside = cx.clamp(place, 0.0, (new[axis] - 1) as f64)?;
        let target = cx.integers(&shape);
        let inside = cx.apply(&super::expand::DEF, &[], &[inside, target])?;
        let list = [("axis", Attr::Int(axis as i64))];
        let updates = cx.apply(&gather_elements::DEF, &list, &[update, inside])?;
        Ok(vec![cx.choose(is_new, updates, past)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

    #[test]
    fn both_modes() {
        for (mode, begin) in [("linear", vec![0i64, 2]), ("circular", vec![1, 3])] {
            let op = parse("TensorScatter", 24, &[("mode", Attr::Str(mode.into()))], 3, 1).unwrap();
            let (past, update) = (sample(&[2, 3, 4, 5], 3), sample(&[2, 3, 2, 5], 7));
            let y = run(&*op, &[&past, &update, &Tensor::from_vec(&[2], begin.clone())], &[]).unwrap();
            let (y, past, update) =
                (y[0].to_f64s().unwrap(), past.to_f64s().unwrap(), update.to_f64s().unwrap());
            for (i, value) in y.iter().enumerate() {
                let (b, place) = (i / 60, (i / 5 % 4) as i64);
                let t = (place - begin[b]).rem_euclid(4) as usize;
                let want = if t < 2 { update[((i / 20) * 2 + t) * 5 + i % 5] } else { past[i] };
                assert_eq!(*value, want);
            }
        }
        let op = parse("TensorScatter", 24, &[("axis", Attr::Int(1))], 2, 1).unwrap();
        run(&*op, &[&sample(&[2, 4, 3], 3), &sample(&[2, 1, 3], 7)], &[]).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[2, 4]]).contains("does not fit"));
    }
}
