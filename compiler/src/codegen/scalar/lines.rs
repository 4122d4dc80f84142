//! Statements of a procedure along a line, in vectors of 128 bits: copies, fills, and sums of lines.
//!
//! A loop of nothing but stores is made of vectors where every store steps through its line, every load steps through one or stands
//! still, and no iteration reads or writes what another one writes. Vectors go first, four and then one at a time, and single
//! elements are what is left.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, LoopId, Store};
use kiln_ir::{DType, Error, Result};

use super::{Emitter, Size, clif_type, element};

/// Bytes of a vector.
const VECTOR: i64 = 16;
/// Vectors of a pass.
const MOST: i64 = 4;

/// Stores of a loop, and where their lines begin.
struct Lines<'k, 's> {
    stores: &'s [&'k Store<FlatAccess>],
    /// By access.
    begins: Vec<(&'k FlatAccess, Value)>,
    l: usize,
    /// Bytes of an element.
    size: i64,
}

/// How many elements are handled at once.
#[derive(Clone, Copy)]
struct Pass {
    vectors: i64,
    /// Of a vector; 1 for single elements.
    lanes: i64,
}

/// Whether vectors compute this.
fn computes(op: BinaryOp, dtype: DType) -> bool {
    let float = matches!(dtype, DType::F32 | DType::F64);
    let whole = matches!(dtype, DType::I32 | DType::U32 | DType::I64 | DType::U64);
    match op {
        BinaryOp::Add | BinaryOp::Sub => float || whole,
        BinaryOp::Mul => float,
        _ => false,
    }
}

/// The type of a value that vectors can have.
fn vector_type(e: &Expr<FlatAccess>) -> Option<DType> {
    match e {
        Expr::Const(scalar) => Some(scalar.dtype),
        Expr::Load(access) => Some(access.dtype),
        Expr::Binary(op, a, b) => {
            let dtype = vector_type(a)?;
            (vector_type(b) == Some(dtype) && computes(*op, dtype)).then_some(dtype)
        }
        _ => None,
    }
}

/// Whether an iteration along `l` meets what another one writes.
fn meet(write: &FlatAccess, other: &FlatAccess, l: usize, extent: Option<i64>) -> bool {
    if write.storage != other.storage {
        return false;
    }
    let apart = write.offset.as_const().zip(other.offset.as_const()).map(|(a, b)| (a - b).abs());
    let far = |n: i64| n == 0 || extent.is_some_and(|extent| n >= extent);
    write.strides != other.strides || !write.strides[l].is(1) || !apart.is_some_and(far)
}

impl<'k> Emitter<'_, '_, 'k> {
    /// Emits the loop in vectors, if it can be; whether it was.
    pub(super) fn in_vectors(&mut self, stores: &[&'k Store<FlatAccess>], l: LoopId) -> Result<bool> {
        let l = l.0 as usize;
        let mut loads: Vec<&'k FlatAccess> = Vec::new();
        stores.iter().for_each(|s| s.value.for_each_access(&mut |a| loads.push(a)));
        let written: Vec<&'k FlatAccess> = stores.iter().map(|s| &s.to).collect();
        let all = || loads.iter().chain(&written).copied();
        let Some(size) = written.first().map(|a| a.dtype.size() as i64).filter(|n| [1, 2, 4, 8].contains(n))
        else {
            return Ok(false);
        };
        let extent = match self.extents[l] {
            Size::Const(n) => Some(n),
            Size::Open(_) => None,
        };
        let plain = |a: &FlatAccess| {
            a.guards.is_empty()
                && a.gathers.is_empty()
                && a.dtype.size() as i64 == size
                && (a.strides[l].is(1) || a.strides[l].is(0))
        };
        let apart = |(i, w): (usize, &&'k FlatAccess)| {
            w.strides[l].is(1)
                && loads.iter().all(|a| !meet(w, a, l, extent))
                && written.iter().enumerate().all(|(j, a)| i == j || !meet(w, a, l, extent))
        };
        let typed = |s: &&&Store<FlatAccess>| vector_type(&s.value) == Some(s.to.dtype);
        if !self.vectors
            || !all().all(plain)
            || !written.iter().enumerate().all(apart)
            || stores.iter().filter(typed).count() != stores.len()
        {
            return Ok(false);
        }
        let mut begins: Vec<(&'k FlatAccess, Value)> = Vec::new();
        for access in loads.iter().chain(&written).copied() {
            let begin = self.address(access, None)?;
            begins.push((access, begin));
        }
        let bytes = match self.extents[l] {
            Size::Const(n) => self.v.constants.int(self.v.b, I64, n * size),
            Size::Open(n) => self.v.b.ins().imul_imm_s(n, size),
        };
        let lines = Lines { stores, begins, l, size };
        let lanes = VECTOR / size;
        let mut at = self.v.constants.int(self.v.b, I64, 0);
        for (vectors, lanes) in [(MOST, lanes), (1, lanes), (1, 1)] {
            let pass = Pass { vectors, lanes };
            // A loop that is known not to run is left out.
            if extent.is_none_or(|n| n >= vectors * lanes) {
                at = self.passes(&lines, pass, at, bytes)?;
            }
        }
        Ok(true)
    }

    /// Whole passes between two offsets; gives where they end.
    fn passes(&mut self, lines: &Lines<'k, '_>, pass: Pass, begin: Value, end: Value) -> Result<Value> {
        let [head, inside, after] = [(); 3].map(|()| self.v.b.create_block());
        let at = self.v.b.append_block_param(head, I64);
        self.v.b.ins().jump(head, &[begin.into()]);
        self.v.b.switch_to_block(head);
        let next = self.v.b.ins().iadd_imm_s(at, pass.vectors * pass.lanes * lines.size);
        let fits = self.v.b.ins().icmp(IntCC::SignedLessThanOrEqual, next, end);
        self.v.b.ins().brif(fits, inside, &[], after, &[]);
        self.v.b.switch_to_block(inside);
        for i in 0..pass.vectors {
            for store in lines.stores {
                let value = self.lanes(lines, &store.value, pass, at, i)?;
                let to = lines.begin(&store.to)?;
                let to = self.v.b.ins().iadd(to, at);
                let flags = element();
                self.v.b.ins().store(flags, value, to, (i * pass.lanes * lines.size) as i32);
            }
        }
        self.v.b.ins().jump(head, &[next.into()]);
        self.v.b.switch_to_block(after);
        Ok(at)
    }

    /// A value of the `i`th vector of a pass.
    fn lanes(
        &mut self,
        lines: &Lines<'k, '_>,
        e: &'k Expr<FlatAccess>,
        pass: Pass,
        at: Value,
        i: i64,
    ) -> Result<Value> {
        let of = |ty: Type| if pass.lanes == 1 { ty } else { ty.by(pass.lanes as u32).unwrap_or(ty) };
        let spread = |this: &mut Self, value: Value, ty: Type| match pass.lanes {
            1 => value,
            _ => this.v.b.ins().splat(of(ty), value),
        };
        let flags = element();
        match e {
            Expr::Const(scalar) => {
                let value = self.v.constant(*scalar)?;
                Ok(spread(self, value, clif_type(scalar.dtype)?))
            }
            Expr::Load(access) => {
                let (begin, ty) = (lines.begin(access)?, clif_type(access.dtype)?);
                if access.strides[lines.l].is(0) {
                    let value = self.v.b.ins().load(ty, flags, begin, 0);
                    return Ok(spread(self, value, ty));
                }
                let from = self.v.b.ins().iadd(begin, at);
                Ok(self.v.b.ins().load(of(ty), flags, from, (i * pass.lanes * lines.size) as i32))
            }
            Expr::Binary(op, a, b) => {
                let (x, y) = (self.lanes(lines, a, pass, at, i)?, self.lanes(lines, b, pass, at, i)?);
                let float = self.v.b.func.dfg.value_type(x).lane_type().is_float();
                let ins = self.v.b.ins();
                Ok(match (op, float) {
                    (BinaryOp::Add, true) => ins.fadd(x, y),
                    (BinaryOp::Add, false) => ins.iadd(x, y),
                    (BinaryOp::Sub, true) => ins.fsub(x, y),
                    (BinaryOp::Sub, false) => ins.isub(x, y),
                    (BinaryOp::Mul, true) => ins.fmul(x, y),
                    _ => return Err(Error::internal(format!("{op:?} along a line"))),
                })
            }
            _ => Err(Error::internal("a value that lines do not have")),
        }
    }
}

impl<'k> Lines<'k, '_> {
    fn begin(&self, access: &'k FlatAccess) -> Result<Value> {
        let found = self.begins.iter().find(|(a, _)| std::ptr::eq(*a, access));
        found.map(|(_, begin)| *begin).ok_or_else(|| Error::internal("a line without a beginning"))
    }
}
