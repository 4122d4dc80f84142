//! Reads the text of programs that [`print`](super::print) writes.

use std::collections::BTreeMap;

use super::access::{Access, Affine, BufferId, Index, LoopId};
use super::expr::Expr;
use super::form::{Form, Kernel, Loop, Role, Side};
use super::format::{Format, Kept};
use super::function::{BinaryOp, UnaryOp};
use super::print::{REDUCE, WINDOW, reduce_name, window_name};
use super::procedure::Steps;
use super::program::{BufferKind, Place, Program};
use super::regions::{Control, Repeat, Trips};
use super::store::Store;
use crate::dim::Dim;
use crate::error::Result;
use crate::format::bcsr::Block;
use crate::tensor::Tensor;
use crate::text::{Cursor, Token};
use crate::types::DType;

/// A program from its text. Errors name line and column.
pub fn parse(text: &str) -> Result<Program> {
    let mut parser = Parser {
        at: Cursor::new(text)?,
        program: Program::default(),
        names: BTreeMap::new(),
        loops: Vec::new(),
    };
    parser.program()?;
    parser.at.end()?;
    Ok(parser.program)
}

struct Parser {
    at: Cursor,
    program: Program,
    names: BTreeMap<String, BufferId>,
    /// Those of the kernel being read.
    loops: Vec<Loop>,
}

impl Parser {
    fn program(&mut self) -> Result<()> {
        self.at.expect_word("program")?;
        self.program.name = self.at.name()?.1;
        self.at.expect("{")?;
        let (mut inputs, mut outputs) = (None, None);
        let mut places = Vec::new();
        while !self.at.eat("}") {
            let word = self.at.ident()?;
            match &word[..] {
                "dim" => self.at.bound(&mut self.program.bounds)?,
                "assume" => {
                    let zero = self.at.dim()?;
                    self.at.expect("=")?;
                    if self.at.integer()? != 0 {
                        return Err(self.at.error_before("0 expected"));
                    }
                    self.program.assumed.push(zero);
                }
                "input" | "output" | "temp" | "const" | "released" => self.buffer(&word, &mut places)?,
                "count" => {
                    let symbol = self.at.symbol()?;
                    self.at.expect("=")?;
                    let cell = self.buffer_id()?;
                    self.program.counted.insert(symbol.into(), cell);
                }
                "inputs" => inputs = Some(self.buffers()?),
                "outputs" => outputs = Some(self.buffers()?),
                _ => self.step(&word)?,
            }
        }
        // A place may name a buffer further down.
        for (id, root, place) in places {
            let root = self.names.get(&root).copied();
            let root = root.ok_or_else(|| self.at.error("a place names a buffer that is not defined"))?;
            self.program.set_place(id, Some(Place { root, ..place }));
        }
        let of_kind = |kind: &BufferKind| -> Vec<BufferId> {
            self.program.buffer_ids().filter(|id| self.program.buffer(*id).kind == *kind).collect()
        };
        let (all_inputs, all_outputs) = (of_kind(&BufferKind::Input), of_kind(&BufferKind::Output));
        self.program.inputs = inputs.unwrap_or(all_inputs);
        self.program.outputs = outputs.unwrap_or(all_outputs);
        Ok(())
    }

    fn buffer(&mut self, word: &str, places: &mut Vec<(BufferId, String, Place)>) -> Result<()> {
        let (_, name) = self.at.name()?;
        if self.names.contains_key(&name) {
            return Err(self.at.error_before(format!("buffer '{name}' is defined twice")));
        }
        self.at.expect(":")?;
        let ty = self.at.tensor_type()?;
        let kind = match word {
            "input" => BufferKind::Input,
            "output" => BufferKind::Output,
            "temp" => BufferKind::Temp,
            "released" => BufferKind::Released,
            _ => {
                self.at.expect("=")?;
                let own = if self.at.eat_word("tensor") { self.at.tensor_type()? } else { ty.clone() };
                BufferKind::Const(self.at.tensor(&own)?)
            }
        };
        let id = self.program.add_buffer(&name, ty, kind);
        self.names.insert(name, id);
        if self.at.eat_word("format") {
            let kept = if self.at.eat_word("dense") { Kept::Dense } else { self.bcsr()? };
            let why = self.at.string()?;
            self.program.set_format(id, Some(Format { kept, why }));
        }
        if self.at.eat_word("at") {
            let (_, root) = self.at.name()?;
            self.at.expect("+")?;
            self.at.expect("(")?;
            let offset = self.at.dim()?;
            self.at.expect(")")?;
            self.at.expect_word("strides")?;
            self.at.expect("[")?;
            let strides = self.at.list("]", Cursor::dim)?;
            self.at.expect_word("extent")?;
            let extent = self.at.dim()?;
            places.push((id, root, Place { root: id, offset, strides, extent }));
        }
        Ok(())
    }

    /// `bcsr 4 by 1`, `bcsr 16 by 1 of 32`
    fn bcsr(&mut self) -> Result<Kept> {
        self.at.expect_word("bcsr")?;
        let rows = self.at.integer()?;
        self.at.expect_word("by")?;
        let cols = self.at.integer()?;
        let window = if self.at.eat_word("of") { self.at.integer()? } else { 1 };
        let of = |b: &Block| [b.rows, b.cols, b.window].map(i64::from) == [rows, cols, window];
        let unknown = || self.at.error_before(format!("no blocks are {rows} by {cols} of {window}"));
        Block::ALL.into_iter().find(of).map(Kept::Bcsr).ok_or_else(unknown)
    }

    fn buffer_id(&mut self) -> Result<BufferId> {
        let (sigil, name) = self.at.name()?;
        let id = self.names.get(&name).copied();
        id.ok_or_else(|| self.at.error_before(format!("buffer '{sigil}{name}' is not defined above")))
    }

    fn buffers(&mut self) -> Result<Vec<BufferId>> {
        self.at.expect("(")?;
        let mut ids = Vec::new();
        while !self.at.eat(")") {
            if !ids.is_empty() {
                self.at.expect(",")?;
            }
            ids.push(self.buffer_id()?);
        }
        Ok(ids)
    }

    /// A kernel, or a region with what is in it.
    fn step(&mut self, word: &str) -> Result<()> {
        let control = match word {
            "when" | "unless" => Control::When { condition: self.buffer_id()?, is: word == "when" },
            "loop" => self.repeat()?,
            _ => return self.kernel(word),
        };
        self.at.expect("{")?;
        self.at.enter()?;
        self.program.enter(control);
        while !self.at.eat("}") {
            let word = self.at.ident()?;
            self.step(&word)?;
        }
        self.program.leave();
        self.at.leave();
        Ok(())
    }

    /// `loop %i to 8 while %go carries (%s)`
    fn repeat(&mut self) -> Result<Control> {
        let counter = self.buffer_id()?;
        let trips = match self.at.eat_word("to") {
            false => None,
            true if matches!(self.at.peek(), Token::Name(..)) => Some(Trips::Read(self.buffer_id()?)),
            true => Some(Trips::Count(self.at.dim()?)),
        };
        let condition = if self.at.eat_word("while") { Some(self.buffer_id()?) } else { None };
        let carried = if self.at.eat_word("carries") { self.buffers()? } else { Vec::new() };
        Ok(Control::Loop(Repeat { counter, trips, condition, carried }))
    }

    fn kernel(&mut self, word: &str) -> Result<()> {
        if !matches!(word, "map" | "reduce" | "contract" | "window" | "transform" | "rearrange" | "procedure")
        {
            return Err(self.at.error_before(format!("a buffer or a kernel expected, found '{word}'")));
        }
        let name = self.at.string()?;
        let nodes = if self.at.eat_word("of") {
            self.at.expect("[")?;
            self.at.list("]", Cursor::string)?
        } else {
            vec![name.clone()]
        };
        self.at.expect("[")?;
        self.loops = self.loops()?;
        self.at.expect("{")?;
        let form = self.form(word)?;
        self.at.expect("}")?;
        let loops = std::mem::take(&mut self.loops);
        self.program.push_kernel(Kernel { name, nodes, loops, form });
        Ok(())
    }

    fn loops(&mut self) -> Result<Vec<Loop>> {
        let (mut loops, mut role) = (Vec::new(), Role::Parallel);
        loop {
            if self.at.eat("]") {
                return Ok(loops);
            }
            if self.at.eat("|") {
                role = if role == Role::Parallel { Role::Reduce } else { Role::Parallel };
            } else if !loops.is_empty() {
                self.at.expect(",")?;
            }
            let name = match self.at.next() {
                Token::Ident(name) | Token::Str(name) => name,
                other => return Err(self.at.error_before(format!("a loop expected, found {other}"))),
            };
            self.at.expect(":")?;
            loops.push(Loop { name, extent: self.at.dim()?, role });
        }
    }

    fn form(&mut self, word: &str) -> Result<Form> {
        Ok(match word {
            "map" => {
                let mut stores = Vec::new();
                while !matches!(self.at.peek(), Token::Punct("}")) {
                    stores.push(self.store()?);
                }
                Form::Map { stores }
            }
            "reduce" => {
                let op = self.acc_of(REDUCE, reduce_name, "a reduction")?;
                let value = self.expr()?;
                self.at.expect(")")?;
                Form::Reduce { op, value, store: self.store()? }
            }
            "contract" => {
                self.at.expect_word("acc")?;
                self.at.expect(":")?;
                let acc = self.at.dtype()?;
                self.at.expect("=")?;
                let lhs = self.access()?;
                self.at.expect("*")?;
                let rhs = self.access()?;
                Form::Contract { acc, lhs, rhs, store: self.store()? }
            }
            "window" => {
                let op = self.acc_of(WINDOW, window_name, "a window's operation")?;
                let input = self.access()?;
                let weight = if self.at.eat(",") { Some(self.access()?) } else { None };
                self.at.expect(")")?;
                Form::Window { op, input, weight, store: self.store()? }
            }
            "transform" => {
                self.at.expect_word("acc")?;
                self.at.expect("=")?;
                self.at.expect_word("sides")?;
                self.at.expect("(")?;
                let from = self.access()?;
                self.at.expect(",")?;
                let left = self.side()?;
                self.at.expect(",")?;
                let right = self.side()?;
                self.at.expect(")")?;
                Form::Transform { left, right, from, store: self.store()? }
            }
            "rearrange" => {
                let to = self.access()?;
                self.at.expect("=")?;
                Form::Rearrange { from: self.access()?, to }
            }
            _ => {
                let mut steps = Steps::default();
                self.statements(&mut steps)?;
                Form::Procedure(steps.finish())
            }
        })
    }

    /// Statements up to the brace that ends them.
    fn statements(&mut self, steps: &mut Steps) -> Result<()> {
        while !matches!(self.at.peek(), Token::Punct("}")) {
            if let Token::Name(..) = self.at.peek() {
                let Store { to, value } = self.store()?;
                steps.store(to, value);
            } else if self.at.eat_word("for") {
                let l = self.a_loop()?;
                steps.each(l, |steps| self.block(steps))?;
            } else if self.at.eat_word("while") {
                let condition = self.expr()?;
                steps.repeat(condition, |steps| self.block(steps))?;
            } else if self.at.eat_word("if") {
                let condition = self.expr()?;
                // Both parts, with one parser.
                let this = std::cell::RefCell::new(&mut *self);
                let otherwise = |steps: &mut Steps| {
                    let mut this = this.borrow_mut();
                    if this.at.eat_word("else") { this.block(steps) } else { Ok(()) }
                };
                steps.choose(condition, |steps| this.borrow_mut().block(steps), otherwise)?;
            } else {
                let l = self.a_loop()?;
                self.at.expect("=")?;
                let value = self.expr()?;
                steps.set(l, value);
            }
        }
        Ok(())
    }

    /// `{ statements }`
    fn block(&mut self, steps: &mut Steps) -> Result<()> {
        self.at.expect("{")?;
        self.deeper(|this| this.statements(steps))?;
        self.at.expect("}")
    }

    /// `acc = word(`
    fn acc_of<T: Copy>(&mut self, all: &[T], word_of: impl Fn(T) -> &'static str, what: &str) -> Result<T> {
        self.at.expect_word("acc")?;
        self.at.expect("=")?;
        let word = self.at.ident()?;
        let op = all.iter().copied().find(|op| word_of(*op) == word);
        let op = op.ok_or_else(|| self.at.error_before(format!("'{word}' is not {what}")))?;
        self.at.expect("(")?;
        Ok(op)
    }

    /// `i from k by [[..], [..]]`
    fn side(&mut self) -> Result<Side> {
        let to = self.a_loop()?;
        self.at.expect_word("from")?;
        let over = self.a_loop()?;
        self.at.expect_word("by")?;
        self.at.expect("[")?;
        let rows = self.at.list("]", |at| {
            at.expect("[")?;
            at.list("]", |at| Ok(f32::from_bits(at.literal(DType::F32)? as u32)))
        })?;
        let columns = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != columns) {
            return Err(self.at.error_before("rows of one length expected"));
        }
        let shape = [rows.len(), columns];
        Ok(Side { matrix: Tensor::from_vec(&shape, rows.concat()), to, over })
    }

    fn a_loop(&mut self) -> Result<LoopId> {
        let found = self.try_loop()?;
        found.ok_or_else(|| self.at.error(format!("a loop expected, found {}", self.at.peek())))
    }

    fn store(&mut self) -> Result<Store> {
        let to = self.access()?;
        self.at.expect("=")?;
        Ok(Store { to, value: self.expr()? })
    }

    fn access(&mut self) -> Result<Access> {
        let buffer = self.buffer_id()?;
        self.at.expect("[")?;
        let mut index = Vec::new();
        while !self.at.eat("]") {
            if !index.is_empty() {
                self.at.expect(",")?;
            }
            index.push(self.index()?);
        }
        let otherwise = if self.at.eat_word("else") { Some(self.at.scalar()?) } else { None };
        Ok(Access { buffer, index, otherwise })
    }

    fn index(&mut self) -> Result<Index> {
        if matches!((self.at.peek(), self.at.peek_at(1)), (Token::Punct("("), Token::Name(..))) {
            self.at.expect("(")?;
            let inner = self.deeper(Self::access)?;
            self.at.expect(")")?;
            return Ok(Index::Gathered(Box::new(inner)));
        }
        let mut affine = Affine::constant(0i64);
        let mut negative = self.at.eat("-");
        loop {
            let (mut coefficient, mut of) = (Dim::Const(if negative { -1 } else { 1 }), None);
            loop {
                match self.try_loop()? {
                    Some(_) if of.is_some() => {
                        return Err(self
                            .at
                            .error_before("an index is a sum of loops, not of their products"));
                    }
                    Some(l) => of = Some(l),
                    None => coefficient = coefficient * self.at.dim_factor()?,
                }
                if !self.at.eat("*") {
                    break;
                }
            }
            affine = match of {
                Some(l) => affine.plus(l, coefficient),
                None => affine.shifted(coefficient),
            };
            if self.at.eat("+") {
                negative = false;
            } else if self.at.eat("-") {
                negative = true;
            } else {
                return Ok(Index::Affine(affine));
            }
        }
    }

    /// Takes a loop, by name or `#position`, if one comes next.
    fn try_loop(&mut self) -> Result<Option<LoopId>> {
        if self.at.eat("#") {
            let position = self.at.integer()?;
            let id = u16::try_from(position).ok().filter(|i| usize::from(*i) < self.loops.len());
            return id
                .map(|i| Some(LoopId(i)))
                .ok_or_else(|| self.at.error_before(format!("no loop #{position}")));
        }
        let Token::Ident(name) = self.at.peek() else { return Ok(None) };
        if matches!(self.at.peek_at(1), Token::Punct("(")) {
            return Ok(None);
        }
        let found = self.loops.iter().position(|l| l.name == *name);
        if found.is_some() {
            self.at.next();
        }
        Ok(found.map(|i| LoopId(i as u16)))
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.at.enter()?;
        let out = f(self);
        self.at.leave();
        out
    }

    /// Sums and differences.
    fn expr(&mut self) -> Result<Expr> {
        let mut left = self.product()?;
        loop {
            let op = match self.at.peek() {
                Token::Punct("+") => BinaryOp::Add,
                Token::Punct("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.at.next();
            left = Expr::binary(op, left, self.product()?);
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.deeper(Self::operand)?;
        loop {
            let op = match self.at.peek() {
                Token::Punct("*") => BinaryOp::Mul,
                Token::Punct("/") => BinaryOp::Div,
                _ => return Ok(left),
            };
            self.at.next();
            left = Expr::binary(op, left, self.deeper(Self::operand)?);
        }
    }

    fn operand(&mut self) -> Result<Expr> {
        if matches!(self.at.peek(), Token::Name(..)) {
            return Ok(Expr::Load(self.access()?));
        }
        if self.at.eat("(") {
            let e = self.expr()?;
            self.at.expect(")")?;
            return Ok(e);
        }
        if let (Token::Ident(word), Token::Punct("(")) = (self.at.peek().clone(), self.at.peek_at(1).clone())
        {
            self.at.next();
            return self.call(&word);
        }
        if self.at.eat_word("acc") {
            return Ok(Expr::Acc);
        }
        if self.at.at_literal() {
            return Ok(Expr::Const(self.at.scalar()?));
        }
        match self.try_loop()? {
            Some(l) => Ok(Expr::Loop(l)),
            None => Err(self.at.error(format!("an expression expected, found {}", self.at.peek()))),
        }
    }

    fn call(&mut self, word: &str) -> Result<Expr> {
        let unknown = self.at.error_before(format!("'{word}' is no operation"));
        self.at.expect("(")?;
        if word == "size" {
            let size = self.at.dim()?;
            self.at.expect(")")?;
            if size.as_const().is_some() {
                return Err(self.at.error_before(format!("size {size} is a constant")));
            }
            return Ok(Expr::Size(size));
        }
        if word == "bits" {
            let dtype = self.at.dtype()?;
            self.at.expect(",")?;
            let operand = self.expr()?;
            self.at.expect(")")?;
            return Ok(Expr::bits(dtype, operand));
        }
        let mut operands = Vec::new();
        while !self.at.eat(")") {
            if !operands.is_empty() {
                self.at.expect(",")?;
            }
            operands.push(self.expr()?);
        }
        let count = operands.len();
        let mut operands = operands.into_iter();
        let mut next = || operands.next().unwrap_or(Expr::Acc);
        let unary = UnaryOp::parse(word);
        let binary = BinaryOp::parse(word);
        let cast = DType::parse(word);
        Ok(match (count, unary, binary, cast) {
            (1, Some(op), ..) => Expr::unary(op, next()),
            (1, _, _, Some(dtype)) => Expr::cast(dtype, next()),
            (2, _, Some(op), _) => {
                let left = next();
                Expr::binary(op, left, next())
            }
            (3, ..) if word == "select" => {
                let (condition, left) = (next(), next());
                Expr::select(condition, left, next())
            }
            (3, ..) if word == "muladd" => {
                let (a, b) = (next(), next());
                Expr::mul_add(a, b, next())
            }
            (_, None, None, None) if word != "select" && word != "muladd" => return Err(unknown),
            _ => return Err(self.at.error_before(format!("'{word}' does not take {count} operands"))),
        })
    }
}
