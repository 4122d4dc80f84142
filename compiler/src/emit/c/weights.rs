//! The read-only data as an array of words.

use std::fmt::Write as _;

use kiln_ir::kernel::plan::Plan;
use kiln_ir::{Error, Result};
use kiln_targets::Order;

/// Words in a line.
const COLUMNS: usize = 12;

/// The array, with a comment at the start of each weight; nothing where there are no weights.
pub(super) fn render(plan: &Plan, name: &str, order: Order, section: Option<&str>) -> Result<String> {
    if plan.weights_bytes == 0 || plan.outside.is_some() {
        return Ok(String::new());
    }
    let bytes = assemble(plan)?;
    let placed =
        section.map(|s| format!(" K_PLACED(\"{}\")", s.replace(['"', '\\'], ""))).unwrap_or_default();
    let mut out = String::with_capacity(bytes.len() * 3);
    let _ = writeln!(
        out,
        "static const uint32_t {name}_weights[{}] K_ALIGNED({}){placed} = {{",
        bytes.len() / 4,
        plan.arena_align.max(8)
    );
    for line in bytes.chunks(4 * COLUMNS) {
        out.push_str("   ");
        for word in line.chunks_exact(4) {
            let bytes = [word[0], word[1], word[2], word[3]];
            let word = match order {
                Order::LowFirst => u32::from_le_bytes(bytes),
                Order::HighFirst => u32::from_be_bytes(bytes),
            };
            match word {
                0..=9 => write!(out, " {word},"),
                _ => write!(out, " {word:#x},"),
            }
            .map_err(|e| Error::internal(e.to_string()))?;
        }
        out.push('\n');
    }
    out += "};\n\n";
    Ok(out)
}

/// Every weight at its offset, in whole words.
pub(super) fn assemble(plan: &Plan) -> Result<Vec<u8>> {
    let mut out = vec![0; plan.weights_bytes.next_multiple_of(8)];
    for weight in &plan.weights {
        let data = &weight.tensor.data;
        let end = weight.offset_bytes.saturating_add(data.len());
        let place = out.get_mut(weight.offset_bytes..end);
        let outside = || Error::internal(format!("weight '{}' is outside the read-only data", weight.name));
        place.ok_or_else(outside)?.copy_from_slice(data);
    }
    Ok(out)
}
