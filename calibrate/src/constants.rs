//! Constants where a model has nodes that give them.

use std::collections::HashMap;

use kiln_onnx::{Document, Node};

/// Nodes that give a constant go; their readers read a constant.
pub fn settle_constants(document: &mut Document) {
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut gone = Vec::new();
    let outputs: Vec<String> = document.outputs().into_iter().map(str::to_owned).collect();
    let captured: Vec<String> = document.nodes().iter().flat_map(Node::captures).collect();
    for i in 0..document.nodes().len() {
        let node = &document.nodes()[i];
        let [result] = node.outputs() else { continue };
        let result = result.clone();
        if outputs.contains(&result) || captured.contains(&result) {
            continue;
        }
        if let Some(tensor) = node.constant() {
            document.set_constant(&result, tensor);
            gone.push(i);
        } else if node.op() == "Identity"
            && let Some(from) = node.input(0)
        {
            let from = renamed.get(from).cloned().unwrap_or_else(|| from.to_owned());
            if document.constant(&from).is_some() {
                renamed.insert(result, from);
                gone.push(i);
            }
        }
    }
    let mut at = 0;
    document.nodes_mut().retain(|_| {
        at += 1;
        gone.binary_search(&(at - 1)).is_err()
    });
    for node in document.nodes_mut() {
        for i in 0..node.inputs().len() {
            if let Some(name) = renamed.get(&node.inputs()[i]).cloned() {
                node.set_input(i, &name);
            }
        }
    }
}
