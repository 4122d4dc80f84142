//! Constant folding: what can be computed once is computed now.
//!
//! A node is folded when inference knows its elements, or when all its operands are constants; one that hands
//! its operand on unchanged is skipped over. All of that is one walk and one patch, since patches cost a walk
//! each; the walk is repeated while inference learns something new from it.

use std::collections::{HashMap, HashSet};

use kiln_ir::graph::{Graph, Node, NodeId, Patch, PatchValue, Source, ValueId};
use kiln_ir::{ErrorKind, Fact, Result, Tensor, bail_internal};

use super::infer;
use kiln_ir::Limits;

/// Multiplications that folding a node may take, by a bound that is never too low.
const MAX_WORK: u128 = 1 << 32;

/// Folds the whole graph. Facts must have been inferred, and are up to date afterwards.
pub fn run(graph: &mut Graph, limits: &Limits) -> Result<()> {
    let mut budget = limits.fold_bytes;
    // Every round removes a node; the bound only serves to end on a bug.
    for _ in 0..=graph.node_count() {
        let Some(patch) = round(graph, &mut budget)? else { return Ok(()) };
        graph.apply(patch)?;
        infer::run(graph)?;
    }
    bail_internal!("constant folding does not end")
}

struct Folding<'a> {
    graph: &'a Graph,
    constants: HashMap<ValueId, Tensor>,
    aliases: HashMap<ValueId, ValueId>,
    results: HashSet<ValueId>,
    folded: HashSet<NodeId>,
}

fn round(graph: &Graph, budget: &mut u64) -> Result<Option<Patch>> {
    let mut walk = Folding {
        graph,
        constants: HashMap::new(),
        aliases: HashMap::new(),
        results: graph.outputs().iter().copied().collect(),
        folded: HashSet::new(),
    };
    let order = graph.topological_order()?;
    for &id in &order {
        let node = graph.node(id);
        let tensors = walk.node(node, budget).map_err(|e| e.at(&node.name, node.op.name()))?;
        match tensors {
            Some(tensors) => {
                walk.constants.extend(node.outputs.iter().copied().zip(tensors));
                walk.folded.insert(id);
            }
            None => {
                if let Some(source) = walk.unchanged(node) {
                    walk.aliases.insert(node.outputs[0], source);
                    walk.folded.insert(id);
                }
            }
        }
    }
    Ok(walk.patch(&order))
}

impl Folding<'_> {
    fn constant(&self, id: ValueId) -> Option<&Tensor> {
        let id = self.aliases.get(&id).copied().unwrap_or(id);
        self.constants.get(&id).or_else(|| self.graph.constant(id))
    }

    /// The results of a node, if they can be had now.
    fn node(&self, node: &Node, budget: &mut u64) -> Result<Option<Vec<Tensor>>> {
        if !node.op.is_pure() || !node.op.subgraphs().is_empty() {
            return Ok(None);
        }
        let facts: Vec<Option<&Fact>> =
            node.outputs.iter().map(|v| self.graph.value(*v).fact.as_ref()).collect();
        if let Some(known) = facts.iter().map(|f| f.and_then(infer::elements)).collect() {
            return Ok(Some(known));
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            match input.map(|id| self.constant(id)) {
                None => inputs.push(None),
                Some(Some(tensor)) => inputs.push(Some(tensor)),
                Some(None) => return Ok(None),
            }
        }
        let held: u64 = inputs.iter().flatten().map(|t| t.data.len() as u64).sum();
        let Some(made) = facts.iter().map(|f| f.and_then(bytes)).sum::<Option<u64>>() else {
            return Ok(None);
        };
        let largest = inputs.iter().flatten().map(|t| t.elements()).max().unwrap_or(0);
        let growth = made.saturating_sub(held);
        let affordable = growth <= *budget && node.op.work(largest as u128, made.into()) <= MAX_WORK;
        if !affordable && !node.op.unpacks() {
            return Ok(None);
        }
        let results = match node.op.eval(&inputs) {
            Ok(results) => results,
            Err(e) if e.kind == ErrorKind::Unsupported => return Ok(None),
            Err(e) => return Err(e),
        };
        for (fact, result) in facts.iter().flatten().zip(&results) {
            if fact.ty() != result.ty() {
                bail_internal!("was inferred as {} and evaluated to {}", fact.ty(), result.ty());
            }
        }
        if results.len() < facts.len() {
            bail_internal!("has {} outputs, of which {} were evaluated", facts.len(), results.len());
        }
        *budget = budget.saturating_sub(growth);
        Ok(Some(results))
    }

    /// The operand that a node hands on as its only result in use.
    fn unchanged(&mut self, node: &Node) -> Option<ValueId> {
        let passes = node.op.hands_on() && node.outputs[1..].iter().all(|v| self.unused(*v));
        let source = node.inputs.first().copied().flatten().filter(|_| passes)?;
        let source = self.aliases.get(&source).copied().unwrap_or(source);
        let same = |id: ValueId| self.graph.value(id).fact.as_ref().map(Fact::ty);
        if same(source) != same(node.outputs[0]) {
            return None;
        }
        // A result of the graph keeps a node of its own that makes it.
        if self.results.contains(&node.outputs[0]) {
            let made = matches!(self.graph.value(source).source, Source::Node(..));
            if !made || !self.results.insert(source) {
                return None;
            }
        }
        Some(source)
    }

    fn unused(&self, id: ValueId) -> bool {
        self.graph.reader_count(id) == 0
    }

    /// Replaces the folded values that something else still reads.
    fn patch(mut self, order: &[NodeId]) -> Option<Patch> {
        let mut needed: HashSet<ValueId> = self.graph.outputs().iter().copied().collect();
        for id in order.iter().filter(|id| !self.folded.contains(id)) {
            needed.extend(self.graph.node(*id).inputs.iter().flatten());
        }
        let mut patch = Patch::new();
        let mut changed = false;
        // In the order of the nodes, so that names come out the same each time.
        let mut made: HashMap<ValueId, PatchValue> = HashMap::new();
        for &value in
            order.iter().filter(|id| self.folded.contains(id)).flat_map(|id| &self.graph.node(*id).outputs)
        {
            if !needed.contains(&value) {
                continue;
            }
            let source = self.aliases.get(&value).copied().unwrap_or(value);
            let new = match (made.get(&source), self.constants.remove(&source)) {
                (Some(&new), _) => new,
                (None, Some(tensor)) => {
                    let new = patch.constant(&self.graph.value(source).name, tensor);
                    made.insert(source, new);
                    new
                }
                (None, None) => PatchValue::Old(source),
            };
            patch.replace(value, new);
            changed = true;
        }
        changed.then_some(patch)
    }
}

fn bytes(fact: &Fact) -> Option<u64> {
    let elements = fact.shape.as_const()?.iter().try_fold(1usize, |n, &e| n.checked_mul(e))?;
    Some(fact.dtype.bytes_of(elements) as u64)
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Attr, Dim};

    use super::*;
    use crate::rules::testing::{Build, assert_same, operators};

    fn fold(graph: &Graph) -> Graph {
        let mut folded = graph.clone();
        run(&mut folded, &Limits::default()).unwrap();
        folded
    }

    #[test]
    fn chains_of_constants() {
        let build = Build::new().input("x", &[2, 3]).constant("a", &[3]).constant("b", &[2, 1]);
        let build =
            build.node("Add", &["a", "b"], "c").node("Relu", &["c"], "d").node("Mul", &["x", "d"], "y");
        let before = build.outputs(&["y"]);
        let after = fold(&before);
        assert_eq!(operators(&after), ["Mul"]);
        assert_same(&before, &after);
    }

    #[test]
    fn shape_arithmetic_that_is_known() {
        let build = Build::new().input("x", &[2, 3, 4]).node("Shape", &["x"], "s");
        let build = build.node("Reshape", &["x", "s"], "r").node("Relu", &["r"], "y");
        assert_eq!(operators(&fold(&build.outputs(&["y"]))), ["Reshape", "Relu"]);
        let open =
            Build::new().open_input("x", &[Dim::symbol("n"), Dim::Const(3)]).node("Shape", &["x"], "y");
        assert_eq!(operators(&fold(&open.outputs(&["y"]))), ["Shape"]);
    }

    #[test]
    fn nodes_that_hand_their_operand_on() {
        let build = Build::new().input("x", &[2, 3]).node("Identity", &["x"], "a").node("Relu", &["a"], "b");
        let build = build.node("Identity", &["b"], "c").node("Identity", &["c"], "y");
        let folded = fold(&build.outputs(&["y"]));
        assert_eq!(operators(&folded), ["Relu"]);
        assert_eq!(folded.output_names(), ["y"]);
        // An input as a result, and one value as two results, keep a node.
        let build = Build::new().input("x", &[2, 3]).node("Identity", &["x"], "y");
        assert_eq!(operators(&fold(&build.outputs(&["y"]))), ["Identity"]);
        let build = Build::new().input("x", &[2, 3]).node("Relu", &["x"], "a");
        let build = build.node("Identity", &["a"], "y").node("Identity", &["a"], "z");
        assert_eq!(operators(&fold(&build.outputs(&["y", "z"]))), ["Relu", "Identity"]);
    }

    #[test]
    fn growth_has_a_budget() {
        let build = |n: usize| {
            let build = Build::new().input("x", &[1]).constant("column", &[n, 1]).constant("row", &[1, n]);
            build.node("Mul", &["column", "row"], "big").node("Add", &["x", "big"], "y").outputs(&["y"])
        };
        assert_eq!(operators(&fold(&build(1 << 10))), ["Add"]);
        assert_eq!(operators(&fold(&build(1 << 12))), ["Mul", "Add"]);
    }

    #[test]
    fn errors_name_the_node() {
        let index = Tensor::from_vec(&[1], vec![7i64]);
        let build = Build::new().constant("t", &[3]).tensor("i", index);
        let mut graph = build.with("Gather", &[("axis", Attr::Int(0))], &["t", "i"], "y").0;
        let y = graph.find("y").unwrap();
        graph.add_output(y);
        let result = infer::run(&mut graph).and_then(|()| run(&mut graph, &Limits::default()));
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.node.as_str()), (ErrorKind::IndexOutOfRange, "y"), "{error}");
    }
}
