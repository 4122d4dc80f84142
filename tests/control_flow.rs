//! Branches and loops at run time, at six points of the way: which way a run takes is known to none of them.

use kiln_ir::graph;
use kiln_ir::{ErrorKind, Tensor};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::{Outcome, random, stages, text};

/// Runs a graph, given without its header, on random numbers and what `given` says of inputs by name; every result must be
/// the same at all points, fused and not.
fn check(name: &str, body: &str, given: &[(&str, Tensor)]) -> Outcome {
    let source = format!("graph @{name} opset(17) {{ {body} }}");
    let graph = graph::parse(&source).map_err(text)?;
    let mut inputs = Vec::new();
    for (i, id) in graph.inputs().iter().enumerate() {
        let value = graph.value(*id);
        let fact = value.fact.as_ref().ok_or("an input without a type")?;
        let shape = fact.shape.as_const().ok_or("an open shape")?;
        inputs.push(match given.iter().find(|(name, _)| *name == value.name) {
            Some((_, tensor)) => tensor.clone(),
            None => random::tensor(fact.dtype, &shape, 7, i).map_err(text)?,
        });
    }
    for opt in [0, 2] {
        let at = |e: String| format!("{name} at --opt {opt} on {given:?}: {e}");
        let outputs = stages::six_points(name, &graph, &inputs, opt).map_err(at)?;
        let c = stages::run_c(name, graph.clone(), opt, &inputs).map_err(at)?;
        compare::close(&c, &outputs, ACROSS_STAGES).map_err(|e| at(format!("C99: {e}")))?;
    }
    Ok(())
}

fn flag(value: bool) -> Tensor {
    Tensor::from_bools(&[], [value])
}

fn number(value: i64) -> Tensor {
    Tensor::from_vec(&[], vec![value])
}

/// Both ways of a condition.
fn both(name: &str, body: &str) {
    for value in [true, false] {
        check(name, body, &[("c", flag(value))]).unwrap();
    }
}

#[test]
fn branches_that_compute_and_branches_that_hand_on() {
    both(
        "hands_on",
        "input %c: bool[] input %x: f32[3, 40]
         %a, %b = If(%c, %x) {else_branch = graph @e opset(17) {
             input %x: f32[] const @k: f32[5] = [1, 2, 3, 4, 5] output %x output @k
           }, then_branch = graph @t opset(17) {
             input %x: f32[] %n = Neg(%x) const @k: f32[5] = splat 7.0 output %n output @k }}
         %y = Exp(%a) output %y output %b",
    );
}

#[test]
fn what_one_branch_needs_is_fused_in_it() {
    both(
        "products",
        "input %c: bool[] input %x: f32[6, 33] input %v: f32[33, 20] input %w: f32[33, 20]
         %h = Tanh(%x)
         %p = MatMul(%h, %v) %q = Relu(%p)
         %y = If(%c, %q, %h, %w) {else_branch = graph @e opset(17) {
             input %q: f32[] input %h: f32[] input %w: f32[] %p = MatMul(%h, %w) %y = Sigmoid(%p) output %y
           }, then_branch = graph @t opset(17) {
             input %q: f32[] input %h: f32[] input %w: f32[] %y = Add(%q, %q) output %y }}
         %z = Add(%y, %y) output %z output %y",
    );
}

#[test]
fn nested_branches_and_padding() {
    let body = "input %c: bool[] input %d: bool[] input %x: f32[1, 3, 9, 8] input %w: f32[3, 3, 3, 3]
         input %wd: f32[3, 1, 3, 3]
         %e = And(%c, %d)
         %y = If(%c, %x, %w, %d, %wd) {else_branch = graph @e opset(17) {
             input %x: f32[] input %w: f32[] input %d: bool[] input %wd: f32[]
             %y = Conv(%x, %w) {pads = [1, 1, 1, 1]} output %y
           }, then_branch = graph @t opset(17) {
             input %x: f32[] input %w: f32[] input %d: bool[] input %wd: f32[]
             %h = Relu(%x)
             %y = If(%d, %h, %w, %wd) {else_branch = graph @ee opset(17) {
                 input %h: f32[] input %w: f32[] input %wd: f32[]
                 %y = Conv(%h, %w) {pads = [1, 1, 1, 1]} output %y
               }, then_branch = graph @tt opset(17) {
                 input %h: f32[] input %w: f32[] input %wd: f32[]
                 %y = Conv(%h, %wd) {pads = [1, 1, 1, 1], group = 3} output %y }}
             output %y }}
         %z = Conv(%y, %w) {pads = [1, 1, 1, 1]} output %z output %e";
    for (c, d) in [(true, true), (true, false), (false, true), (false, false)] {
        check("nested", body, &[("c", flag(c)), ("d", flag(d))]).unwrap();
    }
}

#[test]
fn a_condition_that_is_computed_and_an_error_in_the_other_branch() {
    let body = "input %s: f32[] input %i: i64[2] input %x: f32[5, 4]
         const @zero: f32[] = [0.0]
         %c = Greater(%s, @zero)
         %y = If(%c, %x, %i) {else_branch = graph @e opset(17) {
             input %x: f32[] input %i: i64[] const @j: i64[2] = [1, 0] %y = Gather(%x, @j) output %y
           }, then_branch = graph @t opset(17) {
             input %x: f32[] input %i: i64[] %y = Gather(%x, %i) output %y }}
         output %y";
    let outside = Tensor::from_vec(&[2], vec![9i64, 0]);
    let inside = Tensor::from_vec(&[2], vec![4i64, 0]);
    let s = |v: f32| Tensor::from_vec(&[], vec![v]);
    check("computed", body, &[("s", s(-1.0)), ("i", outside)]).unwrap();
    check("computed", body, &[("s", s(1.0)), ("i", inside)]).unwrap();
}

/// Sums, and all that were on the way.
const SUMS: &str = "input %x: f32[3] input %z: f32[3] const @n: i64[] = [9] const @on: bool[] = [true]
     %y, %all = Loop(@n, @on, %x, %z) {kiln.captures = 1, body = graph @b opset(17) {
         input %i: i64[] input %go: bool[] input %s: f32[] input %z: f32[]
         %t = Add(%s, %z) %f = Cast(%i) {to = 1} %u = Mul(%t, %f) %k = Identity(%go)
         output %k output %t output %u }}
     %w = Neg(%y) output %w output %all";

#[test]
fn loops_of_a_known_number_of_turns() {
    check("sums", SUMS, &[]).unwrap();
    // Few turns are unrolled.
    check("few", &SUMS.replace("= [9]", "= [3]"), &[]).unwrap();
    check("none", &SUMS.replace("= [9]", "= [0]"), &[]).unwrap();
}

#[test]
fn states_that_change_their_shapes_are_unrolled() {
    let body = "input %x: f32[1, 3] const @n: i64[] = [6]
         %y = Loop(@n, _, %x) {body = graph @b opset(17) {
             input %i: i64[] input %go: bool[] input %s: f32[1, 3]
             %t = Concat(%s, %s) {axis = 0} output %go output %t }}
         output %y";
    check("doubled", body, &[]).unwrap();
}

#[test]
fn turns_and_conditions_of_run_time() {
    let body = "const @zero: i64[] = [0] input %n: i64[] input %go: bool[] input %x: f32[20, 33] input %w: f32[33, 33] input %most: f32[]
         %y, %turns = Loop(%n, %go, %x, @zero, %w, %most) {kiln.captures = 2, body = graph @b opset(17) {
             input %i: i64[] input %go: bool[] input %s: f32[] input %k: i64[] input %w: f32[] input %most: f32[]
             const @one: i64[] = [1]
             %p = MatMul(%s, %w) %t = Tanh(%p) %j = Add(%k, @one)
             %f = Cast(%j) {to = 1} %on = Less(%f, %most)
             output %on output %t output %j }}
         %z = Relu(%y) output %z output %turns";
    for (n, go, most) in [(5, true, 100.0), (0, true, 100.0), (7, false, 1.0), (100, true, 3.0)] {
        let most = Tensor::from_vec(&[], vec![most as f32]);
        check("run_time", body, &[("n", number(n)), ("go", flag(go)), ("most", most)]).unwrap();
    }
}

#[test]
fn states_that_change_places() {
    let body = "input %n: i64[] input %a: f32[37] input %b: f32[37] input %c: f32[37]
         %x, %y, %z = Loop(%n, _, %a, %b, %c) {body = graph @b opset(17) {
             input %i: i64[] input %go: bool[] input %a: f32[] input %b: f32[] input %c: f32[]
             %d = Add(%a, %c) output %go output %b output %d output %a }}
         output %x output %y output %z";
    for n in [0, 1, 2, 5] {
        check("places", body, &[("n", number(n))]).unwrap();
    }
}

#[test]
fn loops_in_loops_and_branches_in_them() {
    let body = "input %n: i64[] input %x: f32[2, 3, 6, 6] input %w: f32[3, 3, 3, 3]
         %y = Loop(%n, _, %x, %w, %n) {kiln.captures = 2, body = graph @b opset(17) {
             input %i: i64[] input %go: bool[] input %s: f32[] input %w: f32[] input %n: i64[]
             const @two: i64[] = [2] const @zero: i64[] = [0]
             %r = Mod(%i, @two) %odd = Greater(%r, @zero)
             %t = Loop(%i, _, %s, %w) {kiln.captures = 1, body = graph @bb opset(17) {
                 input %i: i64[] input %go: bool[] input %s: f32[] input %w: f32[]
                 %p = Conv(%s, %w) {pads = [1, 1, 1, 1]} %q = Tanh(%p) output %go output %q }}
             %u = If(%odd, %t, %s) {else_branch = graph @e opset(17) {
                 input %t: f32[] input %s: f32[] %u = Add(%t, %s) output %u
               }, then_branch = graph @t opset(17) {
                 input %t: f32[] input %s: f32[] %u = Sub(%t, %s) output %u }}
             output %go output %u }}
         output %y";
    for n in [0, 1, 4] {
        check("deep", body, &[("n", number(n))]).unwrap();
    }
}

#[test]
fn scans_of_all_directions_and_axes() {
    for (axes, directions) in [("0", "0"), ("0", "1"), ("1", "0"), ("-1", "1")] {
        let sequence = if axes == "0" { "f32[11, 5]" } else { "f32[5, 11]" };
        let body = format!(
            "input %h: f32[5] input %x: {sequence} input %z: f32[11, 5] input %w: f32[5]
             %last, %all, %turned = Scan(%h, %x, %z, %w) {{num_scan_inputs = 2, kiln.captures = 1,
                 scan_input_axes = [{axes}, 0], scan_input_directions = [{directions}, 1],
                 scan_output_axes = [{axes}, 1], scan_output_directions = [{directions}, 0],
                 body = graph @b opset(17) {{
                 input %h: f32[] input %x: f32[] input %z: f32[] input %w: f32[]
                 %a = Mul(%h, %w) %b = Add(%a, %x) %c = Sub(%b, %z) %d = Tanh(%c)
                 output %d output %d output %b }}}}
             output %last output %all output %turned"
        );
        check("scan", &body, &[]).unwrap();
    }
}

#[test]
fn a_branch_that_does_not_take_these_shapes_ends_with_a_status() {
    let body = "input %c: bool[] input %x: f32[3, 4] input %z: f32[5]
         %y, %w = If(%c, %x, %z) {else_branch = graph @e opset(17) {
             input %x: f32[] input %z: f32[] %y = Relu(%x) output %y output %z
           }, then_branch = graph @t opset(17) {
             input %x: f32[] input %z: f32[] %y = MatMul(%x, %x) output %y output %z }}
         output %y output %w";
    check("impossible", body, &[("c", flag(false))]).unwrap();
    let graph = graph::parse(&format!("graph @m opset(17) {{ {body} }}")).unwrap();
    let options = stages::options("baseline", 2).unwrap();
    let plan = kiln_compiler::internals::pipeline::compile(graph, &options).unwrap();
    let x = Tensor::from_vec(&[3, 4], vec![1f32; 12]);
    let inputs = [flag(true), x, Tensor::from_vec(&[5], vec![1f32; 5])];
    let error = stages::run_jit(&plan, &options, 1, &inputs).unwrap_err();
    assert!(error.contains("is outside its axis"), "{error}");
}

/// What a run is told of an index that is outside.
const OUTSIDE: &str = "is outside its axis";

/// A run that must end with a status: in this process, and as a library between guard pages, where it may touch nothing else.
fn ends_with_a_status(name: &str, body: &str, given: &[(&str, Tensor)], words: &str) {
    let graph = graph::parse(&format!("graph @{name} opset(17) {{ {body} }}")).unwrap();
    let mut inputs = Vec::new();
    for (i, id) in graph.inputs().iter().enumerate() {
        let value = graph.value(*id);
        let fact = value.fact.clone().unwrap();
        let known = given.iter().find(|(name, _)| *name == value.name).map(|(_, tensor)| tensor.clone());
        let drawn = || random::tensor(fact.dtype, &fact.shape.as_const().unwrap(), 7, i).unwrap();
        inputs.push(known.unwrap_or_else(drawn));
    }
    for level in stages::levels() {
        let options = stages::options(level, 2).unwrap();
        let plan = kiln_compiler::internals::pipeline::compile(graph.clone(), &options).unwrap();
        let error = stages::run_jit(&plan, &options, 1, &inputs).unwrap_err();
        assert!(error.contains(words), "{name}, {level}: {error}");
        // 106: guards were touched; signals have no status.
        let error = stages::run_object(name, &plan, &options, &inputs).unwrap_err();
        assert!(
            error.contains("exit status") && !error.contains("exit status: 10"),
            "{name}, {level}: {error}"
        );
    }
}

#[test]
fn indices_outside_within_loops_and_branches_end_with_a_status() {
    // The fifth turn gathers from a row that is not there.
    let gathers = "input %n: i64[] input %h: f32[33] input %x: f32[4, 33]
         %y = Loop(%n, _, %h, %x) {kiln.captures = 1, body = graph @b opset(17) {
             input %i: i64[] input %go: bool[] input %s: f32[] input %x: f32[]
             %r = Gather(%x, %i) %t = Add(%s, %r) output %go output %t }}
         output %y";
    check("gathers", gathers, &[("n", number(4))]).unwrap();
    ends_with_a_status("gathers", gathers, &[("n", number(5))], OUTSIDE);
    let scatters = "input %n: i64[] input %x: f32[4, 33] input %u: f32[1, 33]
         %y = Loop(%n, _, %x, %u) {kiln.captures = 1, body = graph @b opset(17) {
             input %i: i64[] input %go: bool[] input %s: f32[] input %u: f32[]
             const @at: i64[2] = [1, 1] %j = Reshape(%i, @at)
             %t = ScatterND(%s, %j, %u) output %go output %t }}
         output %y";
    check("scatters", scatters, &[("n", number(4))]).unwrap();
    ends_with_a_status("scatters", scatters, &[("n", number(5))], OUTSIDE);
    let elements = "input %n: i64[] input %x: f32[20] input %u: f32[3] input %i: i64[3]
         %y = Loop(%n, _, %x, %u, %i) {kiln.captures = 2, body = graph @b opset(17) {
             input %k: i64[] input %go: bool[] input %s: f32[] input %u: f32[] input %i: i64[]
             %j = Add(%i, %k) %t = ScatterElements(%s, %j, %u) {axis = 0} output %go output %t }}
         output %y";
    let places = ("i", Tensor::from_vec(&[3], vec![0i64, 5, 17]));
    check("elements", elements, &[("n", number(3)), places.clone()]).unwrap();
    ends_with_a_status("elements", elements, &[("n", number(4)), places], OUTSIDE);
    let scanned = "input %h: f32[5] input %x: f32[6, 5] input %i: i64[6] input %w: f32[7, 5]
         %last, %all = Scan(%h, %x, %i, %w) {num_scan_inputs = 2, kiln.captures = 1, body = graph @b opset(17) {
             input %h: f32[] input %x: f32[] input %i: i64[] input %w: f32[]
             %r = Gather(%w, %i) %a = Mul(%h, %r) %b = Add(%a, %x) output %b output %a }}
         output %last output %all";
    let at = |last: i64| Tensor::from_vec(&[6], vec![0i64, 6, -7, 3, 1, last]);
    check("scanned", scanned, &[("i", at(5))]).unwrap();
    ends_with_a_status("scanned", scanned, &[("i", at(7))], OUTSIDE);
    let branch = "input %c: bool[] input %n: i64[] input %x: f32[4, 33]
         %y = If(%c, %n, %x) {else_branch = graph @e opset(17) {
             input %n: i64[] input %x: f32[] const @z: i64[] = [0] %y = Gather(%x, @z) output %y
           }, then_branch = graph @t opset(17) {
             input %n: i64[] input %x: f32[] %y = Gather(%x, %n) output %y }}
         output %y";
    check("branch", branch, &[("c", flag(false)), ("n", number(99))]).unwrap();
    ends_with_a_status("branch", branch, &[("c", flag(true)), ("n", number(99))], OUTSIDE);
}

#[test]
fn sequences_of_lengths_beyond_their_steps_touch_nothing_else() {
    for (name, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        for direction in ["forward", "reverse", "bidirectional"] {
            let directions = if direction == "bidirectional" { 2 } else { 1 };
            let body = format!(
                "input %x: f32[5, 3, 7] input %w: f32[{directions}, {rows}, 7] input %r: f32[{directions}, {rows}, 9]
                 input %b: f32[{directions}, {}] input %l: i32[3]
                 %y, %h = {name}(%x, %w, %r, %b, %l) {{hidden_size = 9, direction = \"{direction}\"}}
                 output %y output %h",
                2 * gates * 9,
                rows = gates * 9
            );
            let lengths = |all: [i32; 3]| ("l", Tensor::from_vec(&[3], all.to_vec()));
            for all in [[5, 1, 3], [0, 5, 2]] {
                check(name, &body, &[lengths(all)]).unwrap();
            }
            if direction == "forward" {
                check(name, &body, &[lengths([i32::MAX, 6, -1])]).unwrap();
            } else {
                ends_with_a_status(name, &body, &[lengths([9, 1, 1])], OUTSIDE);
            }
        }
    }
}

#[test]
fn what_is_not_supported_says_so() {
    let error = |body: &str| {
        let graph = graph::parse(&format!("graph @m opset(17) {{ {body} }}")).unwrap();
        let options = stages::options("baseline", 2).unwrap();
        let errors = kiln_compiler::internals::pipeline::compile(graph, &options).unwrap_err();
        (errors.0[0].kind, errors.0[0].to_string())
    };
    let types = "input %c: bool[] input %x: f32[3]
         %y = If(%c, %x) {else_branch = graph @e opset(17) { input %x: f32[] output %x },
           then_branch = graph @t opset(17) { input %x: f32[] %y = Concat(%x, %x) {axis = 0} output %y }} output %y";
    let (kind, text) = error(types);
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(text.contains("result 0 is f32[6] in one branch and f32[3] in the other"), "{text}");
    let (kind, text) = error(&SUMS.replace("const @n: i64[] = [9]", "input %n: i64[]").replace("@n", "%n"));
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(text.contains("'all' along axis 0 is computed at run time"), "{text}");
    let ranks = "input %n: i64[] input %x: f32[3]
         %y = Loop(%n, _, %x) {body = graph @b opset(17) { input %i: i64[] input %go: bool[] input %s: f32[]
           const @a: i64[1] = [0] %t = Unsqueeze(%s, @a) output %go output %t }} output %y";
    let (kind, text) = error(ranks);
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(text.contains("state 0 is f32[3] before a turn and f32[1, 3] after it"), "{text}");
}
