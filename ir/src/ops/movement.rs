//! Copying of elements, which the interpreters of data movement share, and the copies that they lower to.

use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, BufferId, Index, Loop, LoopId, Lowering, Role};
use crate::tensor::{Tensor, row_major};
use crate::types::Shape;

/// A tensor of `shape` whose element at each index is the one of `x` at the linear position that `from` gives,
/// or `fill`'s single element where it gives none.
pub(crate) fn gather(
    x: &Tensor,
    shape: &[usize],
    fill: &[u8],
    mut from: impl FnMut(&[usize]) -> Result<Option<usize>>,
) -> Result<Tensor> {
    let size = x.dtype.size();
    super::operand::movable(x.dtype)?;
    let mut data = Vec::with_capacity(size * shape.iter().product::<usize>());
    let mut failed = None;
    for_each_index(shape, |index| {
        match from(index) {
            Ok(Some(position)) => match x.data.get(position * size..(position + 1) * size) {
                Some(bytes) => data.extend_from_slice(bytes),
                None => failed = Some(Error::internal(format!("position {position} of {:?}", x.ty()))),
            },
            Ok(None) => data.extend_from_slice(fill),
            Err(e) => failed = Some(e),
        }
        failed.is_none()
    });
    match failed {
        Some(e) => Err(e),
        None => Tensor::new(x.dtype, shape.to_vec(), data.into()),
    }
}

/// Calls `f` with every index of a shape in row-major order, until it returns false.
pub(crate) fn for_each_index(shape: &[usize], mut f: impl FnMut(&[usize]) -> bool) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    while f(&index) {
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// The row-major position of an index.
pub(crate) fn position(shape: &[usize], index: &[usize]) -> usize {
    row_major(shape).iter().zip(index).map(|(s, i)| s * i).sum()
}

/// A parallel loop.
pub(crate) fn parallel(name: impl Into<String>, extent: &Dim) -> Loop {
    Loop { name: name.into(), extent: extent.clone(), role: Role::Parallel }
}

/// Loops as indices, one per axis.
pub(crate) fn each(ids: &[LoopId]) -> Vec<Index> {
    ids.iter().map(|&id| id.into()).collect()
}

/// Emits a copy over the shape of `to`: element `i` comes from the index that `from` makes of the loops.
pub(crate) fn copy_to(
    cx: &mut Lowering<'_>,
    to: BufferId,
    from: BufferId,
    index: impl FnOnce(&[LoopId]) -> Vec<Index>,
) {
    let (loops, ids) = Lowering::loops_over(&cx.ty(to).shape.clone());
    let from = Access::new(from, index(&ids));
    cx.copy(loops, from, Access::new(to, each(&ids)));
}

/// Emits a copy between buffers of the same elements in row-major order, of whatever shapes.
pub(crate) fn reshape(cx: &mut Lowering<'_>, from: BufferId, to: BufferId) {
    let (a, b) = (cx.ty(from).shape.clone(), cx.ty(to).shape.clone());
    // Where the result has fewer a copy would leave some out in silence.
    cx.assume(a.elements() - b.elements());
    if let Some((loops, i, j)) = refine(&a, &b) {
        return cx.copy(loops, Access::new(from, i), Access::new(to, j));
    }
    let flat = Shape(vec![a.elements()]);
    let temp = cx.temp("flat", cx.ty(from).dtype, flat);
    let (loops, ids) = Lowering::loops_over(&a);
    cx.copy(loops, Access::new(from, each(&ids)), Access::new(temp, vec![linear(&a, &ids).into()]));
    let (loops, ids) = Lowering::loops_over(&b);
    cx.copy(loops, Access::new(temp, vec![linear(&b, &ids).into()]), Access::new(to, each(&ids)));
}

/// An input in another shape of as many elements.
pub(crate) fn folded_input(cx: &mut Lowering<'_>, i: usize, suffix: &str, shape: &Shape) -> Result<BufferId> {
    let from = cx.input(i)?;
    let ty = cx.ty(from).clone();
    if ty.shape == *shape {
        return Ok(from);
    }
    let to = cx.temp(suffix, ty.dtype, shape.clone());
    reshape(cx, from, to);
    Ok(to)
}

/// The first result, or what becomes it, in a shape of as many elements.
pub(crate) fn folded_output(cx: &mut Lowering<'_>, shape: &Shape) -> Result<BufferId> {
    let to = cx.output(0)?;
    let ty = cx.ty(to).clone();
    Ok(if ty.shape == *shape { to } else { cx.temp("result", ty.dtype, shape.clone()) })
}

/// The row-major position of loops over a shape.
fn linear(shape: &[Dim], ids: &[LoopId]) -> Affine {
    let mut stride = Dim::Const(1);
    let mut out = Affine::constant(0i64);
    for (extent, &id) in shape.iter().zip(ids).rev() {
        out = out.plus(id, stride.clone());
        stride = stride * extent.clone();
    }
    out
}

/// Loops such that every axis of both shapes is a row-major merge of some of them, with both shapes' indices.
///
/// Goes through both shapes from the innermost axis: the smaller of the two remaining extents becomes a loop,
/// and must divide the larger.
fn refine(a: &[Dim], b: &[Dim]) -> Option<(Vec<Loop>, Vec<Index>, Vec<Index>)> {
    let mut sides = [Side::new(a), Side::new(b)];
    let mut extents: Vec<Dim> = Vec::new();
    loop {
        sides.iter_mut().for_each(Side::skip_done);
        let [x, y] = sides.each_ref().map(|s| s.rest.clone());
        let (Some(x), Some(y)) = (x, y) else { break };
        let step = match (x.as_const(), y.as_const()) {
            _ if x == y => x,
            (Some(m), Some(n)) => m.min(n).into(),
            _ if y.exact_div(&x).is_some() => x,
            _ if x.exact_div(&y).is_some() => y,
            _ => return None,
        };
        if step.is(0) {
            return None;
        }
        for side in &mut sides {
            side.take(&step, extents.len())?;
        }
        extents.push(step);
    }
    if sides.iter().any(|s| s.rest.is_some()) {
        return None;
    }
    let count = extents.len();
    let loops = extents.iter().rev().enumerate().map(|(i, e)| parallel(format!("i{i}"), e)).collect();
    let [i, j] = sides.map(|s| s.indices(count));
    Some((loops, i, j))
}

/// One of the two shapes that are refined, innermost axis first.
struct Side<'a> {
    shape: &'a [Dim],
    axis: usize,
    /// What of the current axis no loop covers yet; `None` when all axes are covered.
    rest: Option<Dim>,
    stride: Dim,
    /// Per axis, loops (numbered from the innermost) with their strides in it.
    terms: Vec<Vec<(usize, Dim)>>,
}

impl<'a> Side<'a> {
    fn new(shape: &'a [Dim]) -> Self {
        let axis = shape.len();
        let mut side =
            Self { shape, axis, rest: None, stride: Dim::Const(1), terms: vec![Vec::new(); shape.len()] };
        side.next();
        side
    }

    fn next(&mut self) {
        self.stride = Dim::Const(1);
        self.rest = self.axis.checked_sub(1).map(|i| self.shape[i].clone());
        self.axis = self.axis.saturating_sub(1);
    }

    fn skip_done(&mut self) {
        while self.rest.as_ref().is_some_and(|r| r.is(1)) {
            self.next();
        }
    }

    fn take(&mut self, step: &Dim, id: usize) -> Option<()> {
        let rest = self.rest.as_ref()?;
        self.terms[self.axis].push((id, self.stride.clone()));
        self.stride = self.stride.clone() * step.clone();
        self.rest = Some(if rest == step { Dim::Const(1) } else { rest.exact_div(step)? });
        Some(())
    }

    fn indices(self, count: usize) -> Vec<Index> {
        let affine = |terms: Vec<(usize, Dim)>| {
            terms.into_iter().fold(Affine::constant(0i64), |a, (id, stride)| {
                a.plus(LoopId((count - 1 - id) as u16), stride)
            })
        };
        self.terms.into_iter().map(|t| affine(t).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loop extents, and the coefficients of each axis, of the refinement of two shapes.
    fn refined(a: &[usize], b: &[usize]) -> Option<(Vec<i64>, usize)> {
        let (loops, i, j) = refine(&Shape::of(a), &Shape::of(b))?;
        let extents: Vec<i64> = loops.iter().map(|l| l.extent.as_const().unwrap()).collect();
        // Both sides must enumerate the elements in the same order.
        let count: i64 = extents.iter().product();
        for n in 0..count {
            let (mut rest, mut iteration) = (n, vec![0; extents.len()]);
            for (slot, extent) in iteration.iter_mut().zip(&extents).rev() {
                *slot = rest % extent;
                rest /= extent;
            }
            let at = |shape: &[usize], index: &[Index]| {
                let index: Vec<usize> =
                    index.iter().map(|x| x.affine().unwrap().at(&iteration).unwrap() as usize).collect();
                assert!(index.iter().zip(shape).all(|(i, e)| i < e));
                position(shape, &index)
            };
            assert_eq!((at(a, &i), at(b, &j)), (n as usize, n as usize));
        }
        Some((extents, count as usize))
    }

    #[test]
    fn merges_and_splits_have_a_common_refinement() {
        assert_eq!(refined(&[2, 3, 4], &[6, 4]).unwrap().0, [2, 3, 4]);
        assert_eq!(refined(&[6, 4], &[2, 3, 2, 2]).unwrap().0, [2, 3, 2, 2]);
        assert_eq!(refined(&[1, 6, 1], &[6]).unwrap().0, [6]);
        assert_eq!(refined(&[4, 6], &[2, 12]).unwrap().0, [2, 2, 6]);
        assert_eq!(refined(&[], &[1, 1]).unwrap().0, [0i64; 0]);
        assert!(refined(&[4, 3], &[3, 4]).is_none());
        assert!(refined(&[0, 3], &[3, 0]).is_none());
    }

    #[test]
    fn symbolic_extents_merge_and_split() {
        let (s, c) = (Dim::symbol("s"), Dim::Const);
        let merged = [s.clone() * c(4), c(8)];
        let (loops, i, j) = refine(&[s.clone(), c(4), c(8)], &merged).unwrap();
        assert_eq!(loops.len(), 3);
        assert_eq!(i.iter().filter_map(|x| x.affine()?.as_loop()).count(), 3);
        assert_eq!(j[0].affine().unwrap().coefficient(LoopId(0)), c(4));
    }
}
