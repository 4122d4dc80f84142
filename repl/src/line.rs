//! One line, or several that belong together: a command, a model in ONNX's text form, or statements.

use std::sync::Arc;

use kiln_tools::summary::summary;

use crate::commands;
use crate::evaluate;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::models::{Model, Source};
use crate::session::Session;
use crate::show::array;
use crate::text::{complete, parser};

/// Carries out what was typed.
pub(crate) fn run(session: &mut Session, text: &str) -> Result<()> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(());
    }
    if trimmed.starts_with(':') {
        let command = commands::run(session, text)?;
        if command.changes {
            session.log.push(trimmed.to_owned());
        }
        return Ok(());
    }
    let code = trimmed.lines().find(|l| !l.trim_start().starts_with('#')).unwrap_or_default();
    if !code.is_empty() && complete::is_model(text) {
        model(session, text)?;
    } else {
        for statement in parser::parse(text)? {
            let shown = evaluate::statement(session, &statement)?;
            for (name, tensor) in shown {
                let precision = session.settings.precision;
                let line = match session.out.terminal {
                    true => array::print(&name, &tensor, precision, session.out.room().width),
                    false => summary(&name, &tensor, precision),
                };
                session.out.line(line);
            }
            if interrupt::asked() {
                return Err(Fault::interrupted());
            }
        }
    }
    session.log.push(trimmed.to_owned());
    Ok(())
}

/// `NAME = model`, or a model under its graph's name.
fn model(session: &mut Session, text: &str) -> Result<()> {
    let (name, body, at) = match text.split_once('=') {
        Some((name, rest)) if session.check_name(name.trim()).is_ok() => {
            (Some(name.trim().to_owned()), rest, text.len() - rest.len())
        }
        _ => (None, text, 0),
    };
    let document = kiln_onnx::from_text(body).map_err(|e| placed(e.into(), text, at))?;
    let name = name.unwrap_or_else(|| document.name().to_owned());
    session.check_name(&name)?;
    session.variables.remove(&name);
    session.models.insert(name.clone(), Model::new(Source::Document(Arc::new(document))));
    session.current = Some(name.clone());
    // What is wrong with it is told now, not at its first call.
    match session.compiled(&name, None) {
        Ok(_) => Ok(()),
        Err(_) if session.models.get(&name).is_some_and(|m| m.open_with.is_some()) => Ok(()),
        Err(fault) => Err(Fault {
            message: format!("'{name}' is there, and does not compile: {}", fault.message),
            ..fault
        }),
    }
}

/// A mistake in a model's text, whose message begins with its line and column, in the place where it stands in the whole.
fn placed(fault: Fault, text: &str, at: usize) -> Fault {
    let mut parts = fault.message.splitn(3, ':');
    let mut number = || parts.next().and_then(|n| n.trim().parse::<usize>().ok());
    let (Some(line), Some(column)) = (number(), number()) else { return fault };
    let message = parts.next().unwrap_or_default().trim().to_owned();
    let starts = std::iter::once(0).chain(text[at..].match_indices('\n').map(|(i, _)| i + 1));
    let start = starts.take(line).last().unwrap_or(0) + at;
    let from = (start + column - 1).min(text.len());
    Fault { message, span: Some(from..from + 1), ..fault }
}
