//! Small graphs for the tests of rules and passes, and what they compute.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_ir::graph::{Graph, Source, ValueId};
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Attr, DType, Dim, Fact, NodeProto, Shape, Tensor, ops};

use super::{Fired, run};
use crate::passes::infer;

/// A graph under construction; values go by name.
pub(crate) struct Build(pub(crate) Graph);

impl Build {
    pub(crate) fn new() -> Self {
        let mut graph = Graph::new("g");
        graph.opsets.insert(String::new(), NEWEST_OPSET);
        Self(graph)
    }

    /// An f32 input.
    pub(crate) fn input(mut self, name: &str, shape: &[usize]) -> Self {
        self.0.add_input(name, Fact::new(DType::F32, Shape::of(shape))).unwrap();
        self
    }

    /// An f32 input of open extents.
    pub(crate) fn open_input(mut self, name: &str, shape: &[Dim]) -> Self {
        self.0.add_input(name, Fact::new(DType::F32, shape.iter().cloned().collect())).unwrap();
        self
    }

    /// An f32 constant with values that differ.
    pub(crate) fn constant(mut self, name: &str, shape: &[usize]) -> Self {
        self.0.add_const(name, numbers(shape, name.len() as u32)).unwrap();
        self
    }

    /// A given constant.
    pub(crate) fn tensor(mut self, name: &str, tensor: Tensor) -> Self {
        self.0.add_const(name, tensor).unwrap();
        self
    }

    /// A node with one result, which names it too.
    pub(crate) fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.with(op, &[], inputs, output)
    }

    /// A node with attributes.
    pub(crate) fn with(mut self, op: &str, attrs: &[(&str, Attr)], inputs: &[&str], output: &str) -> Self {
        let mut attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let present: Vec<bool> = inputs.iter().map(|i| !i.is_empty()).collect();
        let mut proto = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs: &present, outputs: 1 };
        let def = ops::find("", op).unwrap_or_else(|| panic!("there is no {op}"));
        let op = (def.parse)(&mut proto).unwrap();
        let inputs = inputs.iter().map(|i| self.0.find(i)).collect();
        self.0.add_node(output, Arc::from(op), inputs, &[output.to_owned()]).unwrap();
        self
    }

    /// The graph with its results, inferred.
    pub(crate) fn outputs(mut self, names: &[&str]) -> Graph {
        for name in names {
            let id = self.0.find(name).unwrap();
            self.0.add_output(id);
        }
        infer::run(&mut self.0).unwrap();
        self.0
    }
}

/// Numbers between -1 and 1 that look random.
pub(crate) fn numbers(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| next()).collect())
}

/// What a graph computes, operator by operator.
pub(crate) fn eval(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    for (id, value) in graph.values() {
        match &value.source {
            Source::Input(i) => _ = values.insert(id, inputs[*i].clone()),
            Source::Const(tensor) => _ = values.insert(id, tensor.clone()),
            Source::Node(..) => {}
        }
    }
    for id in graph.topological_order().unwrap() {
        let node = graph.node(id);
        let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(|v| v.map(|v| &values[&v])).collect();
        let outputs = node.op.eval(&inputs).unwrap();
        values.extend(node.outputs.iter().copied().zip(outputs));
    }
    graph.outputs().iter().map(|id| values[id].clone()).collect()
}

/// Names of the operators in order.
pub(crate) fn operators(graph: &Graph) -> Vec<&'static str> {
    graph.topological_order().unwrap().into_iter().map(|id| graph.node(id).op.name()).collect()
}

/// Whether two graphs give the same within rtol 1e-5.
pub(crate) fn assert_same(before: &Graph, after: &Graph) {
    let of = |id: &ValueId| before.value(*id).fact.as_ref().unwrap().shape.as_const().unwrap();
    let inputs: Vec<Tensor> =
        before.inputs().iter().enumerate().map(|(i, id)| numbers(&of(id), 99 + i as u32)).collect();
    for (a, b) in eval(before, &inputs).iter().zip(&eval(after, &inputs)) {
        assert_eq!(a.ty(), b.ty());
        let (a, b) = (a.to_f64s().unwrap(), b.to_f64s().unwrap());
        let largest = a.iter().fold(0f64, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-5 * largest.max(1e-30), "{a} became {b}");
        }
    }
}

/// The rules on a graph: they fire in this order, the result computes the same and consists of `ops`.
pub(crate) fn fires(before: Graph, rules: &[&str], ops: &[&str]) -> Graph {
    let mut after = before.clone();
    let fired = run(&mut after).unwrap();
    let names: Vec<_> = fired.iter().filter(|f| f.missed.is_none()).map(|f| f.rule).collect();
    assert_eq!(names, rules, "{fired:?}");
    assert_eq!(operators(&after), ops);
    assert_same(&before, &after);
    after
}

/// The rules leave a graph alone, and `rule` says why.
pub(crate) fn misses(mut graph: Graph, rule: &str, reason: &str) {
    let before = operators(&graph);
    let fired = run(&mut graph).unwrap();
    assert_eq!(operators(&graph), before);
    let miss = |f: &Fired| f.rule == rule && f.missed.as_ref().is_some_and(|m| m.contains(reason));
    assert!(fired.iter().any(miss), "{fired:?}");
}

/// The rules leave a graph alone and have nothing to say.
pub(crate) fn ignores(mut graph: Graph) {
    let before = operators(&graph);
    assert_eq!(run(&mut graph).unwrap(), []);
    assert_eq!(operators(&graph), before);
}
