//! What would make an artefact smaller, by its plan: for reports.

use kiln_ir::DType;
use kiln_ir::kernel::Form;
use kiln_ir::kernel::plan::{FlatAccess, Plan, Slot, Storage, Weight};
use serde_json::{Value, json};

use super::alive;
use crate::variant::{self, Variant};

/// Fewer bytes than that are not worth a word.
const LEAST_BYTES: usize = 256;
const LEAST_MATRIX_BYTES: usize = 1 << 10;
/// Arenas that are smaller are not worth computing rows again.
const LEAST_STRIPS_BYTES: usize = 1 << 12;
/// Weights with so many zeros are smaller in blocks.
const MANY_ZEROS: f64 = 0.7;

/// A way to save memory: the part of the artefact, what to do, and about how many bytes that saves.
fn way(part: &str, what: String, saves_bytes: usize) -> Value {
    json!({ "part": part, "what": what, "saves_bytes": saves_bytes })
}

/// The ways there are, those that save most first.
pub(super) fn ways(variants: &[Variant<'_>]) -> Vec<Value> {
    let plan = variants[0].plan;
    let mut ways = Vec::new();
    let floats = bytes(plan, |w| is_matrix(w) && w.tensor.dtype == DType::F32);
    if floats >= LEAST_BYTES {
        // A byte for four, and a scale for each channel.
        let what = format!("{floats} bytes of weights are f32: `kiln quantize` makes them int8");
        ways.push(way("weights", what, floats * 3 / 4));
    }
    let sparse = bytes(plan, |w| is_matrix(w) && zeros(w) >= MANY_ZEROS);
    if sparse >= LEAST_BYTES {
        let what = format!(
            "{sparse} bytes of weights are kept dense though {:.0} % and more of them are zero: zeros in blocks of 4x1 \
             (`kiln prune`) leave a tenth",
            100.0 * MANY_ZEROS
        );
        ways.push(way("weights", what, sparse / 2));
    }
    if let [_, .., best] = variants {
        let code = variants.len() - 1;
        let what = format!(
            "there is code for {} levels: `--cpu {}` alone leaves out {code} of them",
            variants.len(),
            best.target.name()
        );
        ways.push(way("code", what, 0));
    }
    let (arena, least) = (variant::arena_bytes(variants), plan.arena_lower_bound_bytes);
    if arena >= least + LEAST_BYTES {
        let what = format!("{least} bytes are alive at one time; the rest of the arena is gaps between");
        ways.push(way("arena", what, arena - least));
    }
    if let Some(peak) = alive::peak(plan) {
        let slots = peak.slots.iter().map(|i| &plan.slots[*i]);
        let wide: usize = slots.filter(|slot| is_float(plan, &slot.name)).map(|slot| slot.bytes).sum();
        if wide >= LEAST_BYTES {
            let what = format!(
                "at the peak, kernel '{}', {wide} bytes are f32: of an int8 model they are a quarter",
                plan.kernels[peak.kernel].name
            );
            ways.push(way("arena", what, wide * 3 / 4));
        }
        ways.extend(in_place(plan, &peak));
    }
    // How much that is takes a search that not everybody should wait for.
    let windows =
        plan.kernels.iter().filter(|k| matches!(k.form, Form::Window { .. } | Form::Contract { .. }));
    if arena >= LEAST_STRIPS_BYTES && windows.count() > 1 {
        let what = "layers that run in strips of rows keep less between them: `--arena-limit N` makes them, or says what the least is";
        ways.push(way("arena", what.to_owned(), 0));
    }
    ways.sort_by_key(|way| std::cmp::Reverse(way["saves_bytes"].as_u64()));
    ways
}

/// Where what is needed most begins in a kernel in whose value an operand of its size ends: why it does not lie over
/// that.
fn in_place(plan: &Plan, peak: &alive::Peak) -> Option<Value> {
    let (position, kernel) = (peak.kernel, plan.kernels.get(peak.kernel)?);
    let begins = |s: &&Slot| s.live.0 == position && s.over.is_none() && s.bytes >= LEAST_BYTES;
    let slots = || peak.slots.iter().filter_map(|i| plan.slots.get(*i));
    let is_at = |a: &FlatAccess, s: &Slot| a.storage == Storage::Arena { offset_bytes: s.offset_bytes };
    let mut result = slots().filter(begins);
    let result = result.find(|s| kernel.form.parts().stores.iter().any(|store| is_at(&store.to, s)))?;
    let read_in_value = |s: &Slot| {
        let mut found = false;
        let stores = kernel.form.parts().stores.iter();
        stores.for_each(|store| store.value.for_each_access(&mut |a| found |= is_at(a, s)));
        found
    };
    let ends = |s: &&Slot| s.live.1 == position && s.live.0 < position && s.bytes == result.bytes;
    let operand = slots().filter(ends).find(|s| read_in_value(s))?;
    let what = format!(
        "at the peak, kernel '{}', '{}' does not lie over '{}', which nobody reads later: the kernel reads that elsewhere than \
         where it writes, or writes more than it, or the arena would be larger",
        kernel.name, result.name, operand.name
    );
    Some(way("arena", what, result.bytes))
}

/// Whether a buffer is of f32.
fn is_float(plan: &Plan, name: &str) -> bool {
    let mut accesses = plan.kernels.iter().flat_map(|k| k.form.loads().into_iter().chain(k.form.stores()));
    accesses.any(|a| a.name == name && a.dtype == DType::F32)
}

/// The bytes of distinct weights of a kind.
fn bytes(plan: &Plan, is: impl Fn(&Weight) -> bool) -> usize {
    let found = plan.weights.iter().filter(|w| is(w)).map(|w| (w.offset_bytes, w.tensor.data.len()));
    found.collect::<std::collections::BTreeMap<_, _>>().values().sum()
}

/// Whether they are many enough to be multiplied, as biases and scales are not.
fn is_matrix(weight: &Weight) -> bool {
    weight.tensor.data.len() >= LEAST_MATRIX_BYTES
}

/// The part of the elements that is zero.
fn zeros(weight: &Weight) -> f64 {
    let (size, data) = (weight.tensor.dtype.size().max(1), &weight.tensor.data);
    let count = data.len() / size;
    let zero = data.chunks_exact(size).filter(|e| e.iter().all(|b| *b == 0)).count();
    zero as f64 / count.max(1) as f64
}
