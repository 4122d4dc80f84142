//! What [`Op::lower`](crate::op::Op::lower) works with: the operands as buffers, and a place for new kernels.

use std::sync::Arc;

use super::access::{Access, Affine, BufferId, Index, LoopId};
use super::expr::Expr;
use super::form::{Form, Kernel, Loop, Role};
use super::function::BinaryOp;
use super::program::{BufferKind, Program};
use super::scalar::Scalar;
use super::store::Store;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::fact::{Fact, Known};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// Operations of one kernel of [`Lowering::pointwise_fold`].
const MAX_FOLDED: usize = 32;

/// The lowering of one node.
pub struct Lowering<'a> {
    program: &'a mut Program,
    node: &'a str,
    inputs: Vec<Option<(BufferId, Fact)>>,
    outputs: Vec<(BufferId, Fact)>,
}

impl<'a> Lowering<'a> {
    /// For the node `node`, whose operands are these buffers.
    pub fn new(
        program: &'a mut Program,
        node: &'a str,
        inputs: Vec<Option<(BufferId, Fact)>>,
        outputs: Vec<(BufferId, Fact)>,
    ) -> Self {
        Self { program, node, inputs, outputs }
    }

    /// Number of inputs, those left out included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Whether input `i` is there.
    pub fn has_input(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// Input `i`.
    pub fn input(&self, i: usize) -> Result<BufferId> {
        self.inputs
            .get(i)
            .and_then(|x| x.as_ref())
            .map(|x| x.0)
            .ok_or_else(|| Error::internal(format!("input {i} is left out")))
    }

    /// What is known of input `i`.
    pub fn fact(&self, i: usize) -> Result<&Fact> {
        self.inputs
            .get(i)
            .and_then(|x| x.as_ref())
            .map(|x| &x.1)
            .ok_or_else(|| Error::internal(format!("input {i} is left out")))
    }

    /// Output `i`.
    pub fn output(&self, i: usize) -> Result<BufferId> {
        self.outputs.get(i).map(|x| x.0).ok_or_else(|| Error::internal(format!("output {i} is left out")))
    }

    /// Type of output `i`.
    pub fn output_fact(&self, i: usize) -> Result<&Fact> {
        self.outputs.get(i).map(|x| &x.1).ok_or_else(|| Error::internal(format!("output {i} is left out")))
    }

    /// Type of any buffer.
    pub fn ty(&self, buffer: BufferId) -> &TensorType {
        &self.program.buffer(buffer).ty
    }

    /// A new temporary; `suffix` follows the node's name.
    pub fn temp(&mut self, suffix: &str, dtype: DType, shape: Shape) -> BufferId {
        let stem = format!("{}.{suffix}", self.node);
        self.program.add_buffer(&stem, TensorType::new(dtype, shape), BufferKind::Temp)
    }

    /// A new constant.
    pub fn constant(&mut self, suffix: &str, tensor: Tensor) -> BufferId {
        let stem = format!("{}.{suffix}", self.node);
        self.program.add_buffer(&stem, tensor.ty(), BufferKind::Const(tensor))
    }

    /// Takes for granted that an expression is 0 in every run, which is checked there.
    pub fn assume(&mut self, zero: Dim) {
        if !zero.is(0) && !zero.is_unknown() && !self.program.assumed.contains(&zero) {
            self.program.assumed.push(zero);
        }
    }

    /// Makes a buffer of a single i64 the one that tells an open dimension's value in every run.
    pub fn count(&mut self, name: &Arc<str>, cell: BufferId) {
        self.program.counted.insert(name.clone(), cell);
    }

    /// Adds a kernel after all earlier ones.
    pub fn emit(&mut self, loops: Vec<Loop>, form: Form) {
        let name = self.program.kernel_name(self.node);
        self.program.push_kernel(Kernel { name, nodes: vec![self.node.to_owned()], loops, form });
    }

    /// Parallel loops over a shape, named `i0`, `i1` and so on, and the ids they get when they come first.
    pub fn loops_over(shape: &Shape) -> (Vec<Loop>, Vec<LoopId>) {
        let make =
            |(i, d): (usize, &Dim)| Loop { name: format!("i{i}"), extent: d.clone(), role: Role::Parallel };
        (shape.iter().enumerate().map(make).collect(), (0..shape.rank() as u16).map(LoopId).collect())
    }

    /// The element of `buffer` that broadcasts to an iteration of `loops` over `shape` (ONNX's multidirectional
    /// broadcast: axes align at the end, extents of 1 stand still).
    pub fn broadcast(&self, buffer: BufferId, shape: &Shape, loops: &[LoopId]) -> Access {
        let own = &self.ty(buffer).shape;
        let skip = shape.rank() - own.rank();
        let index = |i: usize| {
            let still = own[i].is(1) && !shape[skip + i].is(1);
            if still { Index::Affine(Affine::constant(0i64)) } else { loops[skip + i].into() }
        };
        Access::new(buffer, (0..own.rank()).map(index).collect())
    }

    /// The only element of input `i`, a constant where it is known.
    pub fn scalar(&self, i: usize) -> Result<Expr> {
        let shape = self.fact(i)?.shape.clone();
        if !shape.iter().all(|e| e.is(1)) {
            return Err(Error::internal(format!("input {i} of shape {shape} read as a scalar")));
        }
        // Every axis stands still.
        match self.operand(i, &shape, &vec![LoopId(0); shape.rank()])? {
            Expr::Load(access) => {
                let index = access.index.iter().map(|_| Index::Affine(Affine::constant(0i64))).collect();
                Ok(Expr::Load(Access { index, ..access }))
            }
            constant => Ok(constant),
        }
    }

    /// The element of input `i` that broadcasts to an iteration, as a constant where its only element is known.
    fn operand(&self, i: usize, shape: &Shape, loops: &[LoopId]) -> Result<Expr> {
        let single = self.fact(i)?.tensor().filter(|t| t.elements() == 1 && t.data.len() <= 8);
        if let Some(tensor) = single {
            let mut bytes = [0; 8];
            bytes[..tensor.data.len()].copy_from_slice(&tensor.data);
            let (dtype, bits) = (tensor.dtype, u64::from_le_bytes(bytes));
            return Ok(Expr::Const(Scalar { dtype, bits }));
        }
        if let Some(Known::Dims(dims)) = &self.fact(i)?.known
            && let ([size], true) = (&dims[..], self.fact(i)?.dtype.is_int())
        {
            return Ok(Expr::size(self.fact(i)?.dtype, size));
        }
        Ok(Expr::Load(self.broadcast(self.input(i)?, shape, loops)))
    }

    /// Emits a pointwise kernel over the shape of output 0: `value` gets one expression per input, broadcast.
    pub fn pointwise(&mut self, value: impl FnOnce(Vec<Expr>) -> Result<Expr>) -> Result<()> {
        let to = self.output(0)?;
        let shape = self.ty(to).shape.clone();
        let (loops, ids) = Self::loops_over(&shape);
        let operands = (0..self.input_count())
            .filter(|&i| self.has_input(i))
            .map(|i| self.operand(i, &shape, &ids))
            .collect::<Result<Vec<_>>>()?;
        let store = Store {
            to: Access::new(to, ids.into_iter().map(Index::from).collect()),
            value: value(operands)?,
        };
        self.emit(loops, Form::Map { stores: vec![store] });
        Ok(())
    }

    /// Emits `finish(x0 op x1 op ..)` over the shape of output 0, the inputs broadcast and taken from the left. Many
    /// inputs make several kernels, so that no expression is as deep as there are inputs.
    pub fn pointwise_fold(&mut self, op: BinaryOp, finish: impl FnOnce(Expr) -> Expr) -> Result<()> {
        let to = self.output(0)?;
        let ty = self.ty(to).clone();
        let (loops, ids) = Self::loops_over(&ty.shape);
        let at = |buffer| Access::new(buffer, ids.iter().copied().map(Index::from).collect());
        let mut operands = (0..self.input_count())
            .filter(|&i| self.has_input(i))
            .map(|i| self.operand(i, &ty.shape, &ids))
            .collect::<Result<Vec<_>>>()?
            .into_iter();
        let mut value = operands.next().ok_or_else(|| Error::internal("needs at least 1 input"))?;
        for (i, operand) in operands.enumerate() {
            if i > 0 && i % MAX_FOLDED == 0 {
                let part = self.temp("part", ty.dtype, ty.shape.clone());
                let store =
                    Store { to: at(part), value: std::mem::replace(&mut value, Expr::Load(at(part))) };
                self.emit(loops.clone(), Form::Map { stores: vec![store] });
            }
            value = Expr::binary(op, value, operand);
        }
        self.emit(loops, Form::Map { stores: vec![Store { to: at(to), value: finish(value) }] });
        Ok(())
    }

    /// Emits `to = value` for every element.
    pub fn fill(&mut self, to: BufferId, value: Scalar) {
        let (loops, ids) = Self::loops_over(&self.ty(to).shape.clone());
        let store = Store {
            to: Access::new(to, ids.into_iter().map(Index::from).collect()),
            value: Expr::Const(value),
        };
        self.emit(loops, Form::Map { stores: vec![store] });
    }

    /// Emits the elements of outputs that follow from open dimensions, where all of the outputs do; whether it did.
    pub fn sizes(&mut self) -> bool {
        let known = |(to, fact): &(BufferId, Fact)| match &fact.known {
            Some(Known::Dims(dims)) if fact.shape.rank() <= 1 => Some((*to, fact.dtype, dims.clone())),
            _ => None,
        };
        let Some(all) = self.outputs.iter().map(known).collect::<Option<Vec<_>>>() else { return false };
        for (to, dtype, dims) in all {
            let rank = self.ty(to).shape.rank();
            for (i, size) in dims.iter().enumerate() {
                let index = (0..rank).map(|_| Index::Affine(Affine::constant(i))).collect();
                let store = Store { to: Access::new(to, index), value: Expr::size(dtype, size) };
                self.emit(vec![], Form::Map { stores: vec![store] });
            }
        }
        true
    }

    /// Emits a copy over `loops`.
    pub fn copy(&mut self, loops: Vec<Loop>, from: Access, to: Access) {
        self.emit(loops, Form::Rearrange { from, to });
    }
}
