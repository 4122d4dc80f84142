//! Convolutions by minimal filtering: 3 x 3 windows of step 1 with fewer multiplications.
//!
//! After A. Lavin and S. Gray, *Fast Algorithms for Convolutional Neural Networks* (arXiv 1509.09308). A tile of
//! `m x m` results is a bilinear function of `t x t` inputs, `t = m + 2`, and of the weights:
//!
//! ```text
//!   Y = At [ sum over c of (G g Gt) . (Bt d B) ] A          . element by element
//! ```
//!
//! The sum over channels is, for each of the `t x t` elements, a matrix product over all tiles. So a contraction
//! becomes
//!
//! 1. a transform `V[xi, nu, tile, c] = Bt d B` of the input's tiles, which overlap by two;
//! 2. a contraction `M[xi, nu, tile, o] = sum over c of V * U` with one product per `xi, nu`; the weights
//!    `U = G g Gt` are computed here, in f64, and rounded once;
//! 3. a transform `At M A` to results, which carries the epilogue; results beyond the border are dropped.
//!
//! F(4x4, 3x3) multiplies 36 numbers where the definition multiplies 144, F(2x2, 3x3) 16 where it multiplies 36.
//! Which of them, if any, is decided by `cost`.
//!
//! Rounding. The transforms add numbers of either sign, so errors are larger than those of the definition's sum.
//! With `u = 2^-24` and `s = max |x| * max over o of sum |g|`, the greatest error against f64 that is measured over
//! uniformly distributed inputs and weights is `9 u s` for F(4x4, 3x3) and `0.6 u s` for F(2x2, 3x3); tests hold it
//! below `20 u s` and `2 u s`. Inputs that are not finite reach every result of their tile.
//!
//! Weights of 16 bits: F(2x2) keeps them so after the transform, which adds 1.5 times the error of rounding the results
//! to 16 bits (root mean squares, f16 and bf16). It would be ten times that for F(4x4), whose weights become f32.
//!
//! Bytes: all is whole and exact (`winograd::integers`); tiles and transformed weights are words, products are sums of i32.

mod convolution;
mod cost;
mod integers;
mod matrices;
mod reasons;

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Edits, Expr, Form, Index, Kernel, Loop, LoopId, Program, Role,
    Scalar, Side, Store, Uses,
};
use kiln_ir::{DType, Dim, Result, Shape, Tensor, TensorType};
use kiln_targets::Target;

use super::substitute::{Substitution, substitute_access};
use crate::schedule::Choices;
use convolution::Convolution;
use cost::Layer;
use matrices::{Filter, WINDOW};
pub use reasons::report;

/// Rewrites every convolution that becomes faster on `target`.
pub fn run(program: &mut Program, target: &Target) -> Result<()> {
    run_with(program, std::slice::from_ref(target), &Choices::default())
}

/// Rewrites every convolution that becomes faster on the machines that share the weights, as measured or else by the cost
/// model.
pub fn run_with(program: &mut Program, targets: &[Target], choices: &Choices) -> Result<()> {
    let mut uses = Uses::of(program);
    let mut edits = Edits::default();
    for i in 0..program.kernels().len() {
        let found = Convolution::of(program, program.kernel(i))
            .and_then(|conv| cost::filter(&conv.layer, targets, choices).map(|filter| (conv, filter)));
        let Some((conv, filter)) = found else { continue };
        let last = uses.only_reader(conv.weights) == Some(i);
        uses.remove(i, program.kernel(i));
        edits.replace(i, rewrite(program, i, &conv, filter, last)?);
    }
    program.edit(edits);
    Ok(())
}

/// What the rewrite leaves of a contraction's cost on a machine: 1 where it does not apply or does not pay.
pub(super) fn part(program: &Program, kernel: &Kernel, target: &Target) -> f64 {
    Convolution::of(program, kernel).map_or(1.0, |conv| cost::part(&conv.layer, target))
}

/// A convolution that could be rewritten, for measuring whether it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What [`Choices`] know it by.
    pub key: String,
    /// The kernel's name; those that replace it have names that start with it.
    pub kernel: String,
    /// Results of a tile along an axis, 0 for the definition; the first is the cost model's.
    pub picks: Vec<u8>,
}

/// Convolutions that could be rewritten.
pub fn candidates(program: &Program, target: &Target) -> Vec<Candidate> {
    let of = |kernel: &Kernel| {
        let layer = Convolution::of(program, kernel)?.layer;
        let mut picks: Vec<u8> = cost::possible(&layer).iter().map(|f| f.outputs() as u8).collect();
        if picks.is_empty() {
            return None;
        }
        picks.push(0);
        let chosen = cost::choose(&layer, std::slice::from_ref(target)).map_or(0, |f| f.outputs() as u8);
        picks.sort_by_key(|m| (*m != chosen, *m));
        Some(Candidate { key: layer.key(), kernel: kernel.name.clone(), picks })
    };
    program.kernels().iter().filter_map(of).collect()
}

/// The loop through the images.
const IMAGES: &str = "n";

/// The three kernels for the place of kernel `i`; `last`: nothing else reads its weights.
fn rewrite(
    program: &mut Program,
    i: usize,
    conv: &Convolution,
    filter: Filter,
    last: bool,
) -> Result<Vec<Kernel>> {
    use Role::{Parallel, Reduce};
    let Kernel { name, nodes, .. } = program.kernel(i).clone();
    let Layer { o, c, .. } = conv.layer;
    let (m, t) = (filter.outputs() as i64, filter.inputs() as i64);
    let (th, tw) = (conv.height.ceil_div(m), conv.width.ceil_div(m));
    // Tiles of a line follow those of the line before, however many there are: they are rows of the products.
    let in_line = tw.as_const().is_none();
    let transformed = transformed_weights(program, conv, filter)?;
    if last {
        program.release(conv.weights)?;
    }
    let u = program.add_buffer(&format!("{name}.weights"), transformed.ty(), BufferKind::Const(transformed));
    let whole = conv.layer.most.is_some();
    let (factor, sum) = if whole { (DType::I16, DType::I32) } else { (DType::F32, DType::F32) };
    let mut temp = |suffix: &str, dtype: DType, channels: i64| {
        let [t, channels] = [t, channels].map(Dim::Const);
        let mut shape = vec![t.clone(), t, conv.images.clone()];
        shape.extend(if in_line { vec![th.clone() * tw.clone()] } else { vec![th.clone(), tw.clone()] });
        shape.push(channels);
        let shape = Shape(shape);
        program.add_buffer(&format!("{name}.{suffix}"), TensorType::new(dtype, shape), BufferKind::Temp)
    };
    let (v, product) = (temp("tiles", factor, c), temp("product", sum, o));
    let loops = |list: &[(&str, &Dim, Role)]| -> Vec<Loop> {
        let make = |(name, extent, role): &(&str, &Dim, Role)| Loop {
            name: (*name).to_owned(),
            extent: (*extent).clone(),
            role: *role,
        };
        list.iter().map(make).collect()
    };
    let [t, channels, outputs, results] = [t, c, o, m].map(Dim::Const);
    let [ni, ci, thi, twi, ai, bi, xi, nu] = [0, 1, 2, 3, 4, 5, 6, 7].map(LoopId);
    let at = |list: &[LoopId]| list.iter().map(|l| Index::from(*l)).collect::<Vec<_>>();
    // An element of a tile's transform.
    let of_tile = |[x, y, n, th, tw, channel]: [LoopId; 6]| {
        let mut index = at(&[x, y, n]);
        if in_line {
            // Along a height that is known tiles follow each other at constant distances, as its own end asks for.
            let (next, line, length) = match conv.height.as_const() {
                Some(_) => (th, tw, conv.height.ceil_div(m)),
                None => (tw, th, conv.width.ceil_div(m)),
            };
            index.push(Index::from(Affine::of(next).plus(line, length)));
        } else {
            index.extend(at(&[th, tw]));
        }
        index.push(Index::from(channel));
        index
    };
    let tiles = [
        (IMAGES, &conv.images, Parallel),
        ("c", &channels, Parallel),
        ("th", &th, Parallel),
        ("tw", &tw, Parallel),
    ];
    let along = |tile: LoopId, element: LoopId| Affine::of(element).plus(tile, m);

    // Tiles of the input; what is beyond its border adds nothing.
    let map: Substitution = [
        (conv.n, Affine::of(ni)),
        (conv.c, Affine::of(ci)),
        (conv.out[0], Affine::constant(0i64).plus(thi, m)),
        (conv.out[1], Affine::constant(0i64).plus(twi, m)),
        (conv.window[0], Affine::of(xi)),
        (conv.window[1], Affine::of(nu)),
    ]
    .into();
    let mut from = substitute_access(&conv.lhs, &map);
    from.otherwise.get_or_insert(if whole { Scalar::int(DType::U8, 0) } else { Scalar::f32(0.0) });
    let side = |matrix: Tensor, to, over| Side { matrix, to, over };
    let tile = if whole { Expr::cast(factor, Expr::Acc) } else { Expr::Acc };
    let input = Kernel {
        name: format!("{name}.tiles"),
        nodes: nodes.clone(),
        loops: loops(
            &[&tiles[..], &[("i", &t, Parallel), ("j", &t, Parallel), ("k", &t, Reduce), ("l", &t, Reduce)]]
                .concat(),
        ),
        form: Form::Transform {
            left: side(filter.input(), ai, xi),
            right: side(filter.input(), bi, nu),
            from,
            store: Store { to: Access::new(v, of_tile([ai, bi, ni, thi, twi, ci])), value: tile },
        },
    };

    let all = th.clone() * tw.clone();
    let mut list = vec![("xi", &t, Parallel), ("nu", &t, Parallel), (IMAGES, &conv.images, Parallel)];
    list.extend(if in_line {
        vec![("tiles", &all, Parallel)]
    } else {
        vec![("th", &th, Parallel), ("tw", &tw, Parallel)]
    });
    let rows: Vec<LoopId> = (0..list.len() as u16).map(LoopId).collect();
    let [o0, c0] = [0, 1].map(|i| LoopId(list.len() as u16 + i));
    list.extend([("o", &outputs, Parallel), ("c", &channels, Reduce)]);
    let products = Kernel {
        name: format!("{name}.product"),
        nodes: nodes.clone(),
        loops: loops(&list),
        form: Form::Contract {
            acc: sum,
            lhs: Access::new(v, at(&[&rows[..], &[c0]].concat())),
            rhs: Access::new(u, at(&[rows[0], rows[1], c0, o0])),
            store: Store { to: Access::new(product, at(&[&rows[..], &[o0]].concat())), value: Expr::Acc },
        },
    };

    let map: Substitution = [
        (conv.n, Affine::of(ni)),
        (conv.o, Affine::of(ci)),
        (conv.out[0], along(thi, ai)),
        (conv.out[1], along(twi, bi)),
    ]
    .into();
    let clipped = |a: &Access, dtype: DType| {
        let otherwise = conv.out.iter().any(|l| a.uses(*l)).then(|| Scalar::of(dtype, 0.0));
        Access { otherwise, ..substitute_access(a, &map) }
    };
    let dtype = |b: BufferId| program.buffer(b).ty.dtype;
    let value = conv.store.value.map(&mut |leaf| match leaf {
        Expr::Load(a) => Some(Expr::Load(clipped(a, dtype(a.buffer)))),
        Expr::Acc if whole => Some(filter.quotient()),
        _ => None,
    });
    let at_matrix = || if whole { filter.whole_output() } else { filter.output() };
    let mut tiles = tiles;
    tiles[1] = ("o", &outputs, Parallel);
    let output = Kernel {
        name,
        nodes,
        loops: loops(
            &[
                &tiles[..],
                &[
                    ("a", &results, Parallel),
                    ("b", &results, Parallel),
                    ("xi", &t, Reduce),
                    ("nu", &t, Reduce),
                ],
            ]
            .concat(),
        ),
        form: Form::Transform {
            left: side(at_matrix(), ai, xi),
            right: side(at_matrix(), bi, nu),
            from: Access::new(product, of_tile([xi, nu, ni, thi, twi, ci])),
            store: Store { to: clipped(&conv.store.to, dtype(conv.store.to.buffer)), value },
        },
    };
    Ok(vec![input, products, output])
}

/// `U[xi, nu, c, o] = (G g Gt)[xi, nu]` for every pair of channels.
fn transformed_weights(program: &Program, conv: &Convolution, filter: Filter) -> Result<Tensor> {
    let tensor = program.constant(conv.weights)?;
    let shape = [filter.inputs(), filter.inputs(), conv.layer.c as usize, conv.layer.o as usize];
    if conv.layer.most.is_some() {
        return Ok(Tensor::from_vec(
            &shape,
            transformed(tensor, conv, filter, filter.whole_weights(), |sum| sum as i16)?,
        ));
    }
    let g = filter.weights();
    if conv.layer.keeps_short(filter) {
        let dtype = tensor.dtype;
        let bits = transformed(tensor, conv, filter, g, |sum| Scalar::of(dtype, sum).bits as u16)?;
        return Ok(Tensor { dtype, ..Tensor::from_vec(&shape, bits) });
    }
    Ok(Tensor::from_vec(&shape, transformed(tensor, conv, filter, g, |sum| sum as f32)?))
}

fn transformed<T: Copy + Default>(
    tensor: &Tensor,
    conv: &Convolution,
    filter: Filter,
    g: &[[f64; WINDOW]],
    round: impl Fn(f64) -> T,
) -> Result<Vec<T>> {
    let source = tensor.to_f64s()?;
    let strides = kiln_ir::tensor::row_major(&tensor.shape);
    let [so, sc, sh, sw] = conv.axes.map(|axis| strides[axis]);
    let (outputs, channels, t) = (conv.layer.o as usize, conv.layer.c as usize, filter.inputs());
    let mut out = vec![T::default(); t * t * channels * outputs];
    for c in 0..channels {
        for o in 0..outputs {
            let mut rows = [[0.0f64; WINDOW]; matrices::MOST_INPUTS];
            for (row, factors) in rows.iter_mut().zip(g) {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = (0..WINDOW).map(|k| factors[k] * source[o * so + c * sc + k * sh + j * sw]).sum();
                }
            }
            for (xi, row) in rows.iter().enumerate().take(t) {
                for (nu, factors) in g.iter().enumerate() {
                    let sum: f64 = row.iter().zip(factors).map(|(a, b)| a * b).sum();
                    out[((xi * t + nu) * channels + c) * outputs + o] = round(sum);
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod byte_tests;
#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod tests;
