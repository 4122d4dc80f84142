//! `:save`: a tensor, a model or the session into a file.

use std::io::Write;
use std::path::Path;

use super::command::{Args, Command, Word};
use crate::fault::{Fault, Result};
use crate::files;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "save",
    usage: ":save NAME PATH   or   :save session PATH",
    about: "writes a tensor, a model, or the session as a script",
    more: "Tensors: .npy, .npz, .pb, .png. Models: .onnx. A session is what was typed and changed something; \n\
           `kiln repl --script PATH` carries it out again.",
    example: ":save net copy.onnx",
    words: &[Word::Expr, Word::File],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let [name, path] = &words[..] else { return Err(args.usage()) };
    let path = Path::new(path);
    let failed = |e| Fault::new(format!("cannot write {}: {e}", path.display()));
    if let Some(tensor) = session.variables.get(name) {
        files::write(name, tensor, path)?;
    } else if session.models.contains_key(name) {
        if files::extension(path) != "onnx" {
            return Err(Fault::new("models are written as .onnx"));
        }
        let bytes = session.model(name)?.document()?.to_bytes()?;
        files::whole(path, |mut out| out.write_all(&bytes).map_err(failed))?;
    } else if name == "session" {
        let text: String = session.log.iter().map(|line| format!("{line}\n")).collect();
        files::whole(path, |mut out| out.write_all(text.as_bytes()).map_err(failed))?;
    } else {
        return Err(
            Fault::new(format!("there is no tensor and no model '{name}'")).hint(":list shows what there is")
        );
    }
    if session.out.terminal {
        session.out.line(format_args!("wrote {}", path.display()));
    }
    Ok(())
}
