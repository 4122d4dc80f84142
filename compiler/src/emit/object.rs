//! A model as an object file.
//!
//! Code goes through Cranelift's object backend. Read-only data does not: its symbol is declared as an import, and
//! the bytes become a section of the finished object, moved into it and streamed to disk from there. Weights leave
//! the plan one by one while that section is filled, so that they are held once.

use std::io::{self, Write};

use ::object::write::{Object, SymbolSection};
use ::object::{SectionKind, SymbolKind, SymbolScope};
use cranelift_codegen::ir::LibCall;
use cranelift_module::{Module as _, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use kiln_ir::kernel::outside::Outside;
use kiln_ir::kernel::plan::{Plan, Weight};
use kiln_ir::{Error, Result};
use kiln_targets::Target;
use kiln_targets::isa::{Code, isa};

use super::unwind;
use crate::codegen;
use crate::digest;
use crate::variant::{self, Variant};

/// What may be chosen about an object.
#[derive(Clone, Debug)]
pub struct ObjectOptions {
    /// The section of the read-only data; the format's usual one when `None`.
    pub weights_section: Option<String>,
    /// Whether the read-only data is a file of its own, `NAME.weights.bin`, which calls are given.
    pub weights_file: bool,
    /// Whether Cranelift checks each function before it compiles it; changes no byte.
    pub verify: bool,
}

impl Default for ObjectOptions {
    /// The format's section; verified where our own code is built with assertions.
    fn default() -> Self {
        Self { weights_section: None, weights_file: false, verify: cfg!(debug_assertions) }
    }
}

/// An object file in memory, to be written.
pub struct ObjectFile {
    object: Object<'static>,
    /// Size of all code.
    pub code_bytes: usize,
    /// Bytes of stack that a call of `NAME_run` takes at most; `None` where that is not known.
    pub stack_bytes: Option<u32>,
    /// The same of each kernel, per variant in the plan's order, without what calls it.
    pub kernel_stack_bytes: Vec<Vec<Option<u32>>>,
    /// Size of each kernel's code, per variant in the plan's order; 0 where it is an earlier one's.
    pub kernel_code_bytes: Vec<Vec<usize>>,
}

impl ObjectFile {
    /// Writes the file; the weights are copied nowhere else first. The outer error is Kiln's, the inner one that of
    /// `out`, such as a full disk.
    pub fn write(&self, out: impl Write) -> Result<io::Result<()>> {
        match self.object.write_stream(out) {
            Ok(()) => Ok(Ok(())),
            Err(e) => match e.downcast::<io::Error>() {
                Ok(e) => Ok(Err(*e)),
                Err(e) => Err(Error::internal(format!("writing the object: {e}"))),
            },
        }
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.object.write().map_err(|e| Error::internal(format!("writing the object: {e}")))
    }
}

/// Compiles a plan to an object whose symbols start with `name`, a C identifier. The same arguments give the same
/// bytes, and nothing in the object is undefined.
pub fn emit(plan: Plan, target: &Target, name: &str, options: &ObjectOptions) -> Result<ObjectFile> {
    emit_variants(&mut [plan], std::slice::from_ref(target), name, options)
}

/// The same for the plans of several variants, the least demanding first, which share their read-only data. It is taken out
/// of them.
pub fn emit_variants(
    plans: &mut [Plan],
    targets: &[Target],
    name: &str,
    options: &ObjectOptions,
) -> Result<ObjectFile> {
    let target = targets.first().ok_or_else(|| Error::internal("an object without code"))?;
    if !target.has_objects() {
        return Err(Error::unsupported(format!("objects for {} are not supported", target.triple)));
    }
    let isa = isa(&target.minimum()?, Code::Object, options.verify)?;
    let builder = ObjectBuilder::new(isa, name, default_libcall_names())
        .map_err(|e| Error::unsupported(format!("objects for {} are not supported: {e}", target.triple)))?;
    let mut module = ObjectModule::new(builder);
    let weights = take_weights(plans);
    let variants: Vec<Variant<'_>> =
        plans.iter().zip(targets).map(|(plan, target)| Variant { plan, target }).collect();
    let built = codegen::build(&mut module, &variants, name, Code::Object)?;
    let cie = module.isa().create_systemv_cie();
    let mut product = module.finish();
    let described = built.unwind.into_iter().map(|d| unwind::Function {
        symbol: product.function_symbol(d.id),
        bytes: d.bytes,
        unwind: d.unwind,
    });
    let described = described.collect();
    unwind::add(&mut product.object, cie, described)?;
    let weights_bytes = variant::weights_bytes(&variants);
    if let Some(data) = built.weights.filter(|_| weights_bytes > 0) {
        let symbol = product.data_symbol(data);
        let bytes = assemble(weights, weights_bytes)?;
        let size = bytes.len() as u64;
        let object = &mut product.object;
        let section = add_weights_section(object, options.weights_section.as_deref())?;
        let align = targets.iter().map(|t| t.align).max().unwrap_or(1);
        object.set_section_data(section, bytes, align as u64);
        let symbol = object.symbol_mut(symbol);
        symbol.section = SymbolSection::Section(section);
        symbol.value = 0;
        symbol.size = size;
        symbol.kind = SymbolKind::Data;
        symbol.scope = SymbolScope::Compilation;
    }
    refuse_library_calls(&product.object)?;
    let own = |k: &codegen::KernelFunction| if k.shared { 0 } else { k.code_bytes };
    let sizes = |kernels: &codegen::Kernels| kernels.functions.iter().map(own).collect();
    let stacks = |kernels: &codegen::Kernels| kernels.functions.iter().map(|k| k.stack_bytes).collect();
    Ok(ObjectFile {
        object: product.object,
        code_bytes: built.code_bytes,
        stack_bytes: built.stack_bytes,
        kernel_stack_bytes: built.kernels.iter().map(stacks).collect(),
        kernel_code_bytes: built.kernels.iter().map(sizes).collect(),
    })
}

/// The read-only data of plans, taken out of them, for a file that calls are given: the plans know it from then on.
pub fn take_file(plans: &mut [Plan]) -> Result<WeightsFile> {
    let bytes = plans.iter().map(|p| p.weights_bytes).max().unwrap_or(0);
    let data = assemble(take_weights(plans), bytes)?;
    let outside = Outside::new(bytes, &digest::of_parts(&[&data]));
    plans.iter_mut().for_each(|plan| plan.outside = Some(outside));
    Ok(WeightsFile { outside, data })
}

/// A file that calls are given.
pub struct WeightsFile {
    outside: Outside,
    data: Vec<u8>,
}

impl WeightsFile {
    /// Writes it.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        out.write_all(&self.outside.to_bytes())?;
        out.write_all(&self.data)
    }
}

/// Every weight of several plans once, by its place.
fn take_weights(plans: &mut [Plan]) -> Vec<Weight> {
    let mut weights: Vec<Weight> = plans.iter_mut().flat_map(|p| std::mem::take(&mut p.weights)).collect();
    weights.sort_by_key(|w| (w.offset_bytes, w.tensor.data.len()));
    // Of what several plans read one is enough; the others would keep it in memory.
    weights.dedup_by(|b, a| a.offset_bytes == b.offset_bytes && a.tensor.data.len() == b.tensor.data.len());
    weights
}

/// One block of memory with every weight at its offset; each is let go of as soon as it is copied.
fn assemble(weights: Vec<Weight>, bytes: usize) -> Result<Vec<u8>> {
    // Zeroed pages come from the system when they are first written.
    let mut out = vec![0; bytes];
    for weight in weights {
        let data = &weight.tensor.data;
        weight
            .offset_bytes
            .checked_add(data.len())
            .and_then(|end| out.get_mut(weight.offset_bytes..end))
            .ok_or_else(|| {
                Error::internal(format!("weight '{}' is outside the read-only data", weight.name))
            })?
            .copy_from_slice(data);
    }
    Ok(out)
}

fn add_weights_section(
    object: &mut Object<'static>,
    name: Option<&str>,
) -> Result<::object::write::SectionId> {
    let macho = object.format() == ::object::BinaryFormat::MachO;
    let (segment, section) = match (name, macho) {
        (None, true) => ("__TEXT", "__const"),
        (None, false) => {
            ("", if object.format() == ::object::BinaryFormat::Coff { ".rdata" } else { ".rodata.weights" })
        }
        (Some(name), true) => name.split_once(',').ok_or_else(|| {
            Error::invalid(format!("section '{name}' for Mach-O")).hint("write SEGMENT,section")
        })?,
        (Some(name), false) => ("", name),
    };
    Ok(object.add_section(
        segment.as_bytes().to_vec(),
        section.as_bytes().to_vec(),
        SectionKind::ReadOnlyData,
    ))
}

/// A call of a library, which the model's host may not have: an operation that code generation should have avoided.
fn refuse_library_calls(object: &Object<'static>) -> Result<()> {
    let name = default_libcall_names();
    let called: Vec<String> = LibCall::all_libcalls()
        .iter()
        .map(|call| name(*call))
        .filter(|name| object.symbol_id(name.as_bytes()).is_some())
        .collect();
    if called.is_empty() {
        return Ok(());
    }
    Err(Error::internal(format!("the object calls {}", called.join(", "))))
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Port, Provider, Schedule, Shared, Storage};
    use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, LoopId, Role, Store, UnaryOp};
    use kiln_ir::{DType, Dim, Shape, Tensor, TensorType};
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

    use super::*;

    /// `y = erf(x + w)` over three elements.
    fn plan() -> Plan {
        let access = |storage| FlatAccess {
            name: "x".to_owned(),
            storage,
            dtype: DType::F32,
            offset: Dim::Const(0),
            strides: vec![Dim::Const(1)],
            gathers: vec![],
            guards: vec![],
            otherwise: None,
        };
        let load = |storage| Expr::Load(access(storage));
        let sum =
            Expr::binary(BinaryOp::Add, load(Storage::Input(0)), load(Storage::Weights { offset_bytes: 64 }));
        let port = || Port { name: "x".to_owned(), ty: TensorType::new(DType::F32, Shape::of(&[3])) };
        Plan {
            name: "m".to_owned(),
            inputs: vec![port()],
            outputs: vec![port()],
            weights: vec![Weight {
                name: "w".to_owned(),
                offset_bytes: 64,
                tensor: Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]),
            }],
            weights_bytes: 76,
            arena_align: 64,
            kernels: vec![PlannedKernel {
                name: "k".to_owned(),
                nodes: vec![],
                loops: vec![Loop { name: "i".to_owned(), extent: Dim::Const(3), role: Role::Parallel }],
                form: Form::Map {
                    stores: vec![Store {
                        to: access(Storage::Output(0)),
                        value: Expr::unary(UnaryOp::Floor, Expr::unary(UnaryOp::Erf, sum)),
                    }],
                },
                schedule: Schedule::Scalar { order: vec![LoopId(0)] },
                provider: Provider::Plain,
                shared: Some(Shared { along: LoopId(0), step: 1 }),
                why: String::new(),
                grain: Some(Dim::Const(2)),
                bounds: Default::default(),
            }],
            ..Plan::default()
        }
    }

    #[test]
    fn objects_need_nothing_and_show_only_what_hosts_call() {
        for triple in [
            "x86_64-unknown-linux-gnu",
            "aarch64-unknown-linux-gnu",
            "aarch64-unknown-none",
            "x86_64-pc-windows-msvc",
            "x86_64-apple-darwin",
            "aarch64-apple-darwin",
        ] {
            let target = kiln_targets::resolve(triple, "baseline", "").unwrap();
            let make = || emit(plan(), &target, "m", &ObjectOptions::default()).unwrap();
            let bytes = make().to_bytes().unwrap();
            assert_eq!(bytes, make().to_bytes().unwrap(), "{triple}");
            let mut streamed = Vec::new();
            make().write(&mut streamed).unwrap().unwrap();
            assert_eq!(bytes, streamed, "{triple}");
            let file = object::File::parse(&*bytes).unwrap();
            let mut global: Vec<_> =
                file.symbols().filter(|s| s.is_global()).map(|s| s.name().unwrap().to_owned()).collect();
            global.sort();
            let prefix = if triple.contains("apple") { "_" } else { "" };
            assert_eq!(global, [format!("{prefix}m_run"), format!("{prefix}m_run_parallel")], "{triple}");
            assert!(file.symbols().all(|s| !s.is_undefined() || s.name() == Ok("")), "{triple}");
        }
    }

    #[test]
    fn callers_are_found_where_there_is_a_system() {
        for (triple, sections) in [
            ("x86_64-unknown-linux-gnu", &[".eh_frame"][..]),
            ("aarch64-unknown-linux-gnu", &[".eh_frame"]),
            ("x86_64-pc-windows-msvc", &[".pdata", ".xdata"]),
            ("aarch64-unknown-none", &[]),
        ] {
            let target = kiln_targets::resolve(triple, "baseline", "").unwrap();
            let bytes = emit(plan(), &target, "m", &ObjectOptions::default()).unwrap().to_bytes().unwrap();
            let file = object::File::parse(&*bytes).unwrap();
            let mut found: Vec<_> = file
                .sections()
                .filter(|s| s.size() > 0)
                .map(|s| s.name().unwrap().to_owned())
                .filter(|name| [".eh_frame", ".pdata", ".xdata"].contains(&&**name))
                .collect();
            found.sort();
            assert_eq!(found, sections, "{triple}");
            // Every function's begin, and Windows' other two words.
            let functions = file.symbols().filter(|s| s.kind() == object::SymbolKind::Text).count();
            let words = if sections.len() == 2 { 3 } else { 1 };
            for section in file.sections().filter(|s| [".eh_frame", ".pdata"].contains(&s.name().unwrap())) {
                assert_eq!(section.relocations().count(), words * functions, "{triple}");
            }
        }
    }

    #[test]
    fn objects_for_apple_name_the_oldest_system_that_runs_them() {
        for (triple, version) in [
            ("x86_64-apple-darwin", (10, 12)),
            ("aarch64-apple-darwin", (11, 0)),
            ("aarch64-apple-macosx13.1.0", (13, 1)),
            ("aarch64-apple-ios", (10, 0)),
        ] {
            use object::macho::{LC_BUILD_VERSION, MachHeader64};
            use object::read::macho::MachHeader;
            let target = kiln_targets::resolve(triple, "baseline", "").unwrap();
            let bytes = emit(plan(), &target, "m", &ObjectOptions::default()).unwrap().to_bytes().unwrap();
            let header = MachHeader64::<object::Endianness>::parse(&*bytes, 0).unwrap();
            let endian = header.endian().unwrap();
            let mut commands = header.load_commands(endian, &*bytes, 0).unwrap();
            let minos = loop {
                let command = commands.next().unwrap().expect(triple);
                if command.cmd() == LC_BUILD_VERSION {
                    break command.build_version().unwrap().unwrap().minos.get(endian);
                }
            };
            assert_eq!((minos >> 16, minos >> 8 & 0xff), version, "{triple}");
        }
    }

    #[test]
    fn a_full_disk_is_told_as_what_it_is() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "", "").unwrap();
        let object = emit(plan(), &target, "m", &ObjectOptions::default()).unwrap();
        assert_eq!(object.write(Full).unwrap().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn variants_need_nothing_either_in_any_format() {
        for triple in [
            "x86_64-unknown-linux-gnu",
            "x86_64-unknown-none",
            "x86_64-pc-windows-msvc",
            "x86_64-apple-darwin",
        ] {
            let targets = kiln_targets::resolve_list(triple, &["baseline", "avx2", "avx512"], "").unwrap();
            let mut plans = vec![plan(); targets.len()];
            let object = emit_variants(&mut plans, &targets, "m", &ObjectOptions::default()).unwrap();
            assert_eq!(object.kernel_code_bytes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
            let bytes = object.to_bytes().unwrap();
            let file = object::File::parse(&*bytes).unwrap();
            let prefix = if triple.contains("apple") { "_" } else { "" };
            for name in ["m_variant", "m_probe", "m_choose", "m_v1_avx2_kernel_0"] {
                let name = format!("{prefix}{name}");
                let symbol = file.symbols().find(|s| s.name() == Ok(&name));
                assert!(symbol.is_some_and(|s| s.is_definition() && !s.is_global()), "{triple}: {name}");
            }
            assert!(file.symbols().all(|s| !s.is_undefined() || s.name() == Ok("")), "{triple}");
        }
    }

    #[test]
    fn weights_lie_in_the_chosen_section() {
        let target = kiln_targets::resolve("aarch64-unknown-none", "", "").unwrap();
        let options = ObjectOptions { weights_section: Some(".flash".to_owned()), ..Default::default() };
        let bytes = emit(plan(), &target, "m", &options).unwrap().to_bytes().unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let section = file.section_by_name(".flash").unwrap();
        assert_eq!(section.align(), 64);
        assert_eq!(&section.data().unwrap()[64..68], 1f32.to_le_bytes());
    }

    #[test]
    fn refusals() {
        let target = kiln_targets::resolve("aarch64-pc-windows-msvc", "", "").unwrap();
        assert!(emit(plan(), &target, "m", &ObjectOptions::default()).is_err());
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "", "").unwrap();
        let mut outside = plan();
        outside.weights_bytes = 70;
        assert!(emit(outside, &target, "m", &ObjectOptions::default()).is_err());
    }
}
