//! Quotients of dimensions.

use std::collections::BTreeMap;

use super::{Atom, Dim, Sum};

/// Terms of a quotient of sums, at most.
const MOST_QUOTIENTS: usize = 16;

impl Dim {
    /// `floor(self / divisor)`; exact divisions are carried out, and those of terms that a constant divides; what is left
    /// becomes an atom. Division by the constant zero gives `None`.
    pub fn floor_div(&self, divisor: &Dim) -> Option<Dim> {
        match (self, divisor) {
            (_, Dim::Const(0)) => None,
            _ if self.is_unknown() || divisor.is_unknown() => Some(Self::unknown()),
            (Dim::Const(a), Dim::Const(b)) => {
                Some(Dim::Const(a.div_euclid(*b) - i64::from(*b < 0 && a.rem_euclid(*b) != 0)))
            }
            (_, Dim::Const(1)) => Some(self.clone()),
            _ if self == divisor => Some(Dim::Const(1)),
            _ => {
                let atom = || Self::atom(Atom::FloorDiv(self.clone(), divisor.clone()));
                Some(self.exact_div(divisor).or_else(|| self.split_div(divisor)).unwrap_or_else(atom))
            }
        }
    }

    /// The same for a positive constant that divides some of the terms besides the constant one: `2*h + 1` by 2 is `h`.
    fn split_div(&self, divisor: &Dim) -> Option<Dim> {
        let by = divisor.as_const().filter(|by| *by > 0)?;
        let (whole, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.sum().terms.into_iter().partition(|(atoms, c)| !atoms.is_empty() && c % by == 0);
        if whole.is_empty() {
            return None;
        }
        let quotient = Self::from_sum(Sum { terms: whole }).exact_div(divisor)?;
        Some(quotient + Self::from_sum(Sum { terms: rest }).floor_div(divisor)?)
    }

    /// `self / divisor` where every term is divisible by a single-term divisor, or where there is no remainder.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        let by = divisor.sum();
        if by.terms.len() > 1 {
            return self.long_div(divisor, &by);
        }
        let divisor = by;
        let (factors, coefficient) = divisor.terms.iter().next().filter(|_| divisor.terms.len() == 1)?;
        let mut out = Sum::default();
        for (atoms, c) in &self.sum().terms {
            if c % coefficient != 0 {
                return None;
            }
            let mut rest = atoms.clone();
            for factor in factors {
                rest.remove(rest.iter().position(|a| a == factor)?);
            }
            out.terms.insert(rest, c / coefficient);
        }
        Some(Self::from_sum(out))
    }

    /// The quotient of sums, the last terms of both first; `None` where something is left.
    fn long_div(&self, divisor: &Dim, by: &Sum) -> Option<Dim> {
        let last = |sum: &Sum| sum.terms.last_key_value().map(|(atoms, c)| (atoms.clone(), *c));
        let alone = |(atoms, c)| Self::from_sum(Sum { terms: BTreeMap::from([(atoms, c)]) });
        let lead = alone(last(by)?);
        let (mut rest, mut out) = (self.clone(), Dim::Const(0));
        for _ in 0..MOST_QUOTIENTS {
            if rest.is(0) {
                return Some(out);
            }
            let part = match (alone(last(&rest.sum())?), &lead) {
                (Dim::Const(a), Dim::Const(b)) => (a % b == 0).then(|| Dim::Const(a / b))?,
                (term, lead) => term.exact_div(lead)?,
            };
            rest = rest - part.clone() * divisor.clone();
            out = out + part;
        }
        None
    }

    /// `ceil(self / divisor)` for a positive divisor.
    pub fn ceil_div(&self, divisor: i64) -> Dim {
        debug_assert!(divisor > 0);
        (self.clone() + Dim::Const(divisor - 1)).floor_div(&Dim::Const(divisor)).unwrap_or(Dim::Const(0))
    }
}
