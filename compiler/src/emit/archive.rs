//! `libNAME.a`, for Microsoft's linker `NAME.lib`: a static library of one object, byte for byte the same every time.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use target_lexicon::{Environment, OperatingSystem, Triple};

/// What the library is called.
pub fn file_name(name: &str, triple: &Triple) -> String {
    match triple.environment {
        Environment::Msvc => format!("{name}.lib"),
        _ => format!("lib{name}.a"),
    }
}

/// Writes the archive of the object file at `object`, which is mapped, not read.
pub fn write(archive: &Path, object: &Path, member: &str, triple: &Triple) -> std::io::Result<()> {
    let bytes = kiln_onnx::map_file(&File::open(object)?)?;
    let member = NewArchiveMember::new(bytes, &DEFAULT_OBJECT_READER, member.to_owned());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(archive)?);
    write_archive_to_stream(&mut out, &[member], kind(triple), false, None)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(())
}

fn kind(triple: &Triple) -> ArchiveKind {
    match triple.operating_system {
        OperatingSystem::Darwin(_) | OperatingSystem::MacOSX(_) | OperatingSystem::IOS(_) => {
            ArchiveKind::Darwin
        }
        OperatingSystem::Windows => ArchiveKind::Coff,
        _ => ArchiveKind::Gnu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_linker_finds_its_name() {
        let name = |triple: &str| file_name("net", &triple.parse().unwrap());
        assert_eq!(name("x86_64-pc-windows-msvc"), "net.lib");
        assert_eq!(name("x86_64-pc-windows-gnu"), "libnet.a");
        assert_eq!(name("aarch64-apple-darwin"), "libnet.a");
    }

    #[test]
    fn archives_are_deterministic_and_have_a_symbol_table() {
        use object::write::{Object, Symbol, SymbolSection};
        let mut file =
            Object::new(object::BinaryFormat::Elf, object::Architecture::X86_64, object::Endianness::Little);
        let text = file.section_id(object::write::StandardSection::Text);
        let value = file.append_section_data(text, &[0xC3], 16);
        file.add_symbol(Symbol {
            name: b"model_run".to_vec(),
            value,
            size: 1,
            kind: object::SymbolKind::Text,
            scope: object::SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(text),
            flags: object::SymbolFlags::None,
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.o");
        std::fs::write(&path, file.write().unwrap()).unwrap();
        let triple: Triple = "x86_64-unknown-linux-gnu".parse().unwrap();
        let archive = |name: &str| {
            let archive = folder.path().join(name);
            write(&archive, &path, "model.o", &triple).unwrap();
            std::fs::read(archive).unwrap()
        };
        let (a, b) = (archive("a.a"), archive("b.a"));
        assert_eq!(a, b);
        let parsed = object::read::archive::ArchiveFile::parse(&*a).unwrap();
        let symbols: Vec<_> =
            parsed.symbols().unwrap().unwrap().map(|s| s.unwrap().name().to_vec()).collect();
        assert_eq!(symbols, [b"model_run".to_vec()]);
    }
}
