//! The whole of it: a float model and samples to a quantised model and what became of its layers.

use std::collections::BTreeSet;

use kiln_calibrate::{Evaluator, Factor, Left, Result, Samples, Watch};
use kiln_compiler::Problem;
use kiln_onnx::Document;

use crate::equalise::equalise;
use crate::keep::{self, meets};
use crate::opset;
use crate::options::{Keep, Options, Width};
use crate::plan::Plan;
use crate::prepare::prepare;

/// What became of a product of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The node's name, or that of its result.
    pub node: String,
    /// The operator.
    pub op: String,
    /// What it computes with: `u8 x s8`, `u8 x s4`, `u8 x u8` or `float`.
    pub scheme: String,
    /// The root of the mean square of the differences of its result from the float model's, relative to that.
    pub error: Option<f64>,
    /// The error of the model's results where this layer alone is quantised.
    pub sensitivity: Option<f64>,
    /// Bytes of its constants in the float model.
    pub bytes_before: usize,
    /// Bytes of its constants now.
    pub bytes_after: usize,
    /// Why it stays float; empty where it does not.
    pub why: String,
}

/// A quantised model.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The model.
    pub model: Document,
    /// The float model that it was made of: with normalisations folded, and otherwise the one that was given.
    pub float: Document,
    /// Its products in order.
    pub layers: Vec<Layer>,
    /// The root of the mean square of the differences of its results from the float model's, relative to these; nothing
    /// without samples.
    pub error: Option<f64>,
    /// How often the float model is right, of 1, where there are labels.
    pub accuracy_before: Option<f64>,
    /// How often the quantised model is right.
    pub accuracy_after: Option<f64>,
    /// Whether the target is met; `true` without one.
    pub met: bool,
}

/// The operator set with QuantizeLinear along an axis, and the one with 4 bits.
fn needed(width: Width) -> (i64, &'static str) {
    match width {
        Width::Int8 => (13, "a scale for each channel"),
        Width::Int4 => (21, "a weight of 4 bits"),
    }
}

/// Quantises a model by what it does with samples. `labels`, one for each sample, are the positions of the largest element of
/// the first result.
///
/// # Errors
///
/// *Invalid* where samples do not fit the model or make values that are no numbers, where a layer to be kept is not there, or
/// where there is nothing to quantise; *unsupported* where the model is not compiled, or is of an operator set that cannot be
/// raised to the one that is needed.
pub fn quantize(
    mut float: Document,
    options: &Options,
    samples: &dyn Samples,
    labels: Option<&[i64]>,
    watch: &dyn Watch,
) -> Result<Outcome> {
    let count = samples.count();
    if count == 0 || labels.is_some_and(|l| l.len() != count) {
        let labels = labels.map_or(0, <[i64]>::len);
        let message = format!(
            "there are {count} samples and {labels} labels: one for each is needed, and one at least"
        );
        return Err(Problem::invalid(message).into());
    }
    prepare(&mut float)?;
    let (version, why) = needed(options.width);
    opset::raise(&mut float, version, why)?;
    let plan = Plan::make(&float, options, samples, watch)?;
    if plan.layers.is_empty() {
        return Err(nothing(&plan.left).into());
    }
    let evaluator = Evaluator::new(&float, samples, labels, &options.machine, watch)?;
    let equalised = if options.equalise { equalise(&float)? } else { None };
    let plan = match &equalised {
        None => plan,
        Some(other) => {
            let other = Plan::make(other, options, samples, watch)?;
            let judge = |plan: &Plan<'_>| evaluator.judge(&plan.write(&BTreeSet::new())?, watch);
            if judge(&other)?.error < judge(&plan)?.error { other } else { plan }
        }
    };
    let mut sensitivity = None;
    let kept: BTreeSet<usize> = match (&options.keep, options.target) {
        (Keep::Nodes(names), _) => named(&plan, names)?,
        (Keep::Auto, None) => BTreeSet::new(),
        (Keep::Auto, Some(target)) => {
            let kept = keep::search(&plan, &evaluator, target, watch)?;
            sensitivity = Some(kept.sensitivity);
            kept.float
        }
    };
    let model = plan.write(&kept)?;
    let verdict = evaluator.judge(&model, watch)?;
    let taps: Vec<&str> = plan.layers.iter().map(|l| &*l.output).collect();
    let errors = evaluator.errors(plan.document, &model, &taps, watch)?;
    let mut layers = Vec::new();
    for (i, layer) in plan.layers.iter().enumerate() {
        let is_float = kept.contains(&i);
        let scheme = match (&layer.factor, options.width) {
            _ if is_float => "float",
            (Factor::Activations(_), _) => "u8 x u8",
            (_, Width::Int8) => "u8 x s8",
            (_, Width::Int4) => "u8 x s4",
        };
        let sensitivity = sensitivity.as_ref().map(|s| s[i]);
        let why = match (is_float, sensitivity) {
            (false, _) => String::new(),
            (true, Some(s)) => {
                format!("quantised alone it makes an error of {s:.4}, and the target is not met with it")
            }
            (true, None) => "as asked for".to_owned(),
        };
        let (bytes_before, bytes_after) = plan.bytes(layer, is_float);
        layers.push((
            layer.node,
            Layer {
                node: layer.label.clone(),
                op: layer.op.clone(),
                scheme: scheme.to_owned(),
                error: Some(errors[i]),
                sensitivity,
                bytes_before,
                bytes_after,
                why,
            },
        ));
    }
    layers.extend(plan.left.iter().map(|left| (left.node, unchanged(left))));
    layers.sort_by_key(|(position, _)| *position);
    let met = options.target.is_none_or(|t| meets(verdict, evaluator.float_accuracy, t));
    let layers = layers.into_iter().map(|(_, layer)| layer).collect();
    let (accuracy_before, accuracy_after) = (evaluator.float_accuracy, verdict.accuracy);
    drop(evaluator);
    drop(plan);
    Ok(Outcome { model, float, layers, error: Some(verdict.error), accuracy_before, accuracy_after, met })
}

/// The report of a product without an integer form.
pub(crate) fn unchanged(left: &Left) -> Layer {
    Layer {
        node: left.label.clone(),
        op: left.op.clone(),
        scheme: "float".to_owned(),
        error: None,
        sensitivity: None,
        bytes_before: left.weight_bytes,
        bytes_after: left.weight_bytes,
        why: left.why.to_owned(),
    }
}

/// Why there is nothing to quantise.
pub(crate) fn nothing(left: &[Left]) -> Problem {
    match left.first() {
        None => Problem::invalid(
            "the model has no product of activations with weights: there is nothing to quantise",
        ),
        Some(first) => Problem::unsupported(format!(
            "no product of the model can be quantised, {} in all: {}",
            left.len(),
            first.why
        ))
        .at(&first.label, &first.op),
    }
}

/// The positions of layers by name.
fn named(plan: &Plan<'_>, names: &[String]) -> Result<BTreeSet<usize>> {
    let mut out = BTreeSet::new();
    for name in names {
        let found = plan.layers.iter().position(|l| l.label == *name || l.output == *name);
        let Some(found) = found else {
            if plan.left.iter().any(|l| l.label == *name) {
                continue;
            }
            let known: Vec<&str> = plan.layers.iter().map(|l| &*l.label).collect();
            let message = format!("there is no layer '{name}' that could stay float");
            return Err(Problem::invalid(message)
                .hint(format!("the layers are {}", known.join(", ")))
                .into());
        };
        out.insert(found);
    }
    Ok(out)
}
