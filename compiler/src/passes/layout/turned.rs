//! Arguments of products that lie with their depth innermost.
//!
//! Dot products add up the lanes of every result. Where an argument meets many rows, a copy of it with columns innermost costs less:
//!
//! ```text
//!   contract "y" [.. i: 128, j: 128 | d: 64] { .. %q[i, d] * %k[j, d] .. }        %k: the caller's
//!
//!   rearrange    %k.turned[j, d] = %k[j, d]                                         columns innermost: `order`
//!   contract "y" { .. %q[i, d] * %k.turned[j, d] .. }
//! ```

use std::collections::BTreeMap;

use kiln_ir::kernel::{
    Access, BufferId, BufferKind, Edits, Form, Index, Kernel, LoopId, Lowering, Operand, Program, RegionId,
    Role,
};

use super::order::axis_of;

/// Rows and columns from which on a copy can be worth it.
const FEWEST: i64 = 32;
/// Steps of depth that are copied in the time in which the lanes of a result are added, with room to spare.
const STEPS: i64 = 4;

/// Gives products copies of such arguments.
pub(super) fn run(program: &mut Program) {
    let mut edits = Edits::default();
    let mut copies: BTreeMap<(BufferId, Option<RegionId>), BufferId> = BTreeMap::new();
    for i in 0..program.kernels().len() {
        let Some(from) = argument(program, program.kernel(i)) else { continue };
        let copy = *copies.entry((from, program.region_of(i))).or_insert_with(|| {
            let (name, ty) = (program.buffer(from).name.clone(), program.buffer(from).ty.clone());
            let (loops, ids) = Lowering::loops_over(&ty.shape);
            let copy = program.add_buffer(&format!("{name}.turned"), ty, BufferKind::Temp);
            let at = |buffer| Access::new(buffer, ids.iter().map(|&l| Index::from(l)).collect());
            let form = Form::Rearrange { from: at(from), to: at(copy) };
            let (name, nodes) =
                (program.kernel_name(&format!("{name}.turned")), program.kernel(i).nodes.clone());
            edits.insert(i, Kernel { name, nodes, loops, form });
            copy
        });
        for (operand, access) in program.kernel_mut(i).form.parts_mut().operands {
            if access.buffer == from && operand == Operand::Weight {
                access.buffer = copy;
            }
        }
    }
    program.edit(edits);
}

/// The right operand of a product, where it is the caller's and its lanes are steps of depth.
fn argument(program: &Program, kernel: &Kernel) -> Option<BufferId> {
    let Form::Contract { lhs, rhs, .. } = &kernel.form else { return None };
    let buffer = program.buffer(rhs.buffer);
    if buffer.kind != BufferKind::Input || lhs.buffer == rhs.buffer || rhs.as_loops().is_none() {
        return None;
    }
    let innermost = |a: &Access, l: LoopId| axis_of(a, l) == a.index.len().checked_sub(1);
    let depth = kernel.loops_of(Role::Reduce);
    depth.iter().find(|l| innermost(lhs, **l) && innermost(rhs, **l))?;
    let extent = |l: &LoopId| kernel.loop_(*l).extent.typical(&program.bounds).unwrap_or(1);
    let of = |own: &Access, other: &Access| -> i64 {
        let alone = |l: &LoopId| own.uses(*l) && !other.uses(*l);
        kernel.loops_of(Role::Parallel).iter().filter(|l| alone(l)).map(extent).product()
    };
    let (rows, columns) = (of(lhs, rhs), of(rhs, lhs));
    let steps: i64 = depth.iter().map(extent).product();
    (rows >= FEWEST && columns >= FEWEST && rows * STEPS >= steps).then_some(rhs.buffer)
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    fn product(rows: usize, right: &str) -> String {
        let text = format!(
            "program @m {{
               input %q: f32[{rows}, 8] input %k: f32[40, 8] input %w: f32[8, 40]
               output %y: f32[{rows}, 40]
               contract \"y\" [i: {rows}, j: 40 | d: 8] {{ acc: f32 = %q[i, d] * {right} %y[i, j] = acc }}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        let numbers = |shape: &[usize]| {
            let n = shape.iter().product::<usize>();
            Tensor::from_vec(shape, (0..n).map(|i| (i * 5 % 7) as f32 - 3.0).collect())
        };
        let inputs = [numbers(&[rows, 8]), numbers(&[40, 8]), numbers(&[8, 40])];
        let expected = eval::kernel::run(&program, &inputs).unwrap();
        run(&mut program);
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &inputs).unwrap(), expected, "{program}");
        program.to_string()
    }

    #[test]
    fn an_argument_with_its_depth_innermost_is_copied_for_many_rows() {
        assert!(product(40, "%k[j, d]").contains("%k.turned[j, d]"));
        assert!(!product(4, "%k[j, d]").contains("turned"));
        assert!(!product(40, "%w[d, j]").contains("turned"));
    }
}
