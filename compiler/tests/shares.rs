//! Sparse rows of very different lengths: threads have as many weights as each other, and results the bits of one thread.

use kiln_compiler::internals::emit::jit::Model;
use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::format::bcsr::Block;
use kiln_ir::kernel::plan::{Plan, Schedule, Sparse, Storage};
use kiln_ir::{Tensor, graph};

const ROWS: usize = 256;
const COLUMNS: usize = 1024;

/// A row times a matrix of 16 groups of rows, of which each has fewer zeros than the one before; rows of a group have theirs
/// at the same places, or each at its own.
fn product(alike: bool) -> String {
    let patterns = if alike { 1 } else { 16 };
    let list = |n: usize, value: &dyn Fn(usize) -> f32| {
        let all: Vec<String> = (0..n).map(|i| format!("{:?}", value(i))).collect();
        all.join(", ")
    };
    let part = |i: usize| (i * 7919 % 4099) as f32 / 4099.0 - 1.0;
    let density = |i: usize| (i * i) as f32 / 600.0 + 0.01;
    format!(
        "graph @m opset(17) {{
          input %x: f32[1, {COLUMNS}]
          const @density: f32[16, 1, 1] = [{}]
          const @pattern: f32[1, {patterns}, {COLUMNS}] = [{}]
          const @ones: f32[1, 16, 1] = splat 1.0
          const @shape: i64[2] = [{ROWS}, {COLUMNS}]
          %sum = Add(@density, @pattern)
          %few = Relu(%sum)
          %all = Mul(%few, @ones)
          %w = Reshape(%all, @shape)
          %y = Gemm(%x, %w) {{transB = 1}}
          output %y
        }}",
        list(16, &density),
        list(patterns * COLUMNS, &part)
    )
}

fn sparse(plan: &Plan) -> Option<(&Sparse, &[u8])> {
    plan.kernels.iter().find_map(|kernel| {
        let Schedule::Sparse(sparse) = &kernel.schedule else { return None };
        assert!(kernel.grain.is_some() && kernel.shared.is_some_and(|s| s.along == sparse.row));
        let rhs = kernel.form.loads().into_iter().find_map(|a| match a.storage {
            Storage::Weights { offset_bytes } => plan.weights.iter().find(|w| w.offset_bytes == offset_bytes),
            _ => None,
        })?;
        Some((sparse, &rhs.tensor.data[..]))
    })
}

#[test]
fn halves_have_as_many_weights_and_all_threads_the_same_bits() {
    let x: Vec<f32> = (0..COLUMNS).map(|i| (i * 31 % 97) as f32 / 50.0 - 1.0).collect();
    let inputs = [Tensor::from_vec(&[1, COLUMNS], x)];
    for alike in [true, false] {
        for level in ["baseline", "avx2", "native"] {
            let Ok(target) = kiln_targets::resolve("host", level, "") else { continue };
            let options = Options::new(target);
            let plan = pipeline::compile(graph::parse(&product(alike)).unwrap(), &options).unwrap();
            let (sparse, data) = sparse(&plan).unwrap_or_else(|| panic!("{plan}"));
            let weights = &sparse.weights;
            let own = weights.block == Block::new(1, 1) || weights.block.is_slice();
            assert_eq!(own, !alike, "{}", weights.block);
            let number = |entry: usize, at: usize| {
                let at = entry * weights.block.entry_bytes() + at;
                u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize
            };
            let rows = weights.block_rows();
            let middle = number(rows / 2, kiln_ir::format::bcsr::Bcsr::SHARE_AT);
            let before = number(middle, 0) as f64 / weights.blocks as f64;
            assert!(middle > rows / 2 && (0.4..0.6).contains(&before), "{middle} of {rows}: {before}");
            let run = |threads: usize| {
                let model = Model::new(plan.clone(), &options.target, threads).unwrap();
                model.run(&inputs).unwrap().swap_remove(0)
            };
            let one = run(1);
            for threads in [2, 3, 7] {
                assert_eq!(run(threads).data[..], one.data[..], "{level}, {threads} threads");
            }
        }
    }
}
