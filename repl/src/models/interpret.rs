//! The interpreter: what a model means, node by node.

use kiln_compiler::Tensor;
use kiln_compiler::internals::pipeline::{self, Compiled, Observer};
use kiln_ir::graph::{Graph, Value};
use kiln_ir::{eval, quantized};

use super::model::Last;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;

/// Stops after a pass, or when somebody asks for it.
pub(crate) struct Until(pub &'static str);

impl Observer for Until {
    fn proceed(&mut self, pass: &'static str) -> bool {
        pass != self.0 && !interrupt::asked()
    }
}

/// A model with types for the shapes of a call.
pub(crate) fn typed(session: &mut Session, name: &str, last: &Last) -> Result<Graph> {
    let mut loaded = session.load(name, Some(last))?;
    for open in loaded.unbound() {
        loaded.bind(&open, 1);
    }
    match pipeline::run(loaded.graph, &loaded.options, &mut Until("infer"))? {
        Compiled::Graph(graph) => Ok(graph),
        _ => Err(Fault::new("the model has no graph")),
    }
}

/// Interprets a model, showing the values that its nodes make by name; gives its results.
pub(crate) fn run(
    graph: &Graph,
    inputs: &[Tensor],
    see: &mut dyn FnMut(&Value, &Tensor),
) -> Result<Vec<Tensor>> {
    let mut exact = graph.clone();
    let changed = quantized::integers(&mut exact)?;
    let mut go_on = |value: &Value, tensor: &Tensor| {
        see(value, tensor);
        !interrupt::asked()
    };
    let results = eval::graph::run_while(if changed { &exact } else { graph }, inputs, &mut go_on)?;
    results.ok_or_else(Fault::interrupted)
}
