//! Small programs for the tests of passes.

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Expr, Form, Index, Kernel, Loop, LoopId, Program, Role, Scalar,
    Store,
};
use kiln_ir::{DType, Dim, Shape, Tensor, TensorType};

/// Loops from `(name, extent, role)`.
pub(crate) fn loops(list: &[(&str, i64, Role)]) -> Vec<Loop> {
    let make = |(name, extent, role): &(&str, i64, Role)| Loop {
        name: (*name).to_owned(),
        extent: Dim::Const(*extent),
        role: *role,
    };
    list.iter().map(make).collect()
}

/// An index that is one loop.
pub(crate) fn at(l: u16) -> Index {
    LoopId(l).into()
}

/// The index 0.
pub(crate) fn zero() -> Index {
    Affine::constant(0i64).into()
}

/// An f32 buffer.
pub(crate) fn buffer(program: &mut Program, name: &str, shape: &[usize], kind: BufferKind) -> BufferId {
    let id = program.add_buffer(name, TensorType::new(DType::F32, Shape::of(shape)), kind.clone());
    match kind {
        BufferKind::Input => program.inputs.push(id),
        BufferKind::Output => program.outputs.push(id),
        _ => {}
    }
    id
}

/// An f32 constant of small distinct values.
pub(crate) fn constant(program: &mut Program, name: &str, shape: &[usize]) -> BufferId {
    let values = (0..shape.iter().product::<usize>()).map(|i| ((i * 7 + 3) % 11) as f32 - 5.0).collect();
    let tensor = Tensor::from_vec::<f32>(shape, values);
    program.add_buffer(name, tensor.ty(), BufferKind::Const(tensor))
}

/// Adds a kernel.
pub(crate) fn kernel(program: &mut Program, name: &str, loops: Vec<Loop>, form: Form) {
    program.push_kernel(Kernel { name: name.to_owned(), nodes: vec![name.to_owned()], loops, form });
}

/// A 3x3 convolution with padding 1 of `x: [1, c, 8, 8]` by `w: [o, c, 3, 3]`, then a bias and relu as kernels of
/// their own, into an output of `[1, o, 8, 8]`.
pub(crate) fn conv_bias_relu(c: usize, o: usize) -> Program {
    use Role::{Parallel, Reduce};
    let mut p = Program::new("m");
    let x = buffer(&mut p, "x", &[1, c, 8, 8], BufferKind::Input);
    let w = constant(&mut p, "w", &[o, c, 3, 3]);
    let b = constant(&mut p, "b", &[o, 1, 1]);
    let t: Vec<BufferId> =
        (0..3).map(|i| buffer(&mut p, &format!("t{i}"), &[1, o, 8, 8], BufferKind::Temp)).collect();
    let y = buffer(&mut p, "y", &[1, o, 8, 8], BufferKind::Output);
    let conv = loops(&[
        ("n", 1, Parallel),
        ("o", o as i64, Parallel),
        ("h", 8, Parallel),
        ("w", 8, Parallel),
        ("c", c as i64, Reduce),
        ("kh", 3, Reduce),
        ("kw", 3, Reduce),
    ]);
    let row = |out: u16, k: u16| Index::from(Affine::of(LoopId(out)).plus(LoopId(k), 1i64).shifted(-1i64));
    let lhs = Access {
        buffer: x,
        index: vec![at(0), at(4), row(2, 5), row(3, 6)],
        otherwise: Some(Scalar::f32(0.0)),
    };
    let rhs = Access::new(w, vec![at(1), at(4), at(5), at(6)]);
    let all = || vec![at(0), at(1), at(2), at(3)];
    let store = Store { to: Access::new(t[0], all()), value: Expr::Acc };
    kernel(&mut p, "conv", conv, Form::Contract { acc: DType::F32, lhs, rhs, store });
    let map =
        || loops(&[("n", 1, Parallel), ("o", o as i64, Parallel), ("h", 8, Parallel), ("w", 8, Parallel)]);
    let load = |b: BufferId| Expr::Load(Access::new(b, all()));
    let bias = Expr::Load(Access::new(b, vec![at(1), zero(), zero()]));
    let add = Expr::binary(kiln_ir::kernel::BinaryOp::Add, load(t[0]), bias);
    kernel(
        &mut p,
        "add",
        map(),
        Form::Map { stores: vec![Store { to: Access::new(t[1], all()), value: add }] },
    );
    let relu = Expr::binary(kiln_ir::kernel::BinaryOp::Max, load(t[1]), Expr::f32(0.0));
    kernel(
        &mut p,
        "relu",
        map(),
        Form::Map { stores: vec![Store { to: Access::new(t[2], all()), value: relu }] },
    );
    kernel(&mut p, "y", map(), Form::Rearrange { from: Access::new(t[2], all()), to: Access::new(y, all()) });
    p
}
