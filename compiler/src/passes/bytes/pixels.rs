//! Images that are quantised: their channels become four where the bytes are made.
//!
//! ```text
//!   map [n, c: 3, h, w] { %q[n, c, h, w] = u8(.. %x[n, c, h, w] ..) }
//!   map [n, c: 4, h, w] { %q.four[n, c, h, w] = u8(.. (%x[n, c, h, w] else 0) ..) }
//! ```
//!
//! The fourth one is multiplied by zeros. Written with the others it fills a lane; as padding it would be bytes apart.

use kiln_ir::kernel::{Access, Affine, BufferId, BufferKind, Form, Index, LoopId, Program, Scalar, Uses};
use kiln_ir::{DType, Dim, TensorType};

/// Bytes of a lane.
const FOUR: i64 = 4;

/// Activations with as many channels as the loop `l` of contraction `i` has now, `whole` instead of `extent`, where those that
/// it reads, `lhs`, are made by a map for it alone from what the caller gives. Else nothing changes.
pub(super) fn fill(
    program: &mut Program,
    uses: &Uses,
    (i, lhs): (usize, &Access),
    l: LoopId,
    (extent, whole): (i64, i64),
) -> Option<BufferId> {
    if whole != FOUR {
        return None;
    }
    let (ty, temporary) =
        (program.buffer(lhs.buffer).ty.clone(), program.buffer(lhs.buffer).kind == BufferKind::Temp);
    let axis = lhs.index.iter().position(|x| x.affine().and_then(Affine::as_loop) == Some(l))?;
    let writer =
        uses.only_writer(lhs.buffer).filter(|w| *w < i && uses.only_reader(lhs.buffer) == Some(i))?;
    let map = program.kernel(writer);
    let Form::Map { stores } = &map.form else { return None };
    let [store] = &stores[..] else { return None };
    let channel = store.to.as_loops()?[axis];
    let mut plain = map.loop_(channel).extent.is(extent) && !store.value.reads_counter(channel);
    store.value.for_each_access(&mut |a| {
        let along = |x: &Index| x.affine().is_none_or(|x| !x.coefficient(channel).is(0));
        let alone = |x: &Index| x.affine().and_then(Affine::as_loop) == Some(channel);
        let given = matches!(program.buffer(a.buffer).kind, BufferKind::Input);
        plain &= !a.index.iter().any(along) || given && a.otherwise.is_none();
        plain &= a.index.iter().all(|x| !along(x) || alone(x));
    });
    if !plain || !temporary || ty.dtype != DType::U8 {
        return None;
    }
    let mut shape = ty.shape;
    shape.0[axis] = Dim::Const(whole);
    let name = format!("{}.four", program.buffer(lhs.buffer).name);
    let four = program.add_buffer(&name, TensorType::new(DType::U8, shape), BufferKind::Temp);
    let types: Vec<DType> = program.buffer_ids().map(|id| program.buffer(id).ty.dtype).collect();
    let map = program.kernel_mut(writer);
    map.loops[channel.0 as usize].extent = Dim::Const(whole);
    if let Form::Map { stores } = &mut map.form {
        stores[0].to.buffer = four;
    }
    map.form.each_access_mut(&mut |a| {
        let along = a.index.iter().any(|x| x.affine().is_some_and(|x| !x.coefficient(channel).is(0)));
        if along && a.buffer != four {
            a.otherwise = Some(Scalar { dtype: types[a.buffer.0 as usize], bits: 0 });
        }
    });
    Some(four)
}
