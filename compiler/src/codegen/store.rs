//! Machine code of kernels by content: what was compiled once is not compiled again, in this process and, with a folder,
//! in any other of the same build.
//!
//! ```text
//! magic                                  24 bytes
//! digest of all that follows             64 bytes
//! build and key of the kernel            a line each
//! alignment                              8 bytes
//! code
//! ```
//!
//! A file is used if all of that is right. Files are written beside their place and moved there, so that others see all of
//! one or nothing; two processes that make the same one make the same bytes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::function::Machine;
use crate::digest;

/// Code that a store keeps in memory at most; beyond it starts anew.
const MOST_BYTES: usize = 64 << 20;

/// Code that a folder keeps from one session to the next; beyond, what was written first goes.
const MOST_ON_DISK: u64 = 512 << 20;

const MAGIC: &[u8; 24] = b"kiln compiled kernel, 1\n";

/// Machine code by the digest of everything that it depends on: the kernel but for names, and the target.
#[derive(Debug, Default)]
pub struct KernelStore {
    kept: Mutex<Kept>,
    folder: Option<Folder>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Kept {
    code: HashMap<String, Arc<Machine>>,
    bytes: usize,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Who made the code: another build may make other code of the same kernel.
    build: String,
}

#[derive(Debug, Default)]
struct Counts {
    memory: AtomicUsize,
    disk: AtomicUsize,
    made: AtomicUsize,
}

impl KernelStore {
    /// A store that also keeps code in a folder, for those of this `build`. What is too much in it goes. A folder that
    /// takes nothing is no reason to stop.
    pub fn with_folder(path: &Path, build: &str) -> Self {
        let _ = fs::create_dir_all(path);
        shrink(path, MOST_ON_DISK);
        let build = build.replace('\n', " ");
        Self { folder: Some(Folder { path: path.to_owned(), build }), ..Self::default() }
    }

    /// How often code was found that had been compiled before, in memory or in the folder.
    pub fn hits(&self) -> usize {
        self.counts.memory.load(Ordering::Relaxed) + self.from_folder()
    }

    /// How often code was found in the folder.
    pub fn from_folder(&self) -> usize {
        self.counts.disk.load(Ordering::Relaxed)
    }

    /// How often code had to be made.
    pub fn made(&self) -> usize {
        self.counts.made.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Machine>> {
        if let Some(found) = self.kept().code.get(key) {
            self.counts.memory.fetch_add(1, Ordering::Relaxed);
            return Some(Arc::clone(found));
        }
        let found = Arc::new(self.folder.as_ref()?.read(key)?);
        self.counts.disk.fetch_add(1, Ordering::Relaxed);
        self.keep(key, &found);
        Some(found)
    }

    pub(super) fn put(&self, key: &str, code: &Arc<Machine>) {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        self.keep(key, code);
        if let Some(folder) = &self.folder {
            folder.write(key, code);
        }
    }

    fn keep(&self, key: &str, code: &Arc<Machine>) {
        let mut kept = self.kept();
        if kept.bytes > MOST_BYTES {
            kept.code.clear();
            kept.bytes = 0;
        }
        kept.bytes += code.bytes.len();
        kept.code.insert(key.to_owned(), Arc::clone(code));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder {
    /// Where code of this build lies: that of others has other names.
    fn place(&self, key: &str) -> PathBuf {
        self.path.join(format!("{}.kernel", &digest::of_text(&format!("{} {key}", self.build))[..32]))
    }

    /// What stands before the code.
    fn head(&self, key: &str, align: u64) -> Vec<u8> {
        [format!("{}\n{key}\n", self.build).as_bytes(), &align.to_le_bytes()].concat()
    }

    fn read(&self, key: &str) -> Option<Machine> {
        let file = fs::read(self.place(key)).ok()?;
        let (magic, rest) = file.split_at_checked(MAGIC.len())?;
        let (expected, rest) = rest.split_at_checked(64)?;
        let head = self.head(key, 0).len();
        let (given, code) = rest.split_at_checked(head)?;
        let align = u64::from_le_bytes(given[head - 8..].try_into().ok()?);
        let right = magic == MAGIC
            && given == self.head(key, align)
            && digest::of_parts(&[given, code]).as_bytes() == expected;
        right.then(|| Machine { bytes: code.to_vec(), align, unwind: None })
    }

    fn write(&self, key: &str, code: &Machine) {
        let head = self.head(key, code.align);
        let digest = digest::of_parts(&[&head, &code.bytes]);
        let file = [MAGIC, digest.as_bytes(), &head, &code.bytes].concat();
        let place = self.place(key);
        // A name that no other process and no other thread has.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let beside = place.with_extension(format!("{}.{number}", std::process::id()));
        if fs::write(&beside, file).and_then(|()| fs::rename(&beside, &place)).is_err() {
            let _ = fs::remove_file(&beside);
        }
    }
}

/// Removes what was written first until no more than so many bytes are left.
fn shrink(folder: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        })
        .collect();
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    files.sort();
    for (_, size, path) in files {
        if bytes <= most {
            return;
        }
        let _ = fs::remove_file(path);
        bytes -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(byte: u8) -> Arc<Machine> {
        Arc::new(Machine { bytes: vec![byte; 100], align: 64, unwind: None })
    }

    #[test]
    fn code_is_found_in_the_folder_by_its_build_and_key() {
        let folder = tempfile::tempdir().unwrap();
        KernelStore::with_folder(folder.path(), "one").put("key", &machine(7));
        let again = KernelStore::with_folder(folder.path(), "one");
        assert_eq!(again.get("key"), Some(machine(7)));
        assert_eq!((again.hits(), again.from_folder()), (1, 1));
        assert_eq!(again.get("key"), Some(machine(7)));
        assert_eq!((again.hits(), again.from_folder()), (2, 1));
        assert_eq!(again.get("another"), None);
        assert_eq!(KernelStore::with_folder(folder.path(), "two").get("key"), None);
    }

    #[test]
    fn what_is_damaged_is_not_used_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = || KernelStore::with_folder(folder.path(), "build");
        store().put("key", &machine(7));
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            assert_eq!(store().get("key"), None, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(store().get("key"), None, "{at} bytes");
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert_eq!(store().get("key"), None);
        store().put("key", &machine(7));
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let ages = [("new", 0), ("old", 100), ("older", 1000)];
        for (name, age) in ages {
            fs::write(folder.path().join(name), [0; 10]).unwrap();
            let time = SystemTime::now() - std::time::Duration::from_secs(age);
            fs::File::options()
                .write(true)
                .open(folder.path().join(name))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        shrink(folder.path(), 20);
        let left = |name: &str| folder.path().join(name).exists();
        assert!(left("new") && left("old") && !left("older"));
        shrink(&folder.path().join("none"), 20);
    }
}
