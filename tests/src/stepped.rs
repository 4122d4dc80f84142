//! Models for tests that step through what is compiled, one instruction at a time: small, of one input and one result, each with other
//! code.

/// Names and texts: tiles with many accumulators and little ones, vectors of functions, plain loops, products of bytes, a loop
/// of the function that a caller calls.
pub const STEPPED: [(&str, &str); 5] = [
    (
        "layers",
        "graph @m opset(17) {
  input %x: f32[1, 3, 9, 9]
  const @w: f32[13, 3, 3, 3] = splat 0.5
  const @v: f32[637, 10] = splat 0.25
  const @s: i64[2] = [1, 637]
  %c = Conv(%x, @w)
  %r = Relu(%c)
  %f = Reshape(%r, @s)
  %p = MatMul(%f, @v)
  %y = Softmax(%p)
  output %y
}",
    ),
    (
        "functions",
        "graph @m opset(17) {
  input %x: f32[3, 37]
  %a = Erf(%x)
  %b = Tan(%a)
  %c = Tanh(%b)
  %y = Softmax(%c)
  output %y
}",
    ),
    (
        "order",
        "graph @m opset(17) {
  input %x: f32[3, 17]
  const @k: i64[1] = [5]
  %y, %i = TopK(%x, @k)
  output %y
}",
    ),
    (
        "bytes",
        "graph @m opset(17) {
  input %x: u8[1, 4, 5, 5]
  const @w: i8[7, 4, 3, 3] = splat 3
  %y = ConvInteger(%x, @w)
  output %y
}",
    ),
    (
        "turns",
        "graph @m opset(17) {
  input %x: f32[5, 7]
  const @w: f32[7, 7] = splat 0.25
  const @n: i64[] = [9]
  %y = Loop(@n, _, %x, @w) {kiln.captures = 1, body = graph @b opset(17) {
    input %i: i64[] input %go: bool[] input %s: f32[5, 7] input %w: f32[7, 7]
    %p = MatMul(%s, %w)
    %t = Tanh(%p)
    output %go output %t
  }}
  output %y
}",
    ),
];
