//! `:print`: values.

use super::command::{Args, Command, Word};
use crate::evaluate;
use crate::fault::Result;
use crate::session::Session;
use crate::show::array;

pub(super) const COMMAND: Command = Command {
    name: "print",
    usage: ":print EXPR",
    about: "type, range and elements; of long axes both ends",
    more: "`:set precision N` says how many digits stand behind the point.",
    example: ":print x",
    words: &[Word::Expr],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let expr = args.expr()?;
    let tensor = evaluate::value(session, &expr)?;
    let width = session.out.room().width;
    session.out.line(array::print(args.text(), &tensor, session.settings.precision, width));
    Ok(())
}
