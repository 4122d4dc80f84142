//! SHA-256 of texts and bytes, in hexadecimal.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};

/// Files and large data are digested in pieces of this size, and the digests of these once more.
const PIECE_BYTES: usize = 1 << 22;

/// A digest in the making. Text is fed to it as it is formatted; that never fails.
#[derive(Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Feeds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of what was fed: 64 hexadecimal digits.
    pub fn hex(self) -> String {
        let mut out = String::new();
        for byte in self.0.finalize() {
            let _ = write!(out, "{byte:02x}");
        }
        out
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// The digest of a text.
pub fn of_text(text: &str) -> String {
    let mut digest = Digest::default();
    digest.bytes(text.as_bytes());
    digest.hex()
}

/// The digest of a file's contents. Pieces are read and digested on all cores: memory stays small.
///
/// # Errors
///
/// Those of reading it.
pub fn of_file(path: &Path) -> io::Result<String> {
    let pieces = std::fs::metadata(path)?.len().div_ceil(PIECE_BYTES as u64) as usize;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, [u8; 32])>> = Mutex::default();
    let work = || -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= pieces {
                return Ok(());
            }
            bytes.clear();
            file.seek(SeekFrom::Start(i as u64 * PIECE_BYTES as u64))?;
            (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut bytes)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, Sha256::digest(&bytes).into()));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(pieces);
    thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let own = work();
        let ended = || Err(io::Error::other("a thread ended early"));
        others.into_iter().map(|other| other.join().unwrap_or_else(|_| ended())).fold(own, Result::and)
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable();
    Ok(of_digests(&done.into_iter().map(|(_, digest)| digest).collect::<Vec<_>>()))
}

/// The digest of parts, told apart, on all cores.
pub fn of_parts(parts: &[&[u8]]) -> String {
    let mut pieces: Vec<&[u8]> = Vec::new();
    let sizes: Vec<u8> = parts.iter().flat_map(|part| (part.len() as u64).to_le_bytes()).collect();
    pieces.push(&sizes);
    pieces.extend(parts.iter().flat_map(|part| part.chunks(PIECE_BYTES)));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, [u8; 32])>> = Mutex::default();
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(i) else { return };
            let digest = Sha256::digest(piece).into();
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, digest));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(pieces.len());
    thread::scope(|scope| {
        (1..threads).all(|_| thread::Builder::new().spawn_scoped(scope, work).is_ok());
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable();
    of_digests(&done.into_iter().map(|(_, digest)| digest).collect::<Vec<_>>())
}

fn of_digests(digests: &[[u8; 32]]) -> String {
    let mut digest = Digest::default();
    digests.iter().for_each(|d| digest.bytes(d));
    digest.hex()
}
