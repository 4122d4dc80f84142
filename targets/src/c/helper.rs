//! A function that kernels in C call.

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Helper {
    /// On scalars alone, or over lanes by the macros of the prelude.
    pub lanes: String,
    /// Over vectors; the other one's where there is none.
    pub vector: Option<String>,
}

impl Helper {
    /// The same for all machines.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { lanes: text.into(), vector: None }
    }

    /// With vectors, and without.
    pub(super) fn both(lanes: impl Into<String>, vector: impl Into<String>) -> Self {
        Self { lanes: lanes.into(), vector: Some(vector.into()) }
    }
}
