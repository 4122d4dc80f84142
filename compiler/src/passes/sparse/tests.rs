use kiln_ir::kernel::{self, Kept, Program};

use super::*;

fn targets() -> Vec<Target> {
    vec![kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap()]
}

/// A 1 x 1 convolution of 64 channels, a depthwise window and another convolution; every `nth` block of 4 weights is kept.
fn block(nth: usize) -> Program {
    let matrix = |name: &str| {
        let value = |i: usize| {
            let (row, column) = (i / 64, i % 64);
            if (row / 4 + column) % nth == 0 { "0.5" } else { "0.0" }
        };
        let values: Vec<_> = (0..64 * 64).map(value).collect();
        format!("const @{name}: f32[64, 64, 1, 1] = [{}]\n", values.join(", "))
    };
    let text = format!(
        "program @m {{
           input %x: f32[1, 64, 28, 28]
           {}{}const @d: f32[64, 1, 3, 3] = splat 0.25
           temp %t: f32[1, 64, 28, 28] temp %u: f32[1, 64, 14, 14]
           output %y: f32[1, 64, 14, 14]
           contract \"t\" [n: 1, o: 64, h: 28, w: 28 | c: 64, kh: 1, kw: 1] {{
             acc: f32 = %x[n, c, h + kh, w + kw] * @a[o, c, kh, kw]
             %t[n, o, h, w] = max(acc, 0.0:f32)
           }}
           window \"u\" [n: 1, c: 64, h: 14, w: 14 | kh: 3, kw: 3] {{
             acc = dot(%t[n, c, 2*h + kh - 1, 2*w + kw - 1] else 0.0:f32, @d[c, 0, kh, kw])
             %u[n, c, h, w] = acc
           }}
           contract \"y\" [n: 1, o: 64, h: 14, w: 14 | c: 64, kh: 1, kw: 1] {{
             acc: f32 = %u[n, c, h + kh, w + kw] * @b[o, c, kh, kw]
             %y[n, o, h, w] = acc
           }}
         }}",
        matrix("a"),
        matrix("b")
    );
    kernel::parse(&text).unwrap()
}

fn formats(program: &Program) -> Vec<Kept> {
    program.buffers().iter().filter_map(|b| b.format.as_ref()).map(|f| f.kept).collect()
}

#[test]
fn a_region_of_zeros_is_marked_and_read_back() {
    let mut program = block(10);
    run(&mut program, &targets()).unwrap();
    kernel::verify(&program).unwrap();
    assert!(matches!(formats(&program)[..], [Kept::Bcsr(_), Kept::Bcsr(_)]), "{:?}", formats(&program));
    assert_eq!(kernel::parse(&program.to_string()).unwrap(), program);
}

#[test]
fn what_has_no_zeros_is_left_alone() {
    let mut program = block(1);
    let before = program.clone();
    run(&mut program, &targets()).unwrap();
    assert_eq!(program, before);
}
