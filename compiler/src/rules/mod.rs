//! Rewrite rules of the Graph IR, one a file; this is the list and what runs it.
//!
//! A rule looks at one node. It says that it does not apply, or gives a patch, or the reason why it would have
//! applied but for something: `kiln explain` shows those near misses. Pointwise tails (bias, activation,
//! residual) need no rules: `absorb` fuses them in the Kernel IR.

mod concat_quantize;
mod conv_scale;
mod conv_shift;
mod noop;
mod pad_conv;
mod product;
mod reshape_reshape;
mod rule;
mod support;
#[cfg(test)]
pub(crate) mod testing;
mod transpose_reshape;
mod transpose_transpose;

use kiln_ir::graph::{Graph, ValueId};
use kiln_ir::{Result, bail_internal};

use rule::Outcome;
pub use rule::{Fired, Rule};

/// Every rule, in the order in which they are tried. Chains of layout changes are shortened first, because what
/// stands between two nodes hides them from the rules that fold constants into weights; padding comes before
/// scales and shifts, so that these see the convolution that stays.
pub static RULES: &[Rule] = &[
    noop::RULE,
    transpose_transpose::RULE,
    transpose_reshape::RULE,
    reshape_reshape::RULE,
    pad_conv::RULE,
    conv_scale::RULE,
    conv_shift::RULE,
    concat_quantize::RULE,
];

/// Rounds over the graph; each fires somewhere, and a chain of rewrites is shorter than this.
const MAX_ROUNDS: usize = 100;

/// Applies all rules until none fires. Gives what fired, in order, then the near misses of the final graph.
pub fn run(graph: &mut Graph) -> Result<Vec<Fired>> {
    let mut fired = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let before = fired.len();
        let mut missed = Vec::new();
        for rule in RULES {
            apply(graph, rule, &mut fired, &mut missed)?;
        }
        if fired.len() == before {
            fired.append(&mut missed);
            return Ok(fired);
        }
    }
    bail_internal!("the rewrite rules do not end")
}

fn apply(graph: &mut Graph, rule: &Rule, fired: &mut Vec<Fired>, missed: &mut Vec<Fired>) -> Result<()> {
    // Patches take nodes away and give their ids to others; values keep theirs.
    let order = graph.topological_order()?;
    let roots =
        order.into_iter().map(|id| graph.node(id)).filter(|node| rule.roots.contains(&node.op.name()));
    let work: Vec<ValueId> = roots.filter_map(|node| node.outputs.first().copied()).collect();
    for value in work {
        let Some(id) = graph.has(value).then(|| graph.producer(value)).flatten() else { continue };
        let node = graph.node(id);
        let (name, op) = (node.name.clone(), node.op.name());
        match (rule.apply)(graph, node).map_err(|e| e.at(&name, op))? {
            Outcome::No => {}
            Outcome::Missed(reason) => {
                missed.push(Fired { rule: rule.name, node: name, missed: Some(reason) })
            }
            Outcome::Fire(patch) => {
                graph.apply(patch).map_err(|e| e.at(&name, op))?;
                fired.push(Fired { rule: rule.name, node: name, missed: None });
            }
        }
    }
    Ok(())
}
