//! Tokens to statements. Precedence is Python's:
//!
//! ```text
//! statements  statement (';' statement)*
//! statement   (NAME (',' NAME)* '=')? expr
//! expr        and (('or' | '|' | '^') and)*
//! and         not (('and' | '&') not)*
//! not         'not' not | comparison
//! comparison  sum (('==' | '!=' | '<' | '<=' | '>' | '>=') sum)*
//! sum         product (('+' | '-') product)*
//! product     sign (('*' | '/' | '%' | '@') sign)*
//! sign        ('-' | '+' | '~') sign | power
//! power       postfix ('**' sign)?
//! postfix     atom ('[' subscripts ']')*
//! atom        NUMBER | TEXT | '[' exprs ']' | '(' expr ')' | NAME ('.' NAME)* '(' arguments ')' | NAME
//! ```

use std::ops::Range;

use super::ast::{Binary, Call, Expr, Kind, Named, Statement, Subscript, Unary};
use super::lexer::{Spanned, Token, tokens};
use crate::fault::{Fault, Result};

/// Expressions nest no deeper, so that no stack is as deep as a line is long.
const MOST_DEPTH: usize = 100;

/// Operators of a line: each is a step deeper for whoever walks over the tree.
const MOST_OPERATORS: usize = 5000;

/// The statements of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, operators: 0 };
    let mut out = Vec::new();
    loop {
        while parser.eat(";") {}
        if *parser.peek() == Token::End {
            return Ok(out);
        }
        out.push(parser.statement()?);
        if *parser.peek() != Token::End && !parser.eat(";") {
            return Err(parser.unexpected("an operator, a semicolon or the end"));
        }
    }
}

/// One expression and nothing else.
pub(crate) fn parse_expr(text: &str) -> Result<Expr> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, operators: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].1.clone()
    }

    fn advance(&mut self) -> Spanned {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(m) if *m == mark)
    }

    fn eat(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        if found {
            self.advance();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Name(n) if n == word);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, mark: &str) -> Result<()> {
        if self.eat(mark) { Ok(()) } else { Err(self.unexpected(&format!("'{mark}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match self.peek() {
            Token::End => "the end".to_owned(),
            Token::Name(n) => format!("'{n}'"),
            Token::Mark(m) => format!("'{m}'"),
            Token::Int(n) => n.to_string(),
            Token::Float(n) => n.to_string(),
            Token::Text(_) => "a text".to_owned(),
        };
        Fault::at(self.span(), format!("{wanted} is expected, and {found} found"))
    }

    fn statement(&mut self) -> Result<Statement> {
        let begin = self.at;
        let mut targets = Vec::new();
        while let Token::Name(name) = self.peek().clone() {
            targets.push((name, self.span()));
            self.advance();
            if self.eat("=") {
                return Ok(Statement { targets, expr: self.expr()? });
            }
            if !self.eat(",") {
                break;
            }
        }
        self.at = begin;
        Ok(Statement { targets: Vec::new(), expr: self.expr()? })
    }

    fn expr(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Fault::at(self.span(), format!("expressions nest at most {MOST_DEPTH} deep")));
        }
        let mut left = self.and()?;
        loop {
            let op = if self.eat_word("or") || self.eat("|") {
                Binary::Or
            } else if self.eat("^") {
                Binary::Xor
            } else {
                self.depth -= 1;
                return Ok(left);
            };
            left = binary(op, left, self.and()?);
        }
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.eat_word("and") || self.eat("&") {
            left = binary(Binary::And, left, self.not()?);
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        let start = self.span().start;
        let mut count = 0;
        while self.eat_word("not") {
            count += 1;
        }
        let mut inner = self.comparison()?;
        for _ in 0..count {
            let span = start..inner.span.end;
            inner = Expr { kind: Kind::Unary(Unary::Not, Box::new(inner)), span };
        }
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Expr> {
        const OPS: &[(&str, Binary)] = &[
            ("==", Binary::Equal),
            ("!=", Binary::NotEqual),
            ("<", Binary::Less),
            ("<=", Binary::LessOrEqual),
            (">", Binary::Greater),
            (">=", Binary::GreaterOrEqual),
        ];
        self.chain(OPS, Self::sum)
    }

    fn sum(&mut self) -> Result<Expr> {
        self.chain(&[("+", Binary::Add), ("-", Binary::Sub)], Self::product)
    }

    fn product(&mut self) -> Result<Expr> {
        const OPS: &[(&str, Binary)] =
            &[("*", Binary::Mul), ("/", Binary::Div), ("%", Binary::Mod), ("@", Binary::MatMul)];
        self.chain(OPS, Self::sign)
    }

    /// Operators of one precedence, from left to right.
    fn chain(&mut self, ops: &[(&str, Binary)], next: fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let mut left = next(self)?;
        loop {
            let Some((_, op)) = ops.iter().find(|(mark, _)| self.is(mark)) else { return Ok(left) };
            self.advance();
            self.operators += 1;
            if self.operators > MOST_OPERATORS {
                return Err(Fault::at(self.span(), format!("a line has at most {MOST_OPERATORS} operators")));
            }
            left = binary(*op, left, next(self)?);
        }
    }

    fn sign(&mut self) -> Result<Expr> {
        let start = self.span().start;
        let mut signs = Vec::new();
        loop {
            if self.eat("-") {
                signs.push(Unary::Neg);
            } else if self.eat("~") {
                signs.push(Unary::Not);
            } else if !self.eat("+") {
                break;
            }
        }
        let mut inner = self.power()?;
        for sign in signs.into_iter().rev() {
            let span = start..inner.span.end;
            inner = Expr { kind: signed(sign, inner), span };
        }
        Ok(inner)
    }

    fn power(&mut self) -> Result<Expr> {
        let base = self.postfix()?;
        if !self.eat("**") {
            return Ok(base);
        }
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Fault::at(self.span(), format!("expressions nest at most {MOST_DEPTH} deep")));
        }
        let exponent = self.sign()?;
        self.depth -= 1;
        Ok(binary(Binary::Pow, base, exponent))
    }

    fn postfix(&mut self) -> Result<Expr> {
        let mut inner = self.atom()?;
        while self.eat("[") {
            let mut subscripts = Vec::new();
            while !self.is("]") {
                subscripts.push(self.subscript()?);
                if !self.eat(",") {
                    break;
                }
            }
            let end = self.span().end;
            self.expect("]")?;
            let span = inner.span.start..end;
            inner = Expr { kind: Kind::Index(Box::new(inner), subscripts), span };
        }
        Ok(inner)
    }

    fn subscript(&mut self) -> Result<Subscript> {
        if self.eat("...") {
            return Ok(Subscript::Rest);
        }
        if self.eat_word("none") || self.eat_word("None") {
            return Ok(Subscript::New);
        }
        let part = |this: &mut Self| match this.is(":") || this.is(",") || this.is("]") {
            true => Ok(None),
            false => this.expr().map(Some),
        };
        let start = part(self)?;
        if !self.eat(":") {
            let wanted = || self.unexpected("a position or a slice");
            return start.map(Subscript::At).ok_or_else(wanted);
        }
        let stop = part(self)?;
        let step = if self.eat(":") { part(self)? } else { None };
        Ok(Subscript::Slice { start, stop, step })
    }

    fn atom(&mut self) -> Result<Expr> {
        let (token, span) = self.advance();
        let kind = match token {
            Token::Int(n) => Kind::Int(n),
            Token::Float(n) => Kind::Float(n),
            Token::Text(text) => Kind::Text(text),
            Token::Mark("(") => {
                let mut inner = self.expr()?;
                let end = self.span().end;
                self.expect(")")?;
                inner.span = span.start..end;
                return Ok(inner);
            }
            Token::Mark("[") => {
                let mut list = Vec::new();
                while !self.is("]") {
                    list.push(self.expr()?);
                    if !self.eat(",") {
                        break;
                    }
                }
                let end = self.span().end;
                self.expect("]")?;
                return Ok(Expr { kind: Kind::List(list), span: span.start..end });
            }
            Token::Name(name) => return self.name(name, span),
            _ => {
                self.at -= usize::from(token != Token::End);
                return Err(self.unexpected("a value"));
            }
        };
        Ok(Expr { kind, span })
    }

    fn name(&mut self, mut name: String, mut span: Range<usize>) -> Result<Expr> {
        let plain = match &*name {
            "true" | "True" => Some(Kind::Bool(true)),
            "false" | "False" => Some(Kind::Bool(false)),
            "nan" => Some(Kind::Float(f64::NAN)),
            "inf" => Some(Kind::Float(f64::INFINITY)),
            "none" | "None" => Some(Kind::Absent),
            _ => None,
        };
        if let Some(kind) = plain {
            return Ok(Expr { kind, span });
        }
        while self.is(".") {
            self.advance();
            let (Token::Name(next), next_span) = self.advance() else {
                self.at = self.at.saturating_sub(1);
                return Err(self.unexpected("a name behind the point"));
            };
            name = format!("{name}.{next}");
            span.end = next_span.end;
        }
        if !self.eat("(") {
            return Ok(Expr { kind: Kind::Name(name), span });
        }
        let (mut args, mut named) = (Vec::new(), Vec::new());
        while !self.is(")") {
            let is_named = matches!(self.peek(), Token::Name(_))
                && matches!(self.tokens.get(self.at + 1), Some((Token::Mark("="), _)));
            if is_named {
                let (token, at) = self.advance();
                self.advance();
                let Token::Name(name) = token else { return Err(self.unexpected("a name")) };
                named.push(Named { name, span: at, value: self.expr()? });
            } else if named.is_empty() {
                args.push(self.expr()?);
            } else {
                return Err(Fault::at(self.span(), "operands come before what has a name"));
            }
            if !self.eat(",") {
                break;
            }
        }
        let whole = span.start..self.span().end;
        self.expect(")")?;
        Ok(Expr { kind: Kind::Call(Call { name, name_span: span, args, named }), span: whole })
    }
}

fn binary(op: Binary, left: Expr, right: Expr) -> Expr {
    let span = left.span.start..right.span.end;
    Expr { kind: Kind::Binary(op, Box::new(left), Box::new(right)), span }
}

/// A sign before a number is part of it.
fn signed(sign: Unary, inner: Expr) -> Kind {
    match (sign, inner.kind) {
        (Unary::Neg, Kind::Int(n)) => Kind::Int(n.wrapping_neg()),
        (Unary::Neg, Kind::Float(n)) => Kind::Float(-n),
        (sign, kind) => Kind::Unary(sign, Box::new(Expr { kind, span: inner.span })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree with brackets around everything.
    fn shown(e: &Expr) -> String {
        let list = |v: &[Expr]| v.iter().map(shown).collect::<Vec<_>>().join(" ");
        match &e.kind {
            Kind::Int(n) => n.to_string(),
            Kind::Float(n) => n.to_string(),
            Kind::Bool(b) => b.to_string(),
            Kind::Text(t) => format!("{t:?}"),
            Kind::Absent => "_".into(),
            Kind::List(v) => format!("[{}]", list(v)),
            Kind::Name(n) => n.clone(),
            Kind::Call(c) => {
                let named: String =
                    c.named.iter().map(|n| format!(" {}={}", n.name, shown(&n.value))).collect();
                format!("{}({}{named})", c.name, list(&c.args))
            }
            Kind::Unary(op, a) => format!("({op:?} {})", shown(a)),
            Kind::Binary(op, a, b) => format!("({op:?} {} {})", shown(a), shown(b)),
            Kind::Index(a, s) => format!("{}{s:?}", shown(a)),
            Kind::Leaf(i) => format!("${i}"),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(shown(&parse_expr(text).unwrap()), expected);
    }

    #[test]
    fn precedence_is_pythons() {
        check("a + b * c ** -2", "(Add a (Mul b (Pow c -2)))");
        check("-a ** 2", "(Neg (Pow a 2))");
        check("not a < b + 1 and c", "(And (Not (Less a (Add b 1))) c)");
        check("a - b - c", "(Sub (Sub a b) c)");
        check("a @ b + c", "(Add (MatMul a b) c)");
        check("(a + b) * ~c", "(Mul (Add a b) (Not c))");
    }

    #[test]
    fn calls_and_lists() {
        check("Conv(x, w, none, strides=[2, 2])", "Conv(x w _ strides=[2 2])");
        check("com.microsoft.Gelu(x)", "com.microsoft.Gelu(x)");
        check("[[1.5, -2], []]", "[[1.5 -2] []]");
    }

    #[test]
    fn statements() {
        let list = parse("a, b = Split(x); y = 1 # one\n;; y").unwrap();
        let targets: Vec<usize> = list.iter().map(|s| s.targets.len()).collect();
        assert_eq!(targets, [2, 1, 0]);
        assert_eq!(parse("a, b").unwrap_err().span, Some(1..2));
    }

    #[test]
    fn mistakes_have_their_place() {
        assert_eq!(parse("y = Relu(x").unwrap_err().span, Some(10..10));
        assert_eq!(parse("y = * 2").unwrap_err().span, Some(4..5));
        assert_eq!(parse("f(a=1, 2)").unwrap_err().span, Some(7..8));
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&format!("1{}", "**1".repeat(100_000))).is_err());
        assert!(parse(&format!("1{}", "+1".repeat(100_000))).is_err());
    }
}
