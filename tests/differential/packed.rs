//! Random products with weights of few bits, which stay packed for a row or two.

use kiln_ir::graph::Graph;
use kiln_ir::{DType, Tensor};
use kiln_tests::Outcome;

use super::{Choices, Text};

/// Rows of numbers times weights of 2, 4 or 8 bits in blocks, with zero points of each kind or none.
pub(super) fn product(c: &mut Choices) -> Outcome<Graph> {
    let dtype = if c.below(4) == 0 { DType::F16 } else { DType::F32 };
    let mut t = Text { lines: String::new(), dtype, constants: Vec::new() };
    let (bits, block) = ([2, 4, 4, 4, 8][c.below(5) as usize], [16, 32, 64, 128][c.below(4) as usize]);
    // Whole panels of columns now and then.
    let n = if c.yes() { 16 * c.size(2, 4) } else { c.size(1, 40) };
    let (m, k) = (c.size(1, 3), c.size(1, 300));
    let (blocks, per) = (k.div_ceil(block), 8 / bits);
    let leading = if c.yes() { format!("{m}, ") } else { "1, 1, ".to_owned() };
    t.line(format!("input %x: f32[{leading}{k}]"));
    let bytes = |c: &mut Choices, t: &mut Text, name: &str, shape: &[usize]| {
        let data: Vec<u8> = (0..shape.iter().product::<usize>()).map(|_| c.below(256) as u8).collect();
        t.line(format!("input %{name}: u8{shape:?}"));
        t.constants.push((name.to_owned(), Tensor::from_vec::<u8>(shape, data)));
    };
    bytes(c, &mut t, "q", &[n, blocks, block / per]);
    let flat = c.yes();
    let shape = if flat { vec![n * blocks] } else { vec![n, blocks] };
    // Scales that are computed at run time are of any size, which tails would make differences of.
    let computed = c.below(4) == 0;
    match computed {
        true => t.line(format!("input %s: f32{shape:?}")),
        false => t.scales(c, "s", 0.1 / (1 << bits) as f32, &shape),
    }
    let zeros = match c.below(4) {
        0 | 1 => "",
        2 => {
            bytes(c, &mut t, "z", &[n, blocks.div_ceil(per)]);
            ", %z"
        }
        _ => {
            t.weight(c, "z", &shape);
            ", %z"
        }
    };
    t.line(format!(
        "%t = \"com.microsoft\"::MatMulNBits(%x, %q, %s{zeros}) {{K = {k}, N = {n}, bits = {bits}, block_size = {block}}}"
    ));
    match computed {
        true => t.line("%y = Identity(%t)".into()),
        false => t.tail(c),
    }
    t.finish()
}
