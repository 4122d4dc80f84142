//! The JIT's memory: pages that are written are not executed, and what is dropped is gone.
#![cfg(target_os = "linux")]

use std::path::Path;

use kiln_compiler::{Compiler, Model, Tensor};

fn compiler() -> Compiler {
    Compiler::from_path(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny/tiny_kws_dscnn.onnx"),
    )
}

fn input() -> Tensor {
    Tensor::from_vec(&[1, 1, 49, 10], (0..490).map(|i| (i % 17) as f32 / 17.0).collect())
}

/// Permissions of every mapping of this process.
fn permissions() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

/// Memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn no_page_is_writable_and_executable() {
    let executable = |list: &[String]| list.iter().filter(|p| p.contains('x')).count();
    let before = executable(&permissions());
    let models: Vec<Model> = (1..3).map(|threads| compiler().jit(threads).unwrap()).collect();
    models.iter().for_each(|m| drop(m.run(&[input()]).unwrap()));
    let with = permissions();
    assert!(executable(&with) > before, "{with:?}");
    for permission in &with {
        assert!(!(permission.contains('w') && permission.contains('x')), "{permission}");
    }
    drop(models);
    assert_eq!(executable(&permissions()), before);
}

/// What a process keeps for itself, it has after a few rounds.
#[test]
fn a_thousand_rounds_leave_nothing_behind() {
    // A few kernels of every kind of code, and weights that would be seen.
    let text = "g (float[16, 64] x) => (float[16, 64] y) {
        w = Constant<value_floats = [1.5]>()
        a = MatMul(x, big)
        b = Softmax(a)
        c = Tan(b)
        y = Mul(c, w)
    }";
    let mut document = kiln_onnx::from_text(text).unwrap();
    document.set_constant("big", Tensor::from_vec(&[64, 64], vec![0.25f32; 64 * 64]));
    let bytes = document.to_bytes().unwrap();
    let input = Tensor::from_vec(&[16, 64], vec![0.5f32; 16 * 64]);
    let round = || {
        let model = Compiler::from_bytes(bytes.clone()).jit(1).unwrap();
        let outputs = model.run(std::slice::from_ref(&input)).unwrap();
        assert_eq!(outputs[0].shape, [16, 64]);
    };
    (0..50).for_each(|_| round());
    let before = resident();
    (0..1000).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    assert!(grown <= 1024, "{grown} KiB more after 1000 rounds");
}
