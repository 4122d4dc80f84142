//! `:probe`: a tensor within a model.

use super::command::{Args, Command, Word};
use crate::fault::Result;
use crate::models::values;
use crate::session::Session;
use crate::show::{array, histogram};

pub(super) const COMMAND: Command = Command {
    name: "probe",
    usage: ":probe MODEL.TENSOR [as NAME]",
    about: "statistics of a tensor within a model, of its last call",
    more: "The model is compiled once more with the tensor as a further result, and run on what it was last called with.\n\
           With a name the tensor is kept as a variable.",
    example: ":probe net./f/f.5/MaxPool_output_0",
    words: &[Word::Tensor, Word::One(&["as"])],
    changes: true,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let (what, name) = match &words[..] {
        [what] => (what, None),
        [what, r#as, name] if r#as == "as" => (what, Some(name)),
        _ => return Err(args.usage()),
    };
    if let Some(name) = name {
        session.check_name(name)?;
    }
    let (model, tensor) = session.within(what)?;
    let last = session.inputs(&model)?;
    let mut found = values::of(session, &model, &last, std::slice::from_ref(&tensor))?;
    let Some(value) = found.remove(&tensor) else { return Ok(()) };
    session.out.line(array::head(&tensor, &value, session.settings.precision.min(4)));
    if session.out.terminal {
        session.out.line(histogram::bars(&value, session.out.room().width));
    }
    if let Some(name) = name {
        session.variables.insert(name.clone(), value);
    }
    Ok(())
}
