//! Compiles and runs, and can be interrupted in both. What was compiled once is not compiled again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kiln_compiler::internals::api::{Loaded, Planned};
use kiln_compiler::internals::codegen::KernelStore;
use kiln_compiler::internals::digest;
use kiln_compiler::internals::passes::bind::{DimBinding, DimValue};
use kiln_compiler::internals::pipeline::{Observer, PASSES};
use kiln_compiler::{Model, Session, Tensor};
use kiln_tools::progress::Progress;

use crate::cache::{self, Cache};
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::models::Source;
use crate::settings::Settings;

/// Compiled models that are kept in memory; the oldest goes first.
const MOST_KEPT: usize = 64;
/// Bytes of all that are kept, unless one alone has more.
const MOST_BYTES: usize = 4 << 30;

/// A wait that is felt shows a bar.
const PATIENCE: Duration = Duration::from_millis(150);

/// Compiles and runs.
pub(crate) struct Engine {
    store: KernelStore,
    kept: HashMap<String, Arc<Model>>,
    /// Keys, the oldest first.
    order: Vec<String>,
    cache: Option<Cache>,
    build: String,
    /// Whether bars are shown.
    pub(crate) bars: bool,
    /// Models that were compiled, and those that came from the folder.
    pub(crate) compiled: usize,
    /// See [`Engine::compiled`].
    pub(crate) found: usize,
}

impl Engine {
    /// Has compiled nothing yet; `cache` is a folder that keeps what it will.
    pub(crate) fn new(cache: Option<Cache>) -> Self {
        let build = cache::build();
        Self {
            store: cache.as_ref().map_or_else(KernelStore::default, |c| c.kernels(&build)),
            kept: HashMap::new(),
            order: Vec::new(),
            cache,
            build,
            bars: false,
            compiled: 0,
            found: 0,
        }
    }

    /// The folder that keeps compiled models.
    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Reads a model and gives its dimensions the values that are set.
    pub(crate) fn load(&self, source: &Source, settings: &Settings) -> Result<Loaded> {
        let mut loaded = source.compiler()?.cpu(&settings.cpu).opt(settings.opt).load()?;
        let unbound = loaded.unbound();
        for (name, value) in settings.dims.iter().filter(|(name, _)| unbound.contains(name)) {
            loaded.options.dims.push(DimBinding { name: name.clone(), value: *value });
        }
        Ok(loaded)
    }

    /// The key of a model that tells itself by `identity`, for arguments of these types.
    pub(crate) fn key(&self, identity: &str, settings: &Settings, types: &str) -> Result<String> {
        let target = settings.target()?;
        let (dims, opt, threads) = (&settings.dims, settings.opt, settings.threads);
        // Threads are no part of the code, and one of the model in memory.
        let text = format!("{identity} {target:?} opt {opt} {dims:?} [{types}] {}", self.build);
        Ok(format!("{} {threads}", digest::of_text(&text)))
    }

    /// A compiled model that is kept in memory or, if `on_disk`, in the folder.
    pub(crate) fn known(
        &mut self,
        key: &str,
        settings: &Settings,
        on_disk: bool,
    ) -> Result<Option<Arc<Model>>> {
        if let Some(model) = self.kept.get(key) {
            return Ok(Some(Arc::clone(model)));
        }
        let content = key.split(' ').next().unwrap_or(key);
        let Some(image) = self.cache.as_ref().filter(|_| on_disk).and_then(|c| c.get(content)) else {
            return Ok(None);
        };
        self.found += 1;
        let model = Model::from_image(image, &settings.target()?, settings.threads)?;
        Ok(Some(self.keep(key, model)))
    }

    /// Compiles a model that has been read.
    pub(crate) fn compile(
        &mut self,
        key: &str,
        loaded: Loaded,
        settings: &Settings,
        on_disk: bool,
    ) -> Result<Arc<Model>> {
        let bar = Progress::after(PATIENCE, PASSES.len() as u64 + 2, self.bars);
        let target = loaded.options.target.clone();
        let planned = planned_with(loaded, &bar)?;
        bar.step("code");
        let image = planned.image(&self.store, interrupt::flag());
        let image = image.map_err(|e| if interrupt::asked() { Fault::interrupted() } else { e.into() })?;
        self.compiled += 1;
        let content = key.split(' ').next().unwrap_or(key);
        if let Some(cache) = self.cache.as_ref().filter(|_| on_disk) {
            // A folder that takes nothing is no reason to stop.
            let _ = cache.put(content, &image);
        }
        let model = Model::from_image(image, &target, settings.threads)?;
        Ok(self.keep(key, model))
    }

    fn keep(&mut self, key: &str, model: Model) -> Arc<Model> {
        let model = Arc::new(model);
        self.kept.insert(key.to_owned(), Arc::clone(&model));
        self.order.push(key.to_owned());
        let bytes =
            |kept: &HashMap<String, Arc<Model>>| kept.values().map(|m| m.weights_bytes()).sum::<usize>();
        while self.order.len() > MOST_KEPT || self.order.len() > 1 && bytes(&self.kept) > MOST_BYTES {
            let oldest = self.order.remove(0);
            self.kept.remove(&oldest);
        }
        model
    }

    /// Compiles a plan for measuring its kernels one by one; it is not kept.
    pub(crate) fn alone(&self, planned: Planned) -> Result<Model> {
        let target = planned.options.target.clone();
        let image = planned.image(&self.store, interrupt::flag());
        let image = image.map_err(|e| if interrupt::asked() { Fault::interrupted() } else { e.into() })?;
        Ok(Model::from_image(image, &target, 1)?)
    }

    /// The plan of a model that has been read.
    pub(crate) fn plan(&self, loaded: Loaded) -> Result<Planned> {
        planned_with(loaded, &Progress::after(PATIENCE, PASSES.len() as u64 + 1, self.bars))
    }
}

fn planned_with(loaded: Loaded, bar: &Progress) -> Result<Planned> {
    let planned = loaded.plan_observed(&mut Watch(bar));
    planned.map_err(|e| if interrupt::asked() { Fault::interrupted() } else { e.into() })
}

/// Moves a bar, and looks after every pass whether to go on.
struct Watch<'b>(&'b Progress);

impl Observer for Watch<'_> {
    fn time(&mut self, pass: &'static str, _: Duration) {
        self.0.step(pass);
        self.0.done();
    }

    fn proceed(&mut self, _: &'static str) -> bool {
        !interrupt::asked()
    }
}

/// Runs a model once on tensors in the order of its arguments.
pub(crate) fn run(model: &Model, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    model.run_unless(inputs, interrupt::flag())?.ok_or_else(Fault::interrupted)
}

/// Runs a session once more.
pub(crate) fn step(session: &mut Session<'_>) -> Result<()> {
    if session.run_unless(interrupt::flag())? { Ok(()) } else { Err(Fault::interrupted()) }
}

/// The types of tensors, for keys.
pub(crate) fn types<'t>(tensors: impl IntoIterator<Item = &'t Tensor>) -> String {
    tensors.into_iter().map(|t| t.ty().to_string()).collect::<Vec<_>>().join(", ")
}

/// Settings with further dimensions.
pub(crate) fn with_dims(settings: &Settings, dims: &BTreeMap<String, i64>) -> Settings {
    let mut settings = settings.clone();
    settings.dims.extend(dims.iter().map(|(name, value)| (name.clone(), DimValue::Fixed(*value))));
    settings
}
