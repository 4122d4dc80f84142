//! The code of kernels as text: what Cranelift is given, and machine code.

use std::fmt::Write as _;

use cranelift_codegen::control::ControlPlane;
use cranelift_frontend::FunctionBuilderContext;
use kiln_ir::Result;
use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;
use kiln_targets::encode::disassemble;
use kiln_targets::isa::{Code, isa};
use kiln_targets::line;

use super::function::{Made, grouped, make};
use super::maker::internal;
use super::places::Places;

/// Texts of one kernel.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Its name in the plan.
    pub kernel: String,
    /// The function that Cranelift compiles; `None` for kernels that are encoded without it.
    pub clif: Option<String>,
    /// Its machine code, decoded where there is a decoder for the target, else as Cranelift wrote it.
    pub asm: String,
}

/// What Cranelift is given for every kernel, each below a line with its name.
pub fn clif(plan: &Plan, target: &Target) -> Result<String> {
    let encoded = || "; encoded without Cranelift\n".to_owned();
    Ok(joined(kernels(plan, target)?, |listing| listing.clif.unwrap_or_else(encoded)))
}

/// The machine code of every kernel, each below a line with its name.
pub fn asm(plan: &Plan, target: &Target) -> Result<String> {
    Ok(joined(kernels(plan, target)?, |listing| listing.asm))
}

fn joined(listings: Vec<Listing>, text: impl Fn(Listing) -> String) -> String {
    let mut out = String::new();
    for (i, listing) in listings.into_iter().enumerate() {
        let _ = write!(out, "; kernel {i} '{}'\n{}\n", listing.kernel.clone(), text(listing));
    }
    out
}

/// What a function's bytes say, where there is a decoder for the target.
fn text(target: &Target, code: &[u8]) -> Option<String> {
    disassemble(target, code).map(|lines| line::text(&lines))
}

/// Texts of every kernel of a plan, as it is compiled for an object.
pub fn kernels(plan: &Plan, target: &Target) -> Result<Vec<Listing>> {
    let isa = isa(target, Code::Object, cfg!(debug_assertions))?;
    let mut scratch = FunctionBuilderContext::new();
    let mut listings = Vec::with_capacity(plan.kernels.len());
    let mut shared: Vec<Option<&Places>> = vec![None; plan.kernels.len()];
    let groups = grouped(&plan.kernels, target);
    let mut first: Vec<usize> = (0..plan.kernels.len()).collect();
    for group in &groups {
        for &i in &group.members {
            (first[i], shared[i]) = (group.members[0], group.places.as_ref());
        }
    }
    for (i, kernel) in plan.kernels.iter().enumerate() {
        // What it shares with others is their first one's.
        let job = (&plan.kernels[first[i]], shared[i]);
        let at = |e: kiln_ir::Error| e.at(&kernel.name, kernel.form.name());
        let made = make(isa.frontend_config(), &mut scratch, i as u32, job, target).map_err(at)?;
        let (clif, asm) = match made {
            Made::Code(encoded) => (None, text(target, &encoded.code).unwrap_or_default()),
            Made::Input(mut context) => {
                let clif = context.func.display().to_string();
                context.set_disasm(true);
                let compiled = context.compile(&*isa, &mut ControlPlane::default());
                let compiled = compiled.map_err(|e| at(internal(&format!("{:?}", e.inner))))?;
                let own = || compiled.vcode.clone().unwrap_or_default();
                (Some(clif), text(target, compiled.code_buffer()).unwrap_or_else(own))
            }
        };
        listings.push(Listing { kernel: kernel.name.clone(), clif, asm });
    }
    Ok(listings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};

    #[test]
    fn every_kernel_has_a_text() {
        let mut program = conv_bias_relu(64, 64);
        absorb::run(&mut program);
        layout::run(&mut program).unwrap();
        for (triple, level, multiply, encoded) in [
            ("x86_64-unknown-linux-gnu", "sse2", "mulps %xmm", true),
            ("x86_64-unknown-linux-gnu", "avx2", "vfmadd231ps %ymm", true),
            ("x86_64-unknown-linux-gnu", "avx512", "vfmadd231ps %zmm", true),
            ("aarch64-unknown-linux-gnu", "neon", "fmla v", true),
        ] {
            let target = kiln_targets::resolve(triple, level, "").unwrap();
            let plan = crate::planner::build(program.clone(), &target).unwrap();
            let listings = kernels(&plan, &target).unwrap();
            assert_eq!(listings.len(), plan.kernels.len());
            for listing in &listings {
                assert!(listing.asm.trim_end().contains("ret"), "{level}: {}", listing.asm);
            }
            let conv = listings.iter().find(|l| l.kernel == "conv").unwrap();
            assert!(conv.asm.contains(multiply), "{level}: {}", conv.asm);
            assert_eq!(conv.clif.is_none(), encoded, "{level}");
            let text = asm(&plan, &target).unwrap();
            assert!(text.starts_with(&format!("; kernel 0 '{}'\n", listings[0].kernel)), "{text}");
            assert_eq!(
                clif(&plan, &target).unwrap().contains("block0"),
                listings.iter().any(|l| l.clif.is_some())
            );
        }
    }
}
