//! Procedures: statements in order.
//!
//! Registers are variables; what an access or a guard takes from them is added where it is used. A register that would leave its
//! range ends the iteration of the parallel loops, and the run's status tells.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::procedure::{Procedure, Statement};
use kiln_ir::{DType, Error, Result};

use super::{Emitter, Size};

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
                let stored =
                    |s: &Statement| if let Statement::Store(n) = s { Some(&p.stores[*n]) } else { None };
                if let Some(stores) = body.iter().map(stored).collect::<Option<Vec<_>>>()
                    && self.in_vectors(&stores, *l)?
                {
                    return Ok(());
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
}
