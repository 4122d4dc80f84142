//! [`Schedule::Transpose`](kiln_ir::kernel::plan::Schedule::Transpose): copies in 4 x 4 blocks through registers.

use kiln_ir::kernel::Form;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::{PlannedKernel, Transpose};
use kiln_targets::simd::{R, Refusal, Simd, V};

use super::places::Places;
use super::share::shared;
use super::walk::{AccessId, ELEMENT, Walk, Walks, trips};

/// Rows and columns of a block.
const BLOCK: i64 = 4;

struct Generator<'k> {
    walk: Walk,
    schedule: &'k Transpose,
    from: AccessId,
    to: AccessId,
}

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    schedule: &Transpose,
    s: &mut S,
) -> R {
    let Form::Rearrange { from, to } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} as a transpose", kernel.form.name())));
    };
    let mut walk = Walk::new(kernel, places)?;
    let (from, to) = (walk.access(from)?, walk.access(to)?);
    if walk.stride(from, schedule.read) != ELEMENT || walk.stride(to, schedule.write) != ELEMENT {
        return Err(Refusal::unsupported("a transpose of strided elements"));
    }
    let mut this = Generator { walk, schedule, from, to };
    this.walk.open(s)?;
    match kernel.shared {
        Some(share) => shared(&mut this, s, share, false, &mut |this, s, _| this.outer(s, 1))?,
        None => this.outer(s, 0)?,
    }
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    fn outer<S: Simd>(&mut self, s: &mut S, i: usize) -> R {
        let Some(&l) = self.schedule.outer.get(i) else {
            return self.blocks(s, self.schedule.read, &mut |this, s, columns| {
                this.blocks(s, this.schedule.write, &mut |this, s, rows| this.block(s, rows, columns))
            });
        };
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, to - from, 1, &mut |this, s| this.outer(s, i + 1))?;
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// A loop in steps of a block, and what is left.
    fn blocks<S: Simd>(
        &mut self,
        s: &mut S,
        l: LoopId,
        body: &mut dyn FnMut(&mut Self, &mut S, i64) -> R,
    ) -> R {
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, (to - from) / BLOCK, BLOCK, &mut |this, s| body(this, s, BLOCK))?;
            let rest = (to - from) % BLOCK;
            if rest > 0 {
                body(self, s, rest)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// Reads `rows` vectors of `columns` elements and writes `columns` vectors of `rows`.
    fn block<S: Simd>(&mut self, s: &mut S, rows: i64, columns: i64) -> R {
        let (read, write) = (self.schedule.read, self.schedule.write);
        let outside = self.walk.outside(self.from)?;
        let mut block: Vec<V> = Vec::new();
        for row in 0..BLOCK {
            block.push(match outside {
                Some(value) => s.splat(value)?,
                None => {
                    // Rows that do not exist read the last one again; nothing of them is written.
                    let disp = self.walk.disp(self.from, &[(write, row.min(rows - 1))], 0)?;
                    s.load(self.walk.ptr(self.from), disp, columns as usize)?
                }
            });
        }
        if outside.is_none() {
            s.transpose([&block[0], &block[1], &block[2], &block[3]])?;
        }
        for (column, v) in block.into_iter().enumerate() {
            if (column as i64) < columns {
                let disp = self.walk.disp(self.to, &[(read, column as i64)], 0)?;
                s.store(self.walk.ptr(self.to), disp, &v, rows as usize)?;
            }
            s.free(v);
        }
        Ok(())
    }
}
