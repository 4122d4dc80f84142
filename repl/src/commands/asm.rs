//! `:asm`: machine code, with the time that it takes.

use kiln_compiler::internals::codegen::listing;
use kiln_tools::profile::Profile;

use super::command::{Args, Command, Word};
use super::stage;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "asm",
    usage: ":asm EXPR   or   :asm NODE",
    about: "disassembly of an expression's kernels or of a node's, with their time",
    more: "Each kernel is headed by its part of the time of all; a model's name means all of its kernels.",
    example: ":asm x + 1",
    words: &[Word::Expr],
    changes: false,
    run,
};

/// How long is measured.
const SECONDS: f64 = 0.1;

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    if args.text().is_empty() {
        return Err(args.usage());
    }
    let (loaded, node) = stage::subject(session, args.text())?;
    let names = node.as_ref().map(|node| stage::outputs_of(&loaded.graph, node)).transpose()?;
    let planned = session.engine.plan(loaded)?;
    let target = planned.options.target.clone();
    let listings = listing::kernels(&planned.plan, &target)?;
    let profile = Profile::of(&planned.plan, &target);
    let nodes: Vec<Vec<String>> = planned.plan.kernels.iter().map(|k| k.nodes.clone()).collect();
    let model = session.engine.alone(planned)?;
    let mut run = model.session()?;
    // Zeros: how long arithmetic takes does not depend on them, but where denormals are made.
    crate::engine::step(&mut run)?;
    let measured = profile.measure(&mut run, SECONDS, &interrupt::asked)?.ok_or_else(Fault::interrupted)?;
    let mut any = false;
    for (i, ((listing, share), nodes)) in listings.iter().zip(measured.shares()).zip(&nodes).enumerate() {
        if names.as_ref().is_some_and(|names| !nodes.iter().any(|n| names.contains(n))) {
            continue;
        }
        any = true;
        session.out.line(format_args!(
            "; kernel {i} '{}' {} {:.1} % of the time",
            listing.kernel,
            heat(share),
            100.0 * share
        ));
        session.out.line(listing.asm.trim_end());
    }
    if !any {
        session.out.line("no kernel is left: the node was folded away or is part of others");
    }
    Ok(())
}

/// A part of ten blocks.
fn heat(share: f64) -> String {
    let full = (share * 10.0).round() as usize;
    format!("{}{}", "█".repeat(full.min(10)), "·".repeat(10 - full.min(10)))
}
