//! Text of plans, for people: loops, flat accesses with their strides, schedules and their reasons, the arena.
//!
//! ```text
//! plan @m: arena 4096 B (least 4096 B), weights 864 B
//!   input 0 %x: f32[1, 3, 224, 224]
//!   weight +0 864 B @w: f32[864]
//!   slot +0 4096 B %t, kernels 0..1
//!   contract "conv1" [n: 1, o: 32 | c: 3] {
//!     acc: f32 = input0 %x{c + 9*n} * weights+0 @w{o}
//!     output0 %y{o} = acc
//!     tile outer [n] row - col o depth [c], 1 x 16, panels of 16 every 48, unroll 3
//!     code: encoder, vectors of 32 bytes
//!     shared: n, 4 steps, 2 at a time
//!     why: one row
//!   }
//! ```

use std::fmt::{self, Write as _};

use super::access::LoopId;
use super::plan::{
    Copied, Counted, Digits, Dots, FlatAccess, Nest, Plan, PlannedKernel, Provider, Schedule, Shared, Sparse,
    Storage, Stream, Tile, Transform, Transpose,
};
use super::print::{LoopNames, control_text, form_lines, sum_text};
use super::regions::Step;
use crate::dim::Dim;
use crate::text::{bounds_text, join, name_text, scalar_text};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "plan {}: arena {} B (least {} B) aligned to {}, weights {} B{}",
            name_text('@', &self.name),
            self.arena_bytes,
            self.arena_lower_bound_bytes,
            self.arena_align,
            self.weights_bytes,
            if self.outside.is_some() { " outside" } else { "" }
        )?;
        f.write_str(&bounds_text("dim", &self.bounds, "  "))?;
        for Counted { name, offset_bytes, after } in &self.counted {
            writeln!(f, "  count {} = i64 at +{offset_bytes} after kernel {after}", Dim::symbol(name))?;
        }
        for zero in &self.assumed {
            writeln!(f, "  assume {zero} = 0")?;
        }
        for (i, size) in self.sizes.iter().enumerate() {
            writeln!(f, "  size {i} = {size}")?;
        }
        for (word, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for (i, port) in ports.iter().enumerate() {
                writeln!(f, "  {word} {i} {}: {}", name_text('%', &port.name), port.ty)?;
            }
        }
        for Copied { input, offset_bytes } in &self.copied {
            writeln!(f, "  copy of input {input} at +{offset_bytes}, low bytes first")?;
        }
        for w in &self.weights {
            let (at, bytes) = (w.offset_bytes, w.tensor.data.len());
            writeln!(f, "  weight +{at} {bytes} B {}: {}", name_text('@', &w.name), w.tensor.ty())?;
        }
        for s in &self.slots {
            let (at, bytes, (first, last)) = (s.offset_bytes, s.bytes, s.live);
            let over =
                s.over.as_ref().map_or(String::new(), |name| format!(" over {}", name_text('%', name)));
            writeln!(f, "  slot +{at} {bytes} B {}{over}, kernels {first}..{last}", name_text('%', &s.name))?;
        }
        f.write_str(&steps_text(self, &self.steps(), 0))
    }
}

/// Kernels and the regions around them.
fn steps_text(plan: &Plan, steps: &[Step], depth: usize) -> String {
    let (indent, none) = ("  ".repeat(depth), LoopNames::new(&[], &mut |_| {}));
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Kernel(i) => {
                let text = plan.kernels[*i].to_string();
                text.lines().for_each(|line| out += &format!("{indent}{line}\n"));
            }
            Step::Region(id, inner) => {
                let control = &plan.regions[id.0 as usize].control;
                out += &format!("{indent}  {} {{\n", control_text(control, &|a| access_text(a, &none)));
                out += &steps_text(plan, inner, depth + 1);
                out += &format!("{indent}  }}\n");
            }
        }
    }
    out
}

impl fmt::Display for PlannedKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = LoopNames::new(&self.loops, &mut |dims| {
            for a in self.form.loads().into_iter().chain(self.form.stores()) {
                dims.extend(a.strides.iter().chain([&a.offset]).cloned());
            }
            for value in self.form.values() {
                value.each_size(&mut |size| dims.push(size.clone()));
            }
        });
        write!(f, "  {} {:?}", self.form.name(), self.name)?;
        if self.nodes != [self.name.clone()] {
            write!(f, " of [{}]", join(self.nodes.iter().map(|n| format!("{n:?}"))))?;
        }
        writeln!(f, " [{}] {{", names.header(&self.loops))?;
        for line in form_lines(&self.form, &names, &|a: &FlatAccess| access_text(a, &names)) {
            writeln!(f, "    {line}")?;
        }
        writeln!(f, "    {}", schedule_text(&self.schedule, &names))?;
        writeln!(f, "    code: {}", provider_text(self.provider))?;
        if let Some(Shared { along, step }) = self.shared {
            let l = names.get(along);
            let step = if step == 1 { String::new() } else { format!(" by {step}") };
            let steps = self.step_count().map_or("no".to_owned(), |n| factor_text(&n));
            let grain = self
                .grain
                .as_ref()
                .map_or("one thread".to_owned(), |n| format!("{} at a time", factor_text(n)));
            writeln!(f, "    shared: {l}{step}, {steps} steps, {grain}")?;
        }
        if !self.why.is_empty() {
            writeln!(f, "    why: {}", self.why)?;
        }
        writeln!(f, "  }}")
    }
}

/// `arena+64 %x{4*h + w} if 0 <= h - 1 < 8 else 0.0:f32`
fn access_text(a: &FlatAccess, names: &LoopNames) -> String {
    let storage = match a.storage {
        Storage::Input(i) => format!("input{i}"),
        Storage::Output(i) => format!("output{i}"),
        Storage::Weights { offset_bytes } => format!("weights+{offset_bytes}"),
        Storage::Arena { offset_bytes } => format!("arena+{offset_bytes}"),
    };
    let mut out =
        format!("{storage} {}{{{}", name_text('%', &a.name), line_text(&a.strides, &a.offset, names));
    for g in &a.gathers {
        let _ = write!(
            out,
            " + {}*({} {}in {})",
            factor_text(&g.stride),
            access_text(&g.index, names),
            if g.known { "known " } else { "" },
            g.extent
        );
    }
    out += "}";
    for (i, g) in a.guards.iter().enumerate() {
        let index = line_text(&g.coefficients, &g.offset, names);
        let _ = write!(out, "{} 0 <= {index} < {}", if i == 0 { " if" } else { "," }, g.extent);
    }
    if let Some(otherwise) = a.otherwise {
        let _ = write!(out, " else {}", scalar_text(otherwise));
    }
    out
}

fn factor_text(dim: &Dim) -> String {
    if dim.as_const().is_some() { dim.to_string() } else { format!("({dim})") }
}

fn line_text(strides: &[Dim], offset: &Dim, names: &LoopNames) -> String {
    let terms = strides.iter().enumerate().map(|(i, s)| (s, Some(names.get(LoopId(i as u16)))));
    sum_text(terms.chain([(offset, None)]))
}

fn provider_text(provider: Provider) -> String {
    let by = match provider {
        Provider::Plain => return "plain".to_owned(),
        Provider::Portable { .. } => "portable",
        Provider::Encoder { .. } => "encoder",
    };
    format!("{by}, vectors of {} bytes", provider.vector_bytes())
}

fn schedule_text(schedule: &Schedule, names: &LoopNames) -> String {
    let loops = |ids: &[LoopId]| format!("[{}]", join(ids.iter().map(|l| names.get(*l))));
    match schedule {
        Schedule::Scalar { order } => format!("scalar order {}", loops(order)),
        Schedule::Nest(Nest { order, vector, vectors, tile, unrolled, columns, quads }) => {
            let mut out = format!("nest order {} vector {} x {vectors}", loops(order), names.get(*vector));
            if let Some((l, n)) = tile {
                let _ = write!(out, " tile {} x {n}", names.get(*l));
            }
            if !unrolled.is_empty() {
                let _ = write!(out, " unrolled {}", loops(unrolled));
            }
            if *columns {
                out += " columns once";
            }
            if *quads {
                out += " columns by fours";
            }
            out
        }
        Schedule::Tile(Tile {
            outer,
            row,
            col,
            depth,
            mr,
            nr,
            quad,
            eight,
            watched,
            panel,
            panel_stride,
            rhs_padded,
            unroll,
            straight,
            by_lane,
            panels_outermost,
            prefetch,
        }) => {
            let row = row.map_or("-".to_owned(), |l| names.get(l));
            let mut out = format!(
                "tile outer {} row {row} col {} depth {}, {mr} x {nr}, panels of {panel} every {panel_stride}, unroll {unroll}",
                loops(outer),
                names.get(*col),
                loops(depth)
            );
            if let Some([step, pair]) = quad {
                let _ = write!(out, ", bytes {} {}", names.get(*step), names.get(*pair));
            }
            if let Some(eight) = eight {
                let _ = write!(out, ", eights {}", names.get(*eight));
            }
            out += if *watched { ", watched" } else { "" };
            out += if *straight { ", straight" } else { "" };
            out += if *by_lane { ", by lane" } else { "" };
            out += if *rhs_padded { ", padded" } else { "" };
            out += if *panels_outermost { ", panels outermost" } else { "" };
            if *prefetch > 0 {
                let _ = write!(out, ", prefetch {prefetch}");
            }
            out
        }
        Schedule::Dots(Dots { outer, row, col, depth, lane, vectors }) => {
            let along = |side: &Option<(LoopId, u32)>| {
                side.map_or("-".to_owned(), |(l, n)| format!("{} x {n}", names.get(l)))
            };
            format!(
                "dots outer {} row {} col {} depth {} lanes {} x {vectors}",
                loops(outer),
                along(row),
                along(col),
                loops(depth),
                names.get(*lane)
            )
        }
        Schedule::Stream(Stream { outer, col, width, depth, rows }) => format!(
            "stream outer {} col {} x {width} depth {} x {rows}",
            loops(outer),
            names.get(*col),
            loops(depth)
        ),
        Schedule::Digits(Digits { outer, panel, col, block, group, byte, ahead }) => format!(
            "digits panel {} outer {} col {} block {} group {} byte {}, {ahead} blocks ahead",
            names.get(*panel),
            loops(outer),
            names.get(*col),
            names.get(*block),
            names.get(*group),
            names.get(*byte)
        ),
        Schedule::Sparse(Sparse { outer, down, col, vectors, row, depth, weights }) => {
            let down = down.map_or("-".to_owned(), |(l, n)| format!("{} x {n}", names.get(l)));
            format!(
                "sparse outer {} down {down} col {} x {vectors} row {} depth {}, {} blocks of {}, unit {}, indices of {} bytes",
                loops(outer),
                col.map_or("-".to_owned(), |l| names.get(l)),
                names.get(*row),
                loops(depth),
                weights.blocks,
                weights.block,
                weights.unit,
                weights.index.bytes()
            )
        }
        Schedule::Transform(Transform { outer, lane }) => {
            format!("tiles outer {} lanes {}", loops(outer), lane.map_or("-".to_owned(), |l| names.get(l)))
        }
        Schedule::Transpose(Transpose { outer, read, write }) => {
            format!("transpose outer {} read {} write {}", loops(outer), names.get(*read), names.get(*write))
        }
    }
}
