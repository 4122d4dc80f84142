//! Reads the text of graphs that [`print`](super::print) writes.

use std::sync::Arc;

use super::{Graph, ValueId};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, Fact, Known, NEWEST_OPSET, NodeProto};
use crate::ops;
use crate::text::{Cursor, Token};
use crate::types::DType;

/// A graph from its text. Errors name line and column.
pub fn parse(text: &str) -> Result<Graph> {
    let mut at = Cursor::new(text)?;
    let graph = graph(&mut at)?;
    at.end()?;
    Ok(graph)
}

fn graph(at: &mut Cursor) -> Result<Graph> {
    at.expect_word("graph")?;
    let mut g = Graph::new(&at.name()?.1);
    at.expect_word("opset")?;
    at.expect("(")?;
    g.opsets = at
        .list(")", |at| {
            let domain = if let Token::Str(domain) = at.peek() { domain.clone() } else { String::new() };
            if matches!(at.peek(), Token::Str(_)) {
                at.next();
                at.expect("=")?;
            }
            Ok((domain, at.integer()?))
        })?
        .into_iter()
        .collect();
    at.expect("{")?;
    while !at.eat("}") {
        if at.eat_word("dim") {
            at.bound(&mut g.bounds)?;
        } else if at.eat_word("count") {
            at.bound(&mut g.counted)?;
        } else if at.eat_word("input") {
            let (name, fact) = typed_name(at)?;
            let fact = fact.ok_or_else(|| at.error_before("an input needs a type"))?;
            g.add_input(&name, fact).map_err(|e| at.error_before(e.message))?;
        } else if at.eat_word("const") {
            let (_, name) = at.name()?;
            at.expect(":")?;
            let ty = at.tensor_type()?;
            at.expect("=")?;
            let tensor = at.tensor(&ty)?;
            g.add_const(&name, tensor).map_err(|e| at.error_before(e.message))?;
        } else if at.eat_word("output") {
            let value = operand(at, &g)?;
            match at.eat_word("as") {
                true => {
                    let name = at.string()?;
                    g.add_output_named(value, &name);
                }
                false => g.add_output(value),
            }
        } else {
            node(at, &mut g)?;
        }
    }
    Ok(g)
}

/// `%name`, perhaps with `: type` and what is known.
fn typed_name(at: &mut Cursor) -> Result<(String, Option<Fact>)> {
    let (_, name) = at.name()?;
    if !at.eat(":") {
        return Ok((name, None));
    }
    let ty = at.tensor_type()?;
    let known = if !at.eat_word("as") {
        None
    } else if at.eat_word("dims") {
        at.expect("[")?;
        Some(Known::Dims(at.list("]", Cursor::dim)?))
    } else {
        let own = if at.eat_word("tensor") { at.tensor_type()? } else { ty.clone() };
        Some(Known::Tensor(at.tensor(&own)?))
    };
    Ok((name, Some(Fact { dtype: ty.dtype, shape: ty.shape, known })))
}

fn operand(at: &mut Cursor, g: &Graph) -> Result<ValueId> {
    let (sigil, name) = at.name()?;
    g.find(&name).ok_or_else(|| at.error_before(format!("value '{sigil}{name}' is not defined above")))
}

fn node(at: &mut Cursor, g: &mut Graph) -> Result<()> {
    let mut outputs = Vec::new();
    while !at.eat("=") {
        if !outputs.is_empty() {
            at.expect(",")?;
        }
        outputs.push(typed_name(at)?);
    }
    let (domain, op) = match (at.next(), at.eat("::")) {
        (Token::Ident(op), false) => (String::new(), op),
        (Token::Ident(domain) | Token::Str(domain), true) => (domain, at.ident()?),
        (other, _) => return Err(at.error_before(format!("an operator expected, found {other}"))),
    };
    let def = ops::find_any(&domain, &op);
    let unknown = at.error_before(format!("operator '{op}' of domain '{domain}' is unknown"));
    let def = def.ok_or(unknown)?;
    let wrong = |at: &Cursor, e: Error| Error { message: at.error_before(&e.message).message, ..e };
    at.expect("(")?;
    let inputs = at.list(")", |at| if at.eat_word("_") { Ok(None) } else { operand(at, g).map(Some) })?;
    let mut attrs = if at.eat("{") { at.list("}", attr)?.into_iter().collect() } else { Attrs::new() };
    let name = match at.peek() {
        Token::Str(_) => at.string()?,
        _ => outputs.first().map(|o| o.0.clone()).unwrap_or_default(),
    };
    let present: Vec<bool> = inputs.iter().map(Option::is_some).collect();
    let mut proto = NodeProto {
        attrs: &mut attrs,
        opset: g.opsets.get(&domain).copied().unwrap_or(NEWEST_OPSET),
        inputs: &present,
        outputs: outputs.len(),
    };
    let op = (def.parse)(&mut proto).map_err(|e| wrong(at, e))?;
    if let Some(attr) = attrs.keys().next() {
        return Err(at.error_before(format!("{} has no attribute '{attr}'", def.name)));
    }
    let names: Vec<String> = outputs.iter().map(|o| o.0.clone()).collect();
    let id = g.add_node(&name, Arc::from(op), inputs, &names).map_err(|e| wrong(at, e))?;
    for (value, (_, fact)) in g.node(id).outputs.clone().into_iter().zip(outputs) {
        if let Some(fact) = fact {
            g.set_fact(value, fact);
        }
    }
    Ok(())
}

fn attr(at: &mut Cursor) -> Result<(String, Attr)> {
    let name = match at.next() {
        Token::Ident(name) | Token::Str(name) => name,
        other => return Err(at.error_before(format!("an attribute expected, found {other}"))),
    };
    at.expect("=")?;
    let value = match at.peek().clone() {
        Token::Str(text) => {
            at.next();
            Attr::Str(text)
        }
        Token::Ident(word) => match &word[..] {
            "graph" => Attr::Graph(Arc::new(at.nested(graph)?)),
            "tensor" => {
                at.next();
                let ty = at.tensor_type()?;
                Attr::Tensor(at.tensor(&ty)?)
            }
            "ints" | "floats" | "strs" => {
                at.next();
                match &word[..] {
                    "ints" => Attr::Ints(at.expect("[").and_then(|()| at.list("]", Cursor::integer))?),
                    "floats" => Attr::Floats(at.expect("[").and_then(|()| at.list("]", float))?),
                    _ => Attr::Strs(at.expect("[").and_then(|()| at.list("]", Cursor::string))?),
                }
            }
            _ => number(at)?,
        },
        Token::Punct("[") => list(at)?,
        _ => number(at)?,
    };
    Ok((name, value))
}

fn float(at: &mut Cursor) -> Result<f32> {
    Ok(f32::from_bits(at.literal(DType::F32)? as u32))
}

/// An integer, or a float when it has a point, an exponent or a float's special name.
fn number(at: &mut Cursor) -> Result<Attr> {
    let raw = at.raw_literal()?;
    let bits = raw.bits(if raw.is_float() { DType::F32 } else { DType::I64 });
    let bits = bits.ok_or_else(|| at.error_before("this is no attribute value"))?;
    Ok(if raw.is_float() { Attr::Float(f32::from_bits(bits as u32)) } else { Attr::Int(bits as i64) })
}

/// A list whose kind its elements tell.
fn list(at: &mut Cursor) -> Result<Attr> {
    at.expect("[")?;
    match at.peek() {
        Token::Str(_) => Ok(Attr::Strs(at.list("]", Cursor::string)?)),
        Token::Punct("]") => {
            Err(at.error("an empty list needs its kind: 'ints []', 'floats []' or 'strs []'"))
        }
        _ => {
            let numbers = at.list("]", number)?;
            let ints = numbers.iter().map(|n| if let Attr::Int(v) = n { Some(*v) } else { None }).collect();
            let float = |n: &Attr| match n {
                Attr::Int(v) => *v as f32,
                Attr::Float(v) => *v,
                _ => 0.0,
            };
            Ok(match ints {
                Some(ints) => Attr::Ints(ints),
                None => Attr::Floats(numbers.iter().map(float).collect()),
            })
        }
    }
}
