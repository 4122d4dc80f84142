//! Lines of machine code as text.

/// A line of a function's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where in the function the instruction begins, in bytes; nothing for names and constants.
    pub at: Option<usize>,
    /// Without a line break.
    pub text: String,
}

/// Lines as one text.
pub fn text(lines: &[Line]) -> String {
    lines.iter().flat_map(|line| [&line.text, "\n"]).collect()
}
