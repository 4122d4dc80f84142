//! Colours of what is typed.

use anstyle::{AnsiColor, Style};
use kiln_ir::ops;

use super::names::Names;
use crate::commands;
use crate::expression::functions;
use crate::text::lexer::{Token, tokens};

const COMMAND: Style = AnsiColor::Magenta.on_default().bold();
const OPERATOR: Style = AnsiColor::Cyan.on_default();
const MODEL: Style = AnsiColor::Green.on_default().bold();
const KNOWN: Style = AnsiColor::Green.on_default();
const NUMBER: Style = AnsiColor::Yellow.on_default();
const TEXT: Style = AnsiColor::Blue.on_default();
const COMMENT: Style = AnsiColor::BrightBlack.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// The line with colours; every character stays where it is.
pub(super) fn paint(line: &str, names: &Names) -> String {
    if let Some(rest) = line.trim_start().strip_prefix(':') {
        let start = line.len() - rest.len() - 1;
        let end = rest.find(char::is_whitespace).map_or(line.len(), |i| line.len() - rest.len() + i);
        let style = if commands::find(&line[start + 1..end]).is_some() { COMMAND } else { BAD };
        return format!("{}{style}{}{style:#}{}", &line[..start], &line[start..end], &line[end..]);
    }
    // What cannot be read yet stays plain.
    let Ok(tokens) = tokens(line) else { return line.to_owned() };
    let mut out = String::new();
    let mut at = 0;
    for (i, (token, span)) in tokens.iter().enumerate() {
        out += &between(&line[at..span.start]);
        at = span.end;
        let is_call = matches!(tokens.get(i + 1), Some((Token::Mark("("), _)));
        let style = match token {
            Token::Int(_) | Token::Float(_) => Some(NUMBER),
            Token::Text(_) => Some(TEXT),
            Token::Name(n) if names.models.contains_key(n) => Some(MODEL),
            Token::Name(n) if names.variables.contains_key(n) => Some(KNOWN),
            Token::Name(n)
                if is_call && (functions::find(n).is_some() || ops::OPS.iter().any(|d| d.name == n)) =>
            {
                Some(OPERATOR)
            }
            _ => None,
        };
        let text = &line[span.clone()];
        out += &style.map_or_else(|| text.to_owned(), |style| format!("{style}{text}{style:#}"));
    }
    out
}

/// Blanks and comments.
fn between(text: &str) -> String {
    match text.find('#') {
        Some(i) => format!("{}{COMMENT}{}{COMMENT:#}", &text[..i], &text[i..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_moves() {
        for line in ["y = Relu(x, 1.5) # no", ":load x", ":nothing", "\"open", "é + 'a' ; 3", ""] {
            let painted = paint(line, &Names::default());
            let plain = anstream::adapter::strip_str(&painted).to_string();
            assert_eq!(plain, line);
        }
        assert!(paint("Relu(x)", &Names::default()).starts_with("\x1b["));
    }
}
