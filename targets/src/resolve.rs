//! From what a user writes (`--target`, `--cpu`, `--features`) to a [`Target`].

use std::str::FromStr;

use kiln_ir::{Error, Result};
use target_lexicon::{BinaryFormat, OperatingSystem, Triple};

use crate::arch::{Arch, Visit};
use crate::architectures::{self, visit};
use crate::order::Order;
use crate::target::{Feature, Level, Probe, Target};

/// What an architecture provides.
struct Provided {
    levels: &'static [Level],
    portable: &'static [&'static str],
    in_order: &'static [&'static str],
    features: &'static [Feature],
    detected: Vec<&'static str>,
    describe: fn(Triple, &[&'static str]) -> Target,
    probe: fn() -> Result<Option<Probe>>,
    required: fn(&[&str]) -> Result<Vec<u32>>,
}

struct Provide;

impl Visit for Provide {
    type Out = Provided;

    fn visit<A: Arch>(self) -> Provided {
        Provided {
            levels: A::LEVELS,
            portable: A::PORTABLE,
            in_order: A::IN_ORDER,
            features: A::FEATURES,
            detected: A::detect(),
            describe: A::describe,
            probe: A::probe,
            required: A::required,
        }
    }
}

fn arch(triple: &Triple) -> Result<Provided> {
    // An AArch64 may store the high byte first; code is made for the others.
    let provided = visit(triple, Provide).filter(|_| Order::of(triple) == Order::LowFirst);
    provided.ok_or_else(|| {
        let known: Vec<&str> = architectures::list().iter().map(|(name, _)| *name).collect();
        let architecture = triple.architecture;
        Error::unsupported(format!("no code is made for the architecture {architecture} of target {triple}"))
            .hint(format!(
                "known are {}, see `kiln list targets`; --emit c needs a C compiler alone",
                known.join(" and ")
            ))
    })
}

impl Target {
    /// The least that every machine of this triple has.
    pub fn minimum(&self) -> Result<Target> {
        if self.text {
            return Ok(self.clone());
        }
        let arch = arch(&self.triple)?;
        Ok((arch.describe)(self.triple.clone(), arch.levels[0].features))
    }

    /// What the features are called together: the level of the vectors, with `-` before each feature of the level that
    /// is missing and `+` before each that is there besides, as in `avx2-bmi2` or `avx+fma`.
    pub fn name(&self) -> String {
        if self.text {
            return self.level.to_owned();
        }
        let levels = arch(&self.triple).map(|a| a.levels).unwrap_or_default();
        let level = levels.iter().find(|l| l.name == self.level).map_or(&[][..], |l| l.features);
        let missing = level.iter().filter(|f| !self.features.contains(f)).map(|f| format!("-{f}"));
        let besides = self.features.iter().filter(|f| !level.contains(f)).map(|f| format!("+{f}"));
        missing.chain(besides).fold(self.level.to_owned(), |name, change| name + &change)
    }

    /// How code finds out what the machine has; `None` where only the operating system can tell.
    pub fn probe(&self) -> Result<Option<Probe>> {
        if self.text {
            return Ok(None);
        }
        (arch(&self.triple)?.probe)()
    }

    /// The bits that must be set in each word of the probe's answer.
    pub fn required(&self) -> Result<Vec<u32>> {
        if self.text {
            return Ok(Vec::new());
        }
        (arch(&self.triple)?.required)(&self.features)
    }
}

/// A feature and all that it needs.
fn with_needs(features: &[Feature], name: &'static str) -> Vec<&'static str> {
    let mut found = vec![name];
    // What is needed comes earlier in the list.
    for feature in features.iter().rev() {
        if found.contains(&feature.name) {
            found.extend(feature.needs);
        }
    }
    found
}

struct Counter;

impl Visit for Counter {
    type Out = Option<usize>;

    fn visit<A: Arch>(self) -> Self::Out {
        A::PROGRAM_COUNTER
    }
}

/// Where a signal's handler finds the address at which the thread goes on that it interrupted: bytes from the start of Linux's
/// `ucontext_t` of this machine, if that is known.
pub fn program_counter() -> Option<usize> {
    visit(&host(), Counter).flatten()
}

/// The machine that Kiln runs on.
pub fn host() -> Triple {
    Triple::host()
}

/// A target from its triple (empty or `host`: this machine), a processor (`native`, `baseline`, a level or a name)
/// and changes of features (`+avx2,-fma`). Unknown words are *invalid*; the message lists the known ones.
pub fn resolve(triple: &str, cpu: &str, features: &str) -> Result<Target> {
    let triple = parse(triple)?;
    let arch = arch(&triple)?;
    resolve_for(triple, &arch, cpu, features)
}

/// The processors of an artefact for machines of a triple that nobody has named: from those that every such machine has to
/// the newest, as far as one artefact can hold several.
pub fn portable(triple: &str) -> Result<&'static [&'static str]> {
    Ok(arch(&parse(triple)?)?.portable)
}

fn parse(triple: &str) -> Result<Triple> {
    let mut triple = match triple {
        "" | "host" => host(),
        text => Triple::from_str(text)
            .map_err(|e| Error::invalid(format!("target '{text}' is not known: {e}")))?,
    };
    if triple.binary_format == BinaryFormat::Unknown {
        // Bare machines: `aarch64-unknown-none` names no format, and ELF is what their linkers take.
        triple.binary_format = BinaryFormat::Elf;
    }
    Ok(triple)
}

fn resolve_for(triple: Triple, arch: &Provided, cpu: &str, features: &str) -> Result<Target> {
    let mut chosen: Vec<&'static str> = match cpu {
        "native" if triple.architecture == host().architecture => arch.detected.clone(),
        "native" => {
            return Err(Error::invalid(format!("--cpu native, but {triple} is not this machine"))
                .hint("name a level or a processor"));
        }
        "" | "baseline" => arch.levels[0].features.to_vec(),
        name => {
            let level = arch.levels.iter().find(|l| l.name == name || l.processors.contains(&name));
            let known =
                || arch.levels.iter().flat_map(|l| [l.name].into_iter().chain(l.processors.iter().copied()));
            let level = level.ok_or_else(|| {
                let known: Vec<_> = known().collect();
                Error::invalid(format!("processor '{name}' is not known for {triple}"))
                    .hint(format!("known are native, baseline, {}", known.join(", ")))
            })?;
            level.features.to_vec()
        }
    };
    for change in features.split(',').map(str::trim).filter(|c| !c.is_empty()) {
        let (name, add) = match (change.strip_prefix('+'), change.strip_prefix('-')) {
            (Some(name), _) => (name, true),
            (_, Some(name)) => (name, false),
            _ => return Err(Error::invalid(format!("feature '{change}' needs a + or - in front"))),
        };
        let names = || arch.features.iter().map(|f| f.name);
        let known = names().find(|f| *f == name || f.replace('.', "") == name);
        let known = known.ok_or_else(|| {
            Error::invalid(format!("feature '{name}' is not known for {triple}"))
                .hint(format!("known are {}", names().collect::<Vec<_>>().join(", ")))
        })?;
        if add {
            chosen.extend(with_needs(arch.features, known));
        } else {
            chosen.retain(|f| !with_needs(arch.features, f).contains(&known));
        }
    }
    chosen.sort_by_key(|f| arch.features.iter().position(|x| x.name == *f));
    chosen.dedup();
    let is_bare = triple.operating_system == OperatingSystem::None_;
    let target = Target { in_order: arch.in_order.contains(&cpu), ..(arch.describe)(triple, &chosen) };
    Ok(if is_bare {
        Target { frugal: true, f32_tiles: FRUGAL_TILES, short_tiles: &[], ..target }
    } else {
        target
    })
}

/// Tiles of little code.
const FRUGAL_TILES: &[(u32, u32)] = &[(4, 2), (2, 2)];

/// The targets of a list of processors, the least demanding first, so that the last one that a machine can run is
/// the best for it. Empty names and processors that come to the same code are *invalid*; several are *unsupported*
/// where code cannot find out which of them it runs on.
pub fn resolve_list(triple: &str, cpus: &[impl AsRef<str>], features: &str) -> Result<Vec<Target>> {
    let mut targets: Vec<(&str, Target)> = Vec::new();
    for cpu in cpus.iter().map(AsRef::as_ref) {
        if cpu.is_empty() {
            return Err(
                Error::invalid("a processor in the list has no name").hint("write names between commas")
            );
        }
        let target = resolve(triple, cpu, features)?;
        if let Some((same, _)) = targets.iter().find(|(_, t)| t.features == target.features) {
            return Err(Error::invalid(format!(
                "processors '{same}' and '{cpu}' of the list come to the same code"
            ))
            .hint(format!("leave out '{cpu}'")));
        }
        targets.push((cpu, target));
    }
    match &targets[..] {
        [] => return Err(Error::invalid("the list of processors is empty")),
        [_] => {}
        [(_, first), ..] if first.probe()?.is_some() => {}
        [(_, first), ..] => {
            return Err(Error::unsupported(format!(
                "one artefact for several processors of {}: a program there cannot find out which features it has \
                 without asking the operating system, which an artefact does not rely on",
                first.triple
            ))
            .hint("compile once for each --cpu, under different --name, and choose in the host program"));
        }
    }
    // A processor with more features comes behind every one whose features it has too.
    targets.sort_by_key(|(_, t)| (t.vector_bytes, t.fma, t.features.len()));
    Ok(targets.into_iter().map(|(_, target)| target).collect())
}

/// Every architecture with its levels, for `kiln list targets`: name, and per level its name, features and the
/// processors that are known by name.
pub fn list() -> Vec<(&'static str, &'static [Level])> {
    architectures::list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_processors_and_features() {
        let target = |cpu: &str, features: &str| resolve("x86_64-unknown-linux-gnu", cpu, features);
        assert_eq!(target("baseline", "").unwrap().level, "sse2");
        assert_eq!(target("znver3", "").unwrap().level, "avx2");
        assert!(target("avx2", "").unwrap().fma);
        let without = target("avx2", "-fma").unwrap();
        assert!(!without.fma && without.level == "avx");
        assert!(target("avx", "+fma").unwrap().isa_flags.contains(&"has_fma"));
        assert!(target("pentium", "").unwrap_err().hint.contains("haswell"));
        assert!(target("avx", "fma").is_err() && target("avx", "+neon").is_err());
        assert_eq!(resolve("aarch64-unknown-none", "", "").unwrap().level, "neon");
        let arm =
            |cpu: &str| resolve("aarch64-unknown-linux-gnu", cpu, "").map(|t| (t.level, t.in_order)).unwrap();
        assert_eq!([arm("cortex-a53"), arm("cortex-a72")], [("neon", true), ("neon", false)]);
        assert_eq!([arm("cortex-a55"), arm("neoverse-n1")], [("dotprod", true), ("dotprod", false)]);
        assert_eq!([arm("cortex-a510"), arm("neoverse-v1")], [("armv8.6", true), ("armv8.6", false)]);
        assert_eq!([arm("apple-m1"), arm("i8mm")], [("fhm", false), ("i8mm", false)]);
        assert!(resolve("riscv64gc-unknown-linux-gnu", "", "").is_err());
    }

    #[test]
    fn features_bring_what_they_need_and_are_told_by_name() {
        let target = |cpu: &str, features: &str| resolve("x86_64-unknown-linux-gnu", cpu, features).unwrap();
        for (cpu, features, name) in [
            ("baseline", "", "sse2"),
            ("haswell", "", "avx2"),
            ("baseline", "+avx,+avx2,+fma", "avx2-popcnt-f16c-bmi1-bmi2-lzcnt"),
            ("baseline", "+avx2", "avx2-popcnt-f16c-bmi1-bmi2-lzcnt"),
            ("avx", "+avx2", "avx2-f16c-bmi1-bmi2-lzcnt"),
            ("avx", "+fma", "avx+fma"),
            ("avx2", "-bmi2", "avx2-bmi2"),
            ("avx2", "-fma", "avx+f16c+bmi1+bmi2+lzcnt"),
            ("avx512", "-avx", "sse2+sse3+ssse3+sse4.1+sse4.2+popcnt+bmi1+bmi2+lzcnt"),
            ("baseline", "+sse4.1", "sse2+sse3+ssse3+sse4.1"),
            ("baseline", "+avx512vl,+avx512dq", "avx512-popcnt-f16c-bmi1-bmi2-lzcnt-avx512bw"),
        ] {
            let target = target(cpu, features);
            assert_eq!(target.name(), name, "{cpu} {features}");
            // Wide vectors are never asked for without what makes them worth it.
            assert_eq!(target.vector_bytes > 16, name.starts_with("avx2") || name.starts_with("avx512"));
        }
        for (cpu, features, name) in [
            ("neon", "+i8mm", "neon+i8mm"),
            ("neon", "+fhm", "neon+fhm"),
            ("i8mm", "+fhm", "armv8.6"),
            ("cortex-a76", "+fhm", "fhm"),
        ] {
            let target = resolve("aarch64-unknown-linux-gnu", cpu, features).unwrap();
            assert_eq!((target.name().as_str(), target.multiplies_halves), (name, features.contains("fhm")));
        }
    }

    #[test]
    fn lists_are_sorted_and_hold_no_level_twice() {
        let list = |cpus: &[&str], features: &str| {
            let targets = resolve_list("x86_64-unknown-linux-gnu", cpus, features)?;
            Ok::<_, Error>(targets.iter().map(|t| t.level).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(list(&["avx512", "baseline", "haswell", "avx"], "").unwrap(), "sse2 avx avx2 avx512");
        assert_eq!(list(&["avx2"], "").unwrap(), "avx2");
        for same in [&["avx2", "avx2"], &["avx2", "haswell"], &["baseline", "sse2"]] {
            let error = list(same, "").unwrap_err();
            assert_eq!(error.kind, kiln_ir::ErrorKind::Invalid);
            assert!(error.message.contains(same[0]) && error.message.contains(same[1]), "{error}");
        }
        // What the features take away can make them the same.
        assert!(list(&["avx", "avx2"], "-avx2,-f16c,-fma,-bmi1,-bmi2,-lzcnt").is_err());
        assert!(
            list(&[], "").is_err() && list(&["avx", ""], "").is_err() && list(&["avx", "mmx"], "").is_err()
        );
        let arm = |cpus: &[&str]| resolve_list("aarch64-unknown-linux-gnu", cpus, "");
        assert_eq!(arm(&["neon"]).unwrap().len(), 1);
        assert_eq!(arm(&["neon", "dotprod"]).unwrap_err().kind, kiln_ir::ErrorKind::Unsupported);
    }

    #[test]
    fn machines_without_code_are_refused() {
        for triple in ["s390x-unknown-linux-gnu", "aarch64_be-unknown-linux-gnu"] {
            let error = resolve(triple, "", "").unwrap_err().to_string();
            assert!(error.contains("no code is made") && error.contains("--emit c"), "{error}");
            assert!(crate::c::target(triple).unwrap().turns_elements());
        }
    }

    #[test]
    fn the_minimum_needs_nothing_that_could_be_missing() {
        for triple in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
            for level in list().into_iter().flat_map(|(arch, levels)| levels.iter().map(move |l| (arch, l))) {
                if !triple.starts_with(level.0) {
                    continue;
                }
                let target = resolve(triple, level.1.name, "").unwrap();
                let minimum = target.minimum().unwrap();
                assert_eq!(minimum, resolve(triple, "baseline", "").unwrap());
                assert!(minimum.required().unwrap().iter().all(|w| *w == 0));
                assert_eq!(target.probe().unwrap().is_some(), level.0 == "x86_64");
            }
        }
    }
}
