//! Files that appear all together or not at all.
//!
//! Everything is written into a hidden folder inside the output folder first. [`Staging::commit`] renames each file
//! to its place, and where one cannot be put there takes all back. When an error ends the work before, the hidden
//! folder goes, and so do the output folders made for it; what a killed process leaves the next one sweeps.

use std::io;
use std::path::{Path, PathBuf};

use super::scratch::Scratch;
pub use super::scratch::discard_all;
use crate::error::Error;

/// An output folder in the making.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    scratch: Scratch,
    files: Vec<String>,
    stale: Vec<String>,
}

/// A failure to write `path`.
pub fn failed(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| Error::write(path.clone(), error)
}

impl Staging {
    /// Makes the folder where it is missing, and a hidden one inside; sweeps those of processes that were killed.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        // An empty path is this folder; entries of it have names without a folder.
        let within = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let scratch = Scratch::new(within).map_err(failed(within))?;
        Ok(Self { folder: folder.to_owned(), scratch, files: Vec::new(), stale: Vec::new() })
    }

    /// Where to write the file that will be called `name`.
    pub fn file(&mut self, name: &str) -> PathBuf {
        self.files.push(name.to_owned());
        self.scratch(name)
    }

    /// Where to write a file that is to be gone in the end.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Where the file that will be called `name` will be.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a whole file that will be called `name`.
    pub fn write(&mut self, name: &str, contents: impl AsRef<[u8]>) -> Result<(), Error> {
        let path = self.file(name);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, contents)
        };
        write().map_err(failed(&self.place(name)))
    }

    /// Notes that a file of that name, if there is one, says what is no longer so: it goes with the commit.
    pub fn remove(&mut self, name: &str) {
        self.stale.push(name.to_owned());
    }

    /// Puts every file in its place; gives their paths. Either all are there then, or what was there before is.
    pub fn commit(self) -> Result<Vec<PathBuf>, Error> {
        let places: Vec<PathBuf> = self.files.iter().map(|name| self.place(name)).collect();
        // A folder of that name is the one thing that a rename cannot replace: found before anything changes.
        if let Some(place) = places.iter().find(|p| p.is_dir()) {
            return Err(failed(place)(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")));
        }
        let before = self.scratch(".kiln-before");
        std::fs::create_dir(&before).map_err(failed(&self.folder))?;
        let guard = self.scratch.uninterrupted();
        let mut changes = Changes::default();
        for (name, place) in self.files.iter().zip(&places) {
            let new = self.scratch(name);
            changes.make_folders(place.parent()).map_err(failed(place))?;
            changes.make(place, &before, || std::fs::rename(&new, place)).map_err(failed(place))?;
        }
        for place in self.stale.iter().map(|name| self.place(name)).filter(|p| p.is_file()) {
            changes.make(&place, &before, || std::fs::remove_file(&place)).map_err(failed(&place))?;
        }
        changes.keep();
        drop(guard);
        self.scratch.keep_around();
        Ok(places)
    }
}

/// Changed places with what was there before, and folders that were made for them; all is changed back, last first, unless
/// it is kept.
#[derive(Default)]
struct Changes {
    places: Vec<(PathBuf, Option<PathBuf>)>,
    folders: Vec<PathBuf>,
}

impl Changes {
    /// Makes a folder and those around it, where they are missing.
    fn make_folders(&mut self, folder: Option<&Path>) -> io::Result<()> {
        let missing = |f: &&Path| !f.as_os_str().is_empty() && !f.is_dir();
        let missing: Vec<&Path> = folder.into_iter().flat_map(Path::ancestors).take_while(missing).collect();
        for folder in missing.into_iter().rev() {
            std::fs::create_dir(folder)?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }

    /// Leaves everything as it has become.
    fn keep(&mut self) {
        self.places.clear();
        self.folders.clear();
    }

    /// Makes a change to `place`, whose file is kept in the folder `before`.
    fn make(
        &mut self,
        place: &Path,
        before: &Path,
        change: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut kept = None;
        if place.symlink_metadata().is_ok() {
            let copy = before.join(self.places.len().to_string());
            // A second name costs nothing; some file systems have none.
            std::fs::hard_link(place, &copy).or_else(|_| std::fs::copy(place, &copy).map(|_| ()))?;
            kept = Some(copy);
        }
        change()?;
        self.places.push((place.to_owned(), kept));
        Ok(())
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for (place, before) in self.places.drain(..).rev() {
            let _ = match before {
                Some(before) => std::fs::rename(before, &place),
                None => std::fs::remove_file(&place),
            };
        }
        for folder in self.folders.drain(..).rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
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
    fn a_file_that_cannot_be_put_in_its_place_takes_the_others_back() {
        let root = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(root.path().join(name)).ok();
        std::fs::write(root.path().join("b"), "old").unwrap();
        std::fs::write(root.path().join("stale"), "old").unwrap();
        let mut staging = Staging::new(root.path()).unwrap();
        staging.write("a", "new").unwrap();
        staging.write("b", "new").unwrap();
        staging.remove("stale");
        // Never written.
        staging.file("c");
        assert!(staging.commit().is_err());
        assert_eq!(
            (read("a"), read("b").as_deref(), read("stale").as_deref()),
            (None, Some("old"), Some("old"))
        );
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn stale_files_go_with_the_commit() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("stale"), "old").unwrap();
        let mut staging = Staging::new(root.path()).unwrap();
        staging.write("a", "new").unwrap();
        staging.remove("stale");
        staging.remove("never there");
        staging.commit().unwrap();
        assert!(!root.path().join("stale").exists() && root.path().join("a").exists());
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
