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
//! Kernels only move later, never earlier: a buffer is written once before it is read, so that is always safe. They stay in
//! their region, and what steers regions or is carried by loops stays as it is.

mod merged;

use std::collections::HashSet;
use std::collections::hash_map::Entry;

use kiln_ir::kernel::plan::{FlatAccess, Storage};
use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Expr, Form, Index, Kernel, LoopId, Program, Uses, each_buffer,
};
use kiln_ir::{DType, Dim};
use kiln_targets::vector_expr;

use crate::rules::Fired;

use super::substitute::{Substitution, substitute_access};
use merged::merged;

/// An epilogue is not grown beyond this many operations.
const MAX_OPERATIONS: usize = 64;
/// Elements at places of their own that a kernel may touch per iteration. Each takes a pointer, of which x86-64 has 15,
/// and the range of a shared loop takes up to five of these.
pub(super) const MAX_PLACES: usize = 10;

/// Fuses until nothing changes. Returns what was fused: names of the reader and of the writer it went into.
pub fn run(program: &mut Program) -> Vec<(String, String)> {
    run_counted(program).0
}

/// [`run`], and the number of pairs and copies that it looked at.
fn run_counted(program: &mut Program) -> (Vec<(String, String)>, usize) {
    // A reader whose result nobody reads would keep what it reads from being merged.
    remove_dead(program);
    let mut absorb = Absorb {
        uses: Uses::of(program),
        gone: vec![false; program.kernels().len()],
        program,
        fused: Vec::new(),
        steps: 0,
    };
    absorb.merge_all();
    absorb.forward_all();
    let Absorb { program, gone, fused, steps, .. } = absorb;
    program.retain_kernels(|i, _| !gone[i]);
    for i in 0..program.kernels().len() {
        let nodes = &mut program.kernel_mut(i).nodes;
        if nodes.len() > 1 {
            let mut seen = HashSet::new();
            nodes.retain(|node| seen.insert(node.clone()));
        }
    }
    (fused, steps)
}

/// Fusion in progress. Kernels that went into others keep their positions until the end.
struct Absorb<'p> {
    program: &'p mut Program,
    uses: Uses,
    gone: Vec<bool>,
    fused: Vec<(String, String)>,
    steps: usize,
}

impl Absorb<'_> {
    /// Merges readers into writers, one sweep from the first kernel to the last. A merge changes what its kernel, which
    /// stands where the reader stood, and the readers of its results can be merged with; all of them are still to come.
    fn merge_all(&mut self) {
        for i in 0..self.program.kernels().len() {
            while let Some((writer, map)) = self.writer_for(i) {
                self.merge(i, writer, &map);
            }
        }
    }

    /// The writer to merge a reader into: reducing forms first (an epilogue saves a pass over memory, a merged
    /// pointwise kernel may follow later), then the latest one.
    fn writer_for(&mut self, reader: usize) -> Option<(usize, Substitution)> {
        let kernel = self.program.kernel(reader);
        if !kernel.form.is_pointwise() {
            return None;
        }
        let only_here = |a: &&Access| {
            self.program.buffer(a.buffer).kind == BufferKind::Temp
                && self.uses.only_reader(a.buffer) == Some(reader)
        };
        let mut writers: Vec<(bool, usize)> = kernel
            .form
            .loads()
            .into_iter()
            .filter(only_here)
            .filter_map(|a| self.uses.only_writer(a.buffer))
            .filter(|&w| w < reader)
            .map(|w| (!self.program.kernel(w).form.is_pointwise(), w))
            .collect();
        writers.sort();
        writers.dedup();
        for &(_, w) in writers.iter().rev() {
            self.steps += 1;
            if let Ok(map) = substitution(self.program, reader, w) {
                return Some((w, map));
            }
        }
        None
    }

    fn merge(&mut self, reader: usize, writer: usize, map: &Substitution) {
        let nothing = Kernel {
            name: String::new(),
            nodes: Vec::new(),
            loops: Vec::new(),
            form: Form::Map { stores: Vec::new() },
        };
        self.uses.remove(writer, self.program.kernel(writer));
        self.uses.remove(reader, self.program.kernel(reader));
        // What went into another kernel is let go of at once.
        let mut p = std::mem::replace(self.program.kernel_mut(writer), nothing);
        self.gone[writer] = true;
        let slot = self.program.kernel_mut(reader);
        self.fused.push((std::mem::take(&mut slot.name), p.name.clone()));
        p.nodes.append(&mut slot.nodes);
        let m = std::mem::replace(&mut slot.form, Form::Map { stores: Vec::new() });
        p.form = merged(m, p.form, map);
        *slot = p;
        self.uses.add(reader, slot);
    }

    /// Forwards copies, one sweep. A forwarded copy's readers now read what it read, so the copy that made that may be
    /// next; no other's readers have changed.
    fn forward_all(&mut self) {
        for i in 0..self.program.kernels().len() {
            let mut next = Some(i);
            while let Some(copy) = next.take()
                && !self.gone[copy]
                && let Some(from) = self.forward(copy)
            {
                next = self.uses.only_writer(from);
            }
        }
    }

    /// In contractions and windows, loads of a copied temporary become loads of the original, when every reader of
    /// the copy can do so. Returns the original; nothing reads the copy any more.
    fn forward(&mut self, copy: usize) -> Option<BufferId> {
        self.steps += 1;
        let program = &mut *self.program;
        let kernel = program.kernel(copy);
        let Form::Rearrange { from, to } = &kernel.form else { return None };
        let shape = &program.buffer(to.buffer).ty.shape;
        let loops = to.as_loops()?;
        if program.buffer(to.buffer).kind != BufferKind::Temp
            || self.uses.only_writer(to.buffer) != Some(copy)
            || program.is_cell(from.buffer)
            || program.is_cell(to.buffer)
            || !makes_every_element(kernel, to, shape)
            || from.index.iter().any(|i| i.affine().is_none())
            || at_element(kernel, &loops, &to.index).is_none()
        {
            return None;
        }
        let permutes = permutes_whole_axes(program, kernel, from, to);
        let movable = |k: &Kernel| {
            matches!(k.form, Form::Contract { .. } | Form::Window { .. })
                && !gathers_from(k, to.buffer)
                && k.form.loads().into_iter().filter(|a| a.buffer == to.buffer).all(|a| {
                    // Outside the copy must be outside the original too, and two paddings do not compose.
                    a.otherwise.is_none() || (permutes && from.otherwise.is_none())
                })
        };
        let readers: Vec<usize> = self.uses.readers(to.buffer).iter().copied().collect();
        if readers.is_empty() || !readers.iter().all(|&r| movable(program.kernel(r))) {
            return None;
        }
        let (from, to, kernel) = (from.clone(), to.buffer, kernel.clone());
        self.uses.remove(copy, &kernel);
        self.gone[copy] = true;
        for r in readers {
            self.uses.remove(r, program.kernel(r));
            program.kernel_mut(r).form.each_access_mut(&mut |a: &mut Access| {
                if a.buffer == to
                    && let Some(at) = at_element(&kernel, &loops, &a.index)
                {
                    let otherwise = from.otherwise.or(a.otherwise);
                    *a = Access { otherwise, ..substitute_access(&from, &at) };
                }
            });
            self.uses.add(r, program.kernel(r));
        }
        Some(from.buffer)
    }
}

const COPY_FOR_CALLER: &str = "it copies a result for the caller";

/// `M`'s loops as affine expressions of `P`'s, or why `M` may not become the epilogue of `P`.
fn substitution(program: &Program, reader: usize, writer: usize) -> Result<Substitution, &'static str> {
    let (m, p) = (program.kernel(reader), program.kernel(writer));
    if program.region_of(reader) != program.region_of(writer) {
        return Err("that runs in another branch or loop");
    }
    if m.form.stores().into_iter().chain(p.form.stores()).any(|to| program.is_cell(to.buffer)) {
        return Err("its result steers a branch or is carried by a loop");
    }
    let to = p.form.takes_epilogue().then(|| p.form.stores()[0]).ok_or("it takes no epilogue")?;
    let shape = &program.buffer(to.buffer).ty.shape;
    let results = m.form.stores();
    if results.len() > 1 && !p.form.is_pointwise() {
        return Err("it makes several results");
    }
    // Layouts of results are the caller's: whether that copy can go is the layout pass's decision.
    let to_caller = results.iter().any(|to| program.buffer(to.buffer).kind == BufferKind::Output);
    if matches!(m.form, Form::Rearrange { .. }) && to_caller {
        return Err(COPY_FOR_CALLER);
    }
    if looks_up(program, p) {
        return Err("bytes are looked up in tables whole registers at a time");
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
    let operations = |k: &Kernel| k.form.parts().stores.iter().map(|s| s.value.operations()).sum::<usize>();
    if operations(p) * loads.len() + operations(m) > MAX_OPERATIONS {
        return Err("the epilogue would be too long");
    }
    if places(p) - 1 + places(m) - loads.len().min(1) > MAX_PLACES {
        return Err("it would touch more places than there are pointers");
    }
    if let (Form::Contract { acc, .. }, Form::Map { stores }) = (&p.form, &m.form)
        && matches!(acc, DType::F32 | DType::I32)
        && !stores.iter().all(|s| {
            program.buffer(s.to.buffer).ty.dtype.size() <= 4 && tiles_compute(program, &s.value, *acc)
        })
    {
        return Err("tiles do not compute its operations");
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
            Some(a) if a.as_loop().is_none() && m.form.reads_counter(id) => {
                return Err("it counts along an axis that is not a loop of that");
            }
            Some(_) => {}
        }
    }
    Ok(map)
}

/// Whether a kernel reads entries of a table that a byte is an index of.
fn looks_up(program: &Program, kernel: &Kernel) -> bool {
    let Form::Rearrange { from, .. } = &kernel.form else { return false };
    from.index.iter().any(|index| match index {
        Index::Gathered(inner) => program.buffer(inner.buffer).ty.dtype.size() == 1,
        Index::Affine(_) => false,
    })
}

/// Whether an expression can be the epilogue of a tile of such sums, wherever its operands lie.
pub(super) fn tiles_compute(program: &Program, value: &Expr, acc: DType) -> bool {
    let flat = |a: &Access| FlatAccess {
        name: String::new(),
        storage: Storage::Arena { offset_bytes: 0 },
        dtype: program.buffer(a.buffer).ty.dtype,
        offset: Dim::Const(0),
        strides: vec![],
        gathers: vec![],
        guards: vec![],
        otherwise: None,
    };
    let value = value.map(&mut |leaf| match leaf {
        Expr::Load(a) => Some(Expr::Load(flat(a))),
        _ => None,
    });
    vector_expr::epilogue(&value, acc).is_ok()
}

/// Places that a kernel touches: loads and stores that differ, and that of the weights that a contraction asks for
/// ahead.
pub(super) fn places(kernel: &Kernel) -> usize {
    let mut seen: Vec<&Access> = Vec::new();
    for access in kernel.form.loads().into_iter().chain(kernel.form.stores()) {
        if !seen.contains(&access) {
            seen.push(access);
        }
    }
    seen.len() + usize::from(matches!(kernel.form, Form::Contract { .. }))
}

/// Kernels that stayed although something could take them as an epilogue, with the reason.
pub fn missed(program: &Program) -> Vec<Fired> {
    let uses = Uses::of(program);
    let mut list = Vec::new();
    for (i, kernel) in program.kernels().iter().enumerate() {
        if !kernel.form.is_pointwise() {
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
                    let into = &program.kernel(w).name;
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
pub(super) fn makes_every_element(kernel: &Kernel, to: &Access, shape: &kiln_ir::Shape) -> bool {
    to.index.iter().zip(shape.iter()).all(|(index, extent)| {
        index.affine().is_some_and(|a| {
            let count = a.terms.iter().fold(Dim::Const(1), |n, (l, _)| n * kernel.loop_(*l).extent.clone());
            a.offset.is(0) && count == *extent
        })
    })
}

/// The loops of a kernel where it stores element `index` of what it stores at `loops`: those that take no part in that count
/// to one. `None` where they count further, or an index is read at run time.
pub(super) fn at_element(kernel: &Kernel, loops: &[LoopId], index: &[Index]) -> Option<Substitution> {
    let mut at = Substitution::new();
    for (l, i) in loops.iter().zip(index) {
        at.insert(*l, i.affine()?.clone());
    }
    for (i, l) in kernel.loops.iter().enumerate() {
        let id = LoopId(i as u16);
        if let Entry::Vacant(free) = at.entry(id) {
            l.extent.is(1).then(|| free.insert(Affine::constant(0i64)))?;
        }
    }
    Some(at)
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

fn permutes_whole_axes(program: &Program, copy: &Kernel, from: &Access, to: &Access) -> bool {
    let (Some(a), Some(b)) = (from.as_loops(), to.as_loops()) else { return false };
    a.len() == b.len() && makes_every_element(copy, from, &program.buffer(from.buffer).ty.shape)
}

/// Removes kernels whose results nobody reads.
pub fn remove_dead(program: &mut Program) {
    let mut read = vec![false; program.buffers().len()];
    program.cells().into_iter().for_each(|cell| read[cell.0 as usize] = true);
    let mut keep = vec![true; program.kernels().len()];
    for (i, kernel) in program.kernels().iter().enumerate().rev() {
        let live = |b: &BufferId| program.buffer(*b).kind != BufferKind::Temp || read[b.0 as usize];
        keep[i] = kernel.form.written().iter().any(live);
        if keep[i] {
            kernel.form.each_buffer(&mut |b, write| read[b.0 as usize] |= !write);
        }
    }
    program.retain_kernels(|i, _| keep[i]);
}

#[cfg(test)]
mod tests {
    use kiln_ir::DType;
    use kiln_ir::kernel::{BinaryOp, Role, Store};

    use super::*;
    use crate::passes::testing::{at, buffer, constant, conv_bias_relu, kernel, loops};

    fn names(program: &Program) -> Vec<&str> {
        program.kernels().iter().map(|k| k.name.as_str()).collect()
    }

    #[test]
    fn bias_and_relu_become_the_epilogue_and_the_copy_to_the_caller_stays() {
        let mut p = conv_bias_relu(4, 8);
        run(&mut p);
        assert_eq!(names(&p), ["conv", "y"]);
        assert_eq!(p.kernel(0).nodes, ["conv", "add", "relu"]);
        let Form::Contract { store, .. } = &p.kernel(0).form else { panic!("a contraction") };
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
    fn a_reader_whose_result_nobody_reads_is_in_nobodys_way() {
        let mut p = conv_bias_relu(4, 8);
        let t0 = p.buffer_ids().find(|b| p.buffer(*b).name == "t0").unwrap();
        let z = buffer(&mut p, "z", &[1, 8, 8, 8], BufferKind::Temp);
        let all = || vec![at(0), at(1), at(2), at(3)];
        let four = [("n", 1, Role::Parallel), ("o", 8, Role::Parallel), ("h", 8, Role::Parallel)];
        let map = loops(&[&four[..], &[("w", 8, Role::Parallel)]].concat());
        let store = Store { to: Access::new(z, all()), value: Expr::Load(Access::new(t0, all())) };
        kernel(&mut p, "unused", map, Form::Map { stores: vec![store] });
        run(&mut p);
        assert_eq!(names(&p), ["conv", "y"]);
    }

    #[test]
    fn work_is_proportional_to_the_kernels() {
        // Pointwise chains side by side that read one constant, and copies in front of products.
        let steps = |chains: usize| {
            let mut p = Program::new("m");
            let c = constant(&mut p, "c", &[8, 8]);
            let two = || loops(&[("i", 8, Role::Parallel), ("j", 8, Role::Parallel)]);
            let load = |b| Access::new(b, vec![at(0), at(1)]);
            for chain in 0..chains {
                let mut from = buffer(&mut p, "x", &[8, 8], BufferKind::Input);
                for link in 0..4 {
                    let to = buffer(&mut p, "t", &[8, 8], BufferKind::Temp);
                    let value = Expr::binary(BinaryOp::Add, Expr::Load(load(from)), Expr::Load(load(c)));
                    let form = Form::Map { stores: vec![Store { to: load(to), value }] };
                    kernel(&mut p, &format!("k{chain}.{link}"), two(), form);
                    from = to;
                }
                let turned = buffer(&mut p, "u", &[8, 8], BufferKind::Temp);
                let to = Access::new(turned, vec![at(1), at(0)]);
                kernel(&mut p, &format!("t{chain}"), two(), Form::Rearrange { from: load(from), to });
                let y = buffer(&mut p, "y", &[8, 8], BufferKind::Output);
                let three = [two(), loops(&[("k", 8, Role::Reduce)])].concat();
                let lhs = Access::new(turned, vec![at(0), at(2)]);
                let rhs = Access::new(c, vec![at(2), at(1)]);
                let store = Store { to: load(y), value: Expr::Acc };
                kernel(
                    &mut p,
                    &format!("p{chain}"),
                    three,
                    Form::Contract { acc: DType::F32, lhs, rhs, store },
                );
            }
            let steps = run_counted(&mut p).1;
            assert_eq!(p.kernels().len(), 2 * chains);
            steps
        };
        assert!(steps(200) <= 2 * steps(100) + 10, "{} and {}", steps(100), steps(200));
    }

    #[test]
    fn loops_of_one_that_a_copy_does_not_store_by_are_no_loops_of_its_reader() {
        // The second loop of the copy is another one in the product.
        let text = "program @m {
          input %x: f32[2, 3, 4] input %w: f32[4, 2]
          temp %t: f32[2, 4]
          output %y: f32[2, 2]
          rearrange \"part\" [a: 2, one: 1, k: 4] { %t[a, k] = %x[a, one + 1, k] }
          contract \"y\" [m: 2, n: 2 | k: 4] { acc: f32 = %t[m, k] * %w[k, n] %y[m, n] = acc }
        }";
        let mut program = kiln_ir::kernel::parse(text).unwrap();
        let values = |shape: &[usize]| {
            kiln_ir::Tensor::from_vec(shape, (0..shape.iter().product()).map(|i| i as f32).collect())
        };
        let inputs = [values(&[2, 3, 4]), values(&[4, 2])];
        let expected = kiln_ir::eval::kernel::run(&program, &inputs).unwrap();
        run(&mut program);
        kiln_ir::kernel::verify(&program).unwrap();
        assert_eq!(kiln_ir::eval::kernel::run(&program, &inputs).unwrap(), expected, "{program}");
        assert!(program.to_string().contains("%x[m, 1, k]"), "{program}");
    }

    /// A kernel `y` that hands a temporary to the caller.
    fn copy_to_caller(p: &mut Program, from: BufferId, shape: &[usize]) {
        let y = buffer(p, "y", shape, BufferKind::Output);
        let index = || (0..shape.len() as u16).map(at).collect();
        let all: Vec<_> = shape.iter().map(|n| ("i", *n as i64, Role::Parallel)).collect();
        let form = Form::Rearrange { from: Access::new(from, index()), to: Access::new(y, index()) };
        kernel(p, "y", loops(&all), form);
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
        copy_to_caller(&mut p, u, &[3, 2]);
        run(&mut p);
        assert_eq!(names(&p), ["neg", "y"]);
        assert_eq!(p.kernel(0).form.stores()[0].index, vec![at(1), at(0)]);
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
        copy_to_caller(&mut p, u, &[2]);
        run(&mut p);
        assert_eq!(names(&p), ["neg", "head", "y"]);
    }
}
