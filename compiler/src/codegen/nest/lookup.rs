//! Bytes out of a table of 256, whole registers of them at a time.

use kiln_targets::simd::{Narrow, Overflow, R, Simd, bytes};

use super::super::walk::AccessId;
use super::Generator;

const BYTE: Narrow = Narrow { two: false, signed: false };

impl Generator<'_> {
    /// `widths` registers of entries, for `tile` iterations of the tiled loop.
    pub(super) fn look_up<S: Simd>(
        &self,
        s: &mut S,
        tile: i64,
        widths: &[usize],
        table: AccessId,
        index: AccessId,
    ) -> R {
        let to = self.stores[0];
        let (entries, first) = (self.walk.ptr(table), self.walk.disp(table, &[], 0)?);
        let held = s.load_table(entries, first)?;
        for (t, (j, &n)) in (0..tile).flat_map(|t| widths.iter().enumerate().map(move |w| (t, w))) {
            let mut ahead = vec![(self.nest.vector, (j * self.lanes) as i64)];
            ahead.extend(self.nest.tile.map(|(l, _)| (l, t)));
            let (source, target) = (self.walk.disp(index, &ahead, 0)?, self.walk.disp(to, &ahead, 0)?);
            let (words, rest) = (n / 4, n % 4);
            if words > 0 {
                let v = s.load(self.walk.ptr(index), source, words)?;
                bytes::look_up(s, &v, &held, entries, first)?;
                s.store(self.walk.ptr(to), target, &v, words)?;
                s.free(v);
            }
            if rest > 0 {
                let past = 4 * words as i32;
                let v = s.load_narrow(BYTE, self.walk.ptr(index), source + past, rest)?;
                bytes::look_up(s, &v, &held, entries, first)?;
                s.store_narrow(BYTE, Overflow::Wrap, self.walk.ptr(to), target + past, &v, rest)?;
                s.free(v);
            }
        }
        held.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}
