//! `ModelProto`: versions, then the graph.

use std::rc::Rc;

use kiln_ir::errors::Result;
use kiln_ir::graph::Graph;
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Error, Limits, bail_invalid, bail_unsupported};
use onnx_protobuf::ModelProto;

use super::external::{External, Home};
use super::function::Functions;
use super::graph::Importer;
use super::opsets::{self, Opsets};
use super::report::Report;
use super::tensor::Tensors;

/// The oldest version of the file format that Kiln reads: the first with opsets.
const OLDEST_IR: i64 = 3;

/// The graph of a decoded model.
pub(super) fn import(mut proto: ModelProto, home: Option<Home>, limits: &Limits) -> Result<Graph> {
    let opsets = versions(&proto)?;
    let Some(graph) = proto.graph.take() else { return Err(Error::invalid("the model has no graph").into()) };
    let mut report = Report::default();
    let functions = Functions::new(std::mem::take(&mut proto.functions), &mut report);
    // Training information, metadata and the rest of the file are of no use from here on.
    drop(proto);
    let tensors = Tensors::new(External::new(home), limits.max_tensor_bytes);
    let mut importer = Importer { tensors, opsets: Rc::new(opsets), functions, report, nested: false };
    let graph = importer.graph(graph, &[]);
    importer.report.finish(graph)
}

fn versions(proto: &ModelProto) -> kiln_ir::Result<Opsets> {
    match proto.ir_version {
        v if v < 1 => bail_invalid!("the model has the ir_version {v}"),
        v if v < OLDEST_IR => {
            bail_unsupported!("ir_version {v} is older than the oldest that is supported, {OLDEST_IR}")
        }
        _ => {}
    }
    let opsets = opsets::read(&proto.opset_import)?;
    match opsets.get("") {
        // Models may consist of operators of other domains only; the nodes tell.
        None if !opsets.is_empty() => {}
        None => bail_invalid!("the model imports no operator set"),
        Some(&v) if v > NEWEST_OPSET => {
            return Err(Error::unsupported(format!(
                "opset {v} is newer than the newest that is supported, {NEWEST_OPSET}"
            ))
            .hint("export the model for an older opset"));
        }
        Some(_) => {}
    }
    Ok(opsets)
}
