//! `--bind-inputs`: arguments that become constants, because operators need their values to be compiled.

use kiln_compiler::internals::api::{Loaded, Planned};
use kiln_ir::graph::ValueId;
use kiln_ir::{Error, ErrorKind, Errors, Tensor};

use super::failure::Failure;

/// Plans the model with those of the `given` inputs as constants that the nodes in `errors` read as a scalar or a
/// vector beside their data; again for the nodes that are refused then, until none is or nothing is left to bind.
pub(super) fn plan(
    mut model: Loaded,
    given: &[(String, Tensor)],
    mut errors: Errors,
) -> Result<Planned, Failure> {
    loop {
        let names = parameters(&model, given, &errors);
        if names.is_empty() {
            return Err(errors.into());
        }
        for (name, tensor) in names {
            model.fix_input(name, tensor.clone())?;
        }
        match model.clone().plan().map_err(Failure::from) {
            Err(Failure::Errors(next)) if next.kind() == ErrorKind::Unsupported => errors = next,
            result => return result,
        }
    }
}

/// The inputs that refused nodes read beside their data, or that what they read is computed from.
fn parameters<'a>(
    model: &Loaded,
    given: &'a [(String, Tensor)],
    errors: &Errors,
) -> Vec<(&'a str, &'a Tensor)> {
    let graph = &model.graph;
    let mut read: Vec<ValueId> = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        // A node of a branch or of a loop's body is named behind the one that holds it.
        let holds = |e: &Error| {
            matches!(node.op.name(), "If" | "Loop" | "Scan")
                && e.node.strip_prefix(&*node.name).is_some_and(|rest| rest.starts_with('/'))
        };
        if errors.0.iter().any(holds) {
            read.extend(node.inputs.iter().flatten());
        }
        if errors.0.iter().any(|e| e.op == node.op.name() && e.node == node.name) {
            // Operators whose operands say what is to be made have no data.
            let without_data = matches!(
                node.op.name(),
                "Range"
                    | "ConstantOfShape"
                    | "HannWindow"
                    | "HammingWindow"
                    | "BlackmanWindow"
                    | "MelWeightMatrix"
                    | "If"
            );
            let first = usize::from(!without_data);
            read.extend(node.inputs.iter().skip(first).flatten());
        }
    }
    let mut at = 0;
    while let Some(value) = read.get(at).copied() {
        at += 1;
        let Some(producer) = graph.producer(value).map(|id| graph.node(id)) else { continue };
        // What is only measured stays an input.
        if !matches!(producer.op.name(), "Shape" | "Size") {
            for more in producer.inputs.iter().flatten().copied() {
                if !read.contains(&more) {
                    read.push(more);
                }
            }
        }
    }
    let names = read.iter().filter(|v| graph.inputs().contains(v)).map(|v| &*graph.value(*v).name);
    let mut out: Vec<(&str, &Tensor)> = Vec::new();
    for name in names {
        let small = given.iter().find(|(n, tensor)| n == name && tensor.shape.len() <= 1);
        if let Some((name, tensor)) = small
            && !out.iter().any(|(n, _)| n == name)
        {
            out.push((name, tensor));
        }
    }
    out
}
