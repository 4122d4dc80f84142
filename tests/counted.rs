//! Sizes that are data: graphs whose results have extents that only a run can tell, at six points of the way, in C and on
//! every level of this machine. As libraries they stand between guard pages, and tell the sizes that they have counted.

use std::process::{Command, ExitCode};

use kiln_compiler::internals::emit::jit;
use kiln_compiler::internals::passes::{bind, infer};
use kiln_compiler::internals::pipeline;
use kiln_ir::dim::Symbols;
use kiln_ir::graph::{self, Graph};
use kiln_ir::{DType, Tensor};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::{Outcome, random, stages, text, tools};
use libtest_mimic::{Arguments, Failed, Trial};

/// Name and body of a graph of inputs with small numbers, some of which are zero. Of integers the elements stand in the name.
const GRAPHS: &[(&str, &str)] = &[
    ("found", "input %x: f32[4, 5] %y = NonZero(%x)"),
    ("of_bools", "input %x: f32[37] const @z: f32[] = [1.5] %b = Greater(%x, @z) %y = NonZero(%b)"),
    ("turned", "input %x: f32[3, 4, 5] %p = NonZero(%x) %y = Transpose(%p)"),
    (
        "taken",
        "input %x: f32[20] input %z: f32[20, 6] %p = NonZero(%x) const @a: i64[1] = [0] %i = Squeeze(%p, @a) \
        %y = Gather(%z, %i)",
    ),
    (
        "sums_of_what_is_left",
        "input %x: f32[40] input %z: f32[40, 33] %p = NonZero(%x) const @a: i64[1] = [0] %i = Squeeze(%p, @a) \
        %g = Gather(%z, %i) %t = Tanh(%g) %y = ReduceSum(%t, @a) {keepdims = 0}",
    ),
    (
        "products_of_what_is_left",
        "input %x: f32[30] input %z: f32[30, 20] input %v: f32[20, 24] %p = NonZero(%x) const @a: i64[1] = [0] \
        %i = Squeeze(%p, @a) %g = Gather(%z, %i) %m = MatMul(%g, %v) %y = Relu(%m)",
    ),
    ("how_many", "input %x: f32[6, 7] %p = NonZero(%x) %y = Shape(%p)"),
    (
        "two_counts",
        "input %x: f32[9] input %z: f32[7] %p = NonZero(%x) %q = NonZero(%z) %y = Concat(%p, %q) {axis = 1}",
    ),
    ("of_an_open_batch", "input %x: f32[n, 6] %y = NonZero(%x)"),
    (
        "rows_of_an_open_batch",
        "input %x: f32[n] input %z: f32[n, 17] %p = NonZero(%x) const @a: i64[1] = [0] %i = Squeeze(%p, @a) \
        %g = Gather(%z, %i) %y = Exp(%g)",
    ),
    ("same_twice", "input %x: f32[9] %p = NonZero(%x) %q = NonZero(%x) %y = Add(%p, %q)"),
    (
        "compressed_rows",
        "input %x: f32[7] input %z: f32[9, 5] const @o: f32[] = [0.5] %c = Greater(%x, @o) %a = Compress(%z, %c) {axis = 0} \
        %y = Neg(%a)",
    ),
    (
        "compressed_elements",
        "input %x: f32[12] input %z: f32[3, 4] const @o: f32[] = [0.5] %c = Greater(%x, @o) %y = Compress(%z, %c)",
    ),
    ("distinct", "input %x: f32[23] %y, %i, %v, %c = Unique(%x)"),
    (
        "distinct_rows_as_found",
        "input %x: f32[9, 2] %y, %i, %v, %c = Unique(%x) {axis = 0, sorted = 0} output %i output %v output %c",
    ),
    // Of one of the inputs all elements differ, of another some do.
    ("many_distinct", "input %x: f32[500] %y, %i, %v, %c = Unique(%x) output %i output %v output %c"),
    (
        "many_distinct_rows_as_found",
        "input %x: f32[300, 2] %y, %i, %v, %c = Unique(%x) {axis = 0, sorted = 0} output %i output %v output %c",
    ),
    ("distinct_of_an_open_batch", "input %x: f32[n, 3] %a, %i, %y, %c = Unique(%x) output %a output %c"),
    (
        "boxes",
        "input %x: f32[2, 11, 4] input %z: f32[2, 3, 11] input %k_4: i64[1] const @o: f32[] = [0.3] \
        %y = NonMaxSuppression(%x, %z, %k_4, @o)",
    ),
    (
        "many_boxes",
        "input %x: f32[1, 90, 4] input %z: f32[1, 1, 90] const @k: i64[] = [40] const @o: f32[] = [0.2] \
        const @t: f32[] = [0.5] %y = NonMaxSuppression(%x, %z, @k, @o, @t)",
    ),
    (
        "centred_boxes_of_an_open_batch",
        "input %x: f32[n, 9, 4] input %z: f32[n, 2, 9] const @k: i64[] = [3] const @o: f32[] = [0.3] \
        const @t: f32[] = [0.1] %y = NonMaxSuppression(%x, %z, @k, @o, @t) {center_point_box = 1}",
    ),
    (
        "counted_up",
        "bound y = 40 input %k_3: i64[] input %k_30: i64[] input %k_4: i64[] %y = Range(%k_3, %k_30, %k_4)",
    ),
    (
        "counted_down",
        "bound y = 40 input %k_30: i64[] input %k_3: i64[] input %k_m4: i64[] %y = Range(%k_30, %k_3, %k_m4)",
    ),
    (
        "counted_in_floats",
        "bound y = 40 input %k_5: i64[] const @a: f32[] = [0.25] const @d: f32[] = [0.3] %l = Cast(%k_5) {to = 1} \
        %y = Range(@a, %l, @d)",
    ),
    ("best_few", "input %x: f32[5, 20] input %k_7: i64[1] %y, %i = TopK(%x, %k_7) {axis = 1} output %i"),
    (
        "cut_out",
        "input %x: f32[8, 9, 3] input %k_m5_1: i64[2] input %k_7_m2: i64[2] %a = Slice(%x, %k_m5_1, %k_7_m2) %y = Tanh(%a)",
    ),
    (
        "cut_backwards",
        "input %x: f32[8, 9] input %k_9_4: i64[2] input %k_m99_1: i64[2] const @a: i64[2] = [0, 1] \
        const @s: i64[2] = [-2, 1] %y = Slice(%x, %k_9_4, %k_m99_1, @a, @s)",
    ),
    (
        "filled",
        "bound a = 6x9 input %k_3_7: i64[2] input %z: f32[7] %a = ConstantOfShape(%k_3_7) %y = Add(%a, %z)",
    ),
    (
        "repeated",
        "bound a = 9x30 input %x: f32[3, 5] input %k_2_4: i64[2] %a = Tile(%x, %k_2_4) %y = Tanh(%a)",
    ),
    ("expanded", "bound y = 6x5 input %x: f32[1, 5] input %k_4_5: i64[2] %y = Expand(%x, %k_4_5)"),
    (
        "reshaped",
        "bound y = 24 input %x: f32[4, 6] input %k_3_8: i64[2] %t = Tanh(%x) %y = Reshape(%t, %k_3_8)",
    ),
    (
        "on",
        "bound y = 3x9 input %k_7: i64[] const @i: i64[3] = [2, 0, -1] const @v: f32[2] = [0.0, 1.0] %y = OneHot(@i, %k_7, @v)",
    ),
    (
        "resized",
        "bound y = 1x2x20x20 input %x: f32[1, 2, 5, 4] input %k_1_2_9_7: i64[4] \
        %y = Resize(%x, _, _, %k_1_2_9_7) {mode = \"linear\"}",
    ),
    (
        "by_one_number",
        "bound r = 12 input %k_5: i64[1] input %z: f32[12, 6] const @none: i64[] = [0] const @one: i64[] = [1] \
        const @a: i64[1] = [0] %q = Squeeze(%k_5, @a) %r = Range(@none, %q, @one) %g = Gather(%z, %r) \
        const @s: i64[1] = [6] %c = Concat(%k_5, @s) {axis = 0} %f = ConstantOfShape(%c) %y = Add(%g, %f)",
    ),
];

/// The same of loops: how often they run, or what they carry, is known to a run alone.
const LOOPS: &[(&str, &str)] = &[
    (
        "scanned_by_a_count",
        "bound all = 9 input %k_5: i64[] input %x: f32[3, 17] %last, %all = Loop(%k_5, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] %t = Tanh(%s) %f = Cast(%i) {to = 1} %u = Add(%t, %f) \
        output %go output %t output %u }} %y = Neg(%all) output %last",
    ),
    (
        "scanned_to_the_last_place",
        "bound all = 9 input %k_9: i64[] input %x: f32[17] %last, %all = Loop(%k_9, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] %t = Tanh(%s) output %go output %t output %s }} %y = Exp(%all)",
    ),
    (
        "scanned_by_a_negative_count",
        "bound k_m2 = 9 input %k_m2: i64[] input %x: f32[17] %last, %all = Loop(%k_m2, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] %t = Tanh(%s) output %go output %t output %s }} %y = Exp(%all)",
    ),
    (
        "scanned_while_it_is_small",
        "const @n: i64[] = [12] input %x: f32[5] const @most: f32[] = [16.0] %y, %a, %b = Loop(%n, _, %x, %x, %most) \
        {kiln.captures = 2, body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] input %most: f32[] \
        %t = Add(%s, %x) %r = ReduceSum(%t) {keepdims = 0} %on = Less(%r, %most) output %on output %t output %t output %r }} \
        output %a output %b",
    ),
    (
        "scanned_for_an_open_batch",
        "input %x: f32[n, 6] %s = Shape(%x) {end = 1} const @a: i64[1] = [0] %q = Squeeze(%s, @a) const @z: f32[6] = splat 0.0 \
        const @most: f32[] = [9.0] %last, %all = Loop(%q, _, %z, %x, %most) {kiln.captures = 2, body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] input %most: f32[] \
        %g = Gather(%x, %i) %t = Add(%s, %g) %r = ReduceMax(%t) {keepdims = 0} %on = Less(%r, %most) \
        output %on output %t output %t }} %y = Neg(%all) output %last",
    ),
    (
        "a_row_for_each_turn",
        "bound k_4 = 9 input %k_4: i64[] input %x: f32[17] input %z: f32[1, 17] %a = Loop(%k_4, _, %z, %x) {kiln.captures = 1, \
        body = graph @b opset(17) { input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] const @a: i64[1] = [0] \
        %f = Cast(%i) {to = 1} %u = Mul(%x, %f) %r = Unsqueeze(%u, @a) %t = Concat(%s, %r) {axis = 0} \
        output %go output %t }} %y = Tanh(%a)",
    ),
    (
        "a_column_for_each_turn",
        "bound a = 5x11 input %k_6: i64[] input %x: f32[5, 1] input %z: f32[5, 2] input %w: f32[5, 5] \
        %a = Loop(%k_6, _, %z, %x, %w) {kiln.captures = 2, \
        body = graph @b opset(17) { input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] input %w: f32[] \
        %m = MatMul(%w, %s) %h = Tanh(%m) %t = Concat(%h, %x) {axis = 1} output %go output %t }} %y = Neg(%a)",
    ),
    (
        "sums_of_what_has_grown",
        "const @n: i64[] = [300] input %x: f32[1, 3] const @most: f32[] = [20.0] %a, %all = Loop(%n, _, %x, %x, %most) \
        {kiln.captures = 2, body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] input %most: f32[] \
        %t = Concat(%s, %x) {axis = 0} %r = ReduceSum(%t) {keepdims = 0} %few = Less(%r, %most) const @e: i64[] = [9] \
        %early = Less(%i, @e) %on = And(%few, %early) output %on output %t output %r }} %y = Tanh(%a) output %all",
    ),
    (
        "doubled",
        "bound a = 64x3 input %k_5: i64[] input %x: f32[2, 3] %a = Loop(%k_5, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] %t = Concat(%s, %s) {axis = 0} output %go output %t }} %y = Tanh(%a)",
    ),
    (
        "one_less_for_each_turn",
        "bound a = 9 input %k_4: i64[] input %x: f32[9, 3] %a = Loop(%k_4, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] const @f: i64[1] = [1] const @e: i64[1] = [99] const @a: i64[1] = [0] \
        %t = Slice(%s, @f, @e, @a) output %go output %t }} %y = Tanh(%a)",
    ),
    (
        "what_each_turn_finds",
        "bound a = 2x60 input %k_3: i64[] input %x: f32[3, 4] input %z: i64[2, 0] %a = Loop(%k_3, _, %z, %x) \
        {kiln.captures = 1, body = graph @b opset(17) { input %i: i64[] input %go: bool[] input %s: i64[] input %x: f32[] \
        %p = NonZero(%x) %t = Concat(%s, %p) {axis = 1} output %go output %t }} %y = Neg(%a)",
    ),
    (
        "along_two_axes",
        "bound k_3 = 5 input %k_3: i64[] input %x: f32[2, 3] %a = Loop(%k_3, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] const @p: i64[4] = [1, 0, 0, 2] %t = Pad(%s, @p) output %go output %t }} \
        %y = Tanh(%a)",
    ),
    (
        "in_each_other",
        "bound a = 40 input %k_4: i64[] input %x: f32[1, 3] const @o: i64[] = [1] %m = Add(%k_4, @o) %a = Loop(%k_4, _, %x, %x) \
        {kiln.captures = 1, body = graph @b opset(17) { input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] \
        const @three: i64[] = [3] %n = Min(%i, @three) const @most: i64[] = [3] %w = Loop(@most, _, %x, %n, %x) \
        {kiln.captures = 2, body = graph @c opset(17) { input %j: i64[] input %g: bool[] input %u: f32[] input %n: i64[] input %x: f32[] \
        %v = Concat(%u, %x) {axis = 0} %h = Less(%j, %n) output %h output %v }} \
        %t = Concat(%s, %w) {axis = 0} output %go output %t }} %y = Tanh(%a)",
    ),
    (
        "in_a_branch",
        "input %k_4: i64[] input %x: f32[1, 7] const @n: i64[] = [6] const @o: f32[] = [0.5] %r = ReduceMax(%x) {keepdims = 0} \
        %c = Greater(%r, @o) %y = If(%c, %x, %n) {else_branch = graph @e opset(17) { input %x: f32[] input %n: i64[] \
        %y = ReduceSum(%x) {keepdims = 0} output %y }, then_branch = graph @t opset(17) { input %x: f32[] input %n: i64[] \
        const @go: bool[] = [true] %a, %all = Loop(%n, @go, %x, %x) {kiln.captures = 1, body = graph @b opset(17) { \
        input %i: i64[] input %g: bool[] input %s: f32[] input %x: f32[] %t = Concat(%s, %x) {axis = 0} \
        const @four: i64[] = [4] %on = Less(%i, @four) output %on output %t output %i }} \
        %f = Cast(%all) {to = 1} %p = ReduceSum(%a) {keepdims = 0} %q = ReduceSum(%f) {keepdims = 0} %y = Add(%p, %q) output %y }}",
    ),
    (
        "scanned_backwards",
        "input %x: f32[n, 6] input %h: f32[6] %last, %all = Scan(%h, %x) {num_scan_inputs = 1, scan_input_directions = [1], \
        scan_output_directions = [1], body = graph @b opset(17) { input %s: f32[] input %e: f32[] %a = Add(%s, %e) %t = Tanh(%a) \
        output %t output %t }} %y = Neg(%all) output %last",
    ),
];

fn graph(name: &str, body: &str) -> Outcome<Graph> {
    let mut graph = given(name, body)?;
    infer::run(&mut graph).map_err(text)?;
    Ok(graph)
}

/// The graph as it is written.
fn given(name: &str, body: &str) -> Outcome<Graph> {
    let dim = if body.contains("[n") { "dim n = 1..9 " } else { "" };
    let (bound, body) = match body.strip_prefix("bound ").and_then(|rest| rest.split_once(" input")) {
        Some((bound, rest)) => (Some(bound.replace(' ', "")), format!("input{rest}")),
        None => (None, body.to_owned()),
    };
    let mut graph =
        graph::parse(&format!("graph @{name} opset(17) {{ {dim}{body} output %y }}")).map_err(text)?;
    if let Some(bound) = bound {
        bind::limit(&mut graph, &[bound.parse().map_err(text)?]).map_err(text)?;
    }
    Ok(graph)
}

/// Whole numbers from -1 to 2; of seed 0 zeros alone, of seed 1 none.
fn inputs(graph: &Graph, n: i64, seed: u64) -> Outcome<Vec<Tensor>> {
    let symbols = Symbols::from([("n".into(), n)]);
    let make = |(position, id): (usize, &graph::ValueId)| {
        let fact = graph.value(*id).fact.as_ref().ok_or("an input without a type")?;
        let extent = |d: &kiln_ir::Dim| d.eval(&symbols).and_then(|n| usize::try_from(n).ok());
        let shape: Vec<usize> = fact.shape.iter().map(extent).collect::<Option<_>>().ok_or("no extent")?;
        if fact.dtype == DType::I64 {
            let words = graph.value(*id).name.split('_').skip(1).map(|w| w.replace('m', "-").parse::<i64>());
            return Ok(Tensor::from_vec(&shape, words.collect::<Result<Vec<_>, _>>().map_err(text)?));
        }
        let numbers =
            random::tensor(DType::F32, &shape, seed, position).map_err(text)?.to_f64s().map_err(text)?;
        let whole = |v: f64| match seed {
            0 => 0.0,
            1 => v.abs() + 1.0,
            _ => (v * 2.0).round(),
        };
        Ok(Tensor::from_vec(&shape, numbers.into_iter().map(|v| whole(v) as f32).collect::<Vec<f32>>()))
    };
    graph.inputs().iter().enumerate().map(make).collect()
}

/// The graph on nothing, on everything and on something, compiled once for each level.
fn check(name: &str, body: &str, opt: u8) -> Outcome {
    let graph = graph(name, body)?;
    let printed = graph.to_string();
    let again = graph::parse(&printed).map_err(|e| format!("{e}\n{printed}"))?;
    if again.to_string() != printed {
        return Err(format!("{printed} is read as {again}"));
    }
    let mut runs = Vec::new();
    for (seed, n) in [(0, 1), (1, 9), (2, 5), (3, 9)] {
        let inputs = inputs(&graph, n, seed)?;
        let at = |e: String| format!("seed {seed}: {e}");
        let meant = kiln_ir::eval::graph::run(&given(name, body)?, &inputs).map_err(text).map_err(at)?;
        let counted = kiln_ir::eval::graph::run(&graph, &inputs).map_err(text).map_err(at)?;
        if meant != counted {
            return Err(format!("seed {seed}: {meant:?} became {counted:?}"));
        }
        let expected = stages::six_points(name, &graph, &inputs, opt).map_err(at)?;
        let c = stages::run_c(name, graph.clone(), opt, &inputs).map_err(at)?;
        compare::close(&c, &expected, ACROSS_STAGES).map_err(|e| format!("C with seed {seed}: {e}"))?;
        runs.push((seed, inputs, expected));
    }
    for level in stages::levels() {
        let options = stages::options(level, opt)?;
        let plan = pipeline::compile(graph.clone(), &options).map_err(text)?;
        let model = jit::Model::new(plan, &options.target, 2).map_err(text)?;
        for (seed, inputs, expected) in &runs {
            let found = model.run(inputs).map_err(text)?;
            compare::close(&found, expected, ACROSS_STAGES)
                .map_err(|e| format!("{level} with seed {seed}: {e}"))?;
        }
    }
    Ok(())
}

/// A model whose sizes exceed what they were said to be at most: a status at every point, and nothing written behind.
fn exceeded() -> Outcome {
    let mut graph = graph::parse("graph @m opset(17) { input %x: f32[4, 5] %y = NonZero(%x) output %y }")
        .map_err(text)?;
    graph.most.insert("y".to_owned(), vec![7]);
    infer::run(&mut graph).map_err(text)?;
    let options = stages::options("native", 2)?;
    let trace = stages::trace(graph.clone(), &options)?;
    let (_, program) = trace.programs.first().ok_or("no program")?;
    let with = |n: usize| [Tensor::from_vec(&[4, 5], (0..20).map(|i| f32::from(u8::from(i < n))).collect())];
    let results = |n: usize| {
        let inputs = with(n);
        [
            kiln_ir::eval::kernel::run(program, &inputs).map_err(text),
            stages::run_plan(&trace.plan, &inputs),
            stages::run_jit(&trace.plan, &options, 1, &inputs),
            stages::run_object("m", &trace.plan, &options, &inputs),
            stages::run_c("m", graph.clone(), 2, &inputs),
        ]
    };
    for found in results(7) {
        let found = found?;
        if found[0].shape != [2, 7] {
            return Err(format!("7 of 7 give {found:?}"));
        }
    }
    for n in [8, 20] {
        for (found, words) in results(n).into_iter().zip([
            "outside 0..7",
            "outside 0..7",
            "'y_count', which is outside its bounds 0..7",
            "4",
            "4",
        ]) {
            match found {
                Err(e) if e.contains(words) => {}
                other => return Err(format!("{n} of 7 give {other:?}")),
            }
        }
    }
    Ok(())
}

/// A loop in `k` turns, how many turns have room, and what a run of one more is told by interpreters and in this process.
type TooMuch = (&'static str, &'static str, i64, &'static str);

const TOO_MUCH: &[TooMuch] = &[
    (
        "more_turns_than_rows",
        "bound all = 7 input %k: i64[] input %x: f32[33] %last, %all = Loop(%k, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] %t = Tanh(%s) output %go output %t output %t }} %y = Neg(%all)",
        7,
        "outside",
    ),
    (
        "more_rows_than_there_is_room_for",
        "bound a = 9x33 input %k: i64[] input %x: f32[1, 33] %a = Loop(%k, _, %x, %x) {kiln.captures = 1, \
        body = graph @b opset(17) { input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[] \
        %t = Concat(%s, %x) {axis = 0} output %go output %t }} %y = Tanh(%a)",
        8,
        "outside",
    ),
    (
        "doubled_too_often",
        "bound a = 16x33 input %k: i64[] input %x: f32[1, 33] %a = Loop(%k, _, %x) {body = graph @b opset(17) { \
        input %i: i64[] input %go: bool[] input %s: f32[] %t = Concat(%s, %s) {axis = 0} output %go output %t }} %y = Tanh(%a)",
        4,
        "outside",
    ),
];

/// Loops that would exceed their bounds: a status at every point, as a library between guard pages.
fn too_much(name: &str, body: &str, room: i64, words: &str) -> Outcome {
    let graph = graph(name, body)?;
    let options = stages::options("native", 2)?;
    let trace = stages::trace(graph.clone(), &options)?;
    let (_, program) = trace.programs.first().ok_or("no program")?;
    for turns in [room, room + 1, room + 2, 1000] {
        let mut inputs = inputs_of(&graph)?;
        inputs[0] = Tensor::from_vec(&[], vec![turns]);
        let results = [
            kiln_ir::eval::kernel::run(program, &inputs).map_err(text),
            stages::run_plan(&trace.plan, &inputs),
            stages::run_jit(&trace.plan, &options, 1, &inputs),
            stages::run_object(name, &trace.plan, &options, &inputs),
            stages::run_c(name, graph.clone(), 2, &inputs),
        ];
        for (i, found) in results.into_iter().enumerate() {
            // Guards that were touched are 106, signals have no status.
            let refused = |e: &str| match i {
                0..3 => e.contains(words),
                _ => e.contains("exit status") && !e.contains("exit status: 10"),
            };
            match found {
                Ok(_) if turns == room => {}
                Err(e) if turns > room && refused(&e) => {}
                other => return Err(format!("{turns} turns at point {i} give {other:?}")),
            }
        }
    }
    Ok(())
}

/// Random numbers for a graph whose inputs have known shapes.
fn inputs_of(graph: &Graph) -> Outcome<Vec<Tensor>> {
    let make = |(i, id): (usize, &graph::ValueId)| {
        let fact = graph.value(*id).fact.as_ref().ok_or("an input without a type")?;
        let shape = fact.shape.as_const().ok_or("an open shape")?;
        random::tensor(fact.dtype, &shape, 7, i).map_err(text)
    };
    graph.inputs().iter().enumerate().map(make).collect()
}

/// A program in C reads the sizes that a call has counted, and the results lie dense in them.
fn told() -> Outcome {
    let folder = tempfile::tempdir().map_err(text)?;
    let graph = graph("m", "input %x: f32[n, 4] %y = NonZero(%x)")?;
    let options = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    stages::write_library(folder.path(), "m", plan, &options)?;
    let main = r#"#include "m.h"
        #include <string.h>
        static _Alignas(m_ARENA_ALIGN) unsigned char arena[m_ARENA_BYTES];
        int main(void) {
            float x[m_INPUT_0_ELEMENTS] = { 0, 1, 0, 0, 2, 0, 0, 3 };
            int64_t y[m_OUTPUT_0_ELEMENTS], expected[] = { 0, 1, 1, 1, 0, 3 };
            const void *in[] = { x };
            void *out[] = { y };
            m_sizes sizes = { .n = 2, .y_count = -5 };
            if (m_DIMS != 2 || strcmp(m_DIM_1_NAME, "y_count") || m_DIM_1_MAX != 36) return 1;
            if (m_run(in, out, arena, &sizes) != m_OK) return 2;
            int64_t shape[] = m_OUTPUT_0_SHAPE_OF(&sizes);
            if (sizes.y_count != 3 || shape[0] != 2 || shape[1] != 3) return 3;
            if (m_OUTPUT_0_ELEMENTS_OF(&sizes) != 6 || memcmp(y, expected, sizeof expected)) return 4;
            sizes.n = 10;
            return m_run(in, out, arena, &sizes) != m_DIMENSION_OUT_OF_BOUNDS;
        }"#;
    let (source, program) = (folder.path().join("main.c"), folder.path().join("main"));
    tools::write(&source, main)?;
    let library = folder.path().join("libm.a");
    tools::link(tools::CC, &["-std=c11", "-Wall", "-Werror"], &source, &[&library], &program)?;
    tools::run(&mut Command::new(program)).map(|_| ())
}

/// Runner and session have room for the most and give shapes as they were counted, run for run.
fn memory_of_the_callers_own() -> Outcome {
    use kiln_compiler::{View, ViewMut};
    let graph = graph("m", "input %x: f32[2, 4] %y = NonZero(%x)")?;
    let options = stages::options("native", 2)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    let model = jit::Model::new(plan, &options.target, 1).map_err(text)?;
    let mut runner = model.runner().map_err(text)?;
    let mut session = model.session().map_err(text)?;
    for x in [[0f32, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [1.0; 8], [0.0; 8]] {
        let count = x.iter().filter(|v| **v != 0.0).count();
        let mut y = [0i64; 16];
        runner.run(&[View::new(&[2, 4], &x)], &mut [ViewMut::new(&mut y)]).map_err(text)?;
        session.input::<f32>(0).map_err(text)?.copy_from_slice(&x);
        session.run().map_err(text)?;
        let found: &[i64] = session.output(0).map_err(text)?;
        if runner.output_shape(0) != [2, count] || found.len() != 2 * count || *found != y[..2 * count] {
            return Err(format!("{count} found: {:?} {found:?} {y:?}", runner.output_shape(0)));
        }
    }
    if session.set_size("y_count", 1).is_ok() {
        return Err("a size that is counted can be set".to_owned());
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let mut add = |name: String, run: Box<dyn Fn() -> Outcome + Send>| {
        trials.push(Trial::test(name, move || run().map_err(Failed::from)));
    };
    for (name, body) in GRAPHS.iter().chain(LOOPS) {
        for opt in [0, 2] {
            add(format!("graph::{name}::opt{opt}"), Box::new(move || check(name, body, opt)));
        }
    }
    add("status::exceeded".to_owned(), Box::new(exceeded));
    for (name, body, sizes, words) in TOO_MUCH {
        add(format!("status::{name}"), Box::new(move || too_much(name, body, *sizes, words)));
    }
    add("header::told".to_owned(), Box::new(told));
    add("memory::own".to_owned(), Box::new(memory_of_the_callers_own));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
