//! SHA-256 of texts and bytes, in hexadecimal.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

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
