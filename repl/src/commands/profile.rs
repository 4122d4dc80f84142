//! `:profile`: the time of each kernel.

use kiln_tools::profile::Profile;

use super::command::{Args, Command, Word};
use crate::engine;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "profile",
    usage: ":profile MODEL",
    about: "the time of each kernel, and its part of what the machine could do",
    more: "On one thread, on what the model was last called with.",
    example: ":profile net",
    words: &[Word::Model],
    changes: false,
    run,
};

/// How long is measured.
const SECONDS: f64 = 0.5;

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let [name] = &words[..] else { return Err(args.usage()) };
    let last = session.inputs(name)?;
    let mut loaded = session.load(name, Some(&last))?;
    for open in loaded.unbound() {
        loaded.bind(&open, 1);
    }
    let planned = session.engine.plan(loaded)?;
    let profile = Profile::of(&planned.plan, &planned.options.target);
    let model = session.engine.alone(planned)?;
    let inputs: Vec<_> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
    let mut run = model.session_with(&inputs)?;
    // Every kernel finds what those before it leave.
    engine::step(&mut run)?;
    let measured = profile.measure(&mut run, SECONDS, &interrupt::asked)?.ok_or_else(Fault::interrupted)?;
    let text = measured.text(session.out.room());
    session.out.line(text);
    Ok(())
}
