//! `:explain`: what became of a node, and why.

use kiln_ir::error::Printable;
use kiln_tools::explain::{Explain, fit};
use kiln_tools::rewrites::Rewrites;

use super::command::{Args, Command, Word};
use super::stage;
use crate::fault::Result;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "explain",
    usage: ":explain NODE",
    about: "the kernels that compute a node: what was fused, which tile, why",
    more: "A model's name means all of its kernels.",
    example: ":explain net",
    words: &[Word::Node],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    if args.text().is_empty() {
        return Err(args.usage());
    }
    let (loaded, node) = stage::subject(session, args.text())?;
    let names = node.as_ref().map(|node| stage::outputs_of(&loaded.graph, node)).transpose()?;
    let mut rewrites = Rewrites::new(&loaded.options);
    let planned = loaded.plan_observed(&mut rewrites)?;
    let explain = Explain { plan: &planned.plan, types: &rewrites.types, target: &planned.options.target };
    let concerned =
        |list: &[String]| names.as_ref().is_none_or(|names| list.iter().any(|n| names.contains(n)));
    let mut any = false;
    for (i, kernel) in planned.plan.kernels.iter().enumerate().filter(|(_, k)| concerned(&k.nodes)) {
        session.out.line(fit(&explain.text(i, kernel), session.out.room()));
        any = true;
    }
    if !any {
        session.out.line("no kernel computes it: it was folded away, or its result is another one's");
    }
    for fired in rewrites.fired.iter().filter(|f| concerned(std::slice::from_ref(&f.node))) {
        let (rule, node) = (fired.rule, Printable(&fired.node));
        match &fired.missed {
            None => session.out.line(format_args!("rewrite {rule} fired at '{node}'")),
            Some(why) => {
                session.out.line(format_args!("rewrite {rule} did not fire at '{node}': {}", Printable(why)));
            }
        }
    }
    Ok(())
}
