//! The text of an `Einsum` and what it means for operands of given shapes.

use std::fmt;

use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::types::Shape;

/// An axis of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Axis {
    /// `...`: any number of axes.
    Further,
    Letter(char),
}

/// An equation: the axes of each operand and of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Equation {
    operands: Vec<Vec<Axis>>,
    result: Vec<Axis>,
}

/// An equation for operands of known ranks. Letters are numbers here, those of `...` among them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    /// The letters of each operand's axes.
    pub(super) operands: Vec<Vec<usize>>,
    /// The letters of the result's axes.
    pub(super) result: Vec<usize>,
    /// The letters that are summed over, in order of occurrence.
    pub(super) summed: Vec<usize>,
    /// The extent of each letter.
    pub(super) extents: Vec<Dim>,
    names: Vec<String>,
}

impl Equation {
    /// Reads an equation for so many operands.
    pub(super) fn parse(text: &str, operands: usize) -> Result<Self> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match compact.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (compact.as_str(), None),
        };
        let terms: Vec<Vec<Axis>> = left.split(',').map(|term| axes(term, text)).collect::<Result<_>>()?;
        if terms.len() != operands {
            bail_invalid!("the equation '{text}' has {} operands, the node {operands}", terms.len());
        }
        let result = match right {
            Some(right) => axes(right, text)?,
            None => {
                let mut all: Vec<Axis> = terms.iter().flatten().copied().collect();
                all.sort_unstable();
                let count = |axis: &Axis| all.iter().filter(|other| *other == axis).count();
                let stays = |axis: &Axis| *axis == Axis::Further || count(axis) == 1;
                let mut once: Vec<Axis> = all.iter().copied().filter(stays).collect();
                once.dedup();
                once
            }
        };
        for (i, axis) in result.iter().enumerate() {
            let known = *axis == Axis::Further || terms.iter().any(|term| term.contains(axis));
            if !known || result[..i].contains(axis) {
                bail_invalid!("'{axis}' must be once in the result of '{text}' and in an operand");
            }
        }
        Ok(Self { operands: terms, result })
    }

    /// The product of the first two operands, with the letters that are still needed, and the equation of that and the others.
    pub(super) fn halved(&self) -> (Self, Self) {
        let (first, others) = self.operands.split_at(2);
        let needed = |axis: &&Axis| others.iter().any(|t| t.contains(axis)) || self.result.contains(axis);
        let mut kept: Vec<Axis> = Vec::new();
        for axis in first.iter().flatten().filter(needed) {
            if !kept.contains(axis) {
                kept.push(*axis);
            }
        }
        let rest = std::iter::once(kept.clone()).chain(others.iter().cloned()).collect();
        (
            Self { operands: first.to_vec(), result: kept },
            Self { operands: rest, result: self.result.clone() },
        )
    }

    /// What the axes of operands of these shapes are.
    pub(super) fn terms(&self, shapes: &[&Shape]) -> Result<Terms> {
        let mut terms = Terms {
            operands: Vec::with_capacity(shapes.len()),
            result: Vec::new(),
            summed: Vec::new(),
            extents: Vec::new(),
            names: Vec::new(),
        };
        let mut further = 0;
        for (axes, shape) in self.operands.iter().zip(shapes) {
            let letters = axes.iter().filter(|a| **a != Axis::Further).count();
            let open = letters < axes.len();
            if shape.rank() < letters || !open && shape.rank() > letters {
                bail_invalid!("an operand of shape {shape} does not have the {letters} axes of '{self}'");
            }
            let count = shape.rank() - letters;
            further = further.max(count);
            let mut extents = shape.iter();
            let mut term = Vec::with_capacity(shape.rank());
            for axis in axes {
                let names: Vec<String> = match axis {
                    Axis::Letter(letter) => vec![letter.to_string()],
                    // Numbered from the end, where they align.
                    Axis::Further => (0..count).rev().map(|i| format!("e{i}")).collect(),
                };
                for name in names {
                    let extent = extents.next().ok_or_else(|| Error::internal("an axis too many"))?;
                    term.push(terms.letter(name, extent, self)?);
                }
            }
            terms.operands.push(term);
        }
        for axis in &self.result {
            let names: Vec<String> = match axis {
                Axis::Letter(letter) => vec![letter.to_string()],
                Axis::Further => (0..further).rev().map(|i| format!("e{i}")).collect(),
            };
            let of = |name: &String| terms.names.iter().position(|known| known == name);
            let numbers: Option<Vec<usize>> = names.iter().map(of).collect();
            terms.result.extend(numbers.ok_or_else(|| Error::internal("an unknown letter"))?);
        }
        terms.summed = (0..terms.names.len()).filter(|l| !terms.result.contains(l)).collect();
        Ok(terms)
    }
}

impl Terms {
    /// The number of a letter whose axis has this extent.
    fn letter(&mut self, name: String, extent: &Dim, equation: &Equation) -> Result<usize> {
        let Some(known) = self.names.iter().position(|n| *n == name) else {
            self.names.push(name);
            self.extents.push(extent.clone());
            return Ok(self.names.len() - 1);
        };
        let own = &mut self.extents[known];
        match (own.as_const(), extent.as_const()) {
            _ if own == extent || extent.is(1) => {}
            (Some(1), _) | (None, Some(_)) => *own = extent.clone(),
            (Some(_), None) => {}
            _ => bail_invalid!("axis '{name}' of '{equation}' has {own} and {extent} elements"),
        }
        Ok(known)
    }

    /// The name of a letter's loop.
    pub(super) fn name(&self, letter: usize) -> &str {
        &self.names[letter]
    }

    /// The shape of the result.
    pub(super) fn shape(&self) -> Shape {
        self.result.iter().map(|l| self.extents[*l].clone()).collect()
    }
}

/// The axes of a term.
fn axes(term: &str, text: &str) -> Result<Vec<Axis>> {
    let mut rest = term;
    let mut list = Vec::new();
    while let Some(first) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("...").filter(|_| !list.contains(&Axis::Further)) {
            list.push(Axis::Further);
            rest = behind;
        } else if first.is_ascii_alphabetic() {
            list.push(Axis::Letter(first));
            rest = &rest[1..];
        } else {
            bail_invalid!("the equation '{text}' has '{rest}' where a letter or '...' must be");
        }
    }
    Ok(list)
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Further => f.write_str("..."),
            Self::Letter(letter) => write!(f, "{letter}"),
        }
    }
}

impl fmt::Display for Equation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.operands.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            term.iter().try_for_each(|axis| write!(f, "{axis}"))?;
        }
        f.write_str("->")?;
        self.result.iter().try_for_each(|axis| write!(f, "{axis}"))
    }
}
