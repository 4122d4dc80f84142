//! What a rewrite rule is, and what comes of applying one.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

/// A rewrite rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name in reports.
    pub name: &'static str,
    /// What it does and why, in a line.
    pub about: &'static str,
    /// Operators of the nodes that it looks at.
    pub roots: &'static [&'static str],
    pub(super) apply: fn(&Graph, &Node) -> Result<Outcome>,
}

/// What a rule makes of a node.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing of its kind.
    No,
    /// Nearly: the reason why not.
    Missed(String),
    /// A rewrite.
    Fire(Patch),
}

/// A rule that fired, or nearly did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The rule's name.
    pub rule: &'static str,
    /// The node that it looked at.
    pub node: String,
    /// Why it did not fire; `None` when it did.
    pub missed: Option<String>,
}
