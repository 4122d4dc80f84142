//! A small model as a folder that `kiln check` reads.

use std::path::Path;

use kiln_compiler::Tensor;
use kiln_compiler::internals::pipeline::{self, Compiled};

use super::reduced::Reduced;
use crate::fault::{Fault, Result};
use crate::models::{Source, interpret};
use crate::session::Session;

/// Writes `model.onnx` and a data set with its arguments and what the interpreter makes of them; whether there is the
/// latter.
pub(crate) fn save(session: &Session, reduced: &Reduced, folder: &Path) -> Result<bool> {
    let failed = |path: &Path, e: std::io::Error| Fault::new(format!("cannot write {}: {e}", path.display()));
    let set = folder.join("test_data_set_0");
    std::fs::create_dir_all(&set).map_err(|e| failed(&set, e))?;
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).map_err(|e| failed(path, e));
    write(&folder.join("model.onnx"), &reduced.document.to_bytes()?)?;
    for (i, (name, tensor)) in reduced.inputs.iter().enumerate() {
        write(&set.join(format!("input_{i}.pb")), &kiln_onnx::tensor_to_bytes(name, tensor)?)?;
    }
    let names: Vec<String> = reduced.document.outputs().into_iter().map(str::to_owned).collect();
    let Ok(expected) = expected(session, reduced) else { return Ok(false) };
    for (i, (name, tensor)) in names.iter().zip(&expected).enumerate() {
        write(&set.join(format!("output_{i}.pb")), &kiln_onnx::tensor_to_bytes(name, tensor)?)?;
    }
    Ok(true)
}

fn expected(session: &Session, reduced: &Reduced) -> Result<Vec<Tensor>> {
    let source = Source::Document(reduced.document.clone().into());
    let loaded = session.engine.load(&source, &session.settings)?;
    let compiled = pipeline::run(loaded.graph, &loaded.options, &mut interpret::Until("infer"))?;
    let Compiled::Graph(graph) = compiled else { return Err(Fault::new("the model has no graph")) };
    let tensors: Vec<Tensor> = reduced.inputs.iter().map(|(_, t)| t.clone()).collect();
    interpret::run(&graph, &tensors, &mut |_, _| {})
}
