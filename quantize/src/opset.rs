//! Raising a model to a later operator set, where all of its nodes mean the same there.

use kiln_ir::{Error, Result};
use kiln_onnx::Document;

/// Versions in which operators took another form: what a node says before means something else, or nothing, after. Versions
/// that only took more types, or attributes with defaults, are no change.
const BREAKS: &[(&str, &[i64])] = &[
    ("BatchNormalization", &[9]),
    ("Clip", &[11]),
    ("DFT", &[20]),
    ("Dropout", &[12]),
    ("GridSample", &[20]),
    ("GroupNormalization", &[21]),
    ("Hardmax", &[13]),
    ("LogSoftmax", &[13]),
    ("Pad", &[11]),
    ("ReduceL1", &[18]),
    ("ReduceL2", &[18]),
    ("ReduceLogSum", &[18]),
    ("ReduceLogSumExp", &[18]),
    ("ReduceMax", &[18]),
    ("ReduceMean", &[18]),
    ("ReduceMin", &[18]),
    ("ReduceProd", &[18]),
    ("ReduceSum", &[13]),
    ("ReduceSumSquare", &[18]),
    ("Resize", &[11]),
    ("RoiAlign", &[16]),
    ("Scatter", &[11]),
    ("Slice", &[10]),
    ("Softmax", &[13]),
    ("Split", &[13, 18]),
    ("Squeeze", &[13]),
    ("TopK", &[10, 11]),
    ("Unsqueeze", &[13]),
    ("Upsample", &[9, 10]),
];

/// Sets the operator set to at least `version`, for `why`; an *unsupported* error that names the node which means something
/// else there.
pub(crate) fn raise(document: &mut Document, version: i64, why: &str) -> Result<()> {
    let from = document.opset();
    if from >= version {
        return Ok(());
    }
    let changes = |op: &str| {
        let breaks = BREAKS.iter().find(|(name, _)| *name == op).map_or(&[][..], |(_, list)| list);
        breaks.iter().any(|b| from < *b && *b <= version)
    };
    let hint = format!("convert the model to opset {version} with onnx.version_converter");
    let stuck = document.nodes().iter().find(|n| changes(n.op()) || n.captured().next().is_some());
    if let Some(node) = stuck {
        let message =
            format!("{why} needs opset {version}, and the node has another form there than in opset {from}");
        return Err(Error::unsupported(message).hint(hint).at(node.label(), &node.op_in_words()));
    }
    document.raise_opset(version);
    Ok(())
}
