//! Rows times weights of 2, 4 and 8 bits, with zero points of their own or without: whole panels of columns and others, blocks of each size, depths that end within one.

use super::Text;

/// Products of a row, and of two.
pub(super) fn products() -> Text {
    let mut t = Text::default();
    let cases = [
        (32, 64, 4, 32, false),
        (48, 100, 4, 16, false),
        (64, 300, 4, 128, false),
        (48, 70, 8, 32, false),
        (17, 70, 4, 32, false),
        (33, 96, 2, 32, false),
        (48, 100, 4, 16, true),
        (64, 300, 4, 64, true),
        (48, 70, 8, 32, true),
        (17, 70, 4, 32, true),
    ];
    for (i, (n, k, bits, block, zeros)) in cases.into_iter().enumerate() {
        let (blocks, bytes) = (usize::div_ceil(k, block), block * bits / 8);
        let all: Vec<String> =
            (0..n * blocks * bytes).map(|j| ((j * 73 + i * 57 + 11) % 256).to_string()).collect();
        t.line(&format!("const @bytes{i}: u8[{n}, {blocks}, {bytes}] = [{}]", all.join(", ")));
        let scales = t.weight(&[n * blocks]);
        let zeros = if zeros {
            let row = (blocks * bits).div_ceil(8);
            let all: Vec<String> = (0..n * row).map(|j| ((j * 91 + i * 37 + 5) % 256).to_string()).collect();
            t.line(&format!("const @zeros{i}: u8[{n}, {row}] = [{}]", all.join(", ")));
            format!(", @zeros{i}")
        } else {
            String::new()
        };
        for rows in [1, 2] {
            let x = format!("x{i}_{rows}");
            t.input(&x, &[rows, k]);
            t.output(&format!(
                "\"com.microsoft\"::MatMulNBits(%{x}, @bytes{i}, {scales}{zeros}) {{K = {k}, N = {n}, bits = {bits}, block_size = {block}}}"
            ));
        }
    }
    t
}
