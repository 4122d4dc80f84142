//! Graphs of many small nodes, to time the compiler: `scale` prints the table.

use std::sync::Arc;

use kiln_ir::graph::{Graph, ValueId};
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Attr, Attrs, DType, Error, Fact, NodeProto, Result, Shape, Tensor, ops};

/// A kind of graph, by name.
pub type Kind = (&'static str, fn(usize) -> Result<Graph>);

/// Every kind. Each makes a graph of about so many nodes.
pub const KINDS: [Kind; 5] = [
    ("chain", chain),
    ("wide", wide),
    ("products", products),
    ("products_concat", products_concat),
    ("identities", identities),
];

struct Builder(Graph);

impl Builder {
    fn new(name: &str) -> Self {
        let mut graph = Graph::new(name);
        graph.opsets.insert(String::new(), NEWEST_OPSET);
        Self(graph)
    }

    fn input(&mut self, shape: &[usize]) -> Result<ValueId> {
        self.0.add_input("x", Fact::new(DType::F32, Shape::of(shape)))
    }

    fn constant(&mut self, name: &str, shape: &[usize], value: f32) -> Result<ValueId> {
        let elements = shape.iter().product::<usize>();
        let values = (0..elements).map(|i| value + (i % 7) as f32 / 16.0).collect();
        self.0.add_const(name, Tensor::from_vec::<f32>(shape, values))
    }

    /// A node of one result, which has its name.
    fn node(&mut self, op: &str, mut attrs: Attrs, inputs: &[ValueId], name: &str) -> Result<ValueId> {
        let present = vec![true; inputs.len()];
        let mut node = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs: &present, outputs: 1 };
        let def = ops::find("", op).ok_or_else(|| Error::internal(format!("there is no {op}")))?;
        let op = Arc::from((def.parse)(&mut node)?);
        let inputs = inputs.iter().copied().map(Some).collect();
        let id = self.0.add_node(name, op, inputs, &[name.to_owned()])?;
        Ok(self.0.node(id).outputs[0])
    }

    fn finish(mut self, result: ValueId) -> Graph {
        self.0.add_output(result);
        self.0
    }
}

/// Additions of one constant and activations, one after the other.
pub fn chain(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("chain");
    let mut at = b.input(&[1, 16])?;
    let constant = b.constant("c", &[16], 0.01)?;
    for i in 0..nodes {
        let name = format!("v{i}");
        at = match i % 2 {
            0 => b.node("Add", Attrs::new(), &[at, constant], &name)?,
            _ => b.node("Relu", Attrs::new(), &[at], &name)?,
        };
    }
    Ok(b.finish(at))
}

/// Short pieces side by side on one input, and a tree that adds their results.
pub fn wide(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("wide");
    let x = b.input(&[1, 16])?;
    let mut layer = Vec::new();
    for i in 0..(nodes / 4).max(1) {
        let constant = b.constant(&format!("c{i}"), &[16], i as f32 / nodes as f32)?;
        let sum = b.node("Add", Attrs::new(), &[x, constant], &format!("a{i}"))?;
        let tanh = b.node("Tanh", Attrs::new(), &[sum], &format!("t{i}"))?;
        layer.push(b.node("Mul", Attrs::new(), &[tanh, sum], &format!("u{i}"))?);
    }
    let mut sums = 0;
    while layer.len() > 1 {
        let mut above = Vec::with_capacity(layer.len().div_ceil(2));
        for pair in layer.chunks(2) {
            above.push(match *pair {
                [left, right] => {
                    sums += 1;
                    b.node("Add", Attrs::new(), &[left, right], &format!("s{sums}"))?
                }
                _ => pair[0],
            });
        }
        layer = above;
    }
    Ok(b.finish(layer[0]))
}

/// Small matrix products, one after the other.
pub fn products(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("products");
    let mut at = b.input(&[8, 8])?;
    for i in 0..(nodes / 4).max(1) {
        let weights = b.constant(&format!("w{i}"), &[8, 8], i as f32 / nodes as f32)?;
        at = b.node("MatMul", Attrs::new(), &[at, weights], &format!("m{i}"))?;
    }
    Ok(b.finish(at))
}

/// Small matrix products side by side, and one concatenation of them all.
pub fn products_concat(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("products_concat");
    let x = b.input(&[8, 8])?;
    let mut parts = Vec::new();
    for i in 0..(nodes / 4).max(1) {
        let weights = b.constant(&format!("w{i}"), &[8, 8], i as f32 / nodes as f32)?;
        parts.push(b.node("MatMul", Attrs::new(), &[x, weights], &format!("m{i}"))?);
    }
    let result = b.node("Concat", Attrs::from([("axis".to_owned(), Attr::Int(0))]), &parts, "y")?;
    Ok(b.finish(result))
}

/// Nodes that rewrites take away one by one, all read by one concatenation, and operators made of others.
pub fn identities(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("identities");
    let x = b.input(&[1, 16])?;
    let mut parts = Vec::new();
    for i in 0..(nodes / 4).max(1) {
        let constant = b.constant(&format!("c{i}"), &[16], i as f32 / nodes as f32)?;
        let sum = b.node("Add", Attrs::new(), &[x, constant], &format!("a{i}"))?;
        let same = b.node("Identity", Attrs::new(), &[sum], &format!("i{i}"))?;
        let perm = Attrs::from([("perm".to_owned(), Attr::Ints(vec![0, 1]))]);
        let turned = b.node("Transpose", perm, &[same], &format!("t{i}"))?;
        parts.push(b.node("HardSwish", Attrs::new(), &[turned], &format!("h{i}"))?);
    }
    let result = b.node("Concat", Attrs::from([("axis".to_owned(), Attr::Int(0))]), &parts, "y")?;
    Ok(b.finish(result))
}
