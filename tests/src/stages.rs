//! One model at every point of the way: imported graph, optimised graph, kernel interpreter, plan interpreter, JIT,
//! linked object.
//!
//! The first point whose outputs differ names the guilty stage.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use kiln_compiler::internals::codegen::KernelStore;
use kiln_compiler::internals::emit::header::{self, Built};
use kiln_compiler::internals::emit::image::Image;
use kiln_compiler::internals::emit::object::{self, ObjectOptions};
use kiln_compiler::internals::emit::{archive, c, hash, jit};
use kiln_compiler::internals::pipeline::{self, Compiled, Observer, Options};
use kiln_compiler::internals::variant::Variant;
use kiln_ir::Tensor;
use kiln_ir::graph::Graph;
use kiln_ir::kernel::Program;
use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;

use crate::compare::{self, ACROSS_STAGES};
use crate::driver::{self, Case};
use crate::{Outcome, text};

/// What the passes make of a graph.
#[derive(Debug)]
pub struct Trace {
    /// The graph after each pass.
    pub graphs: Vec<(&'static str, Graph)>,
    /// The program after each pass.
    pub programs: Vec<(&'static str, Program)>,
    /// The plan.
    pub plan: Plan,
}

#[derive(Default)]
struct Keep {
    graphs: Vec<(&'static str, Graph)>,
    programs: Vec<(&'static str, Program)>,
}

impl Observer for Keep {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        self.graphs.push((pass, graph.clone()));
    }

    fn program(&mut self, pass: &'static str, program: &Program) {
        self.programs.push((pass, program.clone()));
    }
}

/// Runs the passes and keeps what each of them leaves.
pub fn trace(graph: Graph, options: &Options) -> Outcome<Trace> {
    let mut keep = Keep::default();
    match pipeline::run(graph, options, &mut keep).map_err(text)? {
        Compiled::Plan(plan) => Ok(Trace { graphs: keep.graphs, programs: keep.programs, plan }),
        _ => Err("the pipeline stopped early".to_owned()),
    }
}

/// Options for a processor of this machine.
pub fn options(cpu: &str, opt: u8) -> Outcome<Options> {
    options_with(cpu, "", opt)
}

/// The same with changes of its features.
pub fn options_with(cpu: &str, features: &str, opt: u8) -> Outcome<Options> {
    let target = kiln_targets::resolve("", cpu, features).map_err(text)?;
    Ok(Options { opt, ..Options::new(target) })
}

/// Options for AArch64 with nothing but the base instruction set.
pub fn aarch64_options() -> Outcome<Options> {
    aarch64_options_of("baseline")
}

/// Options for a level of AArch64.
pub fn aarch64_options_of(cpu: &str) -> Outcome<Options> {
    let target = kiln_targets::resolve("aarch64-unknown-linux-gnu", cpu, "").map_err(text)?;
    Ok(Options::new(target))
}

/// Options for Windows on x86-64.
pub fn windows_options(cpu: &str) -> Outcome<Options> {
    let target = kiln_targets::resolve("x86_64-pc-windows-gnu", cpu, "").map_err(text)?;
    Ok(Options::new(target))
}

/// Levels that this machine runs.
pub fn levels() -> Vec<&'static str> {
    let here = kiln_targets::resolve("host", "native", "").map(|t| t.features).unwrap_or_default();
    let all = kiln_targets::list().into_iter().flat_map(|(_, levels)| levels.iter());
    all.filter(|l| l.features.iter().all(|f| here.contains(f))).map(|l| l.name).collect()
}

/// Whether this machine runs code for a target of its architecture.
pub fn runs_here(target: &Target) -> Outcome<bool> {
    let here = kiln_targets::resolve("host", "native", "").map_err(text)?;
    Ok(target.features.iter().all(|f| here.features.contains(f)))
}

/// Writes `folder/libNAME.a` and `folder/NAME.h`.
pub fn write_library(folder: &Path, name: &str, plan: Plan, options: &Options) -> Outcome {
    let hash = hash::of(name, &[Variant { plan: &plan, target: &options.target }], options);
    let (mut plans, targets) = ([plan], std::slice::from_ref(&options.target));
    let object = object::emit_variants(&mut plans, targets, name, &ObjectOptions::default()).map_err(text)?;
    let built = Built { code_bytes: object.code_bytes, stack_bytes: object.stack_bytes };
    let variant = [Variant { plan: &plans[0], target: &options.target }];
    let header = header::render(name, &variant, &hash, Some(built)).map_err(text)?;
    let (file, archive) = (folder.join(format!("{name}.o")), folder.join(format!("lib{name}.a")));
    std::fs::write(&file, object.to_bytes().map_err(text)?).map_err(text)?;
    archive::write(&archive, &file, &format!("{name}.o"), &options.target.triple).map_err(text)?;
    std::fs::write(folder.join(format!("{name}.h")), header).map_err(text)
}

/// Options for C, to be compiled for this machine.
pub fn c_options(opt: u8) -> Outcome<Options> {
    c_options_for("", opt)
}

/// The same for a machine of another triple.
pub fn c_options_for(triple: &str, opt: u8) -> Outcome<Options> {
    Ok(Options { opt, ..Options::new(kiln_targets::c::target(triple).map_err(text)?) })
}

/// The same for large and fast code.
pub fn fast_c_options_for(triple: &str, opt: u8) -> Outcome<Options> {
    Ok(Options { opt, ..Options::new(kiln_targets::c::fast_target(triple).map_err(text)?) })
}

/// Writes `folder/NAME.c` and `folder/NAME.h`.
pub fn write_c(folder: &Path, name: &str, plan: &Plan, options: &Options) -> Outcome {
    let variant = [Variant { plan, target: &options.target }];
    let hash = hash::of(name, &variant, options);
    let header = header::render(name, &variant, &hash, None).map_err(text)?;
    let source = c::render(plan, &options.target, name, &c::Options::default()).map_err(text)?;
    std::fs::write(folder.join(format!("{name}.c")), source).map_err(text)?;
    std::fs::write(folder.join(format!("{name}.h")), header).map_err(text)
}

/// The outputs of a program with the model in C.
pub fn run_c(name: &str, graph: Graph, opt: u8, inputs: &[Tensor]) -> Outcome<Vec<Tensor>> {
    let options = c_options(opt)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    write_c(folder.path(), name, &plan, &options)?;
    let case = [Case::new(name, &plan)];
    Ok(driver::run_c(driver::NATIVE, folder.path(), &case, &[inputs.to_vec()])?.remove(0))
}

/// The outputs of the plan's interpreter.
pub fn run_plan(plan: &Plan, inputs: &[Tensor]) -> Outcome<Vec<Tensor>> {
    kiln_ir::eval::plan::run(plan, inputs).map_err(text)
}

/// The outputs of the JIT.
pub fn run_jit(plan: &Plan, options: &Options, threads: usize, inputs: &[Tensor]) -> Outcome<Vec<Tensor>> {
    let model = jit::Model::new(plan.clone(), &options.target, threads).map_err(text)?;
    model.run(inputs).map_err(text)
}

/// The outputs of the kernels called one by one, as a session does it.
pub fn run_image(plan: &Plan, options: &Options, inputs: &[Tensor]) -> Outcome<Vec<Tensor>> {
    let (store, stop) = (KernelStore::default(), AtomicBool::new(false));
    let image = Image::new(plan.clone(), &options.target, options.verify, &store, &stop).map_err(text)?;
    jit::Model::from_image(image, &options.target, 2).map_err(text)?.run(inputs).map_err(text)
}

/// The outputs of a program linked with the library.
pub fn run_object(name: &str, plan: &Plan, options: &Options, inputs: &[Tensor]) -> Outcome<Vec<Tensor>> {
    let folder = tempfile::tempdir().map_err(text)?;
    write_library(folder.path(), name, plan.clone(), options)?;
    driver::run_one(driver::NATIVE, folder.path(), Case::new(name, plan), inputs)
}

/// Runs a graph at all points and gives the outputs of the imported graph, with which all others agree.
pub fn six_points(name: &str, graph: &Graph, inputs: &[Tensor], opt: u8) -> Outcome<Vec<Tensor>> {
    six_points_within(name, graph, inputs, opt, None)
}

/// The same with a limit on the arena.
pub fn six_points_within(
    name: &str,
    graph: &Graph,
    inputs: &[Tensor],
    opt: u8,
    arena_limit: Option<u64>,
) -> Outcome<Vec<Tensor>> {
    let at = |point: String| move |e: String| format!("{point}: {e}");
    let expected =
        kiln_ir::quantized::run(graph, inputs).map_err(text).map_err(at("imported graph".into()))?;
    let baseline = Options { arena_limit, ..options("baseline", opt)? };
    let trace = trace(graph.clone(), &baseline)?;
    let check = |point: String, found: Outcome<Vec<Tensor>>| {
        found.and_then(|found| compare::close(&found, &expected, ACROSS_STAGES)).map_err(at(point))
    };
    for (pass, graph) in &trace.graphs {
        let outputs = kiln_ir::quantized::run(graph, inputs).map_err(text);
        check(format!("graph after '{pass}'"), outputs)?;
    }
    // The interpreter knows no places: views and halos mean nothing to it.
    for (pass, program) in trace.programs.iter().filter(|(pass, _)| *pass != "layout") {
        let outputs = kiln_ir::eval::kernel::run(program, inputs).map_err(text);
        check(format!("kernel interpreter after '{pass}'"), outputs)?;
    }
    drop((trace.graphs, trace.programs));
    check("plan interpreter".into(), run_plan(&trace.plan, inputs))?;
    let jit = run_jit(&trace.plan, &baseline, 1, inputs).map_err(at("JIT".into()))?;
    check("JIT".into(), Ok(jit.clone()))?;
    let threads = run_jit(&trace.plan, &baseline, 3, inputs).map_err(at("JIT on 3 threads".into()))?;
    compare::same_bits(&threads, &jit).map_err(at("JIT on 3 threads against 1".into()))?;
    if !trace.plan.regions.is_empty() {
        let image = run_image(&trace.plan, &baseline, inputs).map_err(at("image".into()))?;
        compare::same_bits(&image, &jit).map_err(at("image against JIT".into()))?;
    }
    let object = run_object(name, &trace.plan, &baseline, inputs).map_err(at("linked object".into()))?;
    compare::same_bits(&object, &jit).map_err(at("linked object against JIT".into()))?;
    // The same on everything that this machine has.
    let native = Options { arena_limit, ..options("native", opt)? };
    let plan = pipeline::compile(graph.clone(), &native).map_err(text)?;
    check("plan interpreter for the native CPU".into(), run_plan(&plan, inputs))?;
    check("JIT on the native CPU".into(), run_jit(&plan, &native, 1, inputs))?;
    Ok(expected)
}
