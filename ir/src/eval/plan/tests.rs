//! Plans that are right, and each way in which one is not.

use super::run;
use crate::dim::Dim;
use crate::error::{Error, ErrorKind};
use crate::format::bcsr::{Bcsr, Block};
use crate::kernel::plan::{
    Copied, FlatAccess, Gather, Guard, Plan, PlannedKernel, Port, Provider, Schedule, Slot, Sparse, Storage,
    Tile, Weight,
};
use crate::kernel::{BinaryOp, Expr, Form, Loop, LoopId, Role, Scalar, Store, verify_plan};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

const P: Role = Role::Parallel;
const R: Role = Role::Reduce;

fn port(name: &str, dtype: DType, shape: &[usize]) -> Port {
    Port { name: name.into(), ty: TensorType::new(dtype, Shape::of(shape)) }
}

fn arena(offset_bytes: usize) -> Storage {
    Storage::Arena { offset_bytes }
}

fn weights(offset_bytes: usize) -> Storage {
    Storage::Weights { offset_bytes }
}

fn dims(values: &[i64]) -> Vec<Dim> {
    values.iter().copied().map(Dim::Const).collect()
}

fn at(storage: Storage, offset: i64, strides: &[i64]) -> FlatAccess {
    FlatAccess {
        name: "b".into(),
        storage,
        dtype: DType::F32,
        offset: Dim::Const(offset),
        strides: dims(strides),
        gathers: vec![],
        guards: vec![],
        otherwise: None,
    }
}

/// `0 <= offset + coefficients * loops < extent`, else 7.
fn guarded(mut a: FlatAccess, offset: i64, coefficients: &[i64], extent: i64) -> FlatAccess {
    let (offset, extent) = (Dim::Const(offset), Dim::Const(extent));
    a.guards.push(Guard { offset, coefficients: dims(coefficients), extent });
    a.otherwise = Some(Scalar::f32(7.0));
    a
}

fn kernel(name: &str, loops: &[(i64, Role)], form: Form<FlatAccess>) -> PlannedKernel {
    let make = |(i, (extent, role)): (usize, &(i64, Role))| Loop {
        name: format!("l{i}"),
        extent: Dim::Const(*extent),
        role: *role,
    };
    let order = (0..loops.len() as u16).map(LoopId).collect();
    PlannedKernel {
        name: name.into(),
        nodes: vec!["node".into()],
        loops: loops.iter().enumerate().map(make).collect(),
        form,
        schedule: Schedule::Scalar { order },
        provider: Provider::Plain,
        shared: None,
        why: String::new(),
        grain: None,
        bounds: Default::default(),
    }
}

fn copy(name: &str, n: i64, from: FlatAccess, to: FlatAccess) -> PlannedKernel {
    kernel(name, &[(n, P)], Form::Rearrange { from, to })
}

fn slot(name: &str, offset_bytes: usize, bytes: usize, live: (usize, usize)) -> Slot {
    Slot { name: name.into(), offset_bytes, bytes, live, over: None }
}

/// `y = x` by way of two buffers of the arena.
fn copies() -> Plan {
    Plan {
        inputs: vec![port("x", DType::F32, &[4])],
        outputs: vec![port("y", DType::F32, &[4])],
        arena_bytes: 128,
        arena_align: 64,
        slots: vec![slot("t", 0, 64, (0, 1)), slot("u", 64, 64, (1, 2))],
        kernels: vec![
            copy("in", 4, at(Storage::Input(0), 0, &[1]), at(arena(0), 0, &[1])),
            copy("between", 4, at(arena(0), 0, &[1]), at(arena(64), 3, &[-1])),
            copy("out", 4, at(arena(64), 0, &[1]), at(Storage::Output(0), 0, &[1])),
        ],
        ..Plan::default()
    }
}

fn x() -> Tensor {
    Tensor::from_vec(&[4], vec![1f32, 2.0, 3.0, 4.0])
}

fn floats(plan: &Plan, inputs: &[Tensor]) -> Vec<f64> {
    run(plan, inputs).unwrap()[0].to_f64s().unwrap()
}

fn refusal(change: impl FnOnce(&mut Plan)) -> Error {
    let mut plan = copies();
    change(&mut plan);
    run(&plan, &[x()]).unwrap_err()
}

fn form(plan: &mut Plan, k: usize) -> (&mut FlatAccess, &mut FlatAccess) {
    let Form::Rearrange { from, to } = &mut plan.kernels[k].form else { panic!("a copy") };
    (from, to)
}

#[test]
fn copies_run() {
    assert_eq!(floats(&copies(), &[x()]), [4.0, 3.0, 2.0, 1.0]);
}

#[test]
fn arguments_that_are_copied_are_found_where_they_live() {
    let mut plan = copies();
    plan.copied = vec![Copied { input: 0, offset_bytes: 64 }];
    plan.slots = vec![slot("x", 64, 64, (0, 0)), slot("t", 0, 64, (0, 1)), slot("u", 64, 64, (1, 2))];
    assert_eq!(floats(&plan, &[x()]), [4.0, 3.0, 2.0, 1.0]);
    // What comes after in its place is not the argument.
    form(&mut plan, 1).0.storage = Storage::Input(0);
    let error = run(&plan, &[x()]).unwrap_err();
    assert!(error.message.contains("is read at [l0 = 0] before it is"), "{error}");
}

#[test]
fn what_a_correct_plan_never_does_is_refused() {
    let says = |change: &dyn Fn(&mut Plan), kernel: &str, message: &str| {
        let error = refusal(change);
        assert_eq!((error.kind, &*error.node), (ErrorKind::Internal, kernel), "{error}");
        assert!(error.message.contains(message), "{error}");
        assert!(kernel.is_empty() || error.hint.contains("node"), "{error}");
    };
    // Outside: of an argument, of a slot though not of the arena, of nothing that there is.
    says(&|p| form(p, 0).0.offset = Dim::Const(1), "in", "element 4 of 'b' at [l0 = 3] is outside of its 4");
    says(
        &|p| form(p, 0).1.offset = Dim::Const(13),
        "in",
        "element 16 of 'b' at [l0 = 3] is outside of its 16",
    );
    says(&|p| form(p, 1).1.offset = Dim::Const(2), "between", "element -1 of 'b' at [l0 = 3]");
    says(
        &|p| form(p, 2).0.storage = arena(0),
        "out",
        "a slot at byte 0 of the arena that lives in this kernel",
    );
    says(&|p| form(p, 0).0.storage = weights(0), "in", "a constant at byte 0 does not exist");
    says(&|p| form(p, 0).0.storage = Storage::Input(1), "in", "input 1 does not exist");
    says(&|p| form(p, 0).1.storage = Storage::Input(0), "in", "written and read only");
    says(&|p| p.arena_bytes = 64, "between", "slot 'u' ends at byte 128 of an arena of 64");
    // Not written: at all, within this lifetime, by the end.
    says(
        &|p| form(p, 1).0.offset = Dim::Const(4),
        "between",
        "element 4 of 'b' is read at [l0 = 0] before it is",
    );
    let earlier = |p: &mut Plan| {
        p.slots[1] = slot("u", 0, 64, (2, 3));
        p.kernels.insert(2, copy("late", 2, at(Storage::Input(0), 0, &[1]), at(arena(0), 0, &[1])));
        p.kernels[1] = copy("other", 4, at(arena(0), 0, &[1]), at(Storage::Output(0), 0, &[1]));
        p.kernels[3] = copy("out", 4, at(arena(0), 0, &[1]), at(Storage::Output(0), 0, &[1]));
    };
    says(&earlier, "out", "element 2 of 'b' is read at [l0 = 2] before it is written");
    says(
        &|p| p.kernels[2].loops[0].extent = Dim::Const(3),
        "",
        "no kernel writes element 3 of the result 'y'",
    );
    // Threads: two writers of an element, a reader beside a writer.
    says(
        &|p| form(p, 2).1.strides = dims(&[0]),
        "out",
        "element 0 of 'b' is written twice, at [l0 = 1] again",
    );
    says(
        &|p| form(p, 1).1.storage = arena(0),
        "between",
        "element 0 of 'b' is read at [l0 = 0] and written by the same kernel",
    );
    // Nonsense.
    says(&|p| form(p, 1).0.strides = dims(&[1, 1]), "between", "2 strides for 1 loops");
    says(&|p| *form(p, 2).1 = guarded(at(Storage::Output(0), 0, &[1]), 0, &[1], 2), "out", "has guards");
    let odd = |p: &mut Plan| {
        p.slots[0].offset_bytes = 2;
        form(p, 0).1.storage = arena(2);
    };
    says(&odd, "in", "begins at byte 2, which is not aligned");
}

#[test]
fn symbols_are_bound_and_elements_of_every_width_move() {
    let n = Dim::symbol("n");
    for dtype in [DType::F64, DType::I8, DType::Bool, DType::F16, DType::I64] {
        let mut plan = copies();
        plan.bounds.insert("n".into(), (0, 4).into());
        let ty = TensorType::new(dtype, Shape(vec![n.clone()]));
        (plan.inputs[0].ty, plan.outputs[0].ty) = (ty.clone(), ty);
        for k in 0..3 {
            plan.kernels[k].loops[0].extent = n.clone();
            let (from, to) = form(&mut plan, k);
            (from.dtype, to.dtype) = (dtype, dtype);
        }
        form(&mut plan, 1).1.offset = n.clone() - Dim::Const(1);
        let bytes = dtype.size() * 3;
        let x = Tensor::new(dtype, vec![3], (1..=bytes as u8).collect::<Vec<_>>().into()).unwrap();
        let y = run(&plan, &[x]).unwrap();
        let wanted: Vec<u8> = (0..3u8)
            .rev()
            .flat_map(|i| (0..dtype.size() as u8).map(move |b| i * dtype.size() as u8 + b + 1))
            .collect();
        assert_eq!(y[0].data.to_vec(), wanted, "{dtype}");
        assert_eq!(run(&plan, &[Tensor::zeros(dtype, &[0])]).unwrap()[0].shape, [0]);
    }
}

#[test]
fn gathers_read_their_indices_and_refuse_what_is_outside() {
    let mut plan = Plan {
        inputs: vec![port("x", DType::F32, &[4]), port("i", DType::I32, &[3])],
        outputs: vec![port("y", DType::F32, &[3])],
        ..Plan::default()
    };
    let index = Box::new(FlatAccess { dtype: DType::I32, ..at(Storage::Input(1), 0, &[1]) });
    let mut from = at(Storage::Input(0), 0, &[0]);
    from.gathers.push(Gather { index, extent: Dim::Const(4), stride: Dim::Const(1), known: false });
    plan.kernels.push(copy("take", 3, from, at(Storage::Output(0), 0, &[1])));
    let i = |values: [i32; 3]| Tensor::from_vec(&[3], values.to_vec());
    assert_eq!(floats(&plan, &[x(), i([3, -4, -1])]), [4.0, 1.0, 4.0]);
    for outside in [4, -5, i32::MIN] {
        let error = run(&plan, &[x(), i([0, outside, 0])]).unwrap_err();
        assert_eq!((error.kind, &*error.node), (ErrorKind::IndexOutOfRange, "take"));
        assert!(error.hint.contains("node"), "{error}");
    }
}

/// `y[m, n] = sum over k of x[m, k] * w[k, n]`, 2 x 3 x 5, in panels of 4 columns with 7 at their unused ends; the
/// first row of x is padding.
fn product(padded: bool) -> Plan {
    let (nr, k, n) = (4usize, 3usize, 5usize);
    let mut packed = vec![7f32; n.div_ceil(nr) * k * nr];
    for (i, j) in (0..k).flat_map(|i| (0..n).map(move |j| (i, j))) {
        packed[(j / nr * k + i) * nr + j % nr] = (10 * i + j) as f32;
    }
    packed.truncate(if padded { packed.len() } else { packed.len() - 3 });
    let tile = Tile {
        outer: vec![],
        row: Some(LoopId(0)),
        col: LoopId(1),
        depth: vec![LoopId(2)],
        mr: 2,
        nr: 4,
        panel: 4,
        panel_stride: 12,
        rhs_padded: padded,
        unroll: 1,
        straight: false,
        by_lane: false,
        quad: None,
        eight: None,
        watched: false,
        panels_outermost: true,
        prefetch: 0,
    };
    let form = Form::Contract {
        acc: DType::F32,
        lhs: guarded(at(Storage::Input(0), -3, &[3, 0, 1]), -1, &[1, 0, 0], 1),
        rhs: at(weights(0), 0, &[0, 1, 4]),
        store: Store {
            to: at(Storage::Output(0), 0, &[5, 1, 0]),
            value: Expr::binary(BinaryOp::Add, Expr::Acc, Expr::f32(0.5)),
        },
    };
    let weight =
        Weight { name: "w".into(), offset_bytes: 0, tensor: Tensor::from_vec(&[packed.len()], packed) };
    Plan {
        inputs: vec![port("x", DType::F32, &[1, 3])],
        outputs: vec![port("y", DType::F32, &[2, 5])],
        weights_bytes: weight.tensor.data.len(),
        weights: vec![weight],
        kernels: vec![PlannedKernel {
            schedule: Schedule::Tile(tile),
            ..kernel("product", &[(2, P), (5, P), (3, R)], form)
        }],
        ..Plan::default()
    }
}

#[test]
fn panels_are_a_layout_and_padded_ones_are_whole() {
    let x = Tensor::from_vec(&[1, 3], vec![1f32, -1.0, 2.0]);
    let row = |x: [f64; 3]| {
        (0..5).map(move |j| 0.5 + (0..3).map(|k| x[k] * f64::from(10 * k as i32 + j)).sum::<f64>())
    };
    let wanted: Vec<f64> = row([7.0; 3]).chain(row([1.0, -1.0, 2.0])).collect();
    for padded in [true, false] {
        assert_eq!(floats(&product(padded), std::slice::from_ref(&x)), wanted);
    }
    let mut short = product(false);
    let Schedule::Tile(tile) = &mut short.kernels[0].schedule else { panic!("a tile") };
    tile.rhs_padded = true;
    let error = run(&short, &[x]).unwrap_err();
    assert!(
        error.message.contains("element 21 of 'b' at [l0 = 0, l1 = 5, l2 = 2] is outside of its 21"),
        "{error}"
    );
}

/// `y[p, o] = sum over k of x[k, p] * w[o, k]`, 5 pixels, 6 rows of weights in blocks of 4 by 3 columns.
fn sparse() -> (Plan, Vec<f64>) {
    let dense: Vec<f32> = (0..18).map(|i| if i % 4 == 1 { i as f32 } else { 0.0 }).collect();
    let bytes: Vec<u8> = dense.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (weights_in, data) = Bcsr::encode(&bytes, 4, 6, &[(3, 5)], Block::new(4, 1), false).unwrap();
    let schedule = Sparse {
        outer: vec![],
        down: None,
        col: Some(LoopId(1)),
        vectors: 1,
        row: LoopId(0),
        depth: vec![LoopId(2)],
        weights: weights_in,
    };
    let form = Form::Contract {
        acc: DType::F32,
        lhs: at(Storage::Input(0), 0, &[0, 1, 5]),
        rhs: at(weights(0), 0, &[3, 0, 1]),
        store: Store { to: at(Storage::Output(0), 0, &[5, 1, 0]), value: Expr::Acc },
    };
    let weight = Weight { name: "w".into(), offset_bytes: 0, tensor: Tensor::from_vec(&[data.len()], data) };
    let plan = Plan {
        inputs: vec![port("x", DType::F32, &[3, 5])],
        outputs: vec![port("y", DType::F32, &[6, 5])],
        weights_bytes: weight.tensor.data.len(),
        weights: vec![weight],
        kernels: vec![PlannedKernel {
            schedule: Schedule::Sparse(schedule),
            provider: Provider::Portable { vector_bytes: 16 },
            ..kernel("product", &[(6, P), (5, P), (3, R)], form)
        }],
        ..Plan::default()
    };
    let x = |k: usize, p: usize| (k * 5 + p) as f32 - 6.0;
    let wanted = (0..6).flat_map(|o| {
        let dense = &dense;
        (0..5).map(move |p| (0..3).map(|k| f64::from(x(k, p) * dense[o * 3 + k])).sum())
    });
    (plan, wanted.collect())
}

#[test]
fn blocks_are_a_layout_of_the_dense_matrix() {
    let (plan, wanted) = sparse();
    let x = Tensor::from_vec(&[3, 5], (0..15).map(|i| i as f32 - 6.0).collect());
    verify_plan(&plan).unwrap();
    assert_eq!(floats(&plan, std::slice::from_ref(&x)), wanted);
    let says = |change: &dyn Fn(&mut PlannedKernel), message: &str| {
        let mut plan = plan.clone();
        change(&mut plan.kernels[0]);
        let error = verify_plan(&plan).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let schedule = |change: &dyn Fn(&mut Sparse), message: &str| {
        let change = |kernel: &mut PlannedKernel| {
            let Schedule::Sparse(sparse) = &mut kernel.schedule else { panic!("blocks") };
            change(sparse);
        };
        says(&change, message);
    };
    schedule(&|s| s.weights.blocks += 1, "has not the");
    schedule(&|s| s.weights.depth = vec![(3, 4)], "a matrix of another shape");
    schedule(&|s| s.vectors = 0, "tiles of no vectors");
    schedule(&|s| s.weights.value_bytes = 1, "promised");
    schedule(&|s| (s.col, s.row) = (Some(LoopId(0)), LoopId(1)), "promised");
    // What is there is not what the schedule says.
    let mut broken = plan.clone();
    let mut data = broken.weights[0].tensor.data.to_vec();
    data[0] = 7;
    broken.weights[0].tensor = Tensor::from_vec(&[data.len()], data);
    let error = run(&broken, &[x]).unwrap_err();
    assert!(error.message.contains("row 0 has blocks 7"), "{error}");
}

/// `y = -(x + x)` by way of a buffer and one that lies over it.
fn over() -> Plan {
    let t = || at(arena(0), 0, &[1]);
    let map = |name: &str, to: FlatAccess, value: Expr<FlatAccess>| {
        kernel(name, &[(4, P)], Form::Map { stores: vec![Store { to, value }] })
    };
    let mut plan = copies();
    plan.slots = vec![slot("t", 0, 64, (0, 1)), Slot { over: Some("t".into()), ..slot("u", 0, 64, (1, 2)) }];
    let load = |a: FlatAccess| Box::new(Expr::Load(a));
    plan.kernels[1] = map("over", t(), Expr::Binary(BinaryOp::Add, load(t()), load(t())));
    plan.kernels[2] =
        map("out", at(Storage::Output(0), 0, &[1]), Expr::Unary(crate::kernel::UnaryOp::Neg, load(t())));
    plan
}

#[test]
fn a_result_over_an_operand_is_read_where_it_is_written() {
    let plan = over();
    verify_plan(&plan).unwrap();
    assert_eq!(floats(&plan, &[x()]), [-2.0, -4.0, -6.0, -8.0]);
    let fails = |change: &dyn Fn(&mut Plan), message: &str| {
        let mut plan = over();
        change(&mut plan);
        let error = run(&plan, &[x()]).unwrap_err();
        assert!(error.message.contains(message), "{error}");
    };
    let value = |plan: &mut Plan, a: FlatAccess| {
        let Form::Map { stores } = &mut plan.kernels[1].form else { panic!("a map") };
        let Expr::Binary(_, _, b) = &mut stores[0].value else { panic!("a sum") };
        **b = Expr::Load(a);
    };
    // A claim that is wrong is seen: other iterations read what is overwritten.
    fails(&|p| value(p, at(arena(0), 3, &[-1])), "of 'b' is read at [l0 = 0] and written by the same kernel");
    fails(&|p| value(p, at(arena(0), 0, &[0])), "of 'b' is read at [l0 = 0] and written by the same kernel");
    // And so is storage that is shared without one.
    fails(&|p| p.slots[1].over = None, "is read at [l0 = 0] and written by the same kernel");
    // What the kernel leaves is not the result's.
    fails(&|p| p.kernels[1].loops[0].extent = Dim::Const(3), "is read at [l0 = 3] before it is written");
}
