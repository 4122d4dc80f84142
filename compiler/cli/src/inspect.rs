//! `kiln inspect`: what is in a model, and what of it is unsupported.

use std::collections::BTreeMap;

use kiln_compiler::pipeline::{self, Observer};
use kiln_ir::Errors;
use kiln_ir::error::Printable;
use kiln_ir::graph::{Graph, Source};
use kiln_ir::kernel::{Form, Program, WindowOp};
use kiln_ir::{DType, Dim, ErrorKind, Tensor};
use serde_json::{Value, json};

use super::args::{self, CpuArgs, ModelArgs};
use super::output::{Answer, Failure, Ui};

/// Arguments of `kiln inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let cpu = CpuArgs { cpu: Vec::new(), features: String::new() };
    let compiler = args::compiler(&args.model.model, &args.model.shape, None, &cpu, "baseline")?;
    let mut model = compiler.load()?;
    let graph = model.graph.clone();
    let symbols = kiln_compiler::passes::bind::symbols(&graph);
    let unbound = model.unbound();
    for name in &unbound {
        model.bind(name, 1);
    }
    let mut lowered = Lowered::default();
    let unsupported = match pipeline::run(model.graph, &model.options, &mut lowered) {
        Ok(_) => Errors(Vec::new()),
        Err(errors) if errors.kind() == ErrorKind::Unsupported => errors,
        Err(errors) => return Err(errors.into()),
    };
    let mut json = json!({
        "name": model.name,
        "inputs": ports(&graph, graph.inputs(), None),
        "outputs": ports(&graph, graph.outputs(), Some(graph.output_names())),
        "opsets": opsets(&graph),
        "nodes": graph.node_count(),
        "operators": operators(&graph),
        "symbols": symbols.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
    });
    describe_weights(&graph, &mut json);
    json["macs"] = json!(lowered.macs);
    json["macs_with"] =
        unbound.iter().map(|name| (name.clone(), json!(1))).collect::<serde_json::Map<_, _>>().into();
    json["unsupported"] = unsupported
        .0
        .iter()
        .map(|e| json!({ "node": e.node, "op": e.op, "message": e.message, "hint": e.hint }))
        .collect();
    print(ui, &json);
    if unsupported.0.is_empty() {
        return Ok(Answer::yes(json));
    }
    ui.errors(&unsupported);
    Ok(Answer { code: unsupported.exit_code(), json })
}

/// Counts multiplications right after lowering, when each operator has its own kernels.
#[derive(Default)]
struct Lowered {
    macs: Option<i64>,
}

impl Observer for Lowered {
    fn program(&mut self, pass: &'static str, program: &Program) {
        if pass == "lower" {
            self.macs = macs(program);
        }
    }

    fn proceed(&mut self, pass: &'static str) -> bool {
        pass != "lower"
    }
}

/// Products that are added up: iterations of contractions and depthwise convolutions, padding included.
fn macs(program: &Program) -> Option<i64> {
    let counts = |form: &Form| matches!(form, Form::Contract { .. } | Form::Window { op: WindowOp::Dot, .. });
    let kernels = program.kernels().iter().filter(|k| counts(&k.form));
    kernels.map(|k| k.iterations().as_const()).try_fold(0i64, |sum, n| sum.checked_add(n?))
}

fn ports(graph: &Graph, ids: &[kiln_ir::graph::ValueId], names: Option<&[String]>) -> Value {
    let port = |(i, id): (usize, &kiln_ir::graph::ValueId)| {
        let value = graph.value(*id);
        let name = names.map_or(&value.name, |names| &names[i]);
        let shape = value.fact.as_ref().map(|f| f.shape.iter().map(dim).collect::<Vec<_>>());
        json!({ "name": name, "dtype": value.fact.as_ref().map(|f| f.dtype.name()), "shape": shape })
    };
    ids.iter().enumerate().map(port).collect()
}

/// A number, or the expression as text.
fn dim(dim: &Dim) -> Value {
    dim.as_const().map_or_else(|| json!(dim.to_string()), |n| json!(n))
}

fn opsets(graph: &Graph) -> Value {
    let named = |(domain, version): (&String, &i64)| {
        (if domain.is_empty() { "ai.onnx".to_owned() } else { domain.clone() }, json!(version))
    };
    graph.opsets.iter().map(named).collect::<serde_json::Map<_, _>>().into()
}

fn operators(graph: &Graph) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    graph.node_ids().for_each(|id| *counts.entry(graph.node(id).op.name()).or_default() += 1);
    json!(counts)
}

/// Weights smaller than this are scalars, axes and the like: no word about their zeros.
const NOTABLE_ELEMENTS: usize = 256;

fn describe_weights(graph: &Graph, json: &mut Value) {
    let (mut parameters, mut bytes, mut by_type) = (0usize, 0usize, BTreeMap::<&str, usize>::new());
    let mut weights = Vec::new();
    for (_, value) in graph.values() {
        let Source::Const(tensor) = &value.source else { continue };
        parameters += tensor.elements();
        bytes += tensor.data.len();
        *by_type.entry(tensor.dtype.name()).or_default() += tensor.elements();
        if tensor.elements() >= NOTABLE_ELEMENTS && tensor.shape.len() >= 2 {
            let zeros = zeros(tensor);
            weights.push(json!({
                "name": value.name,
                "dtype": tensor.dtype.name(),
                "shape": tensor.shape,
                "zeros": zeros,
                "sparsity": zeros as f64 / tensor.elements() as f64,
            }));
        }
    }
    let quantising = ["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"];
    let quantised =
        |name: &str| quantising.contains(&name) || name.starts_with("QLinear") || name.ends_with("Integer");
    let nodes: BTreeMap<String, u64> = json["operators"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| quantised(name))
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0)))
        .collect();
    json["parameters"] = json!(parameters);
    json["parameter_bytes"] = json!(bytes);
    json["parameters_by_type"] = json!(by_type);
    json["weights"] = json!(weights);
    json["quantisation"] = json!({ "quantised": !nodes.is_empty(), "operators": nodes });
}

/// Elements that are zero: all bits, but for the sign of floats.
fn zeros(tensor: &Tensor) -> usize {
    match tensor.dtype {
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
            tensor.to_f64s().map_or(0, |v| v.iter().filter(|x| **x == 0.0).count())
        }
        dtype if dtype.size() > 0 => {
            tensor.data.chunks_exact(dtype.size()).filter(|c| c.iter().all(|b| *b == 0)).count()
        }
        _ => {
            let halves = tensor.data.iter().flat_map(|b| [b & 15, b >> 4]);
            halves.take(tensor.elements()).filter(|h| *h == 0).count()
        }
    }
}

fn print(ui: &Ui, json: &Value) {
    let mut lines = vec![format!("model {}", json["name"].as_str().unwrap_or_default())];
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), |s| Printable(s).to_string());
    let list = |v: &Value| v.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let map = |v: &Value| {
        let entries = v.as_object().into_iter().flatten();
        entries.map(|(k, v)| format!("{} {}", Printable(k), text(v))).collect::<Vec<_>>().join(", ")
    };
    for (key, title) in [("inputs", "input"), ("outputs", "output")] {
        for port in json[key].as_array().into_iter().flatten() {
            let ty = format!("{}[{}]", text(&port["dtype"]), list(&port["shape"]));
            lines.push(format!("  {title:10} {} {ty}", text(&port["name"])));
        }
    }
    lines.push(format!("opsets       {}", map(&json["opsets"])));
    lines.push(format!("nodes        {}: {}", json["nodes"], map(&json["operators"])));
    lines.push(format!(
        "parameters   {} ({} bytes): {}",
        json["parameters"],
        json["parameter_bytes"],
        map(&json["parameters_by_type"])
    ));
    if !json["macs"].is_null() {
        let with = map(&json["macs_with"]);
        let with = if with.is_empty() { String::new() } else { format!(" with {with}") };
        lines.push(format!("MACs         {}{with}", json["macs"]));
    }
    if json["symbols"].as_array().is_some_and(|s| !s.is_empty()) {
        lines.push(format!("dimensions   {}", list(&json["symbols"])));
    }
    let quantised = map(&json["quantisation"]["operators"]);
    lines.push(format!("quantised    {}", if quantised.is_empty() { "no" } else { &quantised }));
    let sparse = |w: &&Value| w["sparsity"].as_f64().is_some_and(|s| s >= 0.005);
    for weight in json["weights"].as_array().into_iter().flatten().filter(sparse) {
        let percent = 100.0 * weight["sparsity"].as_f64().unwrap_or(0.0);
        lines.push(format!("  sparse     {} {percent:.1} % zeros", text(&weight["name"])));
    }
    ui.text(lines.join("\n"));
}
