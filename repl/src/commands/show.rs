//! `:show`: a tensor as a picture.

use super::command::{Args, Command, Word};
use crate::evaluate;
use crate::fault::Result;
use crate::session::Session;
use crate::show::picture;

pub(super) const COMMAND: Command = Command {
    name: "show",
    usage: ":show EXPR",
    about: "the tensor as a picture, stretched from black to white",
    more: "The last two axes are a picture; three channels, first or last, are colours; of several samples the first one.\n\
           Terminals that have sixels show every point, others two points in each character.",
    example: ":show x",
    words: &[Word::Expr],
    changes: false,
    run,
};

/// Lines of a picture of characters.
const MOST_LINES: usize = 24;

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let expr = args.expr()?;
    let tensor = evaluate::value(session, &expr)?;
    let picture = picture::of(&tensor)?;
    if session.out.terminal && picture::has_sixels() {
        session.out.line(picture.sixels());
        return Ok(());
    }
    let small = picture.within(2 * MOST_LINES, session.out.room().width);
    session.out.line(if session.out.terminal { small.blocks() } else { small.shades() });
    Ok(())
}
