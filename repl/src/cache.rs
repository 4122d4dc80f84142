//! Compiled models in a folder, by content, and beside them the code of single kernels.
//!
//! An entry is a file that [`Image::open`] accepts: its key names the model's bytes, the options, the machine and this
//! build of the compiler, and its digest says that it is whole. What is not so is compiled again and replaced. Files are
//! written beside their place and moved there, so that others see all of a file or none; two processes that make the same
//! entry make the same bytes.
//!
//! The digest of a model file is kept with its stamp (size, times, place on the disk), as version control does it, so that
//! a large file that nobody touched is not read again.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_compiler::internals::codegen::KernelStore;
use kiln_compiler::internals::digest;
use kiln_compiler::internals::emit::image::Image;

/// A folder of compiled models.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// A file that was changed so shortly before it was read may be changed again without a new time.
const TOO_FRESH: Duration = Duration::from_secs(2);

/// A file that is written takes less time.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

impl Cache {
    /// The cache in a folder, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // What a process that was killed was writing.
        for entry in std::fs::read_dir(folder)?.filter_map(Result::ok) {
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            if entry.file_name().to_string_lossy().starts_with('.')
                && age.is_some_and(|age| age > LEFT_BEHIND)
            {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Code of single kernels, beside the models.
    pub(crate) fn kernels(&self, build: &str) -> KernelStore {
        KernelStore::with_folder(&self.folder.join("kernels"), build)
    }

    /// The compiled model of a key.
    pub(crate) fn get(&self, key: &str) -> Option<Image> {
        Image::open(&self.place(key), key)
    }

    /// Keeps a compiled model. A folder that cannot be written to is no reason to stop.
    pub(crate) fn put(&self, key: &str, image: &Image) -> io::Result<()> {
        let path = self.beside(key);
        let written = image.write(&path, key).and_then(|()| std::fs::rename(&path, self.place(key)));
        if written.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        written
    }

    fn place(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{}.kiln", &key[..key.len().min(32)]))
    }

    /// A name that no other process and no other thread has.
    fn beside(&self, key: &str) -> PathBuf {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos());
        self.folder.join(format!(".{}.{}.{time}", &key[..key.len().min(32)], std::process::id()))
    }

    /// The digest of files together, of which the first names the others.
    ///
    /// # Errors
    ///
    /// Those of reading them.
    pub(crate) fn digest(&self, path: &Path, others: &dyn Fn() -> Vec<PathBuf>) -> io::Result<String> {
        let record = self.folder.join(format!("{}.stamp", &digest::of_text(&path.to_string_lossy())[..32]));
        if let Some(known) = std::fs::read_to_string(&record).ok().and_then(|text| recorded(path, &text)) {
            return Ok(known);
        }
        let files: Vec<PathBuf> = [path.to_owned()].into_iter().chain(others()).collect();
        let stamps: Vec<String> = files.iter().map(|f| stamp(f)).collect::<io::Result<_>>()?;
        let digest = digest_of(&files)?;
        let fresh = |f: &PathBuf| {
            let changed = std::fs::metadata(f).and_then(|m| m.modified()).ok();
            changed.and_then(|t| t.elapsed().ok()).is_none_or(|age| age < TOO_FRESH)
        };
        if !files.iter().any(fresh) && files.iter().all(|f| !f.to_string_lossy().contains('\n')) {
            let lines = files.iter().zip(&stamps).map(|(f, stamp)| format!("{stamp} {}\n", f.display()));
            let text: String = std::iter::once(format!("{digest}\n")).chain(lines).collect();
            let beside = self.beside(&digest);
            let _ = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &record));
        }
        Ok(digest)
    }
}

/// What changes whenever somebody writes to one of these files.
///
/// # Errors
///
/// Those of the system.
pub(crate) fn stamps<'p>(files: impl Iterator<Item = &'p PathBuf>) -> io::Result<String> {
    let each = files.map(|f| Ok(format!("{} {}", f.display(), stamp(f)?))).collect::<io::Result<Vec<_>>>()?;
    Ok(each.join(", "))
}

/// The digest of files together.
fn digest_of(files: &[PathBuf]) -> io::Result<String> {
    let digests: Vec<String> = files.iter().map(|f| digest::of_file(f)).collect::<io::Result<_>>()?;
    Ok(digest::of_text(&digests.join(" ")))
}

/// The digest that a record has for a file, if all files in it are as they were.
fn recorded(path: &Path, text: &str) -> Option<String> {
    let mut lines = text.lines();
    let digest = lines.next().filter(|d| d.len() == 64)?;
    let mut first = true;
    for line in lines {
        let (then, file) = line.split_once(' ')?;
        if first && Path::new(file) != path || stamp(Path::new(file)).ok()? != then {
            return None;
        }
        first = false;
    }
    (!first).then(|| digest.to_owned())
}

/// What changes whenever somebody writes to a file.
fn stamp(path: &Path) -> io::Result<String> {
    let meta = std::fs::metadata(path)?;
    let nanos = |time: io::Result<SystemTime>| {
        let since = time.ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |t| t.as_nanos())
    };
    Ok(format!("{}-{}-{}", meta.len(), nanos(meta.modified()), inode(&meta)))
}

#[cfg(unix)]
fn inode(meta: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{}-{}-{}.{}", meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec())
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> String {
    String::new()
}

/// This build of the compiler: its version, and the stamp of the program that it is part of.
pub(crate) fn build() -> String {
    let program = std::env::current_exe().and_then(|exe| stamp(&exe)).unwrap_or_default();
    format!("{} {program}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_has_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(&folder.path().join("cache")).unwrap();
        let model = folder.path().join("model");
        let none = || Vec::new();
        std::fs::write(&model, vec![7u8; 10 << 20]).unwrap();
        let first = cache.digest(&model, &none).unwrap();
        // Too fresh to be trusted by its stamp: the record is not there.
        assert_eq!(std::fs::read_dir(folder.path().join("cache")).unwrap().count(), 0);
        let mut bytes = vec![7u8; 10 << 20];
        bytes[9 << 20] = 8;
        std::fs::write(&model, &bytes).unwrap();
        assert_ne!(cache.digest(&model, &none).unwrap(), first);
        // Old enough: recorded, and found again.
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&model).unwrap().set_modified(long_ago).unwrap();
        let second = cache.digest(&model, &none).unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("cache")).unwrap().count(), 1);
        assert_eq!(cache.digest(&model, &|| panic!("it is known")).unwrap(), second);
        std::fs::write(&model, vec![7u8; 10 << 20]).unwrap();
        assert_eq!(cache.digest(&model, &none).unwrap(), first);
    }
}
