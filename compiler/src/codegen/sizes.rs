//! The sizes of a run: open dimensions are read from the caller, or from the arena when a kernel has counted them, and are
//! checked; what follows from them is computed then.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use kiln_ir::dim::Atom;
use kiln_ir::kernel::plan::Plan;
use kiln_ir::{Bounds, Dim, Error, Result};
use kiln_runtime::abi::frame as words;
use kiln_runtime::status::Status;

use super::maker::{Checks, stack_words};

/// Sizes that are known where code is being made, with their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    bounds: Bounds,
    known: Vec<(Dim, Value)>,
}

impl Sizes {
    /// The open dimensions that the caller tells, from its list of all of them in the order of their names: a run with one
    /// that is outside its bounds ends here.
    pub(super) fn read(checks: &mut Checks<'_, '_>, list: Value, plan: &Plan) -> Self {
        let flags = MemFlagsData::new().with_notrap();
        let mut sizes = Self { bounds: plan.bounds.clone(), known: Vec::with_capacity(plan.bounds.len()) };
        for (i, name) in plan.bounds.keys().enumerate().filter(|(_, name)| !plan.is_counted(name)) {
            let value = checks.b.ins().load(types::I64, flags, list, words::WORD * i as i32);
            let outside = sizes.tell(checks.b, name, value);
            checks.fail_if(outside, Status::DimensionOutOfBounds);
        }
        sizes
    }

    /// A dimension has this value from here on; gives whether that is outside its bounds.
    pub(super) fn tell(&mut self, b: &mut FunctionBuilder<'_>, name: &str, value: Value) -> Value {
        let bound = self.bounds.get(name).copied().unwrap_or_else(|| (0, 0).into());
        // Below the least one it is a large unsigned number.
        let least = b.ins().iconst(types::I64, bound.lo);
        let above = b.ins().isub(value, least);
        let width = b.ins().iconst(types::I64, bound.hi.saturating_sub(bound.lo));
        self.known.push((Dim::symbol(name), value));
        b.ins().icmp(IntCC::UnsignedGreaterThan, above, width)
    }

    /// Whether a size follows from what has been told.
    pub(super) fn follows(&self, size: &Dim) -> bool {
        size.symbols().iter().all(|name| self.known.iter().any(|(known, _)| *known == Dim::symbol(name)))
    }

    /// How much is known, for [`Sizes::forget`].
    pub(super) fn extent(&self) -> usize {
        self.known.len()
    }

    /// Forgets what has been computed since, where it need not have been: behind a branch or a loop.
    pub(super) fn forget(&mut self, extent: usize) {
        self.known.truncate(extent);
    }

    /// A run in which an expression that must be 0 is not ends here. Those that do not follow yet are left out.
    pub(super) fn check(&mut self, checks: &mut Checks<'_, '_>, assumed: &[Dim]) -> Result<()> {
        for zero in assumed {
            if self.follows(zero) {
                let value = self.value(checks.b, zero)?;
                checks.fail_if(value, Status::DimensionOutOfBounds);
            }
        }
        Ok(())
    }

    /// The table of a plan, on the stack, as far as it follows from what has been told: its address.
    pub(super) fn table(&mut self, b: &mut FunctionBuilder<'_>, sizes: &[Dim]) -> Result<Value> {
        let table = stack_words(b, sizes.len() as u32);
        self.fill(b, table, sizes, &|_| true)?;
        Ok(table)
    }

    /// Fills those rows of a table that `wanted` names, as far as they follow.
    pub(super) fn fill(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        table: Value,
        sizes: &[Dim],
        wanted: &dyn Fn(&Dim) -> bool,
    ) -> Result<()> {
        for (i, size) in sizes.iter().enumerate() {
            if wanted(size) && self.follows(size) {
                let value = self.value(b, size)?;
                b.ins().store(MemFlagsData::new().with_notrap(), value, table, words::WORD * i as i32);
            }
        }
        Ok(())
    }

    /// An expression of open dimensions.
    pub(super) fn value(&mut self, b: &mut FunctionBuilder<'_>, size: &Dim) -> Result<Value> {
        if let Some(value) = size.as_const() {
            return Ok(b.ins().iconst(types::I64, value));
        }
        if let Some((_, value)) = self.known.iter().find(|(known, _)| known == size) {
            return Ok(*value);
        }
        let mut sum: Option<Value> = None;
        for (atoms, coefficient) in size.terms() {
            let mut term: Option<Value> = None;
            for atom in &atoms {
                let factor = self.atom(b, atom)?;
                term = Some(term.map_or(factor, |term| b.ins().imul(term, factor)));
            }
            let term = match term {
                None => b.ins().iconst(types::I64, coefficient),
                Some(term) if coefficient == 1 => term,
                Some(term) => b.ins().imul_imm_s(term, coefficient),
            };
            sum = Some(sum.map_or(term, |sum| b.ins().iadd(sum, term)));
        }
        let value = sum.unwrap_or_else(|| b.ins().iconst(types::I64, 0));
        self.known.push((size.clone(), value));
        Ok(value)
    }

    fn atom(&mut self, b: &mut FunctionBuilder<'_>, atom: &Atom) -> Result<Value> {
        match atom {
            Atom::Symbol(name) => {
                let found = self.known.iter().find(|(known, _)| *known == Dim::symbol(name));
                found
                    .map(|(_, value)| *value)
                    .ok_or_else(|| Error::internal(format!("the dimension '{name}' has no value")))
            }
            Atom::FloorDiv(dividend, divisor) => {
                if divisor.range(&self.bounds).is_none_or(|(least, _)| least <= 0) {
                    return Err(Error::unsupported(format!(
                        "a size that is divided by {divisor}, which may be 0"
                    ))
                    .hint("bind its dimensions with --dim"));
                }
                let (n, by) = (self.value(b, dividend)?, self.value(b, divisor)?);
                // Towards zero, and one less where a negative number leaves something.
                let quotient = b.ins().sdiv(n, by);
                let product = b.ins().imul(quotient, by);
                let rest = b.ins().isub(n, product);
                let less = b.ins().sshr_imm_s(rest, 63);
                Ok(b.ins().iadd(quotient, less))
            }
            Atom::Max(x, y) => {
                let (x, y) = (self.value(b, x)?, self.value(b, y)?);
                Ok(b.ins().smax(x, y))
            }
            Atom::Min(x, y) => {
                let (x, y) = (self.value(b, x)?, self.value(b, y)?);
                Ok(b.ins().smin(x, y))
            }
            Atom::Unknown => Err(Error::internal("a size that was too long to be written out")),
        }
    }
}
