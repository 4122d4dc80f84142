//! Values within a model, as compiled code makes them: the model is compiled once more with these as further results.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_compiler::Tensor;
use kiln_ir::graph::Source as Origin;

use super::model::Last;
use super::source::Source;
use crate::engine;
use crate::expression::suggest;
use crate::fault::{Fault, Result};
use crate::session::Session;

/// Values of a model by name for a call; nodes fuse around them as they can.
pub(crate) fn of(
    session: &mut Session,
    name: &str,
    last: &Last,
    wanted: &[String],
) -> Result<BTreeMap<String, Tensor>> {
    let settings = session.settings_for(Some(last));
    let mut loaded = session.load(name, Some(last))?;
    let graph = &mut loaded.graph;
    let mut ready: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut taps: Vec<String> = Vec::new();
    for value in wanted {
        let Some(id) = graph.find(value) else {
            let near = suggest::hint(value, graph.values().map(|(_, v)| v.name.as_str()));
            let fault = Fault::new(format!("'{name}' has no tensor '{value}'"));
            return Err(fault.hint(if near.is_empty() { format!(":nodes {name} lists them") } else { near }));
        };
        match &graph.value(id).source {
            Origin::Const(tensor) => {
                ready.insert(value.clone(), tensor.clone());
            }
            Origin::Input(_) => {
                let given = last.inputs.iter().find(|(n, _)| n == value).map(|(_, t)| t.clone());
                ready.extend(given.map(|t| (value.clone(), t)));
            }
            Origin::Node(..) => {
                if !graph.output_names().contains(value) {
                    graph.add_output(id);
                }
                taps.push(value.clone());
            }
        }
    }
    if taps.is_empty() {
        return Ok(ready);
    }
    let source = Source::Graph(Arc::new(loaded.graph.clone()));
    let types = engine::types(last.inputs.iter().map(|(_, t)| t));
    let key = session.engine.key(&source.identity(None)?, &settings, &types)?;
    let compiled = match session.engine.known(&key, &settings, false)? {
        Some(compiled) => compiled,
        None => session.engine.compile(&key, loaded, &settings, false)?,
    };
    let tensors: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
    let results = engine::run(&compiled, &tensors)?;
    for (port, tensor) in compiled.outputs().iter().zip(results) {
        if taps.contains(&port.name) {
            ready.insert(port.name.clone(), tensor);
        }
    }
    Ok(ready)
}
