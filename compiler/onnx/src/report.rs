//! Everything that is wrong with a model, told at once.

use kiln_ir::errors::Result;
use kiln_ir::{Error, Errors};

/// Collects errors so that all can be told.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Error>,
}

impl Report {
    /// More errors than anyone reads say no more than these.
    const MOST: usize = 1000;

    pub(super) fn push(&mut self, error: Error) {
        if self.errors.len() < Self::MOST && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// The value, or `None` with the error noted.
    pub(super) fn note<T>(&mut self, result: kiln_ir::Result<T>) -> Option<T> {
        result.map_err(|e| self.push(e)).ok()
    }

    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ if self.errors.is_empty() => Err(Error::internal("the import failed without a reason").into()),
            _ => Err(Errors(self.errors)),
        }
    }
}
