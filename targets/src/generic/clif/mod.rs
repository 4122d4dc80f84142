//! The vector builder on Cranelift: vectors of 128 bits, on every machine that Cranelift knows.
//!
//! Code is meant for `opt_level = none`, where Cranelift keeps the order of instructions and hoists nothing; so
//! constants are placed in the entry block here. No operation ends in a library call: without SSE4.1 rounding
//! is done by adding and subtracting 2^23, without FMA a product is rounded before it is added.

mod elements;
mod lanes;
mod ops;
mod strided;

use std::collections::HashMap;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::immediates::V128Imm;
use cranelift_codegen::ir::types::{F32, F32X4, I8X16, I32X4, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, Constant, Endianness, Function, InstBuilder, MemFlagsData, Type, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use crate::simd::{Op1, P, Program, R, Simd, Src, V};
use crate::target::Target;

/// Lanes of Cranelift's vectors.
pub const LANES: usize = 4;

/// Adding and subtracting it rounds magnitudes below 2^22 to integers.
const ROUNDING_MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23

/// A [`Simd`] over a function under construction.
pub struct Clif<'a, 'f> {
    b: &'a mut FunctionBuilder<'f>,
    entry: Block,
    args: [Value; 3],
    fma: bool,
    /// `floor` and its kin are instructions.
    rounds: bool,
    /// Bytes are shuffled by an instruction.
    shuffles_bytes: bool,
    /// See [`Target::extremes_choose`]; patterns for these exist.
    extremes_choose: bool,
    /// `cmpps` reads a memory operand that need not be aligned; see [`Clif::compared`].
    compares_unaligned: bool,
    constants: HashMap<[u32; LANES], Value>,
    /// Variables given back, by type, for reuse: keeps Cranelift's tables small.
    free_vectors: Vec<Variable>,
    free_pointers: Vec<Variable>,
}

/// Whether the builder takes a program: it is built, and not compiled.
pub fn check(target: &Target, program: &impl Program) -> R {
    let (mut function, mut scratch) = (Function::new(), FunctionBuilderContext::new());
    function.signature.params.extend([AbiParam::new(I64); 3]);
    let mut b = FunctionBuilder::new(&mut function, &mut scratch);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let args = [0, 1, 2].map(|i| b.block_params(entry)[i]);
    program.emit(&mut Clif::new(&mut b, entry, args, target))
}

impl<'a, 'f> Clif<'a, 'f> {
    /// Builds at the current position of `b`; `entry` is the function's entry block and `args` are the kernel's
    /// arguments: frame, begin, end.
    pub fn new(b: &'a mut FunctionBuilder<'f>, entry: Block, args: [Value; 3], target: &Target) -> Self {
        Self {
            b,
            entry,
            args,
            fma: target.fma,
            rounds: target.rounds,
            shuffles_bytes: target.shuffles_bytes,
            extremes_choose: target.extremes_choose,
            compares_unaligned: target.compares_unaligned,
            constants: HashMap::new(),
            free_vectors: Vec::new(),
            free_pointers: Vec::new(),
        }
    }

    fn get(&mut self, v: &V) -> Value {
        self.b.use_var(Variable::from_u32(v.0))
    }

    fn set(&mut self, v: &V, value: Value) {
        self.b.def_var(Variable::from_u32(v.0), value);
    }

    fn vector(&mut self, value: Value) -> V {
        let var = self.free_vectors.pop().unwrap_or_else(|| self.b.declare_var(F32X4));
        self.b.def_var(var, value);
        V(var.as_u32())
    }

    fn pointer(&mut self, value: Value) -> P {
        let var = self.free_pointers.pop().unwrap_or_else(|| self.b.declare_var(I64));
        self.b.def_var(var, value);
        P(var.as_u32())
    }

    fn address(&mut self, p: &P) -> Value {
        self.b.use_var(Variable::from_u32(p.0))
    }

    /// A vector constant, made once in the entry block.
    fn constant(&mut self, lanes: [u32; LANES]) -> Value {
        if let Some(value) = self.constants.get(&lanes) {
            return *value;
        }
        let mut bytes = [0; 16];
        for (chunk, lane) in bytes.chunks_exact_mut(4).zip(lanes) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        let handle: Constant = self.b.func.dfg.constants.insert(V128Imm(bytes).0.as_slice().into());
        let here = self.b.current_block();
        let value = if here == Some(self.entry) {
            self.b.ins().vconst(F32X4, handle)
        } else {
            let mut cursor = FuncCursor::new(self.b.func);
            match cursor.func.layout.last_inst(self.entry) {
                Some(terminator) => cursor.goto_inst(terminator),
                None => cursor.goto_bottom(self.entry),
            }
            cursor.ins().vconst(F32X4, handle)
        };
        self.constants.insert(lanes, value);
        value
    }

    fn splat_bits(&mut self, bits: u32) -> Value {
        self.constant([bits; LANES])
    }

    fn splat_f32(&mut self, value: f32) -> Value {
        self.splat_bits(value.to_bits())
    }

    /// The operand as a value; loads are placed right here so that they fold into the operation that follows.
    fn source(&mut self, s: Src<'_>) -> Value {
        match s {
            Src::Reg(v) => self.get(v),
            Src::Const(value) => self.splat_f32(value),
            Src::Bits(bits) => self.splat_bits(bits),
            Src::Wide(bits) => self.wide_bits(bits),
            Src::Mem(p, disp) => self.load_type(F32X4, p, disp),
            Src::Splat(p, disp) => {
                let element = self.load_type(F32, p, disp);
                self.b.ins().splat(F32X4, element)
            }
        }
    }

    /// The operand of a comparison. Cranelift 0.135 folds unaligned loads into SSE's `cmpps`, which faults,
    /// those into registers too when this is their only use; it does not see a load behind a bitcast.
    fn compared(&mut self, s: Src<'_>) -> Value {
        let value = self.source(s);
        if self.compares_unaligned {
            return value;
        }
        let bits = self.cast(I32X4, value);
        self.cast(F32X4, bits)
    }

    fn load_type(&mut self, ty: Type, p: &P, disp: i32) -> Value {
        let p = self.address(p);
        self.b.ins().load(ty, memory(), p, disp)
    }

    fn store_value(&mut self, value: Value, p: &P, disp: i32) {
        let p = self.address(p);
        self.b.ins().store(memory(), value, p, disp);
    }

    fn cast(&mut self, ty: Type, value: Value) -> Value {
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), value)
    }

    /// Bytes `4 * lane ..` of `a` (lanes 0 to 3) and `b` (lanes 4 to 7).
    fn shuffle(&mut self, a: Value, b: Value, lanes: [u8; LANES]) -> Value {
        let bytes = lanes.iter().flat_map(|lane| (0..4).map(move |byte| 4 * lane + byte));
        self.shuffle_bytes(a, b, bytes.collect())
    }

    fn shuffle_bytes(&mut self, a: Value, b: Value, mask: Vec<u8>) -> Value {
        let mask = self.b.func.dfg.immediates.push(mask.into());
        let same = a == b;
        let a = self.cast(I8X16, a);
        // AArch64's multiply by element is recognised by equal operands.
        let b = if same { a } else { self.cast(I8X16, b) };
        let shuffled = self.b.ins().shuffle(a, b, mask);
        self.cast(F32X4, shuffled)
    }

    fn compare(&mut self, cc: FloatCC, a: Value, b: Value) -> Value {
        let mask = self.b.ins().fcmp(cc, a, b);
        self.cast(F32X4, mask)
    }

    /// `if mask { a } else { b }`.
    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        self.b.ins().bitselect(mask, a, b)
    }

    /// `a * b + c`; never a library call.
    fn multiply_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            return self.b.ins().fma(a, b, c);
        }
        let product = self.b.ins().fmul(a, b);
        self.b.ins().fadd(c, product)
    }

    /// Minimum or maximum in the form that is one instruction; a NaN in `d` stays.
    fn extreme(&mut self, max: bool, d: Value, s: Value) -> Value {
        if !self.extremes_choose {
            return if max { self.b.ins().fmax(d, s) } else { self.b.ins().fmin(d, s) };
        }
        // `vminps s, d` is `s < d ? s : d`, `vmaxps s, d` is `d < s ? s : d`.
        let (a, b) = if max { (d, s) } else { (s, d) };
        let less = self.compare(FloatCC::LessThan, a, b);
        self.select(less, s, d)
    }

    /// NaN if either is NaN.
    fn extreme_nan(&mut self, max: bool, d: Value, s: Value) -> Value {
        let plain = self.extreme(max, d, s);
        if !self.extremes_choose {
            return plain;
        }
        let unordered = self.compare(FloatCC::Unordered, s, s);
        self.select(unordered, s, plain)
    }

    /// `floor`, `ceil` or `round` without an instruction for it.
    fn round_by_magic(&mut self, op: Op1, x: Value) -> Value {
        let sign_bit = self.splat_bits(0x8000_0000);
        let sign = self.b.ins().band(x, sign_bit);
        let two23 = self.splat_f32(8_388_608.0);
        let magic = self.b.ins().bor(two23, sign);
        let shifted = self.b.ins().fadd(x, magic);
        let mut rounded = self.b.ins().fsub(shifted, magic);
        let one = self.splat_f32(1.0);
        match op {
            Op1::Floor => {
                let above = self.compare(FloatCC::LessThan, x, rounded);
                let step = self.b.ins().band(above, one);
                rounded = self.b.ins().fsub(rounded, step);
            }
            Op1::Ceil => {
                let below = self.compare(FloatCC::LessThan, rounded, x);
                let step = self.b.ins().band(below, one);
                rounded = self.b.ins().fadd(rounded, step);
            }
            _ => {}
        }
        let rounded = self.b.ins().bor(rounded, sign); // -0.3 rounds to -0
        let magnitude = self.b.ins().band_not(x, sign_bit);
        let small = self.compare(FloatCC::LessThan, magnitude, two23); // false for NaN: kept
        self.select(small, rounded, x)
    }

    /// Goes on in a block that nothing more will jump to.
    fn enter(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
    }

    /// `count` trips over a body; `count` is at least 1 at entry.
    fn trips(&mut self, count: Value, body: &mut dyn FnMut(&mut Self) -> R) -> R<()> {
        let counter = self.pointer(count);
        let (head, exit) = (self.b.create_block(), self.b.create_block());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        body(self)?;
        let count = self.address(&counter);
        let count = self.b.ins().iadd_imm_s(count, -1);
        self.b.def_var(Variable::from_u32(counter.0), count);
        self.b.ins().brif(count, head, &[], exit, &[]);
        self.b.seal_block(head);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        self.free_ptr(counter);
        Ok(())
    }
}

/// Not `trusted()`: that claims alignment, and SSE would fold the load into an instruction that faults.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
