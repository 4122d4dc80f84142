//! The kinds of files that a model is compiled to.

use kiln_ir::Error;
use target_lexicon::Triple;

use crate::emit::{archive, boards};

/// A kind of file that a model is compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emit {
    /// The static library, `libNAME.a`.
    Lib,
    /// The object file, `NAME.o`.
    Obj,
    /// A shared library, `libNAME.so`, with the header: for systems whose objects are ELF files.
    Shared,
    /// The C header, `NAME.h`.
    Header,
    /// The C++ header, `NAME.hpp`, with the C one.
    Hpp,
    /// The model as C99 for any machine with a compiler, `NAME.c`, with the header. It is made instead of machine code.
    C,
    /// The model as a module of a Rust program, `NAME.rs`.
    Rust,
    /// A package for CMake's `find_package`, `NAMEConfig.cmake` and `NAMEConfigVersion.cmake`, with library and header.
    Cmake,
    /// A package for pkg-config, `NAME.pc`, with library and header.
    Pkgconfig,
    /// The model as C99 in a folder that is a module of Zephyr, `zephyr/NAME`.
    Zephyr,
    /// The same as a library of PlatformIO, `platformio/NAME`.
    Platformio,
    /// The same as a library of Arduino, `arduino/NAME`.
    Arduino,
    /// The same as a component of ESP-IDF, `esp-idf/NAME`.
    EspIdf,
    /// Everything that is known of the artefact, `NAME.report.json`.
    Report,
    /// The same for people, as a page that needs nothing else, `NAME.report.html`.
    Html,
    /// The optimised graph, `NAME.ir`.
    Ir,
    /// The optimised graph for Graphviz, `NAME.dot`.
    Dot,
    /// The kernels with schedules and offsets, `NAME.plan`.
    Plan,
    /// The kernels as Cranelift is given them, `NAME.clif`.
    Clif,
    /// The machine code of the kernels, `NAME.asm`.
    Asm,
}

impl Emit {
    /// The names of the files for a model's name, as the target's linker looks for them.
    pub fn files(self, name: &str, triple: &Triple) -> Vec<String> {
        let file = match self {
            Self::Lib => archive::file_name(name, triple),
            Self::Obj => format!("{name}.o"),
            Self::Shared => format!("lib{name}.so"),
            Self::Header => format!("{name}.h"),
            Self::Hpp => format!("{name}.hpp"),
            Self::C => format!("{name}.c"),
            Self::Rust => format!("{name}.rs"),
            Self::Cmake => return vec![format!("{name}Config.cmake"), format!("{name}ConfigVersion.cmake")],
            Self::Pkgconfig => format!("{name}.pc"),
            Self::Zephyr => return boards::zephyr::files(name),
            Self::Platformio => return boards::platformio::files(name),
            Self::Arduino => return boards::arduino::files(name),
            Self::EspIdf => return boards::esp_idf::files(name),
            Self::Report => format!("{name}.report.json"),
            Self::Html => format!("{name}.report.html"),
            Self::Ir => format!("{name}.ir"),
            Self::Dot => format!("{name}.dot"),
            Self::Plan => format!("{name}.plan"),
            Self::Clif => format!("{name}.clif"),
            Self::Asm => format!("{name}.asm"),
        };
        vec![file]
    }

    /// Whether it is of machine code, which a model that becomes C has none of.
    pub fn is_of_machine_code(self) -> bool {
        matches!(
            self,
            Self::Lib
                | Self::Obj
                | Self::Shared
                | Self::Rust
                | Self::Cmake
                | Self::Pkgconfig
                | Self::Clif
                | Self::Asm
        )
    }

    /// Whether it is the model as C, for which there is no machine code.
    pub fn is_of_c(self) -> bool {
        matches!(self, Self::C | Self::Zephyr | Self::Platformio | Self::Arduino | Self::EspIdf)
    }

    /// Refuses kinds that have no place for a file of weights beside them: folders for the tools of boards.
    ///
    /// # Errors
    ///
    /// It is unsupported then.
    pub fn takes_weights_file(emits: &[Self]) -> kiln_ir::Result<()> {
        if emits.iter().all(|emit| *emit == Self::C || !emit.is_of_c()) {
            return Ok(());
        }
        let error = Error::unsupported(
            "folders for the tools of boards with their weights in a file are not supported",
        );
        Err(error.hint("--emit c writes code that is given them, --weights-section puts them into a section"))
    }

    /// The name of the only file.
    pub(super) fn file(self, name: &str, triple: &Triple) -> String {
        self.files(name, triple).swap_remove(0)
    }

    /// These kinds and what they are of no use without, each once, in the order asked for.
    pub fn complete(emits: &[Self]) -> Vec<Self> {
        // A package is of the shared library where that is asked for.
        let library = if emits.contains(&Self::Shared) { Self::Shared } else { Self::Lib };
        let mut all = Vec::with_capacity(emits.len());
        for emit in emits {
            let with: &[Self] = match emit {
                Self::Cmake | Self::Pkgconfig => &[library, Self::Header],
                Self::C | Self::Shared | Self::Hpp => &[Self::Header],
                _ => &[],
            };
            for emit in with.iter().chain([emit]) {
                if !all.contains(emit) {
                    all.push(*emit);
                }
            }
        }
        all
    }
}
