//! DEC's sixels: six rows of points in a character for each colour, of a palette of 6 x 6 x 6.

use std::fmt::Write as _;

/// Levels of each of red, green and blue.
const LEVELS: usize = 6;

/// A picture, row by row, as one escape sequence.
pub(super) fn encode(height: usize, width: usize, points: &[[u8; 3]]) -> String {
    let level = |v: u8| (usize::from(v) * (LEVELS - 1) + 127) / 255;
    let colour = |p: &[u8; 3]| (level(p[0]) * LEVELS + level(p[1])) * LEVELS + level(p[2]);
    let mut out = format!("\x1bPq\"1;1;{width};{height}");
    for index in 0..LEVELS * LEVELS * LEVELS {
        let part = |n: usize| 100 * (index / n % LEVELS) / (LEVELS - 1);
        let _ = write!(out, "#{index};2;{};{};{}", part(LEVELS * LEVELS), part(LEVELS), part(1));
    }
    for top in (0..height).step_by(6) {
        let rows = &points[top * width..(top + 6).min(height) * width];
        let mut used: Vec<usize> = rows.iter().map(colour).collect();
        used.sort_unstable();
        used.dedup();
        for index in used {
            let _ = write!(out, "#{index}");
            let mut run = (0usize, '?');
            let mut flush = |run: (usize, char)| match run.0 {
                0 => {}
                1..=3 => (0..run.0).for_each(|_| out.push(run.1)),
                n => {
                    let _ = write!(out, "!{n}{}", run.1);
                }
            };
            for x in 0..width {
                let bits = rows.chunks_exact(width).enumerate();
                let bits =
                    bits.filter(|(_, row)| colour(&row[x]) == index).fold(0u8, |bits, (y, _)| bits | 1 << y);
                let sixel = char::from(63 + bits);
                if sixel == run.1 {
                    run.0 += 1;
                } else {
                    flush(run);
                    run = (1, sixel);
                }
            }
            flush(run);
            out.push('$');
        }
        out.push('-');
    }
    out + "\x1b\\"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_six() {
        let text = encode(2, 5, &[[[255; 3]; 5], [[0; 3]; 5]].concat());
        assert!(text.starts_with("\x1bPq\"1;1;5;2#0;2;0;0;0#1;2;0;0;20"), "{text}");
        // White in the first row, black in the second, five times each.
        assert!(text.ends_with("#0!5A$#215!5@$-\x1b\\"), "{text}");
    }
}
