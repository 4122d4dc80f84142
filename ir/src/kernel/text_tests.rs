//! `parse(print(p)) == p` for programs, arbitrary and written by hand.

use proptest::prelude::*;

use super::function::{BinaryOp, UnaryOp};
use super::print::{REDUCE, WINDOW};
use super::procedure::Steps;
use super::*;
use crate::DType;
use crate::dim::Bound;
use crate::tensor::Tensor;
use crate::text::testing;

const LOOPS: u16 = 4;
const BUFFERS: u32 = 5;

fn affine() -> impl Strategy<Value = Affine> {
    let term = (0..LOOPS, prop_oneof![3 => (-3i64..4).prop_map(crate::Dim::Const), 1 => testing::dim()]);
    let offset = prop_oneof![(-3i64..4).prop_map(crate::Dim::Const), testing::dim()];
    (prop::collection::vec(term, 0..3), offset).prop_map(|(terms, offset)| {
        terms.into_iter().fold(Affine::constant(offset), |a, (l, c)| a.plus(LoopId(l), c))
    })
}

fn access() -> impl Strategy<Value = Access> {
    let plain = |index: BoxedStrategy<Index>| {
        let otherwise = prop::option::of(testing::scalar());
        (0..BUFFERS, prop::collection::vec(index, 0..4), otherwise)
            .prop_map(|(buffer, index, otherwise)| Access { buffer: BufferId(buffer), index, otherwise })
    };
    let inner = plain(affine().prop_map(Index::Affine).boxed());
    let index = prop_oneof![
        4 => affine().prop_map(Index::Affine),
        1 => inner.prop_map(|a| Index::Gathered(Box::new(a)))
    ];
    plain(index.boxed())
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        Just(Expr::Acc),
        testing::scalar().prop_map(Expr::Const),
        access().prop_map(Expr::Load),
        (0..LOOPS).prop_map(|l| Expr::Loop(LoopId(l))),
        testing::dim().prop_map(|size| Expr::size(DType::I64, &size)),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (prop::sample::select(UnaryOp::ALL), inner.clone()).prop_map(|(op, a)| Expr::unary(op, a)),
            (prop::sample::select(BinaryOp::ALL), inner.clone(), inner.clone())
                .prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, a, b)| Expr::select(c, a, b)),
            (testing::dtype(), inner.clone()).prop_map(|(d, a)| Expr::cast(d, a)),
            (testing::dtype(), inner).prop_map(|(d, a)| Expr::bits(d, a)),
        ]
    })
}

fn store() -> impl Strategy<Value = Store> {
    (access(), expr()).prop_map(|(to, value)| Store { to, value })
}

fn side() -> impl Strategy<Value = Side> {
    let loops = || (0..LOOPS).prop_map(LoopId);
    let matrix = (1..4usize, 1..4usize).prop_flat_map(|(rows, columns)| {
        let values = prop::collection::vec(-9i8..10, rows * columns);
        values.prop_map(move |v| {
            Tensor::from_vec(&[rows, columns], v.into_iter().map(|v| f32::from(v) / 4.0).collect())
        })
    });
    (matrix, loops(), loops()).prop_map(|(matrix, to, over)| Side { matrix, to, over })
}

/// A statement before it has a place in a procedure.
#[derive(Clone, Debug)]
enum Step {
    For(LoopId, Vec<Step>),
    While(Expr, Vec<Step>),
    If(Expr, Vec<Step>, Vec<Step>),
    Set(LoopId, Expr),
    Store(Store),
}

fn step() -> impl Strategy<Value = Step> {
    let loops = || (0..LOOPS).prop_map(LoopId);
    let leaf = prop_oneof![
        (loops(), expr()).prop_map(|(l, value)| Step::Set(l, value)),
        store().prop_map(Step::Store),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let some = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (loops(), some()).prop_map(|(l, body)| Step::For(l, body)),
            (expr(), some()).prop_map(|(condition, body)| Step::While(condition, body)),
            (expr(), some(), some()).prop_map(|(condition, a, b)| Step::If(condition, a, b)),
        ]
    })
}

fn build(all: Vec<Step>, made: &mut Steps) {
    type Done = Result<(), std::convert::Infallible>;
    let inside = |body: Vec<Step>| {
        move |made: &mut Steps| -> Done {
            build(body, made);
            Ok(())
        }
    };
    for step in all {
        let done = match step {
            Step::For(l, body) => made.each(l, inside(body)),
            Step::While(condition, body) => made.repeat(condition, inside(body)),
            Step::If(condition, a, b) => made.choose(condition, inside(a), inside(b)),
            Step::Set(l, value) => {
                made.set(l, value);
                Ok(())
            }
            Step::Store(store) => {
                made.store(store.to, store.value);
                Ok(())
            }
        };
        done.unwrap_or_else(|e| match e {});
    }
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        prop::collection::vec(store(), 0..3).prop_map(|stores| Form::Map { stores }),
        (prop::sample::select(REDUCE), expr(), store()).prop_map(|(op, value, store)| Form::Reduce {
            op,
            value,
            store
        }),
        (testing::dtype(), access(), access(), store()).prop_map(|(acc, lhs, rhs, store)| Form::Contract {
            acc,
            lhs,
            rhs,
            store
        }),
        (prop::sample::select(WINDOW), access(), prop::option::of(access()), store())
            .prop_map(|(op, input, weight, store)| Form::Window { op, input, weight, store }),
        (side(), side(), access(), store()).prop_map(|(left, right, from, store)| Form::Transform {
            left,
            right,
            from,
            store
        }),
        (access(), access()).prop_map(|(from, to)| Form::Rearrange { from, to }),
        prop::collection::vec(step(), 0..4).prop_map(|steps| {
            let mut made = Steps::default();
            build(steps, &mut made);
            Form::Procedure(made.finish())
        }),
    ]
}

fn kernel() -> impl Strategy<Value = Kernel> {
    let role = prop_oneof![Just(Role::Parallel), Just(Role::Reduce)];
    let loop_ =
        (testing::name(), testing::dim(), role).prop_map(|(name, extent, role)| Loop { name, extent, role });
    let nodes = prop::collection::vec(testing::name(), 0..3);
    (testing::name(), prop::option::of(nodes), prop::collection::vec(loop_, LOOPS as usize), form()).prop_map(
        |(name, nodes, loops, form)| Kernel { nodes: nodes.unwrap_or(vec![name.clone()]), name, loops, form },
    )
}

fn program() -> impl Strategy<Value = Program> {
    let kind = prop_oneof![
        Just(BufferKind::Input),
        Just(BufferKind::Output),
        Just(BufferKind::Temp),
        Just(BufferKind::Released),
        testing::tensor().prop_map(BufferKind::Const),
    ];
    let place = (0..BUFFERS, testing::dim(), prop::collection::vec(testing::dim(), 0..3), testing::dim())
        .prop_map(|(root, offset, strides, extent)| Place { root: BufferId(root), offset, strides, extent });
    let buffer = (testing::name(), testing::ty(), kind, prop::option::of(place), any::<bool>());
    let ids = || prop::option::of(prop::collection::vec((0..BUFFERS).prop_map(BufferId), 0..3));
    let bounds = prop::collection::btree_map(
        testing::name().prop_map(|n| n.into()),
        any::<(i64, i64, i64)>().prop_map(|(lo, hi, typical)| Bound { lo, hi, typical }),
        0..2,
    );
    let buffers = prop::collection::vec(buffer, BUFFERS as usize);
    let assumed = prop::collection::vec(testing::dim(), 0..2);
    let counted = prop::collection::btree_map(
        testing::name().prop_map(|n| n.into()),
        (0..BUFFERS).prop_map(BufferId),
        0..2,
    );
    (
        testing::name(),
        (bounds, counted, assumed),
        buffers,
        prop::collection::vec(kernel(), 0..3),
        ids(),
        ids(),
    )
        .prop_map(|(name, (bounds, counted, assumed), buffers, kernels, inputs, outputs)| {
            let mut p = Program::new(&name);
            p.bounds = bounds;
            p.counted = counted;
            p.assumed = assumed;
            kernels.into_iter().for_each(|k| p.push_kernel(k));
            for (name, ty, kind, place, own) in buffers {
                let ty = match &kind {
                    BufferKind::Const(tensor) if own => tensor.ty(),
                    _ => ty,
                };
                let id = p.add_buffer(&name, ty, kind);
                p.set_place(id, place);
            }
            let of = |kind: BufferKind| p.buffer_ids().filter(|id| p.buffer(*id).kind == kind).collect();
            let (all_inputs, all_outputs) = (of(BufferKind::Input), of(BufferKind::Output));
            p.inputs = inputs.unwrap_or(all_inputs);
            p.outputs = outputs.unwrap_or(all_outputs);
            p
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn parse_undoes_print(p in program()) {
        let text = p.to_string();
        let back = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert!(back == p, "{text}\n{back}");
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\\n]{0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("program @m {{ {text} }}"));
        let _ = parse(&format!("program @m {{ input %x: f32[2] map \"k\" [i: 2] {{ %x[i] = {text} }} }}"));
    }
}

#[test]
fn written_by_hand() {
    let text = "\
program @m {
  dim s = 1..8
  input %x: f32[1, 3, 8, 8]
  input %i: i64[4]
  const @w: f32[2, 3, 3, 3] = splat 0.5
  const @b: f32[2] = [0.25, -inf]
  const @s: f32[64, 2] = splat 0.0 format bcsr 4 by 1 \"mostly \\\"zeros\\\"\"
  const @d: f32[64, 2] = splat 0.0 format dense \"blocks are slower\"
  temp %t: f32[1, 2, 4, 4]
  temp %\"a b\": f32[s, 2*s + 1]
  output %y: f32[1, 2, 4, 4] at %t + (0) strides [32, 16, 4, 1] extent 32
  contract \"conv1\" of [\"conv1\", \"relu\"] [n: 1, o: 2, h: 4, w: 4 | c: 3, kh: 3, kw: 3] {
    acc: f32 = %x[n, c, 2*h + kh - 1, 2*w + kw - 1] else 0.0:f32 * @w[o, c, kh, kw]
    %t[n, o, h, w] = max(acc + @b[o], 0.0:f32) * (acc - (acc - 1.5:f32)) / 2.0:f32
  }
  transform \"t\" [h: 1, i: 2, j: 1 | k: 2, l: 1] {
    acc = sides(%t[0, 0, 2*h + k, l] else 0.0:f32, i from k by [[1.0, -0.5], [0.0, 4.0]], j from l by [[2.0]])
    %y[0, 0, 2*h + i, j] else 0.0:f32 = acc
  }
  map \"m\" of [] [i: s, #: 2*s + 1] {
  }
}
";
    // Loops that cannot be written by name are written by position.
    let text = text.replace(", #: 2*s + 1", ", \"j k\": 2*s + 1");
    let text = text.replace("] {\n  }\n", "] {\n    %\"a b\"[(%i[i]), (s + 1)*i + #1 + (-s)] = select(lt(f32(i), nan:f32), acc, neg(acc))\n  }\n");
    let program = parse(&text).unwrap();
    assert_eq!(program.to_string(), text);
    assert_eq!(program.kernel(0).loops_of(Role::Reduce).len(), 3);
    let blocks: Vec<bool> = program.buffers().iter().map(Buffer::is_in_blocks).collect();
    assert_eq!(blocks.iter().filter(|b| **b).count(), 1);
}

#[test]
fn errors_name_line_and_column() {
    let error = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(error("program @m {\n  temp %t: f31[2]\n}"), "line 2, column 12: 'f31' is no element type");
    let body = |line: &str| {
        error(&format!("program @m {{\n temp %t: f32[2]\n map \"k\" [i: 2] {{\n  {line}\n }}\n}}"))
    };
    assert!(body("%u[i] = 1.0:f32").contains("line 4, column 3: buffer '%u' is not defined"));
    assert!(body("%t[i*i] = 1.0:f32").contains("line 4, column 8: an index is a sum of loops"));
    assert!(body("%t[i] = foo(1.0:f32)").contains("'foo' is no operation"));
    assert!(body("%t[i] = max(1.0:f32)").contains("'max' does not take 1 operands"));
    assert!(body("%t[i] = 300:u8").contains("'300' is no u8"));
    assert!(body(&format!("%t[i] = {}", "(".repeat(5000))).contains("nested deeper"));
    assert!(error("program @m { const @w: f32[2] = splat 0.0 format bcsr 3 by 1 \"\" }").contains("3 by 1"));
    assert!(error("program @m { temp %t: f32[2] temp %t: f32[2] }").contains("defined twice"));
}
