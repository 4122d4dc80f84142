//! The byte that stands for zero in a tensor of bytes, which most of them are near.

use kiln_ir::kernel::{BinaryOp, BufferId, Expr, Form, Program, WindowOp};

/// Kernels from a tensor back to the one that quantises it.
const MOST_KERNELS: usize = 8;

/// The number that is added before a value becomes a byte; `None` where the kernels do not show it.
pub(super) fn of(program: &Program, buffer: BufferId) -> Option<f64> {
    let mut buffer = buffer;
    for _ in 0..MOST_KERNELS {
        let stores = |form: &Form| form.stores().iter().any(|to| to.buffer == buffer);
        let form = &program.kernels().iter().find(|k| stores(&k.form))?.form;
        buffer = match form {
            Form::Rearrange { from, .. } => from.buffer,
            Form::Window { op: WindowOp::Max, input, .. } => input.buffer,
            form => {
                match added(form.parts().stores.iter().find(|s| s.to.buffer == buffer).map(|s| &s.value)?)? {
                    Found::Number(zero) => return Some(zero),
                    Found::Copied(from) => from,
                }
            }
        };
    }
    None
}

enum Found {
    Number(f64),
    /// What is in another tensor.
    Copied(BufferId),
}

fn added(value: &Expr) -> Option<Found> {
    match value {
        Expr::Cast(_, of) => added(of),
        Expr::Binary(BinaryOp::Min | BinaryOp::Max, of, limit) if matches!(**limit, Expr::Const(_)) => {
            added(of)
        }
        Expr::Binary(BinaryOp::Add, _, zero) => match &**zero {
            Expr::Const(zero) => Some(Found::Number(zero.to_f64())),
            _ => None,
        },
        Expr::Unary(..) => Some(Found::Number(0.0)),
        Expr::Load(from) => Some(Found::Copied(from.buffer)),
        _ => None,
    }
}
