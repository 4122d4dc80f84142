//! An order of the nodes in which each follows the ones that it reads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use kiln_ir::Error;

use super::report::Report;

/// The names that a node reads and makes.
#[derive(Debug)]
pub(super) struct Links<'a> {
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
}

/// Positions of the nodes in an order as close to the given one as their operands allow. `known` says which
/// names exist before any node. Whatever stands against an order is reported.
pub(super) fn sort(
    nodes: &[Links<'_>],
    known: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Option<Vec<usize>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    let mut good = true;
    for (i, node) in nodes.iter().enumerate() {
        for output in &node.outputs {
            if known(output) || makers.insert(output, i).is_some() {
                report.push(
                    Error::invalid(format!("value '{output}' is defined twice")).at(node.name, node.op),
                );
                good = false;
            }
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for input in &node.inputs {
            match makers.get(input) {
                _ if known(input) => {}
                Some(&maker) => {
                    waiting[i] += 1;
                    readers[maker].push(i);
                }
                None => {
                    report.push(
                        Error::invalid(format!("input '{input}' is not defined")).at(node.name, node.op),
                    );
                    good = false;
                }
            }
        }
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for &reader in &readers[node] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < nodes.len() {
        let node = &nodes[on_cycle(nodes, &makers, &waiting)];
        report.push(Error::invalid("is part of a cycle: it needs its own result").at(node.name, node.op));
        good = false;
    }
    good.then_some(order)
}

/// Going back from a node that waits to one that it waits for must return somewhere.
fn on_cycle(nodes: &[Links<'_>], makers: &HashMap<&str, usize>, waiting: &[usize]) -> usize {
    let mut seen = vec![false; nodes.len()];
    let mut node = waiting.iter().position(|&n| n > 0).unwrap_or(0);
    while !std::mem::replace(&mut seen[node], true) {
        let mut makers = nodes[node].inputs.iter().filter_map(|input| makers.get(input).copied());
        match makers.find(|&maker| waiting[maker] > 0) {
            Some(maker) => node = maker,
            None => break,
        }
    }
    node
}
