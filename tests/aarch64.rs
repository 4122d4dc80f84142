//! Code for AArch64: compiled here, linked by the cross compiler, run under an emulator of the base instruction set.
//!
//! Sweeps, compared with the graph interpreter; shipped models, compared with the results of this machine; large
//! models when the folder that `KILN_MODELS` names, or `.cache/models`, has them. Sweeps of bytes run at the levels with
//! products of four bytes too, on an emulator of all instructions.

use std::path::PathBuf;
use std::process::ExitCode;

use ::object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use kiln_compiler::internals::emit::object::{self, ObjectOptions};
use kiln_compiler::internals::pipeline;
use kiln_ir::Tensor;
use kiln_ir::graph::{self, Graph};
use kiln_ir::kernel::plan::{Plan, Schedule};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::models::{self, Model};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, repository, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// The level that every machine has.
const BASE: &str = "baseline";

/// The outputs of a graph's library for a level on an emulated machine.
fn emulated(
    (level, name): (&str, &str),
    graph: Graph,
    inputs: &[Tensor],
    check: impl Fn(&Plan) -> Outcome,
) -> Outcome<Vec<Tensor>> {
    let options = stages::aarch64_options_of(level)?;
    let host = if level == BASE { driver::AARCH64 } else { driver::AARCH64_MAX };
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    check(&plan)?;
    let case = Case::new(name, &plan);
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_library(folder.path(), name, plan, &options)?;
    driver::run_one(host, folder.path(), case, inputs)
}

fn sweep(level: &str, sweep: &Sweep) -> Outcome {
    let graph = sweep.graph()?;
    let inputs = sweep.inputs(&graph)?;
    let expected = kiln_ir::quantized::run(&graph, &inputs).map_err(text)?;
    let found = emulated((level, sweep.name), graph, &inputs, |plan| sweep.check(plan))?;
    compare::close(&found, &expected, ACROSS_STAGES)
}

fn model(model: &Model) -> Outcome {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let here = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph.clone(), &here).map_err(text)?;
    let expected = stages::run_jit(&plan, &here, 1, &inputs)?;
    let found = emulated((BASE, &model.name), graph, &inputs, |_| Ok(()))?;
    compare::close(&found, &expected, ACROSS_STAGES)
}

/// A large product is tiles of 6 x 16, whose loop over depth is loads of vectors, multiply-adds by lane and counters:
/// no move, no duplication of a lane, nothing of the stack. Decoded from the bytes of the object.
fn tile_of_6_by_16() -> Outcome {
    let source = "graph @m opset(17) {
  input %x: f32[336, 256]
  const @w: f32[256, 192] = splat 0.5
  %y = MatMul(%x, @w)
  output %y
}";
    let options = stages::aarch64_options()?;
    let plan = pipeline::compile(graph::parse(source).map_err(text)?, &options).map_err(text)?;
    match plan.kernels.iter().map(|k| &k.schedule).collect::<Vec<_>>()[..] {
        [Schedule::Tile(tile)] if (tile.mr, tile.nr, tile.unroll) == (6, 16, 8) => {}
        _ => return Err(format!("no tile of 6 x 16:\n{plan}")),
    }
    let object = object::emit(plan, &options.target, "m", &ObjectOptions::default()).map_err(text)?;
    let words = kernel_words(&object.to_bytes().map_err(text)?)?;
    let body = words[longest_loop(&words)].to_vec();
    let count = |mask: u32, bits: u32| body.iter().filter(|word| **word & mask == bits).count();
    // FMLA by element of 4 x f32; LDR and LDP of 16 bytes, base and offset; ADD and SUBS of immediates; B.NE.
    let by_element = count(0xffc0_f400, 0x4f80_1000);
    let (loads, pairs) = (count(0xffc0_0000, 0x3dc0_0000), count(0xffc0_0000, 0xad40_0000));
    let loads_of_stack = count(0xffc0_03e0, 0x3dc0_03e0) + count(0xffc0_03e0, 0xad40_03e0);
    let counters = count(0x1f80_0000, 0x1100_0000);
    let branches = count(0xff00_001f, 0x5400_0001);
    // Eight steps of 24 multiply-adds; two vectors of four steps for each row, two pairs of vectors of columns for each step.
    let found = (by_element, loads, pairs, loads_of_stack, branches);
    if found != (192, 12, 16, 0, 1) || 192 + 12 + 16 + 1 + counters != body.len() || counters > 3 {
        return Err(format!("{found:?} multiply-adds, loads, pairs, loads of the stack in {body:#010x?}"));
    }
    Ok(())
}

/// The instructions of the first kernel.
fn kernel_words(object: &[u8]) -> Outcome<Vec<u32>> {
    let file = ::object::File::parse(object).map_err(text)?;
    let symbol = file.symbols().find(|s| s.name() == Ok("m_kernel_0")).ok_or("no kernel")?;
    let section = symbol.section_index().ok_or("an undefined kernel")?;
    let data = file.section_by_index(section).and_then(|s| s.data()).map_err(text)?;
    let bytes = &data[symbol.address() as usize..][..symbol.size() as usize];
    Ok(bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect())
}

/// From the target of a backward branch to the branch, without another such pair inside.
fn longest_loop(words: &[u32]) -> std::ops::Range<usize> {
    let (mut best, mut innermost_from) = (0..0, 0);
    for (i, word) in words.iter().enumerate() {
        // B has 26 bits of distance, B.cond and CBNZ have 19.
        let distance = match word {
            w if w & 0xfc00_0000 == 0x1400_0000 => (w << 6) as i32 >> 6,
            w if w & 0xff00_0010 == 0x5400_0000 || w & 0x7e00_0000 == 0x3400_0000 => (w << 8) as i32 >> 13,
            _ => continue,
        };
        let to = i as i64 + i64::from(distance);
        if distance >= 0 || to < 0 {
            continue;
        }
        if to as usize >= innermost_from && i + 1 - to as usize > best.len() {
            best = to as usize..i + 1;
        }
        innermost_from = i + 1;
    }
    best
}

/// Big models, where they are: one of depthwise windows, one of Winograd's convolutions.
fn big() -> Vec<Model> {
    let folder =
        std::env::var_os("KILN_MODELS").map_or_else(|| repository().join(".cache/models"), PathBuf::from);
    let wanted = ["mobilenet_v2", "resnet18"];
    models::in_folder(&folder).into_iter().filter(|m| wanted.contains(&&*m.name)).collect()
}

fn main() -> ExitCode {
    let missing = tools::missing_for_aarch64();
    let skip = !missing.is_empty() && !tools::on_ci();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        eprintln!("{missing} not found: apt-get install gcc-aarch64-linux-gnu qemu-user-static");
    }
    let sweeps = sweeps::all().into_iter().map(|s| Trial::test(s.name, move || Ok(sweep(BASE, &s)?)));
    let models = models::shipped().into_iter().chain(big());
    let models = models.map(|m| Trial::test(m.name.clone(), move || Ok(model(&m)?)));
    let of_bytes = ["dotprod", "i8mm"].into_iter().flat_map(|level| {
        let sweeps = sweeps::all().into_iter().filter(|s| s.name.contains("bytes"));
        sweeps.map(move |s| Trial::test(format!("{level}: {}", s.name), move || Ok(sweep(level, &s)?)))
    });
    let of_halves = sweeps::all().into_iter().filter(|s| s.name.contains("f16"));
    let of_halves = of_halves
        .flat_map(|s| ["armv8.6", "cortex-a510"].map(|level| (level, s.clone())))
        .map(|(level, s)| Trial::test(format!("{level}: {}", s.name), move || Ok(sweep(level, &s)?)));
    let trials = sweeps.chain(models).chain(of_bytes).chain(of_halves).map(|t| t.with_ignored_flag(skip));
    let trials = trials.chain([Trial::test("tile_of_6_by_16", || Ok(tile_of_6_by_16()?))]).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
