//! `:load`: a model or a tensor from a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::command::{Args, Command, Word};
use crate::fault::{Fault, Result};
use crate::files;
use crate::models::{Model, Source};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "load",
    usage: ":load PATH [as NAME] [OPTIONS OF IMAGES]",
    about: "reads a model or a tensor; a model is called like a function",
    more: "Models: .onnx, and .onnxtxt for ONNX's text form. Tensors: .npy, .npz (every array by its name), .pb.\n\
           Images: .png, .jpg become f32[1, 3, H, W] from 0 to 1; size=HxW, mean=R,G,B and std=R,G,B (of 0 to 255),\n\
           layout=nhwc and channels=1 change that. Without a name a file is called as it is: net.onnx is net.",
    example: ":load mnist_cnn.onnx as net",
    words: &[Word::File, Word::One(&["as"])],
    changes: true,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let (path, rest) = words.split_first().ok_or_else(|| args.usage())?;
    let path = PathBuf::from(path);
    let mut name = None;
    let mut options: Vec<&str> = Vec::new();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        if word == "as" {
            name = Some(rest.next().ok_or_else(|| args.usage())?.clone());
        } else {
            options.push(word);
        }
    }
    if let Some(name) = &name {
        session.check_name(name)?;
    }
    if !path.is_file() {
        let what = if path.is_dir() { "a folder" } else { "not there" };
        return Err(Fault::new(format!("cannot read {}: it is {what}", path.display())));
    }
    let name = name.unwrap_or_else(|| plain(&path));
    match &*files::extension(&path) {
        "onnx" => model(session, &name, Source::File(path)),
        "onnxtxt" | "txt" => {
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|e| Fault::new(format!("cannot read {}: {e}", path.display())))?;
            let document = kiln_onnx::from_text(&text)?;
            model(session, &name, Source::Document(document.into()))
        }
        _ => {
            for (own, tensor) in files::read(&path, &options)? {
                let name = own.map_or_else(|| name.clone(), |own| plain(Path::new(&own)));
                if session.out.terminal {
                    session.out.line(format_args!("{name} {}", tensor.ty()));
                }
                session.models.remove(&name);
                session.variables.insert(name, tensor);
            }
            Ok(())
        }
    }
}

/// The stem of a file's name, made a name.
fn plain(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name: String = stem.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}

/// Makes a model part of the session, and compiles it where its shapes are known. One that does not compile stays: it can
/// be looked at and reduced.
pub(super) fn model(session: &mut Session, name: &str, source: Source) -> Result<()> {
    let start = Instant::now();
    session.variables.remove(name);
    session.models.insert(name.to_owned(), Model::new(source));
    session.current = Some(name.to_owned());
    let compiled = match session.compiled(name, None) {
        Ok(compiled) => compiled,
        Err(fault) if session.models.get(name).is_some_and(|m| m.open_with.is_some()) => {
            if session.out.terminal {
                session.out.line(format_args!("{name}: {}; a call binds them too", fault.message));
            }
            return Ok(());
        }
        Err(fault) if fault.interrupted => return Err(fault),
        Err(fault) => {
            let message = format!("'{name}' is loaded, and does not compile: {}", fault.message);
            return Err(Fault { message, ..fault });
        }
    };
    if session.out.terminal {
        let ports = |list: &[kiln_compiler::Port]| {
            list.iter().map(|p| format!("{} {}", p.name, p.ty)).collect::<Vec<_>>().join(", ")
        };
        session.out.line(format_args!(
            "{name}({}) -> {}: {} kernels, {} bytes of weights, ready in {:.0} ms",
            ports(compiled.inputs()),
            ports(compiled.outputs()),
            compiled.kernels().len(),
            compiled.weights_bytes(),
            start.elapsed().as_secs_f64() * 1e3,
        ));
    }
    Ok(())
}
