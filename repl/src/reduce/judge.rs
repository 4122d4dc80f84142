//! What a model does: it compiles and agrees with the interpreter, it fails, or it differs.

use std::collections::BTreeMap;

use kiln_compiler::Tensor;
use kiln_compiler::internals::pipeline::{self, Compiled};
use kiln_onnx::Document;

use crate::engine;
use crate::fault::{Fault, Result};
use crate::models::{Source, compare, interpret};
use crate::session::Session;
use crate::settings::Settings;

/// What a model does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It compiles, and its results are those of the interpreter.
    Fine,
    /// It cannot be compiled or run.
    Fails(String),
    /// Its results are others; the first tensor that is.
    Differs(String),
}

impl Verdict {
    /// Whether another model does the same: fails with the same words but for names and numbers, or differs too.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fails(a), Self::Fails(b)) => pattern(a) == pattern(b),
            (Self::Differs(_), Self::Differs(_)) => true,
            _ => false,
        }
    }

    /// Whether it speaks of a node.
    pub(super) fn names(&self, label: &str, outputs: &[String]) -> bool {
        match self {
            Self::Fine => false,
            Self::Fails(text) => !label.is_empty() && text.contains(&format!("'{label}'")),
            Self::Differs(tensor) => outputs.contains(tensor),
        }
    }
}

/// A message without what stands in quotes and without numbers.
fn pattern(text: &str) -> String {
    let parts = text.split('\'').step_by(2);
    parts.flat_map(|part| part.chars().filter(|c| !c.is_ascii_digit())).collect()
}

/// Judges models.
pub(super) struct Judge {
    pub(super) settings: Settings,
    pub(super) tolerance: f64,
}

impl Judge {
    /// What a model does with its arguments.
    pub(super) fn of(
        &self,
        session: &mut Session,
        document: &Document,
        inputs: &[(String, Tensor)],
    ) -> Result<Verdict> {
        let run = self.compiled(session, document, inputs).and_then(|(model, given)| {
            let tensor = |n: &String| inputs.iter().find(|(m, _)| m == n).map(|(_, t)| t.clone());
            let tensors: Vec<Tensor> = given.iter().filter_map(tensor).collect();
            let names = model.outputs().iter().map(|p| p.name.clone()).collect::<Vec<_>>();
            Ok((names, engine::run(&model, &tensors)?))
        });
        let (names, results) = match run {
            Ok(run) => run,
            Err(fault) if fault.interrupted => return Err(fault),
            Err(fault) => return Ok(Verdict::Fails(fault.message)),
        };
        let expected = match self.interpreted(session, document, inputs, &mut |_, _| {}) {
            Ok(expected) => expected,
            Err(fault) if fault.interrupted => return Err(fault),
            // Nobody can say what it should be.
            Err(_) => return Ok(Verdict::Fine),
        };
        for ((name, x), y) in names.iter().zip(&results).zip(&expected) {
            let Ok(found) = compare::compare(x, y) else { return Ok(Verdict::Differs(name.clone())) };
            let is_beyond = match self.tolerance {
                0.0 => found.differing > 0,
                tolerance => found.is_beyond(x.dtype, tolerance),
            };
            if is_beyond {
                return Ok(Verdict::Differs(name.clone()));
            }
        }
        Ok(Verdict::Fine)
    }

    /// Values that flow through a model, as far as it can be read and interpreted.
    pub(super) fn values(
        &self,
        session: &mut Session,
        document: &Document,
        inputs: &[(String, Tensor)],
        values: &mut BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let whole = self.interpreted(session, document, inputs, &mut |name, tensor| {
            values.insert(name.to_owned(), tensor.clone());
        });
        match whole {
            Ok(_) => return Ok(()),
            Err(fault) if fault.interrupted => return Err(fault),
            Err(_) => {}
        }
        // Up to what cannot be read: node by node, each of the values that are known.
        for node in document.nodes() {
            if crate::interrupt::asked() {
                return Err(Fault::interrupted());
            }
            let reads = node.inputs().iter().filter(|n| !n.is_empty() && document.constant(n).is_none());
            let given: Option<Vec<(String, Tensor)>> =
                reads.map(|n| values.get(n).map(|t| (n.clone(), t.clone()))).collect();
            let Some(given) = given else { continue };
            let own: Vec<_> = given.iter().map(|(n, t)| (n.clone(), t.dtype, t.shape.clone())).collect();
            let outputs: Vec<&str> =
                node.outputs().iter().map(String::as_str).filter(|o| !o.is_empty()).collect();
            let Ok(alone) = document.cut(&own, &outputs) else { continue };
            if let Ok(results) = self.interpreted(session, &alone, &given, &mut |_, _| {}) {
                values.extend(outputs.iter().map(|o| (*o).to_owned()).zip(results));
            }
        }
        Ok(())
    }

    fn compiled(
        &self,
        session: &mut Session,
        document: &Document,
        inputs: &[(String, Tensor)],
    ) -> Result<(kiln_compiler::Model, Vec<String>)> {
        let loaded = self.loaded(session, document, inputs)?;
        let planned = session.engine.plan(loaded)?;
        let model = session.engine.alone(planned)?;
        let names = model.inputs().iter().map(|p| p.name.clone()).collect();
        Ok((model, names))
    }

    fn interpreted(
        &self,
        session: &Session,
        document: &Document,
        inputs: &[(String, Tensor)],
        see: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<Vec<Tensor>> {
        let loaded = self.loaded(session, document, inputs)?;
        let names: Vec<String> = loaded.inputs().into_iter().map(|(n, _)| n.to_owned()).collect();
        let graph = match pipeline::run(loaded.graph, &loaded.options, &mut interpret::Until("infer"))? {
            Compiled::Graph(graph) => graph,
            _ => return Err(Fault::new("the model has no graph")),
        };
        let tensors: Vec<Tensor> = names
            .iter()
            .filter_map(|n| inputs.iter().find(|(m, _)| m == n))
            .map(|(_, t)| t.clone())
            .collect();
        interpret::run(&graph, &tensors, &mut |value, tensor| see(&value.name, tensor))
    }

    fn loaded(
        &self,
        session: &Session,
        document: &Document,
        inputs: &[(String, Tensor)],
    ) -> Result<kiln_compiler::internals::api::Loaded> {
        let source = Source::Document(document.clone().into());
        let mut loaded = session.engine.load(&source, &self.settings)?;
        loaded.bind_extents(&|input| inputs.iter().find(|(n, _)| n == input).map(|(_, t)| t))?;
        Ok(loaded)
    }
}
