//! Kernels by themselves, at every level that this machine has: `cargo bench -p kiln-benches [FILTER]`.
//!
//! Items are operations (elements for softmax), so that the throughput column reads as GFLOP/s.

use divan::Bencher;
use divan::counter::ItemsCount;
use kiln_compiler::internals::emit::jit::{Model, check_host};
use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::Tensor;
use kiln_ir::graph::parse;

fn main() {
    divan::main();
}

/// The levels of this machine, lowest first.
fn levels() -> Vec<&'static str> {
    let levels = kiln_targets::list().into_iter().flat_map(|(_, levels)| levels).map(|level| level.name);
    let runs = |level: &&str| {
        kiln_targets::resolve("host", level, "").is_ok_and(|target| check_host(&target).is_ok())
    };
    levels.filter(runs).collect()
}

/// Times the kernels that node `op` of a graph becomes; layouts of arguments are changed before.
fn node(bencher: Bencher<'_, '_>, level: &str, graph: &str, winograd: bool, items: usize) {
    let target = kiln_targets::resolve("host", level, "").expect("a level of this machine");
    let options = Options { winograd, ..Options::new(target) };
    let graph = parse(graph).expect("the text of a graph");
    let plan = pipeline::compile(graph, &options).unwrap_or_else(|e| panic!("{e}"));
    let model = Model::new(plan, &options.target, 1).expect("code for this machine");
    let fill = |port: &kiln_ir::kernel::plan::Port| {
        let shape = port.ty.shape.as_const().expect("constant shapes");
        Tensor::from_vec(&shape, vec![0.5f32; shape.iter().product()])
    };
    let inputs: Vec<Tensor> = model.inputs().iter().map(fill).collect();
    let mut session = model.session_with(&inputs).expect("arguments of the model");
    session.run().expect("a run");
    let of_node = |name: &str| name == "op" || name.starts_with("op.");
    let kernels: Vec<usize> =
        (0..model.kernels().len()).filter(|&i| of_node(&model.kernels()[i].name)).collect();
    assert!(!kernels.is_empty(), "the node has no kernel of its own");
    bencher.counter(ItemsCount::new(items)).bench_local(|| {
        kernels.iter().for_each(|&kernel| session.run_kernel(kernel));
    });
}

#[divan::bench(args = levels())]
fn gemm_256x256x256(bencher: Bencher<'_, '_>, level: &str) {
    let graph = r#"graph @m opset(17) {
  input %x: f32[256, 256]
  const @w: f32[256, 256] = splat 0.5
  %y = MatMul(%x, @w) {} "op"
  output %y
}"#;
    node(bencher, level, graph, true, 2 * 256 * 256 * 256);
}

#[divan::bench(args = levels())]
fn gemv_1x1024x1024(bencher: Bencher<'_, '_>, level: &str) {
    let graph = r#"graph @m opset(17) {
  input %x: f32[1, 1024]
  const @w: f32[1024, 1024] = splat 0.5
  %y = MatMul(%x, @w) {} "op"
  output %y
}"#;
    node(bencher, level, graph, true, 2 * 1024 * 1024);
}

/// A row times weights of 4 bits in blocks of 32, with zero points of their own or without.
fn packed_gemv(bencher: Bencher<'_, '_>, level: &str, (k, n): (usize, usize), zeros: bool) {
    let (constant, operand) = match zeros {
        true => (format!("const @z: u8[{n}, {}] = splat 119", k / 64), ", @z"),
        false => (String::new(), ""),
    };
    let blocks = k / 32;
    let graph = format!(
        r#"graph @m opset(17, "com.microsoft" = 1) {{
  input %x: f32[1, {k}]
  const @q: u8[{n}, {blocks}, 16] = splat 150
  const @s: f32[{n}, {blocks}] = splat 0.5
  {constant}
  %y = "com.microsoft"::MatMulNBits(%x, @q, @s{operand}) {{K = {k}, N = {n}, bits = 4, block_size = 32}} "op"
  output %y
}}"#
    );
    node(bencher, level, &graph, true, 2 * k * n);
}

/// 10 MiB with their scales.
#[divan::bench(args = levels())]
fn packed_gemv_1x4096x4096(bencher: Bencher<'_, '_>, level: &str) {
    packed_gemv(bencher, level, (4096, 4096), false);
}

/// 80 MiB, which come from memory.
#[divan::bench(args = levels())]
fn packed_gemv_1x16384x8192(bencher: Bencher<'_, '_>, level: &str) {
    packed_gemv(bencher, level, (16384, 8192), false);
}

/// 84 MiB.
#[divan::bench(args = levels())]
fn zeroed_gemv_1x16384x8192(bencher: Bencher<'_, '_>, level: &str) {
    packed_gemv(bencher, level, (16384, 8192), true);
}

/// Bytes by weights of the whole range: activations that stand around a byte near the range's end, which are looked at before
/// they are multiplied two by two, or around its middle.
fn product_of_bytes(bencher: Bencher<'_, '_>, level: &str, zero: u8) {
    let graph = format!(
        r#"graph @m opset(17) {{
  input %x: f32[256, 512]
  const @step: f32[] = [0.5]
  const @zero: u8[] = [{zero}]
  const @w: i8[512, 256] = splat 113
  %q = QuantizeLinear(%x, @step, @zero) {{}} "q"
  %y = MatMulInteger(%q, @w, @zero) {{}} "op"
  output %y
}}"#
    );
    node(bencher, level, &graph, true, 2 * 256 * 512 * 256);
}

#[divan::bench(args = levels())]
fn product_of_small_bytes(bencher: Bencher<'_, '_>, level: &str) {
    product_of_bytes(bencher, level, 4);
}

#[divan::bench(args = levels())]
fn product_of_bytes_around_the_middle(bencher: Bencher<'_, '_>, level: &str) {
    product_of_bytes(bencher, level, 128);
}

const CONV: &str = r#"graph @m opset(17) {
  input %x: f32[1, 64, 56, 56]
  const @w: f32[64, 64, 3, 3] = splat 0.5
  %y = Conv(%x, @w) {pads = [1, 1, 1, 1]} "op"
  output %y
}"#;
const CONV_FLOPS: usize = 2 * 9 * 64 * 64 * 56 * 56;

#[divan::bench(args = levels())]
fn conv_3x3_by_definition(bencher: Bencher<'_, '_>, level: &str) {
    node(bencher, level, CONV, false, CONV_FLOPS);
}

/// Counted by the operations of the definition.
#[divan::bench(args = levels())]
fn conv_3x3_by_minimal_filtering(bencher: Bencher<'_, '_>, level: &str) {
    node(bencher, level, CONV, true, CONV_FLOPS);
}

/// A 1 x 1 convolution of 192 channels over 28 x 28 pixels, whose weights are kept in one of ten blocks of so many channels.
fn sparse(bencher: Bencher<'_, '_>, level: &str, height: usize) {
    let value = |i: usize| {
        let block = (i / 192 / height * 192 + i % 192) as u64;
        if block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 1023 < 102 { "0.5" } else { "0.0" }
    };
    let values: Vec<&str> = (0..192 * 192).map(value).collect();
    let graph = format!(
        "graph @m opset(17) {{
  input %x: f32[1, 192, 28, 28]
  const @w: f32[192, 192, 1, 1] = [{}]
  %y = Conv(%x, @w) {{}} \"op\"
  output %y
}}",
        values.join(", ")
    );
    node(bencher, level, &graph, true, 2 * 192 * 192 * 28 * 28);
}

/// Counted by the operations of the definition.
#[divan::bench(args = levels())]
fn sparse_1x1_in_blocks_of_4(bencher: Bencher<'_, '_>, level: &str) {
    sparse(bencher, level, 4);
}

/// Counted by the operations of the definition.
#[divan::bench(args = levels())]
fn sparse_1x1_unstructured(bencher: Bencher<'_, '_>, level: &str) {
    sparse(bencher, level, 1);
}

#[divan::bench(args = levels())]
fn depthwise_3x3(bencher: Bencher<'_, '_>, level: &str) {
    let graph = r#"graph @m opset(17) {
  input %x: f32[1, 144, 28, 28]
  const @w: f32[144, 1, 3, 3] = splat 0.5
  %y = Conv(%x, @w) {group = 144, pads = [1, 1, 1, 1]} "op"
  output %y
}"#;
    node(bencher, level, graph, true, 2 * 9 * 144 * 28 * 28);
}

/// Bytes of 64 channels.
#[divan::bench(args = levels())]
fn max_pool_of_bytes_3x3(bencher: Bencher<'_, '_>, level: &str) {
    let graph = r#"graph @m opset(17) {
  input %x: f32[1, 64, 112, 112]
  const @s: f32[] = [0.1] const @z: u8[] = [3]
  %q = QuantizeLinear(%x, @s, @z)
  %y = MaxPool(%q) {kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]} "op"
  output %y
}"#;
    node(bencher, level, graph, true, 9 * 64 * 56 * 56);
}

#[divan::bench(args = levels())]
fn softmax_rows_of_128(bencher: Bencher<'_, '_>, level: &str) {
    let graph = r#"graph @m opset(17) {
  input %x: f32[1536, 128]
  %y = Softmax(%x) {axis = -1} "op"
  output %y
}"#;
    node(bencher, level, graph, true, 1536 * 128);
}
