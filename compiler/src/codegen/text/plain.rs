//! Plain loops as C, from the function that Cranelift would compile.
//!
//! A value is a variable of its type, integers without a sign. What is used once, where it is computed, becomes part of the
//! expression that uses it; a block is a label where something jumps to it. Elements are what is loaded and stored in an order of
//! bytes that is told; what is not are words of the frame, 64 bits as the machine has them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{Block, BlockCall, Function, Inst, InstructionData, Opcode, Type, Value};
use kiln_ir::Result;
use kiln_targets::c::Text;

use crate::codegen::maker::internal;

/// An expression from this length on is not made part of another.
const LONGEST: usize = 200;

/// The statements of a kernel's function.
pub(super) fn text(func: &Function) -> Result<Text> {
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let mut writer = Writer {
        func,
        uses: HashMap::new(),
        inlined: HashMap::new(),
        names: HashMap::new(),
        variables: BTreeMap::new(),
        out: Vec::new(),
        targets: BTreeSet::new(),
        calls: BTreeSet::new(),
    };
    writer.count(&blocks);
    let params = func.dfg.block_params(blocks[0]);
    for (value, name) in params.iter().zip(["(uint64_t)(intptr_t)frame", "(uint64_t)begin", "(uint64_t)end"])
    {
        writer.inlined.insert(*value, name.to_owned());
    }
    let used: Vec<bool> = params.iter().map(|p| writer.uses.contains_key(p)).collect();
    for (i, block) in blocks.iter().enumerate() {
        writer.block(*block, blocks.get(i + 1).copied(), i == 0)?;
    }
    let mut body = String::new();
    for (ty, names) in &writer.variables {
        for line in names.chunks(16) {
            let _ = writeln!(body, "    {ty} {};", line.join(", "));
        }
    }
    for line in &writer.out {
        match line {
            Line::Label(block) if writer.targets.contains(block) => {
                let _ = writeln!(body, "  {}:;", label(*block));
            }
            Line::Label(_) => {}
            Line::Statement(text) => {
                let _ = writeln!(body, "    {text}");
            }
        }
    }
    for (name, _) in ["frame", "begin", "end"].into_iter().zip(used).filter(|(_, used)| !used) {
        let _ = writeln!(body, "    (void){name};");
    }
    Ok(Text { body, calls: writer.calls })
}

enum Line {
    Label(Block),
    Statement(String),
}

struct Writer<'f> {
    func: &'f Function,
    uses: HashMap<Value, usize>,
    /// Expressions that stand for values.
    inlined: HashMap<Value, String>,
    names: HashMap<Value, String>,
    variables: BTreeMap<&'static str, Vec<String>>,
    out: Vec<Line>,
    targets: BTreeSet<Block>,
    calls: BTreeSet<String>,
}

fn label(block: Block) -> String {
    format!("l{}", block.as_u32())
}

fn c_type(ty: Type) -> Result<&'static str> {
    Ok(match ty {
        I8 => "uint8_t",
        I16 => "uint16_t",
        I32 => "uint32_t",
        I64 => "uint64_t",
        F32 => "float",
        F64 => "double",
        _ => return Err(internal(&format!("values of type {ty} in plain loops"))),
    })
}

/// The helper that reads or writes numbers of a type.
fn suffix(ty: Type) -> &'static str {
    match ty {
        I8 => "u8",
        I16 => "u16",
        I32 => "u32",
        I64 => "u64",
        F32 => "f32",
        _ => "f64",
    }
}

/// An instruction, its operands, and the values that it hands to parameters of the blocks where it goes on.
type Uses = (Inst, Vec<Value>, Vec<(Value, Value)>);

impl Writer<'_> {
    fn resolve(&self, v: Value) -> Value {
        self.func.dfg.resolve_aliases(v)
    }

    fn ty(&self, v: Value) -> Type {
        self.func.dfg.value_type(v)
    }

    fn opcode(&self, inst: Inst) -> Opcode {
        self.func.dfg.insts[inst].opcode()
    }

    /// How often each value is used by what matters in the end. C compilers warn of variables that are only set.
    fn count(&mut self, blocks: &[Block]) {
        let mut uses: Vec<Uses> = Vec::new();
        for inst in blocks.iter().flat_map(|block| self.func.layout.block_insts(*block)) {
            let dfg = &self.func.dfg;
            let calls = match &dfg.insts[inst] {
                InstructionData::Jump { destination, .. } => vec![*destination],
                InstructionData::Brif { blocks, .. } => blocks.to_vec(),
                _ => Vec::new(),
            };
            let pool = &dfg.value_lists;
            let handed = calls.iter().flat_map(|call| {
                let args: Vec<Value> = call.args(pool).filter_map(|a| a.as_value()).collect();
                dfg.block_params(call.block(pool)).iter().copied().zip(args).collect::<Vec<_>>()
            });
            let handed = handed.map(|(param, arg)| (param, self.resolve(arg))).collect();
            uses.push((inst, dfg.inst_args(inst).iter().map(|v| self.resolve(*v)).collect(), handed));
        }
        let matters = |inst: Inst, live: &BTreeSet<Value>| {
            let results = self.func.dfg.inst_results(inst);
            results.is_empty() || results.iter().any(|v| live.contains(v))
        };
        let mut live: BTreeSet<Value> = BTreeSet::new();
        loop {
            let before = live.len();
            for (inst, operands, handed) in uses.iter().rev() {
                if matters(*inst, &live) {
                    live.extend(operands);
                    let needed: Vec<Value> = handed
                        .iter()
                        .filter(|(param, _)| live.contains(param))
                        .map(|(_, arg)| *arg)
                        .collect();
                    live.extend(needed);
                }
            }
            if live.len() == before {
                break;
            }
        }
        for (inst, operands, handed) in &uses {
            if matters(*inst, &live) {
                let handed = handed.iter().filter(|(param, _)| live.contains(param)).map(|(_, arg)| arg);
                operands.iter().chain(handed).for_each(|v| *self.uses.entry(*v).or_default() += 1);
            }
        }
    }

    fn call(&mut self, name: &str, arguments: &str) -> String {
        self.calls.insert(name.to_owned());
        format!("{name}({arguments})")
    }

    /// An operand.
    fn get(&mut self, v: Value) -> Result<String> {
        let v = self.resolve(v);
        if let Some(text) = self.inlined.get(&v) {
            return Ok(text.clone());
        }
        self.variable(v)
    }

    /// The variable of a value.
    fn variable(&mut self, v: Value) -> Result<String> {
        if let Some(name) = self.names.get(&v) {
            return Ok(name.clone());
        }
        let (ty, name) = (c_type(self.ty(v))?, format!("x{}", v.as_u32()));
        self.names.insert(v, name.clone());
        self.variables.entry(ty).or_default().push(name.clone());
        Ok(name)
    }

    /// An operand with a sign.
    fn signed(&mut self, v: Value) -> Result<String> {
        let bits = self.ty(v).bits();
        if let Some(n) = self.small(v) {
            return Ok(n);
        }
        Ok(format!("(int{bits}_t){}", self.get(v)?))
    }

    /// A constant that is the same number in every integer type of C.
    fn small(&self, v: Value) -> Option<String> {
        let inst = self.func.dfg.value_def(self.resolve(v)).inst()?;
        let InstructionData::UnaryImm { imm, .. } = self.func.dfg.insts[inst] else { return None };
        let n = match self.ty(v).bits() {
            8 => i64::from(imm.bits() as i8),
            16 => i64::from(imm.bits() as i16),
            32 => i64::from(imm.bits() as i32),
            _ => imm.bits(),
        };
        let literal = if n < 0 { format!("({n})") } else { n.to_string() };
        (-1_000_000_000..1_000_000_000).contains(&n).then_some(literal)
    }

    fn block(&mut self, block: Block, next: Option<Block>, entry: bool) -> Result<()> {
        self.out.push(Line::Label(block));
        if !entry {
            for &param in self.func.dfg.block_params(block) {
                if self.uses.contains_key(&param) {
                    self.variable(param)?;
                }
            }
        }
        for inst in self.func.layout.block_insts(block) {
            self.inst(block, inst, next)?;
        }
        Ok(())
    }

    /// Whether the value's only use is in this block, and one that names it once.
    fn used_once_here(&self, block: Block, v: Value) -> bool {
        let uses = |inst: &Inst| self.func.dfg.inst_values(*inst).any(|used| self.resolve(used) == v);
        self.uses.get(&v) == Some(&1)
            && self.func.layout.block_insts(block).find(uses).is_some_and(|inst| !self.repeats(inst))
    }

    /// Whether the text of an instruction has operands more than once.
    fn repeats(&self, inst: Inst) -> bool {
        match self.func.dfg.insts[inst] {
            InstructionData::FloatCompare { cond, .. } => matches!(
                cond,
                FloatCC::Ordered | FloatCC::Unordered | FloatCC::OrderedNotEqual | FloatCC::UnorderedOrEqual
            ),
            _ => matches!(self.opcode(inst), Opcode::Umin | Opcode::Umax | Opcode::Smin | Opcode::Smax),
        }
    }

    fn statement(&mut self, text: String) {
        self.out.push(Line::Statement(text));
    }

    fn inst(&mut self, block: Block, inst: Inst, next: Option<Block>) -> Result<()> {
        let data = self.func.dfg.insts[inst];
        match data {
            InstructionData::Jump { destination, .. } => {
                let text = self.jump(destination, next, true)?;
                if !text.is_empty() {
                    self.statement(text);
                }
                return Ok(());
            }
            InstructionData::Brif { arg, blocks: [yes, no], .. } => return self.branch(arg, yes, no, next),
            InstructionData::MultiAry { opcode: Opcode::Return, .. } => {
                if next.is_some() {
                    self.statement("return;".to_owned());
                }
                return Ok(());
            }
            InstructionData::Store { args: [value, address], offset, flags, .. } => {
                let to = self.address(address, offset.into())?;
                let (ty, value) = (self.ty(value), self.get(value)?);
                let call = match self.func.dfg.mem_flags[flags].explicit_endianness() {
                    Some(_) => self.call(&format!("k_put_{}", suffix(ty)), &format!("{to}, {value}")),
                    None => self.call("k_put_word", &format!("{to}, (int64_t){value}")),
                };
                self.statement(format!("{call};"));
                return Ok(());
            }
            _ => {}
        }
        let [result] = self.func.dfg.inst_results(inst) else {
            return Err(internal(&format!("{} in plain loops", self.opcode(inst))));
        };
        if !self.uses.contains_key(result) {
            return Ok(());
        }
        let value = self.expression(inst)?;
        let constant = matches!(
            data,
            InstructionData::UnaryImm { .. }
                | InstructionData::UnaryIeee32 { .. }
                | InstructionData::UnaryIeee64 { .. }
        );
        let is_load = matches!(data, InstructionData::Load { .. });
        if constant || (!is_load && value.len() < LONGEST && self.used_once_here(block, *result)) {
            self.inlined.insert(*result, value);
            return Ok(());
        }
        let name = self.variable(*result)?;
        self.statement(format!("{name} = {};", bare(&value)));
        Ok(())
    }

    fn address(&mut self, v: Value, offset: i32) -> Result<String> {
        let base = self.get(v)?;
        Ok(match offset {
            0 => format!("(intptr_t){base}"),
            n => format!("(intptr_t)({base} + {n})"),
        })
    }

    /// Values for a block's parameters, and the way there.
    fn jump(&mut self, call: BlockCall, next: Option<Block>, falls: bool) -> Result<String> {
        let pool = &self.func.dfg.value_lists;
        let block = call.block(pool);
        let args: Vec<Value> = call.args(pool).filter_map(|a| a.as_value()).collect();
        let params = self.func.dfg.block_params(block).to_vec();
        let mut pairs = Vec::new();
        for (param, arg) in params.into_iter().zip(args) {
            if !self.uses.contains_key(&param) {
                continue;
            }
            let (to, from) = (self.variable(param)?, self.get(arg)?);
            if to != from {
                pairs.push((to, from, c_type(self.ty(param))?));
            }
        }
        let mentions = |text: &str, name: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
        };
        let entangled = pairs
            .iter()
            .enumerate()
            .any(|(i, (to, ..))| pairs[i + 1..].iter().any(|(_, from, _)| mentions(from, to)));
        let mut text: Vec<String> = Vec::new();
        if entangled {
            text.push("{".to_owned());
            text.extend(
                pairs.iter().enumerate().map(|(i, (_, from, ty))| format!("{ty} t{i} = {};", bare(from))),
            );
            text.extend(pairs.iter().enumerate().map(|(i, (to, ..))| format!("{to} = t{i};")));
            text.push("}".to_owned());
        } else {
            text.extend(pairs.iter().map(|(to, from, _)| format!("{to} = {};", bare(from))));
        }
        if !(falls && next == Some(block)) {
            self.targets.insert(block);
            text.push(format!("goto {};", label(block)));
        }
        Ok(text.join(" "))
    }

    fn branch(&mut self, condition: Value, yes: BlockCall, no: BlockCall, next: Option<Block>) -> Result<()> {
        let condition = self.get(condition)?;
        let pool = &self.func.dfg.value_lists;
        let (first, second, condition) = if next == Some(yes.block(pool)) && next != Some(no.block(pool)) {
            (no, yes, format!("!{condition}"))
        } else {
            (yes, no, bare(&condition).to_owned())
        };
        let away = self.jump(first, None, false)?;
        self.statement(format!("if ({condition}) {{ {away} }}"));
        let on = self.jump(second, next, true)?;
        if !on.is_empty() {
            self.statement(on);
        }
        Ok(())
    }

    /// What an instruction gives, in parentheses where it is more than a word.
    fn expression(&mut self, inst: Inst) -> Result<String> {
        let data = self.func.dfg.insts[inst];
        let result = self.func.dfg.inst_results(inst)[0];
        let ty = self.ty(result);
        let name = c_type(ty)?;
        let args: Vec<Value> = self.func.dfg.inst_args(inst).to_vec();
        match data {
            InstructionData::UnaryImm { imm, .. } => {
                let bits = imm.bits() as u64 & (u64::MAX >> (64 - ty.bits()));
                return Ok(if ty == I64 { format!("(uint64_t){bits}u") } else { format!("{bits}u") });
            }
            InstructionData::UnaryIeee32 { imm, .. } => return Ok(self.float(f32::from_bits(imm.bits()))),
            InstructionData::UnaryIeee64 { .. } => return self.double(inst),
            InstructionData::IntCompare { cond, .. } => return self.compare(cond, args[0], args[1]),
            InstructionData::FloatCompare { cond, .. } => {
                let (x, y) = (self.get(args[0])?, self.get(args[1])?);
                return Ok(float_compare(cond, &x, &y));
            }
            InstructionData::Load { offset, flags, .. } => {
                let at = self.address(args[0], offset.into())?;
                let call = match self.func.dfg.mem_flags[flags].explicit_endianness() {
                    Some(_) => self.call(&format!("k_get_{}", suffix(ty)), &at),
                    None => self.call("k_word_u64", &at),
                };
                return Ok(if ty == I8 { format!("(uint8_t){call}") } else { call });
            }
            _ => {}
        }
        self.operation(self.opcode(inst), ty, name, &args)
    }

    fn operation(&mut self, opcode: Opcode, ty: Type, name: &str, args: &[Value]) -> Result<String> {
        let float = ty.is_float();
        let infix = |w: &mut Self, sign: &str| -> Result<String> {
            let other = match w.small(args[1]) {
                // Of 32 and more bits: shorter ones are computed with as `int`.
                Some(n) if !float && ty.bits() >= 32 && sign != "/" && sign != "%" => n,
                _ => w.get(args[1])?,
            };
            let text = format!("{} {sign} {other}", w.get(args[0])?);
            Ok(if float || ty.bits() >= 32 { format!("({text})") } else { format!("({name})({text})") })
        };
        let bits = ty.bits();
        Ok(match opcode {
            Opcode::Iadd | Opcode::Fadd => infix(self, "+")?,
            Opcode::Isub | Opcode::Fsub => infix(self, "-")?,
            Opcode::Imul if bits < 32 => {
                format!("({name})((uint32_t){} * {})", self.get(args[0])?, self.get(args[1])?)
            }
            Opcode::Imul | Opcode::Fmul => infix(self, "*")?,
            Opcode::Fdiv | Opcode::Udiv => infix(self, "/")?,
            Opcode::Urem => infix(self, "%")?,
            Opcode::Sdiv | Opcode::Srem => {
                let sign = if opcode == Opcode::Sdiv { "/" } else { "%" };
                format!("({name})({} {sign} {})", self.signed(args[0])?, self.signed(args[1])?)
            }
            Opcode::Band => infix(self, "&")?,
            Opcode::Bor => infix(self, "|")?,
            Opcode::Bxor => infix(self, "^")?,
            // Compilers take the bits of what is written as a comparison, turned, for a mistake.
            Opcode::Bnot if bits == 8 => format!("({name})({} ^ 0xffu)", self.get(args[0])?),
            Opcode::Bnot => format!("({name})~{}", self.get(args[0])?),
            Opcode::Ineg => format!("({name})(0u - {})", self.get(args[0])?),
            Opcode::Ishl | Opcode::Ushr | Opcode::Sshr => {
                let count = match self.small(args[1]) {
                    Some(n) if n.parse::<u32>().is_ok_and(|n| n < bits) => n,
                    _ => format!("({} & {}u)", self.get(args[1])?, bits - 1),
                };
                let x = if opcode == Opcode::Sshr { self.signed(args[0])? } else { self.get(args[0])? };
                let sign = if opcode == Opcode::Ishl { "<<" } else { ">>" };
                let wide = if opcode == Opcode::Ishl && bits < 32 { "(uint32_t)" } else { "" };
                format!("({name})({wide}{x} {sign} {count})")
            }
            Opcode::Umin | Opcode::Umax | Opcode::Smin | Opcode::Smax => {
                let signed = matches!(opcode, Opcode::Smin | Opcode::Smax);
                let text = |w: &mut Self, v: Value| if signed { w.signed(v) } else { w.get(v) };
                let (a, b) = (text(self, args[0])?, text(self, args[1])?);
                let (x, y) = (self.get(args[0])?, self.get(args[1])?);
                let sign = if matches!(opcode, Opcode::Umin | Opcode::Smin) { "<" } else { ">" };
                format!("({a} {sign} {b} ? {x} : {y})")
            }
            Opcode::Select => {
                let [c, x, y] = [self.get(args[0])?, self.get(args[1])?, self.get(args[2])?];
                if bits < 32 { format!("({name})({c} ? {x} : {y})") } else { format!("({c} ? {x} : {y})") }
            }
            Opcode::Uextend | Opcode::Ireduce => format!("({name}){}", self.get(args[0])?),
            Opcode::Sextend => format!("({name})(int{bits}_t){}", self.signed(args[0])?),
            Opcode::Bitcast => self.bitcast(ty, args[0])?,
            Opcode::Fpromote | Opcode::Fdemote => format!("({name}){}", self.get(args[0])?),
            Opcode::FcvtFromSint => format!("({name}){}", self.signed(args[0])?),
            Opcode::FcvtFromUint => format!("({name}){}", self.get(args[0])?),
            Opcode::FcvtToSintSat | Opcode::FcvtToUintSat if bits >= 32 => {
                let kind = if opcode == Opcode::FcvtToSintSat { 'i' } else { 'u' };
                let (from, x) = (suffix(self.ty(args[0])), self.get(args[0])?);
                self.call(&format!("k_{kind}{bits}_of_{from}"), &x)
            }
            Opcode::Fneg | Opcode::Fabs => {
                let x = self.get(args[0])?;
                let x = self.call(&format!("k_bits_of_{}", suffix(ty)), &x);
                let sign = 1u64 << (bits - 1);
                let changed = match opcode {
                    Opcode::Fneg => format!("{x} ^ {sign:#x}u"),
                    _ => format!("{x} & {:#x}u", sign - 1),
                };
                self.call(&format!("k_{}_of", suffix(ty)), &changed)
            }
            Opcode::Fcopysign => {
                let (to, sign) = (suffix(ty), 1u64 << (bits - 1));
                let (x, y) = (self.get(args[0])?, self.get(args[1])?);
                let x = self.call(&format!("k_bits_of_{to}"), &x);
                let y = self.call(&format!("k_bits_of_{to}"), &y);
                self.call(&format!("k_{to}_of"), &format!("({x} & {:#x}u) | ({y} & {sign:#x}u)", sign - 1))
            }
            Opcode::Sqrt | Opcode::Floor | Opcode::Ceil | Opcode::Nearest => {
                let op = match opcode {
                    Opcode::Sqrt => "sqrt",
                    Opcode::Floor => "floor",
                    Opcode::Ceil => "ceil",
                    _ => "round",
                };
                let x = self.get(args[0])?;
                self.call(&format!("k_{op}_one_{}", suffix(ty)), &x)
            }
            Opcode::Fmin | Opcode::Fmax => {
                let op = if opcode == Opcode::Fmin { "fmin" } else { "fmax" };
                let (x, y) = (self.get(args[0])?, self.get(args[1])?);
                self.call(&format!("k_{op}_{}", suffix(ty)), &format!("{x}, {y}"))
            }
            _ => return Err(internal(&format!("{opcode} of {ty} in C"))),
        })
    }

    fn bitcast(&mut self, to: Type, v: Value) -> Result<String> {
        let (from, x) = (self.ty(v), self.get(v)?);
        Ok(match (from, to) {
            (I32, F32) => self.call("k_f32_of", &x),
            (F32, I32) => self.call("k_bits_of_f32", &x),
            (I64, F64) => self.call("k_f64_of", &x),
            (F64, I64) => self.call("k_bits_of_f64", &x),
            _ if from == to => x,
            _ => return Err(internal(&format!("bits of {from} as {to} in C"))),
        })
    }

    fn float(&mut self, x: f32) -> String {
        if x.is_finite() && !(x == 0.0 && x.is_sign_negative()) {
            return format!("{}{x:?}f{}", if x < 0.0 { "(" } else { "" }, if x < 0.0 { ")" } else { "" });
        }
        self.call("k_f32_of", &format!("{:#x}u", x.to_bits()))
    }

    fn double(&mut self, inst: Inst) -> Result<String> {
        let InstructionData::UnaryIeee64 { imm, .. } = self.func.dfg.insts[inst] else {
            return Err(internal(&"no constant"));
        };
        let x = f64::from_bits(imm.bits());
        if x.is_finite() && !(x == 0.0 && x.is_sign_negative()) {
            return Ok(if x < 0.0 { format!("({x:?})") } else { format!("{x:?}") });
        }
        Ok(self.call("k_f64_of", &format!("{:#x}u", x.to_bits())))
    }

    fn compare(&mut self, cond: IntCC, x: Value, y: Value) -> Result<String> {
        let signed = matches!(
            cond,
            IntCC::SignedLessThan
                | IntCC::SignedLessThanOrEqual
                | IntCC::SignedGreaterThan
                | IntCC::SignedGreaterThanOrEqual
        );
        let (x, y) = if signed { (self.signed(x)?, self.signed(y)?) } else { (self.get(x)?, self.get(y)?) };
        let sign = match cond {
            IntCC::Equal => "==",
            IntCC::NotEqual => "!=",
            IntCC::SignedLessThan | IntCC::UnsignedLessThan => "<",
            IntCC::SignedLessThanOrEqual | IntCC::UnsignedLessThanOrEqual => "<=",
            IntCC::SignedGreaterThan | IntCC::UnsignedGreaterThan => ">",
            IntCC::SignedGreaterThanOrEqual | IntCC::UnsignedGreaterThanOrEqual => ">=",
        };
        Ok(format!("({x} {sign} {y})"))
    }
}

fn float_compare(cond: FloatCC, x: &str, y: &str) -> String {
    match cond {
        FloatCC::Equal => format!("({x} == {y})"),
        FloatCC::NotEqual => format!("({x} != {y})"),
        FloatCC::LessThan => format!("({x} < {y})"),
        FloatCC::LessThanOrEqual => format!("({x} <= {y})"),
        FloatCC::GreaterThan => format!("({x} > {y})"),
        FloatCC::GreaterThanOrEqual => format!("({x} >= {y})"),
        FloatCC::Ordered => format!("({x} == {x} && {y} == {y})"),
        FloatCC::Unordered => format!("({x} != {x} || {y} != {y})"),
        FloatCC::OrderedNotEqual => format!("({x} < {y} || {x} > {y})"),
        FloatCC::UnorderedOrEqual => format!("(!({x} < {y} || {x} > {y}))"),
        FloatCC::UnorderedOrLessThan => format!("(!({x} >= {y}))"),
        FloatCC::UnorderedOrLessThanOrEqual => format!("(!({x} > {y}))"),
        FloatCC::UnorderedOrGreaterThan => format!("(!({x} <= {y}))"),
        FloatCC::UnorderedOrGreaterThanOrEqual => format!("(!({x} < {y}))"),
    }
}

/// An expression without the parentheses around all of it.
fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return text };
    let mut depth = 0;
    for c in inner.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return text,
            ')' => depth -= 1,
            _ => {}
        }
    }
    inner
}
