//! A planned model becomes files.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;
use serde_json::Value;
use target_lexicon::Triple;

use super::artifact::{Artifact, Planned};
use super::emits::Emit;
use crate::codegen::listing;
use crate::digest;
use crate::emit::header::{self, Built, cpp};
use crate::emit::object::{ObjectFile, ObjectOptions};
use crate::emit::staging::{self, Staging};
use crate::emit::{archive, boards, c, cmake, hash, html, object, pkgconfig, report, rust, shared};
use crate::error::Error;
use crate::variant::Variant;

impl Planned {
    /// Writes files, all of them or none. A report of another artefact of that name goes, since it would seem to be
    /// this one's.
    pub fn write(mut self, folder: &Path, emits: &[Emit], object: &ObjectOptions) -> Result<Artifact, Error> {
        let emits = &*Emit::complete(emits);
        let variants = self.variants();
        let hash = hash::of(&self.name, &variants, &self.options);
        let hash = if object.weights_file { digest::of_text(&format!("{hash} weights file")) } else { hash };
        let mut staging = Staging::new(folder)?;
        let triple = &self.options.target.triple.clone();
        let mut files: Vec<String> = emits.iter().flat_map(|e| e.files(&self.name, triple)).collect();
        let weights = object.weights_file.then(|| weights_file(&self.name));
        files.extend(weights.clone());
        if object.weights_file {
            Emit::takes_weights_file(emits)?;
        }
        if let Some(place) = files.iter().map(|f| staging.place(f)).find(|p| self.is_source(p)) {
            let text = "it is the model that is compiled: choose another name or folder";
            return Err(staging::failed(&place)(io::Error::new(io::ErrorKind::AlreadyExists, text)));
        }
        let old_report = Emit::Report.file(&self.name, triple);
        if !emits.contains(&Emit::Report) && report::is_of_another(&staging.place(&old_report), &hash) {
            staging.remove(&old_report);
        }
        // All that reads weights comes before the object, which takes them out of the plans.
        let facts = report::Facts { name: &self.name, hash: &hash, files: &files };
        let is_told = |emit: &Emit| matches!(emit, Emit::Report | Emit::Html);
        let mut report = emits.iter().any(is_told).then(|| report::build(&variants, &facts));
        for emit in emits {
            let text = match emit {
                Emit::Ir => self.graph_text.clone(),
                Emit::Dot => self.dot.clone(),
                Emit::Plan => each(&variants, |v| Ok(v.plan.to_string()))?,
                Emit::Clif => each(&variants, |v| listing::clif(v.plan, v.target))?,
                Emit::Asm => each(&variants, |v| listing::asm(v.plan, v.target))?,
                _ => continue,
            };
            staging.write(&emit.file(&self.name, triple), text)?;
        }
        drop(variants);
        if let Some(file) = &weights {
            let mut plans: Vec<&mut Plan> = vec![&mut self.plan];
            plans.extend(self.more.iter_mut().map(|(_, plan)| plan));
            let mut taken: Vec<Plan> = plans.iter_mut().map(|plan| std::mem::take(*plan)).collect();
            let data = object::take_file(&mut taken);
            plans.into_iter().zip(taken).for_each(|(plan, own)| *plan = own);
            let failed = staging::failed(&staging.place(file));
            let out = File::create(staging.file(file)).map_err(&failed)?;
            data?.write(out).map_err(&failed)?;
        }
        let made = match self.options.target.text {
            true => self.write_c(&mut staging, emits, object, &hash)?,
            false => self.write_code(&mut staging, emits, object, &hash)?,
        };
        let Made { times, code_bytes, kernel_code_bytes, stack, name } = made;
        if let Some(report) = &mut report {
            if !kernel_code_bytes.is_empty() {
                report::add_code(report, code_bytes, &kernel_code_bytes);
                report::add_stack(report, stack.0, &stack.1);
            }
            write_report(&mut staging, report, emits, (&name, triple))?;
        }
        let times = sums(&times);
        let files = files.iter().map(|file| staging.place(file)).collect();
        staging.commit()?;
        Ok(Artifact { files, hash, times, code_bytes, stack_bytes: stack.0, kernel_code_bytes })
    }

    /// The model as C, by itself and in folders.
    fn write_c(
        self,
        staging: &mut Staging,
        emits: &[Emit],
        object: &ObjectOptions,
        hash: &str,
    ) -> Result<Made, Error> {
        let (name, variants) = (&*self.name, self.variants());
        let header = header::render(name, &variants, hash, None)?;
        let options = c::Options { weights_section: object.weights_section.clone() };
        let is_c = emits.iter().any(|emit| emit.is_of_c());
        let source =
            if is_c { c::render(&self.plan, &self.options.target, name, &options)? } else { String::new() };
        let parts = boards::Parts { name, header: &header, source: &source, plan: &self.plan };
        for emit in emits {
            let texts = match emit {
                Emit::Header => vec![header.clone()],
                Emit::Hpp => vec![cpp::render(name, &variants)?],
                Emit::C => vec![source.clone()],
                Emit::Zephyr => boards::zephyr::texts(&parts),
                Emit::Platformio => boards::platformio::texts(&parts),
                Emit::Arduino => boards::arduino::texts(&parts),
                Emit::EspIdf => boards::esp_idf::texts(&parts),
                _ => continue,
            };
            for (file, text) in emit.files(name, &self.options.target.triple).iter().zip(texts) {
                staging.write(file, text)?;
            }
        }
        drop(variants);
        let stack = (None, Vec::new());
        Ok(Made { times: self.times, code_bytes: 0, kernel_code_bytes: Vec::new(), stack, name: self.name })
    }

    /// Machine code, and what tells of it.
    fn write_code(
        self,
        staging: &mut Staging,
        emits: &[Emit],
        object: &ObjectOptions,
        hash: &str,
    ) -> Result<Made, Error> {
        let Self { name, plan, options, more, mut times, .. } = self;
        let (targets, mut plans): (Vec<Target>, Vec<Plan>) =
            [(options.target, plan)].into_iter().chain(more).unzip();
        let start = Instant::now();
        let built = object::emit_variants(&mut plans, &targets, &name, object)?;
        times.push(("code", start.elapsed()));
        let (code_bytes, kernel_code_bytes) = (built.code_bytes, built.kernel_code_bytes.clone());
        let stack = (built.stack_bytes, built.kernel_stack_bytes.clone());
        let start = Instant::now();
        write_object(staging, built, emits, &name, &targets[0])?;
        let variants: Vec<Variant<'_>> =
            plans.iter().zip(&targets).map(|(plan, target)| Variant { plan, target }).collect();
        for emit in emits {
            let texts = match emit {
                Emit::Header => {
                    let built = Built { code_bytes, stack_bytes: stack.0 };
                    vec![header::render(&name, &variants, hash, Some(built))?]
                }
                Emit::Hpp => vec![cpp::render(&name, &variants)?],
                Emit::Rust => vec![rust::render(&name, &variants, hash)?],
                Emit::Cmake => vec![
                    cmake::config(
                        &name,
                        &targets[0].triple,
                        emits.contains(&Emit::Lib),
                        emits.contains(&Emit::Shared),
                    ),
                    cmake::version(&targets[0]),
                ],
                Emit::Pkgconfig => vec![pkgconfig::render(&name)],
                _ => continue,
            };
            for (file, text) in emit.files(&name, &targets[0].triple).iter().zip(texts) {
                staging.write(file, text)?;
            }
        }
        times.push(("write", start.elapsed()));
        Ok(Made { times, code_bytes, kernel_code_bytes, stack, name })
    }

    /// Whether a file is the one that the model was read from.
    fn is_source(&self, place: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        self.source.as_deref().and_then(real).is_some_and(|source| real(place) == Some(source))
    }
}

/// The name of the file of weights.
pub fn weights_file(name: &str) -> String {
    format!("{name}.weights.bin")
}

/// What was made.
struct Made {
    times: Vec<(&'static str, Duration)>,
    code_bytes: usize,
    kernel_code_bytes: Vec<Vec<usize>>,
    /// Of a call, and of each kernel.
    stack: (Option<u32>, Vec<Vec<Option<u32>>>),
    name: String,
}

/// Writes what is told of an artefact, for programs and for people.
fn write_report(
    staging: &mut Staging,
    report: &Value,
    emits: &[Emit],
    (name, triple): (&str, &Triple),
) -> Result<(), Error> {
    if emits.contains(&Emit::Report) {
        staging.write(&Emit::Report.file(name, triple), format!("{report:#}\n"))?;
    }
    if emits.contains(&Emit::Html) {
        staging.write(&Emit::Html.file(name, triple), html::render(report))?;
    }
    Ok(())
}

/// Writes the object to disk, where archive and linker take it from: it is in memory once.
fn write_object(
    staging: &mut Staging,
    object: ObjectFile,
    emits: &[Emit],
    name: &str,
    target: &Target,
) -> Result<(), Error> {
    let file = Emit::Obj.file(name, &target.triple);
    let is_linked = emits.iter().any(|emit| matches!(emit, Emit::Lib | Emit::Shared));
    let path = match (emits.contains(&Emit::Obj), is_linked) {
        (true, _) => staging.file(&file),
        (false, true) => staging.scratch(&file),
        (false, false) => return Ok(()),
    };
    let failed = staging::failed(&staging.place(&file));
    let mut out = io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(&failed)?);
    object.write(&mut out)?.map_err(&failed)?;
    out.into_inner().map_err(io::IntoInnerError::into_error).map_err(&failed)?;
    drop(object);
    if emits.contains(&Emit::Lib) {
        let library = Emit::Lib.file(name, &target.triple);
        let failed = staging::failed(&staging.place(&library));
        archive::write(&staging.file(&library), &path, &file, &target.triple).map_err(failed)?;
    }
    if emits.contains(&Emit::Shared) {
        let script = staging.scratch("exported");
        let library = staging.file(&Emit::Shared.file(name, &target.triple));
        shared::link(&library, &path, &script, name, &target.triple)?;
    }
    Ok(())
}

/// The time of each stage, which takes it once for every variant.
fn sums(times: &[(&'static str, Duration)]) -> Vec<(&'static str, Duration)> {
    let mut stages: Vec<(&'static str, Duration)> = Vec::new();
    for (stage, time) in times {
        match stages.iter_mut().find(|(known, _)| known == stage) {
            Some((_, sum)) => *sum += *time,
            None => stages.push((stage, *time)),
        }
    }
    stages
}

/// A text of every plan, each behind its level where there are several.
fn each(
    variants: &[Variant<'_>],
    text: impl Fn(&Variant<'_>) -> kiln_ir::Result<String>,
) -> kiln_ir::Result<String> {
    match variants {
        [one] => text(one),
        many => many.iter().map(|v| Ok(format!("// {}\n{}", v.target.name(), text(v)?))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};
    use crate::pipeline::Options;

    /// A model of one convolution with so many channels, called `q`.
    fn planned(channels: usize) -> Planned {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
        let mut program = conv_bias_relu(4, channels);
        absorb::run(&mut program);
        layout::run(&mut program).unwrap();
        let plan = crate::planner::build(program, &target).unwrap();
        Planned::new("q", plan, Options::new(target))
    }

    #[test]
    fn a_model_is_not_replaced_by_what_is_made_of_it() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("libq.a");
        std::fs::write(&model, "a model").unwrap();
        let source = Some(root.path().join("../").join(root.path().file_name().unwrap()).join("libq.a"));
        let write = |emit| {
            Planned { source: source.clone(), ..planned(8) }.write(root.path(), &[emit], &Default::default())
        };
        let error = write(Emit::Lib).unwrap_err().to_string();
        assert!(error.contains("libq.a: it is the model that is compiled"), "{error}");
        assert_eq!(std::fs::read_to_string(&model).unwrap(), "a model");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        write(Emit::Obj).unwrap();
        assert!(root.path().join("q.o").exists());
    }

    #[test]
    fn a_report_stays_with_its_artefact_alone() {
        let root = tempfile::tempdir().unwrap();
        let write = |channels, emits: &[Emit]| {
            planned(channels).write(root.path(), emits, &Default::default()).unwrap()
        };
        let report = root.path().join("q.report.json");
        write(8, &[Emit::Lib, Emit::Report]);
        let first = std::fs::read(&report).unwrap();
        write(8, &[Emit::Lib, Emit::Report]);
        assert!(std::fs::read(&report).unwrap() == first, "the same input and options give the same bytes");
        write(8, &[Emit::Lib]);
        assert!(report.exists());
        write(16, &[Emit::Lib]);
        assert!(!report.exists());
        // What is no report of ours is nobody's business.
        std::fs::write(&report, "{}").unwrap();
        write(16, &[Emit::Lib]);
        assert!(report.exists());
    }
}
