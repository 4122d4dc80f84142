//! Cranelift's view of a target.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use kiln_ir::{Error, Result};

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
    let bare = matches!(
        target.triple.operating_system,
        target_lexicon::OperatingSystem::None_ | target_lexicon::OperatingSystem::Unknown
    );
    let pic = code == Code::Object && !bare;
    let values = [
        ("opt_level", "none"),
        ("is_pic", if pic { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        ("log2_min_function_alignment", "6"),
        ("enable_verifier", if verify { "true" } else { "false" }),
        ("unwind_info", "false"),
    ];
    for (name, value) in values {
        shared.set(name, value).map_err(|e| internal(&e))?;
    }
    let mut builder = cranelift_codegen::isa::lookup(target.triple.clone())
        .map_err(|e| Error::unsupported(format!("target {}: {e}", target.triple)))?;
    for flag in &target.isa_flags {
        builder.enable(flag).map_err(|e| internal(&e))?;
    }
    builder.finish(settings::Flags::new(shared)).map_err(|e| internal(&e))
}
