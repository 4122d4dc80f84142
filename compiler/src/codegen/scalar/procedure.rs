//! Procedures: statements in order.
//!
//! Registers are variables; what an access or a guard takes from them is added where it is used. A register that would leave its
//! range ends the iteration of the parallel loops, and the run's status tells.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8X16, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value};
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::procedure::{Procedure, Statement};
use kiln_ir::kernel::{Expr, LoopId, Store};
use kiln_ir::{DType, Error, Result};

use super::{Emitter, Size};

/// Bytes of a vector, and of those that a pass of a copy moves.
const VECTOR: i64 = 16;
const PASS: i64 = 4 * VECTOR;

impl<'k> Emitter<'_, '_, 'k> {
    /// The statements of a procedure, for one iteration of the parallel loops.
    pub(super) fn procedure(&mut self, p: &'k Procedure<FlatAccess>) -> Result<()> {
        p.check()?;
        let zero = self.v.constants.int(self.v.b, I64, 0);
        for l in p.registers() {
            self.registers[l.0 as usize] = Some(self.variable(DType::I64, zero)?);
        }
        let end = self.v.b.create_block();
        self.statements(p, &p.body, end)?;
        self.v.b.ins().jump(end, &[]);
        self.v.b.switch_to_block(end);
        Ok(())
    }

    fn statements(&mut self, p: &'k Procedure<FlatAccess>, body: &'k [Statement], end: Block) -> Result<()> {
        body.iter().try_for_each(|s| self.statement(p, s, end))
    }

    fn statement(&mut self, p: &'k Procedure<FlatAccess>, s: &'k Statement, end: Block) -> Result<()> {
        match s {
            Statement::For(l, body) => {
                if let [Statement::Store(n)] = &body[..]
                    && let Some((from, to)) = self.copied(&p.stores[*n], *l)
                {
                    return self.copy(from, to, *l);
                }
                self.loops(&[*l], &mut |e| e.statements(p, body, end))
            }
            Statement::While(term, body) => {
                let [head, inside, after] = [(); 3].map(|()| self.v.b.create_block());
                self.v.b.ins().jump(head, &[]);
                self.v.b.switch_to_block(head);
                let holds = self.expr(&p.terms[*term], None)?.1;
                self.v.b.ins().brif(holds, inside, &[], after, &[]);
                self.v.b.switch_to_block(inside);
                self.statements(p, body, end)?;
                self.v.b.ins().jump(head, &[]);
                self.v.b.switch_to_block(after);
                Ok(())
            }
            Statement::If(term, then, otherwise) => {
                let [yes, no, after] = [(); 3].map(|()| self.v.b.create_block());
                let holds = self.expr(&p.terms[*term], None)?.1;
                self.v.b.ins().brif(holds, yes, &[], no, &[]);
                for (block, body) in [(yes, then), (no, otherwise)] {
                    self.v.b.switch_to_block(block);
                    self.statements(p, body, end)?;
                    self.v.b.ins().jump(after, &[]);
                }
                self.v.b.switch_to_block(after);
                Ok(())
            }
            Statement::Set(l, term) => {
                let value = self.expr(&p.terms[*term], None)?.1;
                let extent = self.extent(*l);
                // Negative values are large unsigned ones.
                let inside = self.v.b.ins().icmp(IntCC::UnsignedLessThan, value, extent);
                let [next, outside] = [(); 2].map(|()| self.v.b.create_block());
                self.v.b.set_cold_block(outside);
                self.v.b.ins().brif(inside, next, &[], outside, &[]);
                self.report(outside, end, &[]);
                self.v.b.switch_to_block(next);
                let register = self.registers[l.0 as usize];
                let register = register.ok_or_else(|| Error::internal("a register that is not there"))?;
                self.v.b.def_var(register, value);
                Ok(())
            }
            Statement::Store(n) => self.store(&p.stores[*n], None),
        }
    }

    fn extent(&mut self, l: LoopId) -> Value {
        match self.extents[l.0 as usize] {
            Size::Const(n) => self.v.constants.int(self.v.b, I64, n),
            Size::Open(n) => n,
        }
    }

    /// What a store copies from one place to another, where both lie in a line along a loop.
    fn copied(&self, store: &'k Store<FlatAccess>, l: LoopId) -> Option<(&'k FlatAccess, &'k FlatAccess)> {
        let Expr::Load(from) = &store.value else { return None };
        let dense = |a: &FlatAccess| {
            a.strides[l.0 as usize].is(1)
                && a.guards.is_empty()
                && a.gathers.is_empty()
                && a.dtype.size() > 0
                && VECTOR % a.dtype.size() as i64 == 0
        };
        (dense(from) && dense(&store.to)).then_some((from, &store.to))
    }

    /// Copies as many elements as the loop has iterations: vectors, then single elements.
    fn copy(&mut self, from: &'k FlatAccess, to: &'k FlatAccess, l: LoopId) -> Result<()> {
        let (read, write) = (self.address(from, None)?, self.address(to, None)?);
        let bytes = match self.extents[l.0 as usize] {
            Size::Const(n) => self.v.constants.int(self.v.b, I64, n * to.dtype.size() as i64),
            Size::Open(n) => self.v.b.ins().imul_imm_s(n, to.dtype.size() as i64),
        };
        let zero = self.v.constants.int(self.v.b, I64, 0);
        let done = self.copy_by(read, write, zero, bytes, PASS, to.dtype)?;
        self.copy_by(read, write, done, bytes, to.dtype.size() as i64, to.dtype)?;
        Ok(())
    }

    /// Copies whole steps between two offsets; gives where it ends.
    fn copy_by(
        &mut self,
        read: Value,
        write: Value,
        begin: Value,
        end: Value,
        step: i64,
        dtype: DType,
    ) -> Result<Value> {
        let flags = MemFlagsData::new().with_notrap();
        let ty = super::clif_type(dtype)?;
        let (parts, ty, size) = if step == PASS { (PASS / VECTOR, I8X16, VECTOR) } else { (1, ty, step) };
        let [head, inside, after] = [(); 3].map(|()| self.v.b.create_block());
        let at = self.v.b.append_block_param(head, I64);
        self.v.b.ins().jump(head, &[begin.into()]);
        self.v.b.switch_to_block(head);
        let next = self.v.b.ins().iadd_imm_s(at, step);
        let fits = self.v.b.ins().icmp(IntCC::SignedLessThanOrEqual, next, end);
        self.v.b.ins().brif(fits, inside, &[], after, &[]);
        self.v.b.switch_to_block(inside);
        let (source, target) = (self.v.b.ins().iadd(read, at), self.v.b.ins().iadd(write, at));
        for i in 0..parts {
            let v = self.v.b.ins().load(ty, flags, source, (i * size) as i32);
            self.v.b.ins().store(flags, v, target, (i * size) as i32);
        }
        self.v.b.ins().jump(head, &[next.into()]);
        self.v.b.switch_to_block(after);
        Ok(at)
    }
}
