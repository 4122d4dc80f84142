//! Padding as memory: loads with a padding value become plain loads of a buffer with a halo.
//!
//! ```text
//!   before            extent             after
//!   v v v v v v v v v v v v v v v v v v v v v      v: the padding value, written once per run
//!   v v | x x x x x x x x x x x x x x x | v v      x: the buffer
//!   v v v v v v v v v v v v v v v v v v v v v
//! ```
//!
//! A buffer has one halo with one value. The caller's buffers, constants and loads that want another value get
//! a padded copy.

use std::collections::BTreeMap;

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Expr, Form, Index, Kernel, Loop, LoopId, Program, Role, Scalar,
    Store,
};
use kiln_ir::{Dim, Error, Result};

/// Elements around a buffer, per axis.
#[derive(Clone, Debug)]
pub(super) struct Halo {
    /// Before element 0.
    pub before: Vec<i64>,
    /// Behind the last element.
    pub after: Vec<i64>,
    /// What they hold.
    pub value: Scalar,
}

/// Halos by buffer, in a fixed order.
pub(super) type Halos = BTreeMap<BufferId, Halo>;

/// Replaces padded loads of contractions, windows and transforms; inserts padded copies where a buffer can have no halo.
pub(super) fn run(program: &mut Program) -> Result<Halos> {
    let mut halos = Halos::new();
    // Copies by source and value, so that several readers share one.
    let mut copies: Vec<(BufferId, Scalar, BufferId)> = Vec::new();
    let mut i = 0;
    while i < program.kernels.len() {
        let kernel = program.kernels[i].clone();
        let (padded, value) = match &kernel.form {
            Form::Contract { lhs, .. } => (lhs.clone(), lhs.otherwise),
            Form::Window { input, .. } => (input.clone(), input.otherwise),
            Form::Transform { from, .. } => (from.clone(), from.otherwise),
            _ => (Access::new(BufferId(0), vec![]), None),
        };
        let Some(value) = value.filter(|_| padded.index.iter().all(|i| i.affine().is_some())) else {
            i += 1;
            continue;
        };
        let halo = needed(program, &kernel, &padded, value)?;
        let mut buffer = padded.buffer;
        let fits = program.buffer(buffer).kind == BufferKind::Temp
            && halos.get(&buffer).is_none_or(|h| h.value == value);
        if !fits {
            let known = copies.iter().find(|c| c.0 == buffer && c.1 == value).map(|c| c.2);
            buffer = known.unwrap_or_else(|| {
                let copy = insert_copy(program, i, buffer);
                copies.push((buffer, value, copy));
                i += 1;
                copy
            });
        }
        let known = halos.entry(buffer).or_insert_with(|| halo.clone());
        for axis in 0..halo.before.len() {
            known.before[axis] = known.before[axis].max(halo.before[axis]);
            known.after[axis] = known.after[axis].max(halo.after[axis]);
        }
        let plain = Access::new(buffer, padded.index);
        match &mut program.kernels[i].form {
            Form::Contract { lhs, .. } => *lhs = plain,
            Form::Window { input, .. } => *input = plain,
            Form::Transform { from, .. } => *from = plain,
            _ => {}
        }
        i += 1;
    }
    Ok(halos)
}

/// How far an access reaches outside its buffer.
fn needed(program: &Program, kernel: &Kernel, access: &Access, value: Scalar) -> Result<Halo> {
    let buffer = program.buffer(access.buffer);
    let mut halo = Halo { before: vec![], after: vec![], value };
    for (index, extent) in access.index.iter().zip(buffer.ty.shape.iter()) {
        let (lo, hi) = index.affine().and_then(|a| range(kernel, a)).ok_or_else(|| open(kernel))?;
        let extent = extent.as_const().ok_or_else(|| open(kernel))?;
        halo.before.push((-lo).max(0));
        halo.after.push((hi - extent + 1).max(0));
    }
    Ok(halo)
}

fn open(kernel: &Kernel) -> Error {
    Error::unsupported("padding over an open dimension is not compiled yet")
        .hint("bind it with --dim")
        .at(&kernel.name, kernel.form.name())
}

/// Least and greatest value of an index.
fn range(kernel: &Kernel, a: &Affine) -> Option<(i64, i64)> {
    a.range(|l| kernel.loop_(l).extent.as_const())
}

fn insert_copy(program: &mut Program, before: usize, from: BufferId) -> BufferId {
    let source = program.buffer(from).clone();
    let copy = program.add_buffer(&format!("{}.padded", source.name), source.ty.clone(), BufferKind::Temp);
    let (loops, ids) = kiln_ir::kernel::Lowering::loops_over(&source.ty.shape);
    let index = || ids.iter().map(|&l| Index::from(l)).collect();
    let form = Form::Rearrange { from: Access::new(from, index()), to: Access::new(copy, index()) };
    let name = format!("{}.pad", source.name);
    program
        .kernels
        .insert(before, Kernel { name, nodes: program.kernels[before].nodes.clone(), loops, form });
    copy
}

/// Inserts the kernels that write the halos, each before the first writer of its buffer.
pub(super) fn fill(program: &mut Program, halos: &Halos) {
    for (&buffer, halo) in halos {
        // Writers of views count: parts of a concat write straight into its storage.
        let root = |b: BufferId| program.buffer(b).place.as_ref().map_or(b, |p| p.root);
        let writes = |k: &Kernel| k.form.stores().iter().any(|a| root(a.buffer) == buffer);
        let Some(position) = program.kernels.iter().position(writes) else { continue };
        let kernels: Vec<Kernel> = slabs(program, buffer, halo)
            .into_iter()
            .enumerate()
            .map(|(i, slab)| fill_slab(program, buffer, halo.value, i, &slab))
            .collect();
        program.kernels.splice(position..position, kernels);
    }
}

/// The halo as boxes of `(first, count)` per axis that do not overlap: axis by axis, its two ends over the widened
/// extent of the axes after it and the plain extent of those before.
fn slabs(program: &Program, buffer: BufferId, halo: &Halo) -> Vec<Vec<(i64, Dim)>> {
    let shape = &program.buffer(buffer).ty.shape;
    let wide = |axis: usize| {
        (-halo.before[axis], shape[axis].clone() + Dim::Const(halo.before[axis] + halo.after[axis]))
    };
    let mut out = Vec::new();
    for axis in 0..shape.rank() {
        let ends = [
            (-halo.before[axis], halo.before[axis]),
            (shape[axis].as_const().unwrap_or(0), halo.after[axis]),
        ];
        for (first, count) in ends.into_iter().filter(|e| e.1 > 0) {
            let at = |i: usize| match i.cmp(&axis) {
                std::cmp::Ordering::Less => (0, shape[i].clone()),
                std::cmp::Ordering::Equal => (first, Dim::Const(count)),
                std::cmp::Ordering::Greater => wide(i),
            };
            out.push((0..shape.rank()).map(at).collect());
        }
    }
    out
}

fn fill_slab(program: &Program, buffer: BufferId, value: Scalar, i: usize, slab: &[(i64, Dim)]) -> Kernel {
    let make = |(i, (_, count)): (usize, &(i64, Dim))| Loop {
        name: format!("i{i}"),
        extent: count.clone(),
        role: Role::Parallel,
    };
    let index =
        |(i, (first, _)): (usize, &(i64, Dim))| Index::from(Affine::of(LoopId(i as u16)).shifted(*first));
    let to = Access::new(buffer, slab.iter().enumerate().map(index).collect());
    let loops = slab.iter().enumerate().map(make).collect();
    let form = Form::Map { stores: vec![Store { to, value: Expr::Const(value) }] };
    Kernel { name: format!("{}.halo{i}", program.buffer(buffer).name), nodes: vec![], loops, form }
}
