//! What commands share that make a model of a model and data: `quantize` and `prune`.

use std::path::{Path, PathBuf};

use kiln_calibrate::{Machine, Samples, Watch};
use kiln_compiler::internals::emit::staging::Staging;
use kiln_onnx::Document;
use kiln_tools::progress::Progress;

use super::args::{self, CpuArgs, LimitArgs, ThreadArgs};
use super::calibration::{Data, ImageArgs};
use super::failure::Failure;
use super::labels;
use super::output::Ui;
use super::source::{self, Source};

/// What labels measure.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Metric {
    /// How often the largest of the first result is where the label says.
    Top1,
}

/// Shows how far the work is.
pub(super) struct Bar(Progress);

impl Bar {
    pub(super) fn new(ui: &Ui) -> Self {
        Self(ui.progress(1))
    }
}

impl Watch for Bar {
    fn at(&self, what: &str, done: usize, of: usize) {
        self.0.at(what, done as u64, of as u64);
    }
}

/// How models run while they are measured.
pub(super) fn machine(cpu: &CpuArgs, threads: &ThreadArgs, limits: &LimitArgs) -> Result<Machine, Failure> {
    // The words of the command line come before the model.
    args::host(cpu)?;
    Ok(Machine {
        cpu: cpu.cpu.first().cloned().unwrap_or_else(|| "native".to_owned()),
        features: cpu.features.clone(),
        threads: threads.count(),
        limits: limits.limits(),
    })
}

/// The file to write.
pub(super) struct Target<'a> {
    path: &'a Path,
    name: String,
}

impl<'a> Target<'a> {
    pub(super) fn of(path: &'a Path) -> Result<Self, Failure> {
        let name = path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| Failure::usage(format!("{} names no file", path.display())))?;
        Ok(Self { path, name })
    }

    /// Writes the file, all of it or nothing.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut staging = Staging::new(self.path.parent().unwrap_or(Path::new("")))?;
        staging.write(&self.name, bytes)?;
        staging.commit()?;
        Ok(())
    }
}

/// Reads the model that another one is made of.
pub(super) fn read(model: &Path, output: &PathBuf, limits: &LimitArgs) -> Result<Document, Failure> {
    let limits = limits.limits();
    let source = Source::open(model, &limits)?;
    source::keep_inputs([model], std::slice::from_ref(output))?;
    source.document(&limits)
}

/// Opens data, and reads their labels.
pub(super) fn data(
    path: &Path,
    document: &Document,
    images: &ImageArgs,
    labels: Option<&Path>,
) -> Result<(Data, Option<Vec<i64>>), Failure> {
    let data = Data::open(path, &document.inputs(), images)?;
    let labels = labels.map(|file| labels::read(file, data.count(), data.files())).transpose()?;
    Ok((data, labels))
}
