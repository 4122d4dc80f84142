//! Which nodes run in a branch only: those whose results nothing outside of it needs.

use std::collections::{HashMap, HashSet};

use kiln_ir::graph::{Graph, NodeId};
use kiln_ir::op::Flow;

/// A branch: the node that chooses, and whether it is the second.
pub(super) type BranchId = (NodeId, bool);

/// The branch of every node.
#[derive(Debug, Default)]
pub(super) struct Branches {
    /// Nodes that are missing are outside of all.
    of: HashMap<NodeId, BranchId>,
    nodes: HashMap<Option<BranchId>, Vec<NodeId>>,
}

impl Branches {
    /// Those of a graph, whose nodes are in `order`: readers come behind what they read.
    pub(super) fn of(graph: &Graph, order: &[NodeId]) -> Self {
        let mut branches = Self::default();
        branches.assign(graph, order);
        for id in order {
            branches.nodes.entry(branches.of_node(*id)).or_default().push(*id);
        }
        branches
    }

    /// The nodes in a branch and in none inside it, in order.
    pub(super) fn nodes(&self, branch: Option<BranchId>) -> &[NodeId] {
        self.nodes.get(&branch).map_or(&[], Vec::as_slice)
    }

    fn assign(&mut self, graph: &Graph, order: &[NodeId]) {
        let chooses = |id: &NodeId| matches!(graph.node(*id).op.flow(), Some(Flow::Choice));
        if !order.iter().any(chooses) {
            return;
        }
        let results: HashSet<_> = graph.outputs().iter().copied().collect();
        for &id in order.iter().rev() {
            let mut found: Option<Option<BranchId>> = None;
            for &value in &graph.node(id).outputs {
                if results.contains(&value) {
                    found = Some(None);
                }
                for (reader, i) in graph.uses(value) {
                    let n = graph.node(reader).outputs.len();
                    let place = match chooses(&reader) && i > 0 {
                        true => Some((reader, i > n)),
                        false => self.of_node(reader),
                    };
                    found = Some(found.map_or(place, |found| self.common(found, place)));
                }
            }
            if let Some(branch) = found.flatten() {
                self.of.insert(id, branch);
            }
        }
    }

    /// The innermost branch that a node is in.
    pub(super) fn of_node(&self, id: NodeId) -> Option<BranchId> {
        self.of.get(&id).copied()
    }

    /// The branches around one, innermost first, it among them.
    fn around(&self, branch: Option<BranchId>) -> Vec<BranchId> {
        let mut list = Vec::new();
        let mut next = branch;
        while let Some(branch) = next {
            list.push(branch);
            next = self.of_node(branch.0);
        }
        list
    }

    /// The innermost branch around both.
    fn common(&self, a: Option<BranchId>, b: Option<BranchId>) -> Option<BranchId> {
        let around = self.around(b);
        self.around(a).into_iter().find(|branch| around.contains(branch))
    }
}
