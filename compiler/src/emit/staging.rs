//! Files that appear all together or not at all.
//!
//! Everything is written into a folder inside the output folder first; [`Staging::commit`] renames each file to
//! its place. When an error ends the work before, the folder goes, and so do the output folders made for it; a
//! process that ends otherwise calls [`discard_all`] first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tempfile::TempDir;

use crate::error::BuildError;

/// An output folder in the making.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    staged: Option<TempDir>,
    made: Made,
    files: Vec<String>,
}

/// What is staged in this process: the hidden folder, and the output folders made for it.
static PENDING: Mutex<Vec<(PathBuf, Vec<PathBuf>)>> = Mutex::new(Vec::new());

fn pending() -> MutexGuard<'static, Vec<(PathBuf, Vec<PathBuf>)>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all that is staged in this process, for good: for a handler of signals, right before the process ends.
/// Files that are being put in place are all in place first; none is afterwards.
pub fn discard_all() {
    const TRIES: usize = 100;
    let wait = || std::thread::sleep(Duration::from_millis(10));
    // Not forever: the thread that is to be ended may be the one that holds the lock.
    let lock = (0..TRIES).find_map(|_| match PENDING.try_lock() {
        Ok(pending) => Some(pending),
        Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
        Err(TryLockError::WouldBlock) => {
            wait();
            None
        }
    });
    let Some(pending) = lock else { return };
    for (staged, made) in pending.iter() {
        // Other threads may be writing another file into it.
        for _ in 0..TRIES {
            match std::fs::remove_dir_all(staged) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => wait(),
                _ => break,
            }
        }
        made.iter().rev().for_each(|folder| {
            let _ = std::fs::remove_dir(folder);
        });
    }
    // Locked until the end of the process, so that nothing is committed any more.
    std::mem::forget(pending);
}

/// Folders that were made, outermost first; they are removed again, if empty, unless kept.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Not empty: somebody else uses it by now.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// A failure to write `path`.
pub fn failed(path: &Path) -> impl Fn(io::Error) -> BuildError + use<> {
    let path = path.to_owned();
    move |error| BuildError::Write { path: path.clone(), error }
}

impl Staging {
    /// Makes the folder where it is missing, and a hidden one inside.
    pub fn new(folder: &Path) -> Result<Self, BuildError> {
        let made = make_folders(folder).map_err(failed(folder))?;
        // Locked from before the folder is there until it is known.
        let mut pending = pending();
        let staged = tempfile::Builder::new().prefix(".kiln-").tempdir_in(folder).map_err(failed(folder))?;
        pending.push((staged.path().to_owned(), made.0.clone()));
        drop(pending);
        Ok(Self { folder: folder.to_owned(), staged: Some(staged), made, files: Vec::new() })
    }

    /// Where to write the file that will be called `name`.
    pub fn file(&mut self, name: &str) -> PathBuf {
        self.files.push(name.to_owned());
        self.scratch(name)
    }

    /// Where to write a file that is to be gone in the end.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.staged.as_ref().map_or(&*self.folder, |d| d.path()).join(name)
    }

    /// Where the file that will be called `name` will be.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a whole file that will be called `name`.
    pub fn write(&mut self, name: &str, contents: impl AsRef<[u8]>) -> Result<(), BuildError> {
        let path = self.file(name);
        std::fs::write(&path, contents).map_err(failed(&self.place(name)))
    }

    /// Puts every file in its place; gives their paths.
    pub fn commit(mut self) -> Result<Vec<PathBuf>, BuildError> {
        let places: Vec<PathBuf> = self.files.iter().map(|name| self.place(name)).collect();
        // A folder of that name is the one thing that a rename cannot replace: found before anything changes.
        if let Some(place) = places.iter().find(|p| p.is_dir()) {
            return Err(failed(place)(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")));
        }
        let pending = pending();
        for (name, place) in self.files.iter().zip(&places) {
            std::fs::rename(self.scratch(name), place).map_err(failed(place))?;
        }
        drop(pending);
        self.made.0.clear();
        Ok(places)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            let folder = staged.path().to_owned();
            drop(staged);
            pending().retain(|(other, _)| *other != folder);
        }
    }
}

fn make_folders(folder: &Path) -> io::Result<Made> {
    let mut made = Made::default();
    let missing = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    missing.reverse();
    for folder in missing {
        match std::fs::create_dir(&folder) {
            Ok(()) => made.0.push(folder),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    if folder.is_dir() {
        return Ok(made);
    }
    Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_was_not_committed() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("a/b");
        let mut staging = Staging::new(&out).unwrap();
        staging.write("x.h", "x").unwrap();
        assert!(out.exists());
        drop(staging);
        assert!(!root.path().join("a").exists());
    }

    #[test]
    fn committed_files_replace_old_ones() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("a");
        for text in ["old", "new"] {
            let mut staging = Staging::new(&out).unwrap();
            staging.write("x.h", text).unwrap();
            assert_eq!(staging.commit().unwrap(), [out.join("x.h")]);
        }
        assert_eq!(std::fs::read_to_string(out.join("x.h")).unwrap(), "new");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_no_folder() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("f"), "").unwrap();
        assert!(Staging::new(&root.path().join("f")).is_err());
        assert!(Staging::new(&root.path().join("f/g")).is_err());
        let mut staging = Staging::new(root.path()).unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        staging.write("d", "").unwrap();
        assert!(staging.commit().is_err());
        assert!(root.path().join("d").is_dir());
    }
}
