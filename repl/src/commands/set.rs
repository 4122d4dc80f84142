//! `:set`: settings.

use kiln_tools::table::{self, Column};

use super::command::{Args, Command, Word};
use crate::fault::Result;
use crate::session::Session;
use crate::settings::KEYS;

pub(super) const COMMAND: Command = Command {
    name: "set",
    usage: ":set [KEY VALUE]",
    about: "sets cpu, threads, opt, dim.NAME, seed or precision; alone it lists them",
    more: "What was compiled with other settings is kept, so that going back costs nothing.",
    example: ":set threads 1",
    words: &[Word::One(&["cpu", "threads", "opt", "dim.", "seed", "precision"])],
    changes: true,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    match &words[..] {
        [] => {
            let about = |key: &str| {
                let known = if key.starts_with("dim.") { "dim.NAME" } else { key };
                KEYS.iter().find(|k| k.0 == known).map_or("", |k| k.2).to_owned()
            };
            let rows: Vec<Vec<String>> =
                session.settings.list().into_iter().map(|(k, v)| vec![k.clone(), v, about(&k)]).collect();
            let columns = [Column::Text("key"), Column::Text("value"), Column::Prose("means")];
            session.out.line(table::lines(&columns, &rows, session.out.room()).join("\n"));
            Ok(())
        }
        [key, value] => session.settings.set(key, value),
        [both] if both.contains('=') => {
            let (key, value) = both.split_once('=').unwrap_or((both, ""));
            session.settings.set(key, value)
        }
        _ => Err(args.usage()),
    }
}
