//! `:quant`: what if a layer were of integers.

use kiln_calibrate::Machine;
use kiln_compiler::Limits;
use kiln_quantize::{Keep, Method, Options, Rounding, Width};

use super::calls::Calls;
use super::command::{Args, Command, Word};
use super::what_if;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "quant",
    usage: ":quant NODE int8",
    about: "what if a layer computed with 8-bit integers: error and time, measured",
    more: "Ranges are those of the calls in this session; if there were several the last one is measured alone. A model's name means all of its layers. `kiln quantize` does it with many samples.",
    example: ":quant net int8",
    words: &[Word::Node, Word::One(&["int8"])],
    changes: true,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let [what, kind] = &words[..] else { return Err(args.usage()) };
    if kind != "int8" {
        return Err(Fault::new(format!("'{kind}' is nothing that layers are made: int8")));
    }
    let (model, node) = match session.models.contains_key(what) {
        true => (what.clone(), None),
        false => {
            let (model, node) = session.within(what)?;
            (model, Some(node))
        }
    };
    let samples = Calls::or_random(session, &model)?;
    let document = session.model(&model)?.document()?;
    let options = |keep: Keep| Options {
        method: Method::MinMax,
        width: Width::Int8,
        rounding: Rounding::Nearest,
        equalise: false,
        pairs: false,
        keep,
        target: None,
        machine: Machine {
            cpu: session.settings.cpu.clone(),
            features: String::new(),
            threads: session.settings.threads,
            limits: Limits::default(),
        },
    };
    let quantise = |keep| {
        let made = kiln_quantize::quantize((*document).clone(), &options(keep), &samples, None, &());
        made.map_err(|e| if interrupt::asked() { Fault::interrupted() } else { Fault::from(e) })
    };
    let mut outcome = quantise(Keep::Auto)?;
    if let Some(node) = &node {
        // The names of layers are the quantiser's to give: what can be of integers is what it made so.
        let made = |l: &&kiln_quantize::Layer| l.scheme != "float";
        let Some(layer) = outcome.layers.iter().find(|l| l.node == *node) else {
            let names: Vec<&str> = outcome.layers.iter().filter(made).map(|l| &*l.node).collect();
            let fault = Fault::new(format!("'{node}' is no layer with weights"));
            return Err(fault.hint(format!("there are {}", names.join(", "))));
        };
        if layer.scheme == "float" {
            return Err(Fault::new(format!("'{node}' stays float: {}", layer.why)));
        }
        let others =
            outcome.layers.iter().filter(made).map(|l| l.node.clone()).filter(|n| n != node).collect();
        outcome = quantise(Keep::Nodes(others))?;
    }
    let label = format!("{} int8", node.as_deref().unwrap_or(&model));
    what_if::change(session, &model, outcome.model, &label)
}
