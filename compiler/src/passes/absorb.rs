//! Fuses neighbouring kernels.
//!
//! One rule covers every pair: when a temporary `T` has one writer `P` and one reader `M`, and `M` visits each
//! element of `T` once, in step with its own result, then `M`'s expression becomes the epilogue of `P`: `M`'s
//! loops are expressed in `P`'s, the load of `T` becomes `P`'s value, and `P` stores where `M` stored. So
//! conv + bias + activation + residual, matmul + bias + gelu, elementwise chains, and writing straight into a
//! part of a concat or into a transposed result are one mechanism.
//!
//! The second rule looks the other way: a load of a plain copy becomes a load of what was copied. It makes
//! transposes, slices and pads in front of a contraction part of its access.
//!
//! Kernels only move later, never earlier: a buffer is written once before it is read, so that is always safe.

use std::collections::{HashMap, HashSet};

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Expr, Form, Index, Kernel, LoopId, Program, Store,
};

use crate::rules::Fired;
use kiln_ir::kernel::{Uses, each_buffer};

/// An epilogue is not grown beyond this many operations.
const MAX_OPERATIONS: usize = 64;

/// Fuses until nothing changes. Returns what was fused: names of the reader and of the writer it went into.
pub fn run(program: &mut Program) -> Vec<(String, String)> {
    let mut fused = Vec::new();
    loop {
        let uses = Uses::of(program);
        if let Some((reader, writer, map)) = find_pair(program, &uses) {
            fused.push((program.kernels[reader].name.clone(), program.kernels[writer].name.clone()));
            merge(program, reader, writer, &map);
        } else if forward_copies(program, &uses) {
            remove_dead(program);
        } else {
            return fused;
        }
    }
}

pub(super) type Substitution = HashMap<LoopId, Affine>;

/// The first reader that can be merged, and the writer to merge it into: reducing forms first (an epilogue saves
/// a pass over memory, a merged pointwise kernel may follow later), then the latest one.
fn find_pair(program: &Program, uses: &Uses) -> Option<(usize, usize, Substitution)> {
    for (i, kernel) in program.kernels.iter().enumerate() {
        if !matches!(kernel.form, Form::Map { .. } | Form::Rearrange { .. }) {
            continue;
        }
        let mut writers: Vec<(bool, usize)> = kernel
            .form
            .loads()
            .into_iter()
            .filter(|a| {
                program.buffer(a.buffer).kind == BufferKind::Temp && uses.only_reader(a.buffer) == Some(i)
            })
            .filter_map(|a| uses.only_writer(a.buffer))
            .filter(|&w| w < i)
            .map(|w| (!matches!(program.kernels[w].form, Form::Map { .. } | Form::Rearrange { .. }), w))
            .collect();
        writers.sort();
        writers.dedup();
        for &(_, w) in writers.iter().rev() {
            if let Ok(map) = substitution(program, i, w) {
                return Some((i, w, map));
            }
        }
    }
    None
}

const COPY_FOR_CALLER: &str = "it copies a result for the caller";

/// `M`'s loops as affine expressions of `P`'s, or why `M` may not become the epilogue of `P`.
fn substitution(program: &Program, reader: usize, writer: usize) -> Result<Substitution, &'static str> {
    let (m, p) = (&program.kernels[reader], &program.kernels[writer]);
    let (to, value) = single_store(p).ok_or("it takes no epilogue")?;
    let shape = &program.buffer(to.buffer).ty.shape;
    let m_stores = stores_of(m);
    // Layouts of results are the caller's: whether that copy can go is the layout pass's decision.
    let to_caller = m_stores.iter().any(|s| program.buffer(s.to.buffer).kind == BufferKind::Output);
    if matches!(m.form, Form::Rearrange { .. }) && to_caller {
        return Err(COPY_FOR_CALLER);
    }
    if !makes_every_element(p, to, shape) {
        return Err("that makes a part of the tensor only");
    }
    let loads: Vec<&Access> = m.form.loads().into_iter().filter(|a| a.buffer == to.buffer).collect();
    let first = *loads.first().ok_or("it does not read that")?;
    if loads.iter().any(|a| *a != first) {
        return Err("it reads several elements for each of its own");
    }
    if first.otherwise.is_some() || gathers_from(m, to.buffer) {
        return Err("it pads or gathers what it reads");
    }
    let own: usize = m_stores.iter().map(|s| s.value.operations()).sum();
    if value.operations() * loads.len() + own > MAX_OPERATIONS {
        return Err("the epilogue would be too long");
    }
    let mut map = Substitution::new();
    for ((here, there), extent) in first.index.iter().zip(&to.index).zip(shape.iter()) {
        let affine = |i: &Index| i.affine().cloned().ok_or("an index is read at run time");
        let (here, there) = (affine(here)?, affine(there)?);
        match here.as_loop() {
            Some(l) if map.contains_key(&l) => return Err("it reads a diagonal"),
            // A reader that visits a part only would leave the rest of the writer's loops without a result.
            Some(l) if m.loop_(l).extent != *extent => return Err("it reads a part only"),
            Some(l) => {
                map.insert(l, there);
            }
            None if here.terms.is_empty() && extent.is(1) => {}
            None => return Err("it does not read one element for each of its own, in step"),
        }
    }
    for (i, l) in m.loops.iter().enumerate() {
        let id = LoopId(i as u16);
        match map.get(&id) {
            None if l.extent.is(1) => {
                map.insert(id, Affine::constant(0i64));
            }
            None => return Err("it broadcasts what it reads"),
            Some(a) if a.as_loop().is_none() && reads_counter(m, id) => {
                return Err("it counts along an axis that is not a loop of that");
            }
            Some(_) => {}
        }
    }
    Ok(map)
}

/// Kernels that stayed although something could take them as an epilogue, with the reason.
pub fn missed(program: &Program) -> Vec<Fired> {
    let uses = Uses::of(program);
    let mut list = Vec::new();
    for (i, kernel) in program.kernels.iter().enumerate() {
        if !matches!(kernel.form, Form::Map { .. } | Form::Rearrange { .. }) {
            continue;
        }
        let mut seen = HashSet::new();
        for load in kernel.form.loads() {
            let buffer = program.buffer(load.buffer);
            if buffer.kind != BufferKind::Temp || !seen.insert(load.buffer) {
                continue;
            }
            let readers = uses.readers(load.buffer).len();
            let why = match uses.only_writer(load.buffer) {
                None => format!("'{}' is written in parts", buffer.name),
                Some(_) if readers > 1 => format!("'{}' has {readers} readers", buffer.name),
                Some(w) => {
                    let into = &program.kernels[w].name;
                    match substitution(program, i, w) {
                        // The layout pass decides, and is mostly able to.
                        Ok(_) | Err(COPY_FOR_CALLER) => continue,
                        Err(why) => format!("not into '{into}': {why}"),
                    }
                }
            };
            list.push(Fired { rule: "absorb", node: kernel.name.clone(), missed: Some(why) });
        }
    }
    list
}

/// Whether the store's index runs over the whole shape, each axis from 0.
fn makes_every_element(kernel: &Kernel, to: &Access, shape: &kiln_ir::Shape) -> bool {
    to.index.iter().zip(shape.iter()).all(|(index, extent)| {
        index.affine().is_some_and(|a| {
            let count =
                a.terms.iter().fold(kiln_ir::Dim::Const(1), |n, (l, _)| n * kernel.loop_(*l).extent.clone());
            a.offset.is(0) && count == *extent
        })
    })
}

fn gathers_from(kernel: &Kernel, buffer: BufferId) -> bool {
    kernel.form.loads().into_iter().any(|a| {
        let gathered = |i: &Index| matches!(i, Index::Gathered(_));
        let mut inside = false;
        for index in &a.index {
            if let Index::Gathered(inner) = index {
                each_buffer(inner, &mut |b| inside |= b == buffer);
            }
        }
        inside || (a.buffer == buffer && a.index.iter().any(gathered))
    })
}

fn reads_counter(kernel: &Kernel, l: LoopId) -> bool {
    stores_of(kernel).iter().any(|s| s.value.reads_counter(l))
}

/// The one store of a kernel that can take an epilogue, and the value it stores.
fn single_store(kernel: &Kernel) -> Option<(&Access, Expr)> {
    match &kernel.form {
        Form::Map { stores } if stores.len() == 1 => Some((&stores[0].to, stores[0].value.clone())),
        Form::Reduce { store, .. } | Form::Contract { store, .. } | Form::Window { store, .. } => {
            Some((&store.to, store.value.clone()))
        }
        Form::Rearrange { from, to } => Some((to, Expr::Load(from.clone()))),
        _ => None,
    }
}

fn stores_of(kernel: &Kernel) -> Vec<Store> {
    match &kernel.form {
        Form::Map { stores } => stores.clone(),
        Form::Rearrange { from, to } => vec![Store { to: to.clone(), value: Expr::Load(from.clone()) }],
        Form::Reduce { store, .. }
        | Form::Contract { store, .. }
        | Form::Window { store, .. }
        | Form::Transform { store, .. } => vec![store.clone()],
        Form::Extern { .. } => vec![],
    }
}

fn merge(program: &mut Program, reader: usize, writer: usize, map: &Substitution) {
    let (m, p) = (program.kernels[reader].clone(), program.kernels[writer].clone());
    let Some((to, value)) = single_store(&p) else { return };
    let temp = to.buffer;
    let mut stores: Vec<Store> = stores_of(&m)
        .into_iter()
        .map(|s| Store {
            to: substitute_access(&s.to, map),
            value: s.value.map(&mut |leaf| match leaf {
                Expr::Load(a) if a.buffer == temp => Some(value.clone()),
                Expr::Load(a) => Some(Expr::Load(substitute_access(a, map))),
                Expr::Loop(l) => map.get(l).and_then(Affine::as_loop).map(Expr::Loop),
                _ => None,
            }),
        })
        .collect();
    let form = match p.form {
        Form::Map { .. } | Form::Rearrange { .. } => match &stores[..] {
            [Store { to, value: Expr::Load(from) }] => Form::Rearrange { from: from.clone(), to: to.clone() },
            _ => Form::Map { stores },
        },
        Form::Reduce { op, value, .. } => Form::Reduce { op, value, store: stores.swap_remove(0) },
        Form::Contract { acc, lhs, rhs, .. } => {
            Form::Contract { acc, lhs, rhs, store: stores.swap_remove(0) }
        }
        Form::Window { op, input, weight, .. } => {
            Form::Window { op, input, weight, store: stores.swap_remove(0) }
        }
        other @ (Form::Transform { .. } | Form::Extern { .. }) => other,
    };
    let mut nodes = p.nodes;
    for node in m.nodes {
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    program.kernels[reader] = Kernel { name: p.name, nodes, loops: p.loops, form };
    program.kernels.remove(writer);
}

fn substitute_affine(a: &Affine, map: &Substitution) -> Affine {
    let mut out = Affine::constant(a.offset.clone());
    for (l, c) in &a.terms {
        match map.get(l) {
            None => out = out.plus(*l, c.clone()),
            Some(inner) => {
                out = out.shifted(inner.offset.clone() * c.clone());
                for (k, d) in &inner.terms {
                    out = out.plus(*k, d.clone() * c.clone());
                }
            }
        }
    }
    out
}

pub(super) fn substitute_access(access: &Access, map: &Substitution) -> Access {
    let index = access.index.iter().map(|i| match i {
        Index::Affine(a) => Index::Affine(substitute_affine(a, map)),
        Index::Gathered(g) => Index::Gathered(Box::new(substitute_access(g, map))),
    });
    Access { buffer: access.buffer, index: index.collect(), otherwise: access.otherwise }
}

/// In contractions and windows, loads of a copied temporary become loads of the original, when every reader of
/// the copy can do so. Returns whether anything changed.
fn forward_copies(program: &mut Program, uses: &Uses) -> bool {
    for c in 0..program.kernels.len() {
        let Form::Rearrange { from, to } = &program.kernels[c].form else { continue };
        let (from, to) = (from.clone(), to.clone());
        let shape = &program.buffer(to.buffer).ty.shape;
        let Some(loops) = to.as_loops() else { continue };
        if program.buffer(to.buffer).kind != BufferKind::Temp
            || uses.only_writer(to.buffer) != Some(c)
            || !makes_every_element(&program.kernels[c], &to, shape)
            || from.index.iter().any(|i| i.affine().is_none())
        {
            continue;
        }
        let permutes = permutes_whole_axes(program, &program.kernels[c], &from, &to);
        let movable = |k: &Kernel| {
            matches!(k.form, Form::Contract { .. } | Form::Window { .. })
                && !gathers_from(k, to.buffer)
                && k.form.loads().into_iter().filter(|a| a.buffer == to.buffer).all(|a| {
                    // Outside the copy must be outside the original too, and two paddings do not compose.
                    a.otherwise.is_none() || (permutes && from.otherwise.is_none())
                })
        };
        let readers = uses.readers(to.buffer).to_vec();
        if readers.is_empty() || !readers.iter().all(|&r| movable(&program.kernels[r])) {
            continue;
        }
        for r in readers {
            let kernel = &mut program.kernels[r];
            kernel.form = kernel.form.map_accesses(&mut |a: &Access| {
                if a.buffer != to.buffer {
                    return a.clone();
                }
                let at =
                    loops.iter().zip(&a.index).filter_map(|(l, i)| Some((*l, i.affine()?.clone()))).collect();
                let mut moved = substitute_access(&from, &at);
                moved.otherwise = moved.otherwise.or(a.otherwise);
                moved
            });
        }
        return true;
    }
    false
}

fn permutes_whole_axes(program: &Program, copy: &Kernel, from: &Access, to: &Access) -> bool {
    let (Some(a), Some(b)) = (from.as_loops(), to.as_loops()) else { return false };
    a.len() == b.len() && makes_every_element(copy, from, &program.buffer(from.buffer).ty.shape)
}

/// Removes kernels whose results nobody reads.
pub fn remove_dead(program: &mut Program) {
    let mut read: HashSet<BufferId> = HashSet::new();
    let mut keep = vec![true; program.kernels.len()];
    for (i, kernel) in program.kernels.iter().enumerate().rev() {
        let live = |b: &BufferId| program.buffer(*b).kind != BufferKind::Temp || read.contains(b);
        let alive = match &kernel.form {
            Form::Extern { outputs, .. } => outputs.iter().any(live),
            form => form.stores().iter().any(|s| live(&s.buffer)),
        };
        keep[i] = alive;
        if alive {
            for load in kernel.form.loads() {
                each_buffer(load, &mut |b| {
                    read.insert(b);
                });
            }
            if let Form::Extern { inputs, .. } = &kernel.form {
                read.extend(inputs);
            }
        }
    }
    let mut keep = keep.into_iter();
    program.kernels.retain(|_| keep.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::{BinaryOp, Role};

    use super::*;
    use crate::passes::testing::{at, buffer, conv_bias_relu, kernel, loops};

    fn names(program: &Program) -> Vec<&str> {
        program.kernels.iter().map(|k| k.name.as_str()).collect()
    }

    #[test]
    fn bias_and_relu_become_the_epilogue_and_the_copy_to_the_caller_stays() {
        let mut p = conv_bias_relu(4, 8);
        run(&mut p);
        assert_eq!(names(&p), ["conv", "y"]);
        assert_eq!(p.kernels[0].nodes, ["conv", "add", "relu"]);
        let Form::Contract { store, .. } = &p.kernels[0].form else { panic!("a contraction") };
        assert_eq!(p.buffer(store.to.buffer).name, "t2");
        assert_eq!(store.value.operations(), 2);
    }

    #[test]
    fn a_value_with_two_readers_stays() {
        let mut p = conv_bias_relu(4, 8);
        let t0 = p.buffer_ids().find(|b| p.buffer(*b).name == "t0").unwrap();
        let z = buffer(&mut p, "z", &[1, 8, 8, 8], BufferKind::Output);
        let all = || vec![at(0), at(1), at(2), at(3)];
        let map = loops(&[
            ("n", 1, Role::Parallel),
            ("o", 8, Role::Parallel),
            ("h", 8, Role::Parallel),
            ("w", 8, Role::Parallel),
        ]);
        let value = Expr::binary(BinaryOp::Mul, Expr::Load(Access::new(t0, all())), Expr::f32(2.0));
        kernel(&mut p, "twice", map, Form::Map { stores: vec![Store { to: Access::new(z, all()), value }] });
        run(&mut p);
        assert_eq!(names(&p), ["conv", "add", "y", "twice"]);
        let missed = missed(&p);
        let why = |name: &str| missed.iter().find(|f| f.node == name).and_then(|f| f.missed.as_deref());
        assert_eq!(why("add"), Some("'t0' has 2 readers"));
        assert_eq!(why("twice"), Some("'t0' has 2 readers"));
        assert_eq!(why("y"), None);
    }

    #[test]
    fn a_transposed_result_is_written_in_place() {
        let mut p = Program::default();
        let x = buffer(&mut p, "x", &[2, 3], BufferKind::Input);
        let t = buffer(&mut p, "t", &[2, 3], BufferKind::Temp);
        let u = buffer(&mut p, "u", &[3, 2], BufferKind::Temp);
        let both = || loops(&[("i", 2, Role::Parallel), ("j", 3, Role::Parallel)]);
        let value =
            Expr::unary(kiln_ir::kernel::UnaryOp::Neg, Expr::Load(Access::new(x, vec![at(0), at(1)])));
        kernel(
            &mut p,
            "neg",
            both(),
            Form::Map { stores: vec![Store { to: Access::new(t, vec![at(0), at(1)]), value }] },
        );
        let from = Access::new(t, vec![at(0), at(1)]);
        kernel(&mut p, "t", both(), Form::Rearrange { from, to: Access::new(u, vec![at(1), at(0)]) });
        run(&mut p);
        assert_eq!(names(&p), ["neg"]);
        assert_eq!(p.kernels[0].form.stores()[0].index, vec![at(1), at(0)]);
    }

    #[test]
    fn a_reader_of_a_part_is_not_merged() {
        let mut p = Program::default();
        let x = buffer(&mut p, "x", &[4], BufferKind::Input);
        let t = buffer(&mut p, "t", &[4], BufferKind::Temp);
        let u = buffer(&mut p, "u", &[2], BufferKind::Temp);
        let value = Expr::unary(kiln_ir::kernel::UnaryOp::Neg, Expr::Load(Access::new(x, vec![at(0)])));
        let store = Store { to: Access::new(t, vec![at(0)]), value };
        kernel(&mut p, "neg", loops(&[("i", 4, Role::Parallel)]), Form::Map { stores: vec![store] });
        let form = Form::Rearrange { from: Access::new(t, vec![at(0)]), to: Access::new(u, vec![at(0)]) };
        kernel(&mut p, "head", loops(&[("i", 2, Role::Parallel)]), form);
        run(&mut p);
        assert_eq!(names(&p), ["neg", "head"]);
    }
}
