//! The statements of a kernel as they are written: variables, lines, operands.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::simd::{Apart, Block, Lane, Narrow, P, R, Refusal, Src, V};
use crate::target::Target;

/// A kernel's code: the statements of `void kernel(const int64_t *frame, intptr_t begin, intptr_t end)`, and the functions of
/// [`helpers`](super::helpers) that they call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Declarations and statements, indented.
    pub body: String,
    /// Names of helpers.
    pub calls: BTreeSet<String>,
}

/// Lanes of a register.
pub(super) const LANES: usize = 4;

/// Variables of one type: which there are, whether anything reads them, and which may be used again.
#[derive(Default)]
pub(super) struct Variables {
    read: Vec<bool>,
    pub(super) free: Vec<u32>,
}

impl Variables {
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.read.push(false);
            self.read.len() as u32 - 1
        })
    }

    pub(super) fn read(&mut self, n: u32) {
        self.read[n as usize] = true;
    }

    /// Declarations of all, and a use of those that nobody reads.
    fn declare(&self, ty: &str, letter: char, out: &mut String) {
        if self.read.is_empty() {
            return;
        }
        let names: Vec<String> = (0..self.read.len()).map(|n| format!("{letter}{n}")).collect();
        for (i, line) in names.chunks(16).enumerate() {
            let start = if i == 0 { format!("    {ty} ") } else { "        ".to_owned() };
            let _ = write!(out, "{start}{}", line.join(", "));
            out.push_str(if (i + 1) * 16 >= names.len() { ";\n" } else { ",\n" });
        }
    }

    fn unread(&self, letter: char) -> String {
        let unread = self.read.iter().enumerate().filter(|(_, read)| !**read);
        unread.map(|(n, _)| format!("    (void){letter}{n};\n")).collect()
    }
}

/// A [`Simd`] that writes statements.
pub(super) struct Builder<'t> {
    pub(super) target: &'t Target,
    pub(super) out: String,
    pub(super) depth: usize,
    pub(super) vectors: Variables,
    pub(super) pointers: Variables,
    pub(super) counters: u32,
    pub(super) args: [bool; 3],
    pub(super) calls: BTreeSet<String>,
}

impl<'t> Builder<'t> {
    pub(super) fn new(target: &'t Target) -> Self {
        Self {
            target,
            out: String::new(),
            depth: 1,
            vectors: Variables::default(),
            pointers: Variables::default(),
            counters: 0,
            args: [false; 3],
            calls: BTreeSet::new(),
        }
    }

    /// The whole body.
    pub(super) fn finish(self) -> Text {
        let mut body = String::new();
        self.vectors.declare("k_v", 'v', &mut body);
        self.pointers.declare("intptr_t", 'p', &mut body);
        body += &self.out;
        body += &self.vectors.unread('v');
        body += &self.pointers.unread('p');
        let args = ["frame", "begin", "end"].into_iter().zip(self.args);
        args.filter(|(_, used)| !used).for_each(|(name, _)| body += &format!("    (void){name};\n"));
        Text { body, calls: self.calls }
    }

    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        for _ in 0..self.depth {
            self.out.push_str("    ");
        }
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    /// A call of a helper, as an expression.
    pub(super) fn call(&mut self, name: &str, arguments: &str) -> String {
        self.calls.insert(name.to_owned());
        format!("{name}({arguments})")
    }

    /// The variable, to be read.
    pub(super) fn get(&mut self, v: &V) -> String {
        self.vectors.read(v.0);
        format!("v{}", v.0)
    }

    pub(super) fn set(&mut self, v: &V, value: &str) {
        self.line(format!("v{} = {value};", v.0));
    }

    pub(super) fn vector(&mut self, value: &str) -> V {
        let v = V(self.vectors.take());
        self.set(&v, value);
        v
    }

    pub(super) fn ptr(&mut self, p: &P) -> String {
        self.pointers.read(p.0);
        format!("p{}", p.0)
    }

    pub(super) fn pointer(&mut self, value: &str) -> P {
        let p = P(self.pointers.take());
        self.line(format!("p{} = {value};", p.0));
        p
    }

    /// An address.
    pub(super) fn at(&mut self, p: &P, disp: i64) -> String {
        let p = self.ptr(p);
        sum(&p, disp)
    }

    /// An expression of the operand.
    pub(super) fn source(&mut self, s: Src<'_>) -> String {
        match s {
            Src::Reg(v) => self.get(v),
            Src::Const(value) => self.constant(value),
            Src::Bits(bits) => self.call("k_splat", &format!("{bits:#x}u")),
            Src::Wide(bits) => self.call("k_splat_u64", &format!("{bits:#x}u")),
            Src::Mem(p, disp) => {
                let at = self.at(p, disp.into());
                self.call("k_load", &at)
            }
            Src::Splat(p, disp) => self.splat_from("k_get_u32", p, disp),
        }
    }

    pub(super) fn splat_from(&mut self, get: &str, p: &P, disp: i32) -> String {
        let at = self.at(p, disp.into());
        let element = self.call(get, &at);
        self.call("k_splat", &element)
    }

    pub(super) fn constant(&mut self, value: f32) -> String {
        if value.is_finite() && !(value == 0.0 && value.is_sign_negative()) {
            return self.call("k_splat_f32", &format!("{value:?}f"));
        }
        self.call("k_splat", &format!("{:#x}u", value.to_bits()))
    }

    /// `d = helper(d, s)`.
    pub(super) fn apply(&mut self, helper: &str, d: &V, s: &str) {
        let x = self.get(d);
        let value = self.call(helper, &format!("{x}, {s}"));
        self.set(d, &value);
    }

    pub(super) fn apply_one(&mut self, helper: &str, d: &V) {
        let x = self.get(d);
        let value = self.call(helper, &x);
        self.set(d, &value);
    }

    /// Four lanes, each an expression.
    pub(super) fn lanes_of(&mut self, lanes: [String; LANES]) -> V {
        self.vector(&format!("K_V({})", lanes.join(", ")))
    }

    pub(super) fn block(&mut self, head: &str, body: Block<'_, Self>) -> R {
        self.line(format!("{head} {{"));
        self.depth += 1;
        body(self)?;
        self.depth -= 1;
        self.line("}");
        Ok(())
    }

    /// `if (condition) { .. } else { .. }`.
    pub(super) fn branch(&mut self, condition: &str, yes: Block<'_, Self>, no: Block<'_, Self>) -> R {
        self.line(format!("if ({condition}) {{"));
        self.depth += 1;
        yes(self)?;
        self.depth -= 1;
        self.line("} else {");
        self.depth += 1;
        no(self)?;
        self.depth -= 1;
        self.line("}");
        Ok(())
    }

    pub(super) fn counter(&mut self) -> String {
        self.counters += 1;
        format!("n{}", self.counters)
    }

    pub(super) fn get_lane(&mut self, apart: Apart) -> R<&'static str> {
        let name = match (apart.bytes, apart.signed) {
            (1, false) => "k_get_u8",
            (1, true) => "k_get_i8",
            (2, false) => "k_get_u16",
            (2, true) => "k_get_i16",
            (4, _) => "k_get_u32",
            (8, _) => "k_get_u64",
            _ => return Err(Refusal::unsupported("elements of another size")),
        };
        self.calls.insert(name.to_owned());
        Ok(name)
    }
}

pub(super) fn sum(p: &str, disp: i64) -> String {
    match disp {
        0 => p.to_owned(),
        d if d < 0 => format!("{p} - {}", -d),
        d => format!("{p} + {d}"),
    }
}

pub(super) fn narrow_get(e: Narrow) -> &'static str {
    match (e.two, e.signed) {
        (false, false) => "k_get_u8",
        (false, true) => "k_get_i8",
        (true, false) => "k_get_u16",
        (true, true) => "k_get_i16",
    }
}

/// The suffix of helpers for a type; `wrapping`: operations that are the same for both kinds of integers.
pub(super) fn suffix(ty: Lane, wrapping: bool) -> &'static str {
    match ty {
        Lane::F32 => "f32",
        Lane::F64 => "f64",
        Lane::I32 if !wrapping => "i32",
        Lane::I64 if !wrapping => "i64",
        Lane::I32 | Lane::U32 => "u32",
        Lane::I64 | Lane::U64 => "u64",
    }
}

pub(super) fn no_meaning(op: impl std::fmt::Debug, ty: Lane) -> Refusal {
    Refusal::unsupported(format!("{op:?} of {ty:?} has no meaning"))
}
