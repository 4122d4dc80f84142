//! `TfIdfVectorizer`: how often n-grams of a list are in sequences of integers.
//!
//! Spec: ONNX TfIdfVectorizer, version 9. Elements of an n-gram may be up to `max_skip_count` others apart, all by the same
//! distance; each distance is counted. `TF` counts, `IDF` is a weight where the count is not 0, `TFIDF` their product. Made of
//! comparisons with all n-grams of a length at once.
//!
//! Unsupported: strings.

use super::binary;
use super::composed::{Composed, Composer, Value, composed, required};
use super::values::from_f64s;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// What counts become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Tf,
    Idf,
    TfIdf,
}

/// `TfIdfVectorizer`.
#[derive(Clone, Debug, PartialEq)]
pub struct TfIdfVectorizer {
    mode: Mode,
    skips: i64,
    lengths: [i64; 2],
    /// Where the n-grams of each length begin in the pool.
    counts: Vec<i64>,
    indexes: Vec<i64>,
    pool: Vec<i64>,
    weights: Vec<f32>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let mode = match node.string("mode")?.as_deref() {
        Some("TF") => Mode::Tf,
        Some("IDF") => Mode::Idf,
        Some("TFIDF") => Mode::TfIdf,
        other => bail_invalid!("attribute 'mode' must be TF, IDF or TFIDF, found {other:?}"),
    };
    if node.strings("pool_strings")?.is_some_and(|pool| !pool.is_empty()) {
        bail_unsupported!("n-grams of strings are not supported");
    }
    let list =
        |node: &mut NodeProto<'_>, name: &str| Ok::<_, crate::Error>(node.ints(name)?.unwrap_or_default());
    let (counts, indexes) = (list(node, "ngram_counts")?, list(node, "ngram_indexes")?);
    let pool = list(node, "pool_int64s")?;
    let weights = node.floats("weights")?.unwrap_or_default();
    let mut int = |name: &str| Ok::<_, crate::Error>(node.int(name)?.unwrap_or(1));
    let (skips, lengths) = (int("max_skip_count")?, [int("min_gram_length")?, int("max_gram_length")?]);
    let ends = counts.iter().copied().chain([pool.len() as i64]).collect::<Vec<_>>();
    if ends.windows(2).any(|pair| pair[0] > pair[1]) || counts.first().is_some_and(|first| *first != 0) {
        bail_invalid!("attribute 'ngram_counts' {counts:?} does not divide a pool of {} numbers", pool.len());
    }
    let grams: i64 = ends.windows(2).zip(1..).map(|(pair, n)| (pair[1] - pair[0]) / n).sum();
    if grams != indexes.len() as i64 || !weights.is_empty() && weights.len() != indexes.len() {
        bail_invalid!("{grams} n-grams have {} indexes and {} weights", indexes.len(), weights.len());
    }
    if indexes.iter().any(|i| !(0..1 << 31).contains(i)) || !(0..1 << 20).contains(&skips) || lengths[0] < 1 {
        bail_invalid!("indexes, skips or lengths are out of range");
    }
    Ok(Box::new(TfIdfVectorizer { mode, skips, lengths, counts, indexes, pool, weights }))
}

/// `TfIdfVectorizer`.
pub const DEF: OpDef =
    OpDef { name: "TfIdfVectorizer", domain: "", since: (9, 9), parse, unsupported: "strings" };

impl Op for TfIdfVectorizer {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mode = match self.mode {
            Mode::Tf => "TF",
            Mode::Idf => "IDF",
            Mode::TfIdf => "TFIDF",
        };
        let list = [
            ("mode", Attr::Str(mode.to_owned())),
            ("max_skip_count", Attr::Int(self.skips)),
            ("min_gram_length", Attr::Int(self.lengths[0])),
            ("max_gram_length", Attr::Int(self.lengths[1])),
            ("ngram_counts", Attr::Ints(self.counts.clone())),
            ("ngram_indexes", Attr::Ints(self.indexes.clone())),
            ("pool_int64s", Attr::Ints(self.pool.clone())),
            ("weights", Attr::Floats(self.weights.clone())),
        ];
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    composed!();
}

impl Composed for TfIdfVectorizer {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        if !matches!(cx.dtype(x), DType::I32 | DType::I64) {
            bail_invalid!("sequences are i32 or i64, found {}", cx.dtype(x));
        }
        let shape = cx.extents(x, "sequences")?;
        let (rows, length) = match shape[..] {
            [length] => (1, length),
            [rows, length] => (rows, length),
            _ => bail_invalid!("a sequence or rows of them needed, found shape {shape:?}"),
        };
        let x = cx.cast(x, DType::I64)?;
        let x = cx.reshape(x, &[rows, length])?;
        let width = self.indexes.iter().max().map_or(0, |most| most + 1);
        let mut y = cx.constant(Tensor::zeros(DType::F32, &[rows as usize, width as usize]));
        let mut first = 0;
        for (i, &begin) in self.counts.iter().enumerate() {
            let n = i as i64 + 1;
            let end = self.counts.get(i + 1).copied().unwrap_or(self.pool.len() as i64);
            let grams = &self.pool[begin as usize..end as usize];
            let count = grams.len() / n as usize;
            let indexes = &self.indexes[first..first + count];
            let weights = self.weights.get(first..first + count);
            first += count;
            if count == 0 || !(self.lengths[0]..=self.lengths[1]).contains(&n) {
                continue;
            }
            let Some(found) = self.count(cx, x, [rows, length], n, grams)? else { continue };
            // Each to its column, with its weight.
            let mut columns = vec![0.0; count * width as usize];
            for (gram, index) in indexes.iter().enumerate() {
                let weight = weights.filter(|_| self.mode != Mode::Tf).map_or(1.0, |w| f64::from(w[gram]));
                columns[gram * width as usize + *index as usize] = weight;
            }
            let columns = cx.constant(from_f64s(DType::F32, &[count, width as usize], columns)?);
            let part = cx.apply(&super::matmul::DEF, &[], &[found, columns])?;
            y = cx.add(y, part)?;
        }
        let out: &[i64] = if shape.len() == 1 { &[width] } else { &[rows, width] };
        Ok(vec![cx.reshape(y, out)?])
    }
}

impl TfIdfVectorizer {
    /// How often each n-gram of a length is there, `[rows, grams]`; whether, for `IDF`. `None` where none can be.
    fn count(
        &self,
        cx: &mut Composer<'_>,
        x: Value,
        [rows, length]: [i64; 2],
        n: i64,
        grams: &[i64],
    ) -> Result<Option<Value>> {
        let mut total = None;
        // A single element has no distances.
        for distance in 1..=(if n == 1 { 1 } else { self.skips + 1 }) {
            let places = length - (n - 1) * distance;
            if places <= 0 {
                break;
            }
            let mut all = None;
            for k in 0..n {
                let part = cx.slice(x, 1, (k * distance, k * distance + places), 1)?;
                let part = cx.reshape(part, &[rows, places, 1])?;
                let own: Vec<i64> = grams.iter().skip(k as usize).step_by(n as usize).copied().collect();
                let own = cx.constant(Tensor::from_vec(&[1, 1, own.len()], own));
                let same = cx.apply(&binary::EQUAL, &[], &[part, own])?;
                all = Some(match all {
                    Some(all) => cx.and(all, same)?,
                    None => same,
                });
            }
            let Some(all) = all else { continue };
            let all = cx.cast(all, DType::F32)?;
            let sum = cx.sum(all, &[1])?;
            total = Some(match total {
                Some(total) => cx.add(total, sum)?,
                None => sum,
            });
        }
        match (total, self.mode) {
            (Some(total), Mode::Idf) => Ok(Some(cx.clamp(total, 0.0, 1.0)?)),
            (total, _) => Ok(total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, run};

    fn count(mode: &str, skips: i64, lengths: [i64; 2], x: &Tensor) -> Vec<f64> {
        let list = [
            ("mode", Attr::Str(mode.into())),
            ("max_skip_count", Attr::Int(skips)),
            ("min_gram_length", Attr::Int(lengths[0])),
            ("max_gram_length", Attr::Int(lengths[1])),
            ("ngram_counts", ints(&[0, 4])),
            ("ngram_indexes", ints(&[0, 1, 2, 3, 4, 5, 6])),
            ("pool_int64s", ints(&[2, 3, 5, 4, 5, 6, 7, 8, 6, 7])),
            ("weights", Attr::Floats(vec![1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 2.0])),
        ];
        let op = parse("TfIdfVectorizer", 9, &list, 1, 1).unwrap();
        run(&*op, &[x], &[]).unwrap()[0].to_f64s().unwrap()
    }

    #[test]
    fn the_examples_of_the_specification() {
        let x = Tensor::from_vec(&[12], vec![1i32, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8]);
        assert_eq!(count("TF", 0, [2, 2], &x), [0., 0., 0., 0., 1., 1., 1.]);
        assert_eq!(count("TF", 5, [2, 2], &x), [0., 0., 0., 0., 1., 3., 1.]);
        assert_eq!(count("TF", 5, [1, 2], &x), [0., 3., 1., 0., 1., 3., 1.]);
        assert_eq!(count("IDF", 5, [2, 2], &x), [0., 0., 0., 0., 0.5, 1., 2.]);
        assert_eq!(count("TFIDF", 5, [2, 2], &x), [0., 0., 0., 0., 0.5, 3., 2.]);
        let rows = x.reshaped(&[2, 6]).unwrap();
        assert_eq!(count("TF", 0, [2, 2], &rows), [0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0., 1.]);
    }
}
