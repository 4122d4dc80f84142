//! `ReverseSequence`: turns round the beginning of each sequence (ONNX, since 10).
//!
//! ```text
//! y[t, b, ...] = x[n - 1 - t, b, ...]   for t < n = sequence_lens[b], else x[t, b, ...]
//! ```
//!
//! where t and b are the axes `time_axis` (0) and `batch_axis` (1), of which one is the first and the other the second.

use super::attend::positions;
use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, concat, gather_nd, where_};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// The definition.
pub const DEF: OpDef = OpDef { name: "ReverseSequence", domain: "", since: (10, 10), parse, unsupported: "" };

/// ONNX `ReverseSequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReverseSequence {
    /// The axis along which elements are turned round, 0 or 1; the other one is the batch.
    pub time: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    let (time, batch) = (node.int("time_axis")?.unwrap_or(0), node.int("batch_axis")?.unwrap_or(1));
    if !matches!((time, batch), (0, 1) | (1, 0)) {
        bail_invalid!("attributes 'time_axis' and 'batch_axis' must be 0 and 1, found {time} and {batch}");
    }
    Ok(Box::new(ReverseSequence { time }))
}

impl Op for ReverseSequence {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("time_axis".to_owned(), Attr::Int(self.time)),
            ("batch_axis".to_owned(), Attr::Int(1 - self.time)),
        ])
    }

    composed!();
}

impl Composed for ReverseSequence {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, lengths) = (required(inputs, 0)?, required(inputs, 1)?);
        let rank = cx.fact(x).shape.rank() as i64;
        if rank < 2 {
            bail_invalid!("the input must have at least 2 axes, found {}", cx.fact(x).shape);
        }
        let (own, batch) = (cx.fact(lengths).clone(), cx.fact(x).shape[(1 - self.time) as usize].clone());
        let differ = |(a, b): (i64, i64)| a != b;
        if own.dtype != DType::I64
            || own.shape.rank() != 1
            || own.shape[0].as_const().zip(batch.as_const()).is_some_and(differ)
        {
            bail_invalid!("the lengths must be i64 [{batch}], found {own:?}");
        }
        let (at, sequences) =
            (positions(cx, x, self.time as usize)?, positions(cx, x, 1 - self.time as usize)?);
        let mut along = |value: Value, axis: i64| cx.unsqueeze(value, &[1 - axis]);
        let (at, lengths) = (along(at, self.time)?, along(lengths, 1 - self.time)?);
        let sequences = along(sequences, 1 - self.time)?;
        let one = cx.constant(Tensor::scalar(1i64));
        let last = cx.apply(&binary::SUB, &[], &[lengths, one])?;
        let turned = cx.apply(&binary::SUB, &[], &[last, at])?;
        let inside = cx.apply(&binary::LESS, &[], &[at, lengths])?;
        let from = cx.apply(&where_::DEF, &[], &[inside, turned, at])?;
        // Whole rows by their pairs of positions.
        let none = cx.apply(&binary::SUB, &[], &[from, from])?;
        let sequences = cx.apply(&binary::ADD, &[], &[sequences, none])?;
        let pair = if self.time == 0 { [from, sequences] } else { [sequences, from] };
        let [first, second] = pair.map(|v| cx.unsqueeze(v, &[2]));
        let places = cx.apply(&concat::DEF, &[("axis", Attr::Int(2))], &[first?, second?])?;
        Ok(vec![cx.apply(&gather_nd::DEF, &[], &[x, places])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

    #[test]
    fn the_examples_of_the_spec() {
        let x = Tensor::from_vec(&[4, 4], (0..16).map(|i| (i % 4 * 4 + i / 4) as f32).collect());
        let lengths = Tensor::from_vec(&[4], vec![4i64, 3, 2, 1]);
        let y = run(&*parse("ReverseSequence", 10, &[], 2, 1).unwrap(), &[&x, &lengths], &[]).unwrap();
        let want = [3.0f32, 6.0, 9.0, 12.0, 2.0, 5.0, 8.0, 13.0, 1.0, 4.0, 10.0, 14.0, 0.0, 7.0, 11.0, 15.0];
        assert_eq!(y[0], Tensor::from_vec(&[4, 4], want.to_vec()));
        let x = Tensor::from_vec(&[4, 4], (0..16).map(|i| i as f32).collect());
        let lengths = Tensor::from_vec(&[4], vec![1i64, 2, 3, 4]);
        let list = [("time_axis", Attr::Int(1)), ("batch_axis", Attr::Int(0))];
        let op = parse("ReverseSequence", 10, &list, 2, 1).unwrap();
        let y = run(&*op, &[&x, &lengths], &[]).unwrap();
        let want = [0.0f32, 1.0, 2.0, 3.0, 5.0, 4.0, 6.0, 7.0, 10.0, 9.0, 8.0, 11.0, 15.0, 14.0, 13.0, 12.0];
        assert_eq!(y[0], Tensor::from_vec(&[4, 4], want.to_vec()));
        run(&*op, &[&sample(&[4, 5, 2, 3], 5), &lengths], &[]).unwrap();
    }

    #[test]
    fn refusals() {
        let op = parse("ReverseSequence", 10, &[], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[4, 4], &[4]]).contains("must be i64 [4]"));
        assert!(parse("ReverseSequence", 10, &[("time_axis", Attr::Int(1))], 2, 1).is_err());
    }
}
