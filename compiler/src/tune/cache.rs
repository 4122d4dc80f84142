//! What was measured, in a file.
//!
//! ```json
//! {"kiln_tuning": 1, "machines": {"kiln 0.1.0, x86_64-unknown-linux-gnu, ..., AMD EPYC": {
//!   "contract 3136x64x+64 0123456789abcdef": {"pick": {"tile": {"row": 0, ...}}, "speed_up": 1.08},
//!   "winograd n1 o64 c64 h56 w56": {"pick": null, "speed_up": 1.0}
//! }}}
//! ```
//!
//! A `null` says that the cost model's choice was not beaten. Everything that decides what is fastest is part of
//! the machine's name, so that one file serves many machines and versions.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kiln_targets::Target;
use serde::{Deserialize, Serialize};

use crate::emit::staging::{self, Staging};
use crate::error;
use crate::schedule::Choices;
use crate::schedule::choices::Pick;

/// The version of the file's form.
const FORM: u32 = 1;
/// A file that is larger was not written by Kiln.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    kiln_tuning: u32,
    machines: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    pick: Option<Pick>,
    speed_up: f64,
}

/// The measurements of one machine.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    machine: String,
    entries: BTreeMap<String, Entry>,
    changed: bool,
}

impl Cache {
    /// Reads a file. One that is not there is empty; so is one that cannot be understood, with the reason.
    pub fn open(path: &Path, target: &Target) -> (Self, Option<String>) {
        let machine = machine(target);
        let (file, problem) = match read(path) {
            Ok(file) => (file, None),
            Err(problem) => (None, Some(problem)),
        };
        let entries = file.and_then(|mut f| f.machines.remove(&machine)).unwrap_or_default();
        (Self { path: path.to_owned(), machine, entries, changed: problem.is_some() }, problem)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The picks that beat the cost model's.
    pub fn choices(&self) -> Choices {
        let mut choices = Choices::default();
        for (key, entry) in &self.entries {
            if let Some(pick) = &entry.pick {
                choices.set(key, pick.clone());
            }
        }
        choices
    }

    /// Whether a kernel has been measured.
    pub fn knows(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether a kernel is other than the cost model would have it.
    pub fn changes(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|e| e.pick.is_some())
    }

    /// Notes a measurement: the winner and how many times as fast it is; `None` when nothing beat the cost model.
    pub fn set(&mut self, key: &str, winner: Option<(Pick, f64)>) {
        let (pick, speed_up) = winner.map_or((None, 1.0), |(pick, gain)| (Some(pick), gain));
        let speed_up = (speed_up * 1e3).round() / 1e3;
        self.entries.insert(key.to_owned(), Entry { pick, speed_up });
        self.changed = true;
    }

    /// Writes the file when there is something new, all of it or nothing. What others have put there meanwhile
    /// stays.
    pub fn save(&mut self) -> Result<(), error::Error> {
        if !self.changed {
            return Ok(());
        }
        let old = read(&self.path).ok().flatten();
        let mut file = old.unwrap_or(File { kiln_tuning: FORM, machines: BTreeMap::new() });
        file.machines.entry(self.machine.clone()).or_default().extend(self.entries.clone());
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = self.path.file_name().and_then(|name| name.to_str());
        let failed = staging::failed(&self.path);
        let name = name.ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        let mut staging = Staging::new(folder)?;
        staging.write(name, serde_json::to_string_pretty(&file).map_err(|e| failed(e.into()))? + "\n")?;
        staging.commit()?;
        self.changed = false;
        Ok(())
    }
}

/// The file's content; nothing when it is not there.
fn read(path: &Path) -> Result<Option<File>, String> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err("it is not a file".to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if size > MOST_BYTES {
        return Err(format!("it has {size} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if file.kiln_tuning != FORM {
        return Err(format!("it has form {}, this version reads {FORM}", file.kiln_tuning));
    }
    Ok(Some(file))
}

/// The file of the user that runs this: in `$XDG_CACHE_HOME`, or in `~/.cache`.
pub fn default_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    // Where there is no such variable, as on Windows.
    let caches = caches.or_else(|| folder("LOCALAPPDATA"));
    Some(caches?.join("kiln").join("tune.json"))
}

/// Everything besides the kernel that decides what is fastest.
fn machine(target: &Target) -> String {
    let features = target.features.join("+");
    let (version, triple, bits) = (env!("CARGO_PKG_VERSION"), &target.triple, 8 * target.vector_bytes);
    // Cores that run in order have tiles and an order of instructions of their own.
    let order = if target.in_order { ", in order" } else { "" };
    format!("kiln {version}, {triple}, {features}{order}, {bits} bits, {}", processor())
}

/// What the system says of the processor. Lines of several architectures: each has some of them.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let wanted = ["model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part"];
    let first = info.split("\n\n").next().unwrap_or_default();
    let value = |name: &str| {
        let mut fields = first.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim())
    };
    let words: Vec<&str> = wanted.into_iter().filter_map(value).collect();
    if words.is_empty() { "unknown processor".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(cpu: &str) -> Target {
        kiln_targets::resolve("x86_64-unknown-linux-gnu", cpu, "").unwrap()
    }

    #[test]
    fn what_is_saved_is_read_again_for_its_machine_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/tune.json");
        let (mut cache, problem) = Cache::open(&path, &target("avx2"));
        assert_eq!(problem, None);
        cache.set("a", Some((Pick::Winograd(2), 1.25)));
        cache.set("b", None);
        let (mut other, _) = Cache::open(&path, &target("avx512"));
        other.set("c", None);
        cache.save().unwrap();
        other.save().unwrap();
        let (again, problem) = Cache::open(&path, &target("avx2"));
        assert_eq!(problem, None);
        assert_eq!(again.entries, cache.entries);
        assert!(again.knows("b") && !again.changes("b") && again.changes("a") && !again.knows("c"));
        assert_eq!(again.choices().get("a"), Some(&Pick::Winograd(2)));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn cores_in_order_have_measurements_of_their_own() {
        let of = |cpu| machine(&kiln_targets::resolve("aarch64-unknown-linux-gnu", cpu, "").unwrap());
        assert_ne!(of("cortex-a53"), of("cortex-a72"));
        assert_eq!(of("cortex-a53"), of("cortex-a35"));
    }

    #[test]
    fn files_that_are_not_understood_are_told_of_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tune.json");
        for bad in ["", "{", "[1]", r#"{"kiln_tuning":2,"machines":{}}"#, "\u{0}", "{\"kiln_tuning\":1}"] {
            std::fs::write(&path, bad).unwrap();
            let (mut cache, problem) = Cache::open(&path, &target("avx2"));
            assert!(problem.is_some() && cache.choices().is_empty(), "{bad}");
            cache.set("a", None);
            cache.save().unwrap();
            assert_eq!(Cache::open(&path, &target("avx2")).1, None);
        }
        assert!(Cache::open(folder.path(), &target("avx2")).1.is_some());
    }
}
