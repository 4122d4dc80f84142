//! Constants of a function, each made once in its entry block: nothing is hoisted for us.

use std::collections::HashMap;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::types::{F32, F64};
use cranelift_codegen::ir::{Block, InstBuilder, Type, Value};
use cranelift_frontend::FunctionBuilder;

/// The constants made so far.
pub(super) struct Constants {
    entry: Block,
    made: HashMap<(Type, u64), Value>,
}

impl Constants {
    /// For a function whose entry block is `entry`.
    pub(super) fn new(entry: Block) -> Self {
        Self { entry, made: HashMap::new() }
    }

    /// An f64.
    pub(super) fn f64(&mut self, b: &mut FunctionBuilder<'_>, value: f64) -> Value {
        self.bits(b, F64, value.to_bits())
    }

    /// An integer of a type of at most 64 bits.
    pub(super) fn int(&mut self, b: &mut FunctionBuilder<'_>, ty: Type, value: i64) -> Value {
        self.bits(b, ty, value as u64)
    }

    /// The constant with these bits.
    pub(super) fn bits(&mut self, b: &mut FunctionBuilder<'_>, ty: Type, bits: u64) -> Value {
        let bits = bits & (u64::MAX >> (64 - ty.bits()));
        if let Some(value) = self.made.get(&(ty, bits)) {
            return *value;
        }
        let value = if b.current_block() == Some(self.entry) {
            make(b.ins(), ty, bits)
        } else {
            let mut cursor = FuncCursor::new(b.func);
            match cursor.func.layout.last_inst(self.entry) {
                Some(terminator) => cursor.goto_inst(terminator),
                None => cursor.goto_bottom(self.entry),
            }
            make(cursor.ins(), ty, bits)
        };
        self.made.insert((ty, bits), value);
        value
    }
}

fn make<'f>(ins: impl InstBuilder<'f>, ty: Type, bits: u64) -> Value {
    match ty {
        F32 => ins.f32const(f32::from_bits(bits as u32)),
        F64 => ins.f64const(f64::from_bits(bits)),
        _ => ins.iconst(ty, bits as i64),
    }
}
