//! Which byte of a number a machine stores first.

use target_lexicon::{Endianness, Triple};

/// The order of a number's bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in arena and read-only data on every machine.
    LowFirst,
    /// Elements are turned as they are loaded and stored.
    HighFirst,
}

impl Order {
    /// A machine's.
    pub fn of(triple: &Triple) -> Self {
        match triple.endianness() {
            Ok(Endianness::Big) => Self::HighFirst,
            _ => Self::LowFirst,
        }
    }

    /// What compilers call it.
    pub(crate) fn of_compilers(self) -> &'static str {
        match self {
            Self::LowFirst => "__ORDER_LITTLE_ENDIAN__",
            Self::HighFirst => "__ORDER_BIG_ENDIAN__",
        }
    }

    /// The byte that comes first: `low` or `high`.
    pub fn first(self) -> &'static str {
        match self {
            Self::LowFirst => "low",
            Self::HighFirst => "high",
        }
    }
}
