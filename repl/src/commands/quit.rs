//! `:quit`: leaves.

use super::command::{Args, Command};
use crate::fault::Result;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "quit",
    usage: ":quit",
    about: "leaves, as Ctrl-D does",
    more: "",
    example: ":quit",
    words: &[],
    changes: false,
    run,
};

fn run(session: &mut Session, _: &Args<'_>) -> Result<()> {
    session.over = true;
    Ok(())
}
