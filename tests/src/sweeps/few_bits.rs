//! Rows times weights of 2, 4 and 8 bits: whole panels of columns and others, blocks of each size, depths that end within one.

use super::Text;

/// Products of a row, and of two.
pub(super) fn products() -> Text {
    let mut t = Text::default();
    let cases = [
        (32, 64, 4, 32),
        (48, 100, 4, 16),
        (64, 300, 4, 128),
        (48, 70, 8, 32),
        (17, 70, 4, 32),
        (33, 96, 2, 32),
    ];
    for (i, (n, k, bits, block)) in cases.into_iter().enumerate() {
        let (blocks, bytes) = (usize::div_ceil(k, block), block * bits / 8);
        let all: Vec<String> =
            (0..n * blocks * bytes).map(|j| ((j * 73 + i * 57 + 11) % 256).to_string()).collect();
        t.line(&format!("const @bytes{i}: u8[{n}, {blocks}, {bytes}] = [{}]", all.join(", ")));
        let scales = t.weight(&[n * blocks]);
        for rows in [1, 2] {
            let x = format!("x{i}_{rows}");
            t.input(&x, &[rows, k]);
            t.output(&format!(
                "\"com.microsoft\"::MatMulNBits(%{x}, @bytes{i}, {scales}) {{K = {k}, N = {n}, bits = {bits}, block_size = {block}}}"
            ));
        }
    }
    t
}
