//! Sound models, cut off at every byte and with every byte changed: an answer or an error, never a panic.

use std::sync::Arc;

use kiln_compiler::Compiler;
use kiln_ir::Limits;
use libtest_mimic::{Failed, Trial};

use super::build::*;

/// A small model with a constant, attributes and a subgraph.
fn whole() -> Vec<u8> {
    let branch =
        |op: &str| graph(vec![], vec![], vec![node("b", op, &["c"], &["r"], vec![])], vec![untyped("r")]);
    let branches = vec![subgraph("then_branch", branch("Relu")), subgraph("else_branch", branch("Neg"))];
    let nodes = vec![
        node(
            "conv",
            "Conv",
            &["x", "w"],
            &["c"],
            vec![ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])],
        ),
        node("if", "If", &["go"], &["d"], branches),
        node("reshape", "Reshape", &["d", "s"], &["y"], vec![int("allowzero", 0)]),
    ];
    let constants = vec![halves("w", &[2, 4, 3, 3]), raw("go", 9, &[], vec![1]), numbers("s", &[1, -1])];
    bytes(&around(constants, nodes))
}

/// Everything up to the plan; limits keep a changed extent from asking for much.
fn compile(bytes: Vec<u8>) -> bool {
    let limits = Limits { max_tensor_bytes: 1 << 24, fold_bytes: 1 << 20, ..Limits::default() };
    let loaded = Compiler::from_bytes(bytes).limits(limits).load();
    loaded
        .and_then(|mut loaded| {
            for name in loaded.unbound() {
                loaded.bind(&name, 1);
            }
            loaded.plan()
        })
        .is_ok()
}

/// Runs `f` for every index on a thread with a stack like the command's.
fn for_each(count: usize, f: impl Fn(usize) + Send + 'static) -> Result<(), Failed> {
    let work = move || {
        for i in 0..count {
            f(i);
        }
    };
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(work)?;
    thread.join().map_err(|_| "panicked".into())
}

/// The tests.
pub(crate) fn trials() -> Vec<Trial> {
    let file = Arc::new(whole());
    let (cut, changed) = (file.clone(), file);
    vec![
        Trial::test("damage/cut_off_at_every_byte", move || {
            for_each(cut.len(), move |i| _ = compile(cut[..i].to_vec()))
        }),
        Trial::test("damage/every_byte_changed", move || {
            for_each(changed.len(), move |i| {
                // The weights' own bytes do not matter: one of them stands for all.
                if changed[i.saturating_sub(8)..=i].windows(8).all(|w| w[..4] == 0.5f32.to_le_bytes())
                    && i >= 8
                {
                    return;
                }
                for change in [0x01, 0x80, 0xFF] {
                    let mut bytes = changed.to_vec();
                    bytes[i] ^= change;
                    compile(bytes);
                }
            })
        }),
    ]
}
