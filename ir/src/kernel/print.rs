//! Text of programs; [`parse`](super::parse) reads it back.
//!
//! ```text
//! program @m {
//!   dim batch = 1..8
//!   input %x: f32[1, 3, 224, 224]
//!   const @w: f32[32, 3, 3, 3] = splat 0.5
//!   output %y: f32[1, 32, 112, 112]
//!   contract "conv1" [n: 1, o: 32, h: 112, w: 112 | c: 3, kh: 3, kw: 3] {
//!     acc: f32 = %x[n, c, 2*h + kh - 1, 2*w + kw - 1] else 0.0:f32 * @w[o, c, kh, kw]
//!     %y[n, o, h, w] = max(acc, 0.0:f32)
//!   }
//! }
//! ```
//!
//! Each `|` between loops switches between parallel and reduced ones. A loop whose name is no identifier, or means
//! something else as well, is written by position: `#2`. The model's nodes follow a kernel's name unless they are
//! one of that name: `map "add" of ["add", "relu"]`. Regions stand around the kernels in them: see
//! [`regions`](super::regions).

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::access::{Access, Affine, BufferId, Index, LoopId};
use super::expr::Expr;
use super::form::{Form, Kernel, Loop, ReduceOp, Role, Side, WindowOp};
use super::format::{Format, Kept};
use super::function::BinaryOp;
use super::procedure::{Procedure, Statement};
use super::program::{Buffer, BufferKind, Place, Program};
use super::regions::{Control, Repeat, Step, Trips};
use super::scalar::Scalar;
use super::store::Store;
use crate::dim::Dim;
use crate::text::{
    bounds_text, is_identifier, join, literal_text, name_text, scalar_text, tensor_text, typed_tensor_text,
};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&program_text(self, false))
    }
}

/// A program's text with `...` in place of long constants: for people.
pub struct Summary<'a>(&'a Program);

impl Program {
    /// The program for people to read: long constants are left out.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    /// The text of one kernel.
    pub fn kernel_text(&self, kernel: &Kernel) -> String {
        kernel_text(self, kernel)
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&program_text(self.0, true))
    }
}

fn program_text(p: &Program, elide: bool) -> String {
    let mut out = format!("program {} {{\n", name_text('@', &p.name));
    out += &bounds_text("dim", &p.bounds, "  ");
    p.assumed.iter().for_each(|zero| out += &format!("  assume {zero} = 0\n"));
    for buffer in p.buffers() {
        let _ = writeln!(out, "  {}", buffer_text(p, buffer, elide));
    }
    for (symbol, cell) in &p.counted {
        let _ = writeln!(out, "  count {} = {}", Dim::symbol(symbol), buffer_name(p, *cell));
    }
    let of_kind = |kind: BufferKind| -> Vec<BufferId> {
        p.buffer_ids()
            .filter(|id| std::mem::discriminant(&p.buffer(*id).kind) == std::mem::discriminant(&kind))
            .collect()
    };
    for (word, ids, kind) in
        [("inputs", &p.inputs, BufferKind::Input), ("outputs", &p.outputs, BufferKind::Output)]
    {
        if *ids != of_kind(kind) {
            let _ = writeln!(out, "  {word} ({})", buffers_text(p, ids));
        }
    }
    out += &steps_text(p, &p.steps(), 0);
    out + "}\n"
}

/// Kernels and the regions around them.
fn steps_text(p: &Program, steps: &[Step], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Kernel(i) => {
                kernel_text(p, p.kernel(*i)).lines().for_each(|line| out += &format!("{indent}{line}\n"));
            }
            Step::Region(id, inner) => {
                let control = &p.regions()[id.0 as usize].control;
                out += &format!("{indent}  {} {{\n", control_text(control, &|b| buffer_name(p, *b)));
                out += &steps_text(p, inner, depth + 1);
                out += &format!("{indent}  }}\n");
            }
        }
    }
    out
}

/// What stands before the kernels of a region.
pub(super) fn control_text<S>(control: &Control<S>, cell: &dyn Fn(&S) -> String) -> String {
    match control {
        Control::When { condition, is } => {
            format!("{} {}", if *is { "when" } else { "unless" }, cell(condition))
        }
        Control::Loop(Repeat { counter, trips, condition, carried }) => {
            let mut out = format!("loop {}", cell(counter));
            match trips {
                None => {}
                Some(Trips::Count(size)) => out += &format!(" to {size}"),
                Some(Trips::Read(count)) => out += &format!(" to {}", cell(count)),
            }
            if let Some(condition) = condition {
                out += &format!(" while {}", cell(condition));
            }
            if !carried.is_empty() {
                out += &format!(" carries ({})", join(carried.iter().map(cell)));
            }
            out
        }
    }
}

/// `%name`, or `@name` for constants.
fn buffer_name(p: &Program, id: BufferId) -> String {
    match p.buffers().get(id.0 as usize) {
        Some(b) => name_text(if matches!(b.kind, BufferKind::Const(_)) { '@' } else { '%' }, &b.name),
        None => format!("%?{}", id.0),
    }
}

fn buffers_text(p: &Program, ids: &[BufferId]) -> String {
    join(ids.iter().map(|id| buffer_name(p, *id)))
}

fn buffer_text(p: &Program, b: &Buffer, elide: bool) -> String {
    let (word, sigil) = match b.kind {
        BufferKind::Input => ("input", '%'),
        BufferKind::Output => ("output", '%'),
        BufferKind::Const(_) => ("const", '@'),
        BufferKind::Released => ("released", '%'),
        BufferKind::Temp => ("temp", '%'),
    };
    let mut out = format!("{word} {}: {}", name_text(sigil, &b.name), b.ty);
    if let BufferKind::Const(tensor) = &b.kind {
        if tensor.ty() == b.ty {
            let _ = write!(out, " = {}", tensor_text(tensor, elide));
        } else {
            let _ = write!(out, " = tensor {}", typed_tensor_text(tensor, elide));
        }
    }
    if let Some(Format { kept, why }) = &b.format {
        let kept = match kept {
            Kept::Dense => "dense".to_owned(),
            Kept::Bcsr(block) if block.is_slice() => {
                format!("bcsr {} by {} of {}", block.rows, block.cols, block.window)
            }
            Kept::Bcsr(block) => format!("bcsr {} by {}", block.rows, block.cols),
        };
        let _ = write!(out, " format {kept} {why:?}");
    }
    if let Some(Place { root, offset, strides, extent }) = &b.place {
        let (root, strides) = (buffer_name(p, *root), join(strides));
        let _ = write!(out, " at {root} + ({offset}) strides [{strides}] extent {extent}");
    }
    out
}

pub(super) fn kernel_text(p: &Program, k: &Kernel) -> String {
    let names = LoopNames::new(&k.loops, &mut |dims| symbols_of(p, k, dims));
    let access = |a: &Access| access_text(p, a, &names);
    let mut out = format!("  {} {:?}", k.form.name(), k.name);
    if k.nodes != [k.name.clone()] {
        let _ = write!(out, " of [{}]", join(k.nodes.iter().map(|n| format!("{n:?}"))));
    }
    let _ = writeln!(out, " [{}] {{", names.header(&k.loops));
    for line in form_lines(&k.form, &names, &access) {
        let _ = writeln!(out, "    {line}");
    }
    out + "  }\n"
}

/// A form's body, a line per statement.
pub(super) fn form_lines<A>(
    form: &Form<A>,
    names: &LoopNames,
    access: &impl Fn(&A) -> String,
) -> Vec<String> {
    let expr = |e: &Expr<A>| expr_text(e, names, access);
    let store = |s: &Store<A>| format!("{} = {}", access(&s.to), expr(&s.value));
    match form {
        Form::Map { stores } => stores.iter().map(store).collect(),
        Form::Reduce { op, value, store: s } => {
            vec![format!("acc = {}({})", reduce_name(*op), expr(value)), store(s)]
        }
        Form::Contract { acc, lhs, rhs, store: s } => {
            vec![format!("acc: {acc} = {} * {}", access(lhs), access(rhs)), store(s)]
        }
        Form::Window { op, input, weight, store: s } => {
            let operands = join([Some(input), weight.as_ref()].into_iter().flatten().map(access));
            vec![format!("acc = {}({operands})", window_name(*op)), store(s)]
        }
        Form::Transform { left, right, from, store: s } => {
            let sides = [left, right].map(|side| side_text(side, names));
            vec![format!("acc = sides({}, {})", access(from), sides.join(", ")), store(s)]
        }
        Form::Rearrange { from, to } => vec![format!("{} = {}", access(to), access(from))],
        Form::Procedure(p) => {
            let mut out = Vec::new();
            statements(&p.body, p, names, &expr, &store, 0, &mut out);
            out
        }
    }
}

/// Statements, a line or more each, two spaces further for each that they are inside of.
fn statements<A>(
    body: &[Statement],
    of: &Procedure<A>,
    names: &LoopNames,
    expr: &dyn Fn(&Expr<A>) -> String,
    store: &dyn Fn(&Store<A>) -> String,
    depth: usize,
    out: &mut Vec<String>,
) {
    let indent = "  ".repeat(depth);
    let inner = |head: String, body: &[Statement], end: bool, out: &mut Vec<String>| {
        out.push(format!("{indent}{head} {{"));
        statements(body, of, names, expr, store, depth + 1, out);
        if end {
            out.push(format!("{indent}}}"));
        }
    };
    for s in body {
        match s {
            Statement::For(l, body) => inner(format!("for {}", names.get(*l)), body, true, out),
            Statement::While(term, body) => {
                inner(format!("while {}", expr(&of.terms[*term])), body, true, out)
            }
            Statement::If(term, then, otherwise) => {
                inner(format!("if {}", expr(&of.terms[*term])), then, otherwise.is_empty(), out);
                if !otherwise.is_empty() {
                    inner("} else".to_owned(), otherwise, true, out);
                }
            }
            Statement::Set(l, term) => {
                out.push(format!("{indent}{} = {}", names.get(*l), expr(&of.terms[*term])))
            }
            Statement::Store(n) => out.push(format!("{indent}{}", store(&of.stores[*n]))),
        }
    }
}

/// `i from k by [[1.0, 0.0], [0.5, -1.0]]`
fn side_text(side: &Side, names: &LoopNames) -> String {
    let row = |row: Vec<f32>| format!("[{}]", join(row.into_iter().map(|v| literal_text(Scalar::f32(v)))));
    let rows = side.rows().unwrap_or_default().into_iter().map(row);
    format!("{} from {} by [{}]", names.get(side.to), names.get(side.over), join(rows))
}

/// How each loop of a kernel is written.
pub(super) struct LoopNames(Vec<String>);

impl LoopNames {
    /// `symbols` gives the dimensions that occur in the kernel besides its loops' extents.
    pub(super) fn new(loops: &[Loop], symbols: &mut dyn FnMut(&mut Vec<Dim>)) -> Self {
        let mut dims: Vec<Dim> = loops.iter().map(|l| l.extent.clone()).collect();
        symbols(&mut dims);
        let symbols: BTreeSet<Arc<str>> = dims.iter().flat_map(Dim::symbols).collect();
        let name = |(i, l): (usize, &Loop)| {
            let unique = loops.iter().filter(|other| other.name == l.name).count() == 1;
            let clear =
                unique && is_identifier(&l.name) && !is_reserved(&l.name) && !symbols.contains(&*l.name);
            if clear { l.name.clone() } else { format!("#{i}") }
        };
        Self(loops.iter().enumerate().map(name).collect())
    }

    /// The loop's name, or its position.
    pub(super) fn get(&self, l: LoopId) -> String {
        self.0.get(l.0 as usize).cloned().unwrap_or_else(|| format!("#{}", l.0))
    }

    /// `n: 1, o: 32 | c: 3`
    pub(super) fn header(&self, loops: &[Loop]) -> String {
        let mut out = String::new();
        let mut role = Role::Parallel;
        for (i, l) in loops.iter().enumerate() {
            if l.role != role {
                role = l.role;
                out += if i == 0 { "| " } else { " | " };
            } else if i > 0 {
                out += ", ";
            }
            let name = if is_identifier(&l.name) { l.name.clone() } else { format!("{:?}", l.name) };
            let _ = write!(out, "{name}: {}", l.extent);
        }
        out
    }
}

/// Words with a meaning of their own in expressions.
fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "acc"
            | "inf"
            | "nan"
            | "true"
            | "false"
            | "floordiv"
            | "max"
            | "min"
            | "else"
            | "for"
            | "while"
            | "if"
    )
}

/// The dimensions of a kernel's accesses and of the program's bounds.
fn symbols_of(p: &Program, k: &Kernel, out: &mut Vec<Dim>) {
    out.extend(p.bounds.keys().map(|s| Dim::symbol(s)).chain(p.assumed.iter().cloned()));
    dims_of(k, out);
}

/// The dimensions of a kernel's accesses and values.
pub(super) fn dims_of(k: &Kernel, out: &mut Vec<Dim>) {
    fn access(a: &Access, out: &mut Vec<Dim>) {
        for index in &a.index {
            match index {
                Index::Affine(affine) => {
                    out.extend(affine.terms.iter().map(|t| t.1.clone()));
                    out.push(affine.offset.clone());
                }
                Index::Gathered(inner) => access(inner, out),
            }
        }
    }
    for a in k.form.loads().into_iter().chain(k.form.stores()) {
        access(a, out);
    }
    for value in k.form.values() {
        value.each_size(&mut |size| out.push(size.clone()));
    }
}

/// `%x[n, 2*h + 1, (%i[n])] else 0.0:f32`
fn access_text(p: &Program, a: &Access, names: &LoopNames) -> String {
    let index = |i: &Index| match i {
        Index::Affine(affine) => affine_text(affine, names),
        Index::Gathered(inner) => format!("({})", access_text(p, inner, names)),
    };
    let otherwise = a.otherwise.map_or(String::new(), |s| format!(" else {}", scalar_text(s)));
    format!("{}[{}]{otherwise}", buffer_name(p, a.buffer), join(a.index.iter().map(index)))
}

fn affine_text(affine: &Affine, names: &LoopNames) -> String {
    sum_text(affine.terms.iter().map(|(l, c)| (c, Some(names.get(*l)))).chain([(&affine.offset, None)]))
}

/// Terms `coefficient * factor`; those that are zero are left out.
pub(super) fn sum_text<'a>(terms: impl IntoIterator<Item = (&'a Dim, Option<String>)>) -> String {
    let mut out = String::new();
    for (coefficient, factor) in terms {
        let negative = coefficient.as_const().is_some_and(|c| c < 0);
        let size = match coefficient.as_const() {
            Some(0) => continue,
            Some(c) => c.unsigned_abs().to_string(),
            None => format!("({coefficient})"),
        };
        out += match (out.is_empty(), negative) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        out += &match factor {
            Some(factor) if size == "1" => factor,
            Some(factor) => format!("{size}*{factor}"),
            None => size,
        };
    }
    if out.is_empty() { "0".to_owned() } else { out }
}

/// An expression; `access` writes loads.
pub(super) fn expr_text<A>(e: &Expr<A>, names: &LoopNames, access: &impl Fn(&A) -> String) -> String {
    let go = |e: &Expr<A>| expr_text(e, names, access);
    match e {
        Expr::Acc => "acc".to_owned(),
        Expr::Const(s) => scalar_text(*s),
        Expr::Load(a) => access(a),
        Expr::Loop(l) => names.get(*l),
        Expr::Size(size) => format!("size({size})"),
        Expr::Unary(op, a) => format!("{}({})", op.word(), go(a)),
        Expr::Binary(op, a, b) => match infix(*op) {
            Some((sign, level)) => {
                // The right operand of equal rank needs parentheses: signs associate to the left.
                let side = |e: &Expr<A>, least: u8| {
                    let own = if let Expr::Binary(op, ..) = e { infix(*op).map_or(9, |i| i.1) } else { 9 };
                    if own < least { format!("({})", go(e)) } else { go(e) }
                };
                format!("{} {sign} {}", side(a, level), side(b, level + 1))
            }
            None => format!("{}({}, {})", op.word(), go(a), go(b)),
        },
        Expr::MulAdd(a, b, c) => format!("muladd({}, {}, {})", go(a), go(b), go(c)),
        Expr::Select(c, a, b) => format!("select({}, {}, {})", go(c), go(a), go(b)),
        Expr::Cast(dtype, a) => format!("{dtype}({})", go(a)),
        Expr::Bits(dtype, a) => format!("bits({dtype}, {})", go(a)),
    }
}

/// The sign and rank of an operation that stands between its operands.
pub(super) fn infix(op: BinaryOp) -> Option<(&'static str, u8)> {
    Some(match op {
        BinaryOp::Add => ("+", 1),
        BinaryOp::Sub => ("-", 1),
        BinaryOp::Mul => ("*", 2),
        BinaryOp::Div => ("/", 2),
        _ => return None,
    })
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident $all:ident $t:ident { $($variant:ident $text:literal)* }) => {
        $(#[$doc])*
        pub(super) fn $name(op: $t) -> &'static str {
            match op { $($t::$variant => $text),* }
        }
        pub(super) const $all: &[$t] = &[$($t::$variant),*];
    };
}

names! {
    /// The word of a window's operation.
    window_name WINDOW WindowOp { Dot "dot" Sum "sum" Max "max" }
}

/// The word of a reduction.
pub(super) fn reduce_name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Max => "max",
        ReduceOp::Min => "min",
        ReduceOp::ArgMax { last: false } => "argmax",
        ReduceOp::ArgMax { last: true } => "argmax_last",
        ReduceOp::ArgMin { last: false } => "argmin",
        ReduceOp::ArgMin { last: true } => "argmin_last",
    }
}

/// Every reduction.
pub(super) const REDUCE: &[ReduceOp] = &[
    ReduceOp::Sum,
    ReduceOp::Prod,
    ReduceOp::Max,
    ReduceOp::Min,
    ReduceOp::ArgMax { last: false },
    ReduceOp::ArgMax { last: true },
    ReduceOp::ArgMin { last: false },
    ReduceOp::ArgMin { last: true },
];
