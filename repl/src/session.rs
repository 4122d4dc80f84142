//! The state of a session: variables, models, settings, and what was typed.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_compiler::internals::api::Loaded;
use kiln_compiler::internals::passes::bind::DimValue;
use kiln_compiler::{Model as Compiled, Tensor};
use kiln_tools::random;

use crate::cache::Cache;
use crate::engine::{self, Engine};
use crate::expression::constant::Scope;
use crate::expression::suggest;
use crate::fault::{Fault, Result};
use crate::models::{Last, Model, Source};
use crate::out::Out;
use crate::settings::Settings;

/// The state of a session.
pub(crate) struct Session {
    /// Tensors by name.
    pub(crate) variables: BTreeMap<String, Tensor>,
    /// Models by name.
    pub(crate) models: BTreeMap<String, Model>,
    /// The model that was spoken of last: what nodes without a model belong to.
    pub(crate) current: Option<String>,
    /// What can be set.
    pub(crate) settings: Settings,
    /// Compiles and runs.
    pub(crate) engine: Engine,
    /// Where answers go.
    pub(crate) out: Out,
    /// What was typed and changed something.
    pub(crate) log: Vec<String>,
    /// Models that were changed, the last one last.
    pub(crate) changes: Vec<String>,
    /// The lesson of the tutorial that was shown last.
    pub(crate) lesson: usize,
    /// Whether the session is to end.
    pub(crate) over: bool,
}

impl Session {
    /// An empty session.
    pub(crate) fn new(out: Out, cache: Option<Cache>) -> Self {
        Self {
            variables: BTreeMap::new(),
            models: BTreeMap::new(),
            current: None,
            settings: Settings::default(),
            engine: Engine::new(cache),
            out,
            log: Vec::new(),
            changes: Vec::new(),
            lesson: 0,
            over: false,
        }
    }

    /// A model by name; it is the one that is spoken of from here on.
    pub(crate) fn model(&mut self, name: &str) -> Result<&mut Model> {
        if !self.models.contains_key(name) {
            let near = suggest::hint(name, self.models.keys().map(String::as_str));
            let hint = match (near.is_empty(), self.models.is_empty()) {
                (false, _) => near,
                (true, true) => ":load PATH as NAME loads one".to_owned(),
                (true, false) => {
                    format!("there are {}", self.models.keys().cloned().collect::<Vec<_>>().join(", "))
                }
            };
            return Err(Fault::new(format!("there is no model '{name}'")).hint(hint));
        }
        self.current = Some(name.to_owned());
        self.models.get_mut(name).ok_or_else(|| Fault::new(format!("there is no model '{name}'")))
    }

    /// The model and the node or tensor that `MODEL.NAME` or `NAME` speaks of: without a model, of the one that was spoken of
    /// last.
    pub(crate) fn within(&self, text: &str) -> Result<(String, String)> {
        for (i, _) in text.match_indices('.') {
            if self.models.contains_key(&text[..i]) {
                return Ok((text[..i].to_owned(), text[i + 1..].to_owned()));
            }
        }
        let one = || self.models.keys().next().filter(|_| self.models.len() == 1).cloned();
        let model = self.current.clone().filter(|m| self.models.contains_key(m)).or_else(one);
        let hint = "write MODEL.NAME, or :load a model";
        let model = model.ok_or_else(|| Fault::new(format!("'{text}' belongs to no model")).hint(hint))?;
        Ok((model, text.to_owned()))
    }

    /// A name for a new model or tensor: no word that means something else.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let letters = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let starts = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        if !letters || !starts {
            return Err(Fault::new(format!(
                "'{name}' is no name: letters, digits and underscores, no digit first"
            )));
        }
        let words = ["true", "false", "nan", "inf", "none", "and", "or", "not", "True", "False", "None"];
        if words.contains(&name) {
            return Err(Fault::new(format!("'{name}' means something else")));
        }
        Ok(())
    }

    /// Reads a model with the settings and the dimensions of a call.
    pub(crate) fn load(&mut self, name: &str, last: Option<&Last>) -> Result<Loaded> {
        let settings = self.settings_for(last);
        let source = self.model(name)?.source.clone();
        let mut loaded = self.engine.load(&source, &settings)?;
        if let Some(last) = last {
            // A call has sizes.
            loaded.options.dims.retain(|d| matches!(d.value, DimValue::Fixed(_)));
            loaded.bind_extents(&|input| last.inputs.iter().find(|(n, _)| n == input).map(|(_, t)| t))?;
        }
        let names = loaded.inputs().into_iter().map(|(name, _)| name.to_owned()).collect();
        self.model(name)?.arguments = Some(names);
        Ok(loaded)
    }

    /// The settings with the dimensions of a call.
    pub(crate) fn settings_for(&self, last: Option<&Last>) -> Settings {
        last.map_or_else(|| self.settings.clone(), |last| engine::with_dims(&self.settings, &last.dims))
    }

    /// A compiled model for the shapes of a call; without one, for the shapes that it declares.
    pub(crate) fn compiled(&mut self, name: &str, last: Option<&Last>) -> Result<Arc<Compiled>> {
        let settings = self.settings_for(last);
        let cache = self.engine.cache().cloned();
        let model = self.model(name)?;
        let on_disk = !matches!(model.source, Source::Graph(_));
        let identity = model.identity(cache.as_ref())?;
        let types = last.map_or_else(String::new, |last| engine::types(last.inputs.iter().map(|(_, t)| t)));
        let key = self.engine.key(&identity, &settings, &types)?;
        if let Some(known) = self.engine.known(&key, &settings, on_disk)? {
            return Ok(known);
        }
        let loaded = self.load(name, last)?;
        let unbound = loaded.unbound();
        if !unbound.is_empty() {
            if last.is_none() {
                self.model(name)?.open_with = Some(settings.dims.clone());
            }
            let message = format!("'{name}' leaves {} open", unbound.join(", "));
            return Err(Fault::new(message).hint(format!(
                ":set dim.{} N gives it a value, :set dim.{} 1..N keeps it open",
                unbound[0], unbound[0]
            )));
        }
        self.engine.compile(&key, loaded, &settings, on_disk)
    }

    /// What a model was last called with, or random tensors for all of its arguments.
    pub(crate) fn inputs(&mut self, name: &str) -> Result<Last> {
        if let Some(last) = &self.model(name)?.last {
            return Ok(last.clone());
        }
        let seed = self.settings.seed;
        // Without a call everything must be said already; what is open is 1, and a note says so.
        let mut loaded = self.load(name, None)?;
        let mut dims = BTreeMap::new();
        for open in loaded.unbound() {
            self.out.line(format_args!("note: dimension '{open}' is not set: using 1; :set dim.{open} N"));
            loaded.bind(&open, 1);
            dims.insert(open, 1);
        }
        let symbols = loaded.options.dims.iter().filter_map(|d| match d.value {
            DimValue::Fixed(n) => Some((d.name.as_str().into(), n)),
            DimValue::Open(_) => self.settings.size(&d.name).map(|n| (d.name.as_str().into(), n)),
        });
        let symbols: BTreeMap<std::sync::Arc<str>, i64> = symbols.collect();
        let mut inputs = Vec::new();
        for (position, (input, fact)) in loaded.inputs().into_iter().enumerate() {
            let fact = fact.ok_or_else(|| Fault::new(format!("input '{input}' has no type")))?;
            let shape: Option<Vec<usize>> =
                (fact.shape.iter()).map(|d| d.eval(&symbols).and_then(|n| usize::try_from(n).ok())).collect();
            let open = || Fault::new(format!("input '{input}' is {}: give it a tensor", fact.ty()));
            let tensor = random::tensor(fact.dtype, &shape.ok_or_else(open)?, seed, position)?;
            inputs.push((input.to_owned(), tensor));
        }
        if self.out.terminal {
            self.out.line(format_args!(
                "note: '{name}' has not been called: its inputs are random, with seed {seed}"
            ));
        }
        Ok(Last { inputs, dims })
    }
}

impl Scope for Session {
    fn variable(&self, name: &str) -> Option<&Tensor> {
        self.variables.get(name)
    }

    fn leaf(&self, _: usize) -> Option<&Tensor> {
        None
    }

    fn names(&self) -> Vec<&str> {
        self.variables.keys().map(String::as_str).collect()
    }
}
