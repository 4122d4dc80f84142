//! Programs: buffers and the kernels that fill them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::access::{Access, BufferId};
use super::expr::Expr;
use super::form::Kernel;
use super::format::Format;
use super::names::Names;
use super::regions::{self, Control, Region, RegionId, Step};
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

impl Place {
    /// Where the elements of an access lie: an offset, and a stride for each of so many loops. `None` where an index is
    /// read at run time.
    pub fn address(&self, access: &Access, loops: usize) -> Option<(Dim, Vec<Dim>)> {
        let mut offset = self.offset.clone();
        let mut strides = vec![Dim::Const(0); loops];
        for (index, stride) in access.index.iter().zip(&self.strides) {
            let a = index.affine()?;
            offset = offset + a.offset.clone() * stride.clone();
            for (l, c) in &a.terms {
                let moved = strides.get_mut(l.0 as usize)?;
                *moved = moved.clone() + c.clone() * stride.clone();
            }
        }
        Some((offset, strides))
    }
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
    /// Those of them that a run counts: the cells, i64 of one element, that tell them once their kernels have run.
    pub counted: BTreeMap<Arc<str>, BufferId>,
    /// Expressions of them that must be 0 in every run: see [`assumptions`](super::assumptions).
    pub assumed: Vec<Dim>,
    /// Arguments in order.
    pub inputs: Vec<BufferId>,
    /// Results in order.
    pub outputs: Vec<BufferId>,
    buffers: Vec<Buffer>,
    /// Each reads only what earlier ones or the caller have written.
    kernels: Vec<Kernel>,
    /// When kernels run.
    regions: Vec<Region>,
    /// By kernel: the region that it is in.
    within: Vec<Option<RegionId>>,
    /// Where the next kernel goes.
    current: Option<RegionId>,
    buffer_names: Names,
    kernel_names: Names,
}

impl PartialEq for Program {
    /// Equality of what the text form says: not of the names that are gone.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.bounds == other.bounds
            && self.counted == other.counted
            && self.assumed == other.assumed
            && self.buffers == other.buffers
            && self.kernels == other.kernels
            && self.inputs == other.inputs
            && self.outputs == other.outputs
            && self.same_steps(&self.steps(), other, &other.steps())
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

    /// Regions, by id. Those whose kernels are all gone are still there.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The region that the kernel at a position is in.
    pub fn region_of(&self, i: usize) -> Option<RegionId> {
        self.within.get(i).copied().flatten()
    }

    /// The kernels as steps.
    pub fn steps(&self) -> Vec<Step> {
        regions::steps(&self.regions, self.within.iter().copied())
    }

    /// Adds a region around the kernels that are pushed until [`Program::leave`].
    pub fn enter(&mut self, control: Control) -> RegionId {
        self.regions.push(Region { parent: self.current, control });
        let id = RegionId(self.regions.len() as u32 - 1);
        self.current = Some(id);
        id
    }

    /// Ends the innermost region that was entered.
    pub fn leave(&mut self) {
        self.current = self.current.and_then(|id| self.regions[id.0 as usize].parent);
    }

    /// Before which kernel, and in which region, something stands that is to be done before all kernels at these positions
    /// whichever of them runs.
    pub fn before(&self, positions: &[usize]) -> Option<(usize, Option<RegionId>)> {
        let first = *positions.iter().min()?;
        let mut region = self.region_of(first);
        for i in positions {
            region = regions::common(&self.regions, region, self.region_of(*i));
        }
        // Back to where the regions inside begin.
        let depth = regions::path(&self.regions, region).len();
        let inner = regions::path(&self.regions, self.region_of(first)).get(depth).copied();
        let inside = |i: usize| regions::path(&self.regions, self.region_of(i)).get(depth).copied() == inner;
        let mut position = first;
        while inner.is_some() && position > 0 && inside(position - 1) {
            position -= 1;
        }
        Some((position, region))
    }

    /// Whether a buffer steers a region, is carried by a loop or tells a size: it is written and read where no kernel says
    /// so, or again.
    pub fn is_cell(&self, buffer: BufferId) -> bool {
        self.regions.iter().any(|region| region.control.cells().contains(&&buffer))
            || self.counted.values().any(|cell| *cell == buffer)
    }

    /// All such buffers.
    pub fn cells(&self) -> BTreeSet<BufferId> {
        let steering = self.regions.iter().flat_map(|region| region.control.cells());
        steering.chain(self.counted.values()).copied().collect()
    }

    /// Whether steps do the same, wherever their regions stand in the lists.
    fn same_steps(&self, own: &[Step], other: &Self, theirs: &[Step]) -> bool {
        own.len() == theirs.len()
            && own.iter().zip(theirs).all(|pair| match pair {
                (Step::Kernel(i), Step::Kernel(j)) => i == j,
                (Step::Region(a, x), Step::Region(b, y)) => {
                    self.regions[a.0 as usize].control == other.regions[b.0 as usize].control
                        && self.same_steps(x, other, y)
                }
                _ => false,
            })
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

    /// Adds a kernel behind all others, in the region that was entered last.
    pub fn push_kernel(&mut self, kernel: Kernel) {
        self.kernel_names.take(&kernel.name);
        self.kernels.push(kernel);
        self.within.push(self.current);
    }

    /// A name for a new kernel; `stem` is made unique.
    pub fn kernel_name(&mut self, stem: &str) -> String {
        self.kernel_names.unique(stem)
    }

    /// Keeps the kernels that `keep` says, by position and kernel.
    pub fn retain_kernels(&mut self, mut keep: impl FnMut(usize, &Kernel) -> bool) {
        let keep: Vec<bool> = self.kernels.iter().enumerate().map(|(i, kernel)| keep(i, kernel)).collect();
        let mut position = 0..;
        self.kernels.retain(|_| position.next().is_some_and(|i| keep[i]));
        let mut position = 0..;
        self.within.retain(|_| position.next().is_some_and(|i| keep[i]));
    }

    /// Makes all changes at once, in time proportional to the list.
    pub fn edit(&mut self, edits: Edits) {
        if edits.at.is_empty() {
            return;
        }
        let mut out = Vec::with_capacity(self.kernels.len() + edits.at.len());
        let mut within = Vec::with_capacity(self.kernels.len() + edits.at.len());
        let mut edits = edits.at.into_iter().peekable();
        let old = std::mem::take(&mut self.kernels);
        for (i, kernel) in old.into_iter().map(Some).chain([None]).enumerate() {
            let edit = edits.next_if(|(at, _)| *at == i).map(|(_, edit)| edit).unwrap_or_default();
            let inserted = edit.before.iter().map(|(k, _)| k);
            inserted.chain(edit.instead.iter().flatten()).for_each(|k| {
                self.kernel_names.take(&k.name);
            });
            let here = self.region_of(i);
            for (kernel, region) in edit.before {
                out.push(kernel);
                within.push(region.unwrap_or(here));
            }
            match edit.instead {
                Some(kernels) => out.extend(kernels),
                None => out.extend(kernel),
            }
            within.resize(out.len(), here);
        }
        self.kernels = out;
        self.within = within;
    }
}

/// Changes of a program's list of kernels, all in terms of the positions before any of them.
#[derive(Debug, Default)]
pub struct Edits {
    at: BTreeMap<usize, Edit>,
}

#[derive(Debug, Default)]
struct Edit {
    /// With the region that it goes into, where that is not the one of the kernel behind.
    before: Vec<(Kernel, Option<Option<RegionId>>)>,
    instead: Option<Vec<Kernel>>,
}

impl Edits {
    /// A kernel before the one at `position`, behind what was inserted there earlier, in the same region.
    pub fn insert(&mut self, position: usize, kernel: Kernel) {
        self.at.entry(position).or_default().before.push((kernel, None));
    }

    /// The same in a region that ends or begins there, or is around that.
    pub fn insert_in(&mut self, region: Option<RegionId>, position: usize, kernel: Kernel) {
        self.at.entry(position).or_default().before.push((kernel, Some(region)));
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
