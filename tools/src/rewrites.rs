//! What was rewritten and what was not, with the reasons; shapes of the tensors that kernels read and write.

use std::collections::BTreeMap;

use kiln_compiler::internals::passes::{absorb, winograd};
use kiln_compiler::internals::pipeline::{Observer, Options};
use kiln_compiler::internals::rules::{self, Fired};
use kiln_ir::graph::Graph;
use kiln_ir::kernel::Program;

/// Watches the passes for their reasons.
pub struct Rewrites {
    options: Options,
    /// What fired or nearly did: rules of the graph, then fusion, then minimal filtering.
    pub fired: Vec<Fired>,
    /// Types of buffers by name.
    pub types: BTreeMap<String, String>,
}

impl Rewrites {
    /// Has seen nothing yet.
    pub fn new(options: &Options) -> Self {
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
