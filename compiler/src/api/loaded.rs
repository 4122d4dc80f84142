//! A model that has been read, on its way to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use kiln_ir::graph::Graph;
use kiln_ir::{Dim, Fact, Tensor};
use kiln_targets::Target;

use super::artifact::Planned;
use crate::error::Error;
use crate::passes::bind::{self, DimBinding, DimValue};
use crate::pipeline::{self, Observer, Options};

/// A model that has been read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The prefix of every symbol.
    pub name: String,
    /// The model.
    pub graph: Graph,
    /// What to compile for, and how. Of several targets this has the least demanding one.
    pub options: Options,
    /// The others.
    more_targets: Vec<Target>,
    /// The model's file.
    source: Option<PathBuf>,
    import_time: Duration,
    keep_text: bool,
}

impl Loaded {
    pub(super) fn new(
        name: String,
        graph: Graph,
        options: Options,
        more_targets: Vec<Target>,
        source: Option<PathBuf>,
        import_time: Duration,
    ) -> Self {
        Self { name, graph, options, more_targets, source, import_time, keep_text: false }
    }

    /// Keeps the text of the optimised graph, for [`Emit::Ir`] and [`Emit::Dot`].
    pub fn keep_text(&mut self) {
        self.keep_text = true;
    }

    /// Symbolic dimensions with neither a value nor bounds.
    pub fn unbound(&self) -> Vec<String> {
        let bound: BTreeSet<&str> = self.options.dims.iter().map(|d| &*d.name).collect();
        bind::symbols(&self.graph)
            .iter()
            .filter(|s| !self.graph.bounds.contains_key(*s) && !bound.contains(&***s))
            .map(|s| s.to_string())
            .collect()
    }

    /// Gives a symbolic dimension its value.
    pub fn bind(&mut self, name: &str, value: i64) {
        self.options.dims.push(DimBinding { name: name.to_owned(), value: DimValue::Fixed(value) });
    }

    /// Symbolic dimensions without a value take the extents of tensors for arguments.
    ///
    /// # Errors
    ///
    /// *Invalid* where a tensor has another number of axes than the argument, and where two give a dimension different
    /// values.
    pub fn bind_extents<'t>(&mut self, given: &dyn Fn(&str) -> Option<&'t Tensor>) -> Result<(), Error> {
        let mut found: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for (name, fact) in self.inputs() {
            let (Some(tensor), Some(fact)) = (given(name), fact) else { continue };
            if fact.shape.rank() != tensor.shape.len() {
                let message = format!("input '{name}' must be {}, {} is given", fact.ty(), tensor.ty());
                return Err(kiln_ir::Error::invalid(message).into());
            }
            for (dim, &extent) in fact.shape.iter().zip(&tensor.shape) {
                let [symbol] = &dim.symbols()[..] else { continue };
                if *dim != Dim::symbol(symbol) {
                    continue;
                }
                let extent = extent as i64;
                let (first, from) =
                    found.entry(symbol.to_string()).or_insert_with(|| (extent, name.to_owned()));
                if *first != extent {
                    let message = format!(
                        "dimension '{symbol}' is {first} in input '{from}' and {extent} in input '{name}'"
                    );
                    return Err(kiln_ir::Error::invalid(message).into());
                }
            }
        }
        let unbound = self.unbound();
        for (symbol, (extent, _)) in found.into_iter().filter(|(s, _)| unbound.contains(s)) {
            self.bind(&symbol, extent);
        }
        Ok(())
    }

    /// Gives an input its value for good: it is a constant of the model then, and no input any more.
    pub fn fix_input(&mut self, name: &str, tensor: Tensor) -> Result<(), Error> {
        let id = self.graph.find(name).filter(|id| self.graph.inputs().contains(id));
        let id = id.ok_or_else(|| kiln_ir::Error::invalid(format!("the model has no input '{name}'")))?;
        let before = bind::symbols(&self.graph);
        self.graph.fix_input(id, tensor)?;
        // A dimension of this input alone is gone, and with it what was said of it.
        let after = bind::symbols(&self.graph);
        let gone = |name: &str| before.iter().any(|s| **s == *name) && !after.iter().any(|s| **s == *name);
        self.options.dims.retain(|d| !gone(&d.name));
        Ok(())
    }

    /// Whether the artefact is for several processors.
    pub fn has_variants(&self) -> bool {
        !self.more_targets.is_empty()
    }

    /// Names of the arguments and what is known of them.
    pub fn inputs(&self) -> Vec<(&str, Option<&Fact>)> {
        self.graph
            .inputs()
            .iter()
            .map(|id| self.graph.value(*id))
            .map(|value| (&*value.name, value.fact.as_ref()))
            .collect()
    }

    /// Runs the passes.
    pub fn plan(self) -> Result<Planned, Error> {
        self.plan_observed(&mut ())
    }

    /// Runs the passes under the eyes of an observer.
    pub fn plan_observed(self, observer: &mut dyn Observer) -> Result<Planned, Error> {
        let unbound = self.unbound();
        if !unbound.is_empty() {
            return Err(Error::UnboundDimensions(unbound));
        }
        let Self { name, graph, options, more_targets, source, import_time, keep_text } = self;
        let last = keep_text.then_some(if options.opt >= 2 { "rules" } else { "decompose" });
        let (graph_text, dot) = (String::new(), String::new());
        let mut timed =
            Timed { inner: observer, times: vec![("import", import_time)], last, graph_text, dot };
        let targets: Vec<Target> = [&options.target].into_iter().chain(&more_targets).cloned().collect();
        let mut plans = pipeline::run_for(graph, &options, &targets, &mut timed)?.into_iter();
        let plan = plans.next().ok_or_else(|| kiln_ir::Error::internal("no plan"))?;
        let Timed { times, graph_text, dot, .. } = timed;
        let more = more_targets.into_iter().zip(plans).collect();
        Ok(Planned { name, plan, options, more, times, source, graph_text, dot })
    }
}

/// Keeps the times of passes and lets another observer see everything.
struct Timed<'a> {
    inner: &'a mut dyn Observer,
    times: Vec<(&'static str, Duration)>,
    /// The pass after which the graph's text is kept.
    last: Option<&'static str>,
    graph_text: String,
    dot: String,
}

impl Observer for Timed<'_> {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        if self.last == Some(pass) {
            self.graph_text = graph.summary().to_string();
            self.dot = kiln_ir::graph::dot(graph);
        }
        self.inner.graph(pass, graph);
    }

    fn program(&mut self, pass: &'static str, program: &kiln_ir::kernel::Program) {
        self.inner.program(pass, program);
    }

    fn time(&mut self, pass: &'static str, time: Duration) {
        if pass != "import" {
            self.times.push((pass, time));
        }
        self.inner.time(pass, time);
    }

    fn proceed(&mut self, pass: &'static str) -> bool {
        self.inner.proceed(pass)
    }
}
