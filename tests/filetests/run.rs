//! What a case gives.

use std::fmt::Write as _;

use kiln_compiler::internals::passes::{absorb, infer, layout};
use kiln_compiler::internals::pipeline::{self, Observer, PASSES};
use kiln_compiler::internals::rules;
use kiln_ir::Tensor;
use kiln_ir::graph::{self, Graph, Source};
use kiln_ir::kernel::plan::Plan;
use kiln_ir::kernel::{self, Program};
use kiln_tests::{Outcome, models, stages, text};

use super::asm;
use super::case::{Case, Kind};

/// What stands behind `----` when the case is right.
pub(crate) fn run(case: &Case) -> Outcome<String> {
    match case.kind {
        Kind::Pass(pass) if case.source.starts_with("program") => on_program(pass, case.source),
        Kind::Pass(pass) => on_graph(pass, case.source),
        Kind::Asm(level) => asm::inner_loops(case.source, level),
        Kind::Arena => arena(case.source),
        Kind::Run => outputs(case),
        Kind::Error => match compile(case.source) {
            Ok(()) => Err("there is no error".to_owned()),
            Err(error) => Ok(error),
        },
    }
}

fn on_program(pass: &str, source: &str) -> Outcome<String> {
    let mut program = kernel::parse(source).map_err(text)?;
    kernel::verify(&program).map_err(text)?;
    match pass {
        "absorb" => _ = absorb::run(&mut program),
        "layout" => layout::run(&mut program).map_err(text)?,
        _ => return Err(format!("'{pass}' is no pass on programs")),
    }
    kernel::verify(&program).map_err(text)?;
    Ok(program.to_string())
}

fn on_graph(pass: &str, source: &str) -> Outcome<String> {
    if !PASSES.contains(&pass) {
        return Err(format!("'{pass}' is no pass: they are {}", PASSES.join(", ")));
    }
    let graph = graph::parse(source).map_err(text)?;
    if pass == "rules" {
        return on_rules(graph);
    }
    let mut stop = Stop { pass, text: None };
    pipeline::run(graph, &stages::options("baseline", 2)?, &mut stop).map_err(text)?;
    stop.text.ok_or_else(|| format!("pass '{pass}' did not run"))
}

/// Where the plan has its buffers, and which kernels it has.
fn arena(source: &str) -> Outcome<String> {
    let plan = plan(source)?;
    let names: Vec<String> =
        plan.kernels.iter().enumerate().map(|(i, k)| format!("{i} {}", k.name)).collect();
    let slots = plan.to_string();
    let slots: Vec<&str> = slots.lines().map(str::trim).filter(|l| l.starts_with("slot ")).collect();
    let (bytes, least) = (plan.arena_bytes, plan.arena_lower_bound_bytes);
    Ok(format!("{bytes} bytes, at least {least}\n{}\nkernels: {}\n", slots.join("\n"), names.join(", ")))
}

/// The rules alone, with what they say: folding around them would hide it.
fn on_rules(mut graph: Graph) -> Outcome<String> {
    infer::run(&mut graph).map_err(text)?;
    let fired = rules::run(&mut graph).map_err(text)?;
    graph::verify(&graph).map_err(text)?;
    let mut out = String::new();
    for fired in fired {
        let _ = match fired.missed {
            None => writeln!(out, "; {} fired at '{}'", fired.rule, fired.node),
            Some(reason) => writeln!(out, "; {} missed '{}': {reason}", fired.rule, fired.node),
        };
    }
    Ok(out + &graph.to_string())
}

/// Keeps the text after one pass and stops there.
struct Stop<'a> {
    pass: &'a str,
    text: Option<String>,
}

impl Observer for Stop<'_> {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        if pass == self.pass {
            self.text = Some(graph.to_string());
        }
    }

    fn program(&mut self, pass: &'static str, program: &Program) {
        if pass == self.pass {
            self.text = Some(program.to_string());
        }
    }

    fn proceed(&mut self, pass: &'static str) -> bool {
        pass != self.pass
    }
}

fn outputs(case: &Case) -> Outcome<String> {
    let mut graph = graph::parse(case.source).map_err(text)?;
    infer::run(&mut graph).map_err(text)?;
    let inputs = match &case.inputs[..] {
        [] => models::inputs(&graph)?,
        given => given.iter().map(|text| tensor(text)).collect::<Outcome<_>>()?,
    };
    let mut outputs = Vec::new();
    for opt in [0, 2] {
        outputs = stages::six_points("case", &graph, &inputs, opt).map_err(|e| format!("opt {opt}: {e}"))?;
    }
    let mut shown = Graph::new("outputs");
    for (name, tensor) in graph.output_names().iter().zip(outputs) {
        shown.add_const(name, tensor).map_err(text)?;
    }
    let lines = shown.to_string();
    let lines = lines.lines().filter_map(|l| l.trim().strip_prefix("const "));
    Ok(lines.map(|l| format!("{l}\n")).collect())
}

/// The tensor of `%x: f32[2] = [1.0, 2.0]`, which is how graphs write constants.
fn tensor(line: &str) -> Outcome<Tensor> {
    let graph = graph::parse(&format!("graph @input opset(17) {{ const {line} }}")).map_err(text)?;
    let constant = graph.values().find_map(|(_, value)| match &value.source {
        Source::Const(tensor) => Some(tensor.clone()),
        _ => None,
    });
    constant.ok_or_else(|| format!("'{line}' is no input"))
}

fn compile(source: &str) -> Outcome {
    plan(source).map(drop)
}

fn plan(source: &str) -> Outcome<Plan> {
    let graph = graph::parse(source).map_err(text)?;
    pipeline::compile(graph, &stages::options("baseline", 2)?).map_err(text)
}
