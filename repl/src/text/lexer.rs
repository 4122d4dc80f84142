//! Characters to tokens, with their places.

use std::ops::Range;

use crate::fault::{Fault, Result};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name: letters, digits and underscores.
    Name(String),
    /// An integer.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// Text in quotes.
    Text(String),
    /// An operator or a bracket.
    Mark(&'static str),
    /// The end.
    End,
}

/// A token and its place.
pub(crate) type Spanned = (Token, Range<usize>);

/// Longer ones before those that they begin with.
const MARKS: &[&str] = &[
    "...", "**", "==", "!=", "<=", ">=", "(", ")", "[", "]", ",", ";", ":", "=", "+", "-", "*", "/", "%",
    "@", "<", ">", "&", "|", "^", "~", ".",
];

/// The tokens of a text; comments are left out, and ends of lines count as blanks.
pub(crate) fn tokens(text: &str) -> Result<Vec<Spanned>> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if c == '#' {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else if c.is_alphabetic() || c == '_' {
            at = end_of(text, at, |c| c.is_alphanumeric() || c == '_');
            out.push((Token::Name(text[start..at].to_owned()), start..at));
        } else if c.is_ascii_digit() || c == '.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
            let (token, end) = number(text, at)?;
            at = end;
            out.push((token, start..at));
        } else if c == '"' || c == '\'' {
            let (token, end) = quoted(text, at, c)?;
            at = end;
            out.push((token, start..at));
        } else if let Some(mark) = MARKS.iter().find(|m| text[at..].starts_with(**m)) {
            at += mark.len();
            out.push((Token::Mark(mark), start..at));
        } else {
            return Err(Fault::at(
                at..at + c.len_utf8(),
                format!("'{}' means nothing here", c.escape_default()),
            ));
        }
    }
    out.push((Token::End, text.len()..text.len()));
    Ok(out)
}

fn end_of(text: &str, at: usize, inside: impl Fn(char) -> bool) -> usize {
    at + text[at..].find(|c| !inside(c)).unwrap_or(text.len() - at)
}

fn number(text: &str, start: usize) -> Result<(Token, usize)> {
    let rest = &text[start..];
    if let Some(hex) = rest.strip_prefix("0x") {
        let end = end_of(text, start + 2, |c| c.is_ascii_hexdigit() || c == '_');
        let digits = hex[..end - start - 2].replace('_', "");
        let value = i64::from_str_radix(&digits, 16);
        return value
            .map(|v| (Token::Int(v), end))
            .map_err(|_| Fault::at(start..end, "not a number of 64 bits"));
    }
    let digits = |at: usize| end_of(text, at, |c| c.is_ascii_digit() || c == '_');
    let mut end = digits(start);
    let mut is_float = false;
    // Two points are no part of a number, nor is one before a name.
    if text[end..].starts_with('.') && !text[end + 1..].starts_with(|c: char| c == '.' || c.is_alphabetic()) {
        is_float = true;
        end = digits(end + 1);
    }
    let exponent = text[end..].strip_prefix(['e', 'E']).map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    if exponent.is_some_and(|e| e.starts_with(|c: char| c.is_ascii_digit())) {
        is_float = true;
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        end = digits(end + 1 + sign);
    }
    let plain = text[start..end].replace('_', "");
    let token =
        if is_float { plain.parse().ok().map(Token::Float) } else { plain.parse().ok().map(Token::Int) };
    token.map(|t| (t, end)).ok_or_else(|| Fault::at(start..end, "not a number of 64 bits"))
}

fn quoted(text: &str, start: usize, quote: char) -> Result<(Token, usize)> {
    let mut out = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(out), start + 1 + i + c.len_utf8())),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, c)) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err(Fault::at(start..text.len(), "the text has no closing quote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Token> {
        tokens(text).unwrap().into_iter().map(|(t, _)| t).filter(|t| *t != Token::End).collect()
    }

    #[test]
    fn numbers() {
        assert_eq!(
            of("1 1.5 .5 2. 1e3 1E-2 0xFF 1_000"),
            [
                Token::Int(1),
                Token::Float(1.5),
                Token::Float(0.5),
                Token::Float(2.0),
                Token::Float(1000.0),
                Token::Float(0.01),
                Token::Int(255),
                Token::Int(1000),
            ]
        );
        assert!(tokens("99999999999999999999").is_err());
    }

    #[test]
    fn names_marks_text_and_comments() {
        let found = of("y=Relu(x) # no\n; 'a\\'b' ... **");
        assert_eq!(found.len(), 10);
        assert_eq!(found[7], Token::Text("a'b".into()));
        assert_eq!(found[8..], [Token::Mark("..."), Token::Mark("**")]);
        assert_eq!(tokens("a $ b").unwrap_err().span, Some(2..3));
        assert_eq!(tokens("é = 1").unwrap()[0], (Token::Name("é".into()), 0..2));
    }
}
