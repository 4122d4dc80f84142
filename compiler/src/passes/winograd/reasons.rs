//! Why a convolution is computed as it is defined, for `kiln explain`.

use kiln_ir::DType;
use kiln_ir::kernel::{Affine, BufferKind, Form, Kernel, LoopId, Program, Role};
use kiln_targets::Target;

use super::convolution::Convolution;
use super::cost;
use super::matrices::WINDOW;
use crate::rules::Fired;
use crate::schedule::Choices;

/// The name of the rewrite in reports.
const NAME: &str = "winograd";

/// What the pass does at every convolution with a window: size of tiles or the reason why none.
pub fn report(program: &Program, target: &Target, choices: &Choices) -> Vec<Fired> {
    let of = |kernel: &Kernel| {
        let window = window(program, kernel)?;
        let missed = match Convolution::of(program, kernel) {
            Some(conv) => match cost::filter(&conv.layer, std::slice::from_ref(target), choices) {
                Some(_) => None,
                None if choices.get(&conv.layer.key()).is_some() => {
                    Some("measured slower than the definition".to_owned())
                }
                None => Some(cost::why_not(&conv.layer, target)),
            },
            None => Some(window),
        };
        Some(Fired { rule: NAME, node: kernel.name.clone(), missed })
    };
    program.kernels().iter().filter_map(of).collect()
}

/// For a contraction over windows of more than one element: what of it does not fit.
fn window(program: &Program, kernel: &Kernel) -> Option<String> {
    let Form::Contract { acc: DType::F32 | DType::I32, lhs, rhs, .. } = &kernel.form else { return None };
    let role = |l: LoopId| kernel.loop_(l).role;
    let (mut sizes, mut steps, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for index in &lhs.index {
        let Some(Affine { terms, .. }) = index.affine() else { continue };
        let [a, b] = &terms[..] else { continue };
        let (result, element) = if role(a.0) == Role::Parallel { (a, b) } else { (b, a) };
        if role(result.0) == Role::Parallel && role(element.0) == Role::Reduce {
            sizes.push(kernel.loop_(element.0).extent.to_string());
            steps.push(result.1.to_string());
            gaps.push(element.1.to_string());
        }
    }
    if sizes.is_empty() || sizes.iter().all(|n| n == "1") {
        return None;
    }
    let is = |list: &[String], value: &str| list.iter().all(|n| n == value);
    let by = |list: &[String]| list.join(" x ");
    let constant = matches!(&program.buffer(rhs.buffer).kind, BufferKind::Const(_));
    let batches = kernel.loops.iter().filter(|l| l.role == Role::Parallel).count();
    Some(if sizes.len() != 2 || !is(&sizes, "3") {
        format!("its window is {}, not {WINDOW} x {WINDOW}", by(&sizes))
    } else if !is(&steps, "1") {
        format!("its steps are {}, not 1 x 1", by(&steps))
    } else if !is(&gaps, "1") {
        format!("its window is dilated by {}", by(&gaps))
    } else if !constant {
        "its weights are not constant".to_owned()
    } else if batches > 4 {
        "it has groups".to_owned()
    } else {
        "its epilogue or operands cannot be read tile by tile".to_owned()
    })
}
