//! A loop as a part of an operator that is made of others.

use std::sync::Arc;

use super::composed::{Composer, Value};
use super::loop_::Loop;
use crate::error::{Error, Result};
use crate::op::Fact;
use crate::types::{DType, Shape};

/// What a turn of [`Composer::repeat`] is made of.
pub(super) struct Turn<'a> {
    /// Its number, from 0.
    pub(super) number: Value,
    pub(super) states: &'a [Value],
    /// Values from outside.
    pub(super) captured: &'a [Value],
}

/// What a turn makes.
pub(super) struct Made {
    /// The states of the next turn, of the same types.
    pub(super) states: Vec<Value>,
    /// Elements of results along a new first axis.
    pub(super) scanned: Vec<Value>,
}

impl Composer<'_> {
    /// So many turns (one i64): the states behind the last one, and what all turns made, put together.
    pub(super) fn repeat(
        &mut self,
        turns: Value,
        states: &[Value],
        captured: &[Value],
        turn: &mut dyn FnMut(&mut Composer<'_>, &Turn<'_>) -> Result<Made>,
    ) -> Result<Vec<Value>> {
        let mut facts = [DType::I64, DType::Bool].map(|dtype| Fact::new(dtype, Shape::default())).to_vec();
        facts.extend(states.iter().map(|v| Fact { known: None, ..self.fact(*v).clone() }));
        facts.extend(captured.iter().map(|v| self.fact(*v).clone()));
        let mut body = Composer::of_body("turn", &facts)?;
        let arguments = body.arguments();
        let [number, on, rest @ ..] = &arguments[..] else {
            return Err(Error::internal("a body without arguments"));
        };
        let (before, outer) = rest.split_at(states.len());
        let made = turn(&mut body, &Turn { number: *number, states: before, captured: outer })?;
        if made.states.len() != states.len() {
            return Err(Error::internal("a turn that has other states"));
        }
        let results: Vec<Value> = [*on].into_iter().chain(made.states).chain(made.scanned).collect();
        let body = body.finish_body(&results)?;
        let each = Loop::new(Arc::new(body), captured.len(), states.len(), results.len() - 1)?;
        let inputs: Vec<Option<Value>> =
            [Some(turns), None].into_iter().chain(states.iter().chain(captured).map(|v| Some(*v))).collect();
        self.node(Arc::new(each), &inputs)
    }
}
