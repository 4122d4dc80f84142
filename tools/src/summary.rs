//! A tensor in a line.

use kiln_ir::Tensor;
use kiln_ir::error::Printable;

/// Elements that are told.
const SHOWN: usize = 8;

/// A tensor in a line, for people; so many digits behind the point.
pub fn summary(name: &str, tensor: &Tensor, precision: usize) -> String {
    let mut text = format!("{} {}", Printable(name), tensor.ty());
    if let Ok(values) = tensor.to_f64s() {
        let shown: Vec<String> = values.iter().take(SHOWN).map(|v| format!("{v:.precision$}")).collect();
        let more = if values.len() > SHOWN { ", ..." } else { "" };
        text.push_str(&format!(" = [{}{more}]", shown.join(", ")));
    }
    text
}
