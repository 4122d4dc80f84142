//! Nodes in place of one whose results have sizes that are data, one after the other. Their types are left to inference, which
//! then knows more.

use std::sync::Arc;

use super::{Prefix, Sizes};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::graph::PatchValue;
use crate::op::{Attr, NodeView, Op, OpDef, Patch};
use crate::ops::cast;
use crate::ops::made::operator;
use crate::tensor::Tensor;
use crate::types::DType;

/// The nodes so far.
pub(crate) struct Chain<'a> {
    node: &'a NodeView<'a>,
    patch: Patch,
    made: usize,
}

impl<'a> Chain<'a> {
    /// In place of a node.
    pub(crate) fn new(node: &'a NodeView<'a>) -> Self {
        Self { node, patch: Patch::new(), made: 0 }
    }

    /// Operand `i` of the node.
    pub(crate) fn input(&self, i: usize) -> Result<PatchValue> {
        let id = self.node.inputs.get(i).copied().flatten();
        id.map(PatchValue::from).ok_or_else(|| Error::invalid(format!("input {i} is left out")))
    }

    /// A constant.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> PatchValue {
        self.made += 1;
        self.patch.constant(&format!("{}.constant{}", self.node.name, self.made), tensor)
    }

    /// A vector of integers.
    pub(crate) fn integers(&mut self, values: &[i64]) -> PatchValue {
        self.constant(Tensor::from_vec(&[values.len()], values.to_vec()))
    }

    /// The results of an operator.
    pub(crate) fn node(&mut self, op: impl Op, inputs: &[PatchValue], outputs: usize) -> Vec<PatchValue> {
        self.shared(Arc::new(op), inputs, outputs)
    }

    fn shared(&mut self, op: Arc<dyn Op>, inputs: &[PatchValue], outputs: usize) -> Vec<PatchValue> {
        self.made += 1;
        let name = format!("{}.{}{}", self.node.name, op.name(), self.made);
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.patch.untyped_node(&name, op, &inputs, outputs)
    }

    /// The results of an operator some of whose operands may be left out.
    pub(crate) fn optional(
        &mut self,
        op: impl Op,
        inputs: &[Option<PatchValue>],
        outputs: usize,
    ) -> Vec<PatchValue> {
        self.made += 1;
        let name = format!("{}.{}{}", self.node.name, op.name(), self.made);
        self.patch.untyped_node(&name, Arc::new(op), inputs, outputs)
    }

    /// The only result of an operator with attributes.
    pub(crate) fn apply(
        &mut self,
        def: &OpDef,
        list: &[(&str, Attr)],
        inputs: &[PatchValue],
    ) -> Result<PatchValue> {
        let op = operator(def, list, &vec![true; inputs.len()], 1)?;
        Ok(self.shared(op, inputs, 1)[0])
    }

    /// Several results of one.
    pub(crate) fn results(
        &mut self,
        def: &OpDef,
        list: &[(&str, Attr)],
        inputs: &[PatchValue],
        outputs: usize,
    ) -> Result<Vec<PatchValue>> {
        let op = operator(def, list, &vec![true; inputs.len()], outputs)?;
        Ok(self.shared(op, inputs, outputs))
    }

    /// A value in another element type.
    pub(crate) fn cast(&mut self, value: PatchValue, to: DType) -> Result<PatchValue> {
        self.apply(&cast::DEF, &[("to", Attr::Int(to.to_onnx().into()))], &[value])
    }

    /// Integers as sizes, each with what it is called and its greatest value.
    pub(crate) fn sizes(
        &mut self,
        counts: &mut Counts<'_>,
        value: PatchValue,
        list: &[(String, i64)],
    ) -> PatchValue {
        let names = list.iter().map(|(stem, most)| counts.size(stem, *most)).collect();
        self.node(Sizes { names }, &[value], 1)[0]
    }

    /// The first elements along an axis, as many as a size says.
    pub(crate) fn prefix(&mut self, value: PatchValue, size: PatchValue, axis: i64) -> PatchValue {
        self.node(Prefix { axes: vec![axis] }, &[value, size], 1)[0]
    }

    /// The patch, in which these are the node's results.
    pub(crate) fn finish(mut self, results: &[PatchValue]) -> Patch {
        self.node.outputs.iter().zip(results).for_each(|(old, new)| self.patch.replace(*old, *new));
        self.patch
    }
}
