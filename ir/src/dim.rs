//! Dimensions: constants or expressions over named symbols with bounds.
//!
//! A [`Dim`] is kept in a normal form, so that `==` decides equality of the polynomials that shape arithmetic
//! produces: a sum of terms, each an integer coefficient times a sorted product of atoms; an atom is a symbol
//! or one of the three operations that are not polynomial (`floordiv`, `max`, `min`).
//!
//! Expressions are bounded: what would need more than [`MAX_SIZE`] symbols, numbers and operations, or a coefficient
//! beyond 64 bits, is [unknown](Dim::is_unknown), and so is all that follows from it. A product of sums is as large as
//! the product of their sizes, so that a few dozen squarings would otherwise fill any memory.
//!
//! Text form: `7`, `batch`, `2*seq + 1`, `floordiv(seq + 1, 2)`, `max(a, b)`.

mod divide;
mod text;
mod within;

use std::collections::BTreeMap;
use std::sync::Arc;

/// Symbols, numbers and operations in one expression at most.
pub const MAX_SIZE: usize = 2048;

/// Divisions within each other that [`Dim::range`] sees through.
const MOST_DIVISIONS: usize = 8;

/// The extent of one axis, or any integer that follows from extents.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// Known at compile time.
    Const(i64),
    /// Depends on symbols; never holds a form that is a constant.
    Expr(Arc<Sum>),
}

/// Terms with non-zero coefficients, the constant term under the empty product.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sum {
    terms: BTreeMap<Vec<Atom>, i64>,
}

/// An indivisible factor of a term.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// A named dimension of the model.
    Symbol(Arc<str>),
    /// `floor(a / b)`.
    FloorDiv(Dim, Dim),
    /// The larger.
    Max(Dim, Dim),
    /// The smaller.
    Min(Dim, Dim),
    /// Too large to be written out; always alone.
    Unknown,
}

/// The values that a symbol may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The least.
    pub lo: i64,
    /// The greatest.
    pub hi: i64,
    /// What cost models assume: within both.
    pub typical: i64,
}

impl From<(i64, i64)> for Bound {
    /// Both ends, and their geometric mean as what is typical.
    fn from((lo, hi): (i64, i64)) -> Self {
        let mean = (lo.max(1) as f64 * hi.max(1) as f64).sqrt().round() as i64;
        Self { lo, hi, typical: mean.clamp(lo.min(hi), hi) }
    }
}

/// A value for every symbol.
pub type Symbols = BTreeMap<Arc<str>, i64>;

/// The values that each symbol may take.
pub type Bounds = BTreeMap<Arc<str>, Bound>;

impl Dim {
    /// A named dimension.
    pub fn symbol(name: &str) -> Self {
        Self::atom(Atom::Symbol(name.into()))
    }

    fn atom(atom: Atom) -> Self {
        match &atom {
            Atom::FloorDiv(a, b) | Atom::Max(a, b) | Atom::Min(a, b)
                if a.is_unknown() || b.is_unknown() || atom.size() > MAX_SIZE =>
            {
                Self::unknown()
            }
            _ => Self::Expr(Arc::new(Sum { terms: BTreeMap::from([(vec![atom], 1)]) })),
        }
    }

    fn unknown() -> Self {
        Self::atom(Atom::Unknown)
    }

    /// Whether the expression was too large to be written out. Nothing is known of its value, not even that two of
    /// these are the same: no shape may hold one.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Expr(sum) if sum.terms.keys().next().is_some_and(|t| t[..] == [Atom::Unknown]))
    }

    /// Symbols, numbers and operations.
    fn size(&self) -> usize {
        match self {
            Self::Const(_) => 1,
            Self::Expr(sum) => sum.size(),
        }
    }

    /// The value, when no symbol is involved.
    pub fn as_const(&self) -> Option<i64> {
        match self {
            Self::Const(value) => Some(*value),
            Self::Expr(_) => None,
        }
    }

    /// The value as an extent; `None` for symbolic and negative ones.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_const().and_then(|v| usize::try_from(v).ok())
    }

    /// Whether this is the constant `value`.
    pub fn is(&self, value: i64) -> bool {
        self.as_const() == Some(value)
    }

    fn sum(&self) -> Sum {
        match self {
            Self::Const(0) => Sum::default(),
            Self::Const(value) => Sum { terms: BTreeMap::from([(vec![], *value)]) },
            Self::Expr(sum) => (**sum).clone(),
        }
    }

    fn from_sum(sum: Sum) -> Self {
        match sum.terms.len() {
            0 => Self::Const(0),
            1 if sum.terms.contains_key(&[][..]) => Self::Const(sum.terms[&[][..]]),
            _ => Self::Expr(Arc::new(sum)),
        }
    }

    /// The larger of two.
    pub fn max_with(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Const(a), Dim::Const(b)) => Dim::Const(*a.max(b)),
            _ if self == other && !self.is_unknown() => self.clone(),
            _ => Self::atom(Atom::Max(self.min_of(other).clone(), self.max_of(other).clone())),
        }
    }

    /// The smaller of two.
    pub fn min_with(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Const(a), Dim::Const(b)) => Dim::Const(*a.min(b)),
            _ if self == other && !self.is_unknown() => self.clone(),
            _ => Self::atom(Atom::Min(self.min_of(other).clone(), self.max_of(other).clone())),
        }
    }

    // The structural order only serves to make `max(a, b)` and `max(b, a)` the same atom.
    fn min_of<'a>(&'a self, other: &'a Dim) -> &'a Dim {
        Ord::min(self, other)
    }

    fn max_of<'a>(&'a self, other: &'a Dim) -> &'a Dim {
        Ord::max(self, other)
    }

    /// Replaces symbols by dimensions; symbols that `values` lacks stay.
    pub fn substitute(&self, values: &BTreeMap<Arc<str>, Dim>) -> Dim {
        let Self::Expr(sum) = self else { return self.clone() };
        let mut out = Dim::Const(0);
        for (atoms, coefficient) in &sum.terms {
            let mut term = Dim::Const(*coefficient);
            for atom in atoms {
                term = term * atom.substitute(values);
            }
            out = out + term;
        }
        out
    }

    /// The value under a binding of every symbol; `None` where one is missing or a divisor is zero.
    pub fn eval(&self, values: &Symbols) -> Option<i64> {
        let bound = values.iter().map(|(k, v)| (k.clone(), Dim::Const(*v))).collect();
        self.substitute(&bound).as_const()
    }

    /// Lower and upper bound when every symbol stays within `bounds`; `None` where a symbol has none. Multiples of what was
    /// divided are also taken for what they nearly are, so that `h - 2*floordiv(h, 2)` is 0 or 1.
    pub fn range(&self, bounds: &Bounds) -> Option<(i64, i64)> {
        let (mut lo, mut hi) = self.terms_range(bounds)?;
        for (upper, end) in [(false, &mut lo), (true, &mut hi)] {
            let mut near = self.multiplied(upper);
            for _ in 0..MOST_DIVISIONS {
                let Some(dim) = near else { break };
                let (least, most) = dim.terms_range(bounds)?;
                *end = if upper { most.min(*end) } else { least.max(*end) };
                near = dim.multiplied(upper);
            }
        }
        Some((lo, hi))
    }

    /// An upper or a lower bound with `c * a` for `c*b * floordiv(a, b)`, which is less by `c * (b - 1)` at most; `None` where
    /// there is no such term.
    fn multiplied(&self, upper: bool) -> Option<Dim> {
        let Self::Expr(sum) = self else { return None };
        let (mut out, mut found) = (Dim::Const(0), false);
        for (atoms, coefficient) in &sum.terms {
            let term = match &atoms[..] {
                [Atom::FloorDiv(a, Dim::Const(b))] if *b > 1 && coefficient % b == 0 => {
                    found = true;
                    let times = coefficient / b;
                    let less = if (times > 0) == upper { 0 } else { b - 1 };
                    (a.clone() - Dim::Const(less)) * Dim::Const(times)
                }
                _ => Dim::from_sum(Sum { terms: BTreeMap::from([(atoms.clone(), *coefficient)]) }),
            };
            out = out + term;
        }
        (found && !out.is_unknown()).then_some(out)
    }

    /// The same by the range of every term alone, or of what terms have in common.
    pub fn terms_range(&self, bounds: &Bounds) -> Option<(i64, i64)> {
        let Self::Expr(sum) = self else { return self.as_const().map(|v| (v, v)) };
        let (mut lo, mut hi) = (0i64, 0i64);
        for (atoms, coefficient) in &sum.terms {
            let (mut term_lo, mut term_hi) = (1i64, 1i64);
            for atom in atoms {
                let (a, b) = atom.range(bounds)?;
                (term_lo, term_hi) = corners((term_lo, term_hi), (a, b), i64::saturating_mul);
            }
            let (a, b) = (term_lo.saturating_mul(*coefficient), term_hi.saturating_mul(*coefficient));
            lo = lo.saturating_add(a.min(b));
            hi = hi.saturating_add(a.max(b));
        }
        // Terms with a factor in common are small and large together.
        match self.factored_range(bounds) {
            Some((least, most)) => Some((lo.max(least), hi.min(most))),
            None => Some((lo, hi)),
        }
    }

    /// The greatest value that it can have; `None` where a symbol has no bounds.
    pub fn most(&self, bounds: &Bounds) -> Option<i64> {
        self.range(bounds).map(|r| r.1)
    }

    /// The value where every symbol is what is typical of it; `None` where one has no bounds.
    pub fn typical(&self, bounds: &Bounds) -> Option<i64> {
        match self {
            Self::Const(value) => Some(*value),
            Self::Expr(_) => self.eval(&bounds.iter().map(|(s, b)| (s.clone(), b.typical)).collect()),
        }
    }

    /// Every symbol in it, each once, sorted.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let mut out = Vec::new();
        self.collect_symbols(&mut out);
        out.sort();
        out.dedup();
        out
    }

    fn collect_symbols(&self, out: &mut Vec<Arc<str>>) {
        let Self::Expr(sum) = self else { return };
        for atom in sum.terms.keys().flatten() {
            match atom {
                Atom::Symbol(name) => out.push(name.clone()),
                Atom::Unknown => {}
                Atom::FloorDiv(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                    a.collect_symbols(out);
                    b.collect_symbols(out);
                }
            }
        }
    }

    /// The terms of the normal form: atoms and coefficient.
    pub fn terms(&self) -> Vec<(Vec<Atom>, i64)> {
        self.sum().terms.into_iter().collect()
    }
}

impl Sum {
    fn size(&self) -> usize {
        self.terms.keys().map(|atoms| 1 + atoms.iter().map(Atom::size).sum::<usize>()).sum()
    }
}

impl Atom {
    fn size(&self) -> usize {
        match self {
            Self::Symbol(_) | Self::Unknown => 1,
            Self::FloorDiv(a, b) | Self::Max(a, b) | Self::Min(a, b) => 1 + a.size() + b.size(),
        }
    }

    fn substitute(&self, values: &BTreeMap<Arc<str>, Dim>) -> Dim {
        match self {
            Self::Symbol(name) => values.get(name).cloned().unwrap_or_else(|| Dim::symbol(name)),
            Self::FloorDiv(a, b) => {
                let (a, b) = (a.substitute(values), b.substitute(values));
                a.floor_div(&b).unwrap_or_else(|| Dim::atom(Self::FloorDiv(a, b)))
            }
            Self::Unknown => Dim::unknown(),
            Self::Max(a, b) => a.substitute(values).max_with(&b.substitute(values)),
            Self::Min(a, b) => a.substitute(values).min_with(&b.substitute(values)),
        }
    }

    fn range(&self, bounds: &Bounds) -> Option<(i64, i64)> {
        match self {
            Self::Symbol(name) => bounds.get(name).map(|b| (b.lo, b.hi)),
            Self::Unknown => None,
            Self::FloorDiv(a, b) => {
                let ((a_lo, a_hi), (b_lo, b_hi)) = (a.range(bounds)?, b.range(bounds)?);
                (b_lo > 0).then(|| corners((a_lo, a_hi), (b_lo, b_hi), i64::div_euclid))
            }
            Self::Max(a, b) => {
                let (a, b) = (a.range(bounds)?, b.range(bounds)?);
                Some((a.0.max(b.0), a.1.max(b.1)))
            }
            Self::Min(a, b) => {
                let (a, b) = (a.range(bounds)?, b.range(bounds)?);
                Some((a.0.min(b.0), a.1.min(b.1)))
            }
        }
    }
}

/// The interval of an operation that is monotonic in each operand: its ends are among the values at the corners.
fn corners(a: (i64, i64), b: (i64, i64), f: impl Fn(i64, i64) -> i64) -> (i64, i64) {
    let all = [f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)];
    all.into_iter().fold((all[0], all[0]), |(lo, hi), v| (lo.min(v), hi.max(v)))
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        if let (Dim::Const(a), Dim::Const(b)) = (&self, &other) {
            return Dim::Const(a.saturating_add(*b));
        }
        if self.is_unknown() || other.is_unknown() || self.size() + other.size() > MAX_SIZE {
            return Dim::unknown();
        }
        let mut sum = self.sum();
        for (atoms, coefficient) in other.sum().terms {
            let entry = sum.terms.entry(atoms).or_insert(0);
            let Some(total) = entry.checked_add(coefficient) else { return Dim::unknown() };
            *entry = total;
        }
        sum.terms.retain(|_, c| *c != 0);
        Dim::from_sum(sum)
    }
}

impl std::ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        if let (Dim::Const(a), Dim::Const(b)) = (&self, &other) {
            return Dim::Const(a.saturating_mul(*b));
        }
        if self.is(0) || other.is(0) {
            return Dim::Const(0);
        }
        let (left, right) = (self.sum(), other.sum());
        let size = left.terms.len() * right.size() + right.terms.len() * left.size();
        if self.is_unknown() || other.is_unknown() || size > 2 * MAX_SIZE {
            return Dim::unknown();
        }
        let mut sum = Sum::default();
        for (a, x) in &left.terms {
            for (b, y) in &right.terms {
                let mut atoms: Vec<Atom> = a.iter().chain(b).cloned().collect();
                atoms.sort();
                let entry = sum.terms.entry(atoms).or_insert(0);
                let Some(total) = x.checked_mul(*y).and_then(|p| entry.checked_add(p)) else {
                    return Dim::unknown();
                };
                *entry = total;
            }
        }
        sum.terms.retain(|_, c| *c != 0);
        Dim::from_sum(sum)
    }
}

impl std::ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::Const(-1)
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Self::Const(value)
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Self::Const(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_decides_equality() {
        let s = || Dim::symbol("s");
        assert_eq!(s() + s(), Dim::Const(2) * s());
        assert_eq!((s() + Dim::Const(1)) * (s() - Dim::Const(1)), s() * s() - Dim::Const(1));
        assert_eq!(s() - s(), Dim::Const(0));
        assert_eq!((Dim::Const(6) * s()).floor_div(&Dim::Const(3)), Some(Dim::Const(2) * s()));
        assert_eq!((Dim::symbol("b") * s()).floor_div(&s()), Some(Dim::symbol("b")));
        assert_eq!(s().max_with(&Dim::Const(2)), Dim::Const(2).max_with(&s()));
    }

    #[test]
    fn terms_that_a_constant_divides_leave_the_division() {
        let (h, w) = (|| Dim::symbol("h"), || Dim::symbol("w"));
        let by = |d: Dim, n: i64| d.floor_div(&Dim::Const(n)).unwrap();
        assert_eq!(by(Dim::Const(2) * h() + Dim::Const(1), 2), h());
        assert_eq!(by(Dim::Const(4) * h() - Dim::Const(1), 4), h() - Dim::Const(1));
        assert_eq!(by(Dim::Const(6) * h() + w() + Dim::Const(5), 3).to_string(), "2*h + floordiv(w + 5, 3)");
        assert_eq!(by(h() - Dim::Const(4), 2).to_string(), "floordiv(h - 4, 2)");
        for (x, n) in [(-7i64, 3), (7, 3), (-1, 2), (0, 5)] {
            let sum = Dim::Const(n) * h() + Dim::Const(x);
            assert_eq!(by(sum, n).eval(&BTreeMap::from([("h".into(), 4)])), Some(4 + x.div_euclid(n)));
        }
    }

    #[test]
    fn text_puts_the_constant_last() {
        assert_eq!((Dim::Const(2) * Dim::symbol("seq") + Dim::Const(1)).to_string(), "2*seq + 1");
        assert_eq!((Dim::symbol("unk 1") - Dim::Const(3)).to_string(), "$\"unk 1\" - 3");
    }

    #[test]
    fn range_follows_bounds() {
        let bounds = Bounds::from([("s".into(), (1, 512).into())]);
        let half = (Dim::symbol("s") + Dim::Const(1)).floor_div(&Dim::Const(2)).unwrap();
        assert_eq!(half.range(&bounds), Some((1, 256)));
        assert_eq!(half.eval(&BTreeMap::from([("s".into(), 7)])), Some(4));
        assert_eq!((Dim::Const(10) - Dim::symbol("s")).range(&bounds), Some((-502, 9)));
        assert_eq!((half.most(&bounds), half.typical(&bounds)), (Some(256), Some(12)));
        let of = |lo, hi| Bound::from((lo, hi)).typical;
        assert_eq!([of(1, 8), of(0, 4), of(0, 0), of(4, 4), of(1, 512)], [3, 2, 0, 4, 23]);
    }

    #[test]
    fn ranges_see_through_divisions_that_are_multiplied_again() {
        let bounds = Bounds::from([("h".into(), (32, 640).into())]);
        let half = |d: &Dim| (d.clone() + Dim::Const(1)).floor_div(&Dim::Const(2)).unwrap();
        let h = Dim::symbol("h");
        let (once, two) = (half(&h), Dim::Const(2));
        assert_eq!((once.clone() * two.clone() - h.clone()).range(&bounds), Some((0, 1)));
        assert_eq!((half(&once) * two - once.clone()).range(&bounds), Some((0, 1)));
        assert_eq!((half(&once) * Dim::Const(4) - h).range(&bounds), Some((0, 3)));
    }

    /// Every way to make expressions grow ends in what is unknown, at once.
    #[test]
    fn growth_is_bounded() {
        let start = std::time::Instant::now();
        let steps: [fn(&Dim) -> Dim; 5] = [
            |d| d.clone() * d.clone(),
            |d| d.clone() * (d.clone() + Dim::Const(1)),
            |d| d.max_with(&(d.clone() + Dim::Const(1))),
            |d| (d.clone() + Dim::Const(1)).floor_div(d).unwrap(),
            |d| d.min_with(&(d.clone() - Dim::Const(1))) + d.clone(),
        ];
        for step in steps {
            let mut dim = Dim::symbol("n") + Dim::symbol("m");
            for _ in 0..30 {
                dim = step(&dim);
            }
            let known = Dim::symbol("n");
            for d in
                [dim.clone(), dim.clone() + known.clone(), known.clone() - dim.clone(), dim.max_with(&known)]
            {
                assert!(d.is_unknown(), "{d}");
            }
            assert_eq!((dim.to_string(), dim.symbols().len(), dim.as_const()), ("?".to_owned(), 0, None));
            assert_eq!(
                dim.range(&Bounds::from([("n".into(), (1, 2).into()), ("m".into(), (1, 2).into())])),
                None
            );
            assert_eq!(dim.eval(&BTreeMap::from([("n".into(), 1), ("m".into(), 1)])), None);
            assert!((dim * Dim::Const(0)).is(0));
        }
        // Coefficients too: 3 * n to the 64th has one of more than 64 bits.
        let mut dim = Dim::Const(3) * Dim::symbol("n");
        (0..6).for_each(|_| dim = dim.clone() * dim.clone());
        assert!(dim.is_unknown());
        assert!(start.elapsed().as_secs() < 5);
        // What models have stays: a product of padded and halved extents.
        let half = |d: Dim| (d + Dim::Const(1)).floor_div(&Dim::Const(2)).unwrap();
        let side = |name| (0..6).fold(Dim::symbol(name), |d, _| half(d)) + Dim::Const(2);
        assert!(!(side("h") * side("w") * Dim::symbol("n") * Dim::Const(64)).is_unknown());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 4000, ..Default::default() })]

        #[test]
        fn substitution_text_and_ranges_agree_with_values(
            dim in crate::text::testing::dim(),
            values in proptest::array::uniform3(1i64..9),
        ) {
            let names: [Arc<str>; 3] = ["s".into(), "t".into(), "a b".into()];
            let all: BTreeMap<Arc<str>, i64> = names.iter().cloned().zip(values).collect();
            let value = dim.eval(&all);
            proptest::prop_assert!(value.is_some());
            // One symbol at a time, in either order, and through another symbol.
            let one = |name: &Arc<str>| BTreeMap::from([(name.clone(), Dim::Const(all[name]))]);
            let stepwise = names.iter().fold(dim.clone(), |d, n| d.substitute(&one(n)));
            proptest::prop_assert_eq!(stepwise.as_const(), value);
            let shifted = dim.substitute(&BTreeMap::from([("s".into(), Dim::symbol("t") + Dim::Const(2))]));
            let mut moved = all.clone();
            moved.insert("s".into(), all["t"] + 2);
            proptest::prop_assert_eq!(shifted.eval(&all), dim.eval(&moved));
            let bounds: Bounds = names.iter().map(|n| (n.clone(), (1, 8).into())).collect();
            if let (Some((lo, hi)), Some(value)) = (dim.range(&bounds), value) {
                proptest::prop_assert!((lo..=hi).contains(&value), "{} is {}, outside {}..{}", dim, value, lo, hi);
            }
            let back = crate::text::parse_dim(&dim.to_string());
            proptest::prop_assert_eq!(back, Ok(dim));
        }
    }

    #[test]
    fn sums_are_divided_where_nothing_is_left() {
        let (p, one) = (Dim::symbol("p"), Dim::Const(1));
        let next = p.clone() + one.clone();
        assert_eq!(
            (Dim::Const(4) * next.clone()).floor_div(&(Dim::Const(2) * next.clone())),
            Some(Dim::Const(2))
        );
        assert_eq!((next.clone() * (p.clone() - one)).floor_div(&next), Some(p.clone() - Dim::Const(1)));
        assert_eq!((Dim::Const(4) * p.clone()).exact_div(&next), None);
        assert_eq!((Dim::Const(3) * next.clone()).exact_div(&(Dim::Const(2) * next)), None);
    }
}
