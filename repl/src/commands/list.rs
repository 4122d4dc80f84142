//! `:list`: what there is.

use kiln_tools::table::{self, Column};

use super::command::{Args, Command};
use crate::fault::Result;
use crate::models::Source;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "list",
    usage: ":list",
    about: "variables and models of the session",
    more: "",
    example: ":list",
    words: &[],
    changes: false,
    run,
};

fn run(session: &mut Session, _: &Args<'_>) -> Result<()> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, model) in &session.models {
        let from = match &model.source {
            Source::File(path) => path.display().to_string(),
            Source::Document(_) => "made here".to_owned(),
            Source::Graph(_) => "an expression".to_owned(),
        };
        let changed = model.before.last().map_or_else(String::new, |(_, what)| format!(", {what}"));
        let takes = model.arguments.as_ref().map_or_else(String::new, |a| format!("({})", a.join(", ")));
        rows.push(vec![format!("{name}{takes}"), "model".to_owned(), format!("{from}{changed}")]);
    }
    for (name, tensor) in &session.variables {
        rows.push(vec![name.clone(), tensor.ty().to_string(), format!("{} bytes", tensor.data.len())]);
    }
    if rows.is_empty() {
        session.out.line("there is nothing yet: :load PATH, or x = random([2, 3])");
        return Ok(());
    }
    let columns = [Column::Text("name"), Column::Text("type"), Column::Prose("about")];
    session.out.line(table::lines(&columns, &rows, session.out.room()).join("\n"));
    Ok(())
}
