//! Which results lie over an operand, and each way in which one may not.

use kiln_ir::kernel::{Kept, parse};

use super::super::{Arena, Asks, arranged, plan, verify};
use super::*;
use crate::passes::layout;

const ASKS: Asks = Asks { align: 64, arguments: false };

/// What is between `x` and `y`, and the kernels.
fn program(temps: &str, kernels: &str) -> Program {
    let text = format!(
        "program @m {{\n input %x: f32[8, 16]\n const @w: f32[16, 16] = splat 0.5\n {temps}\n output %y: f32[8, 16]\n \
         {kernels}\n}}"
    );
    let mut program = parse(&text).unwrap();
    layout::run(&mut program).unwrap();
    program
}

fn arena(program: &Program) -> Arena {
    let arena = plan(program, ASKS).unwrap();
    verify(&arena.slots, arena.bytes, 64).unwrap();
    arena
}

/// What lies over what.
fn over(program: &Program) -> Vec<(String, String)> {
    let arena = arena(program);
    let mut all: Vec<_> = arena.slots.into_iter().filter_map(|s| Some((s.name, s.over?))).collect();
    all.sort();
    all
}

const FILL: &str = "map \"fill\" [i: 8, j: 16] { %t[i, j] = neg(%x[i, j]) }";
const LAST: &str = "map \"last\" [i: 8, j: 16] { %y[i, j] = %u[i, j] + %u[i, 15 + -1*j] }";

/// Whether `u`, which the kernels between make of `t`, lies over it.
fn lies(temps: &str, kernels: &str) -> bool {
    let program = program(&format!("temp %t: f32[8, 16]\n {temps}"), &format!("{FILL}\n {kernels}\n {LAST}"));
    over(&program) == [("u".to_owned(), "t".to_owned())]
}

const U: &str = "temp %u: f32[8, 16]";

#[test]
fn elements_that_are_read_where_they_are_written() {
    assert!(lies(U, "map \"k\" [i: 8, j: 16] { %u[i, j] = %t[i, j] * %t[i, j] + %x[i, j] }"));
    // The address counts, not the axes.
    assert!(lies(U, "map \"k\" [i: 8, j: 8, k: 2] { %u[i, 2*j + k] = exp(%t[i, 2*j + k]) }"));
    // A residual in the epilogue.
    let contract =
        "contract \"k\" [i: 8, j: 16 | k: 16] { acc: f32 = %x[i, k] * @w[k, j]\n %u[i, j] = acc + %t[i, j] }";
    assert!(lies(U, contract));
    let reduce = "reduce \"k\" [i: 8, j: 16 | k: 16] { acc = sum(%x[i, k])\n %u[i, j] = acc * %t[i, j] }";
    assert!(lies(U, reduce));
    let window = "window \"k\" [i: 8, j: 16 | k: 3] { acc = max(%x[i, j + k + -1] else -inf:f32)\n %u[i, j] = acc - %t[i, j] }";
    assert!(lies(U, window));
    // Elements of another type of the same size.
    let bits = "map \"k\" [i: 8, j: 16] { %v[i, j] = i32(%t[i, j]) }\n map \"l\" [i: 8, j: 16] { %u[i, j] = f32(%v[i, j]) }";
    let program = program(
        &format!("temp %t: f32[8, 16]\n {U}\n temp %v: i32[8, 16]"),
        &format!("{FILL}\n {bits}\n {LAST}"),
    );
    let pairs = [("u", "v"), ("v", "t")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(over(&program), pairs);
    // One lifetime, and the bound is that of it.
    let found = arena(&program);
    assert_eq!((found.bytes, found.lower_bound_bytes), (512, 512));
    assert!(found.slots.iter().all(|s| s.offset_bytes == 0));
}

#[test]
fn what_is_read_elsewhere_or_again() {
    let map = |value: &str| format!("map \"k\" [i: 8, j: 16] {{ %u[i, j] = {value} }}");
    assert!(!lies(U, &map("%t[i, 15 + -1*j]")));
    assert!(!lies(U, &map("%t[i, j] + %t[i, 0]")));
    assert!(!lies(U, &map("%t[i, j] + %t[7 + -1*i, j]")));
    assert!(!lies(U, &map("%x[i, j]")));
    // Padding is read where nothing is written.
    assert!(!lies(U, &map("%t[i, j + 1] else 0.0:f32")));
    // As an index of something else.
    let gathered = "map \"k\" [i: 8, j: 16] { %u[i, j] = %t[i, j] + %t[(%n[i]), j] }";
    let count = "map \"n\" [i: 8] { %n[i] = i }";
    assert!(!lies(&format!("{U}\n temp %n: i64[8]"), &format!("{count}\n {gathered}")));
    // By what is reduced.
    let reduce = |value: &str| {
        format!("reduce \"k\" [i: 8, j: 16 | k: 16] {{ acc = sum({value})\n %u[i, j] = acc * %t[i, j] }}")
    };
    assert!(lies(U, &reduce("%x[i, k]")));
    assert!(!lies(U, &reduce("%t[i, k]")));
    let contract = |lhs: &str| {
        format!(
            "contract \"k\" [i: 8, j: 16 | k: 16] {{ acc: f32 = {lhs} * @w[k, j]\n %u[i, j] = acc + %t[i, j] }}"
        )
    };
    assert!(!lies(U, &contract("%t[i, k]")));
    // Later.
    let later = format!("{}\n map \"l\" [i: 8, j: 16] {{ %v[i, j] = %t[i, j] }}", map("%t[i, j]"));
    let program = program(
        &format!("temp %t: f32[8, 16]\n {U}\n temp %v: f32[8, 16]"),
        &format!("{FILL}\n {later}\n map \"last\" [i: 8, j: 16] {{ %y[i, j] = %u[i, j] + %v[i, j] }}"),
    );
    assert_eq!(over(&program), [("v".to_owned(), "t".to_owned())]);
}

#[test]
fn buffers_of_another_kind_or_size() {
    let to = |ty: &str| {
        let temps = format!("temp %t: f32[8, 16]\n temp %u: {ty}");
        let k = "map \"k\" [i: 8, j: 16] { %u[i, j] = bool(%t[i, j]) }";
        let last = "map \"last\" [i: 8, j: 16] { %y[i, j] = f32(%u[i, j]) }";
        over(&program(&temps, &format!("{FILL}\n {k}\n {last}")))
    };
    assert_eq!(to("bool[8, 16]"), []);
    // Not all of a larger buffer.
    let part = "map \"k\" [i: 8, j: 16] { %u[i, j] = %t[i, j] }\n map \"l\" [j: 16] { %u[8, j] = 0.0:f32 }";
    assert!(!lies("temp %u: f32[9, 16]", part));
    // The caller's.
    let program = program(
        "temp %t: f32[8, 16]",
        "map \"k\" [i: 8, j: 16] { %t[i, j] = %x[i, j] }\n map \"l\" [i: 8, j: 16] { %y[i, j] = %t[i, j] }",
    );
    assert_eq!(over(&program), []);
}

#[test]
fn forms_that_write_before_they_have_read() {
    assert!(!lies(U, "rearrange \"k\" [i: 8, j: 16] { %u[i, 15 + -1*j] = %t[i, 15 + -1*j] }"));
    let two = "map \"k\" [i: 8, j: 16] { %u[i, j] = %t[i, j]\n %v[i, j] = %x[i, j] }\n map \"l\" [i: 8, j: 16] { %x2[i, j] = %v[i, j] + %v[i, 0] }";
    assert!(!lies(&format!("{U}\n temp %v: f32[8, 16]\n temp %x2: f32[8, 16]"), two));
    // A matrix that is read as it lies: sums may wait in the result.
    let contract =
        "contract \"k\" [i: 8, j: 16 | k: 16] { acc: f32 = %x[i, k] * %m[k, j]\n %u[i, j] = acc + %t[i, j] }";
    let m = "map \"m\" [k: 16, j: 16] { %m[k, j] = @w[k, j] + 1.0:f32 }";
    assert!(!lies(&format!("{U}\n temp %m: f32[16, 16]"), &format!("{m}\n {contract}")));
    // Weights in blocks.
    let k =
        "contract \"k\" [i: 8, j: 16 | k: 16] { acc: f32 = %x[i, k] * @w[k, j]\n %u[i, j] = acc + %t[i, j] }";
    let mut program = program(&format!("temp %t: f32[8, 16]\n {U}"), &format!("{FILL}\n {k}\n {LAST}"));
    let w = program.buffer_ids().find(|b| program.buffer(*b).name == "w").unwrap();
    let kept = Kept::Bcsr(kiln_ir::format::bcsr::Block::new(4, 1));
    program.set_format(w, Some(kiln_ir::kernel::Format { kept, why: String::new() }));
    assert_eq!(over(&program), []);
}

#[test]
fn halos_and_turns_of_loops() {
    // The border of `u` is written before `k`.
    let k = "map \"k\" [i: 8, j: 16] { %u[i, j] = neg(%t[i, j]) }";
    let temps = format!("temp %t: f32[8, 16]\n {U}");
    let window =
        "window \"last\" [i: 8, j: 16 | k: 3] { acc = sum(%u[i, j + k + -1] else 0.0:f32)\n %y[i, j] = acc }";
    assert_eq!(over(&program(&temps, &format!("{FILL}\n {k}\n {window}"))), []);
    // The next turn reads `t` again; in one turn `v` may be over `u`.
    let cells = "temp %n: i64[]\n temp %v: f32[8, 16]";
    let turn = "map \"l\" [i: 8, j: 16] { %v[i, j] = exp(%u[i, j]) }\n map \"m\" [i: 8, j: 16] { %s[i, j] = %v[i, j] + %v[0, j] }";
    let text = format!(
        "{FILL}\n loop %n to 3 {{\n {turn0}\n {turn} }}\n map \"last\" [i: 8, j: 16] {{ %y[i, j] = %s[i, j] }}",
        turn0 = k
    );
    let found = over(&program(&format!("{temps}\n {cells}\n temp %s: f32[8, 16]"), &text));
    assert_eq!(found, [("v".to_owned(), "u".to_owned())]);
}

/// Small numbers, the same every time.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[test]
fn an_arena_is_never_larger_for_it() {
    let mut seen = 0;
    for seed in 0..60 {
        let mut next = numbers(seed);
        let (mut temps, mut kernels) = (String::new(), String::new());
        for i in 0..24 {
            let n = [16, 32, 48, 80][next(4)];
            temps += &format!("temp %t{i}: f32[{n}]\n");
            // Operands of another size are read in turn.
            let values: Vec<String> =
                (0..next(3)).filter(|_| i > 0).map(|_| format!(" + %t{}[j]", next(i))).collect();
            let values = values.concat();
            kernels += &format!("map \"k{i}\" [j: 16] {{ %t{i}[j] = %x[0, j]{values} }}\n");
        }
        let program = program(&temps, &kernels);
        let found = arena(&program);
        seen += found.slots.iter().filter(|s| s.over.is_some()).count();
        let id = |name: &str| program.buffer_ids().find(|b| program.buffer(*b).name == name).unwrap();
        let items = found.slots.iter().map(|s| (s.bytes, id(&s.name), s.live)).collect();
        let apart = arranged(&program, items, program.kernels().len());
        assert!(
            found.bytes <= apart.bytes && found.lower_bound_bytes <= apart.lower_bound_bytes,
            "seed {seed}"
        );
        assert!(found.bytes >= found.lower_bound_bytes);
    }
    assert!(seen > 60, "{seen}");
}
