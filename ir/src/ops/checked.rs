//! Operands that are computed at run time and that follow from what a model declares of a node's results: axes, extents, counts.
//!
//! The operand becomes the constant that fits the declared shape, and what it is at run time is checked: the node reads its first
//! other operand, or gives its result, through a gather whose index is outside where the two differ, which ends a run with a status.
//!
//! ```text
//! y: f32[3, 1] = ReduceSum(x: f32[3, 4], axes)       wrong = max(not ([false, true][axes]))     0 or 1
//!                                                     y     = ReduceSum(gather([x], wrong)[0], [1])
//! ```

use std::sync::Arc;

use super::composed::{self, Composer, Value};
use super::{binary, reduce, squeeze, unary};
use crate::error::Result;
use crate::graph::Patch;
use crate::op::{Attr, Check, Fact, NodeView, Op};
use crate::tensor::Tensor;
use crate::types::DType;

/// The node with a constant operand, if there is one; `outputs` is what the model declares.
pub fn decompose(node: &NodeView<'_>, op: &Arc<dyn Op>, outputs: &[Option<&Fact>]) -> Result<Option<Patch>> {
    let facts: Vec<Option<Fact>> =
        node.inputs.iter().enumerate().map(|(i, v)| v.and_then(|_| node.fact(i).ok().cloned())).collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let Some(found) = op.declared(&facts, outputs) else { return Ok(None) };
    let known = facts.get(found.operand).copied().flatten().is_none_or(|f| f.tensor().is_some());
    if known {
        return Ok(None);
    }
    let made = composed::decompose_with(node, &mut |cx, inputs| {
        let given = composed::required(inputs, found.operand)?;
        let value = cx.constant(found.value.clone());
        let wrong = wrong(cx, given, value, &found.check)?;
        let mut inputs = inputs.to_vec();
        let data = (0..inputs.len()).find(|i| *i != found.operand && inputs[*i].is_some());
        if let (Some(wrong), Some(i)) = (wrong, data) {
            inputs[i] = inputs[i].map(|x| gated(cx, x, wrong)).transpose()?;
        }
        inputs[found.operand] = Some(value);
        let mut results = cx.node(op.clone(), &inputs)?;
        if let (Some(wrong), None, Some(first)) = (wrong, data, results.first_mut()) {
            *first = gated(cx, *first, wrong)?;
        }
        Ok(results)
    })?;
    Ok(Some(made))
}

/// 1 where an operand is not what it must be, else 0: `i64[1]`.
fn wrong(cx: &mut Composer<'_>, given: Value, value: Value, check: &Check) -> Result<Option<Value>> {
    if cx.fact(given).shape.elements().is(0) {
        return Ok(None);
    }
    let given = cx.cast(given, DType::I64)?;
    let right = match check {
        Check::Nothing => return Ok(None),
        Check::Axes(marked) => {
            let marked = cx.constant(Tensor::from_bools(&[marked.len()], marked.iter().copied()));
            cx.gather(marked, given, 0)?
        }
        Check::Equal | Check::EqualOrAtMost(_) => {
            let value = cx.cast(value, DType::I64)?;
            cx.apply(&binary::EQUAL, &[], &[given, value])?
        }
    };
    let right = match check {
        Check::EqualOrAtMost(most) => {
            let most = cx.constant(Tensor::scalar(*most));
            let less = cx.apply(&binary::LESS_OR_EQUAL, &[], &[given, most])?;
            cx.apply(&binary::OR, &[], &[right, less])?
        }
        _ => right,
    };
    let wrong = cx.apply(&unary::NOT, &[], &[right])?;
    let wrong = cx.cast(wrong, DType::I64)?;
    let wrong = cx.reshape(wrong, &[-1])?;
    Ok(Some(cx.apply(&reduce::MAX, &[("keepdims", Attr::Int(1))], &[wrong])?))
}

/// A value that is there where an index is 0.
fn gated(cx: &mut Composer<'_>, x: Value, index: Value) -> Result<Value> {
    let one = cx.unsqueeze(x, &[0])?;
    let one = cx.gather(one, index, 0)?;
    let axis = cx.integers(&[0]);
    cx.apply(&squeeze::SQUEEZE, &[], &[one, axis])
}
