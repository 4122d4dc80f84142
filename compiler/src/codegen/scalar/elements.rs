//! Elements of accesses: their addresses, guards, and indices that are read at run time.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value};
use kiln_ir::kernel::plan::{FlatAccess, Gather};
use kiln_ir::{DType, Error, Result};
use kiln_runtime::abi::frame as words;
use kiln_runtime::status::Status;

use super::{Emitter, Size, clif_type, element, of_frame};

impl<'k> Emitter<'_, '_, 'k> {
    /// The value of a line, with what registers add.
    pub(super) fn now(&mut self, line: usize) -> Value {
        let mut now = self.lines[line].now;
        for l in 0..self.registers.len() {
            let Some(register) = self.registers[l] else { continue };
            let coefficient = self.lines[line].coefficients[l];
            if matches!(coefficient, Size::Const(0)) {
                continue;
            }
            let value = self.v.b.use_var(register);
            let part = match coefficient {
                Size::Const(n) => self.times(value, n),
                Size::Open(n) => self.v.b.ins().imul(value, n),
            };
            now = self.v.b.ins().iadd(now, part);
        }
        now
    }

    fn lines_of(&self, access: &FlatAccess) -> Result<(usize, Vec<usize>)> {
        let found = self.accesses.get(&std::ptr::from_ref(access)).cloned();
        found.ok_or_else(|| Error::internal(format!("access to '{}' is not prepared", access.name)))
    }

    /// The element's address, inside the guards. Where an index read at run time is outside its axis, the code goes to
    /// `missing` instead.
    pub(super) fn address(&mut self, access: &'k FlatAccess, missing: Option<Block>) -> Result<Value> {
        let line = self.lines_of(access)?.0;
        let mut address = self.now(line);
        for gather in &access.gathers {
            let index = self.load(&gather.index)?;
            let index = self.v.cast(gather.index.dtype, DType::I64, index)?;
            if gather.known {
                address = self.moved(address, index, gather, access.dtype)?;
                continue;
            }
            let missing =
                missing.ok_or_else(|| Error::internal("an index without a place to go when it is bad"))?;
            let zero = self.v.constants.int(self.v.b, I64, 0);
            let end = self.integer(&gather.extent)?;
            let negative = self.v.b.ins().icmp(IntCC::SignedLessThan, index, zero);
            let wrapped = self.v.b.ins().iadd(index, end);
            let index = self.v.select(negative, wrapped, index);
            // Negative indices are large unsigned ones.
            let inside = self.v.b.ins().icmp(IntCC::UnsignedLessThan, index, end);
            let next = self.v.b.create_block();
            self.v.b.ins().brif(inside, next, &[], missing, &[]);
            self.v.b.switch_to_block(next);
            address = self.moved(address, index, gather, access.dtype)?;
        }
        Ok(address)
    }

    /// An address by an index further along the gathered axis.
    fn moved(&mut self, address: Value, index: Value, gather: &Gather, dtype: DType) -> Result<Value> {
        let part = match self.bytes(&gather.stride, dtype.size() as i64)? {
            Size::Const(stride) => self.times(index, stride),
            Size::Open(stride) => self.v.b.ins().imul(index, stride),
        };
        Ok(self.v.b.ins().iadd(address, part))
    }

    /// A block for indices that are outside their axes, where there can be any.
    pub(super) fn missing(&mut self, access: &FlatAccess) -> Option<Block> {
        access.gathers.iter().any(|g| !g.known).then(|| {
            let block = self.v.b.create_block();
            self.v.b.set_cold_block(block);
            block
        })
    }

    /// What happens there: the run's status tells, and the code goes on with `instead`.
    pub(super) fn report(&mut self, missing: Block, after: Block, instead: &[BlockArg]) {
        self.v.b.switch_to_block(missing);
        let status = self.v.b.ins().iconst(I64, i64::from(Status::IndexOutOfRange as i32));
        self.v.b.ins().store(of_frame(), status, self.frame, words::STATUS);
        self.v.b.ins().jump(after, instead);
        self.v.b.switch_to_block(after);
    }

    /// An element; 0 where an index is outside its axis.
    pub(super) fn load(&mut self, access: &'k FlatAccess) -> Result<Value> {
        let ty = clif_type(access.dtype)?;
        let flags = element();
        let guards = self.lines_of(access)?.1;
        let missing = self.missing(access);
        if guards.is_empty() && missing.is_none() {
            let address = self.address(access, None)?;
            return Ok(self.v.b.ins().load(ty, flags, address, 0));
        }
        let after = self.v.b.create_block();
        let result = self.v.b.append_block_param(after, ty);
        if let Some(inside) = self.inside(access, guards)? {
            let outside =
                access.otherwise.ok_or_else(|| Error::internal("a guard without a padding value"))?;
            let outside = self.v.constant(outside)?;
            let read = self.v.b.create_block();
            self.v.b.ins().brif(inside, read, &[], after, &[outside.into()]);
            self.v.b.switch_to_block(read);
        }
        let address = self.address(access, missing)?;
        let value = self.v.b.ins().load(ty, flags, address, 0);
        self.v.b.ins().jump(after, &[value.into()]);
        match missing {
            Some(missing) => {
                let zero = self.v.constants.bits(self.v.b, ty, 0);
                self.report(missing, after, &[zero.into()]);
            }
            None => self.v.b.switch_to_block(after),
        }
        Ok(result)
    }

    /// Whether all guards hold; `None` without any.
    fn inside(&mut self, access: &FlatAccess, guards: Vec<usize>) -> Result<Option<Value>> {
        let mut inside = None;
        for (line, guard) in guards.into_iter().zip(&access.guards) {
            // Negative indices are large unsigned ones.
            let end = self.integer(&guard.extent)?;
            let now = self.now(line);
            let holds = self.v.b.ins().icmp(IntCC::UnsignedLessThan, now, end);
            inside = Some(match inside {
                None => holds,
                Some(all) => self.v.b.ins().band(all, holds),
            });
        }
        Ok(inside)
    }
}
