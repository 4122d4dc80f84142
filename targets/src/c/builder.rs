//! The vector builder as a builder of text: what each operation is in C.

use super::statements::{Builder, LANES, narrow_get, no_meaning, suffix};
use crate::simd::{
    Across, Apart, Block, Lane, Narrow, Op1, Op2, Overflow, P, Parked, R, Refusal, Simd, Src, V,
};

impl Simd for Builder<'_> {
    fn lanes(&self) -> usize {
        LANES
    }

    fn arg(&mut self, i: usize) -> R<P> {
        self.args[i] = true;
        Ok(self.pointer(["(intptr_t)frame", "begin", "end"][i]))
    }

    fn load_ptr(&mut self, base: &P, disp: i32) -> R<P> {
        let at = self.at(base, disp.into());
        let value = self.call("k_word", &at);
        Ok(self.pointer(&value))
    }

    fn copy_ptr(&mut self, p: &P) -> R<P> {
        let value = self.ptr(p);
        Ok(self.pointer(&value))
    }

    fn advance(&mut self, p: &P, bytes: i64) {
        match bytes {
            0 => {}
            n if n < 0 => self.line(format!("p{} -= {};", p.0, -n)),
            n => self.line(format!("p{} += {n};", p.0)),
        }
    }

    fn advance_by(&mut self, p: &P, count: &P, scale: i64) -> R {
        let count = self.ptr(count);
        self.line(format!("p{} += {count} * {scale};", p.0));
        Ok(())
    }

    fn difference(&mut self, a: &P, b: &P) -> R<P> {
        let (a, b) = (self.ptr(a), self.ptr(b));
        Ok(self.pointer(&format!("{a} - {b}")))
    }

    fn at_most(&mut self, p: &P, limit: i64) -> R {
        let p = self.ptr(p);
        self.line(format!("if ({p} > {limit}) {p} = {limit};"));
        Ok(())
    }

    fn at_least(&mut self, p: &P, limit: i64) -> R {
        let p = self.ptr(p);
        self.line(format!("if ({p} < {limit}) {p} = {limit};"));
        Ok(())
    }

    fn at_most_of(&mut self, p: &P, most: &P) -> R {
        let (p, most) = (self.ptr(p), self.ptr(most));
        self.line(format!("if ({p} > {most}) {p} = {most};"));
        Ok(())
    }

    fn load_index(&mut self, base: &P, disp: i32, wide: bool) -> R<P> {
        let at = self.at(base, disp.into());
        let value = self.call(if wide { "k_index64" } else { "k_index32" }, &at);
        Ok(self.pointer(&value))
    }

    fn load_byte(&mut self, base: &P, disp: i32) -> R<P> {
        let at = self.at(base, disp.into());
        let value = self.call("k_get_u8", &at);
        Ok(self.pointer(&value))
    }

    fn load_short(&mut self, base: &P, disp: i32) -> R<P> {
        let at = self.at(base, disp.into());
        let value = self.call("k_get_u16", &at);
        Ok(self.pointer(&value))
    }

    fn shift_down(&mut self, p: &P, bits: u8) {
        let p = self.ptr(p);
        self.line(format!("{p} = (intptr_t)((uintptr_t){p} >> {bits});"));
    }

    fn wrap(&mut self, p: &P, extent: i64) -> R {
        let p = self.ptr(p);
        self.line(format!("if ({p} < 0) {p} += {extent};"));
        Ok(())
    }

    fn store_word(&mut self, base: &P, disp: i32, word: i32) {
        let at = self.at(base, disp.into());
        let call = self.call("k_put_word", &format!("{at}, {word}"));
        self.line(format!("{call};"));
    }

    fn free_ptr(&mut self, p: P) {
        self.pointers.free.push(p.0);
    }

    fn repeat(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        match count {
            0 => Ok(()),
            1 => body(self),
            _ => {
                let n = self.counter();
                self.block(&format!("for (uint32_t {n} = {count}; {n} != 0; {n}--)"), body)
            }
        }
    }

    fn repeat_ptr(&mut self, count: P, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let (n, value) = (self.counter(), self.ptr(&count));
        self.block(&format!("for (intptr_t {n} = {value}; {n} > 0; {n}--)"), body)?;
        self.free_ptr(count);
        Ok(())
    }

    fn when_below(&mut self, p: &P, limit: i64, inside: Block<'_, Self>, outside: Block<'_, Self>) -> R {
        let p = self.ptr(p);
        self.branch(&format!("{p} >= 0 && {p} < {limit}"), inside, outside)
    }

    fn when_any(&mut self, mask: &V, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let mask = self.get(mask);
        let any = self.call("k_any", &mask);
        self.block(&format!("if ({any})"), body)
    }

    fn either(&mut self, mask: V, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        let value = self.get(&mask);
        let any = self.call("k_any", &value);
        self.free(mask);
        self.branch(&any, some, none)
    }

    fn splat(&mut self, value: f32) -> R<V> {
        let value = self.constant(value);
        Ok(self.vector(&value))
    }

    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        if n >= LANES {
            let value = self.source(Src::Mem(p, disp));
            return Ok(self.vector(&value));
        }
        let lanes = std::array::from_fn(|i| {
            if i >= n {
                return "0".to_owned();
            }
            let at = self.at(p, i64::from(disp) + 4 * i as i64);
            self.call("k_get_u32", &at)
        });
        Ok(self.lanes_of(lanes))
    }

    fn load_strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        let apart = Apart { bytes: 4, signed: false, stride: stride.into() };
        self.load_apart(apart, p, disp, n)
    }

    fn load_indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        let (get, size) = if short { ("k_get_u16", 2) } else { ("k_get_u32", 4) };
        let base = self.at(p, disp.into());
        let mut lanes = Vec::with_capacity(LANES);
        for i in 0..LANES {
            if i >= n {
                lanes.push("0".to_owned());
                continue;
            }
            let index = self.at(indices, i64::from(at) + size * i as i64);
            let index = self.call(get, &index);
            lanes.push(self.call("k_get_u32", &format!("{base} + 4 * (intptr_t){index}")));
        }
        let lanes = lanes.join(", ");
        Ok(self.vector(&format!("K_V({lanes})")))
    }

    fn load_quarter(&mut self, _d: &V, _quarter: usize, _p: &P, _disp: i32, _n: usize) -> R {
        Err(Refusal::unsupported("a second quarter of 128 bits"))
    }

    fn load_splat(&mut self, p: &P, disp: i32) -> R<V> {
        let value = self.source(Src::Splat(p, disp));
        Ok(self.vector(&value))
    }

    fn copy(&mut self, v: &V) -> R<V> {
        let value = self.get(v);
        Ok(self.vector(&value))
    }

    fn swap_halves(&mut self, d: &V) -> R {
        self.apply_one("k_swap_halves", d);
        Ok(())
    }

    fn assign(&mut self, d: &V, s: &V) {
        let value = self.get(s);
        self.set(d, &value);
    }

    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let value = self.get(v);
        if n >= LANES {
            let at = self.at(p, disp.into());
            let call = self.call("k_store", &format!("{at}, {value}"));
            self.line(format!("{call};"));
            return Ok(());
        }
        for i in 0..n {
            let at = self.at(p, i64::from(disp) + 4 * i as i64);
            let call = self.call("k_put_u32", &format!("{at}, K_L({value}, {i})"));
            self.line(format!("{call};"));
        }
        Ok(())
    }

    // C has no such statement.
    fn prefetch(&mut self, _: &P, _: i32) {}

    fn free(&mut self, v: V) {
        self.vectors.free.push(v.0);
    }

    fn spare(&self) -> usize {
        usize::MAX
    }

    fn park(&mut self, v: V) -> R<Parked> {
        Ok(Parked(v.0))
    }

    fn unpark(&mut self, parked: Parked) -> R<V> {
        Ok(V(parked.0))
    }

    fn peek(&mut self, parked: &Parked) -> R<V> {
        self.copy(&V(parked.0))
    }

    fn forget(&mut self, _parked: Parked) {}

    fn op1(&mut self, op: Op1, d: &V) -> R {
        match op {
            Op1::ToInt => self.apply_one("k_toint", d),
            Op1::ToFloat => self.apply_one("k_tofloat", d),
            Op1::Shl(_) | Op1::Shr(_) | Op1::Sar(_) => return self.op1_as(Lane::U32, op, d),
            _ => return self.op1_as(Lane::F32, op, d),
        }
        Ok(())
    }

    fn op2(&mut self, op: Op2, d: &V, s: Src<'_>) -> R {
        match op {
            Op2::Shl | Op2::Shr => self.op2_as(Lane::U32, op, d, s),
            Op2::IntAdd => self.op2_as(Lane::U32, Op2::Add, d, s),
            Op2::IntSub => self.op2_as(Lane::U32, Op2::Sub, d, s),
            _ => self.op2_as(Lane::F32, op, d, s),
        }
    }

    fn raise(&mut self, d: &V, s: Src<'_>) -> R {
        let s = self.source(s);
        self.apply("k_raise_f32", d, &s);
        Ok(())
    }

    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (a, b) = (self.get(a), self.source(b));
        let product = self.call("k_mul_f32", &format!("{a}, {b}"));
        self.apply("k_add_f32", d, &product);
        Ok(())
    }

    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R {
        let (x, a, c) = (self.get(d), self.get(a), self.source(c));
        let product = self.call("k_mul_f32", &format!("{x}, {a}"));
        let value = self.call("k_add_f32", &format!("{product}, {c}"));
        self.set(d, &value);
        Ok(())
    }

    fn fuses(&self) -> bool {
        self.target.fma
    }

    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let (a, b) = (self.get(a), self.get(b));
        let splat = self.call("k_splat", &format!("K_L({a}, {lane})"));
        let product = self.call("k_mul_f32", &format!("{b}, {splat}"));
        self.apply("k_add_f32", d, &product);
        Ok(())
    }

    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R {
        let (x, mask, s) = (self.get(d), self.get(mask), self.source(s));
        let value = self.call("k_choose", &format!("{mask}, {x}, {s}"));
        self.set(d, &value);
        Ok(())
    }

    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R {
        if n < LANES {
            let (x, other) = (self.get(d), value.to_bits());
            let lane = |i: usize| if i < n { format!("K_L({x}, {i})") } else { format!("{other:#x}u") };
            let lanes: Vec<String> = (0..LANES).map(lane).collect();
            self.set(d, &format!("K_V({})", lanes.join(", ")));
        }
        Ok(())
    }

    fn interleave(&mut self, bits: u8, upper: bool, d: &V, s: &V) -> R {
        let s = self.get(s);
        let half = if upper { "high" } else { "low" };
        self.apply(&format!("k_interleave_{bits}_{half}"), d, &s);
        Ok(())
    }

    fn op1_as(&mut self, ty: Lane, op: Op1, d: &V) -> R {
        let name = match op {
            Op1::Shl(n) | Op1::Shr(n) | Op1::Sar(n) => {
                let name = match op {
                    Op1::Shl(_) => "k_shl",
                    Op1::Shr(_) => "k_shr",
                    _ => "k_sar",
                };
                let name = if ty.is_wide() { format!("{name}_wide") } else { name.to_owned() };
                self.apply(&name, d, &n.to_string());
                return Ok(());
            }
            Op1::Abs | Op1::Neg if ty.is_float() => {
                let sign = 1u64 << (ty.bits() - 1);
                let (bits, op) = if op == Op1::Abs { (!sign, Op2::And) } else { (sign, Op2::Xor) };
                let s = if ty.is_wide() { Src::Wide(bits) } else { Src::Bits(bits as u32) };
                return self.op2(op, d, s);
            }
            Op1::Abs if !ty.is_signed() => return Ok(()),
            Op1::Abs => "abs",
            Op1::Neg => "neg",
            Op1::Sqrt if ty.is_float() => "sqrt",
            Op1::Floor if ty.is_float() => "floor",
            Op1::Ceil if ty.is_float() => "ceil",
            Op1::Round if ty.is_float() => "round",
            Op1::ToInt | Op1::ToFloat if ty == Lane::F32 => return self.op1(op, d),
            _ => return Err(no_meaning(op, ty)),
        };
        self.apply_one(&format!("k_{name}_{}", suffix(ty, op == Op1::Neg)), d);
        Ok(())
    }

    fn op2_as(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        let s = self.source(s);
        let (name, wrapping) = match op {
            Op2::And | Op2::Or | Op2::Xor | Op2::AndNot => {
                let name = match op {
                    Op2::And => "k_and",
                    Op2::Or => "k_or",
                    Op2::Xor => "k_xor",
                    _ => "k_andnot",
                };
                self.apply(name, d, &s);
                return Ok(());
            }
            Op2::IntAdd | Op2::IntSub => {
                self.apply(if op == Op2::IntAdd { "k_add_u32" } else { "k_sub_u32" }, d, &s);
                return Ok(());
            }
            Op2::Add => ("add", true),
            Op2::Sub => ("sub", true),
            Op2::Mul => ("mul", true),
            Op2::Div if ty.is_float() => ("div", true),
            Op2::Min => ("min", false),
            Op2::Max => ("max", false),
            Op2::MinNan => (if ty.is_float() { "minnan" } else { "min" }, false),
            Op2::MaxNan => (if ty.is_float() { "maxnan" } else { "max" }, false),
            Op2::Lt => ("lt", false),
            Op2::Le => ("le", false),
            Op2::Eq => ("eq", true),
            // Of floats their bits are moved.
            Op2::Shl | Op2::Shr => {
                let name = if op == Op2::Shl { "shl" } else { "shr" };
                self.apply(&format!("k_{name}_{}", if ty.is_wide() { "u64" } else { "u32" }), d, &s);
                return Ok(());
            }
            Op2::Div => return Err(no_meaning(op, ty)),
        };
        self.apply(&format!("k_{name}_{}", suffix(ty, wrapping)), d, &s);
        Ok(())
    }

    fn across_as(&mut self, ty: Lane, op: Across, d: &V) -> R {
        let turns: &[&str] =
            if ty.is_wide() { &["k_swap_halves"] } else { &["k_swap_halves", "k_swap_pairs"] };
        for turn in turns {
            let x = self.get(d);
            let turned = self.call(turn, &x);
            let turned = self.vector(&turned);
            self.op2_as(ty, op.op2(), d, Src::Reg(&turned))?;
            self.free(turned);
        }
        Ok(())
    }

    fn first(&mut self, n: usize) -> R<V> {
        let lanes = std::array::from_fn(|i| if i < n { "0xffffffffu" } else { "0" }.to_owned());
        Ok(self.lanes_of(lanes))
    }

    fn splat_wide(&mut self, bits: u64) -> R<V> {
        let value = self.source(Src::Wide(bits));
        Ok(self.vector(&value))
    }

    fn ramp(&mut self, wide: bool) -> R<V> {
        Ok(self.vector(if wide { "K_V(0, 0, 1, 0)" } else { "K_V(0, 1, 2, 3)" }))
    }

    fn splat_index(&mut self, p: &P, disp: i32) -> R<V> {
        let at = self.at(p, disp.into());
        let value = self.call("k_splat_u64", &format!("(uint64_t)(int64_t)({at})"));
        Ok(self.vector(&value))
    }

    fn load_splat_wide(&mut self, p: &P, disp: i32) -> R<V> {
        let at = self.at(p, disp.into());
        let element = self.call("k_get_u64", &at);
        let value = self.call("k_splat_u64", &element);
        Ok(self.vector(&value))
    }

    fn load_splat_word(&mut self, p: &P, disp: i32) -> R<V> {
        let at = self.at(p, disp.into());
        let word = self.call("k_word_u64", &at);
        let value = self.call("k_splat_u64", &word);
        Ok(self.vector(&value))
    }

    fn convert_directly(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        use Lane::{F32, F64, I32, I64, U32, U64};
        let x = self.get(d);
        let lane = |s: &mut Self, i: usize| -> Option<String> {
            let word = format!("K_L({x}, {i})");
            let wide = format!("K_D({x}, {i})");
            Some(match (from, to) {
                (I32, I64) => format!("(uint64_t)(int64_t)(int32_t){word}"),
                (U32, U64) => format!("(uint64_t){word}"),
                (F32, F64) => {
                    let float = s.call("k_f32_of", &word);
                    s.call("k_bits_of_f64", &format!("(double){float}"))
                }
                (I32, F64) => s.call("k_bits_of_f64", &format!("(double)(int32_t){word}")),
                (I64, I32) if i < 2 => format!("(uint32_t){wide}"),
                (F64, F32) if i < 2 => {
                    let float = s.call("k_f64_of", &wide);
                    s.call("k_bits_of_f32", &format!("(float){float}"))
                }
                (I64, I32) | (F64, F32) => "0".to_owned(),
                (I32, F32) => s.call("k_bits_of_f32", &format!("(float)(int32_t){word}")),
                (F32, I32) => {
                    let float = s.call("k_f32_of", &word);
                    s.call("k_i32_of_f32", &float)
                }
                _ => return None,
            })
        };
        if (from, to) == (I32, F32) {
            self.apply_one("k_tofloat", d);
            return Ok(true);
        }
        let n = if to.is_wide() { 2 } else { LANES };
        let Some(lanes) = (0..n).map(|i| lane(self, i)).collect::<Option<Vec<_>>>() else { return Ok(false) };
        if to.is_wide() {
            // What lanes are made of is evaluated twice by the macro.
            let lanes = lanes.join(", ");
            let value = self.call("k_wide", &lanes);
            self.set(d, &value);
        } else {
            self.set(d, &format!("K_V({})", lanes.join(", ")));
        }
        Ok(true)
    }

    fn multiplies_lanes(&self) -> bool {
        self.target.crosses_bytes
    }

    fn load_byte_pairs(&mut self, p: &P, disps: [i32; 2], signed: bool, n: usize) -> R<V> {
        let byte = Narrow { two: false, signed };
        let v = self.load_narrow(byte, p, disps[0], n)?;
        let above = self.load_narrow(byte, p, disps[1], n)?;
        let both = format!("{}, {}", self.get(&v), self.get(&above));
        let value = self.call("k_pair_words", &both);
        self.set(&v, &value);
        self.free(above);
        Ok(v)
    }

    fn madd_words(&mut self, d: &V, s: Src<'_>) -> R {
        let (x, s) = (self.get(d), self.source(s));
        let value = self.call("k_fma_words", &format!("K_V(0, 0, 0, 0), {x}, {s}"));
        self.set(d, &value);
        Ok(())
    }

    fn fma_crossed(&mut self, rows: &[&V], lhs: (&P, &[i32]), rhs: (&P, [i32; 2])) -> R {
        let b = rhs.1.map(|disp| self.at(rhs.0, disp.into())).join(", ");
        for (rows, a) in rows.chunks(2).zip(lhs.1.chunks(2)) {
            let sums: Vec<String> = rows.iter().map(|v| format!("&{}", self.get(v))).collect();
            let a: Vec<String> = a.iter().map(|disp| self.at(lhs.0, (*disp).into())).collect();
            let name = if rows.len() == 2 { "k_fma_crossed_two" } else { "k_fma_crossed" };
            let call = self.call(name, &format!("{}, {}, {b}", sums.join(", "), a.join(", ")));
            self.line(format!("{call};"));
        }
        Ok(())
    }

    fn fma_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (a, b) = (self.get(a), self.source(b));
        self.apply("k_fma_words", d, &format!("{a}, {b}"));
        Ok(())
    }

    fn look_up_part(&mut self, _d: &V, _p: &P, _disp: i32) -> R {
        Err(Refusal::unsupported("tables of bytes in parts"))
    }

    fn load_words(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        let at = self.at(p, disp.into());
        let value = self.call(if signed { "k_load_words_i8" } else { "k_load_words_u8" }, &at);
        Ok(self.vector(&value))
    }

    fn add_words(&mut self, d: &V, s: &V, minus: bool) -> R {
        let s = self.get(s);
        self.apply(if minus { "k_sub_words" } else { "k_add_words" }, d, &s);
        Ok(())
    }

    fn max_bytes(&mut self, d: &V, s: &V) -> R {
        let s = self.get(s);
        self.apply("k_max_bytes", d, &s);
        Ok(())
    }

    fn shift_words(&mut self, d: &V, by: u8) -> R {
        self.apply("k_shl_words", d, &by.to_string());
        Ok(())
    }

    fn load_narrow(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V> {
        if n >= LANES {
            let at = self.at(p, disp.into());
            let value = self.call(&narrow_get(e).replace("get", "load"), &at);
            return Ok(self.vector(&value));
        }
        let apart = Apart { bytes: e.bytes(), signed: e.signed, stride: e.bytes() as i64 };
        self.load_apart(apart, p, disp, n)
    }

    fn load_splat_narrow(&mut self, e: Narrow, p: &P, disp: i32) -> R<V> {
        let value = self.splat_from(narrow_get(e), p, disp);
        Ok(self.vector(&value))
    }

    fn load_apart(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        let get = self.get_lane(apart)?;
        let count = if apart.bytes == 8 { 2 } else { LANES };
        let mut lanes = Vec::with_capacity(count);
        for i in 0..count {
            if i >= n {
                lanes.push("0".to_owned());
                continue;
            }
            let at = self.at(p, apart.disp(disp, i)?.into());
            lanes.push(format!("{get}({at})"));
        }
        let lanes = lanes.join(", ");
        let value = if apart.bytes == 8 { self.call("k_wide", &lanes) } else { format!("K_V({lanes})") };
        Ok(self.vector(&value))
    }

    fn store_narrow(&mut self, e: Narrow, overflow: Overflow, p: &P, disp: i32, v: &V, n: usize) -> R {
        if matches!(overflow, Overflow::Moved | Overflow::Byte) {
            return Err(Refusal::unsupported("bytes less half of their range, and bytes as words"));
        }
        let lanes = self.copy(v)?;
        if overflow == Overflow::Saturate {
            let (least, most) = e.range();
            self.op2_as(Lane::I32, Op2::Max, &lanes, Src::Bits(least as u32))?;
            self.op2_as(Lane::I32, Op2::Min, &lanes, Src::Bits(most as u32))?;
        }
        let value = self.get(&lanes);
        for i in 0..n.min(LANES) {
            let at = self.at(p, i64::from(disp) + (i * e.bytes()) as i64);
            let call = match e.two {
                false => self.call("k_put_u8", &format!("{at}, K_L({value}, {i})")),
                true => self.call("k_put_u16", &format!("{at}, (uint16_t)K_L({value}, {i})")),
            };
            self.line(format!("{call};"));
        }
        self.free(lanes);
        Ok(())
    }
}
