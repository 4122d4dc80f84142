//! Elements of a tensor in rows and columns; of long axes both ends.

use kiln_ir::{DType, Tensor};
use kiln_tools::summary::summary;

use super::stats::Stats;

/// Tensors with more elements are told by their ends.
const MOST: usize = 200;
/// Elements at each end of a long axis.
const ENDS: usize = 3;
/// Tensors with no more elements are told in a line.
const LINE: usize = 8;

/// A tensor with its name, type, statistics and elements. Few elements stand in the line of the name.
pub(crate) fn print(name: &str, tensor: &Tensor, precision: usize, width: usize) -> String {
    if tensor.elements() <= LINE {
        return summary(name, tensor, precision);
    }
    format!("{}\n{}", head(name, tensor, precision), elements(tensor, precision, width))
}

/// Name, type and statistics.
pub(crate) fn head(name: &str, tensor: &Tensor, precision: usize) -> String {
    let stats = Stats::of(tensor).map_or_else(String::new, |s| format!(", {}", s.text(precision)));
    format!("{name} {}{stats}", tensor.ty())
}

/// The elements, as NumPy shows them.
pub(crate) fn elements(tensor: &Tensor, precision: usize, width: usize) -> String {
    let Ok(values) = tensor.to_f64s() else { return "...".to_owned() };
    let exact = tensor.to_i64s().ok().filter(|_| !tensor.dtype.is_float());
    let text = |i: usize| match (&exact, tensor.dtype) {
        (_, DType::Bool) => (values[i] != 0.0).to_string(),
        (Some(exact), _) => exact[i].to_string(),
        _ => float(values[i], precision),
    };
    let whole = values.len() <= MOST;
    let mut shown = Vec::new();
    positions(&tensor.shape, whole, 0, &mut shown);
    let column = shown.iter().map(|i| text(*i).len()).max().unwrap_or(0);
    let cell = |i: usize| format!("{:>column$}", text(i));
    let mut out = String::new();
    axis(&tensor.shape, 0, 0, whole, width, &cell, &mut out);
    out
}

fn float(value: f64, precision: usize) -> String {
    let size = value.abs();
    if value.is_finite() && value != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.precision$e}");
    }
    format!("{value:.precision$}")
}

/// Positions along an axis; nothing stands for those that are left out.
fn along(extent: usize, whole: bool) -> Vec<Option<usize>> {
    if whole || extent <= 2 * ENDS {
        return (0..extent).map(Some).collect();
    }
    (0..ENDS).map(Some).chain([None]).chain((extent - ENDS..extent).map(Some)).collect()
}

fn positions(shape: &[usize], whole: bool, base: usize, out: &mut Vec<usize>) {
    let Some((extent, rest)) = shape.split_first() else { return out.push(base) };
    let step: usize = rest.iter().product();
    along(*extent, whole).into_iter().flatten().for_each(|i| positions(rest, whole, base + i * step, out));
}

fn axis(
    shape: &[usize],
    base: usize,
    depth: usize,
    whole: bool,
    width: usize,
    cell: &dyn Fn(usize) -> String,
    out: &mut String,
) {
    let Some((extent, rest)) = shape.split_first() else {
        out.push_str(&cell(base));
        return;
    };
    let step: usize = rest.iter().product();
    let indent = " ".repeat(depth + 1);
    out.push('[');
    let mut column = depth + 1;
    for (n, at) in along(*extent, whole).into_iter().enumerate() {
        let last = rest.is_empty();
        if n > 0 {
            out.push(',');
            column += 1;
        }
        let text = match at {
            None => "...".to_owned(),
            Some(i) if last => cell(base + i * step),
            Some(_) => String::new(),
        };
        if n > 0 && !last {
            out.push('\n');
            out.push_str(&indent);
        } else if n > 0 && column + 1 + text.len() >= width {
            out.push('\n');
            out.push_str(&indent);
            column = depth + 1;
        } else if n > 0 {
            out.push(' ');
            column += 1;
        }
        column += text.len();
        out.push_str(&text);
        if let (Some(i), false) = (at, last) {
            axis(rest, base + i * step, depth + 1, whole, width, cell, out);
        }
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_elements_are_a_line() {
        let tensor = Tensor::from_vec(&[1, 1], vec![0f32]);
        assert_eq!(print("z", &tensor, 6, 80), "z f32[1, 1] = [0.000000]");
    }

    #[test]
    fn rows_and_columns() {
        let tensor = Tensor::from_vec(&[2, 2, 3], (0..12i32).collect());
        assert_eq!(
            elements(&tensor, 2, 80),
            "[[[ 0,  1,  2],\n  [ 3,  4,  5]],\n [[ 6,  7,  8],\n  [ 9, 10, 11]]]"
        );
        let bools = Tensor::from_bools(&[2], [true, false]);
        assert_eq!(elements(&bools, 2, 80), "[ true, false]");
        assert_eq!(elements(&Tensor::from_vec(&[0, 3], Vec::<f32>::new()), 2, 80), "[]");
    }

    #[test]
    fn long_axes_show_their_ends() {
        let tensor = Tensor::from_vec(&[2000], (0..2000i64).collect());
        assert_eq!(elements(&tensor, 2, 80), "[   0,    1,    2, ..., 1997, 1998, 1999]");
        let narrow = elements(&Tensor::from_vec(&[20], (0..20i64).collect()), 2, 20);
        assert!(narrow.lines().all(|l| l.len() <= 20), "{narrow}");
    }
}
