//! `:nodes`: the nodes of a model.

use kiln_ir::error::Printable;
use kiln_tools::table::{self, Column};

use super::command::{Args, Command, Word};
use crate::fault::{Fault, Result};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "nodes",
    usage: ":nodes MODEL [PATTERN]",
    about: "nodes with their operators and tensors",
    more: "A pattern is a part of a name or of an operator; * stands for anything.",
    example: ":nodes net Conv",
    words: &[Word::Model],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let (name, pattern) = match &words[..] {
        [name] => (name.as_str(), "*"),
        [name, pattern] => (name.as_str(), pattern.as_str()),
        _ => return Err(args.usage()),
    };
    let document = session.model(name)?.document()?;
    let mut rows = Vec::new();
    for node in document.nodes() {
        let op = node.op_in_words();
        let names = node.outputs().iter().map(String::as_str).chain([node.label(), &op]);
        if !names.into_iter().any(|n| matches(pattern, n)) {
            continue;
        }
        // Long names have no place to break a line at.
        let room = session.out.room();
        let most = if room.elide { (room.width / 5).max(12) } else { usize::MAX };
        let list = |names: &[String]| {
            let told = |n: &String| if n.is_empty() { "_".to_owned() } else { Printable(n).to_string() };
            names.iter().map(|n| table::elide(&told(n), most)).collect::<Vec<_>>()
        };
        let (reads, makes) = (list(node.inputs()).join(", "), list(node.outputs()).join(", "));
        rows.push(vec![Printable(node.label()).to_string(), Printable(&op).to_string(), reads, makes]);
    }
    if rows.is_empty() {
        return Err(Fault::new(format!("no node of '{name}' is like '{pattern}'")));
    }
    let columns =
        [Column::Name("node"), Column::Name("operator"), Column::Prose("reads"), Column::Name("makes")];
    session.out.line(table::lines(&columns, &rows, session.out.room()).join("\n"));
    Ok(())
}

/// Whether the pattern is a part of a name; `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(i) => {
            rest = &rest[i + part.len()..];
            true
        }
        None => false,
    })
}
