//! Calls of the functions that a model defines, replaced by the functions' nodes.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use kiln_ir::{Error, Result, bail_invalid, bail_unsupported};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, FunctionProto, NodeProto};
use protobuf::Message;

use super::attr;
use super::opsets::{self, Opsets};
use super::report::Report;

/// Nodes and bytes that all calls of a model may expand to: calls of calls grow exponentially.
const MAX_NODES: usize = 100_000;
const MAX_BYTES: u64 = 1 << 30;

/// Calls inside calls; names grow with each.
const MAX_NESTING: usize = 64;

type Key = (String, String, String);

/// A node and the operator sets that its operators are of.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) node: NodeProto,
    pub(super) opsets: Rc<Opsets>,
}

impl Call {
    fn new(node: NodeProto, index: usize, opsets: Rc<Opsets>) -> Self {
        let output = node.output.iter().find(|o| !o.is_empty());
        let name = match (&node.name, output) {
            (name, _) if !name.is_empty() => name.clone(),
            (_, Some(output)) => output.clone(),
            _ => format!("#{index}"),
        };
        Self { name, node, opsets }
    }
}

/// The functions of a model.
#[derive(Debug, Default)]
pub(super) struct Functions {
    map: HashMap<Key, (usize, FunctionProto, Rc<Opsets>)>,
    stems: HashSet<String>,
    nodes: usize,
    bytes: u64,
}

impl Functions {
    /// Functions by domain, name and overload.
    pub(super) fn new(protos: Vec<FunctionProto>, report: &mut Report) -> Self {
        let mut map = HashMap::new();
        for proto in protos {
            let Some(opsets) = report.note(opsets::read(&proto.opset_import)) else { continue };
            let key = (opsets::domain(&proto.domain).to_owned(), proto.name.clone(), proto.overload.clone());
            let name = proto.name.clone();
            if map.insert(key, (map.len(), proto, Rc::new(opsets))).is_some() {
                report.push(Error::invalid(format!("function '{name}' is defined twice")));
            }
        }
        Self { map, stems: HashSet::new(), nodes: 0, bytes: 0 }
    }

    /// The nodes with every call of a function replaced; `lost` takes the results of calls that are refused.
    pub(super) fn expand(
        &mut self,
        nodes: Vec<NodeProto>,
        opsets: &Rc<Opsets>,
        report: &mut Report,
        lost: &mut HashSet<String>,
    ) -> Vec<Call> {
        let mut out = Vec::with_capacity(nodes.len());
        // Each entry is a node with the functions that it comes from, innermost last.
        let mut nodes = nodes.into_iter().enumerate();
        while let Some((i, node)) = nodes.next() {
            let mut stack = vec![(Call::new(node, i, opsets.clone()), Rc::<[usize]>::from([]))];
            while let Some((call, from)) = stack.pop() {
                let node = &call.node;
                let key =
                    (opsets::domain(&node.domain).to_owned(), node.op_type.clone(), node.overload.clone());
                let Some((id, function, opsets)) = self.map.get(&key) else {
                    out.push(call);
                    continue;
                };
                let inlined = if from.contains(id) {
                    Err(Error::invalid("the function calls itself"))
                } else if from.len() == MAX_NESTING {
                    Err(Error::unsupported(format!(
                        "calls of functions are nested more than {MAX_NESTING} deep, which is not supported"
                    )))
                } else {
                    // Nodes may share a name.
                    let mut stem = call.name.clone();
                    while !self.stems.insert(stem.clone()) {
                        stem.push('\'');
                    }
                    inline(&call, function, &stem)
                };
                let op = node.op_type.clone();
                let Some(body) = report.note(inlined.map_err(|e| e.at(&call.name, &op))) else {
                    lost.extend(call.node.output);
                    continue;
                };
                self.nodes += body.len();
                self.bytes += body.iter().map(Message::compute_size).sum::<u64>();
                if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
                    let what =
                        format!("functions expand to more than {MAX_NODES} nodes or {MAX_BYTES} bytes");
                    report.push(Error::unsupported(what).at(&call.name, &op));
                    let rest =
                        stack.into_iter().map(|(call, _)| call.node).chain(nodes.map(|(_, node)| node));
                    lost.extend(call.node.output.into_iter().chain(rest.flat_map(|node| node.output)));
                    return out;
                }
                let from: Rc<[usize]> = [&from[..], &[*id]].concat().into();
                let calls = body.into_iter().enumerate().map(|(i, n)| Call::new(n, i, opsets.clone()));
                stack.extend(calls.rev().map(|call| (call, from.clone())));
            }
        }
        out
    }
}

/// The function's nodes under the operands of a call; values of its own get names that start with `stem`.
fn inline(call: &Call, function: &FunctionProto, stem: &str) -> Result<Vec<NodeProto>> {
    let node = &call.node;
    if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
        bail_invalid!(
            "the function has {} inputs and {} outputs, the call has {} and {}",
            function.input.len(),
            function.output.len(),
            node.input.len(),
            node.output.len()
        );
    }
    let mut attributes: HashMap<&str, &AttributeProto> =
        function.attribute_proto.iter().map(|a| (a.name.as_str(), a)).collect();
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        if !attributes.contains_key(name) && !function.attribute.iter().any(|a| a == name) {
            bail_invalid!("the function has no attribute '{name}'");
        }
        attributes.insert(name, attribute);
    }
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, formal) in function.input.iter().enumerate() {
        let actual = node.input.get(i).cloned().unwrap_or_default();
        if names.insert(formal, actual).is_some() {
            bail_invalid!("the function has the input '{formal}' twice");
        }
    }
    for (i, formal) in function.output.iter().enumerate() {
        let actual = node.output.get(i).filter(|o| !o.is_empty());
        let actual = actual.cloned().unwrap_or_else(|| format!("{stem}/{formal}"));
        if names.insert(formal, actual).is_some() {
            bail_unsupported!(
                "function result '{formal}' is also an input or another result, which is not supported"
            );
        }
    }
    let made: HashSet<&str> =
        function.node.iter().flat_map(|n| n.output.iter().map(String::as_str)).collect();
    if let Some(missing) = function.output.iter().find(|o| !made.contains(o.as_str())) {
        bail_invalid!("no node of the function makes its result '{missing}'");
    }
    let rename = |name: &String| match names.get(name.as_str()) {
        Some(actual) => actual.clone(),
        None if name.is_empty() => String::new(),
        None => format!("{stem}/{name}"),
    };
    let mut body = Vec::with_capacity(function.node.len());
    for inner in &function.node {
        let mut inner = inner.clone();
        if let Some(input) = inner
            .input
            .iter()
            .find(|i| !i.is_empty() && !made.contains(i.as_str()) && !names.contains_key(i.as_str()))
        {
            bail_invalid!("input '{input}' of a node of the function is not defined");
        }
        inner.input = inner.input.iter().map(rename).collect();
        inner.output = inner.output.iter().map(rename).collect();
        let own = if inner.name.is_empty() { &inner.op_type } else { &inner.name };
        inner.name = format!("{}/{own}", call.name);
        let mut kept = Vec::with_capacity(inner.attribute.len());
        for attribute in inner.attribute {
            if matches!(attr::kind(&attribute), Ok(AttributeType::GRAPH | AttributeType::GRAPHS)) {
                bail_unsupported!("subgraphs in functions are not supported");
            }
            if attribute.ref_attr_name.is_empty() {
                kept.push(attribute);
            } else if let Some(value) = attributes.get(attribute.ref_attr_name.as_str()) {
                kept.push(AttributeProto { name: attribute.name, ..(*value).clone() });
            }
        }
        inner.attribute = kept;
        body.push(inner);
    }
    Ok(body)
}
