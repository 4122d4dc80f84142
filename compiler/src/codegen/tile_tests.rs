//! Sweeps of register tiles against the interpreter of plans.

use Role::{Parallel, Reduce};
use kiln_ir::DType;
use kiln_ir::kernel::plan::{PlannedKernel, Schedule, Storage, Tile};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, Role, Scalar, Store, UnaryOp};
use kiln_targets::simd::Refusal;

use super::vector_testing::{
    Emitted, Machine, Memory, access, check, check_on, disassembly, guarded, kernel, l, load, numbers, relu,
};

const WEIGHTS: Storage = Storage::Weights { offset_bytes: 0 };
const IN: Storage = Storage::Input(0);
const OUT: Storage = Storage::Output(0);

/// `out[m][n] = relu(sum_k lhs[m][k] * rhs[k][n] + bias[n])`, with rhs in panels where they have a width.
fn matmul(
    m: i64,
    n: i64,
    k: i64,
    mr: u32,
    nr: u32,
    panel: Option<u32>,
    panels_outermost: bool,
) -> (PlannedKernel, Memory) {
    let width = i64::from(panel.unwrap_or(nr));
    let (k_stride, rhs_elements) =
        if panel.is_some() { (width, (n + width - 1) / width * k * width) } else { (n, k * n) };
    let bias = access(Storage::Weights { offset_bytes: 4 * rhs_elements as usize }, 0, &[0, 1, 0]);
    let form = Form::Contract {
        acc: DType::F32,
        lhs: access(IN, 0, &[k, 0, 1]),
        rhs: access(WEIGHTS, 0, &[0, 1, k_stride]),
        store: Store {
            to: access(OUT, 0, &[n, 1, 0]),
            value: relu(Expr::binary(BinaryOp::Add, Expr::Acc, load(bias))),
        },
    };
    let tile = Tile {
        outer: Vec::new(),
        row: Some(LoopId(0)),
        col: LoopId(1),
        depth: vec![LoopId(2)],
        mr,
        nr,
        panel: width as u32,
        panel_stride: if panel.is_some() { k * width } else { width },
        rhs_padded: panel.is_some(),
        unroll: 4,
        straight: k <= 16,
        by_lane: false,
        quad: None,
        eight: None,
        watched: false,
        panels_outermost,
        prefetch: if panels_outermost { 2 } else { 0 },
    };
    let kernel =
        kernel(vec![l("m", m, Parallel), l("n", n, Parallel), l("k", k, Reduce)], form, Schedule::Tile(tile));
    let memory = Memory {
        inputs: vec![numbers((m * k) as usize, 1)],
        weights: numbers((rhs_elements + n) as usize, 2),
        outputs: vec![vec![0.0; (m * n) as usize]],
    };
    (kernel, memory)
}

#[test]
fn tiles_of_all_remainders() {
    for (mr, nr) in [(2, 16), (4, 8), (1, 32), (3, 4), (6, 16), (3, 32), (6, 8), (2, 24), (4, 12)] {
        for m in [1, i64::from(mr), i64::from(mr) + 1, 2 * i64::from(mr) + 1] {
            for n in [1, 3, i64::from(nr) - 1, i64::from(nr), i64::from(nr) + 2, 2 * i64::from(nr) + 5] {
                let (packed, outermost) = ((m + n) % 2 == 0, (m + n) % 3 == 0);
                let (kernel, memory) = matmul(m, n, 23, mr, nr, packed.then_some(nr), outermost);
                check(&kernel, &memory);
            }
        }
    }
}

/// The tiles that schedules choose from, each on its own machine, around their sizes.
#[test]
fn tiles_of_every_level() {
    for (machine, triple, level) in [
        (Machine::Sse2, "x86_64-unknown-linux-gnu", "sse2"),
        (Machine::Avx, "x86_64-unknown-linux-gnu", "avx"),
        (Machine::AvxFma, "x86_64-unknown-linux-gnu", "avx"),
        (Machine::Ymm, "x86_64-unknown-linux-gnu", "avx2"),
        (Machine::Zmm, "x86_64-unknown-linux-gnu", "avx512"),
        (Machine::CraneliftByLane, "aarch64-unknown-linux-gnu", "neon"),
    ] {
        let target = kiln_targets::resolve(triple, level, "").unwrap();
        assert_eq!(target.lanes(), machine.lanes());
        for &(mr, vectors) in target.f32_tiles {
            let nr = i64::from(vectors) * machine.lanes() as i64;
            let around = |n: i64| [0, 1, n - 1, n, n + 1];
            for (m, n) in around(mr.into()).into_iter().flat_map(|m| around(nr).map(|n| (m, n))) {
                for (k, packed) in [(0, true), (3, false), (21, true), (32, false)] {
                    let (kernel, memory) =
                        matmul(m, n, k, mr, nr as u32, packed.then_some(nr as u32), (m + n + k) % 2 == 0);
                    check_on(&kernel, &memory, machine);
                }
            }
        }
    }
}

/// Panels of a width that is not the tile's, as machines of several levels share them.
#[test]
fn tiles_in_panels_of_another_width() {
    for (mr, nr) in [(2, 24), (2, 16), (1, 32), (4, 24), (3, 32), (6, 16), (6, 8), (14, 32), (9, 48), (6, 64)]
    {
        for n in [1, 8, 15, 17, 24, 40, 48, 49, 71, 96, 130] {
            for m in [1, i64::from(mr), 2 * i64::from(mr) + 1] {
                let (kernel, memory) = matmul(m, n, 19, mr, nr, Some(16), (m + n) % 2 == 0);
                check(&kernel, &memory);
            }
        }
    }
}

/// The product with weights of 16 bits: two in the place of one.
fn short(kernel: &mut PlannedKernel, memory: &mut Memory, dtype: DType) {
    let Form::Contract { rhs, store, .. } = &mut kernel.form else { unreachable!("a product") };
    rhs.dtype = dtype;
    let elements = memory.weights.len() - kernel.loops[1].extent.as_usize().unwrap();
    let bits = |v: &f32| Scalar::of(dtype, (*v).into()).bits as u32;
    let mut words: Vec<f32> = memory.weights[..elements]
        .chunks(2)
        .map(|pair| f32::from_bits(bits(&pair[0]) | pair.get(1).map_or(0, bits) << 16))
        .collect();
    let bias_at = 4 * words.len();
    store.value.for_each_access_mut(&mut |a| a.storage = Storage::Weights { offset_bytes: bias_at });
    words.extend(&memory.weights[elements..]);
    memory.weights = words;
}

#[test]
fn tiles_of_short_weights() {
    for dtype in [DType::F16, DType::BF16] {
        for (mr, nr) in [
            (2, 16),
            (1, 32),
            (3, 4),
            (1, 16),
            (6, 16),
            (6, 8),
            (4, 12),
            (2, 24),
            (14, 32),
            (28, 16),
            (12, 8),
        ] {
            for m in [1, i64::from(mr), i64::from(mr) + 1] {
                for n in [1, i64::from(nr) - 1, i64::from(nr), i64::from(nr) + 2, 2 * i64::from(nr) + 5] {
                    // Converting what may be infinite takes registers that full tiles have not.
                    let packed = mr * nr > 16 || (m + n) % 2 == 0;
                    let (mut kernel, mut memory) =
                        matmul(m, n, 21, mr, nr, packed.then_some(nr), (m + n) % 3 == 0);
                    short(&mut kernel, &mut memory, dtype);
                    check(&kernel, &memory);
                }
            }
        }
    }
}

#[test]
fn tiles_by_lane_multiply_by_element() {
    let (kernel, _) = matmul(16, 16, 32, 8, 8, Some(8), true);
    let text = disassembly(&kernel, "aarch64-unknown-linux-gnu");
    let by_element = |line: &&str| line.contains("fmla") && line.contains(".s[");
    assert_eq!(text.lines().filter(by_element).count(), 16 * 4, "{text}");
    assert!(!text.contains("dup"), "{text}");
}

#[test]
fn tiles_with_epilogues_of_many_registers() {
    for (mr, nr) in [(6, 16), (14, 32), (2, 16), (6, 8), (2, 24)] {
        let (mut kernel, memory) = matmul(i64::from(mr) + 1, i64::from(nr) + 7, 9, mr, nr, Some(nr), true);
        for op in [UnaryOp::Sigmoid, UnaryOp::Erf, UnaryOp::Exp] {
            // Swish and its kin, with a value that is needed again.
            let x = Expr::binary(BinaryOp::Mul, Expr::Acc, Expr::f32(0.25));
            let Form::Contract { store, .. } = &mut kernel.form else { panic!("a product") };
            store.value = Expr::binary(BinaryOp::Mul, x.clone(), Expr::unary(op, x));
            check(&kernel, &memory);
        }
    }
}

#[test]
fn tiles_of_all_depths() {
    for k in [0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 19, 20, 33] {
        let (kernel, memory) = matmul(5, 18, k, 2, 16, (k % 2 == 0).then_some(16), false);
        check(&kernel, &memory);
    }
}

/// A convolution of NHWC with padding: `stride`, window `kh x kw`, padding of `pad` on each side.
fn convolution(
    h: i64,
    w: i64,
    c: i64,
    n: i64,
    window: i64,
    stride: i64,
    pad: i64,
) -> (PlannedKernel, Memory) {
    let (oh, ow) = ((h + 2 * pad - window) / stride + 1, (w + 2 * pad - window) / stride + 1);
    let nr = 16i64;
    let depth = window * window * c;
    let panels = (n + nr - 1) / nr;
    // Loops: oh, ow, n, kh, kw, c.
    let row = w * c;
    let input = access(IN, -pad * row - pad * c, &[stride * row, stride * c, 0, row, c, 1]);
    let input =
        guarded(input, &[(-pad, &[stride, 0, 0, 1, 0, 0], h), (-pad, &[0, stride, 0, 0, 1, 0], w)], 0.0);
    let form = Form::Contract {
        acc: DType::F32,
        lhs: input,
        rhs: access(WEIGHTS, 0, &[0, 0, 1, window * c * nr, c * nr, nr]),
        store: Store { to: access(OUT, 0, &[ow * n, n, 1, 0, 0, 0]), value: relu(Expr::Acc) },
    };
    let tile = Tile {
        outer: vec![LoopId(0)],
        row: Some(LoopId(1)),
        col: LoopId(2),
        depth: vec![LoopId(3), LoopId(4), LoopId(5)],
        // A tile that every machine has.
        mr: 2,
        nr: nr as u32,
        panel: nr as u32,
        panel_stride: depth * nr,
        rhs_padded: true,
        unroll: 4,
        straight: depth <= 16,
        by_lane: false,
        quad: None,
        eight: None,
        watched: false,
        panels_outermost: false,
        prefetch: 1,
    };
    let loops = vec![
        l("oh", oh, Parallel),
        l("ow", ow, Parallel),
        l("n", n, Parallel),
        l("kh", window, Reduce),
        l("kw", window, Reduce),
        l("c", c, Reduce),
    ];
    let memory = Memory {
        inputs: vec![numbers((h * w * c) as usize, 3)],
        weights: numbers((panels * depth * nr) as usize, 4),
        outputs: vec![vec![0.0; (oh * ow * n) as usize]],
    };
    (kernel(loops, form, Schedule::Tile(tile)), memory)
}

#[test]
fn convolutions_with_padding() {
    for (h, w, c, n, window, stride, pad) in [
        (5, 6, 3, 9, 3, 1, 1),
        (7, 7, 5, 8, 3, 2, 1),
        (6, 9, 4, 3, 5, 1, 2),
        (1, 1, 2, 5, 3, 1, 1),
        (4, 4, 1, 8, 1, 1, 0),
    ] {
        let (kernel, memory) = convolution(h, w, c, n, window, stride, pad);
        check(&kernel, &memory);
    }
}

#[test]
fn far_rows_are_refused() {
    let (mut kernel, _) = matmul(4, 4, 4, 2, 4, Some(4), false);
    if let Form::Contract { lhs, .. } = &mut kernel.form {
        *lhs = access(IN, 0, &[1 << 40, 0, 1]);
    }
    assert_eq!(Emitted::new(&kernel, Machine::CraneliftFma).err(), Some(Refusal::FarDisplacement));
}
