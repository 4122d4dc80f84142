//! The functions that a host calls: what `codegen::run` makes for machines, as text.

use std::fmt::Write as _;

use kiln_ir::kernel::outside::Outside;
use kiln_ir::kernel::plan::{Copied, Plan, PlannedKernel, Port};
use kiln_ir::{Dim, Result};
use kiln_runtime::abi::frame as words;
use kiln_targets::Order;

use super::calls::{Calls, rows, word};
use super::sizes::Sizes;
use crate::codegen::text::Texts;

/// `NAME_run`, `NAME_run_parallel` and what they are made of.
/// `tables`: kernels that follow each other are called from a table, which is less code than calls.
pub(super) fn render(
    plan: &Plan,
    name: &str,
    texts: &Texts,
    names: &[String],
    order: Order,
    tables: bool,
) -> Result<String> {
    let open = !plan.bounds.is_empty();
    let (argument, pass) =
        if open { (format!(", {name}_sizes *sizes"), ", sizes") } else { (String::new(), "") };
    let (argument, pass) = match plan.outside {
        None => (argument, pass.to_owned()),
        Some(_) => (format!(", const void *weights{argument}"), format!(", weights{pass}")),
    };
    let shared = shares(plan);
    let mut out = String::new();
    if !texts.places.is_empty() {
        let list: Vec<String> = texts.places.iter().map(ToString::to_string).collect();
        let _ = write!(
            out,
            "\n/* Where kernels that share a function have their operands, in bytes from the start of arena or read-only data. */
static const int64_t {name}_places[{}] = {{ {} }};\n",
            list.len(),
            list.join(", ")
        );
    }
    if shared {
        out += &fork(name);
    }
    let run = body(plan, name, texts, names, order, shared, tables)?;
    let _ = write!(
        out,
        "
int {name}_run_parallel(const void *const *inputs, void *const *outputs, void *arena{argument},
                        {name}_parallel_for parallel_for, void *context) {{
{run}}}

int {name}_run(const void *const *inputs, void *const *outputs, void *arena{argument}) {{
    return {name}_run_parallel(inputs, outputs, arena{pass}, NULL, NULL);
}}
"
    );
    Ok(out)
}

/// Words of the arrays that `NAME_run` keeps: the frame, the callers' lists in it, and the table of sizes.
fn arrays(plan: &Plan) -> [usize; 4] {
    [words::WORDS as usize, plan.inputs.len().max(1), plan.outputs.len().max(1), plan.sizes.len()]
}

/// Bytes of the arrays that a call keeps on the stack: those of `NAME_run`, since kernels have none. What registers are saved there
/// and what variables lie there is up to the C compiler.
pub fn local_bytes(plan: &Plan) -> usize {
    arrays(plan).iter().map(|n| n * words::WORD as usize).sum()
}

/// Whether threads share a kernel.
fn shares(plan: &Plan) -> bool {
    plan.kernels.iter().any(PlannedKernel::is_forked)
}

fn fork(name: &str) -> String {
    format!(
        "
/* A kernel in pieces: the caller's threads run {name}_piece for each. */
typedef struct {{
    void (*kernel)(const int64_t *frame, intptr_t begin, intptr_t end);
    const int64_t *frame;
    intptr_t steps, grain;
}} {name}_closure;

static void {name}_piece(void *closure, size_t index) {{
    const {name}_closure *c = (const {name}_closure *)closure;
    intptr_t begin = (intptr_t)index * c->grain, end = begin + c->grain;
    c->kernel(c->frame, begin, end < c->steps ? end : c->steps);
}}

static void {name}_fork(void (*kernel)(const int64_t *, intptr_t, intptr_t), const int64_t *frame, intptr_t steps,
                        intptr_t grain, {name}_parallel_for parallel_for, void *context) {{
    if (!parallel_for || steps <= grain) {{
        kernel(frame, 0, steps);
    }} else {{
        {name}_closure closure;
        closure.kernel = kernel;
        closure.frame = frame;
        closure.steps = steps;
        closure.grain = grain;
        parallel_for(context, {name}_piece, &closure, (size_t)((steps + grain - 1) / grain));
    }}
}}
"
    )
}

fn is_empty(port: &Port) -> bool {
    port.ty.shape.iter().any(|d| d.is(0))
}

fn body(
    plan: &Plan,
    name: &str,
    texts: &Texts,
    names: &[String],
    order: Order,
    shared: bool,
    tables: bool,
) -> Result<String> {
    let mut out = String::new();
    let (ins, outs) = (plan.inputs.len(), plan.outputs.len());
    let [frame, listed_in, listed_out, rows_of_sizes] = arrays(plan);
    let _ = writeln!(out, "    int64_t frame[{frame}], in[{listed_in}], out[{listed_out}];\n    int i;");
    for (list, ports) in [("inputs", &plan.inputs), ("outputs", &plan.outputs)] {
        if ports.is_empty() {
            let _ = writeln!(out, "    (void){list};");
            continue;
        }
        let mut tests = vec![format!("!{list}")];
        let full = ports.iter().enumerate().filter(|(_, p)| !is_empty(p));
        tests.extend(full.map(|(i, _)| format!("!{list}[{i}]")));
        let _ = writeln!(out, "    if ({}) return {name}_NULL_POINTER;", tests.join(" || "));
    }
    if plan.arena_bytes > 0 {
        let _ = write!(
            out,
            "    if (!arena) return {name}_NULL_POINTER;
    if ((uintptr_t)arena % {name}_ARENA_ALIGN) return {name}_MISALIGNED_ARENA;\n"
        );
    }
    if let Some(outside) = plan.outside {
        let known = outside.to_bytes();
        let known: Vec<String> = known[..8 * Outside::WORDS].iter().map(u8::to_string).collect();
        let _ = write!(
            out,
            "    static const unsigned char known[{}] = {{ {} }};
    if (!weights) return {name}_NULL_POINTER;
    if ((uintptr_t)weights % {name}_WEIGHTS_ALIGN) return {name}_MISALIGNED_WEIGHTS;
    for (i = 0; i < {0}; i++) {{
        if (((const unsigned char *)weights)[i] != known[i]) return {name}_OTHER_WEIGHTS;
    }}
",
            known.len(),
            known.join(", ")
        );
    }
    let mut sizes = Sizes::new(plan, "dims");
    let mut checks = String::new();
    if !plan.bounds.is_empty() {
        // The struct has nothing but numbers of 64 bits, in this order.
        let (read, cast) = if plan.counted.is_empty() { ("const ", "const ") } else { ("", "") };
        let _ = writeln!(out, "    {read}int64_t *const dims = ({cast}int64_t *)sizes;");
        let _ = writeln!(out, "    if (!sizes) return {name}_NULL_POINTER;");
        for (i, (name_, bound)) in plan.bounds.iter().enumerate() {
            if plan.is_counted(name_) {
                continue;
            }
            let _ = writeln!(
                out,
                "    if (dims[{i}] < {} || dims[{i}] > {}) return {name}_DIMENSION_OUT_OF_BOUNDS;",
                bound.lo, bound.hi
            );
        }
        let told: Vec<&Dim> = plan.assumed.iter().filter(|zero| sizes.follows(zero)).collect();
        for zero in told {
            let value = sizes.value(zero)?;
            let _ = writeln!(checks, "    if ({value} != 0) return {name}_DIMENSION_OUT_OF_BOUNDS;");
        }
    }
    let table = &plan.sizes;
    let mut copies = String::new();
    for Copied { input, offset_bytes } in &plan.copied {
        let port = &plan.inputs[*input];
        let (n, bytes) = (sizes.value(&port.ty.shape.elements())?, port.ty.dtype.size());
        let to = format!("(char *)arena + {offset_bytes}");
        let _ = writeln!(copies, "    k_turn({to}, inputs[{input}], (size_t)({n}), {bytes});");
        let _ = writeln!(copies, "    in[{input}] = (int64_t)(intptr_t)({to});");
    }
    let mut filled = rows(plan, &mut sizes, &|_| true)?;
    for (kernel, call) in plan.kernels.iter().zip(&texts.kernels) {
        for size in [Some(&call.steps), kernel.grain.as_ref()].into_iter().flatten() {
            if size.as_const().is_none() && sizes.follows(size) {
                sizes.value(size)?;
            }
        }
    }
    out += &std::mem::take(&mut sizes.text);
    out += &checks;
    if !table.is_empty() {
        let _ = writeln!(out, "    int64_t table[{rows_of_sizes}];");
        out += &std::mem::take(&mut filled);
    }
    let address = |list: &str| format!("(int64_t)(intptr_t){list}");
    let weights = match plan.outside {
        Some(_) => address(&format!("((const char *)weights + {})", Outside::BYTES)),
        None if plan.weights_bytes > 0 => address(&format!("{name}_weights")),
        None => "0".to_owned(),
    };
    if ins > 0 {
        let _ = writeln!(out, "    for (i = 0; i < {ins}; i++) in[i] = (int64_t)(intptr_t)inputs[i];");
    }
    out += &copies;
    if outs > 0 {
        let _ = writeln!(out, "    for (i = 0; i < {outs}; i++) out[i] = (int64_t)(intptr_t)outputs[i];");
    }
    if ins + outs == 0 {
        out += "    (void)i;\n";
    }
    for (at, value) in [
        (words::ARENA, address("arena")),
        (words::WEIGHTS, weights),
        (words::INPUTS, address("in")),
        (words::OUTPUTS, address("out")),
        (words::STATUS, format!("{name}_OK")),
        (words::PLACES, "0".to_owned()),
        (words::SIZES, "0".to_owned()),
    ] {
        let _ = writeln!(out, "    frame[{}] = {value};", word(at));
    }
    // What loops and calls ask for is computed before the first, where it is known then.
    out +=
        &Calls { plan, name, texts, names, sizes: &mut sizes, order, shared, tables }.steps(&plan.steps())?;
    if order == Order::HighFirst {
        for (i, port) in plan.outputs.iter().enumerate().filter(|(_, port)| port.ty.dtype.size() > 1) {
            let (n, bytes) = (sizes.value(&port.ty.shape.elements())?, port.ty.dtype.size());
            out += &std::mem::take(&mut sizes.text);
            let _ = writeln!(out, "    k_turn(outputs[{i}], outputs[{i}], (size_t)({n}), {bytes});");
        }
    }
    if !shared {
        out += "    (void)parallel_for;\n    (void)context;\n";
    }
    let _ = writeln!(out, "    return (int)frame[{}];", word(words::STATUS));
    Ok(out)
}
