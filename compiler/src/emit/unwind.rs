//! Sections by which debuggers, profilers and exceptions find the callers of a model's functions: `.eh_frame` in ELF, `.pdata` and
//! `.xdata` for Windows. Code of hosts without an operating system has none.
//!
//! Sources: *Linux Standard Base Core 5.0*, section 10.6; *x64 exception handling*, Microsoft Learn.

use ::object::write::{Object, Relocation, SymbolId};
use ::object::{BinaryFormat, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind};
use cranelift_codegen::isa::unwind::UnwindInfo;
use gimli::LittleEndian;
use gimli::constants::{DW_EH_PE_pcrel, DW_EH_PE_sdata4};
use gimli::write::{
    Address, CommonInformationEntry, EhFrame, EndianVec, FrameDescriptionEntry, FrameTable, RelocateWriter,
    RelocationTarget,
};
use kiln_ir::{Error, Result};
use kiln_targets::unwind;

use crate::codegen::Unwind;

/// A function of an object.
pub(super) struct Function {
    pub(super) symbol: SymbolId,
    /// Bytes of its code.
    pub(super) bytes: u32,
    pub(super) unwind: Unwind,
}

/// Adds what the object's format wants; `cie` is what holds for all functions of the architecture.
pub(super) fn add(
    object: &mut Object<'static>,
    cie: Option<CommonInformationEntry>,
    functions: Vec<Function>,
) -> Result<()> {
    match (object.format(), cie) {
        _ if functions.is_empty() => Ok(()),
        (BinaryFormat::Coff, _) => add_windows(object, &functions),
        (BinaryFormat::Elf, Some(cie)) => add_dwarf(object, cie, functions),
        _ => Ok(()),
    }
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("unwind information: {error}"))
}

/// The bytes of `.eh_frame`, and the places that hold distances to functions.
struct Frames {
    bytes: EndianVec<LittleEndian>,
    distances: Vec<gimli::write::Relocation>,
}

impl RelocateWriter for Frames {
    type Writer = EndianVec<LittleEndian>;

    fn writer(&self) -> &Self::Writer {
        &self.bytes
    }

    fn writer_mut(&mut self) -> &mut Self::Writer {
        &mut self.bytes
    }

    fn relocate(&mut self, relocation: gimli::write::Relocation) {
        self.distances.push(relocation);
    }
}

fn add_dwarf(
    object: &mut Object<'static>,
    mut cie: CommonInformationEntry,
    functions: Vec<Function>,
) -> Result<()> {
    // Within two gigabytes, wherever the program lies.
    cie.fde_address_encoding = DW_EH_PE_pcrel | DW_EH_PE_sdata4;
    let mut table = FrameTable::default();
    let cie = table.add_cie(cie);
    let symbols: Vec<SymbolId> = functions.iter().map(|f| f.symbol).collect();
    for (symbol, function) in functions.into_iter().enumerate() {
        let address = Address::Symbol { symbol, addend: 0 };
        let entry = match function.unwind {
            Unwind::Compiled(UnwindInfo::SystemV(info), returns) => {
                let mut entry = info.to_fde(address);
                returns.into_iter().for_each(|(at, rule)| entry.add_instruction(at, rule));
                entry
            }
            Unwind::Encoded(unwind::Unwind::Dwarf(rules)) => {
                let mut entry = FrameDescriptionEntry::new(address, function.bytes);
                rules.into_iter().for_each(|(at, rule)| entry.add_instruction(at, rule));
                entry
            }
            _ => return Err(internal(&"of another system")),
        };
        table.add_fde(cie, entry);
    }
    let mut frames = EhFrame::from(Frames { bytes: EndianVec::new(LittleEndian), distances: Vec::new() });
    table.write_eh_frame(&mut frames).map_err(|e| internal(&e))?;
    let Frames { bytes, distances } = frames.0;
    let section = object.section_id(::object::write::StandardSection::EhFrame);
    let at = object.append_section_data(section, bytes.slice(), 8);
    for distance in distances {
        let RelocationTarget::Symbol(symbol) = distance.target else {
            return Err(internal(&"a distance to a section"));
        };
        let symbol = *symbols.get(symbol).ok_or_else(|| internal(&"a function that is not there"))?;
        let (symbol, place) = place(object, symbol)?;
        let offset = at + distance.offset as u64;
        relocate(object, section, offset, symbol, place + distance.addend, RelocationKind::Relative)?;
    }
    Ok(())
}

/// A function's section, and where in it the function lies: another library could stand in for an exported symbol.
fn place(object: &mut Object<'static>, function: SymbolId) -> Result<(SymbolId, i64)> {
    let symbol = object.symbol(function);
    let (section, value) = (symbol.section.id(), symbol.value);
    let section = section.ok_or_else(|| internal(&"a function without a section"))?;
    Ok((object.section_symbol(section), value as i64))
}

fn add_windows(object: &mut Object<'static>, functions: &[Function]) -> Result<()> {
    let mut section = |name: &[u8]| object.add_section(Vec::new(), name.to_vec(), SectionKind::ReadOnlyData);
    let (infos, table) = (section(b".xdata"), section(b".pdata"));
    let infos_symbol = object.section_symbol(infos);
    for function in functions {
        let info = match &function.unwind {
            Unwind::Compiled(UnwindInfo::WindowsX64(info), _) => {
                let mut bytes = vec![0; info.emit_size()];
                info.emit(&mut bytes);
                bytes
            }
            Unwind::Encoded(unwind::Unwind::Windows(info)) => info.clone(),
            _ => return Err(internal(&"of another system")),
        };
        let info = object.append_section_data(infos, &info, 4);
        // RUNTIME_FUNCTION: the function's begin, its end, its UNWIND_INFO, in bytes from the image's begin.
        let entry = object.append_section_data(table, &[0; 12], 4);
        let words =
            [(function.symbol, 0), (function.symbol, i64::from(function.bytes)), (infos_symbol, info as i64)];
        for (i, (symbol, addend)) in words.into_iter().enumerate() {
            relocate(object, table, entry + 4 * i as u64, symbol, addend, RelocationKind::ImageOffset)?;
        }
    }
    Ok(())
}

fn relocate(
    object: &mut Object<'static>,
    section: ::object::write::SectionId,
    offset: u64,
    symbol: SymbolId,
    addend: i64,
    kind: RelocationKind,
) -> Result<()> {
    let flags = RelocationFlags::Generic { kind, encoding: RelocationEncoding::Generic, size: 32 };
    object.add_relocation(section, Relocation { offset, symbol, addend, flags }).map_err(|e| internal(&e))
}
