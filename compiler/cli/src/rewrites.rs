//! What was rewritten and what was not, with the reasons; shapes of the tensors that kernels read and write.

use std::collections::BTreeMap;

use kiln_compiler::internals::passes::{absorb, winograd};
use kiln_compiler::internals::pipeline::{Observer, Options};
use kiln_compiler::internals::rules::{self, Fired};
use kiln_ir::error::Printable;
use kiln_ir::graph::Graph;
use kiln_ir::kernel::Program;

use super::group;
use super::output::Ui;

/// Watches the passes for their reasons.
pub(super) struct Rewrites {
    options: Options,
    /// What fired or nearly did: rules of the graph, then fusion, then minimal filtering.
    pub(super) fired: Vec<Fired>,
    /// Types of buffers by name.
    pub(super) types: BTreeMap<String, String>,
}

impl Rewrites {
    pub(super) fn new(options: &Options) -> Self {
        Self { options: options.clone(), fired: Vec::new(), types: BTreeMap::new() }
    }

    fn winograd(&self, program: &Program) -> Vec<Fired> {
        let mut list = winograd::report(program, &self.options.target, &self.options.choices);
        let off = if self.options.opt < 2 { Some("--opt is below 2") } else { None };
        let off = off.or_else(|| (!self.options.winograd).then_some("--no-winograd"));
        if let Some(off) = off {
            list.iter_mut().for_each(|f| {
                f.missed.get_or_insert_with(|| off.to_owned());
            });
        }
        list
    }
}

impl Observer for Rewrites {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        if self.options.opt >= 2 && pass == "decompose" {
            // On a copy, for the reasons. An error ends the compilation right after this and is told there.
            self.fired = rules::run(&mut graph.clone()).unwrap_or_default();
        }
    }

    fn program(&mut self, pass: &'static str, program: &Program) {
        match pass {
            "absorb" => self.fired.extend(absorb::missed(program)),
            // What winograd will see.
            "widen" => {
                let winograd = self.winograd(program);
                self.fired.extend(winograd);
            }
            "layout" => {
                let buffers = program.buffer_ids().map(|b| program.buffer(b));
                self.types = buffers.map(|b| (b.name.clone(), b.ty.to_string())).collect();
            }
            _ => {}
        }
    }
}

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
