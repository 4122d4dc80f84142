//! `:diff`: two tensors, or two models node by node.

use std::collections::BTreeMap;

use kiln_compiler::Tensor;
use kiln_ir::error::Printable;
use kiln_tools::table::{self, Column};

use super::command::{Args, Command, Word};
use crate::engine;
use crate::evaluate;
use crate::fault::{Fault, Result};
use crate::models::compare::{self, Difference, TOLERANCE};
use crate::models::{Last, interpret, values};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "diff",
    usage: ":diff A B [KEY=VALUE..]",
    about: "two tensors in ULP; two models node by node: the first that differs",
    more: "A is a model, B another one, the same with other settings (:diff net net opt=0), or interp, the interpreter. Both\n\
           get what A was last called with. First their results are compared as they run; then every tensor that both have\n\
           by name is kept, in the order of A's nodes. An error of more than 1e-4 of the largest element counts as beyond\n\
           what the order of sums explains; tolerance=1e-6 says otherwise.",
    example: ":diff net interp",
    words: &[Word::Expr, Word::Expr],
    changes: false,
    run,
};

/// What B's name means if it is no model's.
const INTERPRETER: &str = "interp";

/// Nodes that are told.
const TOLD: usize = 8;

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let (Some(a), Some(b)) = (words.first(), words.get(1)) else { return Err(args.usage()) };
    let mut settings = session.settings.clone();
    let mut tolerance = TOLERANCE;
    for option in &words[2..] {
        let (key, value) = option.split_once('=').ok_or_else(|| args.usage())?;
        if key == "tolerance" {
            tolerance = value.parse().map_err(|_| Fault::new(format!("'{value}' is no number")))?;
        } else {
            settings.set(key, value)?;
        }
    }
    let tensor = |session: &Session, name: &str| session.variables.get(name).cloned();
    if let (Some(x), Some(y)) = (tensor(session, a), tensor(session, b)) {
        session.out.line(compare::compare(&x, &y)?.text());
        return Ok(());
    }
    let last = session.inputs(a)?;
    let plain = std::mem::replace(&mut session.settings, settings.clone());
    // Whatever happens, the settings are those of before.
    let other = other(session, b, &last);
    session.settings = plain;
    let (results_b, values_b) = other?;
    let compiled = evaluate::compiled_for(session, a, &last)?;
    let tensors: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
    let results = engine::run(&compiled, &tensors)?;
    let names: Vec<String> = compiled.outputs().iter().map(|p| p.name.clone()).collect();
    for ((name, x), y) in names.iter().zip(&results).zip(&results_b) {
        session.out.line(format_args!("result {}: {}", Printable(name), compare::compare(x, y)?.text()));
    }
    nodes(session, a, &last, &values_b, tolerance)
}

type Values = (Vec<Tensor>, BTreeMap<String, Tensor>);

/// Results of B, and the tensors within it by name.
fn other(session: &mut Session, name: &str, last: &Last) -> Result<Values> {
    let mut within = BTreeMap::new();
    if name == INTERPRETER {
        let model = session.current.clone().unwrap_or_default();
        let graph = interpret::typed(session, &model, last)?;
        let tensors: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
        let results = interpret::run(&graph, &tensors, &mut |value, tensor| {
            within.insert(value.name.clone(), tensor.clone());
        })?;
        return Ok((results, within));
    }
    // By position, since another model may call its arguments otherwise.
    let names = match session.model(name)?.arguments.clone() {
        Some(names) => names,
        None => session.load(name, None)?.inputs().into_iter().map(|(n, _)| n.to_owned()).collect(),
    };
    if names.len() != last.inputs.len() {
        return Err(Fault::new(format!(
            "'{name}' takes {} tensors, and {} were given",
            names.len(),
            last.inputs.len()
        )));
    }
    let inputs = names.into_iter().zip(last.inputs.iter().map(|(_, t)| t.clone())).collect();
    let last = Last { inputs, dims: last.dims.clone() };
    let compiled = evaluate::compiled_for(session, name, &last)?;
    let tensors: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
    let results = engine::run(&compiled, &tensors)?;
    let made = made(session, name)?;
    let wanted: Vec<String> = made.into_iter().map(|(_, _, tensor)| tensor).collect();
    within.extend(values::of(session, name, &last, &wanted)?);
    Ok((results, within))
}

/// Nodes of a model with their operators and tensors, in order.
fn made(session: &mut Session, name: &str) -> Result<Vec<(String, String, String)>> {
    let graph = session.load(name, None)?.graph;
    let mut out = Vec::new();
    for id in graph.topological_order()? {
        let node = graph.node(id);
        for output in &node.outputs {
            out.push((node.name.clone(), node.op.name().to_owned(), graph.value(*output).name.clone()));
        }
    }
    Ok(out)
}

fn nodes(
    session: &mut Session,
    a: &str,
    last: &Last,
    other: &BTreeMap<String, Tensor>,
    tolerance: f64,
) -> Result<()> {
    let made = made(session, a)?;
    let wanted: Vec<String> =
        made.iter().map(|(_, _, t)| t.clone()).filter(|t| other.contains_key(t)).collect();
    if wanted.is_empty() {
        session.out.line("no tensor has the same name in both");
        return Ok(());
    }
    let own = values::of(session, a, last, &wanted)?;
    let (mut same, mut bits, mut beyond) = (0usize, Vec::new(), Vec::new());
    for (node, op, tensor) in &made {
        let (Some(x), Some(y)) = (own.get(tensor), other.get(tensor)) else { continue };
        let found = match compare::compare(x, y) {
            Ok(found) => found,
            Err(fault) => {
                session.out.line(format_args!("node '{}' ({op}): {fault}", Printable(node)));
                return Ok(());
            }
        };
        same += 1;
        let is_beyond = found.is_beyond(x.dtype, tolerance);
        let row = (node, op, tensor, found);
        if is_beyond {
            beyond.push(row);
        } else if row.3.differing > 0 {
            bits.push(row);
        }
    }
    let first = |rows: &[(&String, &String, &String, Difference)]| {
        rows.first().map(|(node, op, _, d)| format!("node '{}' ({op}): {}", Printable(node), d.text()))
    };
    match first(&beyond) {
        Some(text) => {
            session.out.line(format_args!(
                "{} of {same} tensors differ by more than {tolerance:e}; the first:",
                beyond.len()
            ));
            session.out.line(text);
        }
        None => session.out.line(format_args!("none of {same} tensors differs by more than {tolerance:e}")),
    }
    if let Some(text) = first(&bits).filter(|_| beyond.is_empty()) {
        session.out.line(format_args!("the first that differs in a bit: {text}"));
    }
    if beyond.len() > 1 {
        let rows: Vec<Vec<String>> = (beyond.iter().take(TOLD))
            .map(|(node, op, tensor, d)| {
                let name = |n: &str| Printable(n).to_string();
                vec![name(node), (*op).clone(), name(tensor), d.ulp.to_string(), format!("{:.1e}", d.rel)]
            })
            .collect();
        let columns = [
            Column::Name("node"),
            Column::Text("operator"),
            Column::Name("tensor"),
            Column::Number("ULP"),
            Column::Number("error"),
        ];
        session.out.line(table::lines(&columns, &rows, session.out.room()).join("\n"));
    }
    Ok(())
}
