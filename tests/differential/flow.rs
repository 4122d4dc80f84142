//! Random branches and loops, in each other: which way they go is known when they run, and how large what they carry is.

use std::fmt::Write as _;

use kiln_ir::graph::Graph;
use kiln_tests::Outcome;

use super::{Choices, Text};

/// Branches and loops in each other at most.
const DEPTH: u64 = 3;

/// A value that goes through branches and loops, with products and padding on the way.
pub(super) fn nested(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (rows, columns) = (c.size(1, 9), c.size(1, 37));
    t.line(format!("input %x: f32[{rows}, {columns}]"));
    t.weight(c, "w", &[columns, columns]);
    // A number of turns, which is 0 or 1 more than a constant, and a condition.
    t.line(format!("input %few: i64[] input %c: bool[] const @least: i64[] = [{}]", c.below(4)));
    t.line("%n = Add(%few, @least)".into());
    let mut made = 0;
    let (lines, last) = steps(c, DEPTH, &mut made, "%x");
    t.line(lines);
    t.line(format!("%t = Identity({last})"));
    t.tail(c);
    t.finish()
}

/// Lines that make a value of another, and its name. Every graph has the weights, the condition and the number of turns.
fn steps(c: &mut Choices, depth: u64, made: &mut usize, from: &str) -> (String, String) {
    let mut lines = String::new();
    let mut value = from.to_owned();
    for _ in 0..c.size(1, 2) {
        *made += 1;
        let name = format!("%v{made}");
        let line = match c.below(if depth == 0 { 3 } else { 6 }) {
            0 => format!("{name} = Tanh({value})"),
            1 => format!("{name}p = MatMul({value}, %w) {name} = Sigmoid({name}p)"),
            2 => format!("{name} = Mul({value}, {value})"),
            3 | 4 => {
                let branch = |c: &mut Choices, made: &mut usize| {
                    let (lines, last) = steps(c, depth - 1, made, "%s");
                    // Now and then a value from outside is the result.
                    let last = if c.below(4) == 0 { "%s".to_owned() } else { last };
                    format!(
                        "input %s: f32[] input %w: f32[] input %c: f32[] input %n: f32[] {lines} output {last}"
                    )
                };
                let (then, other) = (branch(c, made), branch(c, made));
                format!(
                    "{name} = If(%c, {value}, %w, %c, %n) {{else_branch = graph @e opset(17) {{ {other} }}, \
                     then_branch = graph @t opset(17) {{ {then} }}}}"
                )
            }
            _ => {
                let (lines, last) = steps(c, depth - 1, made, "%s");
                format!(
                    "{name} = Loop(%n, _, {value}, %w, %c, %n) {{kiln.captures = 3, body = graph @b opset(17) {{ \
                     input %i: i64[] input %go: bool[] input %s: f32[] input %w: f32[] input %c: f32[] \
                     input %n: f32[] {lines} output %go output {last} }}}}"
                )
            }
        };
        let _ = write!(lines, "{line} ");
        value = name;
    }
    (lines, value)
}

/// A scan over a sequence: a state, its elements by an axis of theirs, and what it gives on the way.
pub(super) fn scan(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (turns, rows, columns) = (c.size(1, 7), c.size(1, 5), c.size(1, 37));
    let (axis, out) = (c.below(3) as usize, c.below(3));
    let mut shape = vec![rows, columns];
    shape.insert(axis, turns);
    t.line(format!("input %h: f32[{rows}, {columns}] input %x: f32{shape:?}"));
    t.weight(c, "w", &[columns, columns]);
    let product = if c.yes() { "%p = MatMul(%s, %w)" } else { "%p = Tanh(%s)" };
    t.line(format!(
        "%last, %all = Scan(%h, %x, %w) {{num_scan_inputs = 1, kiln.captures = 1, scan_input_axes = [{axis}], \
         scan_input_directions = [{}], scan_output_axes = [{out}], scan_output_directions = [{}], \
         body = graph @b opset(17) {{ input %s: f32[] input %x: f32[] input %w: f32[] \
         {product} %q = Add(%p, %x) %n = Sigmoid(%q) output %n output %q }}}}",
        c.below(2),
        c.below(2)
    ));
    t.line("%sum = ReduceSum(%last) {keepdims = 0} %t = Add(%all, %sum)".into());
    t.tail(c);
    t.finish()
}

/// A loop whose state changes its size, and whose scan output is as long as a run says.
pub(super) fn growing(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (rows, columns, more) = (c.size(1, 7), c.size(1, 37), c.size(1, 3));
    t.line(format!("input %x: f32[{rows}, {columns}] input %few: i64[]"));
    t.weight(c, "w", &[columns, columns]);
    t.weight(c, "z", &[more, columns]);
    t.line(format!("const @most: i64[] = [{}] const @least: i64[] = [{}]", c.size(3, 6), c.below(8)));
    t.line("%turns = Add(%few, @least) const @on: bool[] = [true]".into());
    let step = c.pick(&["%h = MatMul(%s, %w)", "%h = Tanh(%s)", "%h = Mul(%s, %s)"]);
    let change = c.pick(&["%g = Concat(%z, %h) {axis = 0}", "%g = Concat(%h, %z) {axis = 0}"]);
    let scanned =
        c.pick(&["const @rows: i64[1] = [0] %u = ReduceSum(%g, @rows) {keepdims = 0}", "%u = Identity(%z)"]);
    t.line(format!(
        "%last, %all = Loop(@most, @on, %x, %w, %z, %turns) {{kiln.captures = 3, body = graph @b opset(17) {{ \
         input %i: i64[] input %go: bool[] input %s: f32[] input %w: f32[] input %z: f32[] input %turns: i64[] \
         {step} {change} %v = Sigmoid(%g) {scanned} %k = Less(%i, %turns) output %k output %v output %u }}}}"
    ));
    // As it is, or in a sum whose shape is known.
    t.line(match c.below(3) {
        0 => "%t = Identity(%last)".into(),
        1 => "%t = Identity(%all)".into(),
        _ => {
            "%p = ReduceSum(%last) {keepdims = 0} %q = ReduceSum(%all) {keepdims = 0} %t = Add(%p, %q)".into()
        }
    });
    t.tail(c);
    t.finish()
}
