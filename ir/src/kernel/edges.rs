//! Tiles at the end of an axis that is open: how many of their elements there are is known at run time alone.
//!
//! A [`Form::Transform`] makes whole tiles of results; what is beyond the end of the axis is not stored. Where the axis is a
//! constant its guards are decided when code is made. Where it is open there are as many whole tiles as fit, and then one at
//! most of which the first few elements are kept.

use super::access::LoopId;
use super::form::Form;
use super::plan::{FlatAccess, Guard, PlannedKernel};
use crate::dim::Dim;

/// How tiles along an open axis end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The loop through the tiles.
    pub tiles: LoopId,
    /// The loop through the elements of a tile along the axis.
    pub within: LoopId,
    /// Tiles of which all elements are kept.
    pub whole: Dim,
    /// 1 where elements are left for a part of a tile, else 0.
    pub partial: Dim,
    /// Elements of that part: the first so many.
    pub rest: Dim,
}

impl Edge {
    /// Whether a guard of the kernel is that of this axis.
    pub fn ends(&self, guard: &Guard) -> bool {
        let along = |l: LoopId| guard.coefficients.get(usize::from(l.0)).is_some_and(|c| !c.is(0));
        along(self.tiles) && along(self.within)
    }
}

/// Elements that whole tiles of `m` leave of an open axis; `None` where they are always as many and more than none.
pub fn rest(extent: &Dim, m: i64) -> Option<Dim> {
    let rest = extent.clone() - Dim::Const(m) * extent.floor_div(&Dim::Const(m))?;
    rest.as_const().is_none_or(|n| n == 0).then_some(rest)
}

impl PlannedKernel {
    /// The open axes along which tiles end; why, where padding of the kernel along an open loop is something else.
    pub fn edges(&self) -> Result<Vec<Edge>, String> {
        let Form::Transform { left, right, store, .. } = &self.form else { return Ok(Vec::new()) };
        let (mut edges, mut known): (Vec<Edge>, Vec<&Guard>) = (Vec::new(), Vec::new());
        for guard in store.to.guards.iter().filter(|g| self.is_open_guard(g)) {
            let edge = self.edge(guard, [left.to, right.to]);
            edges.push(edge.ok_or_else(|| format!("'{}' ends where tiles do not", store.to.name))?);
            known.push(guard);
        }
        let mut unknown = None;
        let mut look = |a: &FlatAccess| {
            if a.guards.iter().any(|g| self.is_open_guard(g) && !known.contains(&g)) {
                unknown.get_or_insert_with(|| a.name.clone());
            }
        };
        self.form.loads().into_iter().for_each(&mut look);
        match unknown {
            Some(name) => Err(format!("'{name}' ends where results do not")),
            None => Ok(edges),
        }
    }

    /// Whether only a run can tell what a guard comes to.
    pub fn is_open_guard(&self, guard: &Guard) -> bool {
        let moves = |(c, l): (&Dim, &super::form::Loop)| !c.is(0) && l.is_open();
        let constant =
            guard.coefficients.iter().chain([&guard.offset, &guard.extent]).all(|d| d.as_const().is_some());
        !constant || guard.coefficients.iter().zip(&self.loops).any(moves)
    }

    /// The edge of `0 <= m * tiles + within < extent`.
    fn edge(&self, guard: &Guard, tile: [LoopId; 2]) -> Option<Edge> {
        let moved = (0..guard.coefficients.len()).filter(|&l| !guard.coefficients[l].is(0));
        let moved: Vec<LoopId> = moved.map(|l| LoopId(l as u16)).collect();
        let &[a, b] = &moved[..] else { return None };
        let (tiles, within) = if tile.contains(&b) { (a, b) } else { (b, a) };
        let extent = |l: LoopId| &self.loops[usize::from(l.0)].extent;
        let coefficient = |l: LoopId| &guard.coefficients[usize::from(l.0)];
        let m = extent(within).as_const().filter(|m| *m > 0)?;
        let fits = tile.contains(&within) && !tile.contains(&tiles) && guard.offset.is(0);
        let whole = guard.extent.floor_div(&Dim::Const(m))?;
        let all = guard.extent.ceil_div(m);
        let fits = fits && coefficient(within).is(1) && coefficient(tiles).is(m) && *extent(tiles) == all;
        let rest = rest(&guard.extent, m)?;
        fits.then(|| Edge { tiles, within, partial: all - whole.clone(), whole, rest })
    }
}
