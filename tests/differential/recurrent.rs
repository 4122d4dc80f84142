//! Recurrent layers of any kind.

use kiln_ir::DType;
use kiln_ir::graph::Graph;
use kiln_tests::Outcome;

use super::{Choices, Text};

/// A layer, whose length may be open, or its batch where that comes first.
pub(super) fn layer(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let (kind, gates) = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][c.below(3) as usize];
    let (time, batch, input, hidden) = (c.size(1, 6), c.size(1, 3), c.size(1, 9), c.size(1, 20));
    let (first, both) = (c.below(4) == 0, c.below(3) == 0);
    let (of, directions) = (if first { [batch, time] } else { [time, batch] }, if both { 2 } else { 1 });
    t.line(format!("input %x: f32[{}, {}, {input}]", of[0], of[1]));
    t.weight(c, "w", &[directions, gates * hidden, input]);
    t.weight(c, "r", &[directions, gates * hidden, hidden]);
    let mut operands = vec!["%x", "%w", "%r"];
    operands.push(if c.yes() { "%b" } else { "_" });
    if operands[3] == "%b" {
        t.weight(c, "b", &[directions, 2 * gates * hidden]);
    }
    // What has an element or a row for each of an open batch is no constant.
    operands.push(if !first && c.yes() { "@l" } else { "_" });
    if operands[4] == "@l" {
        let lengths: Vec<String> = (0..batch).map(|_| c.size(1, time as u64).to_string()).collect();
        t.line(format!("const @l: i32[{batch}] = [{}]", lengths.join(", ")));
    }
    if !first && c.yes() {
        t.weight(c, "h", &[directions, batch, hidden]);
        operands.push("%h");
        if kind == "LSTM" {
            t.weight(c, "c", &[directions, batch, hidden]);
            t.weight(c, "p", &[directions, 3 * hidden]);
            operands.extend(["%c", "%p"]);
        }
    }
    let direction = if both { "bidirectional" } else { c.pick(&["forward", "reverse"]) };
    let mut attributes = format!("hidden_size = {hidden}, direction = {direction:?}");
    if first {
        attributes.push_str(", layout = 1");
    }
    if kind == "GRU" && c.yes() {
        attributes.push_str(", linear_before_reset = 1");
    }
    t.line(format!("%t, %last = {kind}({}) {{{attributes}}}", operands.join(", ")));
    t.tail(c);
    t.finish()
}
