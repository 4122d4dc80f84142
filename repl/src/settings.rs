//! What can be set: `cpu`, `threads`, `opt`, `dim.NAME`, `at.NAME`, `seed`, `precision`.

use std::collections::BTreeMap;

use kiln_compiler::internals::passes::bind::{DimBinding, DimValue};
use kiln_targets::Target;
use kiln_tools::measure;

use crate::expression::suggest;
use crate::fault::{Fault, Result};

/// What can be set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// A level or a processor.
    pub(crate) cpu: String,
    /// Threads of a run.
    pub(crate) threads: usize,
    /// 0 to 2.
    pub(crate) opt: u8,
    /// Values of symbolic dimensions, or bounds between which they stay open.
    pub(crate) dims: BTreeMap<String, DimValue>,
    /// Sizes of open dimensions where inputs are random; the greatest without.
    pub(crate) at: BTreeMap<String, i64>,
    /// Of random tensors without one.
    pub(crate) seed: u64,
    /// Digits behind the point.
    pub(crate) precision: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cpu: "native".to_owned(),
            threads: measure::physical_cores(),
            opt: 2,
            dims: BTreeMap::new(),
            at: BTreeMap::new(),
            seed: 0,
            precision: 6,
        }
    }
}

/// Keys, with an example of a value and what it means.
pub(crate) const KEYS: &[(&str, &str, &str)] = &[
    ("cpu", "native", "a level of this machine, or native: `kiln list targets`"),
    ("threads", "1", "threads of a run; the bits are the same for any number"),
    ("opt", "0", "0: no rewrites; 1: folding and fusion; 2: rewrites too"),
    (
        "dim.NAME",
        "1..64",
        "a dimension that a model leaves open: a value, or bounds that keep it open; none forgets it",
    ),
    ("at.NAME", "8", "the size of an open dimension where inputs are random; the greatest without"),
    ("seed", "7", "of random tensors without one"),
    ("precision", "3", "digits behind the point when numbers are printed"),
];

impl Settings {
    /// Sets one; the error says what there is.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let number = |lo: u64, hi: u64| {
            let parsed = value.parse::<u64>().ok().filter(|n| (lo..=hi).contains(n));
            parsed.ok_or_else(|| Fault::new(format!("{key} is a number from {lo} to {hi}, not '{value}'")))
        };
        match key {
            "cpu" => {
                kiln_targets::resolve("host", value, "")?;
                self.cpu = value.to_owned();
            }
            "threads" => self.threads = number(1, 1024)? as usize,
            "opt" => self.opt = number(0, 2)? as u8,
            "seed" => self.seed = number(0, u64::MAX)?,
            "precision" => self.precision = number(0, 17)? as usize,
            _ => {
                if let Some(name) = key.strip_prefix("at.").filter(|n| !n.is_empty()) {
                    match value {
                        "none" => self.at.remove(name),
                        _ => self.at.insert(name.to_owned(), number(0, 1 << 40)? as i64),
                    };
                    return Ok(());
                }
                let Some(name) = key.strip_prefix("dim.").filter(|n| !n.is_empty()) else {
                    let keys = KEYS.iter().map(|k| k.0);
                    let near = suggest::hint(key, keys.clone());
                    let all = format!("there are {}", keys.collect::<Vec<_>>().join(", "));
                    let hint = if near.is_empty() { all } else { near };
                    return Err(Fault::new(format!("there is nothing called '{key}' to set")).hint(hint));
                };
                if value == "none" {
                    self.dims.remove(name);
                } else {
                    let binding: DimBinding = format!("{name}={value}").parse().map_err(|_| {
                        let fault = Fault::new(format!("'{value}' is no size of a dimension"));
                        fault.hint(format!(":set {key} 8, :set {key} 1..8 or :set {key} 1..8:4"))
                    })?;
                    self.dims.insert(name.to_owned(), binding.value);
                }
            }
        }
        Ok(())
    }

    /// Keys and values, for people and scripts.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let mut out = vec![
            ("cpu".to_owned(), self.cpu.clone()),
            ("threads".to_owned(), self.threads.to_string()),
            ("opt".to_owned(), self.opt.to_string()),
            ("seed".to_owned(), self.seed.to_string()),
            ("precision".to_owned(), self.precision.to_string()),
        ];
        out.extend(self.dims.iter().map(|(name, value)| (format!("dim.{name}"), written(value))));
        out.extend(self.at.iter().map(|(name, value)| (format!("at.{name}"), value.to_string())));
        out
    }

    /// The size that a dimension has where nobody gives a tensor.
    pub(crate) fn size(&self, name: &str) -> Option<i64> {
        match self.dims.get(name)? {
            DimValue::Fixed(value) => Some(*value),
            DimValue::Open(bound) => {
                Some(self.at.get(name).map_or(bound.hi, |n| *n.clamp(&bound.lo, &bound.hi)))
            }
        }
    }

    /// The machine that code is for.
    pub(crate) fn target(&self) -> Result<Target> {
        Ok(kiln_targets::resolve("host", &self.cpu, "")?)
    }
}

fn written(value: &DimValue) -> String {
    match value {
        DimValue::Fixed(value) => value.to_string(),
        DimValue::Open(bound) => format!("{}..{}:{}", bound.lo, bound.hi, bound.typical),
    }
}
