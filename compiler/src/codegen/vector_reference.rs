//! A naive interpreter of flat kernels: what the vector generators' tests compare with.

use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Schedule, Storage};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, ReduceOp, Role, Side, UnaryOp, WindowOp};

use super::vector_testing::Memory;

/// What the kernel means, one element at a time.
pub(super) fn reference(kernel: &PlannedKernel, memory: &mut Memory) {
    let extents: Vec<i64> = kernel.loops.iter().map(|l| l.extent.as_const().expect("constants")).collect();
    let of = |role| (0..extents.len()).filter(move |&i| kernel.loops[i].role == role).collect::<Vec<_>>();
    let mut at = vec![0; extents.len()];
    each(&extents, &of(Role::Parallel), &mut at, &mut |at| {
        let mut acc: Option<f64> = None;
        let (op, stores): (ReduceOp, Vec<_>) = match &kernel.form {
            Form::Map { stores } => (ReduceOp::Sum, stores.clone()),
            Form::Rearrange { from, to } => {
                let value = load(kernel, memory, from, at, false);
                *place(memory, kernel, to, at) = value;
                return;
            }
            Form::Reduce { op, store, .. } => (*op, vec![store.clone()]),
            Form::Contract { store, .. } => (ReduceOp::Sum, vec![store.clone()]),
            Form::Window { op: WindowOp::Max, store, .. } => (ReduceOp::Max, vec![store.clone()]),
            Form::Window { store, .. } | Form::Transform { store, .. } => {
                (ReduceOp::Sum, vec![store.clone()])
            }
            Form::Extern { .. } => panic!("no loops"),
        };
        let mut inner = at.clone();
        each(&extents, &of(Role::Reduce), &mut inner, &mut |at| {
            let value = match &kernel.form {
                Form::Reduce { value, .. } => eval(kernel, memory, value, at, 0.0),
                Form::Contract { lhs, rhs, .. } => {
                    f64::from(load(kernel, memory, lhs, at, false))
                        * f64::from(load(kernel, memory, rhs, at, true))
                }
                Form::Window { input, weight, op, .. } => {
                    let x = f64::from(load(kernel, memory, input, at, false));
                    match (op, weight) {
                        (WindowOp::Dot, Some(w)) => x * f64::from(load(kernel, memory, w, at, false)),
                        _ => x,
                    }
                }
                Form::Transform { left, right, from, .. } => {
                    let factor = |side: &Side| {
                        let row = &side.rows().expect("a matrix")[at[side.to.0 as usize] as usize];
                        f64::from(row[at[side.over.0 as usize] as usize])
                    };
                    factor(left) * f64::from(load(kernel, memory, from, at, false)) * factor(right)
                }
                _ => return,
            };
            acc = Some(match (op, acc) {
                (ReduceOp::Sum, acc) => acc.unwrap_or(0.0) + value,
                (ReduceOp::Prod, acc) => acc.unwrap_or(1.0) * value,
                (_, None) => value,
                (_, Some(acc)) if acc.is_nan() || value.is_nan() => f64::NAN,
                (ReduceOp::Max, Some(acc)) => acc.max(value),
                (_, Some(acc)) => acc.min(value),
            });
        });
        let empty = match op {
            ReduceOp::Prod => 1.0,
            ReduceOp::Max => f64::NEG_INFINITY,
            ReduceOp::Min => f64::INFINITY,
            _ => 0.0,
        };
        let acc = acc.unwrap_or(empty);
        let values: Vec<_> = stores.iter().map(|s| eval(kernel, memory, &s.value, at, acc)).collect();
        for (store, value) in stores.iter().zip(values).filter(|(store, _)| !leaves(&store.to, at)) {
            *place(memory, kernel, &store.to, at) = value as f32;
        }
    });
}

fn each(extents: &[i64], loops: &[usize], at: &mut Vec<i64>, f: &mut dyn FnMut(&Vec<i64>)) {
    match loops.split_first() {
        None => f(at),
        Some((&l, rest)) => {
            for i in 0..extents[l] {
                at[l] = i;
                each(extents, rest, at, f);
            }
            at[l] = 0;
        }
    }
}

fn index(kernel: &PlannedKernel, a: &FlatAccess, at: &[i64], rhs: bool) -> usize {
    let mut i = a.offset.as_const().expect("constant");
    for (l, (stride, n)) in a.strides.iter().zip(at).enumerate() {
        let stride = stride.as_const().expect("constant");
        i += match &kernel.schedule {
            Schedule::Tile(t) if rhs && t.col == LoopId(l as u16) => {
                let nr = i64::from(t.nr);
                n / nr * t.panel_stride + n % nr
            }
            _ => stride * n,
        };
    }
    i as usize
}

/// Whether a guard does not hold.
fn leaves(a: &FlatAccess, at: &[i64]) -> bool {
    a.guards.iter().any(|g| {
        let terms = g.coefficients.iter().zip(at).map(|(c, n)| c.as_const().expect("constant") * n);
        let value = g.offset.as_const().expect("constant") + terms.sum::<i64>();
        !(0..g.extent.as_const().expect("constant")).contains(&value)
    })
}

fn load(kernel: &PlannedKernel, memory: &Memory, a: &FlatAccess, at: &[i64], rhs: bool) -> f32 {
    if leaves(a, at) {
        return f32::from_bits(a.otherwise.expect("a guarded access has a value outside").bits as u32);
    }
    let i = index(kernel, a, at, rhs);
    match a.storage {
        Storage::Input(n) => memory.inputs[n][i],
        Storage::Output(n) => memory.outputs[n][i],
        Storage::Weights { offset_bytes } => memory.weights[offset_bytes / 4 + i],
        Storage::Arena { .. } => panic!("tests have no arena"),
    }
}

fn place<'m>(memory: &'m mut Memory, kernel: &PlannedKernel, a: &FlatAccess, at: &[i64]) -> &'m mut f32 {
    let i = index(kernel, a, at, false);
    match a.storage {
        Storage::Output(n) => &mut memory.outputs[n][i],
        _ => panic!("tests write outputs"),
    }
}

fn eval(kernel: &PlannedKernel, memory: &Memory, e: &Expr<FlatAccess>, at: &[i64], acc: f64) -> f64 {
    let go = |e: &Expr<FlatAccess>| eval(kernel, memory, e, at, acc);
    match e {
        Expr::Acc => acc,
        Expr::Const(scalar) => scalar.to_f64(),
        Expr::Load(a) => load(kernel, memory, a, at, false).into(),
        Expr::Unary(op, a) => {
            let x = go(a);
            let b = |c: bool| f64::from(u8::from(c));
            match op {
                UnaryOp::Neg => -x,
                UnaryOp::Abs => x.abs(),
                UnaryOp::Sqrt => x.sqrt(),
                UnaryOp::Exp => x.exp(),
                UnaryOp::Log => x.ln(),
                UnaryOp::Sin => x.sin(),
                UnaryOp::Cos => x.cos(),
                UnaryOp::Tanh => x.tanh(),
                UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                UnaryOp::Floor => x.floor(),
                UnaryOp::Ceil => x.ceil(),
                UnaryOp::Round => x.round_ties_even(),
                UnaryOp::Sign if x == 0.0 || x.is_nan() => x,
                UnaryOp::Sign => x.signum(),
                UnaryOp::Not => b(x == 0.0),
                UnaryOp::IsNan => b(x.is_nan()),
                UnaryOp::IsInf => b(x.is_infinite()),
                _ => panic!("not in these tests: {op:?}"),
            }
        }
        Expr::Binary(op, a, b) => {
            let (x, y) = (go(a), go(b));
            let number = |c: bool| f64::from(u8::from(c));
            match op {
                BinaryOp::Add => x + y,
                BinaryOp::Sub => x - y,
                BinaryOp::Mul => x * y,
                BinaryOp::Div => x / y,
                BinaryOp::Min | BinaryOp::Max if x.is_nan() || y.is_nan() => f64::NAN,
                BinaryOp::Min => x.min(y),
                BinaryOp::Max => x.max(y),
                BinaryOp::Pow => x.powf(y),
                BinaryOp::Eq => number(x == y),
                BinaryOp::Lt => number(x < y),
                BinaryOp::Le => number(x <= y),
                BinaryOp::And => number(x != 0.0 && y != 0.0),
                BinaryOp::Or => number(x != 0.0 || y != 0.0),
                BinaryOp::Xor => number((x != 0.0) != (y != 0.0)),
                _ => panic!("not in these tests: {op:?}"),
            }
        }
        Expr::Select(c, a, b) => {
            if go(c) != 0.0 {
                go(a)
            } else {
                go(b)
            }
        }
        Expr::Cast(_, a) => go(a),
        Expr::Loop(l) => at[l.0 as usize] as f64,
    }
}
