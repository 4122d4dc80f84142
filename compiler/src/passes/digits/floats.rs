//! Weights of eight bits as floats, for machines without an instruction that multiplies bytes.
//!
//! Taking bytes apart costs as much as several floats read from a cache: a row of 512 numbers times 2048 columns takes 54 us in
//! floats and 77 in bytes (AVX2 on a Zen 4). Weights that do not fit the caches stay bytes, which are a quarter of what comes from memory.
//!
//! ```text
//!   reduce [m, n | b, i] { acc = sum((f32(@q[n, b, i]) - zero[n, b]) * %x[m, b, 0, i] * @s[n, b]) .. }
//!   contract [m, n | b, i] { acc = %x[m, b, 0, i] * @w[b, i, n] .. }
//! ```

use std::collections::BTreeMap;

use kiln_ir::kernel::{Access, Affine, BufferId, BufferKind, Form, Index, Kernel, LoopId, Program, Role};
use kiln_ir::{DType, Error, Result, Tensor};
use kiln_targets::Target;

use super::packed::{Packed, Zero};

/// Second-level caches that floats fill at most.
const MOST_CACHES: usize = 16;
/// Machines with less have no memory for floats either.
const LEAST_CACHE: usize = 256 << 10;

/// Whether a product is faster with floats, on one of the machines and not slower on the others.
pub(super) fn pays(found: &Packed, targets: &[Target]) -> bool {
    let bytes = found.columns * found.blocks * found.bytes * 4;
    let fits = |t: &Target| t.l2_bytes >= LEAST_CACHE && bytes <= MOST_CACHES * t.l2_bytes;
    found.parts == 1 && !targets.is_empty() && targets.iter().all(fits)
}

/// The kernel for the place of kernel `i`; `known` has by weights and scales their floats.
pub(super) fn rewrite(
    program: &mut Program,
    i: usize,
    found: &Packed,
    known: &mut BTreeMap<(BufferId, BufferId), BufferId>,
) -> Result<Kernel> {
    let mut kernel = program.kernel(i).clone();
    let Form::Reduce { store, .. } = &kernel.form else {
        return Err(Error::internal("weights in bytes of no sum"));
    };
    let store = store.clone();
    let key = (found.weights, found.scales);
    let weights = match known.get(&key) {
        Some(known) => *known,
        None => {
            let tensor = floats(program, found)?;
            program.add_buffer(&format!("{}.floats", kernel.name), tensor.ty(), BufferKind::Const(tensor))
        }
    };
    known.insert(key, weights);
    let (parallel, reduced) = (kernel.loops_of(Role::Parallel), kernel.loops_of(Role::Reduce));
    let at = |buffer, ids: Vec<LoopId>| Access::new(buffer, ids.into_iter().map(Index::from).collect());
    let rows = parallel[..parallel.len() - 1].iter().copied();
    let mut lhs = at(found.numbers, rows.chain(reduced.iter().copied()).collect());
    lhs.index.insert(lhs.index.len() - 1, Affine::constant(0i64).into());
    let rhs = at(weights, reduced.iter().copied().chain([found.column]).collect());
    kernel.form = Form::Contract { acc: DType::F32, lhs, rhs, store };
    Ok(kernel)
}

/// `[blocks, bytes, N]`.
fn floats(program: &Program, found: &Packed) -> Result<Tensor> {
    let Packed { columns, blocks, bytes, .. } = *found;
    let (q, scales) = (&program.constant(found.weights)?.data, program.constant(found.scales)?);
    let scales = scales.as_slice::<f32>()?;
    let zeros = match found.zero {
        Zero::All(zero) => vec![zero; columns * blocks],
        Zero::Each(zeros) => program.constant(zeros)?.data.iter().map(|zero| f32::from(*zero)).collect(),
    };
    let mut all = Vec::with_capacity(q.len());
    for k in 0..blocks * bytes {
        let of = |n: usize| {
            let block = n * blocks + k / bytes;
            (f32::from(q[n * blocks * bytes + k]) - zeros[block]) * scales[block]
        };
        all.extend((0..columns).map(of));
    }
    Ok(Tensor::from_vec(&[blocks, bytes, columns], all))
}
