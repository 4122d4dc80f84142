//! The innermost axis of every buffer.
//!
//! Contractions and windows vote: the columns of a contraction (loops of rhs and result, not of lhs) want to be
//! lanes of its result, the plain reduced axis of lhs wants to be contiguous, and a window wants its channels
//! (loops that run through input and result alike). Votes count iterations. Buffers that got none follow the
//! kernels that touch them together with buffers that have an axis. Caller's buffers and what nobody votes for
//! stay row-major.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use kiln_ir::DType;
use kiln_ir::kernel::{Access, BufferId, BufferKind, Form, Kernel, LoopId, Program, Role, Uses};

use super::pixels;
use super::regions::Regions;

/// Innermost axes; other axes keep their logical order.
pub(super) struct Orders {
    innermost: HashMap<BufferId, usize>,
}

impl Orders {
    /// Reads the votes of all kernels.
    pub(super) fn choose(program: &Program, regions: &Regions) -> Self {
        let mut votes: HashMap<BufferId, HashMap<usize, i64>> = HashMap::new();
        let rows = pixels::choose(program);
        let decided = decided(program, &rows);
        let fours = fours(program);
        let kernels = program.kernels().iter().zip(rows);
        for (kernel, row) in kernels.filter(|(kernel, _)| !regions.stay(kernel)) {
            vote(program, kernel, row, (&decided, &fours), &mut |buffer, axis, weight| {
                *votes.entry(buffer).or_default().entry(axis).or_default() += weight;
            });
        }
        let winner =
            |v: HashMap<usize, i64>| v.into_iter().max_by_key(|(axis, n)| (*n, *axis)).map(|(axis, _)| axis);
        let innermost = votes.into_iter().filter_map(|(b, v)| Some((b, winner(v)?))).collect();
        let mut orders = Self { innermost };
        orders.propagate(program);
        orders
    }

    /// The innermost axis that a buffer got.
    pub(super) fn innermost(&self, buffer: BufferId) -> Option<usize> {
        self.innermost.get(&buffer).copied()
    }

    /// All axes, outermost first.
    pub(super) fn axes(&self, buffer: BufferId, rank: usize) -> Vec<usize> {
        let last = self.innermost(buffer);
        (0..rank).filter(|a| Some(*a) != last).chain(last).collect()
    }

    /// Buffers without an axis take the one that runs with the axis of a neighbour: rounds over the kernels until
    /// nothing changes, each of those kernels only that touch a buffer which got its axis since their last turn.
    fn propagate(&mut self, program: &Program) {
        let uses = Uses::of(program);
        let mut next: BTreeSet<usize> = (0..program.kernels().len()).collect();
        while !next.is_empty() {
            let mut round = std::mem::take(&mut next);
            while let Some(i) = round.pop_first() {
                for buffer in self.follow(program, program.kernel(i)) {
                    for &k in uses.readers(buffer).iter().chain(uses.writers(buffer)) {
                        if k > i {
                            round.insert(k)
                        } else {
                            next.insert(k)
                        };
                    }
                }
            }
        }
    }

    /// Gives buffers of a kernel the axis that runs with those that have one; returns those that got it.
    fn follow(&mut self, program: &Program, kernel: &Kernel) -> Vec<BufferId> {
        let accesses: Vec<&Access> = kernel.form.loads().into_iter().chain(kernel.form.stores()).collect();
        let lanes = accesses.iter().filter(|a| !is_line(program, a.buffer)).find_map(|a| {
            let axis = self.innermost(a.buffer)?;
            a.index.get(axis)?.affine()?.as_loop()
        });
        let mut got = Vec::new();
        let Some(lanes) = lanes else { return got };
        for access in accesses {
            if is_ours(program, access.buffer)
                && let Some(axis) = axis_of(access, lanes)
                && let Entry::Vacant(entry) = self.innermost.entry(access.buffer)
            {
                entry.insert(axis);
                got.push(access.buffer);
            }
        }
        got
    }
}

/// Whether the buffer's elements lie in a line in whatever order its axes are: it is no reason to lay out others.
fn is_line(program: &Program, buffer: BufferId) -> bool {
    program.buffer(buffer).ty.shape.iter().filter(|extent| !extent.is(1)).count() <= 1
}

/// Whether the buffer's layout is ours to choose: not the caller's.
fn is_ours(program: &Program, buffer: BufferId) -> bool {
    matches!(program.buffer(buffer).kind, BufferKind::Temp | BufferKind::Const(_))
}

/// The axis that a loop indexes with step 1, alone or as the fast part of a split axis.
pub(super) fn axis_of(access: &Access, l: LoopId) -> Option<usize> {
    access.index.iter().position(|i| i.affine().is_some_and(|a| a.coefficient(l).is(1)))
}

/// The innermost axes of what contractions with weights in blocks read and write: all others follow them.
fn decided(program: &Program, rows: &[Option<LoopId>]) -> HashMap<BufferId, usize> {
    let of = |(kernel, row): (&Kernel, &Option<LoopId>)| {
        let (Form::Contract { lhs, rhs, store, .. }, Some(row)) = (&kernel.form, row) else { return vec![] };
        if !program.buffer(rhs.buffer).is_in_blocks() {
            return vec![];
        }
        let read = if is_fours(program, lhs) { lhs.index.len().checked_sub(1) } else { axis_of(lhs, *row) };
        let written = axis_of(&store.to, *row);
        [(lhs, read), (&store.to, written)]
            .into_iter()
            .filter_map(|(a, axis)| Some((a.buffer, axis?)))
            .collect()
    };
    program.kernels().iter().zip(rows).flat_map(of).collect()
}

/// Whether a copy leads from what a contraction with weights in blocks reads or writes, whose last axis is lanes, to what has
/// another axis last.
fn turns_back(decided: &HashMap<BufferId, usize>, from: &Access, to: &Access) -> bool {
    let last = |access: &Access| access.index.last()?.affine()?.as_loop();
    let lanes = decided.get(&from.buffer).is_some_and(|axis| axis + 1 == from.index.len());
    lanes && last(from).is_some() && last(to).is_some() && last(from) != last(to)
}

/// Whether what a contraction with weights in blocks reads has four bytes of depth together: its last axis.
fn is_fours(program: &Program, lhs: &Access) -> bool {
    program.buffer(lhs.buffer).ty.dtype == DType::U8
}

/// What contractions with weights in blocks of bytes read.
fn fours(program: &Program) -> BTreeSet<BufferId> {
    let of = |kernel: &Kernel| match &kernel.form {
        Form::Contract { lhs, rhs, .. } => {
            (program.buffer(rhs.buffer).is_in_blocks() && is_fours(program, lhs)).then_some(lhs.buffer)
        }
        _ => None,
    };
    program.kernels().iter().filter_map(of).collect()
}

/// The reduced loop that both operands of a contraction are to be contiguous in, where its result will be contiguous in a loop of
/// lhs: dot products, whose results may lie anyhow.
fn dots(kernel: &Kernel, decided: &HashMap<BufferId, usize>) -> Option<LoopId> {
    let Form::Contract { lhs, rhs, store, .. } = &kernel.form else { return None };
    let lanes = store.to.index.get(*decided.get(&store.to.buffer)?)?.affine()?.as_loop()?;
    let in_both = |l: &LoopId| axis_of(lhs, *l).is_some() && axis_of(rhs, *l).is_some();
    let depth = kernel.loops_of(Role::Reduce).into_iter().filter(in_both);
    let turned = lhs.uses(lanes) && !rhs.uses(lanes);
    depth.max_by_key(|l| kernel.loop_(*l).extent.as_const()).filter(|_| turned)
}

/// `row`: the loop of rows that is to be lanes, of contractions where it is not columns.
fn vote(
    program: &Program,
    kernel: &Kernel,
    row: Option<LoopId>,
    (decided, fours): (&HashMap<BufferId, usize>, &BTreeSet<BufferId>),
    cast: &mut impl FnMut(BufferId, usize, i64),
) {
    let weight = kernel.iterations().typical(&program.bounds).unwrap_or(1);
    let extent = |l: LoopId| kernel.loop_(l).extent.typical(&program.bounds).unwrap_or(i64::MAX);
    let mut cast_for = |access: &Access, lanes: LoopId| {
        if let Some(axis) = axis_of(access, lanes).filter(|_| is_ours(program, access.buffer)) {
            cast(access.buffer, axis, weight);
        }
    };
    match (&kernel.form, row) {
        // Pixels lie side by side in what four channels are taken from.
        (Form::Rearrange { from, to }, _) if fours.contains(&to.buffer) => {
            let pixels = to.index.iter().nth_back(1).and_then(|i| i.affine()?.as_loop());
            let axis = pixels.and_then(|l| axis_of(from, l)).or(from.index.len().checked_sub(1));
            if let Some(axis) = axis.filter(|_| is_ours(program, from.buffer)) {
                cast(from.buffer, axis, weight);
            }
            cast(to.buffer, to.index.len() - 1, weight);
        }
        // Behind a product whose rows were turned for it they are rows again.
        (Form::Rearrange { from, to }, _) if turns_back(decided, from, to) => {
            let own = Some(to.buffer).filter(|buffer| is_ours(program, *buffer));
            own.into_iter().for_each(|buffer| cast(buffer, to.index.len() - 1, weight));
        }
        (Form::Contract { lhs, store, .. }, Some(row)) => {
            if !fours.contains(&lhs.buffer) {
                cast_for(lhs, row);
            }
            cast_for(&store.to, row);
            store.value.for_each_access(&mut |a| cast_for(a, row));
        }
        (Form::Contract { lhs, rhs, .. }, None) if let Some(depth) = dots(kernel, decided) => {
            cast_for(lhs, depth);
            cast_for(rhs, depth);
        }
        (Form::Contract { lhs, rhs, store, .. }, None) => {
            let columns =
                kernel.loops_of(Role::Parallel).into_iter().filter(|l| rhs.uses(*l) && !lhs.uses(*l));
            if let Some(col) = columns.filter(|l| axis_of(&store.to, *l).is_some()).max_by_key(|l| extent(*l))
            {
                cast_for(&store.to, col);
                store.value.for_each_access(&mut |a| cast_for(a, col));
                // Constant weights are packed whatever their layout.
                if program.buffer(rhs.buffer).kind == BufferKind::Temp {
                    cast_for(rhs, col);
                }
            }
            // An axis of lhs that only reduced loops run along is contiguous for every row.
            let plain = |l: &LoopId| {
                axis_of(lhs, *l).is_some_and(|axis| {
                    let index = lhs.index[axis].affine();
                    index.is_some_and(|a| {
                        a.offset.is(0)
                            && a.terms.iter().all(|(t, _)| {
                                t == l || kernel.loop_(*t).role == Role::Parallel && rhs.uses(*t)
                            })
                    })
                })
            };
            if let Some(depth) =
                kernel.loops_of(Role::Reduce).into_iter().filter(plain).max_by_key(|l| extent(*l))
            {
                cast_for(lhs, depth);
            }
        }
        // Vectors of tiles: whatever runs through source and result in single steps.
        (Form::Transform { from: input, store, .. }, _) => {
            let through = |l: &LoopId| axis_of(input, *l).is_some() && axis_of(&store.to, *l).is_some();
            if let Some(channel) =
                kernel.loops_of(Role::Parallel).into_iter().filter(through).max_by_key(|l| extent(*l))
            {
                cast_for(input, channel);
                cast_for(&store.to, channel);
                store.value.for_each_access(&mut |a| cast_for(a, channel));
            }
        }
        (Form::Window { input, weight, store, .. }, _) => {
            let through = |l: &LoopId| {
                let here = input.index.iter().any(|i| i.affine().and_then(|a| a.as_loop()) == Some(*l));
                here && axis_of(&store.to, *l).is_some()
            };
            if let Some(channel) =
                kernel.loops_of(Role::Parallel).into_iter().filter(through).max_by_key(|l| extent(*l))
            {
                cast_for(input, channel);
                cast_for(&store.to, channel);
                weight.iter().for_each(|a| cast_for(a, channel));
                store.value.for_each_access(&mut |a| cast_for(a, channel));
            }
        }
        _ => {}
    }
}
