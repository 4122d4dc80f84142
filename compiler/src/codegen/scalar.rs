//! [`Schedule::Scalar`](kiln_ir::kernel::plan::Schedule::Scalar): plain loops over single elements, any type.
//!
//! Every access and guard is a line, an affine function of the loops; a loop's body begins by adding the loop's part
//! to each line that it takes part in, so that the innermost body finds its addresses ready.

mod elements;
mod lines;
mod procedure;

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::{FunctionBuilder, Variable};
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Shared, Storage};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, ReduceOp, Role, Scalar, Store, WindowOp};
use kiln_ir::{DType, Dim, Error, Result};
use kiln_runtime::abi::frame as words;
use kiln_targets::Target;

use super::constants::Constants;
use super::places::{Places, place};
use super::value::{Values, clif_type};

/// An integer of the plan: known, or read from the kernel's row of sizes.
#[derive(Clone, Copy)]
enum Size {
    Const(i64),
    Open(Value),
}

/// `start + sum(coefficients * loops)`.
struct Line {
    coefficients: Vec<Size>,
    /// The value at the current place in the code.
    now: Value,
}

/// The generator.
struct Emitter<'a, 'f, 'k> {
    v: Values<'a, 'f>,
    kernel: &'k PlannedKernel,
    extents: Vec<Size>,
    /// The kernel's row of sizes, each with its value.
    sizes: Vec<(Dim, Value)>,
    lines: Vec<Line>,
    /// Address lines by access, and guard lines of each.
    accesses: HashMap<*const FlatAccess, (usize, Vec<usize>)>,
    counters: Vec<Option<Value>>,
    /// Of loops that statements set.
    registers: Vec<Option<Variable>>,
    /// `NAME_run`'s words: arena, weights, inputs, outputs; and the pointers in the latter two.
    frame: Value,
    /// Of kernels that share a function: their places, and where these stand.
    places: Option<(&'k Places, Value)>,
    bases: HashMap<Storage, Value>,
    shared: Option<(LoopId, Value, Value)>,
    /// Whether statements along lines may be vectors: text has single elements only.
    vectors: bool,
}

/// How elements lie in memory: their low byte comes first on every machine.
fn element() -> MemFlagsData {
    of_frame().with_endianness(Endianness::Little)
}

/// How words of the frame do, of the lists that it names and of sizes: as the machine has them.
fn of_frame() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Emits the loops of a kernel at the current position; `args` are frame, begin, end.
pub(super) fn emit(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    order: &[LoopId],
    b: &mut FunctionBuilder<'_>,
    args: [Value; 3],
    target: &Target,
) -> Result<()> {
    let entry = b.current_block().ok_or_else(|| Error::internal("no block to emit to"))?;
    let mut sorted: Vec<_> = order.iter().map(|l| l.0 as usize).collect();
    sorted.sort_unstable();
    if sorted != (0..kernel.loops.len()).collect::<Vec<_>>() {
        return Err(Error::internal("a schedule names every loop once"));
    }
    let role = |l: &LoopId| kernel.loops[l.0 as usize].role;
    let parallel = order.iter().take_while(|l| role(l) == Role::Parallel).count();
    let (parallel, reduced) = order.split_at(parallel);
    if reduced.iter().any(|l| role(l) == Role::Parallel) {
        return Err(Error::internal("a parallel loop inside a reduced one"));
    }
    let shared = match kernel.shared {
        Some(Shared { along, step: 1 }) if order.first() == Some(&along) => Some((along, args[1], args[2])),
        Some(_) => return Err(Error::internal("plain loops share whole iterations of the outermost one")),
        None => None,
    };
    let flags = of_frame();
    let places = places.map(|places| (places, b.ins().load(I64, flags, args[0], words::PLACES)));
    let row = kernel.sizes();
    let mut sizes = Vec::with_capacity(row.len());
    if !row.is_empty() {
        let table = b.ins().load(I64, flags, args[0], words::SIZES);
        for (i, size) in row.into_iter().enumerate() {
            sizes.push((size, b.ins().load(I64, flags, table, words::WORD * i as i32)));
        }
    }
    let mut e = Emitter {
        v: Values { b, constants: Constants::new(entry), rounds: target.rounds },
        kernel,
        counters: vec![None; kernel.loops.len()],
        registers: vec![None; kernel.loops.len()],
        extents: vec![],
        sizes,
        lines: vec![],
        accesses: HashMap::new(),
        frame: args[0],
        places,
        bases: HashMap::new(),
        shared,
        vectors: !target.text,
    };
    e.extents = kernel.loops.iter().map(|l| e.size(&l.extent)).collect::<Result<_>>()?;
    for access in kernel.form.loads().into_iter().chain(kernel.form.stores()) {
        e.register(access)?;
    }
    e.loops(parallel, &mut |e| e.body(reduced))
}

impl<'k> Emitter<'_, '_, 'k> {
    /// Prepares an access and those that its offsets are read from.
    fn register(&mut self, access: &'k FlatAccess) -> Result<()> {
        let size = access.dtype.size() as i64;
        if size == 0 {
            return Err(Error::internal(format!("elements of type {} in machine code", access.dtype)));
        }
        // An open offset is added to the place of the first element.
        let (fixed, offset) = match self.size(&access.offset)? {
            Size::Const(_) => (None, None),
            Size::Open(offset) => {
                (Some(FlatAccess { offset: Dim::Const(0), ..access.clone() }), Some(offset))
            }
        };
        let (memory, mut start) = place(fixed.as_ref().unwrap_or(access))
            .ok_or_else(|| Error::internal(format!("'{}' has no place", access.name)))?;
        let mut base = self.base(memory);
        if let Some(offset) = offset {
            let offset = self.v.b.ins().imul_imm_s(offset, size);
            base = self.v.b.ins().iadd(base, offset);
        }
        if let Some((places, row)) = self.places
            && let Some(word) = places.word((memory, start))
        {
            let from = self.v.b.ins().load(I64, of_frame(), row, words::WORD * word as i32);
            base = self.v.b.ins().iadd(base, from);
            start = 0;
        }
        let now = self.v.b.ins().iadd_imm_s(base, start);
        let coefficients = access.strides.iter().map(|dim| self.bytes(dim, size)).collect::<Result<_>>()?;
        self.lines.push(Line { coefficients, now });
        let address = self.lines.len() - 1;
        let mut guards = Vec::new();
        for guard in &access.guards {
            let now = self.integer(&guard.offset)?;
            let coefficients = guard.coefficients.iter().map(|dim| self.size(dim)).collect::<Result<_>>()?;
            guards.push(self.lines.len());
            self.lines.push(Line { coefficients, now });
        }
        self.accesses.insert(std::ptr::from_ref(access), (address, guards));
        access.gathers.iter().try_for_each(|g| self.register(&g.index))
    }

    fn size(&self, dim: &Dim) -> Result<Size> {
        if let Some(value) = dim.as_const() {
            return Ok(Size::Const(value));
        }
        let found = self.sizes.iter().find(|(size, _)| size == dim);
        found
            .map(|(_, value)| Size::Open(*value))
            .ok_or_else(|| Error::internal(format!("the size {dim} is in no table")))
    }

    /// A number of elements of `size` bytes, in bytes.
    fn bytes(&mut self, dim: &Dim, size: i64) -> Result<Size> {
        Ok(match self.size(dim)? {
            Size::Const(n) => Size::Const(n * size),
            Size::Open(n) => Size::Open(self.v.b.ins().imul_imm_s(n, size)),
        })
    }

    /// An integer as a value.
    fn integer(&mut self, dim: &Dim) -> Result<Value> {
        Ok(match self.size(dim)? {
            Size::Const(n) => self.v.constants.int(self.v.b, I64, n),
            Size::Open(n) => n,
        })
    }

    fn base(&mut self, memory: Storage) -> Value {
        if let Some(base) = self.bases.get(&memory) {
            return *base;
        }
        let word = |e: &mut Self, pointer: Value, at: i32| e.v.b.ins().load(I64, of_frame(), pointer, at);
        let base = match memory {
            Storage::Arena { .. } => word(self, self.frame, words::ARENA),
            Storage::Weights { .. } => word(self, self.frame, words::WEIGHTS),
            Storage::Input(i) => {
                let list = word(self, self.frame, words::INPUTS);
                word(self, list, words::WORD * i as i32)
            }
            Storage::Output(i) => {
                let list = word(self, self.frame, words::OUTPUTS);
                word(self, list, words::WORD * i as i32)
            }
        };
        self.bases.insert(memory, base);
        base
    }

    /// Nested loops around `body`.
    fn loops(&mut self, order: &[LoopId], body: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let Some((l, rest)) = order.split_first() else { return body(self) };
        let index = l.0 as usize;
        let (head, after) = (self.v.b.create_block(), self.v.b.create_block());
        let end = match self.shared {
            Some((shared, begin, end)) if shared == *l => {
                let some = self.v.b.ins().icmp(IntCC::SignedLessThan, begin, end);
                self.v.b.ins().brif(some, head, &[begin.into()], after, &[]);
                end
            }
            _ => {
                let begin = self.v.constants.int(self.v.b, I64, 0);
                match self.extents[index] {
                    Size::Const(n) => {
                        // Before the block ends.
                        let end = self.v.constants.int(self.v.b, I64, n);
                        if n > 0 {
                            self.v.b.ins().jump(head, &[begin.into()]);
                        } else {
                            // Nothing runs, but what follows is still emitted: an empty reduction has a value.
                            self.v.b.ins().brif(begin, head, &[begin.into()], after, &[]);
                        }
                        end
                    }
                    Size::Open(n) => {
                        let some = self.v.b.ins().icmp(IntCC::SignedLessThan, begin, n);
                        self.v.b.ins().brif(some, head, &[begin.into()], after, &[]);
                        n
                    }
                }
            }
        };
        let counter = self.v.b.append_block_param(head, I64);
        self.v.b.switch_to_block(head);
        let saved: Vec<Value> = self.lines.iter().map(|line| line.now).collect();
        // Lines of one coefficient share the product.
        let mut parts: Vec<(i64, Value)> = Vec::new();
        for i in 0..self.lines.len() {
            let part = match self.lines[i].coefficients[index] {
                Size::Const(0) => continue,
                Size::Const(n) => match parts.iter().find(|(own, _)| *own == n) {
                    Some((_, part)) => *part,
                    None => {
                        let part = self.times(counter, n);
                        parts.push((n, part));
                        part
                    }
                },
                Size::Open(n) => self.v.b.ins().imul(counter, n),
            };
            self.lines[i].now = self.v.b.ins().iadd(self.lines[i].now, part);
        }
        self.counters[index] = Some(counter);
        self.loops(rest, body)?;
        self.counters[index] = None;
        for (line, now) in self.lines.iter_mut().zip(saved) {
            line.now = now;
        }
        let next = self.v.b.ins().iadd_imm_s(counter, 1);
        let more = self.v.b.ins().icmp(IntCC::SignedLessThan, next, end);
        self.v.b.ins().brif(more, head, &[next.into()], after, &[]);
        self.v.b.switch_to_block(after);
        Ok(())
    }

    /// A product with a constant; a shift where it can be one, which becomes part of an address.
    fn times(&mut self, value: Value, n: i64) -> Value {
        match n {
            1 => value,
            n if n > 1 && n & (n - 1) == 0 => self.v.b.ins().ishl_imm_u(value, i64::from(n.trailing_zeros())),
            n => self.v.b.ins().imul_imm_s(value, n),
        }
    }

    /// What happens in an iteration of the parallel loops.
    fn body(&mut self, reduced: &[LoopId]) -> Result<()> {
        let kernel = self.kernel;
        match &kernel.form {
            Form::Map { stores } => stores.iter().try_for_each(|s| self.store(s, None)),
            Form::Rearrange { from, to } => {
                let value = self.load(from)?;
                self.put(to, from.dtype, value)
            }
            Form::Contract { acc, lhs, rhs, store } => self.contract(*acc, lhs, rhs, store, reduced),
            Form::Window { op: WindowOp::Dot, input, weight, store } => {
                let weight =
                    weight.as_ref().ok_or_else(|| Error::internal("a window of products needs weights"))?;
                self.contract(WindowOp::Dot.accumulator(input.dtype), input, weight, store, reduced)
            }
            Form::Window { op, input, store, .. } => {
                let acc = op.accumulator(input.dtype);
                let op = if *op == WindowOp::Max { ReduceOp::Max } else { ReduceOp::Sum };
                self.reduce(op, acc, store, reduced, &mut |e| {
                    let value = e.load(input)?;
                    e.v.cast(input.dtype, acc, value)
                })
            }
            Form::Reduce { op: op @ (ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }), value, store } => {
                self.arg(*op, value, store, reduced)
            }
            Form::Reduce { op, value, store } => {
                let dtype = value.dtype_with(&mut |a| a.dtype, None)?;
                self.reduce(*op, dtype, store, reduced, &mut |e| Ok(e.expr(value, None)?.1))
            }
            Form::Transform { .. } => Err(Error::internal("a transform of tiles in plain loops")),
            Form::Procedure(p) => self.procedure(p),
        }
    }

    fn variable(&mut self, dtype: DType, start: Value) -> Result<Variable> {
        let var = self.v.b.declare_var(clif_type(dtype)?);
        self.v.b.def_var(var, start);
        Ok(var)
    }

    fn contract(
        &mut self,
        acc: DType,
        lhs: &'k FlatAccess,
        rhs: &'k FlatAccess,
        store: &'k Store<FlatAccess>,
        reduced: &[LoopId],
    ) -> Result<()> {
        let wide = if matches!(acc, DType::F16 | DType::BF16) { DType::F32 } else { acc };
        let zero = self.v.constant(Scalar::of(wide, 0.0))?;
        let sum = self.variable(wide, zero)?;
        self.loops(reduced, &mut |e| {
            let mut factor = |access: &'k FlatAccess| {
                let value = e.load(access)?;
                let value = e.v.cast(access.dtype, acc, value)?;
                e.v.cast(acc, wide, value)
            };
            let (a, b) = (factor(lhs)?, factor(rhs)?);
            let product = e.v.binary(BinaryOp::Mul, wide, a, b)?;
            let old = e.v.b.use_var(sum);
            let new = e.v.binary(BinaryOp::Add, wide, old, product)?;
            e.v.b.def_var(sum, new);
            Ok(())
        })?;
        let value = self.v.b.use_var(sum);
        let value = self.v.cast(wide, acc, value)?;
        self.store(store, Some((acc, value)))
    }

    /// Float sums and products are carried in f64.
    fn reduce(
        &mut self,
        op: ReduceOp,
        dtype: DType,
        store: &'k Store<FlatAccess>,
        reduced: &[LoopId],
        value: &mut dyn FnMut(&mut Self) -> Result<Value>,
    ) -> Result<()> {
        let additive = matches!(op, ReduceOp::Sum | ReduceOp::Prod);
        let wide = if dtype.is_float() && additive { DType::F64 } else { dtype };
        let combine = match op {
            ReduceOp::Sum => BinaryOp::Add,
            ReduceOp::Prod => BinaryOp::Mul,
            ReduceOp::Max => BinaryOp::Max,
            _ => BinaryOp::Min,
        };
        let start = self.v.constant(identity(op, wide))?;
        let acc = self.variable(wide, start)?;
        self.loops(reduced, &mut |e| {
            let item = value(e)?;
            let item = e.v.cast(dtype, wide, item)?;
            let old = e.v.b.use_var(acc);
            let new = e.v.binary(combine, wide, old, item)?;
            e.v.b.def_var(acc, new);
            Ok(())
        })?;
        let result = self.v.b.use_var(acc);
        let result = self.v.cast(wide, dtype, result)?;
        self.store(store, Some((dtype, result)))
    }

    fn arg(
        &mut self,
        op: ReduceOp,
        value: &'k Expr<FlatAccess>,
        store: &'k Store<FlatAccess>,
        reduced: &[LoopId],
    ) -> Result<()> {
        let [counter] = reduced else {
            return Err(Error::internal("an arg-reduction has exactly one reduced loop"));
        };
        let counter = counter.0 as usize;
        let dtype = value.dtype_with(&mut |a| a.dtype, None)?;
        let start = self.v.constant(Scalar::of(dtype, 0.0))?;
        let best = self.variable(dtype, start)?;
        let zero = self.v.constants.int(self.v.b, I64, 0);
        let place = self.variable(DType::I64, zero)?;
        let (max, last) = match op {
            ReduceOp::ArgMax { last } => (true, last),
            ReduceOp::ArgMin { last } => (false, last),
            _ => return Err(Error::internal("not an arg-reduction")),
        };
        let compare = if last { BinaryOp::Le } else { BinaryOp::Lt };
        self.loops(reduced, &mut |e| {
            let item = e.expr(value, None)?.1;
            let i = e.counter(counter)?;
            let (old, old_place) = (e.v.b.use_var(best), e.v.b.use_var(place));
            let better = match max {
                true => e.v.binary(compare, dtype, old, item)?,
                false => e.v.binary(compare, dtype, item, old)?,
            };
            let first = e.v.b.ins().icmp(IntCC::Equal, i, zero);
            let better = e.v.b.ins().bor(better, first);
            let (new, new_place) = (e.v.select(better, item, old), e.v.select(better, i, old_place));
            e.v.b.def_var(best, new);
            e.v.b.def_var(place, new_place);
            Ok(())
        })?;
        let index = self.v.b.use_var(place);
        self.store(store, Some((DType::I64, index)))
    }

    fn counter(&mut self, l: usize) -> Result<Value> {
        if let Some(register) = self.registers[l] {
            return Ok(self.v.b.use_var(register));
        }
        self.counters[l].ok_or_else(|| Error::internal(format!("loop {l} is read outside itself")))
    }

    fn store(&mut self, store: &'k Store<FlatAccess>, acc: Option<(DType, Value)>) -> Result<()> {
        let (dtype, value) = self.expr(&store.value, acc)?;
        self.put(&store.to, dtype, value)
    }

    fn put(&mut self, to: &'k FlatAccess, dtype: DType, value: Value) -> Result<()> {
        if dtype != to.dtype {
            return Err(Error::internal(format!("stores {dtype} to {}", to.dtype)));
        }
        if !to.guards.is_empty() {
            return Err(Error::internal("a store has no padding value"));
        }
        let missing = self.missing(to);
        let address = self.address(to, missing)?;
        self.v.b.ins().store(element(), value, address, 0);
        if let Some(missing) = missing {
            let after = self.v.b.create_block();
            self.v.b.ins().jump(after, &[]);
            self.report(missing, after, &[]);
        }
        Ok(())
    }

    fn expr(&mut self, e: &'k Expr<FlatAccess>, acc: Option<(DType, Value)>) -> Result<(DType, Value)> {
        Ok(match e {
            Expr::Acc => acc.ok_or_else(|| Error::internal("`acc` outside a reducing form"))?,
            Expr::Const(scalar) => (scalar.dtype, self.v.constant(*scalar)?),
            Expr::Load(access) => (access.dtype, self.load(access)?),
            Expr::Loop(l) => (DType::I64, self.counter(l.0 as usize)?),
            Expr::Size(size) => (DType::I64, self.integer(size)?),
            Expr::Unary(op, a) => {
                let (dtype, a) = self.expr(a, acc)?;
                (op.result(dtype), self.v.unary(*op, dtype, a)?)
            }
            Expr::Binary(op, a, b) => {
                if let Expr::Const(n) = &**b
                    && let Some(by) = shift(*op, *n)
                {
                    let (dtype, a) = self.expr(a, acc)?;
                    let ins = self.v.b.ins();
                    return Ok((
                        dtype,
                        match op {
                            BinaryOp::Shr if dtype.is_signed_int() => ins.sshr_imm_s(a, by),
                            BinaryOp::Shr => ins.ushr_imm_u(a, by),
                            _ => ins.ishl_imm_u(a, by),
                        },
                    ));
                }
                let ((dtype, a), (other, b)) = (self.expr(a, acc)?, self.expr(b, acc)?);
                if dtype != other {
                    return Err(Error::internal(format!("{op:?} of {dtype} and {other}")));
                }
                (op.result(dtype), self.v.binary(*op, dtype, a, b)?)
            }
            Expr::MulAdd(a, b, c) => {
                let (a, b, c) = (self.expr(a, acc)?.1, self.expr(b, acc)?.1, self.expr(c, acc)?.1);
                (DType::F32, self.v.b.ins().fma(a, b, c))
            }
            Expr::Select(condition, a, b) => {
                let condition = self.expr(condition, acc)?.1;
                let ((dtype, a), (_, b)) = (self.expr(a, acc)?, self.expr(b, acc)?);
                (dtype, self.v.select(condition, a, b))
            }
            Expr::Cast(dtype, a) => {
                let (from, a) = self.expr(a, acc)?;
                (*dtype, self.v.cast(from, *dtype, a)?)
            }
            Expr::Bits(dtype, a) => {
                let (_, a) = self.expr(a, acc)?;
                (*dtype, self.v.bits(*dtype, a)?)
            }
        })
    }
}

/// By how many bits an integer is shifted where its second operand is this constant.
fn shift(op: BinaryOp, n: Scalar) -> Option<i64> {
    let value = i64::try_from(n.bits).ok().filter(|_| n.dtype.is_int() && !n.dtype.is_small())?;
    match op {
        BinaryOp::Shl | BinaryOp::Shr => (value < n.dtype.bits() as i64).then_some(value),
        // The highest bit of a type may be its sign.
        BinaryOp::Mul => (value.count_ones() == 1).then(|| i64::from(value.trailing_zeros())),
        _ => None,
    }
}

/// What a reduction starts from.
fn identity(op: ReduceOp, dtype: DType) -> Scalar {
    let float = |value| Scalar::of(dtype, value);
    let signed = dtype.is_signed_int();
    let bits = dtype.bits() as u32;
    match op {
        ReduceOp::Prod => float(1.0),
        ReduceOp::Max if dtype.is_float() => float(f64::NEG_INFINITY),
        ReduceOp::Min if dtype.is_float() => float(f64::INFINITY),
        ReduceOp::Max if signed => Scalar::int(dtype, i64::MIN >> (64 - bits)),
        ReduceOp::Min if signed => Scalar::int(dtype, i64::MAX >> (64 - bits)),
        ReduceOp::Min if dtype == DType::Bool => Scalar::int(dtype, 1),
        ReduceOp::Min => Scalar::int(dtype, -1),
        _ => float(0.0),
    }
}
