//! From what a user writes (`--target`, `--cpu`, `--features`) to a [`Target`].

use std::str::FromStr;

use kiln_ir::{Error, Result};
use target_lexicon::{Architecture, BinaryFormat, Triple};

use crate::target::{Level, Target};
use crate::{aarch64, x86_64};

/// What an architecture provides.
struct Arch {
    levels: &'static [Level],
    features: Vec<&'static str>,
    detected: Vec<&'static str>,
    describe: fn(Triple, &[&'static str]) -> Target,
}

fn arch(triple: &Triple) -> Result<Arch> {
    match triple.architecture {
        Architecture::X86_64 => Ok(Arch {
            levels: x86_64::LEVELS,
            features: x86_64::features(),
            detected: x86_64::detect(),
            describe: x86_64::describe,
        }),
        Architecture::Aarch64(_) => Ok(Arch {
            levels: aarch64::LEVELS,
            features: aarch64::features(),
            detected: aarch64::detect(),
            describe: aarch64::describe,
        }),
        other => Err(Error::unsupported(format!("architecture {other} of target {triple}"))
            .hint("known are x86_64 and aarch64, see `kiln list targets`")),
    }
}

/// The machine that Kiln runs on.
pub fn host() -> Triple {
    Triple::host()
}

/// A target from its triple (empty or `host`: this machine), a processor (`native`, `baseline`, a level or a name)
/// and changes of features (`+avx2,-fma`). Unknown words are *invalid*; the message lists the known ones.
pub fn resolve(triple: &str, cpu: &str, features: &str) -> Result<Target> {
    let mut triple = match triple {
        "" | "host" => host(),
        text => Triple::from_str(text).map_err(|e| Error::invalid(format!("target '{text}': {e}")))?,
    };
    if triple.binary_format == BinaryFormat::Unknown {
        // Bare machines: `aarch64-unknown-none` names no format, and ELF is what their linkers take.
        triple.binary_format = BinaryFormat::Elf;
    }
    let arch = arch(&triple)?;
    let mut chosen: Vec<&'static str> = match cpu {
        "native" if triple.architecture == host().architecture => arch.detected,
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
        let known = arch.features.iter().copied().find(|f| *f == name || f.replace('.', "") == name);
        let known = known.ok_or_else(|| {
            Error::invalid(format!("feature '{name}' is not known for {triple}"))
                .hint(format!("known are {}", arch.features.join(", ")))
        })?;
        chosen.retain(|f| *f != known);
        if add {
            chosen.push(known);
        }
    }
    chosen.sort_by_key(|f| arch.features.iter().position(|x| x == f));
    Ok((arch.describe)(triple, &chosen))
}

/// Every architecture with its levels, for `kiln list targets`: name, and per level its name, features and the
/// processors that are known by name.
pub fn list() -> Vec<(&'static str, &'static [Level])> {
    vec![("x86_64", x86_64::LEVELS), ("aarch64", aarch64::LEVELS)]
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
        assert!(resolve("riscv64gc-unknown-linux-gnu", "", "").is_err());
    }
}
