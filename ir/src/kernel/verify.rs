//! Checks the invariants of a program.
//!
//! Checked:
//! - names of buffers are unique; inputs and outputs are buffers of those kinds;
//! - formats are of constants;
//! - places have one stride per axis and a root that is its own; elements of a view lie inside the root's storage;
//! - loops and buffers that a kernel names exist, accesses have the rank of their buffer, affine terms are sorted
//!   without zeros or repetitions;
//! - what is read has been written by an earlier kernel (or through a view of its root) that has run whenever the reader
//!   does, or is an input or constant;
//! - the kernels of a region are neighbours; conditions are bools and counts i64 of one element, counters are written by
//!   their loop alone, and what a loop carries is written in it and before it;
//! - a size that is counted has bounds and an i64 of its own that one kernel writes, and kernels that ask for it, or touch
//!   buffers of a shape that follows from it, stand behind that;
//! - a kernel reads no buffer that it writes, writes no input or constant, and stores have no padding
//!   value except those of transforms;
//! - stores use parallel loops only, and distinct iterations write distinct elements, where indices are affine with
//!   constant coefficients and extents;
//! - affine indices stay inside their axis, or have a value for outside, for constants; for bounded symbols too; a
//!   load of a placed buffer may enter the padding that its root's storage has around it;
//! - gathered indices are i32, i64 or bytes; padding values have the buffer's type;
//! - expressions are typed, operations defined for their types, and stores have their buffer's type;
//! - a transform's matrices fit its four loops, it reads no loop of its result, and it is f32 throughout;
//! - `acc` occurs in epilogues of reducing forms only; maps and rearranges have no reduced loop; an arg-reduction has
//!   exactly one.
//!
//! Not checked: that every element of a result is written, values of gathered indices, duplicate targets of
//! scattering stores, helpers' names.

mod counted;
mod regions;

use std::collections::BTreeSet;

use super::access::{Access, Affine, BufferId, Index, LoopId, range_of};
use super::expr::Expr;
use super::form::{Form, Kernel, ReduceOp, Role, Side, WindowOp};
use super::function::BinaryOp;
use super::procedure::{Procedure, Statement};
use super::program::{BufferKind, Program};
use super::regions::{RegionId, path};
use super::store::Store;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::eval::scalar;
use crate::types::DType;
use regions::{Written, broken, is_written};

/// Checks everything in the list above; the first broken rule is an *internal* error that names the kernel or buffer
/// and shows its text.
pub fn verify(program: &Program) -> Result<()> {
    buffers(program)?;
    counted::cells(program)?;
    let mut written = Written::default();
    let mut entered: Vec<RegionId> = Vec::new();
    for (i, kernel) in program.kernels().iter().enumerate() {
        let region = program.region_of(i);
        let before = i.checked_sub(1).map_or(Vec::new(), |i| path(program.regions(), program.region_of(i)));
        for id in path(program.regions(), region) {
            if before.contains(&id) {
                continue;
            }
            if entered.contains(&id) {
                return Err(Error::internal(format!("kernel verifier: region {} is in parts", id.0)));
            }
            entered.push(id);
            regions::enter(program, id, &mut written)?;
        }
        let checker = Checker { program, kernel, region };
        let known = || counted::known(program, kernel, region, &written);
        checker.kernel(&written).and_then(|()| known()).map_err(|e| {
            let text = program.kernel_text(kernel);
            Error::internal(format!("kernel verifier: {} in\n{text}", e.message))
                .at(&kernel.name, kernel.form.name())
        })?;
        for id in kernel.form.written() {
            written.add(id, region);
            written.add(program.root(id), region);
        }
    }
    regions::carried(program, &written)?;
    for &id in &program.outputs {
        if matches!(program.buffer(id).kind, BufferKind::Output) && !is_written(program, &written, id, None) {
            return Err(broken(program, id, "is an output that no kernel writes"));
        }
    }
    Ok(())
}

fn buffers(program: &Program) -> Result<()> {
    let mut names = BTreeSet::new();
    for id in program.buffer_ids() {
        let b = program.buffer(id);
        if !names.insert(&b.name) {
            return Err(broken(program, id, "has the name of another buffer"));
        }
        if b.format.is_some() && !matches!(b.kind, BufferKind::Const(_) | BufferKind::Released) {
            return Err(broken(program, id, "has the format of a constant"));
        }
        let Some(place) = &b.place else { continue };
        if place.strides.len() != b.ty.shape.rank() {
            return Err(broken(program, id, "has a place of another rank"));
        }
        let Some(root) = program.buffers().get(place.root.0 as usize) else {
            return Err(broken(program, id, "has a place in a buffer that does not exist"));
        };
        let Some(storage) = &root.place else {
            return Err(broken(program, id, "has a place in a buffer without one"));
        };
        if storage.root != place.root {
            return Err(broken(program, id, "has a place in a buffer that is a view itself"));
        }
        let terms = b.ty.shape.iter().zip(&place.strides).map(|(e, s)| (s.as_const(), e.as_const()));
        let span = range_of(place.offset.as_const(), terms);
        if let (Some((lo, hi)), Some(extent)) = (span, storage.extent.as_const())
            && (lo < 0 || hi >= extent)
            && !b.ty.shape.iter().any(|e| e.is(0))
        {
            return Err(broken(
                program,
                id,
                &format!("reaches elements {lo}..={hi} of a storage of {extent}"),
            ));
        }
    }
    for (ids, word) in [(&program.inputs, "input"), (&program.outputs, "output")] {
        for &id in ids {
            let kind = program.buffers().get(id.0 as usize).map(|b| &b.kind);
            let kind = kind
                .ok_or_else(|| Error::internal(format!("kernel verifier: {word} {} does not exist", id.0)))?;
            let fits = match word {
                "input" => *kind == BufferKind::Input,
                _ => *kind != BufferKind::Temp,
            };
            if !fits {
                return Err(broken(program, id, &format!("is listed as an {word} and is of another kind")));
            }
        }
    }
    Ok(())
}

struct Checker<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    region: Option<RegionId>,
}

type Check = Result<(), Error>;

fn rule<T>(message: String) -> Result<T> {
    Err(Error::internal(message))
}

impl Checker<'_> {
    fn kernel(&self, written: &Written) -> Check {
        let form = &self.kernel.form;
        for access in form.loads().into_iter().chain(form.stores()) {
            self.access(access)?;
        }
        let own = form.written();
        for &id in &own {
            let b = self.buffer(id)?;
            if matches!(b.kind, BufferKind::Input | BufferKind::Const(_) | BufferKind::Released) {
                return rule(format!("writes '{}', which is read only", b.name));
            }
        }
        let mut reads = Vec::new();
        form.each_buffer(&mut |b, write| reads.extend((!write).then_some(b)));
        for id in reads {
            let name = &self.buffer(id)?.name;
            if own.contains(&id) {
                return rule(format!("reads '{name}', which it writes"));
            }
            if !is_written(self.program, written, id, self.region) {
                return rule(format!("reads '{name}', which nothing has written"));
            }
        }
        self.form()
    }

    fn form(&self) -> Check {
        let reduced = self.kernel.loops_of(Role::Reduce).len();
        let ty = |a: &Access| self.program.buffer(a.buffer).ty.dtype;
        match &self.kernel.form {
            form if form.is_pointwise() && reduced > 0 => {
                return rule(format!("a {} has a reduced loop", form.name()));
            }
            Form::Map { .. } => {}
            Form::Procedure(p) => self.procedure(p)?,
            Form::Rearrange { from, to } => {
                self.target(to)?;
                if ty(from) != ty(to) {
                    return rule(format!("copies {} to {}", ty(from), ty(to)));
                }
            }
            Form::Reduce { op, value, .. } => {
                self.expr(value, None)?;
                let index = matches!(op, ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. });
                if index && reduced != 1 {
                    return rule(format!("an arg-reduction has {reduced} reduced loops"));
                }
            }
            Form::Contract { acc, lhs, rhs, .. } => {
                for operand in [lhs, rhs] {
                    scalar::cast(ty(operand), *acc)?;
                }
            }
            Form::Window { op, input, weight, .. } => match weight {
                Some(w) if !factors(op.accumulator(ty(input)), ty(w)) => {
                    return rule(format!("weights are {}, input {}", ty(w), ty(input)));
                }
                Some(_) if *op != WindowOp::Dot => {
                    return rule("has weights and does not use them".to_owned());
                }
                None if *op == WindowOp::Dot => return rule("has no weights".to_owned()),
                _ => {}
            },
            Form::Transform { left, right, from, .. } => {
                if reduced != 2 || left.over == right.over || left.to == right.to {
                    return rule("a transform has two axes of its own".to_owned());
                }
                let Some(acc) = Side::accumulator(ty(from)) else {
                    return rule(format!("transforms {}", ty(from)));
                };
                for side in [left, right] {
                    self.side(side, from)?;
                    if acc.is_int()
                        && side.rows()?.concat().iter().any(|c| c.fract() != 0.0 || c.abs() > 128.0)
                    {
                        return rule(
                            "transforms integers by a matrix of other numbers than small whole ones"
                                .to_owned(),
                        );
                    }
                }
            }
        }
        let acc = self.kernel.form.acc_type(&mut |a| ty(a))?;
        self.kernel.form.parts().stores.iter().try_for_each(|s| self.store(s, acc))
    }

    /// Statements name counters of the kernel, conditions are of type bool and registers of type i64.
    fn procedure(&self, p: &Procedure) -> Check {
        p.check()?;
        for s in p.statements() {
            let typed = match s {
                Statement::For(l, _) => {
                    self.counter(*l)?;
                    None
                }
                Statement::Set(l, term) => {
                    self.counter(*l)?;
                    Some((*term, DType::I64))
                }
                Statement::While(term, _) | Statement::If(term, ..) => Some((*term, DType::Bool)),
                Statement::Store(_) => None,
            };
            if let Some((term, wanted)) = typed {
                let found = self.expr(&p.terms[term], None)?;
                if found != wanted {
                    return rule(format!("term {term} of a procedure is {found}, {wanted} wanted"));
                }
            }
        }
        Ok(())
    }

    fn counter(&self, l: LoopId) -> Check {
        self.loop_exists(l)?;
        if self.kernel.loop_(l).role == Role::Parallel {
            return rule(format!("loop #{} of a procedure runs by itself", l.0));
        }
        Ok(())
    }

    fn side(&self, side: &Side, from: &Access) -> Check {
        for (l, role) in [(side.to, Role::Parallel), (side.over, Role::Reduce)] {
            self.loop_exists(l)?;
            if self.kernel.loop_(l).role != role {
                return rule(format!("loop #{} of a transform has the wrong role", l.0));
            }
        }
        if from.uses(side.to) {
            return rule("a transform reads along the loop of its result".to_owned());
        }
        let extents = [side.to, side.over].map(|l| self.extent(l));
        let shape: Vec<Option<i64>> = side.matrix.shape.iter().map(|n| Some(*n as i64)).collect();
        if side.matrix.dtype != DType::F32 || shape != extents {
            return rule(format!("a matrix of type {} does not fit its loops", side.matrix.ty()));
        }
        Ok(())
    }

    fn buffer(&self, id: BufferId) -> Result<&super::program::Buffer> {
        let buffer = self.program.buffers().get(id.0 as usize);
        buffer.ok_or_else(|| Error::internal(format!("buffer {} does not exist", id.0)))
    }

    fn loop_exists(&self, l: LoopId) -> Check {
        if usize::from(l.0) < self.kernel.loops.len() {
            Ok(())
        } else {
            rule(format!("loop #{} does not exist", l.0))
        }
    }

    fn access(&self, access: &Access) -> Check {
        let b = self.buffer(access.buffer)?;
        if access.index.len() != b.ty.shape.rank() {
            let (n, rank) = (access.index.len(), b.ty.shape.rank());
            return rule(format!("'{}' of rank {rank} has {n} indices", b.name));
        }
        if let Some(otherwise) = access.otherwise
            && otherwise.dtype != b.ty.dtype
        {
            return rule(format!(
                "'{}' of {} has a padding value of {}",
                b.name, b.ty.dtype, otherwise.dtype
            ));
        }
        let mut outside = false;
        for (axis, index) in access.index.iter().enumerate() {
            match index {
                Index::Gathered(inner) => {
                    self.access(inner)?;
                    let dtype = self.buffer(inner.buffer)?.ty.dtype;
                    if !matches!(dtype, DType::I32 | DType::I64 | DType::U8 | DType::I8) {
                        return rule(format!("'{}' is indexed by {dtype}", b.name));
                    }
                }
                Index::Affine(affine) => {
                    for pair in affine.terms.windows(2) {
                        if pair[0].0 >= pair[1].0 {
                            return rule(format!("terms of axis {axis} of '{}' are not sorted", b.name));
                        }
                    }
                    for (l, coefficient) in &affine.terms {
                        self.loop_exists(*l)?;
                        if coefficient.is(0) {
                            return rule(format!("axis {axis} of '{}' has a zero coefficient", b.name));
                        }
                    }
                    let inside = self.range_of(affine).zip(b.ty.shape[axis].as_const());
                    if let Some(((lo, hi), extent)) = inside {
                        outside |= lo < 0 || hi >= extent;
                    }
                }
            }
        }
        let empty = self.kernel.loops.iter().any(|l| l.extent.is(0));
        if outside && access.otherwise.is_none() && !empty && !self.in_halo(access) {
            return rule(format!("an index leaves '{}' of shape {}", b.name, b.ty.shape));
        }
        Ok(())
    }

    /// Whether an access stays in the storage that its buffer has been placed in: padding is read and written there.
    fn in_halo(&self, access: &Access) -> bool {
        let Some(place) = &self.program.buffer(access.buffer).place else { return false };
        let root = self.program.buffer(place.root).place.as_ref();
        let Some(extent) = root.map(|p| p.extent.clone()) else { return false };
        // Both ends as expressions, so that what is open cancels.
        let (mut lo, mut hi) = (place.offset.clone(), place.offset.clone());
        for (index, stride) in access.index.iter().zip(&place.strides) {
            let Some(affine) = index.affine() else { return false };
            let start = affine.offset.clone() * stride.clone();
            (lo, hi) = (lo + start.clone(), hi + start);
            for (l, coefficient) in &affine.terms {
                let step = coefficient.clone() * stride.clone();
                let last = self.kernel.loops.get(usize::from(l.0)).map(|l| l.extent.clone() - Dim::Const(1));
                let Some((range, last)) = step.range(&self.program.bounds).zip(last) else { return false };
                let span = last * step;
                match range {
                    (0.., _) => hi = hi + span,
                    (_, ..=0) => lo = lo + span,
                    _ => return false,
                }
            }
        }
        let least = |d: Dim| d.range(&self.program.bounds).map(|(least, _)| least);
        least(lo.clone()).is_some_and(|n| n >= 0) && least(extent - hi).is_some_and(|n| n > 0)
    }

    /// Values of an index over all iterations, where they are constants.
    fn range_of(&self, affine: &Affine) -> Option<(i64, i64)> {
        affine.range(|l| self.extent(l))
    }

    fn extent(&self, l: LoopId) -> Option<i64> {
        self.kernel.loops.get(usize::from(l.0)).and_then(|l| l.extent.as_const())
    }

    fn store(&self, store: &Store, acc: Option<DType>) -> Check {
        self.target(&store.to)?;
        let (b, dtype) = (self.buffer(store.to.buffer)?, self.expr(&store.value, acc)?);
        if dtype != b.ty.dtype {
            return rule(format!("stores {dtype} to '{}' of {}", b.name, b.ty.dtype));
        }
        Ok(())
    }

    fn target(&self, to: &Access) -> Check {
        let name = &self.buffer(to.buffer)?.name;
        if to.otherwise.is_some() && !matches!(self.kernel.form, Form::Transform { .. }) {
            return rule(format!("the store to '{name}' has a padding value"));
        }
        let affine: Option<Vec<&Affine>> = to.index.iter().map(Index::affine).collect();
        if matches!(self.kernel.form, Form::Procedure(_)) {
            // Statements write what they like within their own part of the result.
            let own = |l: &LoopId| affine.iter().flatten().any(|a| a.as_loop() == Some(*l));
            let apart = |l: &LoopId| self.kernel.loop_(*l).extent.is(1) || own(l);
            return match self.kernel.loops_of(Role::Parallel).into_iter().find(|l| !apart(l)) {
                Some(l) => rule(format!(
                    "iterations of '{}' write the same elements of '{name}'",
                    self.kernel.loop_(l).name
                )),
                None => Ok(()),
            };
        }
        for l in self.kernel.loops_of(Role::Reduce) {
            if to.uses(l) {
                return rule(format!(
                    "the store to '{name}' uses the reduced loop '{}'",
                    self.kernel.loop_(l).name
                ));
            }
        }
        let Some(affine) = affine else { return Ok(()) };
        let mut loops = Vec::new();
        for l in self.kernel.loops_of(Role::Parallel) {
            match self.extent(l) {
                Some(0) => return Ok(()),
                Some(1) => {}
                Some(extent) => loops.push((l, extent)),
                None if self.determined(l, &affine) => {}
                None => return Ok(()),
            }
        }
        if self.repeats(&affine, loops) {
            return rule(format!("distinct iterations write one element of '{name}'"));
        }
        Ok(())
    }

    /// Whether an axis is this loop alone, so that its counter follows from the element.
    fn determined(&self, l: LoopId, affine: &[&Affine]) -> bool {
        affine.iter().any(|a| a.terms.len() == 1 && a.terms[0].0 == l)
    }

    /// Whether two iterations give the same indices, as far as that is decided: an axis determines the counters of its
    /// loops when each coefficient exceeds what the smaller ones together can reach; what is left over repeats when a
    /// loop occurs nowhere.
    fn repeats(&self, affine: &[&Affine], mut loops: Vec<(LoopId, i64)>) -> bool {
        loop {
            let before = loops.len();
            for axis in affine {
                let terms: Option<Vec<(i64, LoopId, i64)>> = axis
                    .terms
                    .iter()
                    .filter_map(|(l, c)| {
                        loops.iter().find(|o| o.0 == *l).map(|o| Some((c.as_const()?.abs(), *l, o.1)))
                    })
                    .collect();
                let Some(mut terms) = terms else { continue };
                terms.sort();
                let mut reach = 0i64;
                let mut unique = true;
                for (coefficient, _, extent) in &terms {
                    unique &= *coefficient > reach;
                    reach = reach.saturating_add(coefficient.saturating_mul(extent - 1));
                }
                if unique {
                    loops.retain(|(l, _)| !terms.iter().any(|t| t.1 == *l));
                }
            }
            if loops.len() == before {
                break;
            }
        }
        loops.iter().any(|(l, _)| affine.iter().all(|a| a.coefficient(*l) == Dim::Const(0)))
    }

    /// The type of an expression all of whose operations are defined.
    fn expr(&self, e: &Expr, acc: Option<DType>) -> Result<DType> {
        match e {
            Expr::Loop(l) => self.loop_exists(*l)?,
            Expr::Size(size) if size.as_const().is_some() => {
                return rule(format!("the size {size}, which is a constant"));
            }
            Expr::Unary(op, a) => {
                scalar::unary(*op, self.expr(a, acc)?)?;
            }
            Expr::Binary(op, a, b) => {
                let (x, y) = (self.expr(a, acc)?, self.expr(b, acc)?);
                if x != y {
                    return rule(format!("{op:?} of {x} and {y}"));
                }
                scalar::binary(*op, x)?;
            }
            Expr::MulAdd(a, b, c) => {
                for operand in [a, b, c] {
                    let ty = self.expr(operand, acc)?;
                    if ty != DType::F32 {
                        return rule(format!("a multiply-add of {ty}"));
                    }
                }
            }
            Expr::Select(c, a, b) => {
                scalar::binary(BinaryOp::And, self.expr(c, acc)?)?;
                let (x, y) = (self.expr(a, acc)?, self.expr(b, acc)?);
                if x != y {
                    return rule(format!("select of {x} and {y}"));
                }
            }
            Expr::Cast(to, a) => {
                scalar::cast(self.expr(a, acc)?, *to)?;
            }
            Expr::Bits(to, a) => {
                let from = self.expr(a, acc)?;
                if from.size() != to.size() {
                    return rule(format!("the bits of {from} as {to}"));
                }
            }
            Expr::Acc | Expr::Const(_) | Expr::Load(_) | Expr::Size(_) => {}
        }
        e.dtype(self.program, acc)
    }
}

/// The buffer of an access, then those of its indices.
/// Whether weights of a type are factors of a window's sums of another: the same but for their bits.
fn factors(acc: DType, weight: DType) -> bool {
    weight.accumulator() == acc || acc == DType::I32 && weight.is_int() && weight.size() < 4
}

#[cfg(test)]
mod tests {
    use super::verify;
    use crate::kernel::parse;

    fn check(kernels: &str) -> String {
        let text = format!(
            "program @m {{
               input %x: f32[4, 6] input %i: i64[4] input %h: f32[4]
               const @w: f32[6, 3] = splat 0.5
               temp %t: f32[4, 6]
               output %y: f32[4, 3]
               {kernels}
             }}"
        );
        verify(&parse(&text).unwrap()).err().map_or("ok".to_owned(), |e| e.to_string())
    }

    const MATMUL: &str =
        "contract \"c\" [m: 4, n: 3 | k: 6] { acc: f32 = %x[m, k] * @w[k, n] %y[m, n] = max(acc, 0.0:f32) }";

    #[test]
    fn sound_programs_pass() {
        assert_eq!(check(MATMUL), "ok");
        let padded = "rearrange \"r\" [a: 4, b: 6] { %t[a, b] = %x[a, b - 1] else 0.0:f32 }";
        assert_eq!(check(&format!("{padded}{MATMUL}")), "ok");
        // Two loops in one axis: 3 * a + b with b below 3 is one element each.
        let split = "rearrange \"r\" [a: 2, b: 3, c: 4] { %t[c, 3*a + b] = %x[(%i[c]), 5 - b] }";
        assert_eq!(check(&format!("{split}{MATMUL}")), "ok");
    }

    #[test]
    fn each_rule_has_its_message() {
        let map = |body: &str| check(&format!("map \"k\" [a: 4, b: 6] {{ {body} }} {MATMUL}"));
        for (body, message) in [
            ("%t[a, b] = %x[a, b + 1]", "an index leaves 'x'"),
            ("%t[a] = %x[a, b]", "'t' of rank 2 has 1 indices"),
            ("%x[a, b] = %x[a, b]", "writes 'x', which is read only"),
            ("%t[a, b] = %y[a, 0]", "reads 'y', which nothing has written"),
            ("%t[a, b] = %t[a, b]", "reads 't', which it writes"),
            ("%t[a, 0] = %x[a, b]", "distinct iterations write one element of 't'"),
            ("%t[a, b] = i64(%x[a, b])", "stores i64 to 't' of f32"),
            ("%t[a, b] = %x[a, b] + 1.0:f64", "Add of f32 and f64"),
            ("%t[a, b] = not(%x[a, b])", "Not of f32"),
            ("%t[a, b] = acc", "`acc` outside a reducing form"),
            ("%t[a, b] = %x[a, b - 1] else 0:i32", "a padding value of i32"),
            ("%t[a, b] else 0.0:f32 = %x[a, b]", "has a padding value"),
            ("%t[a, b] = %x[(%h[a]), b]", "'x' is indexed by f32"),
        ] {
            let found = map(body);
            assert!(found.contains(message), "{body}\n{found}");
            assert!(found.contains("node 'k' (map): kernel verifier: "), "{found}");
        }
        assert!(check("").contains("'y' (f32[4, 3]) is an output that no kernel writes"));
        let reduced = "contract \"c\" [m: 4 | k: 3] { acc: f32 = %x[m, k] * @w[k, k] %y[m, k] = acc }";
        assert!(check(reduced).contains("uses the reduced loop 'k'"));
        let arg = "reduce \"r\" [m: 4 | k: 3, j: 2] { acc = argmax(%x[m, k]) %y[m, 0] = f32(acc) }";
        assert!(check(arg).contains("an arg-reduction has 2 reduced loops"));
    }
}
