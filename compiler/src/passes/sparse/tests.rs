use kiln_ir::kernel::{self, Kept, Program};
use kiln_ir::{Tensor, eval};

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

/// A 3 x 3 convolution of bytes with padding, of 8 channels; every `nth` block of four weights of a row is kept.
fn of_bytes(nth: usize) -> Program {
    let value = |i: usize| {
        let (row, channel, place) = (i / 72, i / 9 % 8, i % 9);
        if (row + channel / 4 * 5 + place) % nth == 0 {
            format!("{}", i as i64 % 255 - 127)
        } else {
            "0".to_owned()
        }
    };
    let values: Vec<_> = (0..16 * 72).map(value).collect();
    let text = format!(
        "program @m {{
           input %x: u8[2, 8, 9, 20]
           const @w: i8[16, 8, 3, 3] = [{}]
           output %y: i32[2, 16, 9, 20]
           contract \"y\" [n: 2, o: 16, h: 9, w: 20 | c: 8, kh: 3, kw: 3] {{
             acc: i32 = %x[n, c, h + kh - 1, w + kw - 1] else 7:u8 * @w[o, c, kh, kw]
             %y[n, o, h, w] = acc
           }}
         }}",
        values.join(", ")
    );
    kernel::parse(&text).unwrap()
}

/// A product of 128 rows of bytes.
fn product_of_bytes() -> Program {
    let value = |i: usize| {
        if (i / 4).is_multiple_of(19) { format!("{}", i as i64 % 255 - 127) } else { "0".to_owned() }
    };
    let values: Vec<_> = (0..48 * 64).map(value).collect();
    let text = format!(
        "program @m {{
           input %x: u8[128, 64]
           const @w: i8[48, 64] = [{}]
           output %y: i32[128, 48]
           contract \"y\" [m: 128, o: 48 | k: 64] {{
             acc: i32 = %x[m, k] * @w[o, k]
             %y[m, o] = acc
           }}
         }}",
        values.join(", ")
    );
    kernel::parse(&text).unwrap()
}

#[test]
fn bytes_are_copied_by_fours() {
    for mut program in [of_bytes(12), product_of_bytes()] {
        let ty = &program.buffer(program.inputs[0]).ty;
        let shape = ty.shape.as_const().unwrap();
        let x = Tensor::from_vec::<u8>(
            &shape,
            (0..shape.iter().product()).map(|i| (i * 89 + 131) as u8).collect(),
        );
        let expected = eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
        let vnni = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx512vnni", "").unwrap();
        run(&mut program, &[vnni]).unwrap();
        kernel::verify(&program).unwrap();
        let text = program.to_string();
        assert!(matches!(formats(&program)[..], [Kept::Bcsr(block)] if block.cols == 4), "{text}");
        assert_eq!(eval::kernel::run(&program, &[x]).unwrap(), expected, "{text}");
    }
    let mut program = of_bytes(1);
    let before = program.clone();
    run(&mut program, &targets()).unwrap();
    assert_eq!(program, before);
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
fn a_batch_may_be_open() {
    let text = block(10).to_string();
    let text = text.replace("f32[1, 64, 28", "f32[b, 64, 28").replace("f32[1, 64, 14", "f32[b, 64, 14");
    let text = text.replacen('{', "{\n  dim b = 1..8", 1).replace("[n: 1,", "[n: b,");
    let mut program = kernel::parse(&text).unwrap();
    run(&mut program, &targets()).unwrap();
    kernel::verify(&program).unwrap();
    assert!(matches!(formats(&program)[..], [Kept::Bcsr(_), Kept::Bcsr(_)]), "{program}");
}

#[test]
fn what_was_measured_decides() {
    let program = block(10);
    let [candidate] = &candidates(&program, &targets()[0])[..] else { panic!("one region") };
    assert!(candidate.blocks && candidate.kernel.is_none(), "{candidate:?}");
    for blocks in [true, false] {
        let (mut measured, choices) = (program.clone(), Choices::one(&candidate.key, &Pick::Blocks(blocks)));
        run_with(&mut measured, &targets(), &choices).unwrap();
        let marks = formats(&measured);
        assert_eq!(marks.len(), 2);
        assert!(marks.iter().all(|kept| matches!(kept, Kept::Bcsr(_)) == blocks), "{marks:?}");
        let said =
            measured.buffers().iter().filter_map(|b| b.format.as_ref()).all(|f| f.why.ends_with("measured"));
        assert!(said);
    }
    assert!(candidates(&block(1), &targets()[0]).is_empty());
}

#[test]
fn what_has_no_zeros_is_left_alone() {
    let mut program = block(1);
    let before = program.clone();
    run(&mut program, &targets()).unwrap();
    assert_eq!(program, before);
}

#[test]
fn weights_of_several_steps_are_marked_where_all_read_them_alike() {
    let kept = |i: usize| (i / 256 + i % 256 / 16).is_multiple_of(10);
    let values: Vec<_> = (0..256 * 256).map(|i| if kept(i) { "0.5" } else { "0.0" }).collect();
    let steps = |second: &str| {
        let text = format!(
            "program @m {{
               input %x: f32[1, 256]
               const @w: f32[256, 256] = [{}]
               temp %t: f32[1, 256]
               output %y: f32[1, 256] output %z: f32[1, 256]
               contract \"t\" [n: 256 | k: 256] {{ acc: f32 = %x[0, k] * @w[k, n] %t[0, n] = max(acc, 0.0:f32) }}
               contract \"y\" [n: 256 | k: 256] {{ acc: f32 = %t[0, k] * @w[k, n] %y[0, n] = acc }}
               contract \"z\" [n: 256 | k: 256] {{ acc: f32 = %t[0, k] * {second} %z[0, n] = acc }}
             }}",
            values.join(", ")
        );
        let mut program = kernel::parse(&text).unwrap();
        run(&mut program, &targets()).unwrap();
        kernel::verify(&program).unwrap();
        formats(&program)
    };
    assert!(matches!(steps("@w[k, n]")[..], [Kept::Bcsr(_)]), "{:?}", steps("@w[k, n]"));
    assert_eq!(steps("@w[n, k]"), []);
}

#[test]
fn rows_that_others_read_as_such_become_lanes_by_two_copies() {
    let kept = |i: usize| (i * 7 + i / 256 * 3).is_multiple_of(10);
    let values: Vec<_> = (0..256 * 512).map(|i| if kept(i) { "0.5" } else { "0.0" }).collect();
    let text = format!(
        "program @m {{
           input %x: f32[10, 1, 256]
           const @w: f32[256, 512] = [{}]
           const @b: f32[512] = splat 0.25
           temp %t: f32[10, 1, 512]
           output %y: f32[1, 512]
           contract \"t\" [m: 10, n: 512 | k: 256] {{ acc: f32 = %x[m, 0, k] * @w[k, n] %t[m, 0, n] = acc + @b[n] }}
           map \"y\" [a: 1, n: 512] {{ %y[a, n] = tanh(%t[3, 0, n]) }}
         }}",
        values.join(", ")
    );
    let mut program = kernel::parse(&text).unwrap();
    let x = Tensor::from_vec::<f32>(&[10, 1, 256], (0..2560).map(|i| (i % 37) as f32 - 18.0).collect());
    let expected = eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
    let native = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx512vnni", "").unwrap();
    run(&mut program, &[native]).unwrap();
    kernel::verify(&program).unwrap();
    let kinds: Vec<_> = program.kernels().iter().map(|k| k.form.name()).collect();
    assert_eq!(kinds, ["rearrange", "contract", "rearrange", "map"], "{program}");
    assert!(matches!(formats(&program)[..], [Kept::Bcsr(_)]));
    assert_eq!(eval::kernel::run(&program, &[x]).unwrap(), expected);
}
