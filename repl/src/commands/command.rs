//! What a command is.

use crate::fault::{Fault, Result};
use crate::session::Session;
use crate::text::ast::Expr;
use crate::text::parser;

/// A command of the session.
pub(crate) struct Command {
    /// The word behind the colon.
    pub(crate) name: &'static str,
    /// How it is written.
    pub(crate) usage: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// The rest of what is to be known; may be empty.
    pub(crate) more: &'static str,
    /// A line that can be typed, after the lines before it in `:help`.
    pub(crate) example: &'static str,
    /// What its words name, for completion; the last kind counts for all that follow.
    pub(crate) words: &'static [Word],
    /// Whether a session that is carried out again needs it.
    pub(crate) changes: bool,
    /// Carries it out.
    pub(crate) run: fn(&mut Session, &Args<'_>) -> Result<()>,
}

/// What a word of a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// A file.
    File,
    /// A model.
    Model,
    /// A node of a model.
    Node,
    /// A tensor of a model.
    Tensor,
    /// A variable, a model or an operator.
    Expr,
    /// A stage or a pass.
    Stage,
    /// A command.
    Command,
    /// One of these.
    One(&'static [&'static str]),
}

/// What stands behind a command's name.
pub(crate) struct Args<'a> {
    /// The whole line.
    pub(crate) line: &'a str,
    /// Where the arguments begin in it.
    pub(crate) at: usize,
    /// All commands.
    pub(crate) commands: &'static [&'static Command],
    /// Who is asked.
    pub(crate) command: &'static Command,
}

impl<'a> Args<'a> {
    /// The arguments as one text.
    pub(crate) fn text(&self) -> &'a str {
        self.line[self.at..].trim()
    }

    /// The arguments, which quotes hold together.
    ///
    /// # Errors
    ///
    /// A quote without an end.
    pub(crate) fn words(&self) -> Result<Vec<String>> {
        let text = self.text();
        let mut out = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            let mut word = String::new();
            let mut quote = None;
            let mut next = Some(c);
            while let Some(c) = next {
                match quote {
                    None if c.is_whitespace() => break,
                    None if c == '"' || c == '\'' => quote = Some(c),
                    Some(q) if c == q => quote = None,
                    _ => word.push(c),
                }
                next = chars.next();
            }
            if quote.is_some() {
                return Err(Fault::new("the text has no closing quote"));
            }
            out.push(word);
        }
        Ok(out)
    }

    /// The arguments as an expression, whose places are those of the line.
    ///
    /// # Errors
    ///
    /// What is wrong with it; that it is missing.
    pub(crate) fn expr(&self) -> Result<Expr> {
        if self.text().is_empty() {
            return Err(self.usage());
        }
        parser::parse_expr(&format!("{}{}", " ".repeat(self.at), &self.line[self.at..]))
    }

    /// How the command is written, as what is wrong.
    pub(crate) fn usage(&self) -> Fault {
        Fault::new(format!("this is written {}", self.command.usage))
            .hint(format!("for instance {}", self.command.example))
    }
}
