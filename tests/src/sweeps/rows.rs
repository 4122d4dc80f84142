//! Windows, and reductions with a border, over rows as the caller has them.

use super::{LENGTHS, Text};

/// Windows along rows of arguments, each an argument of its own: with and without padding, of every step.
pub(super) fn all() -> Text {
    let mut t = Text::default();
    let mut inputs = 0;
    let mut input = |t: &mut Text, shape: &[usize]| {
        inputs += 1;
        t.input(&format!("x{inputs}"), shape);
        format!("%x{inputs}")
    };
    for n in LENGTHS {
        for attributes in [
            "kernel_shape = [2, 2], strides = [2, 2]",
            "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]",
            "kernel_shape = [3, 3], pads = [1, 1, 1, 1]",
        ] {
            let x = input(&mut t, &[1, 3, 7, n + 2]);
            t.output(&format!("MaxPool({x}) {{{attributes}}}"));
            let x = input(&mut t, &[1, 3, 7, n + 2]);
            t.output(&format!("AveragePool({x}) {{{attributes}}}"));
        }
        let x = input(&mut t, &[2, 3, 4 * n]);
        t.output(&format!("MaxPool({x}) {{kernel_shape = [4], strides = [4]}}"));
        let x = input(&mut t, &[1, 2, 3, 5, 2 * n + 1]);
        t.output(&format!("MaxPool({x}) {{kernel_shape = [1, 3, 3], strides = [1, 2, 2]}}"));
        for attributes in ["pads = [2, 2, 2, 2], dilations = [2, 2]", "pads = [1, 1, 1, 1], strides = [2, 2]"]
        {
            let x = input(&mut t, &[1, 3, 9, n + 4]);
            let w = t.weight(&[3, 1, 3, 3]);
            t.output(&format!("Conv({x}, {w}) {{group = 3, {attributes}}}"));
        }
        let x = input(&mut t, &[1, 6, 2, n]);
        t.output(&format!("LRN({x}) {{size = 3, alpha = 0.5}}"));
    }
    t
}

/// Windows over numbers of other types than f32, of as many channels as lanes and others.
pub(super) fn typed() -> Text {
    let mut t = Text::default();
    for dtype in ["f64", "i8", "u8"] {
        for n in LENGTHS {
            let x = format!("{dtype}_{n}");
            t.typed_input(&x, dtype, &[1, n, 6, 7]);
            t.output(&format!("MaxPool(%{x}) {{kernel_shape = [2, 2], strides = [2, 2]}}"));
            t.output(&format!("MaxPool(%{x}) {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}}"));
            if dtype == "f64" {
                t.output(&format!("AveragePool(%{x}) {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}}"));
                let w = t.weight(&[n, 1, 3, 3]);
                t.line(&format!("%wide{n} = Cast({w}) {{to = 11}}"));
                t.output(&format!("Conv(%{x}, %wide{n}) {{group = {n}, pads = [1, 1, 1, 1]}}"));
            }
        }
    }
    t
}
