//! The list of the architectures.

use target_lexicon::Triple;

use crate::aarch64::Aarch64;
use crate::arch::{Arch, Visit};
use crate::target::Level;
use crate::x86_64::X86_64;

macro_rules! architectures {
    ($($arch:ty),* $(,)?) => {
        /// Visits the architecture of a triple; `None` for one without a folder.
        pub(crate) fn visit<V: Visit>(triple: &Triple, v: V) -> Option<V::Out> {
            $(if <$arch as Arch>::is(triple.architecture) {
                return Some(v.visit::<$arch>());
            })*
            None
        }

        /// Every architecture with its levels.
        pub(crate) fn list() -> Vec<(&'static str, &'static [Level])> {
            vec![$((<$arch as Arch>::NAME, <$arch as Arch>::LEVELS)),*]
        }
    };
}

// A folder, and its line.
architectures! {
    X86_64,
    Aarch64,
}
