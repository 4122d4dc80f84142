//! `:cut`: a part of a model as a model.

use kiln_ir::DType;

use super::command::{Args, Command, Word};
use super::load;
use crate::fault::{Fault, Result};
use crate::models::{Last, Source, interpret, values};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "cut",
    usage: ":cut MODEL INPUTS -> OUTPUTS as NAME",
    about: "the part of a model between tensors, as a model",
    more: "Tensors are separated by commas. The part has the shapes of the last call, and what flowed through those tensors then\n\
           is what it was last called with.",
    example: ":cut net image -> /f/f.5/MaxPool_output_0 as head",
    words: &[Word::Model, Word::Tensor],
    changes: true,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let (from, to) = args.text().split_once("->").ok_or_else(|| args.usage())?;
    let (outputs, name) = to.rsplit_once(" as ").ok_or_else(|| args.usage())?;
    let (model, inputs) = from.trim().split_once(char::is_whitespace).ok_or_else(|| args.usage())?;
    let list = |text: &str| -> Vec<String> {
        text.split(',')
            .map(|n| n.trim().trim_matches(['"', '\'']).to_owned())
            .filter(|n| !n.is_empty())
            .collect()
    };
    let (inputs, outputs, name) = (list(inputs), list(outputs), name.trim());
    session.check_name(name)?;
    if inputs.is_empty() || outputs.is_empty() {
        return Err(args.usage());
    }
    let last = session.inputs(model)?;
    let graph = interpret::typed(session, model, &last)?;
    let mut declared: Vec<(String, DType, Vec<usize>)> = Vec::new();
    for input in &inputs {
        let fact = graph.find(input).and_then(|id| graph.value(id).fact.clone());
        let fact = fact.ok_or_else(|| Fault::new(format!("'{model}' has no tensor '{input}'")))?;
        let shape = fact.shape.as_const();
        let shape =
            shape.ok_or_else(|| Fault::new(format!("'{input}' is {}, of no fixed shape", fact.ty())))?;
        declared.push((input.clone(), fact.dtype, shape));
    }
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let part = session.model(model)?.document()?.cut(&declared, &outputs)?;
    let flowed = values::of(session, model, &last, &inputs)?;
    load::model(session, name, Source::Document(part.into()))?;
    let inputs = inputs.into_iter().filter_map(|n| flowed.get(&n).map(|t| (n.clone(), t.clone()))).collect();
    session.model(name)?.last = Some(Last { inputs, ..Last::default() });
    Ok(())
}
