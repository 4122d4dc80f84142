//! Blocks whose result is added to what they began with: results that lie over an operand.

use kiln_ir::DType;
use kiln_ir::graph::Graph;
use kiln_tests::Outcome;

use super::{Choices, Text};

/// What is done with the value of a block and what it began with.
const JOINS: [&str; 5] = ["Add", "Sub", "Mul", "Max", "Min"];

/// Convolutions or products, in blocks; weights are constants, as they are where sums may lie over an operand.
pub(super) fn blocks(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let images = c.yes();
    let (rows, width) = (c.size(1, 23), c.size(2, 40));
    let (h, w) = (c.size(2, 9), c.size(2, 9));
    let shape =
        if images { format!("[{}, {width}, {h}, {w}]", c.size(1, 2)) } else { format!("[{rows}, {width}]") };
    t.line(format!("input %x: f32{shape}"));
    layer(&mut t, c, images, "v0", "x", [width, width]);
    let count = c.size(1, 3);
    for n in 0..count {
        let inner = c.size(1, 30);
        layer(&mut t, c, images, &format!("a{n}"), &format!("v{n}"), [width, inner]);
        t.line(format!("%b{n} = {}(%a{n})", c.pick(&["Relu", "Sigmoid", "Neg"])));
        layer(&mut t, c, images, &format!("c{n}"), &format!("b{n}"), [inner, width]);
        let join = c.pick(&JOINS);
        let operands = if c.yes() { format!("%c{n}, %v{n}") } else { format!("%v{n}, %c{n}") };
        t.line(format!("%j{n} = {join}({operands})"));
        let last = n + 1;
        // Sums of rows end what elementwise operators would be fused into.
        match c.below(4) {
            0 => t.line(format!("%v{last} = Softmax(%j{n}) {{axis = 1}}")),
            1 => {
                t.line(format!("%m{n} = ReduceMax(%j{n}) {{axes = [1], keepdims = 1}}"));
                t.line(format!("%v{last} = Sub(%j{n}, %m{n})"));
            }
            2 => t.line(format!("%v{last} = Tanh(%j{n})")),
            _ => t.line(format!("%v{last} = Identity(%j{n})")),
        }
    }
    t.line(format!("%t = Softmax(%v{count}) {{axis = 1}}"));
    t.tail(c);
    t.finish()
}

/// A product with constant weights, of channels or of columns.
fn layer(t: &mut Text, c: &mut Choices, images: bool, to: &str, from: &str, [k, n]: [usize; 2]) {
    // Minimal filtering keeps weights of 16 bits in so many, and a difference of two layers shows what that costs.
    let window = if images && c.below(3) == 0 && t.dtype == DType::F32 { 3 } else { 1 };
    let shape = if images { vec![n, k, window, window] } else { vec![k, n] };
    t.constant(c, &format!("w.{to}"), &shape);
    match images {
        true => {
            let pad = window / 2;
            t.line(format!("%{to} = Conv(%{from}, %w.{to}) {{pads = {:?}}}", [pad; 4]));
        }
        false => t.line(format!("%{to} = MatMul(%{from}, %w.{to})")),
    }
}
