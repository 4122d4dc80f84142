//! What was rewritten and what was not, for people.

use kiln_compiler::internals::rules::Fired;
use kiln_ir::error::Printable;

use super::group;
use super::output::Ui;

/// Rewrites by rule and reason, with one place for instance; every one if lists are told in full.
pub(super) fn tell(ui: &Ui, fired: &[Fired]) {
    let pattern = |f: &Fired| f.missed.as_deref().map(group::pattern);
    let mut groups: Vec<Vec<&Fired>> = Vec::new();
    for fired in fired {
        let same = |g: &&mut Vec<&Fired>| g[0].rule == fired.rule && pattern(g[0]) == pattern(fired);
        match groups.iter_mut().find(|group| !ui.verbose() && same(group)) {
            Some(members) => members.push(fired),
            None => groups.push(vec![fired]),
        }
    }
    for members in groups {
        let first = members[0];
        let (rule, node) = (first.rule, Printable(&first.node));
        let at = match members.len() {
            1 => format!("at '{node}'"),
            n => format!("at {n} nodes, for instance '{node}'"),
        };
        match &first.missed {
            None => ui.text(format_args!("rewrite {rule} fired {at}")),
            Some(why) => ui.text(format_args!("rewrite {rule} did not fire {at}: {}", Printable(why))),
        }
    }
}
