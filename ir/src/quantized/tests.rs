//! Graphs before and after, and what both compute.

use super::*;
use crate::graph::{parse, verify_structure};
use crate::ops::elements::Builder;
use crate::types::{DType, Shape};

/// What becomes of a graph, whose results stay what exact arithmetic gives; `near`: by how many steps results may differ from
/// those of floats.
fn check(body: &str, near: f64) -> String {
    let text = format!(
        "graph @m opset(21) {{
          const @s: f32[] = [0.02] const @t: f32[] = [0.003] const @z: u8[] = [131] const @zz: i8[] = [0]
          const @one: u8[] = [3]
          const @w: i8[4, 3, 3, 3] = splat 5 const @ws: f32[4] = [0.01, 0.02, 0.003, 0.04] const @wz: i8[4] = splat 0
          const @b: i32[4] = [100, -200, 300, 4] const @bs: f32[4] = [0.0002, 0.0004, 0.00006, 0.0008]
          const @m: i8[12, 5] = splat -7 const @ms: f32[5] = [0.1, 0.2, 0.3, 0.4, 0.5]
          const @shape: i64[2] = [2, 12]
          input %x: u8[2, 3, 2, 2]
          {body}
        }}"
    );
    let graph = parse(&text).unwrap();
    let bytes = (0..24).map(|i| (i * 89 + 7) as u8).collect();
    let x = [Tensor::from_vec::<u8>(&[2, 3, 2, 2], bytes)];
    let mut exact = graph.clone();
    assert!(integers(&mut exact).unwrap(), "{text}");
    verify_structure(&exact).unwrap();
    assert!(!integers(&mut exact).unwrap(), "a second time changes something: {exact}");
    let (floats, integers) = (eval::graph::run(&graph, &x).unwrap(), run(&graph, &x).unwrap());
    for (a, b) in floats.iter().zip(&integers) {
        assert_eq!(a.ty(), b.ty());
        for (a, b) in a.to_f64s().unwrap().iter().zip(b.to_f64s().unwrap()) {
            assert!((a - b).abs() <= near * (1.0 + b.abs()), "{a} {b}\n{exact}");
        }
    }
    assert_eq!(Shape::of(&floats[0].shape), Shape::of(&integers[0].shape));
    exact.to_string()
}

const X: &str = "%f = DequantizeLinear(%x, @s, @z)";
const W: &str = "%g = DequantizeLinear(@w, @ws, @wz) {axis = 0}";

#[test]
fn convolutions() {
    let text = check(&format!("{X} {W} %y = Conv(%f, %g) {{pads = [1, 1, 1, 1]}} output %y"), 1e-6);
    assert!(text.contains("ConvInteger(%x, @w, @z, @wz)") && !text.contains("DequantizeLinear"), "{text}");
    // A bias of the products' scales is part of the sum; another is not.
    let bias = "%h = DequantizeLinear(@b, @bs)";
    let text = check(
        &format!("{X} {W} {bias} {{axis = 0}} %y = Conv(%f, %g, %h) {{pads = [1, 1, 1, 1]}} output %y"),
        1e-6,
    );
    assert!(text.contains("@y.bias: i32[4, 1, 1]"), "{text}");
    let bias = bias.replace("@bs", "@ws");
    let text = check(
        &format!("{X} {W} {bias} {{axis = 0}} %y = Conv(%f, %g, %h) {{pads = [1, 1, 1, 1]}} output %y"),
        1e-6,
    );
    assert!(text.contains("Reshape("), "{text}");
}

#[test]
fn padding_of_what_is_quantised_by_its_range() {
    let (range, pads) = (
        "%f = Cast(%x) {to = 1} %q, %qs, %qz = DynamicQuantizeLinear(%f)",
        "pads = [1, 0, 2, 1], strides = [2, 1]",
    );
    let text = check(
        &format!("{range} %y = ConvInteger(%q, @w, %qz, @wz) {{{pads}}} %r = Cast(%y) {{to = 1}} output %r"),
        0.0,
    );
    assert!(
        text.contains("Pad(%f") && text.contains("ConvInteger(%y.quantized") && !text.contains("pads ="),
        "{text}"
    );
    // With a zero point of its own the padding is another number.
    let text = format!(
        "graph @m opset(21) {{
          const @w: i8[4, 3, 1, 1] = splat 5 const @z: u8[] = [7] input %f: f32[1, 3, 2, 2]
          %q, %s, %qz = DynamicQuantizeLinear(%f) %y = ConvInteger(%q, @w, @z) {{{pads}}} output %y
        }}"
    );
    assert!(!integers(&mut parse(&text).unwrap()).unwrap());
}

#[test]
fn matrix_products() {
    let right = "%g = DequantizeLinear(@m, @ms) {axis = 1} %r = Reshape(%f, @shape)";
    let text = check(&format!("{X} {right} %y = MatMul(%r, %g) output %y"), 1e-6);
    assert!(text.contains("MatMulInteger(") && text.contains("Reshape(%x"), "{text}");
    let text = check(&format!("{X} {right} %y = Gemm(%r, %g) output %y"), 1e-6);
    assert!(text.contains("MatMulInteger("), "{text}");
}

#[test]
fn weights_alone() {
    let f = "%f = Cast(%x) {to = 1} %r = Reshape(%f, @shape)";
    for (of, scale, zeros, wanted) in [
        ("i8", "[512] = splat 0.1", "", "@y.scales)"),
        ("u8", "[] = [0.1]", "const @q: u8[] = [7]", "@y.scales, @y.zeros)"),
    ] {
        let (values, given) =
            (if zeros.is_empty() { "-7" } else { "9" }, if zeros.is_empty() { "" } else { ", @q" });
        let text = check(
            &format!(
                "const @p: {of}[12, 512] = splat {values} const @ps: f32{scale} {zeros} {f}
                 %g = DequantizeLinear(@p, @ps{given}) %y = MatMul(%r, %g) output %y"
            ),
            1e-6,
        );
        assert!(text.contains("MatMulNBits") && text.contains(wanted), "{text}");
    }
}

#[test]
fn weights_of_four_bits_alone() {
    for (dtype, shape, list) in
        [(DType::I4, &[2, 256][..], "axis = 0, block_size = 16"), (DType::U4, &[256], "axis = -1")]
    {
        let text = format!(
            "graph @m opset(21) {{
              input %x: f32[2, 20] input %w: {dtype}[20, 256] input %z: {dtype}{shape:?} input %s: f32{shape:?}
              %g = DequantizeLinear(%w, %s, %z) {{{list}}} %y = MatMul(%x, %g) output %y
            }}"
        );
        let mut graph = parse(&text).unwrap();
        let mut fixed =
            |name: &str, tensor: Tensor| graph.fix_input(graph.find(name).unwrap(), tensor).unwrap();
        let numbers = |shape: &[usize]| {
            let mut b = Builder::new(dtype, shape);
            (0..shape.iter().product::<usize>()).for_each(|i| b.push_bits((i * 7 % 16) as u64));
            b.finish().unwrap()
        };
        fixed("w", numbers(&[20, 256]));
        fixed("z", numbers(shape));
        let scales = (0..shape.iter().product::<usize>()).map(|i| 0.1 + i as f32 / 8.0).collect();
        fixed("s", Tensor::from_vec::<f32>(shape, scales));
        let x = [Tensor::from_vec::<f32>(&[2, 20], (0..40).map(|i| (i * 13 % 29) as f32 - 14.0).collect())];
        let (floats, packed) = (eval::graph::run(&graph, &x).unwrap(), run(&graph, &x).unwrap());
        assert!(integers(&mut graph).unwrap());
        assert!(graph.summary().to_string().contains("MatMulNBits"));
        for (a, b) in floats[0].to_f64s().unwrap().iter().zip(packed[0].to_f64s().unwrap()) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

#[test]
fn elements_that_are_moved_or_chosen() {
    let end = "%q = QuantizeLinear(%p, @s, @z) %r = Identity(%q) output %r";
    for op in [
        "MaxPool(%f) {kernel_shape = [2, 2]}",
        "Reshape(%f, @shape)",
        "Transpose(%f)",
        "Concat(%f, %f) {axis = 1}",
    ] {
        let text = check(&format!("{X} %p = {op} {end}"), 0.0);
        assert!(!text.contains("quantizeLinear(%") && !text.contains("DequantizeLinear(%"), "{text}");
    }
    // Another scale: the integers change.
    let text = check(&format!("{X} %p = Transpose(%f) %q = QuantizeLinear(%p, @t, @z) output %q"), 0.0);
    assert!(text.contains("QuantizeLinear(%p.f32.0"), "{text}");
}

#[test]
fn functions_of_one_value() {
    let silu = "%g = Sigmoid(%f) %gq = QuantizeLinear(%g, @t, @one) %gf = DequantizeLinear(%gq, @t, @one)
      %p = Mul(%f, %gf) %q = QuantizeLinear(%p, @s, @z) output %q";
    let text = check(&format!("{X} {silu}"), 0.0);
    assert!(text.contains("Gather(@q.table") && !text.contains("Sigmoid"), "{text}");
    // Few operations are done, not looked up.
    let text = check(
        &format!(
            "{X} %g = Relu(%f) %q = QuantizeLinear(%g, @t, @one) %y = Identity(%q) %h = Reshape(%f, @shape) output %y output %h"
        ),
        0.0,
    );
    assert!(!text.contains("Gather("), "{text}");
}

#[test]
fn averages() {
    let text = check(&format!("{X} %y = GlobalAveragePool(%f) output %y"), 1e-6);
    assert!(text.contains("GlobalAveragePool(%y.less"), "{text}");
    let pool = "AveragePool(%f) {kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1}";
    check(&format!("{X} %y = {pool} output %y"), 1e-6);
}

#[test]
fn what_is_left_alone() {
    let text = "graph @m opset(21) {
      const @w: i8[4] = splat 3 const @s: f32[2] = [0.1, 0.2]
      input %x: u8[2, 2] input %unit: f32[]
      %f = DequantizeLinear(%x, %unit) %y = Transpose(%f)
      %g = DequantizeLinear(%x, @s) %z = Transpose(%g)
      output %y output %z
    }";
    let mut graph = parse(text).unwrap();
    let before = graph.to_string();
    assert!(!integers(&mut graph).unwrap());
    assert_eq!(graph.to_string(), before);
}
