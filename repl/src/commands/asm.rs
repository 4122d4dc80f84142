//! `:asm`: machine code, with the time that each instruction takes.

use std::time::Duration;

use kiln_compiler::internals::codegen::listing;
use kiln_tools::heat;
use kiln_tools::profile::Profile;

use super::command::{Args, Command, Word};
use super::stage;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "asm",
    usage: ":asm EXPR   or   :asm NODE",
    about: "disassembly of an expression's kernels or of a node's, with its heat",
    more: "Each kernel is headed by its part of the time of all, each instruction by the percentage of its kernel's time that\n\
           samples met it, or the one that it waits for, with. A model's name means all of its kernels.",
    example: ":asm x + 1",
    words: &[Word::Expr],
    changes: false,
    run,
};

/// How long kernels are measured.
const SECONDS: f64 = 0.1;
/// How long instructions of all kernels are sampled, and each kernel's at least.
const SAMPLED: Duration = Duration::from_millis(400);
const LEAST_SAMPLED: Duration = Duration::from_millis(10);

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    if args.text().is_empty() {
        return Err(args.usage());
    }
    let (loaded, node) = stage::subject(session, args.text())?;
    let names = node.as_ref().map(|node| stage::outputs_of(&loaded.graph, node)).transpose()?;
    let planned = session.engine.plan(loaded)?;
    let target = planned.options.target.clone();
    let plan = planned.plan.clone();
    let profile = Profile::of(&planned.plan, &target);
    let model = session.engine.alone(planned)?;
    let mut run = model.session()?;
    // Zeros: how long arithmetic takes does not depend on them, but where denormals are made.
    crate::engine::step(&mut run)?;
    let measured = profile.measure(&mut run, SECONDS, &interrupt::asked)?.ok_or_else(Fault::interrupted)?;
    let shares = measured.shares();
    let meant =
        |i: &usize| names.as_ref().is_none_or(|n| plan.kernels[*i].nodes.iter().any(|k| n.contains(k)));
    let shown: Vec<usize> = (0..plan.kernels.len()).filter(meant).collect();
    let all: f64 = shown.iter().map(|i| shares[*i]).sum();
    let mut written = None;
    for &i in &shown {
        let name = &plan.kernels[i].name;
        let (bar, percent) = (bar(shares[i]), 100.0 * shares[i]);
        session.out.line(format_args!("; kernel {i} '{name}' {bar} {percent:.1} % of the time"));
        let length = SAMPLED.mul_f64(shares[i] / all.max(1e-9)).max(LEAST_SAMPLED);
        let colours = session.out.terminal;
        let text = heat::text(&mut run, i, &target, length, &interrupt::asked, colours);
        if interrupt::asked() {
            return Err(Fault::interrupted());
        }
        let text = match text {
            Some(text) => text,
            // What Cranelift writes has no addresses.
            None => {
                let listings = written.get_or_insert_with(|| listing::kernels(&plan, &target));
                let listings = listings.as_ref().map_err(|e| Fault::from(e.clone()))?;
                listings[i].asm.clone()
            }
        };
        session.out.line(text.trim_end());
    }
    if shown.is_empty() {
        session.out.line("no kernel is left: the node was folded away or is part of others");
    }
    Ok(())
}

/// A part of ten blocks.
fn bar(share: f64) -> String {
    let full = (share * 10.0).round() as usize;
    format!("{}{}", "█".repeat(full.min(10)), "·".repeat(10 - full.min(10)))
}
