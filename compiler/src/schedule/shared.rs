//! Which loop of a kernel threads share: part of the plan, whether or not the kernel is worth sharing.

use kiln_ir::kernel::plan::{
    Digits, Dots, FlatAccess, Nest, PlannedKernel, Schedule, Shared, Stream, Tile, Transpose,
};
use kiln_ir::kernel::{Form, LoopId, Role};
use kiln_targets::vector_expr::nest_lanes;

/// The shared loop of a kernel with vectors of `lanes` elements of 32 bits:
///
/// - of plain loops and nests the outermost one when it is parallel and not tiled; blocks of vectors where the
///   vectors' loop is the only parallel one and no padding splits it;
/// - of tiles the panels when these are outermost, else the outermost loop, else tiles of rows;
/// - of dot products the outermost loop, else tiles of rows, else of columns;
/// - of streams the outermost loop, else panels;
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
            _ if parallel(*vector) && !guarded(form, *vector) => {
                Some(Shared { along: *vector, step: (*vectors).max(1) * nest_lanes(form, 4 * lanes) })
            }
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
    }
}

/// Whether padding depends on the loop.
fn guarded(form: &Form<FlatAccess>, l: LoopId) -> bool {
    let guards = |a: &&FlatAccess| a.guards.iter().any(|g| !g.coefficients[l.0 as usize].is(0));
    form.loads().iter().any(guards)
}
