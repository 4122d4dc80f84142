//! The parts of a file.

use kiln_tests::Outcome;

/// What a file tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// The text after a pass.
    Pass(&'a str),
    /// The longest innermost loop of each kernel, for a level.
    Asm(&'a str),
    /// The arena of the plan.
    Arena,
    /// The outputs.
    Run,
    /// The error.
    Error,
}

/// A file taken apart.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// What it tests.
    pub(crate) kind: Kind<'a>,
    /// Texts of given inputs: `%x: f32[2] = [1.0, 2.0]`.
    pub(crate) inputs: Vec<&'a str>,
    /// The graph or program.
    pub(crate) source: &'a str,
    /// What is expected.
    pub(crate) expected: &'a str,
    head: &'a str,
}

const SEPARATOR: &str = "\n----\n";

impl<'a> Case<'a> {
    /// Takes a file apart.
    pub(crate) fn parse(text: &'a str) -> Outcome<Self> {
        let (head, expected) = match text.split_once(SEPARATOR) {
            Some(parts) => parts,
            None => (text.trim_end(), ""),
        };
        let mut kind = None;
        let mut inputs = Vec::new();
        let mut source = head;
        while let Some(comment) = source.strip_prefix(';') {
            let (line, rest) = comment.split_once('\n').unwrap_or((comment, ""));
            source = rest;
            let line = line.trim();
            if let Some(test) = line.strip_prefix("test:") {
                kind = Some(match test.split_whitespace().collect::<Vec<_>>()[..] {
                    ["pass", name] => Kind::Pass(name),
                    ["asm", level] => Kind::Asm(level),
                    ["arena"] => Kind::Arena,
                    ["run"] => Kind::Run,
                    ["error"] => Kind::Error,
                    _ => {
                        return Err(format!(
                            "'{test}' is none of 'pass NAME', 'asm LEVEL', 'arena', 'run' and 'error'"
                        ));
                    }
                });
            } else if let Some(input) = line.strip_prefix("input ") {
                inputs.push(input);
            }
        }
        let kind = kind.ok_or("no line says '; test: ...'")?;
        Ok(Self { kind, inputs, source, expected, head })
    }

    /// The file with another expectation.
    pub(crate) fn with_expected(&self, expected: &str) -> String {
        format!("{}{SEPARATOR}{}\n", self.head, expected.trim_end())
    }
}
