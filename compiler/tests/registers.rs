//! Fusion leaves kernels that fit the registers of an encoder.

use std::fmt::Write as _;

use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::graph;
use kiln_ir::kernel::plan::Provider;

#[test]
fn sums_of_many_tensors_keep_the_width_of_the_vectors() {
    let mut source = "graph @m opset(17) {\n".to_owned();
    (0..30).for_each(|i| writeln!(source, "  input %x{i}: f32[64, 48]").unwrap());
    source += "  input %w: f32[48, 48]\n  %s0 = MatMul(%x0, %w)\n";
    (1..30).for_each(|i| writeln!(source, "  %s{i} = Add(%s{}, %x{i})", i - 1).unwrap());
    source += "  output %s29\n}\n";
    for (level, vector_bytes) in [("sse2", 16), ("avx2", 32), ("avx512", 64)] {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
        let plan = pipeline::compile(graph::parse(&source).unwrap(), &Options::new(target)).unwrap();
        assert!((3..8).contains(&plan.kernels.len()), "{} kernels", plan.kernels.len());
        for kernel in &plan.kernels {
            assert_eq!(kernel.provider, Provider::Encoder { vector_bytes }, "{level}: {}", kernel.why);
        }
    }
}
