//! `:hist`: a histogram.

use super::command::{Args, Command, Word};
use crate::evaluate;
use crate::fault::Result;
use crate::session::Session;
use crate::show::{array, histogram};

pub(super) const COMMAND: Command = Command {
    name: "hist",
    usage: ":hist EXPR",
    about: "how the elements are spread",
    more: "Each line begins with the least number that it counts.",
    example: ":hist x",
    words: &[Word::Expr],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let expr = args.expr()?;
    let tensor = evaluate::value(session, &expr)?;
    session.out.line(array::head(args.text(), &tensor, session.settings.precision.min(4)));
    session.out.line(histogram::bars(&tensor, session.out.room().width));
    Ok(())
}
