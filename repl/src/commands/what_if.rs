//! What a change of a model costs and gains: its error and its time, measured.

use std::sync::Arc;
use std::time::Duration;

use kiln_compiler::Tensor;
use kiln_onnx::Document;
use kiln_tools::measure;

use super::time;
use crate::engine;
use crate::evaluate;
use crate::fault::Result;
use crate::models::{Last, Source, compare};
use crate::session::Session;

/// How long each of the two is measured.
const LENGTH: Duration = Duration::from_millis(300);

/// Puts a changed model in the place of one, and tells how it differs on what that was last called with.
pub(super) fn change(session: &mut Session, name: &str, document: Document, what: &str) -> Result<()> {
    let last = session.inputs(name)?;
    let before = measured(session, name, &last)?;
    session.model(name)?.change(Source::Document(Arc::new(document)), what.to_owned());
    session.changes.push(name.to_owned());
    let after = match measured(session, name, &last) {
        Ok(after) => after,
        Err(fault) => {
            // A model that cannot be measured is not left in place.
            session.model(name)?.undo();
            session.changes.pop();
            return Err(fault);
        }
    };
    session.model(name)?.last = Some(last);
    let mut error = 0.0f64;
    for (x, y) in after.results.iter().zip(&before.results) {
        error = error.max(compare::compare(x, y)?.rel);
    }
    session.out.line(format_args!(
        "{what}: the results differ by {error:.2e} of their largest element; {:.3} ms, before {:.3} ms ({:.2} x); \
         {} bytes of weights, before {}; :undo takes it back",
        after.ms,
        before.ms,
        before.ms / after.ms.max(1e-6),
        after.weights,
        before.weights,
    ));
    Ok(())
}

struct Measured {
    results: Vec<Tensor>,
    ms: f64,
    weights: usize,
}

fn measured(session: &mut Session, name: &str, last: &Last) -> Result<Measured> {
    let compiled = evaluate::compiled_for(session, name, last)?;
    let inputs: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
    let results = engine::run(&compiled, &inputs)?;
    let ms = measure::summarise(&mut time::times(&compiled, &inputs, LENGTH)?).min;
    Ok(Measured { results, ms, weights: compiled.weights_bytes() })
}
