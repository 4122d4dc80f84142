//! Programs: buffers and the kernels that fill them.

use super::access::BufferId;
use super::expr::Expr;
use super::form::Kernel;
use crate::dim::{Bounds, Dim};
use crate::error::Result;
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// What a buffer is for.
#[derive(Clone, Debug, PartialEq)]
pub enum BufferKind {
    /// The caller's, read only, dense row-major.
    Input,
    /// The caller's, written, dense row-major.
    Output,
    /// Read-only data.
    Const(Tensor),
    /// A place in the arena.
    Temp,
}

/// Where a buffer's elements lie: element `i` of the buffer is element `offset + sum(i[k] * strides[k])` of the
/// storage of `root`. A buffer that is its own root owns storage of `extent` elements; others are views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The buffer that owns the storage.
    pub root: BufferId,
    /// In elements of the root's type.
    pub offset: Dim,
    /// One per logical axis, in elements.
    pub strides: Vec<Dim>,
    /// Elements of storage, for roots: more than the shape needs where the layout has padding.
    pub extent: Dim,
}

/// A tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Unique in the program, derived from the model's names.
    pub name: String,
    /// Logical type: axes in ONNX's order whatever the layout.
    pub ty: TensorType,
    /// What it is for.
    pub kind: BufferKind,
    /// Where its elements lie; `None` until the layout pass has run: dense row-major.
    pub place: Option<Place>,
}

/// Kernels in execution order, over buffers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// The model's name.
    pub name: String,
    /// Bounds of the symbolic dimensions left open.
    pub bounds: Bounds,
    /// Buffers, by id.
    pub buffers: Vec<Buffer>,
    /// Kernels; each reads only what earlier ones or the caller have written.
    pub kernels: Vec<Kernel>,
    /// Arguments in order.
    pub inputs: Vec<BufferId>,
    /// Results in order.
    pub outputs: Vec<BufferId>,
}

impl Program {
    /// A buffer.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// A buffer, to be changed.
    pub fn buffer_mut(&mut self, id: BufferId) -> &mut Buffer {
        &mut self.buffers[id.0 as usize]
    }

    /// All buffers with their ids.
    pub fn buffer_ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        (0..self.buffers.len() as u32).map(BufferId)
    }

    /// Adds a buffer; `stem` is made unique.
    pub fn add_buffer(&mut self, stem: &str, ty: TensorType, kind: BufferKind) -> BufferId {
        let taken = |name: &str| self.buffers.iter().any(|b| b.name == name);
        let name = if taken(stem) {
            (1..).map(|i| format!("{stem}.{i}")).find(|n| !taken(n)).unwrap_or_default()
        } else {
            stem.to_owned()
        };
        self.buffers.push(Buffer { name, ty, kind, place: None });
        BufferId(self.buffers.len() as u32 - 1)
    }
}

impl Expr {
    /// The type of the expression, given the buffers and the type of [`Expr::Acc`].
    pub fn dtype(&self, program: &Program, acc: Option<DType>) -> Result<DType> {
        self.dtype_with(&mut |a| program.buffer(a.buffer).ty.dtype, acc)
    }
}
