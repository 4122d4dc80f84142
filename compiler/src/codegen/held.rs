//! Vectors in memory that all rows of a tile read: where operations would load them each time, they stay in the registers that
//! evaluation leaves.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{R, Simd, V};

use super::vexpr::{At, Dag, Node};
use super::walk::AccessId;

/// A vector at a displacement from an access's pointer.
pub(super) struct Vector {
    access: AccessId,
    disp: i32,
    register: V,
}

/// The vectors that are in registers.
#[derive(Default)]
pub(super) struct Held(Vec<Vector>);

impl Held {
    /// Which one is what lies there.
    pub(super) fn find(&self, access: AccessId, disp: i32) -> Option<usize> {
        self.0.iter().position(|v| (v.access, v.disp) == (access, disp))
    }

    pub(super) fn register(&self, i: usize) -> &V {
        &self.0[i].register
    }

    pub(super) fn extend(&mut self, more: Vec<Vector>) {
        self.0.extend(more);
    }

    /// Gives their registers back.
    pub(super) fn free<S: Simd>(&mut self, s: &mut S) {
        self.0.drain(..).for_each(|v| s.free(v.register));
    }
}

impl Dag {
    /// Loads what every iteration of `row` reads at these places and is not held yet, as long as evaluation has room beside.
    pub(super) fn hold<S: Simd>(&self, s: &mut S, places: &[At<'_>], row: LoopId) -> R<Vec<Vector>> {
        let (mut found, room): (Vec<Vector>, _) = (Vec::new(), self.registers().of(1));
        if s.reads_memory() || s.spare() == usize::MAX {
            return Ok(found);
        }
        for at in places {
            for node in &self.nodes {
                let Node::Load(access) = *node else { continue };
                if s.spare() <= room || at.walk.stride(access, row) != 0 {
                    continue;
                }
                let Some(disp) = at.in_memory(s, access)? else { continue };
                let held = at.walk.held.find(access, disp).is_some();
                if !held && !found.iter().any(|v| (v.access, v.disp) == (access, disp)) {
                    let lanes = s.lanes();
                    let register = s.load(at.walk.ptr(access), disp, lanes)?;
                    found.push(Vector { access, disp, register });
                }
            }
        }
        Ok(found)
    }
}
