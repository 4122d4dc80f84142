//! One kernel, one function: its machine code.

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{InstBuilder, UserFuncName};
use cranelift_codegen::isa::{TargetFrontendConfig, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use kiln_ir::Result;
use kiln_ir::kernel::plan::{PlannedKernel, Provider, Schedule};
use kiln_targets::encode::{Encoded, Program, encode, fits};
use kiln_targets::generic::clif::{self, Clif};
use kiln_targets::simd::R;
use kiln_targets::{Target, c};

use super::maker::{internal, kernel_signature};
use super::places::{Group, Places, groups};
use super::scalar;
use super::unwind::{self, Unwind};
use super::vector::Vectors;

/// A cache line: encoded functions carry constants that are as wide.
const CODE_ALIGN: u64 = 64;

/// Machine code that may lie at any multiple of its alignment: it refers to nothing outside itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The code.
    pub bytes: Vec<u8>,
    /// What its address must be a multiple of.
    pub align: u64,
    /// How its caller is found, where that is asked for: code for this process has none.
    pub unwind: Option<Unwind>,
}

/// A kernel on its way to machine code.
pub(super) enum Made {
    /// Encoded.
    Code(Encoded),
    /// For Cranelift to compile.
    Input(Box<Context>),
}

/// Whether the kernel's provider can make it: the same generators run without keeping what they generate.
pub fn check(kernel: &PlannedKernel, target: &Target) -> R {
    check_placed(kernel, None, target)
}

/// Groups of kernels that share a function on a target.
pub(super) fn grouped(kernels: &[PlannedKernel], target: &Target) -> Vec<Group> {
    groups(kernels, &|kernel, places| check_placed(kernel, Some(places), target).is_ok())
}

/// [`check`] for code that reads its places from the frame.
fn check_placed(kernel: &PlannedKernel, places: Option<&Places>, target: &Target) -> R {
    let vectors = Vectors::placed(kernel, places);
    match kernel.provider {
        Provider::Plain => Ok(()),
        Provider::Encoder { .. } => fits(target, &vectors),
        Provider::Portable { .. } if target.text => c::text(target, &vectors).map(drop),
        Provider::Portable { .. } => clif::check(target, &vectors),
    }
}

/// Generates a kernel's code; `number` names the function in texts.
pub(super) fn make(
    config: TargetFrontendConfig,
    scratch: &mut FunctionBuilderContext,
    number: u32,
    (kernel, places): (&PlannedKernel, Option<&Places>),
    target: &Target,
) -> Result<Made> {
    let vectors = Vectors::placed(kernel, places);
    if let Provider::Encoder { .. } = kernel.provider {
        let code = encode(target, &vectors)?;
        return code.map(Made::Code).ok_or_else(|| internal(&"an encoder that the target does not have"));
    }
    let mut context = Box::new(Context::new());
    context.func.signature = kernel_signature();
    context.func.name = UserFuncName::user(0, number);
    let mut b = FunctionBuilder::new(&mut context.func, scratch);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry);
    let args = [params[0], params[1], params[2]];
    match (kernel.provider, &kernel.schedule) {
        (Provider::Plain, Schedule::Scalar { order }) => {
            scalar::emit(kernel, places, order, &mut b, args, target)?
        }
        (Provider::Plain, _) => return Err(internal(&"vectors by plain loops")),
        _ => vectors.emit(&mut Clif::new(&mut b, entry, args, target))?,
    }
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(config);
    Ok(Made::Input(context))
}

/// A kernel's machine code.
pub(super) fn compile(
    isa: &dyn TargetIsa,
    scratch: &mut FunctionBuilderContext,
    kernel: (&PlannedKernel, Option<&Places>),
    target: &Target,
) -> Result<Machine> {
    let mut context = match make(isa.frontend_config(), scratch, 0, kernel, target)? {
        Made::Code(Encoded { code, unwind }) => {
            let unwind = isa.flags().unwind_info().then_some(Unwind::Encoded(unwind));
            return Ok(Machine { bytes: code, align: CODE_ALIGN, unwind });
        }
        Made::Input(context) => context,
    };
    let compiled = context
        .compile(isa, &mut ControlPlane::default())
        .map_err(|e| internal(&format!("{:?}", e.inner)))?;
    let buffer = &compiled.buffer;
    // The host may not have the library, and every operation has code that needs none.
    if let Some(reloc) = buffer.relocs().first() {
        return Err(internal(&format!("a kernel that refers to {:?}", reloc.target)));
    }
    let unwind = unwind::compiled(compiled, isa)?;
    Ok(Machine { bytes: buffer.data().to_vec(), align: u64::from(buffer.alignment), unwind })
}
