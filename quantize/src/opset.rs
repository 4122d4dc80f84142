//! Raising a model to a later operator set, where all of its nodes mean the same there or can be written so that they do.

use kiln_calibrate::Names;
use kiln_ir::{Error, Result, Tensor};
use kiln_onnx::{Document, Node};

/// Operators whose axes became an operand, and the version in which they did.
const AXES: &[(&str, i64)] = &[
    ("ReduceL1", 18),
    ("ReduceL2", 18),
    ("ReduceLogSum", 18),
    ("ReduceLogSumExp", 18),
    ("ReduceMax", 18),
    ("ReduceMean", 18),
    ("ReduceMin", 18),
    ("ReduceProd", 18),
    ("ReduceSum", 13),
    ("ReduceSumSquare", 18),
    ("Squeeze", 13),
    ("Unsqueeze", 13),
];

/// Operators over the innermost axes, all from `axis` on, which are over one axis from 13 on.
const FLAT: &[&str] = &["Hardmax", "LogSoftmax", "Softmax"];

/// Versions in which operators took another form: what a node says before means something else, or nothing, after. Versions
/// that only took more types, or attributes with defaults, are no change.
const BREAKS: &[(&str, &[i64])] = &[
    ("BatchNormalization", &[9]),
    ("Clip", &[11]),
    ("DFT", &[20]),
    ("Dropout", &[12]),
    ("GridSample", &[20]),
    ("GroupNormalization", &[21]),
    ("Pad", &[11]),
    ("Resize", &[11]),
    ("RoiAlign", &[16]),
    ("Scatter", &[11]),
    ("Slice", &[10]),
    ("TopK", &[10, 11]),
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
    convert(document, from, version);
    document.raise_opset(version);
    Ok(())
}

/// Writes nodes as they are written in a later operator set.
fn convert(document: &mut Document, from: i64, to: i64) {
    let passed = |version: i64| from < version && version <= to;
    let mut names = Names::of(document);
    let mut constants: Vec<(String, Tensor)> = Vec::new();
    let mut operand = |names: &mut Names, node: &mut Node, attribute: &str| {
        if let Some(values) = node.ints(attribute).map(<[i64]>::to_vec) {
            let name = names.fresh(&format!("{}.{attribute}", node.label()));
            node.remove_attribute(attribute);
            node.set_input(1, &name);
            constants.push((name, Tensor::from_vec(&[values.len()], values)));
        }
    };
    let mut out = Vec::with_capacity(document.nodes().len());
    for mut node in std::mem::take(document.nodes_mut()) {
        let op = node.op().to_owned();
        if AXES.iter().any(|(name, version)| *name == op && passed(*version)) {
            operand(&mut names, &mut node, "axes");
        } else if op == "Split" {
            if passed(13) {
                operand(&mut names, &mut node, "split");
            }
            if passed(18) && node.input(1).is_none() {
                let parts = node.outputs().len() as i64;
                node = node.with_int("num_outputs", parts);
            }
        } else if FLAT.contains(&&*op) && passed(13) {
            let axis = node.int("axis").unwrap_or(1);
            if axis == -1 {
                out.push(node);
            } else {
                out.extend(flat(&mut names, node, axis));
            }
            continue;
        }
        out.push(node);
    }
    *document.nodes_mut() = out;
    constants.into_iter().for_each(|(name, tensor)| document.set_constant(&name, tensor));
}

/// A function over all axes from `axis` on: over the second axis of a matrix.
fn flat(names: &mut Names, mut node: Node, axis: i64) -> Vec<Node> {
    let (Some(x), Some(y)) = (node.input(0).map(str::to_owned), node.outputs().first().cloned()) else {
        return vec![node];
    };
    let label = node.label().to_owned();
    let mut fresh = |part: &str| names.fresh(&format!("{label}.{part}"));
    let (shape, matrix, result) = (fresh("shape"), fresh("matrix"), fresh("result"));
    node.set_input(0, &matrix);
    node.set_output(0, &result);
    vec![
        Node::new(&shape, "Shape", &[&x], &[&shape]),
        Node::new(&matrix, "Flatten", &[&x], &[&matrix]).with_int("axis", axis),
        node.with_int("axis", 1),
        Node::new(&format!("{label}.shaped"), "Reshape", &[&result, &shape], &[&y]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_compiler::{Compiler, DType};

    fn model(opset: i64) -> Document {
        let mut document = Document::new("m", opset);
        document.add_input("x", DType::F32, &[1, 2, 3]);
        document
    }

    fn run(document: &Document) -> Vec<Tensor> {
        let x = Tensor::from_vec(&[1, 2, 3], vec![0.5f32, -1.0, 2.0, 0.25, 3.0, -0.75]);
        Compiler::from_bytes(document.to_bytes().unwrap()).jit(1).unwrap().run(&[x]).unwrap()
    }

    #[test]
    fn nodes_are_written_anew_and_mean_the_same() {
        let mut document = model(11);
        document.nodes_mut().extend([
            Node::new("soft", "Softmax", &["x"], &["a"]),
            Node::new("last", "Softmax", &["x"], &["b"]).with_int("axis", -1),
            Node::new("sum", "ReduceSum", &["a"], &["s"]),
            Node::new("parts", "Split", &["b"], &["c", "d"]).with_int("axis", 1),
        ]);
        document.add_outputs(["a", "b", "s", "c", "d"]);
        let before = run(&document);
        for version in [13, 21] {
            let mut raised = document.clone();
            raise(&mut raised, version, "a test").unwrap();
            assert_eq!(raised.opset(), version);
            for (a, b) in before.iter().zip(run(&raised)) {
                assert_eq!(a.shape, b.shape);
                let pairs = a.to_f64s().unwrap().into_iter().zip(b.to_f64s().unwrap());
                pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{version}: {a} {b}"));
            }
        }
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        let mut document = model(10);
        document.nodes_mut().push(Node::new("cut", "Clip", &["x"], &["y"]));
        document.add_outputs(["y"]);
        let refused = raise(&mut document, 13, "a test").unwrap_err();
        assert!(refused.to_string().contains("cut") && refused.hint.contains("version_converter"));
    }
}
