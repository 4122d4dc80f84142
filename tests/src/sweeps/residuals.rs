//! Results that lie over an operand, around every size of tiles and vectors: what is computed twice would be wrong.

use super::Text;

/// Rows or pixels of a block.
const ROWS: [usize; 8] = [1, 2, 5, 6, 9, 13, 17, 26];
/// Columns or channels.
const COLUMNS: [usize; 7] = [2, 4, 7, 16, 17, 33, 50];

/// Blocks, each of which ends with one result at least over an operand.
pub(super) const BLOCKS: usize = ROWS.len() * COLUMNS.len();

/// Products and convolutions whose result is added to what the block began with, and sums of rows behind them.
pub(super) fn blocks() -> Text {
    let mut t = Text::default();
    for n in COLUMNS {
        let (first, middle, last) = (t.weight(&[n, n]), t.weight(&[n, 11]), t.weight(&[11, n]));
        let [u, v, w] = [[n, n], [11, n], [n, 11]].map(|[o, i]| t.weight(&[o, i, 1, 1]));
        for (i, m) in ROWS.into_iter().enumerate() {
            let at = format!("{m}_{n}");
            let images = i % 2 == 1;
            let (layer, all) =
                if images { ("Conv", [&u, &v, &w]) } else { ("MatMul", [&first, &middle, &last]) };
            // Rows of images are of three pixels.
            let shape = if images { vec![1, n, m, 3] } else { vec![m, n] };
            t.input(&format!("x{at}"), &shape);
            t.line(&format!("%a{at} = {layer}(%x{at}, {})", all[0]));
            t.line(&format!("%b{at} = {layer}(%a{at}, {})", all[1]));
            t.line(&format!("%c{at} = Relu(%b{at})"));
            t.line(&format!("%d{at} = {layer}(%c{at}, {})", all[2]));
            let join = ["Add", "Sub", "Mul"][i % 3];
            t.line(&format!("%e{at} = {join}(%d{at}, %a{at})"));
            t.output(&format!("Softmax(%e{at}) {{axis = 1}}"));
        }
    }
    t
}
