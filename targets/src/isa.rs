//! Cranelift's view of a target.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use kiln_ir::{Error, Result};
use target_lexicon::{Architecture, BinaryFormat, DeploymentTarget, OperatingSystem, Triple};

use crate::target::Target;

/// Where the code will live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// In an object file.
    Object,
    /// In this process.
    Jit,
}

/// The ISA for a target: no optimisation (kernels arrive in the order they shall have, and `speed` halves the
/// pace of unrolled tiles), every feature named one by one (presets leave out `has_avx`, which turns each fused
/// multiply-add into four calls), functions on cache lines. `verify` lets Cranelift check each function before it is
/// compiled.
pub fn isa(target: &Target, code: Code, verify: bool) -> Result<OwnedTargetIsa> {
    let internal = |e: &dyn std::fmt::Display| Error::internal(format!("Cranelift refuses a setting: {e}"));
    let mut shared = settings::builder();
    let bare = matches!(target.triple.operating_system, OperatingSystem::None_ | OperatingSystem::Unknown);
    let pic = code == Code::Object && !bare;
    let windows = target.triple.operating_system == OperatingSystem::Windows;
    // Apple's linkers want the distances of Mach-O's sections written in their own way.
    let described = pic && matches!(target.triple.binary_format, BinaryFormat::Elf | BinaryFormat::Coff);
    let values = [
        ("opt_level", "none"),
        ("is_pic", if pic { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        ("log2_min_function_alignment", "6"),
        ("enable_verifier", if verify { "true" } else { "false" }),
        ("unwind_info", if described { "true" } else { "false" }),
        // Windows gives a stack more room page by page, as they are touched.
        ("enable_probestack", if windows { "true" } else { "false" }),
        ("probestack_strategy", "inline"),
    ];
    for (name, value) in values {
        shared.set(name, value).map_err(|e| internal(&e))?;
    }
    let mut builder = cranelift_codegen::isa::lookup(with_oldest_system(target.triple.clone()))
        .map_err(|e| Error::unsupported(format!("target {} is not supported: {e}", target.triple)))?;
    for flag in &target.isa_flags {
        builder.enable(flag).map_err(|e| internal(&e))?;
    }
    builder.finish(settings::Flags::new(shared)).map_err(|e| internal(&e))
}

/// A triple of Apple's systems with the oldest version that can run the code, where it names none: linkers compare the
/// version in an object with the program's. The versions are those of Rust's targets.
fn with_oldest_system(mut triple: Triple) -> Triple {
    let arm = matches!(triple.architecture, Architecture::Aarch64(_));
    let oldest = |major, minor| Some(DeploymentTarget { major, minor, patch: 0 });
    match &mut triple.operating_system {
        OperatingSystem::Darwin(version @ None) | OperatingSystem::MacOSX(version @ None) => {
            *version = if arm { oldest(11, 0) } else { oldest(10, 12) };
        }
        OperatingSystem::IOS(version @ None) => *version = oldest(10, 0),
        _ => {}
    }
    triple
}
