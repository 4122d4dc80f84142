//! Which loops of a kernel threads can share; [`partition`](super::partition) picks one of them.

use kiln_ir::kernel::plan::{
    Digits, Dots, FlatAccess, Nest, PlannedKernel, Schedule, Shared, Sparse, Stream, Tile, Transform,
    Transpose,
};
use kiln_ir::kernel::{Form, LoopId, Role};
use kiln_targets::vector_expr::nest_lanes;

/// Bytes that a transpose writes of a row at once.
const LINE: usize = 64;

/// All loops that a kernel with vectors of `lanes` elements of 32 bits can share, that of [`shared`] first.
pub fn options(kernel: &PlannedKernel, lanes: u32) -> Vec<Shared> {
    let PlannedKernel { loops, form, schedule, .. } = kernel;
    let whole = |l: &LoopId| Shared { along: *l, step: 1 };
    let tiled = |side: &Option<(LoopId, u32)>| side.map(|(along, step)| Shared { along, step });
    let mut list: Vec<Shared> = shared(kernel, lanes).into_iter().collect();
    match schedule {
        Schedule::Scalar { .. } | Schedule::Digits(_) => {}
        Schedule::Nest(Nest { order, tile, .. }) => {
            let parallel = |l: &&LoopId| loops.get(l.0 as usize).is_some_and(|l| l.role == Role::Parallel);
            let free = |l: &&LoopId| tile.is_none_or(|(tiled, _)| tiled != **l);
            list.extend(order.iter().take_while(parallel).filter(free).map(whole));
        }
        Schedule::Tile(tile) => {
            list.extend(tile.outer.iter().map(whole));
            list.extend(tile.row.map(|along| Shared { along, step: tile.mr }));
            list.push(Shared { along: tile.col, step: tile.columns() });
        }
        Schedule::Dots(Dots { outer, row, col, .. }) => {
            list.extend(outer.iter().map(whole).chain(tiled(row)).chain(tiled(col)));
        }
        Schedule::Stream(Stream { outer, col, width, .. }) => {
            list.extend(outer.iter().map(whole).chain([Shared { along: *col, step: *width }]));
        }
        Schedule::Transpose(Transpose { outer, read, write }) => {
            let size = form.stores().first().map_or(1, |to| to.dtype.size().max(1));
            let lines = [(*read, Transpose::RUN), (*write, LINE)];
            let lines = lines.map(|(along, bytes)| Shared { along, step: (bytes / size) as u32 });
            list.extend(outer.iter().map(whole));
            list.extend(lines.into_iter().filter(|lines| !guarded(form, lines.along)));
        }
        Schedule::Transform(Transform { outer, .. }) => list.extend(outer.iter().map(whole)),
        Schedule::Sparse(sparse) => {
            list.extend(sparse.outer.iter().map(whole));
            list.extend(tiled(&sparse.down));
            list.push(Shared { along: sparse.row, step: sparse.weights.block.rows.into() });
            list.extend(sparse.col.map(|along| Shared { along, step: sparse.vectors * lanes }));
        }
    }
    let mut unique: Vec<Shared> = Vec::new();
    for share in list {
        if !unique.iter().any(|known| known.along == share.along) {
            unique.push(share);
        }
    }
    unique
}

/// The shared loop of a kernel with vectors of `lanes` elements of 32 bits, looked at alone:
///
/// - of plain loops and nests the outermost one when it is parallel and not tiled; blocks of vectors where the
///   vectors' loop is the only parallel one and no padding splits it;
/// - of tiles the panels when these are outermost, else the outermost loop, else tiles of rows;
/// - of dot products the outermost loop, else tiles of rows, else of columns;
/// - of streams the outermost loop, else panels;
/// - of weights in blocks the outermost loop, else lines of pixels, else rows of blocks;
/// - of numbers in digits the panels;
/// - of blocks and transforms the outermost of the remaining loops; of blocks without any, runs of what is read.
pub fn shared(kernel: &PlannedKernel, lanes: u32) -> Option<Shared> {
    let PlannedKernel { loops, form, schedule, .. } = kernel;
    let parallel = |l: LoopId| loops.get(l.0 as usize).is_some_and(|l| l.role == Role::Parallel);
    let whole = |l: Option<&LoopId>| l.map(|&along| Shared { along, step: 1 });
    match schedule {
        Schedule::Scalar { order } => whole(order.first().filter(|l| parallel(**l))),
        Schedule::Nest(Nest { order, vector, vectors, tile, .. }) => match order.first() {
            Some(first) if parallel(*first) => {
                whole(Some(first).filter(|first| tile.is_none_or(|(l, _)| l != **first)))
            }
            _ if parallel(*vector) && !guarded(form, *vector) => Some(Shared {
                along: *vector,
                step: (*vectors).max(1) * nest_lanes(form, loops, *vector, 4 * lanes),
            }),
            _ => None,
        },
        Schedule::Tile(tile @ Tile { outer, row, col, mr, panels_outermost, .. }) => {
            if *panels_outermost {
                Some(Shared { along: *col, step: tile.columns() })
            } else {
                let rows = row.filter(|row| !guarded(form, *row));
                whole(outer.first()).or(rows.map(|along| Shared { along, step: *mr }))
            }
        }
        Schedule::Dots(Dots { outer, row, col, .. }) => {
            let tiled = |side: &Option<(LoopId, u32)>| side.map(|(along, step)| Shared { along, step });
            whole(outer.first()).or(tiled(row)).or(tiled(col))
        }
        Schedule::Stream(Stream { outer, col, width, .. }) => {
            whole(outer.first()).or(Some(Shared { along: *col, step: *width }))
        }
        Schedule::Digits(Digits { panel, .. }) => whole(Some(panel)),
        Schedule::Transpose(blocks) => {
            let size = form.stores().first().map_or(1, |to| to.dtype.size().max(1));
            let lines = Shared { along: blocks.read, step: (Transpose::RUN / size) as u32 };
            whole(blocks.outer.first()).or((!guarded(form, blocks.read)).then_some(lines))
        }
        Schedule::Transform(tiles) => whole(tiles.outer.first()),
        Schedule::Sparse(Sparse { outer, down, row, weights, .. }) => {
            let down = down.map(|(along, step)| Shared { along, step });
            let rows = Shared { along: *row, step: weights.block.rows.into() };
            whole(outer.first()).or(down).or(Some(rows))
        }
    }
}

/// Whether padding depends on the loop.
fn guarded(form: &Form<FlatAccess>, l: LoopId) -> bool {
    let guards = |a: &&FlatAccess| a.guards.iter().any(|g| !g.coefficients[l.0 as usize].is(0));
    form.loads().iter().any(guards)
}
