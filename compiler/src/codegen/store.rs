//! Machine code of kernels by content: what was compiled once is not compiled again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::function::Machine;

/// Code that a store keeps at most; beyond it starts anew.
const MOST_BYTES: usize = 64 << 20;

/// Machine code by the digest of everything that it depends on: the kernel but for names, and the target.
#[derive(Debug, Default)]
pub struct KernelStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    code: HashMap<String, Arc<Machine>>,
    bytes: usize,
    hits: usize,
}

impl KernelStore {
    /// How often code was found that had been compiled before.
    pub fn hits(&self) -> usize {
        self.kept().hits
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Machine>> {
        let mut kept = self.kept();
        let found = kept.code.get(key).cloned();
        kept.hits += usize::from(found.is_some());
        found
    }

    pub(super) fn put(&self, key: String, code: &Arc<Machine>) {
        let mut kept = self.kept();
        if kept.bytes > MOST_BYTES {
            kept.code.clear();
            kept.bytes = 0;
        }
        kept.bytes += code.bytes.len();
        kept.code.insert(key, Arc::clone(code));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
