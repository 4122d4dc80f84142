//! Kernels over places to kernels over strides.
//!
//! Logical indices become offsets and one stride per loop; loops of one iteration go; neighbouring loops that
//! every access steps through contiguously become one.

use std::sync::Arc;

use kiln_ir::kernel::plan::{FlatAccess, Gather, Guard, Storage};
use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Control, Form, Index, Kernel, Loop, LoopId, Program, Repeat, Role,
    Trips,
};
use kiln_ir::{Bounds, DType, Dim, Error, Result};

/// A kernel with flat accesses, before it has a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatKernel {
    /// As in the program.
    pub name: String,
    /// As in the program.
    pub nodes: Vec<String>,
    /// What remains of the loops.
    pub loops: Vec<Loop>,
    /// The body.
    pub form: Form<FlatAccess>,
    /// Bounds of the open dimensions in it.
    pub bounds: Arc<Bounds>,
}

/// Flattens a kernel; `storage` says where a buffer that owns storage begins.
pub fn flatten(
    program: &Program,
    kernel: &Kernel,
    bounds: &Arc<Bounds>,
    storage: &mut dyn FnMut(BufferId) -> Result<Storage>,
) -> Result<FlatKernel> {
    let mut error = None;
    let form = kernel.form.map_accesses(&mut |a| match flat_access(program, kernel, a, storage) {
        Ok(access) => access,
        Err(e) => {
            error.get_or_insert(e);
            FlatAccess {
                name: String::new(),
                storage: Storage::Arena { offset_bytes: 0 },
                dtype: kiln_ir::DType::F32,
                offset: Dim::Const(0),
                strides: vec![],
                gathers: vec![],
                guards: vec![],
                otherwise: None,
            }
        }
    });
    if let Some(error) = error {
        return Err(error);
    }
    let mut flat = FlatKernel {
        name: kernel.name.clone(),
        nodes: kernel.nodes.clone(),
        loops: kernel.loops.clone(),
        form,
        bounds: if kernel.loops.iter().any(Loop::is_open) { bounds.clone() } else { Arc::default() },
    };
    drop_single(&mut flat);
    merge_loops(&mut flat);
    Ok(flat)
}

/// Elements of a line that is worth a loop of its own within an open one.
const LONG_LINE: i64 = 256;

/// Merges neighbouring loops until none are left that every access steps through contiguously. An open loop around a closed
/// one stays apart, so that vectors have something to run along, but for short lines of maps and copies: channels of pixels.
pub fn merge_loops(kernel: &mut FlatKernel) {
    while let Some((outer, inner)) = mergeable(kernel, false) {
        merge(kernel, outer, inner);
    }
}

/// The same with rows of tiles, of which there may be any number.
pub fn merge_rows(kernel: &mut FlatKernel) {
    while let Some((outer, inner)) = mergeable(kernel, true) {
        merge(kernel, outer, inner);
    }
}

fn flat_access(
    program: &Program,
    kernel: &Kernel,
    access: &Access,
    storage: &mut dyn FnMut(BufferId) -> Result<Storage>,
) -> Result<FlatAccess> {
    let buffer = program.buffer(access.buffer);
    let place =
        buffer.place.as_ref().ok_or_else(|| Error::internal(format!("'{}' has no place", buffer.name)))?;
    let mut flat = FlatAccess {
        name: buffer.name.clone(),
        storage: storage(place.root)?,
        dtype: buffer.ty.dtype,
        offset: place.offset.clone(),
        strides: vec![Dim::Const(0); kernel.loops.len()],
        gathers: vec![],
        guards: vec![],
        otherwise: None,
    };
    for (axis, index) in access.index.iter().enumerate() {
        let stride = &place.strides[axis];
        match index {
            Index::Affine(a) => {
                flat.offset = flat.offset + a.offset.clone() * stride.clone();
                for (l, c) in &a.terms {
                    let s = &mut flat.strides[l.0 as usize];
                    *s = s.clone() + c.clone() * stride.clone();
                }
                if access.otherwise.is_some() && may_leave(kernel, a, &buffer.ty.shape[axis]) {
                    let coefficients =
                        (0..kernel.loops.len()).map(|l| a.coefficient(LoopId(l as u16))).collect();
                    let extent = buffer.ty.shape[axis].clone();
                    flat.guards.push(Guard { offset: a.offset.clone(), coefficients, extent });
                }
            }
            Index::Gathered(inner) => {
                let extent = &buffer.ty.shape[axis];
                // A loop along the axis counts inside of it: no run has to look at its size.
                let counts = counts_along(program, inner, extent);
                let most = extent.most(&program.bounds).filter(|_| counts).map(Dim::Const);
                flat.gathers.push(Gather {
                    index: Box::new(flat_access(program, kernel, inner, storage)?),
                    extent: most.unwrap_or_else(|| extent.clone()),
                    stride: stride.clone(),
                    known: counts || known_inside(program, inner, extent),
                });
            }
        }
    }
    flat.otherwise = access.otherwise.filter(|_| !flat.guards.is_empty());
    Ok(flat)
}

/// Whether an index is the counter of a loop that has as many turns as an axis has elements.
fn counts_along(program: &Program, index: &Access, extent: &Dim) -> bool {
    program.regions().iter().any(|region| match &region.control {
        Control::Loop(Repeat { counter, trips: Some(Trips::Count(turns)), .. }) => {
            *counter == index.buffer && turns == extent && index.otherwise.is_none()
        }
        _ => false,
    })
}

/// Whether indices are constants inside an axis, none of them counted from its end.
fn known_inside(program: &Program, index: &Access, extent: &Dim) -> bool {
    let BufferKind::Const(tensor) = &program.buffer(index.buffer).kind else { return false };
    let inside = |values: &[i64], extent: i64| values.iter().all(|i| (0..extent).contains(i));
    match (matches!(tensor.dtype, DType::I32 | DType::I64).then(|| tensor.to_i64s()), extent.as_const()) {
        (Some(Ok(values)), Some(extent)) => index.otherwise.is_none() && inside(&values, extent),
        _ => false,
    }
}

/// A buffer of one element, which steers a region.
pub fn cell(
    program: &Program,
    buffer: BufferId,
    storage: &mut dyn FnMut(BufferId) -> Result<Storage>,
) -> Result<FlatAccess> {
    let zero = || Index::Affine(Affine::constant(0i64));
    let index = program.buffer(buffer).ty.shape.iter().map(|_| zero()).collect();
    let form = Form::Map { stores: vec![] };
    let kernel = Kernel { name: String::new(), nodes: vec![], loops: vec![], form };
    flat_access(program, &kernel, &Access::new(buffer, index), storage)
}

/// Whether an index can be outside its axis; open extents may, unless the index is a loop along the axis.
fn may_leave(kernel: &Kernel, a: &Affine, extent: &Dim) -> bool {
    if a.as_loop().is_some_and(|l| kernel.loop_(l).extent == *extent) {
        return false;
    }
    let range = a.range(|l| kernel.loop_(l).extent.as_const());
    !matches!((range, extent.as_const()), (Some((lo, hi)), Some(extent)) if lo >= 0 && hi < extent)
}

fn accesses(form: &Form<FlatAccess>) -> Vec<&FlatAccess> {
    fn deep<'a>(a: &'a FlatAccess, out: &mut Vec<&'a FlatAccess>) {
        out.push(a);
        a.gathers.iter().for_each(|g| deep(&g.index, out));
    }
    let mut out = Vec::new();
    form.loads().into_iter().chain(form.stores()).for_each(|a| deep(a, &mut out));
    out
}

/// Loops of one iteration, unless an expression reads their counter.
fn drop_single(kernel: &mut FlatKernel) {
    for l in (0..kernel.loops.len()).rev() {
        if kernel.loops[l].extent.is(1) && !kernel.form.reads_counter(LoopId(l as u16)) {
            remove_loop(kernel, l);
        }
    }
}

fn remove_loop(kernel: &mut FlatKernel, l: usize) {
    kernel.loops.remove(l);
    kernel.form.each_access_mut(&mut |a| drop_coefficient(a, l));
    kernel.form.renumber_loops(&|x| if x.0 as usize > l { LoopId(x.0 - 1) } else { x });
}

fn drop_coefficient(access: &mut FlatAccess, l: usize) {
    access.strides.remove(l);
    access.guards.iter_mut().for_each(|g| _ = g.coefficients.remove(l));
    access.gathers.iter_mut().for_each(|g| drop_coefficient(&mut g.index, l));
}

/// A pair of loops `(outer, inner)` of one role such that every access steps through `inner` contiguously before
/// `outer` moves on.
fn mergeable(kernel: &FlatKernel, rows: bool) -> Option<(usize, usize)> {
    let all = accesses(&kernel.form);
    let moves = matches!(kernel.form, Form::Map { .. } | Form::Rearrange { .. });
    let alike = |outer: usize, inner: usize| {
        let short = moves && kernel.loops[inner].extent.as_const().is_some_and(|n| n < LONG_LINE);
        let [outer, inner] = [outer, inner].map(|l| kernel.loops[l].is_open());
        outer == inner || (rows || short) && outer
    };
    let free = |l: usize| {
        !kernel.form.reads_counter(LoopId(l as u16))
            && all.iter().all(|a| a.guards.iter().all(|g| g.coefficients[l].is(0)))
    };
    let candidates: Vec<usize> = (0..kernel.loops.len()).filter(|&l| free(l)).collect();
    for &outer in &candidates {
        for &inner in &candidates {
            let extent = &kernel.loops[inner].extent;
            if outer != inner
                && alike(outer, inner)
                && kernel.loops[outer].role == kernel.loops[inner].role
                && all.iter().all(|a| a.strides[outer] == a.strides[inner].clone() * extent.clone())
            {
                return Some((outer, inner));
            }
        }
    }
    None
}

fn merge(kernel: &mut FlatKernel, outer: usize, inner: usize) {
    let product = kernel.loops[outer].extent.clone() * kernel.loops[inner].extent.clone();
    let name = format!("{}_{}", kernel.loops[outer].name, kernel.loops[inner].name);
    let role = kernel.loops[inner].role;
    kernel.loops[inner] = Loop { name, extent: product, role };
    remove_loop(kernel, outer);
}

/// Gives a loop `extent` iterations, each of `step` of those before, and adds loops through them: each of these with the
/// number of old iterations that it moves by. No expression reads the counter.
pub fn cut_loop(kernel: &mut FlatKernel, l: LoopId, extent: i64, step: i64, parts: Vec<(Loop, i64)>) {
    fn cut(access: &mut FlatAccess, l: usize, step: i64, parts: &[(Loop, i64)]) {
        let scale = |list: &mut Vec<Dim>| {
            let stride = list[l].clone();
            list[l] = stride.clone() * Dim::Const(step);
            list.extend(parts.iter().map(|(_, by)| stride.clone() * Dim::Const(*by)));
        };
        scale(&mut access.strides);
        access.guards.iter_mut().for_each(|g| scale(&mut g.coefficients));
        access.gathers.iter_mut().for_each(|g| cut(&mut g.index, l, step, parts));
    }
    kernel.form.each_access_mut(&mut |a| cut(a, l.0 as usize, step, &parts));
    kernel.loops[l.0 as usize].extent = Dim::Const(extent);
    kernel.loops.extend(parts.into_iter().map(|(part, _)| part));
}

/// Loops of a role, in order.
pub fn loops_of(loops: &[Loop], role: Role) -> Vec<LoopId> {
    (0..loops.len()).filter(|&i| loops[i].role == role).map(|i| LoopId(i as u16)).collect()
}
