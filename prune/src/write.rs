//! The file that was given, with the constants and operands that pruning has changed.

use std::collections::HashMap;

use kiln_onnx::{Document, Node};

/// `file` changed as `before` became `after`; these have constants where the file may have nodes that give them.
pub(crate) fn changed(mut file: Document, before: &Document, after: &Document) -> Document {
    let mut constants: Vec<&str> = Vec::new();
    for node in after.nodes() {
        for name in node.inputs() {
            let (old, new) = (before.constant(name), after.constant(name));
            if new.is_some() && new != old {
                constants.push(name);
            }
        }
    }
    let old: HashMap<&str, &Node> =
        before.nodes().iter().filter_map(|n| Some((n.outputs().first()?.as_str(), n))).collect();
    for node in after.nodes() {
        let Some(first) = node.outputs().first() else { continue };
        let Some(was) = old.get(first.as_str()).filter(|was| was.inputs() != node.inputs()) else { continue };
        let target = file.nodes_mut().iter_mut().find(|n| n.outputs().first() == Some(first));
        let Some(target) = target else { continue };
        for (i, name) in node.inputs().iter().enumerate() {
            if was.inputs().get(i) != Some(name) {
                target.set_input(i, name);
            }
        }
    }
    // A constant that a node gave becomes one of the file.
    let given: Vec<&str> = constants.iter().copied().filter(|n| file.constant(n).is_none()).collect();
    file.nodes_mut().retain(|n| {
        let gives = |name: &&str| n.outputs().len() == 1 && n.outputs()[0] == **name;
        n.op() != "Constant" || !given.iter().any(gives)
    });
    for name in constants {
        if let Some(tensor) = after.constant(name) {
            file.set_constant(name, tensor.clone());
        }
    }
    file
}

/// Gives convolutions, by their result, other numbers of groups.
pub(crate) fn set_groups(file: &mut Document, groups: &[(String, i64)]) {
    for (output, count) in groups {
        let node = file.nodes_mut().iter_mut().find(|n| n.outputs().first() == Some(output));
        if let Some(node) = node {
            node.set_int("group", *count);
        }
    }
}
