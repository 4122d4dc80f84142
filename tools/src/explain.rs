//! How a kernel is compiled, and why, in words.

use std::collections::BTreeMap;

use kiln_compiler::internals::peak;
use kiln_compiler::internals::work::Products;
use kiln_ir::error::Printable;
use kiln_ir::kernel::plan::{FlatAccess, Plan, PlannedKernel, Provider, Schedule, Shared, Storage};
use kiln_ir::kernel::{Form, LoopId, Role};
use kiln_targets::Target;
use serde_json::{Value, json};

use super::NOTE;
use super::table::{self, Room};

/// Columns before what is told under a title.
const INDENT: usize = 15;

/// The text of a kernel with its long lines broken on a terminal; elsewhere each stays one line, to be searched.
pub fn fit(text: &str, room: Room) -> String {
    if !room.elide {
        return text.to_owned();
    }
    let lines = text.lines().flat_map(|line| {
        let (title, rest) =
            line.split_at_checked(INDENT).filter(|_| line.starts_with(' ')).unwrap_or(("", line));
        let room = if title.is_empty() { usize::MAX } else { room.width.saturating_sub(INDENT) };
        let told = table::wrap(rest, room).into_iter().enumerate();
        told.map(move |(i, part)| format!("{:1$}{part}", if i == 0 { title } else { "" }, title.len()))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The kernel's loops; those that are summed over have a plus.
fn loops(kernel: &PlannedKernel) -> Vec<String> {
    let text = |l: &kiln_ir::kernel::Loop| {
        let sign = if l.role == Role::Reduce { "+" } else { "" };
        format!("{sign}{}={}", l.name, l.extent)
    };
    kernel.loops.iter().map(text).collect()
}

/// Whether single elements are handled one by one: the slowest way that there is.
pub fn in_plain_loops(kernel: &PlannedKernel) -> bool {
    kernel.provider == Provider::Plain
}

/// Behind the name of a kernel in plain loops.
fn mark(kernel: &PlannedKernel) -> String {
    if in_plain_loops(kernel) { format!(" {NOTE}in plain loops{NOTE:#}") } else { String::new() }
}

/// What is needed to tell of a kernel.
pub struct Explain<'a> {
    /// The plan that the kernels are of.
    pub plan: &'a Plan,
    /// Types of buffers by name.
    pub types: &'a BTreeMap<String, String>,
    /// What it is for.
    pub target: &'a Target,
}

impl Explain<'_> {
    /// What is multiplied, where that is integers.
    fn products(&self, kernel: &PlannedKernel) -> Option<Products> {
        Some(Products::of(kernel, self.target)).filter(|p| *p != Products::Floats)
    }

    /// What a core of this machine makes of the products of integers, if the code is for such a machine.
    pub fn limits(&self) -> Vec<(Products, f64)> {
        let made: Vec<Products> = self.plan.kernels.iter().filter_map(|k| self.products(k)).collect();
        if made.is_empty() {
            return Vec::new();
        }
        let mut rates = peak::integers(self.target).unwrap_or_default();
        rates.retain(|(products, _)| made.contains(products));
        rates
    }

    /// The accesses that read weights, with the format of these.
    fn weights(&self, kernel: &PlannedKernel) -> Vec<String> {
        let panels = match (&kernel.form, &kernel.schedule) {
            (Form::Contract { rhs, .. }, Schedule::Tile(tile)) if tile.rhs_padded => Some((rhs, tile.panel)),
            _ => None,
        };
        let format = |access: &FlatAccess| {
            let Storage::Weights { offset_bytes } = access.storage else { return None };
            let weight = self.plan.weights.iter().find(|w| w.offset_bytes == offset_bytes);
            let bytes = weight.map_or(0, |w| w.tensor.data.len());
            let packed = match panels {
                Some((rhs, panel)) if rhs.storage == access.storage => {
                    format!(", packed in panels of {panel} columns")
                }
                _ => String::new(),
            };
            Some(format!("{}{packed}, {bytes} bytes", self.typed(access)))
        };
        let mut list: Vec<String> = kernel.form.loads().into_iter().filter_map(format).collect();
        list.dedup();
        list
    }

    /// The accesses that read and write activations: name, type, where.
    fn activations(&self, accesses: &[&FlatAccess]) -> Vec<String> {
        let tell = |access: &&FlatAccess| {
            let place = match access.storage {
                Storage::Input(_) => "input",
                Storage::Output(_) => "output",
                Storage::Arena { .. } => "arena",
                Storage::Weights { .. } => return None,
            };
            let how = if !access.gathers.is_empty() {
                ", gathered"
            } else if !access.guards.is_empty() {
                ", tested against its border"
            } else {
                ""
            };
            Some(format!("{}, {place}{how}", self.typed(access)))
        };
        let mut list: Vec<String> = accesses.iter().filter_map(tell).collect();
        list.dedup();
        list
    }

    fn typed(&self, access: &FlatAccess) -> String {
        let ty = self.types.get(&access.name).cloned().unwrap_or_else(|| access.dtype.to_string());
        format!("{} {ty}", Printable(&access.name))
    }

    /// Kernel `i` in lines.
    pub fn text(&self, i: usize, kernel: &PlannedKernel) -> String {
        let nodes: Vec<String> = kernel.nodes.iter().map(|n| Printable(n).to_string()).collect();
        let nodes = if nodes.is_empty() {
            "none: fills the border of a padded tensor".to_owned()
        } else {
            nodes.join(", ")
        };
        let mut lines = vec![
            format!("kernel {i} {} ({}){}", Printable(&kernel.name), kernel.form.name(), mark(kernel)),
            format!("  nodes        {nodes}"),
            format!("  loops        {}", loops(kernel).join(" ")),
        ];
        let several = |title: &'static str, list: Vec<String>| {
            list.into_iter().map(move |x| format!("  {title:12} {x}"))
        };
        lines.extend(several("reads", self.activations(&kernel.form.loads())));
        lines.extend(several("weights", self.weights(kernel)));
        lines.extend(several("writes", self.activations(&kernel.form.stores())));
        let over =
            self.plan.slots.iter().filter(|slot| slot.live.0 == i).filter_map(|slot| slot.over.as_ref());
        let over = over.map(|name| format!("{}, which ends here, in its storage", Printable(name)));
        lines.extend(several("over", over.collect()));
        lines.push(format!("  microkernel  {}, {}", microkernel(kernel), self.level(kernel.provider)));
        lines.push(format!("  schedule     {}", schedule(kernel)));
        if let Some(products) = self.products(kernel) {
            lines.push(format!("  products     {}", products.name()));
        }
        lines.push(format!("  threads      {}", threads(kernel)));
        if !kernel.why.is_empty() {
            lines.push(format!("  why          {}", Printable(&kernel.why)));
        }
        lines.join("\n")
    }

    /// The level, the width of vectors, and who makes the code.
    fn level(&self, provider: Provider) -> String {
        let bits = 8 * provider.vector_bytes();
        let by = match provider {
            Provider::Plain => return "element by element".to_owned(),
            Provider::Portable { .. } => "Cranelift",
            Provider::Encoder { .. } => "the encoder",
        };
        let all = 8 * self.target.vector_bytes;
        let of = if bits as usize == all { String::new() } else { format!(" of {all}") };
        format!("{} with {bits}{of} bits by {by}", self.target.name())
    }

    /// The same as JSON.
    pub fn object(&self, kernel: &PlannedKernel) -> Value {
        json!({
            "name": kernel.name,
            "form": kernel.form.name(),
            "nodes": kernel.nodes,
            "loops": kernel.loops.iter().map(|l| json!({
                "name": l.name,
                "extent": l.extent.as_const().map_or_else(|| json!(l.extent.to_string()), |n| json!(n)),
                "reduced": l.role == Role::Reduce,
            })).collect::<Vec<_>>(),
            "reads": self.activations(&kernel.form.loads()),
            "weights": self.weights(kernel),
            "writes": self.activations(&kernel.form.stores()),
            "microkernel": microkernel(kernel),
            "level": self.target.name(),
            "vector_bits": 8 * kernel.provider.vector_bytes(),
            "schedule": schedule(kernel),
            "products": self.products(kernel).map(Products::name),
            "grain": kernel.grain.as_ref().map(|n| n.as_const().map_or_else(|| json!(n.to_string()), |n| json!(n))),
            "why": kernel.why,
        })
    }
}

/// What threads share, and how much of it one takes at a time.
fn threads(kernel: &PlannedKernel) -> String {
    let (Some(grain), Some(Shared { along, step })) = (&kernel.grain, kernel.shared) else {
        return "one: sharing would cost more than it saves".to_owned();
    };
    let name = kernel.loops.get(along.0 as usize).map_or("?", |l| &*l.name);
    let of = if step == 1 { String::new() } else { format!(" of {step}") };
    let steps = kernel.steps().map_or("open".to_owned(), |n| n.to_string());
    format!("take {grain} of {steps} steps{of} along {name} at a time")
}

fn schedule(kernel: &PlannedKernel) -> String {
    let name = |id: &LoopId| kernel.loops.get(id.0 as usize).map_or("?", |l| &*l.name);
    let names = |ids: &[LoopId]| ids.iter().map(name).collect::<Vec<_>>().join(" ");
    match &kernel.schedule {
        Schedule::Scalar { order } => format!("scalar loops [{}]", names(order)),
        Schedule::Nest(nest) => {
            let tile = nest.tile.as_ref().map(|(l, n)| format!(", {n} iterations of {} at once", name(l)));
            format!(
                "vectors along {}, {} at once{}, loops [{}]",
                name(&nest.vector),
                nest.vectors,
                tile.unwrap_or_default(),
                names(&nest.order)
            )
        }
        Schedule::Tile(tile) => format!(
            "tiles of {} x {} ({} x {}), depth [{}] {}{}, loops [{}]",
            tile.mr,
            tile.nr,
            tile.row.as_ref().map_or("1", name),
            name(&tile.col),
            names(&tile.depth),
            if tile.straight {
                "in a straight line".to_owned()
            } else {
                format!("unrolled by {}", tile.unroll)
            },
            if tile.by_lane { ", lane by lane" } else { "" },
            names(&tile.outer)
        ),
        Schedule::Dots(dots) => {
            let side = |side: &Option<(LoopId, u32)>| {
                side.map_or("1".to_owned(), |(l, n)| format!("{n} {}", name(&l)))
            };
            format!(
                "dot products of {} x {} at once, lanes along {}, {} vectors at once, depth [{}], loops [{}]",
                side(&dots.row),
                side(&dots.col),
                name(&dots.lane),
                dots.vectors,
                names(&dots.depth),
                names(&dots.outer)
            )
        }
        Schedule::Stream(stream) => format!(
            "{} rows along [{}] at once, {} columns of {} at a time, loops [{}]",
            stream.rows,
            names(&stream.depth),
            stream.width,
            name(&stream.col),
            names(&stream.outer)
        ),
        Schedule::Digits(d) => format!(
            "panels along {}, blocks along {} in groups along {}, numbers in digits, loops [{}]",
            name(&d.panel),
            name(&d.block),
            name(&d.group),
            names(&d.outer)
        ),
        Schedule::Sparse(s) => format!(
            "{} blocks of {}, {} vectors along {}{}, loops [{}]",
            s.weights.blocks,
            s.weights.block,
            s.vectors,
            name(&s.col.unwrap_or(s.row)),
            s.down.as_ref().map_or(String::new(), |(l, n)| format!(" x {n} {}", name(l))),
            names(&s.outer)
        ),
        Schedule::Transpose(t) => {
            format!("square blocks of {} x {}, loops [{}]", name(&t.read), name(&t.write), names(&t.outer))
        }
        Schedule::Transform(t) => format!(
            "whole tiles, vectors along {}, loops [{}]",
            t.lane.as_ref().map_or("nothing", name),
            names(&t.outer)
        ),
    }
}

/// The code that does the innermost work.
pub fn microkernel(kernel: &PlannedKernel) -> String {
    match &kernel.schedule {
        Schedule::Scalar { .. } => "scalar".to_owned(),
        Schedule::Nest(nest) => format!("nest_{}", nest.vectors),
        Schedule::Tile(tile) => format!("tile_{}x{}", tile.mr, tile.nr),
        Schedule::Dots(dots) => {
            let size = |side: Option<(LoopId, u32)>| side.map_or(1, |(_, n)| n);
            format!("dots_{}x{}", size(dots.row), size(dots.col))
        }
        Schedule::Stream(stream) => format!("stream_{}", stream.rows),
        Schedule::Digits(_) => "digits".to_owned(),
        Schedule::Sparse(s) => {
            format!("sparse_{}_{}", s.weights.block, s.vectors * s.down.map_or(1, |d| d.1))
        }
        Schedule::Transpose(_) => "transpose".to_owned(),
        Schedule::Transform(_) => match &kernel.form {
            Form::Transform { left, .. } => {
                let size = |axis: usize| left.matrix.shape.get(axis).copied().unwrap_or_default();
                format!("transform_{}_{}", size(1), size(0))
            }
            form => form.name().to_owned(),
        },
    }
}
