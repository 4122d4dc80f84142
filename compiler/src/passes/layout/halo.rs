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
//! a padded copy; contractions keep the padding value beside the halo, and may do without either; a window that reads the
//! caller's buffer as it lies tests its borders instead, where that is cheaper.

use std::collections::{BTreeMap, HashMap};

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Edits, Expr, Form, Index, Kernel, Loop, LoopId, Program, RegionId,
    Role, Scalar, Store,
};
use kiln_ir::{Dim, Error, Result};

use super::regions::Regions;

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

/// Replaces padded loads of what reductions run over; inserts padded copies where a buffer can have no halo.
pub(super) fn run(program: &mut Program, regions: &Regions) -> Result<Halos> {
    let mut halos = Halos::new();
    // Copies by source, value and region, so that several readers share one.
    let mut copies: HashMap<(BufferId, Scalar, Option<RegionId>), BufferId> = HashMap::new();
    let mut edits = Edits::default();
    for i in 0..program.kernels().len() {
        let kernel = program.kernel(i);
        let padded = kernel.form.data().filter(|a| a.index.iter().all(|i| i.affine().is_some()));
        let Some((padded, value)) = padded.and_then(|a| Some((a.clone(), a.otherwise?))) else { continue };
        let halo = needed(program, kernel, &padded, value)?;
        let mut buffer = padded.buffer;
        let shape = program.buffer(buffer).ty.shape.clone();
        let is_input = program.buffer(buffer).kind == BufferKind::Input;
        if is_input && regions.test_border(program, kernel, &halo.before, &halo.after) {
            continue;
        }
        let fits = program.buffer(buffer).kind == BufferKind::Temp
            && halos.get(&buffer).is_none_or(|h| h.value == value);
        if !fits {
            let region = program.region_of(i);
            buffer = *copies.entry((buffer, value, region)).or_insert_with(|| {
                let (copy, kernel) = padded_copy(program, i, buffer);
                edits.insert(i, kernel);
                copy
            });
        }
        let known = halos.entry(buffer).or_insert_with(|| halo.clone());
        for axis in 0..halo.before.len() {
            known.before[axis] = known.before[axis].max(halo.before[axis]);
            known.after[axis] = known.after[axis].max(halo.after[axis]);
        }
        let form = &mut program.kernel_mut(i).form;
        // Products with zeros may be left out where they are known to be: the schedule decides. Those of bytes and words are
        // made several at a time.
        let open = (0..halo.before.len()).any(|axis| {
            let wide = halo.before[axis] > 0 || halo.after[axis] > 0;
            wide && shape[axis].as_const().is_none()
        });
        let told = matches!(form, Form::Contract { .. }).then_some(value);
        let told = told.filter(|v| !open && v.to_f64() == 0.0 && !(v.dtype.is_int() && v.dtype.size() <= 2));
        if let Some(data) = form.data_mut() {
            *data = Access { otherwise: told, ..Access::new(buffer, padded.index) };
        }
    }
    program.edit(edits);
    Ok(halos)
}

/// How far an access reaches outside its buffer.
fn needed(program: &Program, kernel: &Kernel, access: &Access, value: Scalar) -> Result<Halo> {
    let buffer = program.buffer(access.buffer);
    let mut halo = Halo { before: vec![], after: vec![], value };
    for (index, extent) in access.index.iter().zip(buffer.ty.shape.iter()) {
        let along = index.affine().and_then(Affine::as_loop);
        if along.is_some_and(|l| kernel.loop_(l).extent == *extent) {
            halo.before.push(0);
            halo.after.push(0);
            continue;
        }
        let ends = index.affine().and_then(|a| a.ends(|l| kernel.loop_(l).extent.clone(), &program.bounds));
        let (first, last) = ends.ok_or_else(|| open(kernel))?;
        let (lo, _) = first.range(&program.bounds).ok_or_else(|| open(kernel))?;
        let (_, beyond) =
            (last - extent.clone() + Dim::Const(1)).range(&program.bounds).ok_or_else(|| open(kernel))?;
        halo.before.push(lo.saturating_neg().max(0));
        halo.after.push(beyond.max(0));
    }
    Ok(halo)
}

fn open(kernel: &Kernel) -> Error {
    Error::unsupported("padding over an open dimension is not supported")
        .hint("bind it with --dim")
        .at(&kernel.name, kernel.form.name())
}

/// A buffer for `from` and its halo, and the kernel that fills it, for the place before kernel `before`.
fn padded_copy(program: &mut Program, before: usize, from: BufferId) -> (BufferId, Kernel) {
    let source = program.buffer(from);
    let (name, ty) = (source.name.clone(), source.ty.clone());
    let (loops, ids) = kiln_ir::kernel::Lowering::loops_over(&ty.shape);
    let copy = program.add_buffer(&format!("{name}.padded"), ty, BufferKind::Temp);
    let index = || ids.iter().map(|&l| Index::from(l)).collect();
    let form = Form::Rearrange { from: Access::new(from, index()), to: Access::new(copy, index()) };
    let nodes = program.kernel(before).nodes.clone();
    (copy, Kernel { name: format!("{name}.pad"), nodes, loops, form })
}

/// Inserts the kernels that write the halos, each before the first writer of its buffer.
pub(super) fn fill(program: &mut Program, halos: &Halos) {
    // Writers of views count: parts of a concat write straight into its storage.
    let mut writers: HashMap<BufferId, Vec<usize>> = HashMap::new();
    for (i, kernel) in program.kernels().iter().enumerate() {
        for store in kernel.form.stores() {
            writers.entry(program.root(store.buffer)).or_default().push(i);
        }
    }
    let mut edits = Edits::default();
    for (&buffer, halo) in halos {
        let Some((position, region)) = writers.get(&buffer).and_then(|all| program.before(all)) else {
            continue;
        };
        for (i, slab) in slabs(program, buffer, halo).iter().enumerate() {
            edits.insert_in(region, position, fill_slab(program, buffer, halo.value, i, slab));
        }
    }
    program.edit(edits);
}

/// The halo as boxes of `(first, count)` per axis that do not overlap: axis by axis, its two ends over the widened
/// extent of the axes after it and the plain extent of those before.
fn slabs(program: &Program, buffer: BufferId, halo: &Halo) -> Vec<Vec<(Dim, Dim)>> {
    let shape = &program.buffer(buffer).ty.shape;
    let wide = |axis: usize| {
        (
            Dim::Const(-halo.before[axis]),
            shape[axis].clone() + Dim::Const(halo.before[axis] + halo.after[axis]),
        )
    };
    let mut out = Vec::new();
    for axis in 0..shape.rank() {
        if halo.before[axis] == 0 && halo.after[axis] == 0 {
            continue;
        }
        let ends =
            [(Dim::Const(-halo.before[axis]), halo.before[axis]), (shape[axis].clone(), halo.after[axis])];
        for (first, count) in ends.into_iter().filter(|e| e.1 > 0) {
            let at = |i: usize| match i.cmp(&axis) {
                std::cmp::Ordering::Less => (Dim::Const(0), shape[i].clone()),
                std::cmp::Ordering::Equal => (first.clone(), Dim::Const(count)),
                std::cmp::Ordering::Greater => wide(i),
            };
            out.push((0..shape.rank()).map(at).collect());
        }
    }
    out
}

fn fill_slab(program: &Program, buffer: BufferId, value: Scalar, i: usize, slab: &[(Dim, Dim)]) -> Kernel {
    let make = |(i, (_, count)): (usize, &(Dim, Dim))| Loop {
        name: format!("i{i}"),
        extent: count.clone(),
        role: Role::Parallel,
    };
    let index = |(i, (first, _)): (usize, &(Dim, Dim))| {
        Index::from(Affine::of(LoopId(i as u16)).shifted(first.clone()))
    };
    let to = Access::new(buffer, slab.iter().enumerate().map(index).collect());
    let loops = slab.iter().enumerate().map(make).collect();
    let form = Form::Map { stores: vec![Store { to, value: Expr::Const(value) }] };
    Kernel { name: format!("{}.halo{i}", program.buffer(buffer).name), nodes: vec![], loops, form }
}
