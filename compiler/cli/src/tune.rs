//! `--tune` and `--tune-cache`: schedules by measurement.

use std::path::PathBuf;

use kiln_compiler::internals::api::{Loaded, Planned};
use kiln_compiler::internals::tune::cache::{self, Cache};
use kiln_compiler::internals::tune::{self, Watch};
use kiln_ir::error::Printable;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Ui;
use kiln_tools::progress::Progress;

/// Whether to measure, and where the measurements are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TuneArgs {
    /// Measure candidates of each distinct kernel on this machine, unless the cache has them, and use the fastest.
    #[arg(long)]
    tune: bool,
    /// The file that measurements are kept in; without --tune they are used and none are made. Default: kiln/tune.json
    /// in the user's cache folder, for --tune only.
    #[arg(long, value_name = "FILE")]
    tune_cache: Option<PathBuf>,
}

impl TuneArgs {
    fn open(&self, ui: &Ui, model: &Loaded) -> Result<Option<Cache>, Failure> {
        if !self.tune && self.tune_cache.is_none() {
            return Ok(None);
        }
        if model.has_variants() {
            return Err(Failure::usage(
                "--tune and --tune-cache are for one --cpu, such as native, not for a list",
            ));
        }
        let path = self.tune_cache.clone().or_else(cache::default_path).ok_or_else(|| {
            Failure::usage("--tune finds no cache folder; name a file with --tune-cache FILE")
        })?;
        let (cache, problem) = Cache::open(&path, &model.options.target);
        if let Some(problem) = problem {
            let (path, what) =
                (path.display().to_string(), if self.tune { "written anew" } else { "ignored" });
            ui.warn(format_args!(
                "{} holds no measurements ({}) and is {what}",
                Printable(&path),
                Printable(&problem)
            ));
        }
        Ok(Some(cache))
    }

    /// Gives the model what is in the cache, after measuring where that is asked for.
    pub(super) fn prepare(&self, ui: &Ui, model: &mut Loaded) -> Result<(), Failure> {
        if self.tune {
            let planned = self.plan(ui, model.clone())?.0;
            model.options.choices = planned.options.choices;
        } else if let Some(cache) = self.open(ui, model)? {
            model.options.choices = cache.choices();
        }
        Ok(())
    }

    /// Plans the model, measuring first where that is asked for. The second part is for `--json`.
    pub(super) fn plan(&self, ui: &Ui, mut model: Loaded) -> Result<(Planned, Option<Value>), Failure> {
        if !self.tune {
            self.prepare(ui, &mut model)?;
            return Ok((model.plan()?, None));
        }
        let Some(mut cache) = self.open(ui, &model)? else { return Ok((model.plan()?, None)) };
        if let Err(e) = kiln_compiler::internals::emit::jit::check_host(&model.options.target) {
            return Err(Failure::usage(format!("--tune measures on this machine: {}", e.message)));
        }
        let mut bar = Bar { progress: ui.progress(1) };
        let (planned, outcome) = tune::plan(model, &mut cache, &mut bar)?;
        drop(bar);
        let path = cache.path().display().to_string();
        if let Err(e) = cache.save() {
            ui.warn(format_args!("{}; the next run measures again", Printable(&e.to_string())));
        }
        ui.note(format_args!(
            "tuned: {} distinct kernels, {} measured now, {} other than by the cost model",
            outcome.subjects, outcome.measured, outcome.changed,
        ));
        let json = json!({
            "cache": path,
            "kernels": outcome.subjects,
            "measured": outcome.measured,
            "changed": outcome.changed,
        });
        Ok((planned, Some(json)))
    }
}

/// The bar on the terminal.
struct Bar {
    progress: Progress,
}

impl Watch for Bar {
    fn progress(&mut self, what: &str, done: u64, of: u64) {
        self.progress.at(what, done, of);
    }
}
