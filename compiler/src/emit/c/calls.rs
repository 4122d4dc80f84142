//! The calls of `NAME_run`, with the branches and loops around them.

use std::fmt::Write as _;

use kiln_ir::kernel::outside::Outside;
use kiln_ir::kernel::plan::{Counted, FlatAccess, Plan, Storage};
use kiln_ir::kernel::regions::Step;
use kiln_ir::kernel::{Control, Repeat, Trips};
use kiln_ir::{DType, Dim, Error, Result};
use kiln_runtime::abi::frame as words;
use kiln_targets::Order;

use super::sizes::Sizes;
use crate::codegen::text::{Call, Texts};

/// Calls in the making.
pub(super) struct Calls<'a, 's> {
    pub(super) plan: &'a Plan,
    pub(super) name: &'a str,
    pub(super) texts: &'a Texts,
    /// Of the functions.
    pub(super) names: &'a [String],
    pub(super) sizes: &'s mut Sizes<'a>,
    /// Of the machine's numbers, where elements have their low byte first.
    pub(super) order: Order,
    /// Whether there is the function that shares a kernel among threads.
    pub(super) shared: bool,
    /// Whether kernels that follow each other are called from a table.
    pub(super) tables: bool,
}

/// So many kernels that follow each other are worth a table.
const LISTED: usize = 3;

/// A kernel's call where its numbers are known.
struct Row {
    function: usize,
    steps: i64,
    /// What a thread takes at least: all of it, where threads do not share it.
    grain: i64,
    /// 0 where its function reads none.
    places: usize,
}

/// The word of the frame at a distance.
pub(super) fn word(at: i32) -> i32 {
    at / words::WORD
}

impl Calls<'_, '_> {
    /// Statements that do these steps.
    pub(super) fn steps(&mut self, steps: &[Step]) -> Result<String> {
        let mut out = String::new();
        let mut left = steps;
        while let Some(step) = left.first() {
            let rows: Vec<_> = left.iter().map_while(|step| self.row(step)).collect();
            if rows.len() >= LISTED {
                out += &self.table(&rows);
                left = &left[rows.len()..];
                continue;
            }
            left = &left[1..];
            match step {
                Step::Kernel(i) => {
                    out += &self.kernel(*i)?;
                    out += &self.counted(*i)?;
                }
                Step::Region(id, inner) => {
                    let plan = self.plan;
                    let mut before = String::new();
                    let head = match &plan.regions[id.0 as usize].control {
                        Control::When { condition, is } => {
                            format!("if ({}{})", if *is { "" } else { "!" }, self.cell(condition)?)
                        }
                        Control::Loop(repeat) => {
                            let turn = format!("turn{}", id.0);
                            let head = self.head(repeat, &turn)?;
                            before = self.set_cell(&repeat.counter, &turn)?;
                            head
                        }
                    };
                    out += &std::mem::take(&mut self.sizes.text);
                    // What is computed inside is not there behind it.
                    let known = self.sizes.extent();
                    let body = before + &self.steps(inner)?;
                    self.sizes.forget(known);
                    let _ = writeln!(out, "    {head} {{");
                    for line in body.lines() {
                        let _ = writeln!(out, "    {line}");
                    }
                    out += "    }\n";
                }
            }
        }
        Ok(out)
    }

    /// A kernel's row in a table, where all about its call is known.
    fn row(&self, step: &Step) -> Option<Row> {
        let Step::Kernel(i) = step else { return None };
        let (kernel, call) = (&self.plan.kernels[*i], &self.texts.kernels[*i]);
        let has_sizes = kernel.has_sizes() && !self.plan.sizes.is_empty();
        if !self.tables || has_sizes || self.plan.counted_by(*i).next().is_some() {
            return None;
        }
        let steps = call.steps.as_const()?;
        let grain = match kernel.grain.as_ref().filter(|_| kernel.is_forked()) {
            Some(grain) => grain.as_const()?,
            None => steps,
        };
        Some(Row { function: call.function, steps, grain, places: call.places.unwrap_or(0) })
    }

    /// The calls of kernels that follow each other, as a loop.
    fn table(&self, rows: &[Row]) -> String {
        let (name, placed) = (self.name, !self.texts.places.is_empty());
        let mut out = String::from("    {\n        static const struct {\n");
        out += "            void (*kernel)(const int64_t *frame, intptr_t begin, intptr_t end);\n";
        let fields = ["steps", "grain", "places"];
        let own: Vec<&str> = fields
            .into_iter()
            .filter(|f| *f == "steps" || (*f == "grain" && self.shared) || (*f == "places" && placed))
            .collect();
        let _ = writeln!(out, "            intptr_t {};\n        }} list[] = {{", own.join(", "));
        for row in rows {
            let grain = if self.shared { format!(", {}", row.grain) } else { String::new() };
            let places = if placed { format!(", {}", row.places) } else { String::new() };
            let _ = writeln!(
                out,
                "            {{ {}, {}{grain}{places} }},",
                self.names[row.function], row.steps
            );
        }
        let _ = writeln!(out, "        }};\n        for (i = 0; i < {}; i++) {{", rows.len());
        if placed {
            let at = word(words::PLACES);
            let _ = writeln!(
                out,
                "            frame[{at}] = (int64_t)(intptr_t)({name}_places + list[i].places);"
            );
        }
        out += &match self.shared {
            true => format!(
                "            {name}_fork(list[i].kernel, frame, list[i].steps, list[i].grain, parallel_for, context);\n"
            ),
            false => "            list[i].kernel(frame, 0, list[i].steps);\n".to_owned(),
        };
        out += "        }\n    }\n";
        out
    }

    /// The head of a loop, which ends too where a kernel has left a status.
    fn head(&mut self, repeat: &Repeat<FlatAccess>, turn: &str) -> Result<String> {
        let mut go = vec![format!("frame[{}] == {}_OK", word(words::STATUS), self.name)];
        match &repeat.trips {
            None => {}
            Some(Trips::Count(size)) => go.push(format!("{turn} < {}", self.sizes.value(size)?)),
            Some(Trips::Read(cell)) => go.push(format!("{turn} < {}", self.cell(cell)?)),
        }
        if let Some(condition) = &repeat.condition {
            go.push(self.cell(condition)?);
        }
        Ok(format!("for (int64_t {turn} = 0; {}; {turn}++)", go.join(" && ")))
    }

    /// The value of a cell: a bool or an i64.
    fn cell(&self, cell: &FlatAccess) -> Result<String> {
        let (constant, at) = self.place(cell)?;
        Ok(match cell.dtype {
            DType::Bool => format!("*({constant}uint8_t *)({at})"),
            _ => self.number(constant, &at),
        })
    }

    /// The i64 at an address in the arena or beside it.
    fn number(&self, constant: &str, at: &str) -> String {
        match self.order {
            Order::LowFirst => format!("*({constant}int64_t *)({at})"),
            Order::HighFirst => format!("(int64_t)k_get_u64((intptr_t)({at}))"),
        }
    }

    /// A statement that gives a cell its value, an i64.
    fn set_cell(&self, cell: &FlatAccess, value: &str) -> Result<String> {
        let (_, at) = self.place(cell)?;
        Ok(match self.order {
            Order::LowFirst => format!("    *(int64_t *)({at}) = {value};\n"),
            Order::HighFirst => format!("    k_put_u64((intptr_t)({at}), (uint64_t){value});\n"),
        })
    }

    /// Where a cell is, as a pointer to characters, and whether these are constant.
    fn place(&self, cell: &FlatAccess) -> Result<(&'static str, String)> {
        let offset = cell.offset.as_const();
        let offset = offset.ok_or_else(|| Error::internal("a cell at an open place"))?;
        let within = offset * cell.dtype.size() as i64;
        let constant =
            if matches!(cell.storage, Storage::Input(_) | Storage::Weights { .. }) { "const " } else { "" };
        let (base, at) = match self.plan.found(cell.storage) {
            Storage::Arena { offset_bytes } => ("arena".to_owned(), offset_bytes as i64 + within),
            Storage::Weights { offset_bytes } => match self.plan.outside {
                Some(_) => ("weights".to_owned(), (offset_bytes + Outside::BYTES) as i64 + within),
                None => (format!("{}_weights", self.name), offset_bytes as i64 + within),
            },
            Storage::Input(i) => (format!("inputs[{i}]"), within),
            Storage::Output(i) => (format!("outputs[{i}]"), within),
        };
        Ok((constant, format!("({constant}char *){base} + {at}")))
    }

    fn kernel(&mut self, i: usize) -> Result<String> {
        let (kernel, call) = (&self.plan.kernels[i], &self.texts.kernels[i]);
        let steps = self.sizes.value(&call.steps)?;
        let grain = kernel.grain.as_ref().filter(|_| kernel.is_forked());
        let grain = grain.map(|grain| self.sizes.value(grain)).transpose()?;
        let mut out = std::mem::take(&mut self.sizes.text);
        let Call { function, sizes: row_of_sizes, places, .. } = call;
        let name = self.name;
        if let Some(row) = places {
            let _ = writeln!(
                out,
                "    frame[{}] = (int64_t)(intptr_t)({name}_places + {row});",
                word(words::PLACES)
            );
        }
        if kernel.has_sizes() && !self.plan.sizes.is_empty() {
            let _ = writeln!(
                out,
                "    frame[{}] = (int64_t)(intptr_t)(table + {row_of_sizes});",
                word(words::SIZES)
            );
        }
        let function = &self.names[*function];
        let _ = match grain {
            Some(grain) => writeln!(
                out,
                "    {name}_fork({function}, frame, (intptr_t)({steps}), (intptr_t)({grain}), parallel_for, context);"
            ),
            _ => writeln!(out, "    {function}(frame, 0, (intptr_t)({steps}));"),
        };
        Ok(out)
    }

    /// Statements that read the sizes that a kernel has counted, and compute what follows from them.
    fn counted(&mut self, kernel: usize) -> Result<String> {
        let (plan, name) = (self.plan, self.name);
        let mut out = String::new();
        let status = format!("frame[{}]", word(words::STATUS));
        let stop = format!("return {status} ? (int){status} : {name}_DIMENSION_OUT_OF_BOUNDS;");
        for Counted { name: size, offset_bytes, .. } in plan.counted_by(kernel) {
            let (at, bound) = plan
                .bounds
                .iter()
                .enumerate()
                .find_map(|(i, (other, bound))| (other == size).then_some((i, bound)))
                .ok_or_else(|| Error::internal(format!("the size '{size}' has no bounds")))?;
            let value = self.number("const ", &format!("(const char *)arena + {offset_bytes}"));
            let _ = writeln!(out, "    dims[{at}] = {value};");
            let _ = writeln!(out, "    if (dims[{at}] < {} || dims[{at}] > {}) {stop}", bound.lo, bound.hi);
            self.sizes.tell(size, format!("dims[{at}]"));
            let follows = |dim: &Dim| dim.symbols().contains(size);
            let filled = rows(plan, self.sizes, &follows)?;
            let mut checks = String::new();
            for zero in plan.assumed.iter().filter(|zero| follows(zero)) {
                if self.sizes.follows(zero) {
                    let _ = writeln!(checks, "    if ({} != 0) {stop}", self.sizes.value(zero)?);
                }
            }
            out += &std::mem::take(&mut self.sizes.text);
            out += &filled;
            out += &checks;
        }
        Ok(out)
    }
}

/// Statements that fill those rows of the table that `wanted` names, as far as they follow from what has been told.
pub(super) fn rows(plan: &Plan, sizes: &mut Sizes<'_>, wanted: &dyn Fn(&Dim) -> bool) -> Result<String> {
    let mut out = String::new();
    for (i, size) in plan.sizes.iter().enumerate() {
        if wanted(size) && sizes.follows(size) {
            let _ = writeln!(out, "    table[{i}] = {};", sizes.value(size)?);
        }
    }
    Ok(out)
}
