//! `ModelProto`: versions, then the graph.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use kiln_ir::graph::Graph;
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Error, bail_invalid, bail_unsupported};
use onnx_protobuf::{ModelProto, OperatorSetIdProto};

use super::external::External;
use super::function::Functions;
use super::graph::Importer;
use super::tensor::Tensors;
use super::{Limits, Report};
use crate::error::Result;

/// The oldest opset of the default domain that Kiln reads.
const OLDEST_OPSET: i64 = 7;

/// The oldest version of the file format that Kiln reads: the first with opsets.
const OLDEST_IR: i64 = 3;

/// Operator set versions by domain, the default domain under the empty name.
pub(super) type Opsets = BTreeMap<String, i64>;

/// The graph of a decoded model.
pub(super) fn import(mut proto: ModelProto, folder: Option<&Path>, limits: &Limits) -> Result<Graph> {
    let opsets = versions(&proto)?;
    let Some(graph) = proto.graph.take() else { return Err(Error::invalid("the model has no graph").into()) };
    let mut report = Report::default();
    let functions = Functions::new(std::mem::take(&mut proto.functions), &mut report);
    // Training information, metadata and the rest of the file are of no use from here on.
    drop(proto);
    let tensors = Tensors::new(External::new(folder), limits.max_tensor_bytes);
    let mut importer = Importer { tensors, opsets: Rc::new(opsets), functions, report };
    let graph = importer.graph(graph, &[]);
    importer.report.finish(graph)
}

fn versions(proto: &ModelProto) -> kiln_ir::Result<Opsets> {
    match proto.ir_version {
        v if v < 1 => bail_invalid!("the model has the ir_version {v}"),
        v if v < OLDEST_IR => bail_unsupported!("ir_version {v}, older than {OLDEST_IR}"),
        _ => {}
    }
    let opsets = opsets(&proto.opset_import)?;
    match opsets.get("") {
        // Models may consist of operators of other domains only; the nodes tell.
        None if !opsets.is_empty() => {}
        None => bail_invalid!("the model imports no operator set"),
        Some(&v) if v < OLDEST_OPSET => {
            return Err(Error::unsupported(format!("opset {v}, older than {OLDEST_OPSET}"))
                .hint("convert the model with onnx.version_converter"));
        }
        Some(&v) if v > NEWEST_OPSET => {
            return Err(Error::unsupported(format!("opset {v}, newer than {NEWEST_OPSET}"))
                .hint("export the model for an older opset"));
        }
        Some(_) => {}
    }
    Ok(opsets)
}

/// Opset imports of a model or a function.
pub(super) fn opsets(imports: &[OperatorSetIdProto]) -> kiln_ir::Result<Opsets> {
    let mut opsets = Opsets::new();
    for import in imports {
        let domain = domain(&import.domain);
        if import.version < 1 {
            bail_invalid!("version {} of operator set '{domain}'", import.version);
        }
        if opsets.insert(domain.to_owned(), import.version).is_some() {
            bail_invalid!("operator set '{domain}' is imported twice");
        }
    }
    Ok(opsets)
}

/// A domain by its one name: the default one has two.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}
