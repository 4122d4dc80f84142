//! AVX-512 on a machine that is emulated: the libraries that a user gets, in an Ice Lake without an operating system.
//!
//! The outputs are compared with the graph interpreter and, on a machine that has AVX-512 itself, bit for bit with
//! what the same libraries give there.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_ir::graph::Graph;
use kiln_ir::kernel::plan::Plan;
use kiln_ir::{DType, Tensor};
use kiln_tests::compare::{self, ACROSS_RUNTIMES, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::models::{self, Model};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, bochs, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// The outputs of a graph's library on the emulated machine.
fn emulated(
    name: &str,
    graph: Graph,
    inputs: &[Tensor],
    check: impl Fn(&Plan) -> Outcome,
) -> Outcome<Vec<Tensor>> {
    let options = stages::options("avx512", 2)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    check(&plan)?;
    let case = Case::new(name, &plan);
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_library(folder.path(), name, plan, &options)?;
    let found = bochs::run(folder.path(), std::slice::from_ref(&case), &[inputs.to_vec()])?.remove(0);
    if stages::runs_here(&options.target)? {
        let here = driver::run_one(driver::NATIVE, folder.path(), case, inputs)?;
        compare::same_bits(&without_faults_of_bochs(&found, &here)?, &here)
            .map_err(|e| format!("against the same library on this machine: {e}"))?;
    }
    Ok(found)
}

fn sweep(sweep: &Sweep) -> Outcome {
    let graph = sweep.graph()?;
    let inputs = sweep.inputs(&graph)?;
    let expected = kiln_ir::quantized::run(&graph, &inputs).map_err(text)?;
    let found = emulated(sweep.name, graph, &inputs, |plan| sweep.check(plan))?;
    compare::close(&without_faults_of_bochs(&found, &expected)?, &expected, ACROSS_STAGES)
}

/// What Bochs 2.7 would have found without two faults, which neither the manual nor a processor has (`tests/levels.rs` runs
/// the same libraries on one): its `vcvtps2ph` takes the neighbour away from zero where halves are tied, and its
/// `vcvtudq2ps` drops the lowest bit of integers from 2^31 on before it rounds. Nothing but such a neighbour is forgiven.
fn without_faults_of_bochs(found: &[Tensor], right: &[Tensor]) -> Outcome<Vec<Tensor>> {
    let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    let single = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let of_unsigned = 2f32.powi(31)..=2f32.powi(32);
    let of = |(found, right): (&Tensor, &Tensor)| {
        let forgiven = |found: &[u8], right: &[u8]| match found.len() {
            2 => half(found) == half(right).wrapping_add(1) && half(right) & 1 == 0,
            _ => {
                single(found).wrapping_add(1) == single(right)
                    && of_unsigned.contains(&f32::from_bits(single(right)))
            }
        };
        if found.ty() != right.ty() || !matches!(found.dtype, DType::F16 | DType::F32) {
            return Ok(found.clone());
        }
        let size = found.dtype.size();
        let elements = found.data.chunks_exact(size).zip(right.data.chunks_exact(size));
        let data: Vec<u8> = elements.flat_map(|(f, r)| if forgiven(f, r) { r } else { f }).copied().collect();
        Tensor::new(found.dtype, found.shape.clone(), data.into()).map_err(text)
    };
    found.iter().zip(right).map(of).collect()
}

fn model(model: &Model) -> Outcome {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let found = emulated(&model.name, graph, &inputs, |_| Ok(()))?;
    compare::close(&found, &model.expected()?, ACROSS_RUNTIMES)
}

fn main() -> ExitCode {
    let missing = bochs::missing();
    let skip = !missing.is_empty() && !tools::on_ci();
    if !missing.is_empty() {
        eprintln!("{} not found: apt-get install {}", missing.join(" and "), bochs::PACKAGES);
    }
    let sweeps = sweeps::all().into_iter().map(|s| Trial::test(s.name, move || Ok(sweep(&s)?)));
    let models = models::shipped().into_iter().map(|m| Trial::test(m.name.clone(), move || Ok(model(&m)?)));
    let trials = sweeps.chain(models).map(|t| t.with_ignored_flag(skip)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
