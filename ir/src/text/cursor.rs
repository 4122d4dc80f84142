//! Tokens of the text forms, and a position among them.

use std::fmt;

use crate::error::{Error, Result};

/// What names without quotes consist of.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Letters, digits, `_` and `.`, not starting with a digit.
    Ident(String),
    /// `%name` or `@name`.
    Name(char, String),
    /// `$"name"`: a dimension whose name is no identifier.
    Symbol(String),
    /// `"text"`.
    Str(String),
    /// A number without sign, as written.
    Number(String),
    /// Anything else.
    Punct(&'static str),
    /// The end of the text.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ident(name) => write!(f, "'{name}'"),
            Self::Name(sigil, name) => write!(f, "'{sigil}{name}'"),
            Self::Symbol(name) => write!(f, "'$\"{name}\"'"),
            Self::Str(text) if text.len() > 40 => write!(f, "a string"),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Number(text) => write!(f, "'{text}'"),
            Self::Punct(text) => write!(f, "'{text}'"),
            Self::End => write!(f, "the end of the text"),
        }
    }
}

/// Longest first.
const PUNCTUATION: [&str; 22] = [
    "...", "->", "..", "::", "{", "}", "[", "]", "(", ")", ",", ":", "=", "|", "*", "+", "-", "/", "#", "<",
    ">", "?",
];

/// Deeper nesting than any model has; recursion beyond could exhaust the stack of a thread, 2 MiB.
const MAX_DEPTH: usize = 200;

/// A position in a text that has been cut into tokens.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Token, line and column, both from 1.
    tokens: Vec<(Token, usize, usize)>,
    position: usize,
    depth: usize,
}

impl Cursor {
    /// Cuts a text into tokens.
    pub(crate) fn new(text: &str) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut lexer = Lexer { rest: text, line: 1, column: 1 };
        loop {
            lexer.skip_blanks();
            let (line, column) = (lexer.line, lexer.column);
            let token = lexer.token().map_err(|message| located(line, column, &message))?;
            let end = token == Token::End;
            tokens.push((token, line, column));
            if end {
                return Ok(Self { tokens, position: 0, depth: 0 });
            }
        }
    }

    /// The next token, not taken.
    pub(crate) fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    /// The token `ahead` places after the next one.
    pub(crate) fn peek_at(&self, ahead: usize) -> &Token {
        &self.tokens[(self.position + ahead).min(self.tokens.len() - 1)].0
    }

    /// Takes the next token; at the end it stays there.
    pub(crate) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    /// Undoes one [`Cursor::next`].
    pub(crate) fn back(&mut self) {
        self.position -= 1;
    }

    /// Takes the next token if it is this punctuation.
    pub(crate) fn eat(&mut self, punct: &str) -> bool {
        let found = matches!(self.peek(), Token::Punct(p) if *p == punct);
        self.position += usize::from(found);
        found
    }

    /// Takes the next token if it is this word.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Ident(p) if p == word);
        self.position += usize::from(found);
        found
    }

    /// Takes this punctuation.
    pub(crate) fn expect(&mut self, punct: &str) -> Result<()> {
        if self.eat(punct) {
            Ok(())
        } else {
            Err(self.error(format!("'{punct}' expected, found {}", self.peek())))
        }
    }

    /// Takes this word.
    pub(crate) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.error(format!("'{word}' expected, found {}", self.peek())))
        }
    }

    /// Takes an identifier.
    pub(crate) fn ident(&mut self) -> Result<String> {
        match self.next() {
            Token::Ident(name) => Ok(name),
            other => Err(self.error_before(format!("a word expected, found {other}"))),
        }
    }

    /// Takes a name with its sigil.
    pub(crate) fn name(&mut self) -> Result<(char, String)> {
        match self.next() {
            Token::Name(sigil, name) => Ok((sigil, name)),
            other => Err(self.error_before(format!("'%name' or '@name' expected, found {other}"))),
        }
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<String> {
        match self.next() {
            Token::Str(text) => Ok(text),
            other => Err(self.error_before(format!("a string expected, found {other}"))),
        }
    }

    /// Takes an integer with an optional sign.
    pub(crate) fn integer(&mut self) -> Result<i64> {
        let negative = self.eat("-");
        match self.next() {
            Token::Number(text) => {
                let signed = if negative { format!("-{text}") } else { text };
                signed.parse().map_err(|_| self.error_before(format!("'{signed}' is no 64-bit integer")))
            }
            other => Err(self.error_before(format!("an integer expected, found {other}"))),
        }
    }

    /// Items with commas between them up to the closing punctuation, which is taken.
    pub(crate) fn list<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    /// One level deeper, if that is not too deep.
    pub(crate) fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.enter()?;
        let out = f(self);
        self.leave();
        out
    }

    /// Goes one level deeper, if that is not too deep.
    pub(crate) fn enter(&mut self) -> Result<()> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        Ok(())
    }

    /// Undoes [`Cursor::enter`].
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<()> {
        match self.peek() {
            Token::End => Ok(()),
            other => Err(self.error(format!("nothing more expected, found {other}"))),
        }
    }

    /// An error at the next token.
    pub(crate) fn error(&self, message: impl AsRef<str>) -> Error {
        let (_, line, column) = &self.tokens[self.position.min(self.tokens.len() - 1)];
        located(*line, *column, message.as_ref())
    }

    /// An error at the token that was just taken.
    pub(crate) fn error_before(&self, message: impl AsRef<str>) -> Error {
        let (_, line, column) = &self.tokens[self.position.saturating_sub(1).min(self.tokens.len() - 1)];
        located(*line, *column, message.as_ref())
    }
}

fn located(line: usize, column: usize, message: &str) -> Error {
    Error::invalid(format!("line {line}, column {column}: {message}"))
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        for c in taken.chars() {
            if c == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            } else {
                self.column += 1;
            }
        }
        taken
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Token, String> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        match first {
            '%' | '@' => {
                self.take(1);
                if self.rest.starts_with('"') {
                    return Ok(Token::Name(first, self.quoted()?));
                }
                let name = self.take_while(is_name_char);
                if name.is_empty() {
                    return Err(format!("a name must follow '{first}'"));
                }
                Ok(Token::Name(first, name.to_owned()))
            }
            '$' => {
                self.take(1);
                if self.rest.starts_with('"') {
                    return Ok(Token::Symbol(self.quoted()?));
                }
                Err("a quoted name must follow '$'".to_owned())
            }
            '"' => Ok(Token::Str(self.quoted()?)),
            '0'..='9' => Ok(Token::Number(self.number())),
            'A'..='Z' | 'a'..='z' | '_' => Ok(Token::Ident(self.take_while(is_name_char).to_owned())),
            _ => match PUNCTUATION.into_iter().find(|p| self.rest.starts_with(p)) {
                Some(punct) => {
                    self.take(punct.len());
                    Ok(Token::Punct(punct))
                }
                None => Err(format!("unexpected character {first:?}")),
            },
        }
    }

    /// `12`, `1.5`, `1e-5`, `0x7fc00000`; the dots of `1..8` are left.
    fn number(&mut self) -> String {
        if self.rest.starts_with("0x") {
            return self.take_while(|c| c.is_ascii_alphanumeric()).to_owned();
        }
        let mut text = self.take_while(|c| c.is_ascii_digit()).to_owned();
        if self.rest.starts_with('.') && !self.rest.starts_with("..") {
            text += self.take(1);
            text += self.take_while(|c| c.is_ascii_digit());
        }
        if self.rest.starts_with('e') {
            text += self.take(1);
            if self.rest.starts_with(['+', '-']) {
                text += self.take(1);
            }
            text += self.take_while(|c| c.is_ascii_digit());
        }
        text
    }

    /// A string in quotes, with the escapes of Rust's string literals.
    fn quoted(&mut self) -> Result<String, String> {
        self.take(1);
        let mut out = String::new();
        loop {
            out += self.take_while(|c| c != '"' && c != '\\');
            if self.rest.is_empty() {
                return Err("the string has no end".to_owned());
            }
            if self.take(1) == "\"" {
                return Ok(out);
            }
            let Some(escaped) = self.rest.chars().next() else { continue };
            self.take(escaped.len_utf8());
            out.push(match escaped {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                '\\' | '"' | '\'' => escaped,
                'u' => self.unicode()?,
                other => return Err(format!("unknown escape '\\{other}'")),
            });
        }
    }

    fn unicode(&mut self) -> Result<char, String> {
        let bad = || "'\\u' needs a code point in braces".to_owned();
        let digits = self.rest.strip_prefix('{').and_then(|r| r.split_once('}')).ok_or_else(bad)?.0;
        self.take(digits.len() + 2);
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or_else(bad)
    }
}
