//! `:reduce`: shrinks a model that fails or differs.

use std::path::Path;

use super::command::{Args, Command, Word};
use crate::fault::{Fault, Result};
use crate::models::compare::TOLERANCE;
use crate::reduce::{self, Verdict};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "reduce",
    usage: ":reduce MODEL PATH [tolerance=T]",
    about: "shrinks a model that fails or differs to a few nodes, as a test case",
    more: "The folder PATH has model.onnx and test_data_set_0, which `kiln check PATH` reads. A model differs where a result is\n\
           off by more than 1e-4 of its largest element from the interpreter's; tolerance=0 counts every bit.",
    example: ":reduce net case",
    words: &[Word::Model, Word::File],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let (name, path, tolerance) = match &words[..] {
        [name, path] => (name, Path::new(path), TOLERANCE),
        [name, path, option] => {
            let value = option.strip_prefix("tolerance=").and_then(|v| v.parse().ok());
            (name, Path::new(path), value.ok_or_else(|| args.usage())?)
        }
        _ => return Err(args.usage()),
    };
    if path.exists() && (!path.is_dir() || std::fs::read_dir(path).is_ok_and(|mut d| d.next().is_some())) {
        return Err(Fault::new(format!("{} is there already: name a new folder", path.display())));
    }
    let Some(reduced) = reduce::reduce(session, name, tolerance)? else {
        session.out.line(format_args!(
            "'{name}' compiles and agrees with the interpreter: there is nothing to reduce"
        ));
        return Ok(());
    };
    let is_expected = reduce::save(session, &reduced, path)?;
    let ops: Vec<String> = reduced.document.nodes().iter().map(kiln_onnx::Node::op_in_words).collect();
    let does = match &reduced.verdict {
        Verdict::Fine => "it does so no more".to_owned(),
        Verdict::Fails(text) => format!("it fails: {text}"),
        Verdict::Differs(tensor) => format!("'{tensor}' differs from the interpreter's"),
    };
    session.out.line(format_args!(
        "{} nodes of {}: {}; {does}",
        reduced.document.nodes().len(),
        reduced.before,
        ops.join(", ")
    ));
    let hint = if is_expected { "" } else { ", without expected results: nothing here computes them" };
    session.out.line(format_args!("wrote {0}{hint}; kiln check {0}", path.display()));
    Ok(())
}
