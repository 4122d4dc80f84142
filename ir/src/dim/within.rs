//! What bounds say of expressions: which of two is the larger, and factors that all terms share.

use std::collections::BTreeMap;

use super::{Atom, Bounds, Dim, Sum, corners};

impl Dim {
    /// The same for all values within bounds, without `max` and `min` of what is known to be larger or smaller.
    pub fn within(&self, bounds: &Bounds) -> Dim {
        let Self::Expr(sum) = self else { return self.clone() };
        if !self.has_ends() {
            return self.clone();
        }
        let mut out = Dim::Const(0);
        for (atoms, coefficient) in &sum.terms {
            let term = atoms.iter().fold(Dim::Const(*coefficient), |term, a| term * a.within(bounds));
            out = out + term;
        }
        out
    }

    /// Whether there is a `max` or a `min` in it.
    pub fn has_ends(&self) -> bool {
        let Self::Expr(sum) = self else { return false };
        sum.terms.keys().flatten().any(|atom| match atom {
            Atom::Max(..) | Atom::Min(..) => true,
            Atom::FloorDiv(a, b) => a.has_ends() || b.has_ends(),
            Atom::Symbol(_) | Atom::Unknown => false,
        })
    }

    /// The range of the factor that all terms share, and of what it is multiplied by; nothing where they share none.
    pub(super) fn factored_range(&self, bounds: &Bounds) -> Option<(i64, i64)> {
        let Self::Expr(sum) = self else { return None };
        let mut terms = sum.terms.keys();
        let (first, second) = (terms.next()?, terms.next()?);
        let shared = first.iter().find(|atom| second.contains(atom) && terms.all(|t| t.contains(atom)))?;
        let mut rest = BTreeMap::new();
        for (atoms, coefficient) in &sum.terms {
            let mut atoms = atoms.clone();
            atoms.remove(atoms.iter().position(|atom| atom == shared)?);
            rest.insert(atoms, *coefficient);
        }
        let rest = Dim::from_sum(Sum { terms: rest }).terms_range(bounds)?;
        Some(corners(shared.range(bounds)?, rest, i64::saturating_mul))
    }
}

impl Atom {
    fn within(&self, bounds: &Bounds) -> Dim {
        let pair = |a: &Dim, b: &Dim| {
            let (a, b) = (a.within(bounds), b.within(bounds));
            let apart = (a.clone() - b.clone()).range(bounds).unwrap_or((i64::MIN, i64::MAX));
            (a, b, apart)
        };
        match self {
            Self::Max(a, b) => match pair(a, b) {
                (a, _, (0.., _)) => a,
                (_, b, (_, ..=0)) => b,
                (a, b, _) => a.max_with(&b),
            },
            Self::Min(a, b) => match pair(a, b) {
                (_, b, (0.., _)) => b,
                (a, _, (_, ..=0)) => a,
                (a, b, _) => a.min_with(&b),
            },
            Self::FloorDiv(a, b) => {
                let (a, b) = (a.within(bounds), b.within(bounds));
                a.floor_div(&b).unwrap_or_else(|| Dim::atom(Self::FloorDiv(a, b)))
            }
            Self::Symbol(_) | Self::Unknown => Dim::atom(self.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_two_by_bounds() {
        let bounds = Bounds::from([("s".into(), (3, 64).into()), ("t".into(), (0, 8).into())]);
        let (s, t) = (Dim::symbol("s"), Dim::symbol("t"));
        let of = |n: i64| Dim::Const(n);
        let odd = s.clone() + s.clone() - of(1);
        assert_eq!(of(0).max_with(&odd).within(&bounds), odd);
        assert_eq!(of(200).min_with(&odd).within(&bounds), odd);
        assert_eq!(of(5).min_with(&odd).within(&bounds), of(5));
        let open = t.max_with(&s);
        assert_eq!((s.clone() * open.clone()).within(&bounds), s.clone() * open);
        let inner = (of(0).max_with(&odd) + of(1)).max_with(&of(2)) * t.clone();
        assert_eq!(inner.within(&bounds), (s.clone() + s.clone()) * t);
        // A range within a range.
        assert_eq!((s.clone() * odd).range(&bounds), Some((15, 64 * 127)));
        assert_eq!((s.clone() * s.clone() - s).range(&bounds), Some((6, 64 * 63)));
    }
}
