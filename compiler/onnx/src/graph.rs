//! `GraphProto` to a graph: constants, arguments, nodes in order, results, and subgraphs.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use kiln_ir::graph::Graph;
use kiln_ir::ops::loop_::CAPTURES;
use kiln_ir::{
    Attr, Attrs, DType, Error, Fact, NodeProto as ParsedNode, Op, PRIVATE_ATTRIBUTE, Result, Shape, Tensor,
    bail_invalid, ops,
};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{GraphProto, ValueInfoProto};

use super::function::{Call, Functions};
use super::opsets::{self, Opsets};
use super::order::{self, Links};
use super::report::Report;
use super::tensor::Tensors;
use super::{attr, early, types};

/// Imports the graphs of one model.
#[derive(Debug)]
pub(super) struct Importer {
    pub(super) tensors: Tensors,
    pub(super) opsets: Rc<Opsets>,
    pub(super) functions: Functions,
    pub(super) report: Report,
    /// Whether the graph is an attribute of a node.
    pub(super) nested: bool,
}

impl Importer {
    /// A graph. `captured` names values of outer graphs; they become further arguments, behind the graph's own.
    /// `None` when the report has the reason.
    pub(super) fn graph(&mut self, mut proto: GraphProto, captured: &[String]) -> Option<Graph> {
        let mut graph = Graph::new(&proto.name);
        graph.opsets = (*self.opsets).clone();
        // Names that are defined but refused: reported once, not at each node that reads them.
        let mut lost = HashSet::new();
        self.arguments(&mut graph, &mut proto, &mut lost);
        let nodes = std::mem::take(&mut proto.node);
        let mut calls = self.functions.expand(nodes, &self.opsets, &mut self.report, &mut lost);
        let mut good = lost.is_empty();
        let made: HashSet<String> = calls.iter().flat_map(|c| c.node.output.iter().cloned()).collect();
        for name in captured {
            // What the graph defines itself hides the outer value of that name.
            let mut own = name.clone();
            while made.contains(&own) || graph.find(&own).is_some() {
                own.push_str(".outer");
            }
            // The operator that owns the graph knows the type and sets it.
            let fact = Fact::new(DType::F32, Shape::default());
            good &= self.report.note(graph.add_input(&own, fact)).is_some();
        }
        let captures: Vec<Vec<String>> = calls.iter().map(captures_of).collect();
        let mut parsed = Vec::with_capacity(calls.len());
        for (call, captures) in calls.iter_mut().zip(&captures) {
            parsed.push(self.node(call, captures));
        }
        let links: Vec<Links<'_>> =
            calls.iter().zip(&captures).map(|(c, captures)| links(c, captures)).collect();
        let known = |name: &str| graph.find(name).is_some() || lost.contains(name);
        let order = order::sort(&links, known, &mut self.report);
        let (Some(order), true) = (order, good && parsed.iter().all(Option::is_some)) else {
            // Tells what is wrong with the results too, where the nodes allow to say it.
            self.check_outputs(&proto, |name| made.contains(name) || known(name));
            return None;
        };
        for i in order {
            let op = parsed[i].take()?;
            let added = add(&mut graph, &calls[i], op, &captures[i]);
            self.report.note(added.map_err(|e| e.at(&calls[i].name, &calls[i].node.op_type)))?;
        }
        self.results(graph, &proto)
    }

    /// Constants and arguments; `lost` takes the names of those that are refused.
    fn arguments(&mut self, graph: &mut Graph, proto: &mut GraphProto, lost: &mut HashSet<String>) {
        let dense = std::mem::take(&mut proto.initializer);
        for mut tensor in dense {
            let name = std::mem::take(&mut tensor.name);
            let tensor = self.tensors.dense(tensor);
            if !self.constant(graph, &name, tensor) {
                lost.insert(name);
            }
        }
        for mut tensor in std::mem::take(&mut proto.sparse_initializer) {
            let name = tensor.values.as_mut().map(|v| std::mem::take(&mut v.name)).unwrap_or_default();
            let tensor = self.tensors.sparse(tensor);
            if !self.constant(graph, &name, tensor) {
                lost.insert(name);
            }
        }
        let mut seen = HashSet::new();
        for info in &proto.input {
            let added = if info.name.is_empty() {
                Err(Error::invalid("an input of the graph has no name"))
            } else if lost.contains(&info.name) {
                continue;
            } else if !seen.insert(&info.name) {
                Err(Error::invalid(format!("input '{}' is defined twice", info.name)))
            } else if let Some(id) = graph.find(&info.name) {
                // An initialiser under an input's name is the input's default: the compiled model has it as a
                // constant.
                check_declared(graph.value(id).fact.as_ref(), info)
            } else if self.nested && info.type_.as_ref().is_none_or(|t| t.value.is_none()) {
                // Allowed there: the operator that owns the graph knows the type.
                let fact = Fact::new(DType::F32, Shape::default());
                graph.add_input(&info.name, fact).map(|_| ())
            } else {
                types::input(info).and_then(|fact| graph.add_input(&info.name, fact)).map(|_| ())
            };
            if self.report.note(added).is_none() {
                lost.insert(info.name.clone());
            }
        }
    }

    fn constant(&mut self, graph: &mut Graph, name: &str, tensor: Result<Tensor>) -> bool {
        let added = match tensor {
            _ if name.is_empty() => Err(Error::invalid("an initializer has no name")),
            Ok(tensor) => graph.add_const(name, tensor).map(|_| ()),
            Err(mut e) => {
                e.message = format!("initializer '{name}': {}", e.message);
                Err(e)
            }
        };
        self.report.note(added).is_some()
    }

    /// The operator of a node, with all its subgraphs imported even when the operator is not known.
    fn node(&mut self, call: &mut Call, captures: &[String]) -> Option<Arc<dyn Op>> {
        let Call { name, node, opsets } = call;
        let op_type = node.op_type.clone();
        let at = |e: Error| e.at(name, &op_type);
        let mut attrs = Attrs::new();
        let mut good = true;
        for mut attribute in std::mem::take(&mut node.attribute) {
            let key = attribute.name.clone();
            let value = if key.starts_with(PRIVATE_ATTRIBUTE) {
                Err(Error::unsupported(format!("attribute '{key}' is not known")))
            } else if !attribute.ref_attr_name.is_empty() {
                Err(Error::invalid(format!("attribute '{key}' refers to one of a function outside of any")))
            } else if matches!(attr::kind(&attribute), Ok(AttributeType::GRAPH)) {
                match attribute.g.take() {
                    None => Err(Error::invalid(format!("attribute '{key}' has no graph"))),
                    Some(body) => {
                        let outer = std::mem::replace(&mut self.nested, true);
                        let body = self.graph(body, captures);
                        self.nested = outer;
                        let Some(body) = body else {
                            good = false;
                            continue;
                        };
                        Ok(Attr::Graph(Arc::new(body)))
                    }
                }
            } else {
                attr::read(&mut attribute, &mut self.tensors)
            };
            let value = match value {
                Ok(_) if attrs.contains_key(&key) => {
                    Err(Error::invalid(format!("attribute '{key}' is given twice")))
                }
                value => value,
            };
            match self.report.note(value.map_err(at)) {
                Some(value) => _ = attrs.insert(key, value),
                None => good = false,
            }
        }
        if matches!(&*op_type, "Loop" | "Scan") && !captures.is_empty() {
            attrs.insert(CAPTURES.to_owned(), Attr::Int(captures.len() as i64));
        }
        let mut inputs: Vec<bool> = node.input.iter().map(|i| !i.is_empty()).collect();
        inputs.extend(captures.iter().map(|_| true));
        let outputs = node.output.iter().rposition(|o| !o.is_empty()).map_or(0, |i| i + 1);
        let domain = opsets::domain(&node.domain);
        let op = parse(domain, &op_type, opsets, &mut attrs, &inputs, outputs, good);
        self.report.note(op.map_err(at)).flatten()
    }

    fn check_outputs(&mut self, proto: &GraphProto, exists: impl Fn(&str) -> bool) {
        // One value may be several results.
        for info in &proto.output {
            if !exists(&info.name) {
                self.report
                    .push(Error::invalid(format!("nothing makes the output '{}' of the graph", info.name)));
            }
        }
        if proto.output.is_empty() {
            self.report.push(Error::invalid("the graph has no output"));
        }
    }

    /// Results, and what the model declares of them and of intermediate values, for inference to check.
    fn results(&mut self, mut graph: Graph, proto: &GraphProto) -> Option<Graph> {
        let before = self.report.errors.len();
        self.check_outputs(proto, |name| graph.find(name).is_some());
        // Sequences inside are taken apart; what is declared of them says no more.
        let inner = proto.value_info.iter().filter(|info| !types::is_sequence(info));
        for info in inner.chain(&proto.output) {
            let Some(id) = graph.find(&info.name) else { continue };
            match graph.producer(id) {
                Some(_) => {
                    if let Some(Some(fact)) = self.report.note(types::declared(info)) {
                        graph.set_fact(id, fact);
                    }
                }
                None => _ = self.report.note(check_declared(graph.value(id).fact.as_ref(), info)),
            }
        }
        for info in &proto.output {
            let id = graph.find(&info.name)?;
            graph.add_output(id);
        }
        (self.report.errors.len() == before).then_some(graph)
    }
}

/// `good` tells whether every attribute could be read: only then is it worth the operator's own reading.
fn parse(
    domain: &str,
    op_type: &str,
    opsets: &Opsets,
    attrs: &mut Attrs,
    inputs: &[bool],
    outputs: usize,
    good: bool,
) -> Result<Option<Arc<dyn Op>>> {
    let opset = opsets.get(domain).copied();
    let Some(def) = ops::find(domain, op_type) else {
        let from = if domain.is_empty() { String::new() } else { format!(" of domain '{domain}'") };
        let opset = opset.map_or(String::new(), |v| format!(" in opset {v}"));
        return Err(Error::unsupported(format!("operator {op_type}{from}{opset} is not supported"))
            .hint("'kiln list ops' shows the supported ones"));
    };
    let Some(opset) = opset else { bail_invalid!("the model imports no version of operator set '{domain}'") };
    if opset < def.since.0 {
        return Err(Error::unsupported(format!(
            "opset {opset}: the operator is supported from version {} on",
            def.since.0
        ))
        .hint("convert the model with onnx.version_converter"));
    }
    if !good {
        return Ok(None);
    }
    if domain.is_empty() {
        early::modernise(op_type, opset, attrs)?;
    }
    let op = (def.parse)(&mut ParsedNode { attrs, opset, inputs, outputs })?;
    match attrs.keys().next() {
        None => Ok(Some(Arc::from(op))),
        Some(key) => Err(Error::unsupported(format!("attribute '{key}' is not known in opset {opset}"))),
    }
}

fn add(graph: &mut Graph, call: &Call, op: Arc<dyn Op>, captures: &[String]) -> Result<()> {
    let present = call.node.input.iter().rposition(|i| !i.is_empty()).map_or(0, |i| i + 1);
    let own = if captures.is_empty() { &call.node.input[..present] } else { &call.node.input[..] };
    let mut inputs = Vec::with_capacity(own.len() + captures.len());
    for name in own.iter().chain(captures) {
        let id = graph.find(name);
        if id.is_none() && !name.is_empty() {
            return Err(Error::internal(format!("input '{name}' is not there yet")));
        }
        inputs.push(id);
    }
    let count = call.node.output.iter().rposition(|o| !o.is_empty()).map_or(0, |i| i + 1);
    let mut outputs = Vec::with_capacity(count);
    for (i, name) in call.node.output[..count].iter().enumerate() {
        let unused = || graph.fresh_name(&format!("{}.unused{i}", call.name));
        outputs.push(if name.is_empty() { unused() } else { name.clone() });
    }
    graph.add_node(&call.name, op, inputs, &outputs).map(|_| ())
}

fn check_declared(fact: Option<&Fact>, info: &ValueInfoProto) -> Result<()> {
    match (fact, types::declared(info)?) {
        (Some(fact), Some(declared)) => fact.check_declared(&info.name, &declared),
        _ => Ok(()),
    }
}

fn links<'a>(call: &'a Call, captures: &'a [String]) -> Links<'a> {
    let some = |names: &'a [String]| names.iter().map(String::as_str).filter(|n| !n.is_empty());
    Links {
        name: &call.name,
        op: &call.node.op_type,
        inputs: some(&call.node.input).chain(some(captures)).collect(),
        outputs: some(&call.node.output).collect(),
    }
}

/// Names of outer values that the subgraphs of a node read, each once, in order of first use.
fn captures_of(call: &Call) -> Vec<String> {
    let mut out = Vec::new();
    for body in call.node.attribute.iter().filter_map(|a| a.g.as_ref()) {
        free_names(body, &mut out);
    }
    let mut seen = HashSet::new();
    out.retain(|name| seen.insert(name.clone()));
    out
}

/// Subgraphs nest at most as deep as messages may: the recursion is bounded by the check of the file.
fn free_names(graph: &GraphProto, out: &mut Vec<String>) {
    let constants =
        graph.initializer.iter().chain(graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()));
    let mut own: HashSet<&str> = constants.map(|t| t.name.as_str()).collect();
    own.extend(graph.input.iter().map(|i| i.name.as_str()));
    own.extend(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str)));
    let mut used: Vec<String> = Vec::new();
    for node in &graph.node {
        used.extend(node.input.iter().filter(|i| !i.is_empty()).cloned());
        for body in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            free_names(body, &mut used);
        }
    }
    used.extend(graph.output.iter().map(|o| o.name.clone()));
    out.extend(used.into_iter().filter(|name| !own.contains(name.as_str())));
}
