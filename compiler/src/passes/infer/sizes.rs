//! Shapes that are computed at run time: the integers that they follow from become sizes with names and bounds, so that shape
//! arithmetic goes on as it does with open dimensions.

use std::sync::Arc;

use kiln_ir::counts::Counts;
use kiln_ir::graph::{Graph, Patch, ValueId};
use kiln_ir::limits::MAX_RANK;
use kiln_ir::ops::counted::Sizes;
use kiln_ir::{Dim, Fact, Known, NodeView, Op, Result};

/// Elements of integers that shapes may follow from.
const MOST: i64 = 64;

/// Gives names to what a node's shape follows from, which are values that are read under another name then; nothing where all of
/// it is known.
pub(super) fn name(
    node: &NodeView<'_>,
    op: &dyn Op,
    counts: &mut Counts<'_>,
) -> Result<Option<(Patch, Vec<ValueId>)>> {
    let mut roots = Vec::new();
    for i in op.shape_operands() {
        if let Some(value) = node.inputs.get(*i).copied().flatten()
            && is_unknown(node.graph, value)
        {
            self::roots(node.graph, value, &mut roots)?;
        }
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let told = node.told(0);
    let mut patch = Patch::new();
    for &root in &roots {
        let value = node.graph.value(root);
        let elements = value.fact.as_ref().and_then(|f| f.shape.elements().as_usize()).unwrap_or(1);
        let mut names = Vec::with_capacity(elements);
        for j in 0..elements {
            // A list of extents has one for each axis; what a single number means is not known.
            let ends = |axis: usize| counts.given(&told, axis).is_none();
            let listed = elements > 1 && !ends(elements - 1) && ends(elements);
            let each = if listed { counts.given(&told, j) } else { None };
            let any = || (0..MAX_RANK).filter_map(|axis| counts.given(&told, axis)).max();
            let most = match counts.bound_of(&value.name, j).or(each).or_else(any) {
                Some(most) => most,
                None => counts.needed(&told, 0)?,
            };
            let stem = if elements == 1 { value.name.clone() } else { format!("{}_{j}", value.name) };
            names.push(counts.size(&stem, most));
        }
        let name = format!("{}.sizes", value.name);
        let made = patch.untyped_node(&name, Arc::new(Sizes { names }), &[Some(root.into())], 1);
        patch.replace(root, made[0]);
    }
    Ok(Some((patch, roots)))
}

/// Whether a value is a few integers of which nothing is known.
fn is_unknown(graph: &Graph, value: ValueId) -> bool {
    graph.value(value).fact.as_ref().is_some_and(|f| {
        let few = f.shape.elements().as_const().is_some_and(|n| (1..=MOST).contains(&n));
        f.known.is_none() && f.dtype.is_int() && f.shape.rank() <= 1 && few
    })
}

/// The integers that an unknown value follows from by arithmetic that inference knows.
fn roots(graph: &Graph, value: ValueId, found: &mut Vec<ValueId>) -> Result<()> {
    let mut stack = vec![value];
    let mut seen = Vec::new();
    while let Some(value) = stack.pop() {
        if seen.contains(&value) {
            continue;
        }
        seen.push(value);
        match follows_from(graph, value) {
            Some(operands) => stack.extend(operands),
            None if !found.contains(&value) => found.push(value),
            None => {}
        }
    }
    Ok(())
}

/// The unknown operands of the node that makes a value, if it would be known with them.
fn follows_from(graph: &Graph, value: ValueId) -> Option<Vec<ValueId>> {
    let node = graph.node(graph.producer(value)?);
    let mut unknown = Vec::new();
    let mut facts: Vec<Option<Fact>> = Vec::new();
    for (i, operand) in node.inputs.iter().enumerate() {
        let mut fact = operand.and_then(|v| graph.value(v).fact.clone());
        if let (Some(v), Some(fact)) = (operand, &mut fact)
            && is_unknown(graph, *v)
        {
            let elements = fact.shape.elements().as_usize()?;
            fact.known =
                Some(Known::Dims((0..elements).map(|j| Dim::symbol(&format!("?{i}.{j}"))).collect()));
            unknown.push(*v);
        }
        facts.push(fact);
    }
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let results = node.op.infer(&facts).ok()?;
    let at = node.outputs.iter().position(|v| *v == value)?;
    let known = results.get(at)?.known.is_some();
    (known && !unknown.is_empty()).then_some(unknown)
}
