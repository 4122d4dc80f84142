//! Files mapped into memory: external data, objects on their way into archives.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// The contents of an open file. Pages are read when they are used and are not copied.
///
/// # Errors
///
/// Those of the system: something that is no regular file cannot be mapped.
pub fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read-only and private to this process. Another process that changes the file during
    // the compilation changes the weights, as it could just before; one that shortens it ends this process
    // with SIGBUS. Both need write access to the model, whose integrity is its owner's to keep meanwhile.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}
