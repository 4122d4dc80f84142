//! `:prune`: what if weights of a layer were zero.

use kiln_calibrate::Machine;
use kiln_compiler::Limits;
use kiln_onnx::Document;
use kiln_prune::{Budget, Options, Pattern, Saliency, Schedule};

use super::calls::Calls;
use super::command::{Args, Command, Word};
use super::{integers, what_if};
use crate::expression::suggest;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "prune",
    usage: ":prune NODE S [RxC | N:M] [SALIENCY]",
    about: "what if weights of a layer were zero: error and time, measured",
    more: "S of the weights (0.9: nine of ten) become zero, in blocks of R outputs by C inputs (1x1 without), or all but N of\n\
           each M. SALIENCY says which: obs, obd, wanda or magnitude. Without it obs, on what the model was called with in this\n\
           session, where it was called, and else magnitude. With data the weights that are left make up for the others. If\n\
           there were several calls the last one is measured alone. Weights that are integers already go by magnitude. A model's name means all layers with weights.\n\
           `kiln prune` does it with many samples.",
    example: ":prune net 0.5 4x1",
    words: &[
        Word::Node,
        Word::One(&["0.5", "0.8", "0.9"]),
        Word::One(&["1x1", "4x1", "8x1", "2:4"]),
        Word::One(SALIENCIES),
    ],
    changes: true,
    run,
};

/// Words for what [`Saliency`] has.
const SALIENCIES: &[&str] = &["obs", "obd", "wanda", "magnitude"];

/// What was typed behind the node.
struct Wish {
    part: f64,
    pattern: Pattern,
    /// As it is told again.
    pattern_text: String,
    saliency: Option<Saliency>,
}

impl Wish {
    fn of(words: &[String]) -> Result<Self> {
        let (part, rest) = words.split_first().ok_or_else(|| Fault::new("how much is to be zero?"))?;
        let number = part.parse().ok().filter(|s| (0.0..1.0).contains(s));
        let part = number.ok_or_else(|| Fault::new(format!("'{part}' is no part from 0 to less than 1")))?;
        let (mut pattern, mut pattern_text, mut saliency) = (None, "1x1".to_owned(), None);
        for word in rest {
            let known = match word.as_str() {
                "obs" => Some(Saliency::Obs),
                "obd" => Some(Saliency::Obd),
                "wanda" => Some(Saliency::Wanda),
                "magnitude" => Some(Saliency::Magnitude),
                _ => None,
            };
            if known.is_some() && saliency.is_none() {
                saliency = known;
            } else if pattern.is_none() && word.starts_with(|c: char| c.is_ascii_digit()) {
                let parsed = if word.contains(':') { Pattern::of(word) } else { Pattern::block(word) };
                pattern = Some(parsed.map_err(Fault::new)?);
                pattern_text.clone_from(word);
            } else {
                let near = suggest::hint(word, SALIENCIES.iter().copied());
                let all = format!("a block like 4x1, or one of {}", SALIENCIES.join(", "));
                let hint = if near.is_empty() { all } else { near };
                return Err(Fault::new(format!("'{word}' is no block and no saliency")).hint(hint));
            }
        }
        let pattern = pattern.unwrap_or(Pattern::Blocks { rows: 1, columns: 1 });
        Ok(Self { part, pattern, pattern_text, saliency })
    }
}

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let [what, rest @ ..] = &words[..] else { return Err(args.usage()) };
    if rest.is_empty() {
        return Err(args.usage());
    }
    let wish = Wish::of(rest)?;
    let (model, node) = match session.models.contains_key(what) {
        true => (what.clone(), None),
        false => {
            let (model, node) = session.within(what)?;
            (model, Some(node))
        }
    };
    let mut document: Document = (*session.model(&model)?.document()?).clone();
    let label = node.as_ref().map(|node| label(&document, node));
    if let Pattern::Blocks { rows, columns } = wish.pattern
        && integers::prune(&mut document, label.as_deref(), wish.part, (rows, columns))?
    {
        if wish.saliency.is_some_and(Saliency::needs_data) {
            let fault =
                Fault::new(format!("weights of '{what}' are integers already, which go by magnitude"));
            return Err(fault.hint(":undo takes :quant back; then :prune, and :quant again"));
        }
        let label = format!("{what} {:.0} % zero in {} by magnitude", 100.0 * wish.part, wish.pattern_text);
        return what_if::change(session, &model, document, &label);
    }
    let layer = label.map(|label| layer(&document, &model, label)).transpose()?;
    let calls = Calls::of(session, &model);
    let saliency = match (wish.saliency, &calls) {
        (Some(saliency), None) if saliency.needs_data() => {
            let fault = Fault::new(format!("'{model}' has not been called: there is no data to prune by"));
            return Err(fault.hint("call it with what it is made for, or say magnitude"));
        }
        (Some(saliency), _) => saliency,
        (None, Some(_)) => Saliency::Obs,
        (None, None) => Saliency::Magnitude,
    };
    let samples = calls.filter(|_| saliency.needs_data());
    let options = Options {
        sparsity: wish.part,
        pattern: wish.pattern,
        saliency,
        budget: Budget::Uniform,
        layers: layer.iter().flat_map(|l| [("*".to_owned(), 0.0), (l.clone(), wish.part)]).collect(),
        schedule: Schedule::Oneshot,
        reconstruct: samples.is_some(),
        machine: Machine {
            cpu: session.settings.cpu.clone(),
            features: String::new(),
            threads: session.settings.threads,
            limits: Limits::default(),
        },
    };
    let data = samples.as_ref().map(|s| s as &dyn kiln_calibrate::Samples);
    let outcome = kiln_prune::prune(document, &options, data, None, &());
    let outcome =
        outcome.map_err(|e| if interrupt::asked() { Fault::interrupted() } else { Fault::from(e) })?;
    let is_pruned = |l: &&kiln_prune::Layer| l.why.is_empty() && layer.as_ref().is_none_or(|n| l.node == *n);
    if outcome.layers.iter().find(is_pruned).is_none() {
        let why = outcome.layers.iter().find(|l| layer.as_ref().is_none_or(|n| l.node == *n));
        let why = why.map_or_else(String::new, |l| format!(": {}", l.why));
        return Err(Fault::new(format!("'{what}' stays as it is{why}")));
    }
    let by = match (saliency, &samples) {
        (Saliency::Magnitude, _) | (_, None) => "magnitude".to_owned(),
        (Saliency::Wanda, Some(calls)) => format!("wanda on {}", calls.told()),
        (Saliency::Obd, Some(calls)) => format!("obd on {}", calls.told()),
        (Saliency::Obs, Some(calls)) => format!("obs on {}", calls.told()),
    };
    let what = node.unwrap_or_else(|| model.clone());
    let label = format!("{what} {:.0} % zero in {} by {by}", 100.0 * wish.part, wish.pattern_text);
    what_if::change(session, &model, outcome.model, &label)
}

/// The name of the node that is called so, or makes a tensor that is.
fn label(document: &Document, node: &str) -> String {
    let found = document.nodes().iter().find(|n| n.label() == node || n.outputs().iter().any(|o| o == node));
    found.map_or_else(|| node.to_owned(), |n| n.label().to_owned())
}

/// A layer that the pruner knows; else what there is.
fn layer(document: &Document, model: &str, label: String) -> Result<String> {
    let names = kiln_prune::layers(document);
    if names.contains(&label) {
        return Ok(label);
    }
    if !document.nodes().iter().any(|n| n.label() == label) {
        let near = suggest::hint(&label, names.iter().map(String::as_str));
        let hint = if near.is_empty() { format!(":nodes {model} lists the nodes") } else { near };
        return Err(Fault::new(format!("there is no node '{label}' in '{model}'")).hint(hint));
    }
    let hint = match names.len() {
        0 => "the model has no layer with constant weights".to_owned(),
        1..=8 => format!("there are {}", names.join(", ")),
        n => format!("there are {n}, from {} to {}", names[0], names[n - 1]),
    };
    Err(Fault::new(format!("'{label}' is no layer with constant weights")).hint(hint))
}
