//! Hidden folders for files in the making, which do not outlive the process that makes them.
//!
//! A folder holds a file that its process has locked. When the process is killed the system lets go of the lock, so
//! whoever comes to the same place next can tell a leftover from a folder in use, and removes it. A program that is
//! about to end otherwise calls [`discard_all`].

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// How the folders' names begin.
const PREFIX: &str = ".kiln-";

/// The locked file. Its name tells these folders from others.
const LOCK: &str = ".kiln-lock";

/// Names that are tried; each is taken only if a process of the same number left one behind.
const MOST_NAMES: usize = 1000;

/// How often, and how long after each other, things are tried that another thread may be in the way of.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The folders of this process.
static LIVE: Mutex<Live> = Mutex::new(Live { made: 0, folders: Vec::new() });

struct Live {
    /// Folders made so far, which makes their names unique.
    made: usize,
    /// The hidden folder, with the folders around it that were made for it, outermost first.
    folders: Vec<(PathBuf, Vec<PathBuf>)>,
}

fn live() -> MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hidden folder of this process; it goes when this goes.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    // `None` where the file system knows no locks: such a folder is never taken for a leftover.
    lock: Option<File>,
}

/// Keeps [`discard_all`] from coming in between, as long as it lives.
pub(super) struct Uninterrupted(#[allow(dead_code)] MutexGuard<'static, Live>);

impl Scratch {
    /// Makes a folder inside `within`, which is made where it is missing, after removing what killed processes have
    /// left there.
    pub(super) fn new(within: &Path) -> io::Result<Self> {
        sweep(within);
        let mut live = live();
        let around = make_folders(within)?;
        match Self::inside(within, &mut live.made) {
            Ok(scratch) => {
                live.folders.push((scratch.path.clone(), around));
                Ok(scratch)
            }
            Err(e) => {
                remove_empty(&around);
                Err(e)
            }
        }
    }

    fn inside(within: &Path, made: &mut usize) -> io::Result<Self> {
        for _ in 0..MOST_NAMES {
            *made += 1;
            let path = within.join(format!("{PREFIX}{:x}-{made:x}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            }
            // Until the lock is held another process may take the folder for a leftover: then the next name.
            let lock = match OpenOptions::new().write(true).create_new(true).open(path.join(LOCK)) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => {
                    let _ = std::fs::remove_dir(&path);
                    return Err(e);
                }
            };
            let lock = match lock.try_lock() {
                Ok(()) => Some(lock),
                Err(std::fs::TryLockError::WouldBlock) => continue,
                Err(std::fs::TryLockError::Error(_)) => None,
            };
            if path.join(LOCK).exists() {
                return Ok(Self { path, lock });
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("too many folders {PREFIX}* in it")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The time to put files in their places: all of them, before a signal ends the program, or none, after.
    pub(super) fn uninterrupted(&self) -> Uninterrupted {
        Uninterrupted(live())
    }

    /// Lets the folders around it stay.
    pub(super) fn keep_around(&self) {
        let mut live = live();
        live.folders.iter_mut().filter(|f| f.0 == self.path).for_each(|f| f.1.clear());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut live = live();
        drop(self.lock.take());
        if let Some(i) = live.folders.iter().position(|f| f.0 == self.path) {
            remove(&live.folders.swap_remove(i));
        }
    }
}

/// Removes all files in the making of this process, for good: for programs that are about to end on a signal or without
/// memory. Files that are being put in their places are all there first; none is afterwards.
pub fn discard_all() {
    // Not forever: the thread that is to be ended may be the one that holds the lock.
    let lock = (0..TRIES).find_map(|_| match LIVE.try_lock() {
        Ok(live) => Some(live),
        Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
        Err(TryLockError::WouldBlock) => {
            std::thread::sleep(PAUSE);
            None
        }
    });
    let Some(live) = lock else { return };
    live.folders.iter().for_each(remove);
    // Locked until the end of the process, so that nothing is committed any more.
    std::mem::forget(live);
}

fn remove((folder, around): &(PathBuf, Vec<PathBuf>)) {
    // Another thread may still write into it.
    for _ in 0..TRIES {
        match std::fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => std::thread::sleep(PAUSE),
            _ => break,
        }
    }
    remove_empty(around);
}

/// Removes folders, outermost first, that nobody else has come to use.
fn remove_empty(folders: &[PathBuf]) {
    folders.iter().rev().for_each(|folder| _ = std::fs::remove_dir(folder));
}

/// Removes folders whose process is gone.
fn sweep(within: &Path) {
    for entry in std::fs::read_dir(within).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let path = entry.path();
        match OpenOptions::new().write(true).open(path.join(LOCK)) {
            Ok(lock) => {
                if lock.try_lock().is_ok() {
                    let _ = std::fs::remove_dir_all(&path);
                }
            }
            // One that was killed, or is at work, between making the folder and the lock: it is empty, and who is at
            // work makes another.
            Err(e) if e.kind() == io::ErrorKind::NotFound => _ = std::fs::remove_dir(&path),
            Err(_) => {}
        }
    }
}

/// Makes a folder with those around it; gives what was missing, outermost first.
fn make_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    missing.reverse();
    let mut made = Vec::new();
    for folder in missing {
        match std::fs::create_dir(&folder) {
            Ok(()) => made.push(folder),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => {
                remove_empty(&made);
                return Err(e);
            }
        }
    }
    if folder.is_dir() {
        return Ok(made);
    }
    remove_empty(&made);
    Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_is_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str, locked: bool| {
            let path = root.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("libx.a"), [0; 100]).unwrap();
            let lock = File::create(path.join(LOCK)).unwrap();
            if locked {
                lock.lock().unwrap();
            }
            (path, lock)
        };
        let (left, _) = folder(".kiln-1-1", false);
        let (used, _lock) = folder(".kiln-2-1", true);
        let (other, _) = folder("kiln-3-1", false);
        let foreign = root.path().join(".kiln-cache");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("x"), "x").unwrap();
        let scratch = Scratch::new(root.path()).unwrap();
        assert!(!left.exists() && used.exists() && other.exists() && foreign.exists());
        // A second one of this process leaves the first alone.
        let second = Scratch::new(root.path()).unwrap();
        assert!(scratch.path().exists() && second.path().exists());
        let paths = [scratch.path().to_owned(), second.path().to_owned()];
        drop((scratch, second));
        assert!(paths.iter().all(|p| !p.exists()));
    }
}
