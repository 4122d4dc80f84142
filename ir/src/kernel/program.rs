//! Programs: buffers and the kernels that fill them.

use std::collections::BTreeMap;

use super::access::BufferId;
use super::expr::Expr;
use super::form::Kernel;
use super::format::Format;
use super::names::Names;
use crate::dim::{Bounds, Dim};
use crate::error::{Error, Result};
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
    /// Read-only data whose elements have been let go of, since no kernel reads them any more.
    Released,
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
    /// Of constants: how they are kept, where that was weighed.
    pub format: Option<Format>,
}

impl Buffer {
    /// Whether it is a constant that is kept in blocks.
    pub fn is_in_blocks(&self) -> bool {
        self.format.as_ref().is_some_and(Format::is_in_blocks)
    }
}

/// Kernels in execution order, over buffers.
///
/// The lists of buffers and kernels change through methods only: names of buffers stay unique, and whatever speaks of
/// kernels by position has one place, [`Program::edit`] and [`Program::retain_kernels`], to stay consistent.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The model's name.
    pub name: String,
    /// Bounds of the symbolic dimensions left open.
    pub bounds: Bounds,
    /// Expressions of them that must be 0 in every run: see [`assumptions`](super::assumptions).
    pub assumed: Vec<Dim>,
    /// Arguments in order.
    pub inputs: Vec<BufferId>,
    /// Results in order.
    pub outputs: Vec<BufferId>,
    buffers: Vec<Buffer>,
    /// Each reads only what earlier ones or the caller have written.
    kernels: Vec<Kernel>,
    buffer_names: Names,
    kernel_names: Names,
}

impl PartialEq for Program {
    /// Equality of what the text form says: not of the names that are gone.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.bounds == other.bounds
            && self.assumed == other.assumed
            && self.buffers == other.buffers
            && self.kernels == other.kernels
            && self.inputs == other.inputs
            && self.outputs == other.outputs
    }
}

impl Program {
    /// A program without anything in it.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// All buffers, by id.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// A buffer.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The buffer that owns a buffer's storage: itself until the layout pass has run.
    pub fn root(&self, id: BufferId) -> BufferId {
        self.buffer(id).place.as_ref().map_or(id, |p| p.root)
    }

    /// The elements of a constant.
    pub fn constant(&self, id: BufferId) -> Result<&Tensor> {
        match &self.buffer(id).kind {
            BufferKind::Const(tensor) => Ok(tensor),
            BufferKind::Released => Err(self.not_constant(id, "is read after it was let go of")),
            _ => Err(self.not_constant(id, "is not constant")),
        }
    }

    /// The elements of a constant that nothing else reads from now on.
    pub fn release(&mut self, id: BufferId) -> Result<Tensor> {
        match self.set_kind(id, BufferKind::Released) {
            BufferKind::Const(tensor) => Ok(tensor),
            kind => {
                self.set_kind(id, kind);
                Err(self.not_constant(id, "is let go of and holds no elements"))
            }
        }
    }

    fn not_constant(&self, id: BufferId, what: &str) -> Error {
        Error::internal(format!("'{}' {what}", self.buffer(id).name))
    }

    /// All buffers' ids.
    pub fn buffer_ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        (0..self.buffers.len() as u32).map(BufferId)
    }

    /// Adds a buffer; `stem` is made unique.
    pub fn add_buffer(&mut self, stem: &str, ty: TensorType, kind: BufferKind) -> BufferId {
        let name = self.buffer_names.unique(stem);
        self.buffers.push(Buffer { name, ty, kind, place: None, format: None });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Makes a buffer one of another kind; returns the old one.
    pub fn set_kind(&mut self, id: BufferId, kind: BufferKind) -> BufferKind {
        std::mem::replace(&mut self.buffers[id.0 as usize].kind, kind)
    }

    /// Places a buffer, or takes its place away.
    pub fn set_place(&mut self, id: BufferId, place: Option<Place>) {
        self.buffers[id.0 as usize].place = place;
    }

    /// Says how a constant is kept.
    pub fn set_format(&mut self, id: BufferId, format: Option<Format>) {
        self.buffers[id.0 as usize].format = format;
    }

    /// Gives a buffer another type.
    pub fn set_type(&mut self, id: BufferId, ty: TensorType) {
        self.buffers[id.0 as usize].ty = ty;
    }

    /// Kernels in execution order.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel at a position.
    pub fn kernel(&self, i: usize) -> &Kernel {
        &self.kernels[i]
    }

    /// The kernel at a position, to be changed where it stands.
    pub fn kernel_mut(&mut self, i: usize) -> &mut Kernel {
        &mut self.kernels[i]
    }

    /// Adds a kernel behind all others.
    pub fn push_kernel(&mut self, kernel: Kernel) {
        self.kernel_names.take(&kernel.name);
        self.kernels.push(kernel);
    }

    /// A name for a new kernel; `stem` is made unique.
    pub fn kernel_name(&mut self, stem: &str) -> String {
        self.kernel_names.unique(stem)
    }

    /// Keeps the kernels that `keep` says, by position and kernel.
    pub fn retain_kernels(&mut self, mut keep: impl FnMut(usize, &Kernel) -> bool) {
        let mut position = 0..;
        self.kernels.retain(|kernel| position.next().is_some_and(|i| keep(i, kernel)));
    }

    /// Makes all changes at once, in time proportional to the list.
    pub fn edit(&mut self, edits: Edits) {
        if edits.at.is_empty() {
            return;
        }
        let mut out = Vec::with_capacity(self.kernels.len() + edits.at.len());
        let mut edits = edits.at.into_iter().peekable();
        let old = std::mem::take(&mut self.kernels);
        for (i, kernel) in old.into_iter().map(Some).chain([None]).enumerate() {
            let edit = edits.next_if(|(at, _)| *at == i).map(|(_, edit)| edit).unwrap_or_default();
            edit.before.iter().chain(edit.instead.iter().flatten()).for_each(|k| {
                self.kernel_names.take(&k.name);
            });
            out.extend(edit.before);
            match edit.instead {
                Some(kernels) => out.extend(kernels),
                None => out.extend(kernel),
            }
        }
        self.kernels = out;
    }
}

/// Changes of a program's list of kernels, all in terms of the positions before any of them.
#[derive(Debug, Default)]
pub struct Edits {
    at: BTreeMap<usize, Edit>,
}

#[derive(Debug, Default)]
struct Edit {
    before: Vec<Kernel>,
    instead: Option<Vec<Kernel>>,
}

impl Edits {
    /// A kernel before the one at `position`, behind what was inserted there earlier.
    pub fn insert(&mut self, position: usize, kernel: Kernel) {
        self.at.entry(position).or_default().before.push(kernel);
    }

    /// Kernels in the place of the one at `position`; none removes it.
    pub fn replace(&mut self, position: usize, kernels: Vec<Kernel>) {
        self.at.entry(position).or_default().instead = Some(kernels);
    }
}

impl Expr {
    /// The type of the expression, given the buffers and the type of [`Expr::Acc`].
    pub fn dtype(&self, program: &Program, acc: Option<DType>) -> Result<DType> {
        self.dtype_with(&mut |a| program.buffer(a.buffer).ty.dtype, acc)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Form;
    use super::*;

    fn kernel(name: &str) -> Kernel {
        Kernel { name: name.to_owned(), nodes: vec![], loops: vec![], form: Form::Map { stores: vec![] } }
    }

    fn names(program: &Program) -> Vec<&str> {
        program.kernels().iter().map(|k| k.name.as_str()).collect()
    }

    #[test]
    fn edits_speak_of_the_positions_before() {
        let mut program = Program::default();
        for name in ["a", "b", "c"] {
            program.push_kernel(kernel(name));
        }
        let mut edits = Edits::default();
        edits.insert(3, kernel("last"));
        edits.insert(0, kernel("first"));
        edits.insert(0, kernel("second"));
        edits.replace(1, vec![kernel("b1"), kernel("b2")]);
        edits.insert(1, kernel("before b"));
        edits.replace(2, vec![]);
        program.edit(edits);
        assert_eq!(names(&program), ["first", "second", "a", "before b", "b1", "b2", "last"]);
        program.retain_kernels(|i, k| i % 2 == 0 || k.name == "b1");
        assert_eq!(names(&program), ["first", "a", "b1", "last"]);
        // Names of removed kernels are not given again.
        assert_eq!(program.kernel_name("c"), "c.1");
    }
}
