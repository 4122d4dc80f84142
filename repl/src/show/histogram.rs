//! A histogram of bars.

use kiln_ir::Tensor;

use super::stats::{Stats, short};

/// Ranges that elements are counted in.
const BINS: usize = 16;

/// Bars for the elements of a tensor that are numbers, `width` columns wide.
pub(crate) fn bars(tensor: &Tensor, width: usize) -> String {
    let (Some(stats), Ok(values)) = (Stats::of(tensor), tensor.to_f64s()) else {
        return "the elements are no numbers".to_owned();
    };
    if stats.min > stats.max {
        return "there is no element that is a number".to_owned();
    }
    let (from, to) = (stats.min, stats.max);
    let bins = if from == to { 1 } else { BINS };
    let size = ((to - from) / bins as f64).max(f64::MIN_POSITIVE);
    let mut counts = vec![0usize; bins];
    for value in values.iter().filter(|v| v.is_finite()) {
        counts[(((value - from) / size) as usize).min(bins - 1)] += 1;
    }
    let labels: Vec<String> = (0..bins).map(|i| short(from + i as f64 * size, 4)).collect();
    let label = labels.iter().map(String::len).max().unwrap_or(0);
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let digits = most.to_string().len();
    let room = width.saturating_sub(label + digits + 4).clamp(8, 60);
    let line = |(label_text, count): (&String, &usize)| {
        format!("{label_text:>label$}  {count:>digits$} {}", bar(*count as f64 / most as f64 * room as f64))
    };
    let mut lines: Vec<String> = labels.iter().zip(&counts).map(line).collect();
    lines.push(format!("{:>label$}", short(to, 4)));
    lines.join("\n")
}

/// A bar of so many columns, to the eighth of one.
fn bar(length: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (length * 8.0).round() as usize;
    // What is there is seen.
    let eighths = if length > 0.0 { eighths.max(1) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted() {
        let tensor = Tensor::from_vec(&[5], vec![0.0f32, 0.0, 0.0, 16.0, f32::NAN]);
        let text = bars(&tensor, 40);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), BINS + 1);
        assert!(lines[0].starts_with(" 0  3 ███"), "{text}");
        assert!(lines[15].starts_with("15  1 █"), "{text}");
        assert_eq!(bars(&Tensor::scalar(2.0f32), 40).lines().count(), 2);
        assert!(bars(&Tensor::from_vec(&[1], vec![f32::NAN]), 40).contains("no element"));
    }
}
