//! What a model was called with in this session, as samples.

use kiln_calibrate::Samples;
use kiln_compiler::{Problem, Tensor};

use crate::fault::Result;
use crate::interrupt;
use crate::models::Last;
use crate::session::Session;

/// Calls of a model with arguments of the types that the last one had.
pub(super) struct Calls {
    calls: Vec<Last>,
    /// Whether the last call is none of them: a change is measured on it.
    held_out: bool,
}

impl Calls {
    /// The calls of a model; nothing where it was never called. If there are several the last one is left out.
    pub(super) fn of(session: &mut Session, name: &str) -> Option<Self> {
        let model = session.model(name).ok()?;
        let last = model.last.clone()?;
        let types =
            |call: &Last| -> Vec<_> { call.inputs.iter().map(|(n, t)| (n.clone(), t.ty())).collect() };
        let mut calls: Vec<Last> = model
            .calls()
            .iter()
            .filter(|c| types(c) == types(&last) && c.inputs != last.inputs)
            .cloned()
            .collect();
        let held_out = !calls.is_empty();
        if !held_out {
            calls.push(last);
        }
        Some(Self { calls, held_out })
    }

    /// The same; where it was never called, random tensors.
    pub(super) fn or_random(session: &mut Session, name: &str) -> Result<Self> {
        match Self::of(session, name) {
            Some(calls) => Ok(calls),
            None => Ok(Self { calls: vec![session.inputs(name)?], held_out: false }),
        }
    }

    /// In words.
    pub(super) fn told(&self) -> String {
        match (self.held_out, self.calls.len()) {
            (false, _) => "the last call, which is measured too".to_owned(),
            (true, 1) => "one call, measured on another".to_owned(),
            (true, n) => format!("{n} calls, measured on another"),
        }
    }
}

impl Samples for Calls {
    fn count(&self) -> usize {
        self.calls.len()
    }

    fn sample(&self, i: usize) -> std::result::Result<Vec<(String, Tensor)>, Problem> {
        if interrupt::asked() {
            return Err(Problem::environment("interrupted"));
        }
        Ok(self.calls[i].inputs.clone())
    }

    fn name(&self, i: usize) -> String {
        format!("call {}", i + 1)
    }
}
