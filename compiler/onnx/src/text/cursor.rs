//! Tokens of the text form, one after the other.

use kiln_ir::{Error, Result};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    Mark(char),
    /// `=>`
    Arrow,
    End,
}

/// Where reading is.
pub(super) struct Cursor {
    tokens: Vec<(Token, usize)>,
    at: usize,
    /// Positions at which lines begin.
    lines: Vec<usize>,
}

impl Cursor {
    /// The start of a text.
    pub(super) fn new(text: &str) -> Result<Self> {
        let lines = [0].into_iter().chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let mut cursor = Self { tokens: vec![(Token::End, 0)], at: 0, lines };
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let start = at;
            let end_of = |inside: &dyn Fn(char) -> bool| {
                start + text[start..].find(|c| !inside(c)).unwrap_or(text.len() - start)
            };
            let token = if c.is_whitespace() {
                at += c.len_utf8();
                continue;
            } else if c == '#' {
                at = end_of(&|c| c != '\n');
                continue;
            } else if c.is_alphabetic() || c == '_' {
                at = end_of(&|c| c.is_alphanumeric() || c == '_');
                Token::Name(text[start..at].to_owned())
            } else if c.is_ascii_digit()
                || c == '-' && text[at + 1..].starts_with(|c: char| c.is_ascii_digit() || c == '.')
            {
                let body = end_of(&|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                // A sign belongs to a number at its start and behind an exponent.
                let rest = &text[start..body];
                let cut = rest
                    .char_indices()
                    .skip(1)
                    .find(|(i, c)| "+-".contains(*c) && !rest[..*i].ends_with(['e', 'E']));
                at = start + cut.map_or(rest.len(), |(i, _)| i);
                let word = &text[start..at];
                match (word.parse(), word.parse()) {
                    (Ok(n), _) => Token::Int(n),
                    (_, Ok(v)) => Token::Float(v),
                    _ => return Err(cursor.error_at(start, &format!("'{word}' is no number"))),
                }
            } else if c == '"' {
                let mut out = String::new();
                let mut chars = text[start + 1..].char_indices();
                loop {
                    match chars.next() {
                        Some((i, '"')) => {
                            at = start + 1 + i + 1;
                            break;
                        }
                        Some((_, '\\')) => out.extend(chars.next().map(|(_, c)| c)),
                        Some((_, c)) => out.push(c),
                        None => return Err(cursor.error_at(start, "the text has no closing quote")),
                    }
                }
                Token::Text(out)
            } else if text[at..].starts_with("=>") {
                at += 2;
                Token::Arrow
            } else if "()[]{}<>,:;=.?@".contains(c) {
                at += 1;
                Token::Mark(c)
            } else {
                return Err(cursor.error_at(start, &format!("'{}' means nothing here", c.escape_default())));
            };
            tokens.push((token, start));
        }
        tokens.push((Token::End, text.len()));
        cursor.tokens = tokens;
        Ok(cursor)
    }

    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn is(&self, mark: &str) -> bool {
        match self.peek() {
            Token::Mark(c) => mark.chars().eq([*c]),
            Token::Arrow => mark == "=>",
            _ => false,
        }
    }

    pub(super) fn eat(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, mark: &str) -> Result<()> {
        if self.eat(mark) { Ok(()) } else { Err(self.error(&format!("'{mark}' is expected"))) }
    }

    pub(super) fn name(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Name(name) | Token::Text(name) => {
                self.advance();
                Ok(name)
            }
            _ => Err(self.error("a name is expected")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.advance();
                Ok(text)
            }
            _ => Err(self.error("a text in quotes is expected")),
        }
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        match *self.peek() {
            Token::Int(n) => {
                self.advance();
                Ok(n)
            }
            _ => Err(self.error("an integer is expected")),
        }
    }

    /// An error at the next token.
    pub(super) fn error(&self, what: &str) -> Error {
        self.error_at(self.tokens[self.at].1, what)
    }

    fn error_at(&self, at: usize, what: &str) -> Error {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        Error::invalid(format!("{line}:{}: {what}", at - self.lines[line - 1] + 1))
    }
}
