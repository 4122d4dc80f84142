//! The table of contents of the compiler: every stage and pass in order, top to bottom.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use kiln_ir::Error;
use kiln_ir::graph::{self, Graph};
use kiln_ir::kernel::plan::Plan;
use kiln_ir::kernel::{self, Program};
use kiln_ir::quantized;
use kiln_targets::Target;

use crate::memory::Asks;
use crate::passes::bind::DimBinding;
use crate::passes::{
    absorb, bind, bodies, bytes, decompose, digits, feed, fold, infer, layout, lower, narrow, signed, sparse,
    strips, widen, winograd, words,
};
use crate::read_only::ReadOnly;
use crate::schedule::Choices;
use crate::{planner, rules};
use kiln_ir::Errors;
use kiln_ir::Limits;

/// What to compile for, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine.
    pub target: Target,
    /// 0: no graph rewrites and no fusion, for comparing. 1: folding and fusion. 2: rewrites too.
    pub opt: u8,
    /// Whether level 2 computes convolutions by Winograd's minimal filtering, where that is faster.
    pub winograd: bool,
    /// Whether integers that are made of quantised sums may be off by one, where machines are faster so.
    pub fast_requantize: bool,
    /// Bytes that the arena may have: kernels run in strips where it is larger, and if that is not enough it is an error.
    pub arena_limit: Option<u64>,
    /// Whether every verifier runs after every pass, and Cranelift's on every function. Changes no result.
    pub verify: bool,
    /// Values or bounds of symbolic dimensions.
    pub dims: Vec<DimBinding>,
    /// Bounds on what a model may make the compiler do.
    pub limits: Limits,
    /// What was measured to be better than the cost models' choices.
    pub choices: Choices,
}

impl Options {
    /// Everything on, for `target`.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            opt: 2,
            winograd: true,
            fast_requantize: false,
            arena_limit: None,
            verify: cfg!(debug_assertions),
            dims: Vec::new(),
            limits: Limits::default(),
            choices: Choices::default(),
        }
    }
}

/// Sees the model after every pass: dumps, timings.
pub trait Observer {
    /// The graph after `pass`.
    fn graph(&mut self, _pass: &'static str, _graph: &Graph) {}
    /// The program after `pass`.
    fn program(&mut self, _pass: &'static str, _program: &Program) {}
    /// How long `pass` took.
    fn time(&mut self, _pass: &'static str, _time: Duration) {}
    /// Whether to go on after `pass`.
    fn proceed(&mut self, _pass: &'static str) -> bool {
        true
    }
}

/// Sees nothing.
impl Observer for () {}

/// Names of the passes in order: those on the graph, then those on the program.
pub const PASSES: [&str; 23] = [
    "import",
    "bind",
    "infer",
    "integers",
    "fold",
    "decompose",
    "rules",
    "lower",
    "bytes",
    "absorb",
    "feed",
    "narrow",
    "join",
    "bounds",
    "factors",
    "widen",
    "sparse",
    "winograd",
    "signed",
    "words",
    "digits",
    "strips",
    "layout",
];

/// A model on its way to a plan, as far as the observer let it go.
pub enum Compiled {
    /// Stopped before lowering.
    Graph(Graph),
    /// Stopped before planning.
    Program(Program),
    /// All the way.
    Plan(Plan),
}

/// Graph to plan.
pub fn compile(graph: Graph, options: &Options) -> Result<Plan, Errors> {
    match run(graph, options, &mut ())? {
        Compiled::Plan(plan) => Ok(plan),
        _ => Err(Error::internal("the pipeline stopped early").into()),
    }
}

/// Graph to plan, observed.
pub fn run(graph: Graph, options: &Options, observer: &mut dyn Observer) -> Result<Compiled, Errors> {
    match portable(graph, options, std::slice::from_ref(&options.target), observer)? {
        ControlFlow::Break(stopped) => Ok(stopped),
        ControlFlow::Continue(program) => {
            let mut read_only = ReadOnly::new(options.target.align);
            match laid_out(program, options, std::slice::from_ref(&options.target), observer)? {
                ControlFlow::Break(stopped) => Ok(stopped),
                ControlFlow::Continue(program) => {
                    planned(program, options, &options.target, &mut read_only, observer).map(Compiled::Plan)
                }
            }
        }
    }
}

/// Graph to one plan per target, in the order of the targets. They share their weights: panels of a width that the tiles of
/// all of them fit, and convolutions by minimal filtering where that suits all of them. What does not depend on the target
/// is done once.
pub fn run_for(
    graph: Graph,
    options: &Options,
    targets: &[Target],
    observer: &mut dyn Observer,
) -> Result<Vec<Plan>, Errors> {
    let early = || Errors::from(Error::internal("the pipeline stopped early"));
    let Some(widest) = targets.iter().max_by_key(|t| t.vector_bytes) else { return Ok(Vec::new()) };
    let ControlFlow::Continue(program) = portable(graph, options, targets, observer)? else {
        return Err(early());
    };
    let ControlFlow::Continue(program) = laid_out(program, options, targets, observer)? else {
        return Err(early());
    };
    let shared_panel = (targets.len() > 1).then_some(widest.lanes() as u32);
    let mut read_only = ReadOnly::new(targets.iter().map(|t| t.align).max().unwrap_or(1));
    // The last target takes the program itself, so that its weights go as they are packed.
    let mut program = Some(program);
    let mut plans = Vec::with_capacity(targets.len());
    for (i, target) in targets.iter().enumerate() {
        let next = if i + 1 == targets.len() { program.take() } else { program.clone() };
        let target = Target { shared_panel, ..target.clone() };
        plans.push(planned(next.ok_or_else(early)?, options, &target, &mut read_only, observer)?);
    }
    Ok(plans)
}

/// Graph to fused kernels: what is the same for every target.
fn portable(
    mut graph: Graph,
    options: &Options,
    targets: &[Target],
    observer: &mut dyn Observer,
) -> Result<ControlFlow<Compiled, Program>, Errors> {
    let mut on_graph =
        |pass: &'static str, graph: &mut Graph, f: &mut dyn FnMut(&mut Graph) -> Result<(), Errors>| {
            let start = Instant::now();
            f(graph)?;
            observer.time(pass, start.elapsed());
            if options.verify {
                // What comes before inference carries types that the model claims.
                let claimed = matches!(pass, "import" | "bind");
                let verify = if claimed { graph::verify_structure } else { graph::verify };
                verify(graph).map_err(|e| broken(pass, e))?;
            }
            observer.graph(pass, graph);
            Ok::<bool, Errors>(observer.proceed(pass))
        };
    let optimise = options.opt >= 1;
    // Symbols first: everything after sees the shapes that will run.
    let mut go = on_graph("import", &mut graph, &mut |_| Ok(()))?
        && on_graph("bind", &mut graph, &mut |g| Ok(bind::run(g, &options.dims)?))?
        && on_graph("infer", &mut graph, &mut |g| Ok(infer::run(g)?))?
        // Before weights are folded to floats.
        && on_graph("integers", &mut graph, &mut |g| {
            let mut integers = |g: &mut Graph| if quantized::integers(g)? { infer::run(g) } else { Ok(()) };
            bodies::run(g, &mut integers)?;
            Ok(integers(g)?)
        })?
        // Shape arithmetic must go before lowering, whatever the level: nothing could lower it.
        && on_graph("fold", &mut graph, &mut |g| {
            let mut fold = |g: &mut Graph| fold::run(g, &options.limits);
            bodies::run(g, &mut fold)?;
            Ok(fold(g)?)
        })?
        && on_graph("decompose", &mut graph, &mut |g| {
            let mut decompose = |g: &mut Graph| {
                decompose::run(g)?;
                fold::run(g, &options.limits)
            };
            decompose(g)?;
            Ok(bodies::run(g, &mut decompose)?)
        })?;
    if go && options.opt >= 2 {
        go = on_graph("rules", &mut graph, &mut |g| {
            let mut rules = |g: &mut Graph| {
                rules::run(g)?;
                fold::run(g, &options.limits)
            };
            bodies::run(g, &mut rules)?;
            Ok(rules(g)?)
        })?;
    }
    if !go {
        return Ok(ControlFlow::Break(Compiled::Graph(graph)));
    }
    let start = Instant::now();
    let mut program = lower::run(&graph, &options.limits)?;
    // Weights now belong to the program alone, so that packing can let go of each as it is done.
    drop(graph);
    let mut after = After { observer, verify: options.verify };
    if !after.program("lower", &program, start)? {
        return Ok(ControlFlow::Break(Compiled::Program(program)));
    }
    let start = Instant::now();
    bytes::run(&mut program)?;
    if !after.program("bytes", &program, start)? {
        return Ok(ControlFlow::Break(Compiled::Program(program)));
    }
    if optimise {
        let start = Instant::now();
        absorb::run(&mut program);
        if !after.program("absorb", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
        let start = Instant::now();
        feed::run(&mut program);
        if !after.program("feed", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
        let start = Instant::now();
        narrow::run(&mut program);
        if !after.program("narrow", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
        let start = Instant::now();
        bytes::join::run(&mut program)?;
        if !after.program("join", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
        let start = Instant::now();
        bytes::bounds::run(&mut program)?;
        if !after.program("bounds", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
        let start = Instant::now();
        // A multiply-add takes a register more; with 16 of them what is left does not suffice for that to be faster.
        let suits = |t: &Target| t.fma && t.vector_registers >= 32;
        let loose = options.fast_requantize && targets.iter().all(suits);
        bytes::factors::run(&mut program, loose)?;
        if !after.program("factors", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
    }
    let start = Instant::now();
    widen::run(&mut program, targets)?;
    if !after.program("widen", &program, start)? {
        return Ok(ControlFlow::Break(Compiled::Program(program)));
    }
    Ok(ControlFlow::Continue(program))
}

/// Fused kernels to kernels whose buffers have places, for the targets that share them.
fn laid_out(
    mut program: Program,
    options: &Options,
    targets: &[Target],
    observer: &mut dyn Observer,
) -> Result<ControlFlow<Compiled, Program>, Errors> {
    let mut after = After { observer, verify: options.verify };
    if options.opt >= 2 {
        let start = Instant::now();
        sparse::run_with(&mut program, targets, &options.choices)?;
        if !after.program("sparse", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
    }
    if options.winograd && options.opt >= 2 && !targets.iter().any(|t| t.least_code) {
        let start = Instant::now();
        winograd::run_with(&mut program, targets, &options.choices)?;
        if !after.program("winograd", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
    }
    let start = Instant::now();
    signed::run(&mut program, targets)?;
    if !after.program("signed", &program, start)? {
        return Ok(ControlFlow::Break(Compiled::Program(program)));
    }
    let start = Instant::now();
    words::run(&mut program, targets);
    if !after.program("words", &program, start)? {
        return Ok(ControlFlow::Break(Compiled::Program(program)));
    }
    if options.opt >= 1 {
        let start = Instant::now();
        digits::run(&mut program, targets)?;
        if !after.program("digits", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
    }
    if let Some(limit) = options.arena_limit {
        let start = Instant::now();
        strips::run(&mut program, limit, Asks::of(targets))?;
        if !after.program("strips", &program, start)? {
            return Ok(ControlFlow::Break(Compiled::Program(program)));
        }
    }
    let start = Instant::now();
    layout::run(&mut program)?;
    if !after.program("layout", &program, start)? {
        return Ok(ControlFlow::Break(Compiled::Program(program)));
    }
    Ok(ControlFlow::Continue(program))
}

/// Kernels with places to the plan for a target.
fn planned(
    program: Program,
    options: &Options,
    target: &Target,
    read_only: &mut ReadOnly,
    observer: &mut dyn Observer,
) -> Result<Plan, Errors> {
    let start = Instant::now();
    let plan = planner::build_with(program, target, &options.choices, &options.limits, read_only)?;
    observer.time("plan", start.elapsed());
    if options.verify {
        kernel::verify_plan(&plan).map_err(|e| broken("plan", e))?;
    }
    Ok(plan)
}

/// What happens after every pass on the program.
struct After<'o> {
    observer: &'o mut dyn Observer,
    verify: bool,
}

impl After<'_> {
    /// Verifies, and tells the observer; whether to go on.
    fn program(&mut self, pass: &'static str, program: &Program, start: Instant) -> Result<bool, Errors> {
        self.observer.time(pass, start.elapsed());
        if self.verify {
            kernel::verify(program).map_err(|e| broken(pass, e))?;
        }
        self.observer.program(pass, program);
        Ok(self.observer.proceed(pass))
    }
}

/// A verifier's error, with the pass that is to blame.
fn broken(pass: &str, mut error: Error) -> Error {
    error.message = format!("after pass '{pass}': {}", error.message);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pass that reads behind the end of a row would leave.
    const WRONG: &str = "program @m {
        input %x: f32[4, 6]
        output %y: f32[4, 6]
        map \"k\" [a: 4, b: 6] { %y[a, b] = %x[a, b + 1] }
    }";

    #[test]
    fn a_verifier_names_the_pass_that_is_to_blame() {
        let program = kernel::parse(WRONG).unwrap();
        let run = |verify| After { observer: &mut (), verify }.program("absorb", &program, Instant::now());
        let error = run(true).unwrap_err().to_string();
        assert!(error.contains("after pass 'absorb': kernel verifier: an index leaves 'x'"), "{error}");
        assert!(run(false).unwrap());
    }
}
