//! What a schedule names and promises: every loop once, those of the outside first, and strides that are true.

use super::super::access::LoopId;
use super::super::digits::{COLUMNS, DigitSum};
use super::super::form::{Form, Role};
use super::super::plan::{FlatAccess, Nest, Schedule, Sparse, Storage, Tile, Weight};
use super::{Checker, rule};
use crate::error::{Error, Result};
use crate::format::packed::CROSSED;
use crate::types::DType;

impl Checker<'_> {
    pub(super) fn schedule(&self) -> Result<()> {
        let form = &self.kernel.form;
        match (&self.kernel.schedule, form) {
            (Schedule::Scalar { order }, form) => {
                if let Form::Procedure(p) = form {
                    p.check()?;
                }
                self.once(order, &[])
            }
            (
                Schedule::Nest(nest),
                Form::Map { .. } | Form::Reduce { .. } | Form::Window { .. } | Form::Rearrange { .. },
            ) => {
                self.once(&nest.order, &[nest.vector])?;
                let pixels = nest.quads && matches!(form, Form::Map { .. });
                let repeats = nest.tile.filter(|_| nest.quads && matches!(form, Form::Rearrange { .. }));
                let own = [match self.role(nest.vector)? {
                    Role::Parallel if pixels => 4,
                    Role::Parallel if let Some((_, n)) = repeats => n.into(),
                    Role::Parallel => 1,
                    Role::Reduce => 0,
                }];
                form.stores().into_iter().try_for_each(|a| self.stride(a, nest.vector, &own))?;
                // Elements of 32 and 8 bits may lie apart, where results do not; of what is no window all may.
                let loaded = [DType::F32, DType::I32, DType::U32, DType::U8, DType::I8];
                let words = |a: &&FlatAccess| loaded.contains(&a.dtype);
                let free = !matches!(form, Form::Window { .. });
                let apart =
                    |a: &&FlatAccess| own == [1] && (free || words(a)) && !pixels && repeats.is_none();
                let near = form.loads().into_iter().filter(|a| !apart(a));
                near.into_iter().try_for_each(|a| self.stride(a, nest.vector, &[0, 1]))?;
                // An index is read for a whole vector, and outside the reduced loops.
                // Of a table of bytes there is one for each lane.
                for index in form.loads().into_iter().filter_map(FlatAccess::table_index) {
                    self.stride(index, nest.vector, &own)?;
                }
                let looked_up = |a: &&FlatAccess| a.table_index().is_some();
                for gather in form.loads().into_iter().filter(|a| !looked_up(a)).flat_map(|a| &a.gathers) {
                    for l in (0..self.kernel.loops.len() as u16).map(LoopId) {
                        if l == nest.vector || self.role(l)? == Role::Reduce {
                            self.stride(&gather.index, l, &[0])?;
                        }
                    }
                }
                // One that a result is written by is a single one.
                for gather in form.stores().into_iter().flat_map(|a| &a.gathers) {
                    (0..self.kernel.loops.len() as u16)
                        .try_for_each(|l| self.stride(&gather.index, LoopId(l), &[0]))?;
                }
                if let Some((l, n)) = nest.tile {
                    self.is(&[l], Role::Parallel)?;
                    if n == 0 || l == nest.vector {
                        return rule("accumulators lie along another loop than vectors".to_owned());
                    }
                }
                self.is(&nest.unrolled, Role::Reduce)?;
                if nest.quads {
                    self.quads(nest, form)?;
                }
                if nest.vectors == 0 || !nest.order.ends_with(&nest.unrolled) {
                    return rule("the unrolled loops are the last ones".to_owned());
                }
                Ok(())
            }
            (Schedule::Tile(tile), Form::Contract { lhs, rhs, store, .. }) => {
                let around: Vec<LoopId> =
                    tile.outer.iter().chain(&tile.row).copied().chain([tile.col]).collect();
                let quad: Vec<LoopId> = tile.quad.into_iter().flatten().chain(tile.eight).collect();
                self.once(&[&around[..], &tile.depth, &quad].concat(), &[])?;
                self.is(&around, Role::Parallel)?;
                self.is(&[&tile.depth[..], &quad].concat(), Role::Reduce)?;
                self.stride(lhs, tile.col, &[0])?;
                match tile.quad {
                    None if tile.watched || tile.eight.is_some() => {
                        return Err(Error::internal("bounds or eights of weights that are no bytes"));
                    }
                    None => self.stride(rhs, tile.col, &[1])?,
                    Some(quad) => self.quad(tile, quad, lhs, rhs)?,
                }
                self.stride(&store.to, tile.col, &[1])?;
                let mut epilogue = Vec::new();
                store.value.for_each_access(&mut |a| epilogue.push(a));
                epilogue.into_iter().try_for_each(|a| self.stride(a, tile.col, &[0, 1]))?;
                if let Some(row) = tile.row {
                    self.stride(rhs, row, &[0])?;
                }
                let (nr, panel) = (tile.nr, tile.panel);
                let some = tile.mr > 0 && nr > 0 && panel > 0;
                if !some || tile.panel_stride % i64::from(panel) != 0 {
                    return rule(format!(
                        "panels of {panel} every {} for tiles of {} x {nr}",
                        tile.panel_stride, tile.mr
                    ));
                }
                Ok(())
            }
            (Schedule::Dots(dots), Form::Contract { lhs, rhs, store, .. }) => {
                let sides = [dots.row, dots.col].into_iter().flatten();
                let around: Vec<LoopId> =
                    dots.outer.iter().copied().chain(sides.clone().map(|s| s.0)).collect();
                self.once(&[&around[..], &dots.depth].concat(), &[dots.lane])?;
                self.is(&around, Role::Parallel)?;
                self.is(&[&dots.depth[..], &[dots.lane]].concat(), Role::Reduce)?;
                self.stride(lhs, dots.lane, &[1])?;
                self.stride(rhs, dots.lane, &[1])?;
                if let Some((row, _)) = dots.row {
                    self.stride(rhs, row, &[0])?;
                }
                if let Some((col, _)) = dots.col {
                    self.stride(lhs, col, &[0])?;
                }
                // The epilogue is of single elements: of the sum, which no reduced loop moves along.
                self.stride(&store.to, dots.lane, &[0])?;
                if dots.vectors == 0 || sides.clone().any(|(_, n)| n == 0) {
                    return rule("a tile of no products".to_owned());
                }
                Ok(())
            }
            (Schedule::Stream(stream), Form::Contract { acc, lhs, rhs, store }) => {
                let around: Vec<LoopId> = stream.outer.iter().copied().chain([stream.col]).collect();
                self.once(&[&around[..], &stream.depth].concat(), &[])?;
                self.is(&around, Role::Parallel)?;
                self.is(&stream.depth, Role::Reduce)?;
                self.stride(lhs, stream.col, &[0])?;
                self.stride(rhs, stream.col, &[1])?;
                self.stride(&store.to, stream.col, &[1])?;
                let mut epilogue = Vec::new();
                store.value.for_each_access(&mut |a| epilogue.push(a));
                epilogue.iter().try_for_each(|a| self.stride(a, stream.col, &[0, 1]))?;
                if stream.width == 0 || stream.rows == 0 {
                    return rule("a stream of nothing".to_owned());
                }
                if store.to.dtype != *acc || epilogue.iter().any(|a| a.storage == store.to.storage) {
                    return rule(format!("sums of {acc} in '{}', which holds something else", store.to.name));
                }
                Ok(())
            }
            (Schedule::Digits(d), Form::Reduce { store, .. }) => {
                let Some(sum) = DigitSum::of(form) else { return rule("no sum of digits".to_owned()) };
                let around: Vec<LoopId> = [d.panel].into_iter().chain(d.outer.iter().copied()).collect();
                let inner = [d.block, d.group, d.byte];
                self.once(&[&around[..], &[d.col], &inner].concat(), &[])?;
                self.is(&[&around[..], &[d.col]].concat(), Role::Parallel)?;
                self.is(&inner, Role::Reduce)?;
                let extent = |l: LoopId| self.kernel.loops[l.0 as usize].extent.as_const();
                let Some((groups, blocks)) = extent(d.group).zip(extent(d.block)) else {
                    return rule("blocks of open extent".to_owned());
                };
                if (extent(d.byte), extent(d.col)) != (Some(4), Some(COLUMNS)) {
                    return rule("panels of other sizes than four bytes of 16 columns".to_owned());
                }
                let mut stride = 1;
                for (l, n) in
                    [(d.byte, 4), (d.col, COLUMNS), (d.group, groups), (d.block, blocks), (d.panel, 1)]
                {
                    self.stride(&sum.weights, l, &[stride])?;
                    stride *= n;
                }
                for l in &d.outer {
                    self.stride(&sum.weights, *l, &[0])?;
                }
                for digit in sum.digits.iter().flatten() {
                    self.stride(digit, d.byte, &[1])?;
                    self.stride(digit, d.group, &[4])?;
                    self.stride(digit, d.col, &[0])?;
                }
                let zero = sum.zero.iter().map(|zero| (zero, 1));
                for (a, col) in [(&sum.shift, 0), (&sum.unit, 0), (&sum.scale, 1)].into_iter().chain(zero) {
                    self.stride(a, d.byte, &[0])?;
                    self.stride(a, d.group, &[0])?;
                    self.stride(a, d.col, &[col])?;
                }
                self.stride(&store.to, d.col, &[1])?;
                let mut epilogue = Vec::new();
                store.value.for_each_access(&mut |a| epilogue.push(a));
                epilogue.into_iter().try_for_each(|a| self.stride(a, d.col, &[0, 1]))
            }
            (Schedule::Sparse(sparse), Form::Contract { lhs, rhs, store, .. }) => {
                let around: Vec<LoopId> =
                    sparse.outer.iter().copied().chain(sparse.down.map(|d| d.0)).chain(sparse.col).collect();
                self.once(&[&around[..], &[sparse.row], &sparse.depth].concat(), &[])?;
                self.is(&[&around[..], &[sparse.row]].concat(), Role::Parallel)?;
                self.is(&sparse.depth, Role::Reduce)?;
                let lanes = sparse.col.unwrap_or(sparse.row);
                let fours = sparse.weights.value_bytes == 1;
                if let Some(col) = sparse.col {
                    self.stride(lhs, col, &[if fours { 4 } else { 1 }])?;
                }
                if fours
                    && (sparse.weights.block.cols != 4 || sparse.weights.step() != 1 || sparse.col.is_none())
                {
                    return rule("blocks of bytes that do not lie four by four".to_owned());
                }
                if sparse.weights.block.is_slice() && sparse.col.is_some() {
                    return rule("rows with columns of their own beside pixels that are lanes".to_owned());
                }
                self.stride(lhs, sparse.row, &[0])?;
                self.stride(&store.to, lanes, &[1])?;
                around.iter().try_for_each(|l| self.stride(rhs, *l, &[0]))?;
                let mut epilogue = Vec::new();
                store.value.for_each_access(&mut |a| epilogue.push(a));
                epilogue.into_iter().try_for_each(|a| self.stride(a, lanes, &[0, 1]))?;
                self.blocks(sparse, lhs, rhs)
            }
            (Schedule::Transpose(t), Form::Rearrange { from, to }) => {
                self.once(&t.outer, &[t.read, t.write])?;
                self.stride(from, t.read, &[1])?;
                self.stride(to, t.write, &[1])?;
                if !from.gathers.is_empty() || ![1, 2, 4, 8].contains(&from.dtype.size()) {
                    return rule(format!("blocks of {} in registers, or gathered ones", from.dtype));
                }
                Ok(())
            }
            (Schedule::Transform(t), Form::Transform { left, right, from, store }) => {
                let tiles = [left.to, left.over, right.to, right.over];
                self.once(&t.outer, &tiles.into_iter().chain(t.lane).collect::<Vec<_>>())?;
                self.is(&t.outer, Role::Parallel)?;
                let Some(lane) = t.lane else { return Ok(()) };
                self.is(&[lane], Role::Parallel)?;
                self.stride(from, lane, &[1])?;
                self.stride(&store.to, lane, &[1])?;
                let mut epilogue = Vec::new();
                store.value.for_each_access(&mut |a| epilogue.push(a));
                epilogue.into_iter().try_for_each(|a| self.stride(a, lane, &[0, 1]))
            }
            (_, form) => rule(format!("a schedule that is not for the form {}", form.name())),
        }
    }

    /// What the weights are said to be is what lhs moves by, and what is there.
    fn blocks(&self, sparse: &Sparse, lhs: &FlatAccess, rhs: &FlatAccess) -> Result<()> {
        let weights = &sparse.weights;
        if sparse.vectors == 0 || sparse.down.is_some_and(|d| d.1 == 0) || !lhs.guards.is_empty() {
            return rule("tiles of no vectors, or with padding".to_owned());
        }
        let extent = |l: LoopId| self.kernel.loops[l.0 as usize].extent.as_usize();
        let stride = |a: &FlatAccess, l: LoopId| a.strides[l.0 as usize].as_usize();
        let depth: Option<Vec<_>> = sparse.depth.iter().map(|l| extent(*l).zip(stride(lhs, *l))).collect();
        if depth.as_ref() != Some(&weights.depth) || extent(sparse.row) != Some(weights.rows) {
            return rule("blocks of a matrix of another shape".to_owned());
        }
        let mut step = 1;
        for (l, (extent, _)) in sparse.depth.iter().zip(&weights.depth).rev() {
            self.stride(rhs, *l, &[step])?;
            step *= *extent as i64;
        }
        self.stride(rhs, sparse.row, &[step])?;
        let is = |w: &&Weight| rhs.storage == Storage::Weights { offset_bytes: w.offset_bytes };
        let there = self.plan.weights.iter().find(is).map(|w| w.tensor.data.len());
        if there != Some(weights.len()) || rhs.dtype.size() != weights.value_bytes {
            return rule(format!("'{}' has not the {} bytes of its blocks", rhs.name, weights.len()));
        }
        Ok(())
    }

    fn quads(&self, nest: &Nest, form: &Form<FlatAccess>) -> Result<()> {
        let wrong = |what: &str| Err(Error::internal(format!("columns by fours of {what}")));
        if let (Form::Map { stores }, Some((channels, n))) = (form, nest.tile) {
            let short = stores.len() == 1 && matches!(stores[0].to.dtype, DType::U8 | DType::I8 | DType::I16);
            let four = n == 4 && self.kernel.loops[channels.0 as usize].extent.is(4);
            if !short || !four || nest.order.last() != Some(&channels) {
                return wrong("a map whose results are no pixels of four bytes or words");
            }
            return self.stride(&stores[0].to, channels, &[1]);
        }
        if let (Form::Rearrange { from, to }, Some((again, n))) = (form, nest.tile) {
            let times = [2, 4].contains(&n) && self.kernel.loops[again.0 as usize].extent.is(n.into());
            let plain = to.dtype.size() == 4 && from.gathers.is_empty() && from.guards.is_empty();
            if !times || !plain || nest.order.last() != Some(&again) {
                return wrong("a copy that does not write each element two or four times");
            }
            self.stride(from, again, &[0])?;
            self.stride(from, nest.vector, &[1])?;
            return self.stride(to, again, &[1]);
        }
        let (Form::Window { input, weight: Some(weight), .. }, Some((along, _))) = (form, nest.tile) else {
            return wrong("what is no window, or has no tile");
        };
        if (input.dtype, weight.dtype) != (DType::U8, DType::I8) || !input.guards.is_empty() {
            return wrong("a window that is padded, or not of bytes");
        }
        let parallel = nest.order.len() - nest.unrolled.len();
        let inside = parallel > 0 && nest.order[parallel - 1] == along;
        let channels = self.kernel.loops[nest.vector.0 as usize].extent.as_const();
        if !inside || nest.unrolled.is_empty() || channels.is_none_or(|n| n % 4 != 0) {
            return wrong("loops in another order, or of channels that are no fours");
        }
        [input, weight].into_iter().try_for_each(|a| self.stride(a, nest.vector, &[1]))?;
        self.stride(weight, along, &[0])
    }

    /// Four bytes or words of depth side by side in lhs, and in rhs as [`Steps`](crate::format::packed::Steps) has them.
    fn quad(&self, tile: &Tile, [step, pair]: [LoopId; 2], lhs: &FlatAccess, rhs: &FlatAccess) -> Result<()> {
        self.stride(lhs, step, &[1])?;
        self.stride(lhs, pair, &[2])?;
        let halves = 2 * i64::from(tile.panel);
        let fours = self.stride(rhs, tile.col, &[4]).is_ok();
        let sizes = [lhs, rhs].map(|a| a.dtype.size());
        let crossed = tile.panel as usize == CROSSED && self.stride(rhs, tile.col, &[1]).is_ok();
        let [col, first, second] = match sizes {
            [2, 1] if crossed => [1, halves / 2, halves],
            [2, 1 | 2] => [2, 1, halves],
            _ if tile.eight.is_some() => [8, 1, 2],
            _ if fours => [4, 1, 2],
            _ if lhs.dtype == DType::I8 => [2, 1, halves],
            _ => [2, halves, 1],
        };
        self.stride(rhs, tile.col, &[col])?;
        self.stride(rhs, step, &[first])?;
        self.stride(rhs, pair, &[second])?;
        if tile.watched {
            let run = tile.depth.last().copied().filter(|_| fours);
            let run = run.ok_or_else(|| Error::internal("bounds of weights that are no bytes in fours"))?;
            self.stride(lhs, run, &[4])?;
            self.stride(rhs, run, &[2 * halves])?;
        }
        if let Some(eight) = tile.eight {
            self.stride(lhs, eight, &[4])?;
            self.stride(rhs, eight, &[4])?;
        }
        let two = |l: LoopId| self.kernel.loops[l.0 as usize].extent.is(2);
        let packed = matches!(sizes, [1, 1] | [2, 1 | 2]) && tile.rhs_padded;
        if !two(step) || !two(pair) || !tile.eight.is_none_or(two) || !packed || !lhs.guards.is_empty() {
            return Err(Error::internal(
                "a tile of bytes or words is of packed ones, four by four and without padding",
            ));
        }
        Ok(())
    }
}
