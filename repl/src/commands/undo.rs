//! `:undo`: takes back the last change of a model.

use super::command::{Args, Command};
use crate::fault::{Fault, Result};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "undo",
    usage: ":undo",
    about: "takes back the last :quant or :prune",
    more: "",
    example: ":undo",
    words: &[],
    changes: true,
    run,
};

fn run(session: &mut Session, _: &Args<'_>) -> Result<()> {
    while let Some(name) = session.changes.pop() {
        // A model that was loaded anew under the name has nothing to take back.
        let undone = session.models.get_mut(&name).and_then(|m| m.undo());
        if let Some(what) = undone {
            session.out.line(format_args!("'{name}' is as it was before: {what}"));
            return Ok(());
        }
    }
    Err(Fault::new("there is nothing to take back").hint(":quant and :prune change models"))
}
