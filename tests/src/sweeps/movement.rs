//! Movement of elements: rows by index, padding of every kind, turned and stepping copies.

use super::{INTEGERS, TYPED_LENGTHS, Text, operands};

/// Types of elements of every size.
const SIZES: [&str; 4] = ["u8", "f16", "f32", "i64"];

/// Rows that indices lead to, alone and with what is done to them.
pub(super) fn rows() -> Text {
    let mut t = Text::default();
    t.line("const @rows: i64[5] = [2, 0, -1, 1, -3]");
    t.line("const @short: i32[2, 2] = [0, -2, 2, 1]");
    t.line("const @along: i64[1] = [1]");
    for dtype in SIZES {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            t.output(&format!("Gather(%x_{s}, @rows) {{axis = 0}}"));
            t.output(&format!("Gather(%x_{s}, @short) {{axis = 0}}"));
            if dtype == "f32" {
                t.line(&format!("%taken_{s} = Gather(%x_{s}, @rows) {{axis = 0}}"));
                t.output(&format!("Add(%taken_{s}, %z_{s})"));
                t.output(&format!("ReduceSum(%taken_{s}, @along)"));
            }
        }
        t.typed_input(&format!("cube_{dtype}"), dtype, &[3, 3, 19]);
        t.output(&format!("Gather(%cube_{dtype}, @rows) {{axis = 1}}"));
    }
    t
}

/// Padding before, behind, on both sides and away from each axis.
pub(super) fn pads() -> Text {
    let mut t = Text::default();
    let pads = [[0, 1, 0, 2], [1, 0, 2, 0], [0, -1, 1, 1], [2, 1, 1, 1]];
    for (i, pads) in pads.iter().enumerate() {
        t.line(&format!("const @pads{i}: i64[4] = {pads:?}"));
    }
    for dtype in SIZES {
        for n in TYPED_LENGTHS.into_iter().filter(|n| *n > 2) {
            let s = operands(&mut t, dtype, n);
            for i in 0..pads.len() {
                for mode in ["constant", "reflect", "edge", "wrap"] {
                    t.output(&format!("Pad(%x_{s}, @pads{i}) {{mode = \"{mode}\"}}"));
                }
            }
            if dtype == "f32" {
                t.line(&format!("%wide_{s} = Pad(%x_{s}, @pads3)"));
                t.output(&format!("Sqrt(%wide_{s})"));
            }
        }
    }
    t
}

/// Statements in order: sums of rows, scattered rows, images of blocks, lines that are sorted.
pub(super) fn procedures() -> Text {
    let mut t = Text::default();
    t.line("const @first: i64[1] = [0]");
    t.line("const @rows: i64[3, 1] = [2, 0, 2]");
    t.line("const @k: i64[1] = [3]");
    t.line("const @all: i64[1] = [230]");
    t.line("const @block: i64[2] = [2, 2]");
    for n in TYPED_LENGTHS {
        for dtype in ["f32", "i64"] {
            let name = format!("{dtype}_{n}");
            t.typed_input(&format!("sum_{name}"), dtype, &[4, n + 4]);
            t.output(&format!("CumSum(%sum_{name}, @first)"));
            t.typed_input(&format!("new_{name}"), dtype, &[3, n + 4]);
            t.output(&format!("ScatterND(%sum_{name}, @rows, %new_{name}) {{reduction = \"add\"}}"));
        }
        t.input(&format!("columns_{n}"), &[1, 8, 2 * n]);
        t.line(&format!("const @image_{n}: i64[2] = [3, {}]", n + 1));
        t.output(&format!("Col2Im(%columns_{n}, @image_{n}, @block)"));
        t.input(&format!("line_{n}"), &[2, 24 + n]);
        t.line(&format!("%best_{n}, %where_{n} = TopK(%line_{n}, @k)"));
        t.output(&format!("Neg(%best_{n})"));
        t.output(&format!("Neg(%where_{n})"));
    }
    t.input("long", &[2, 230]);
    t.line("%sorted, %order = TopK(%long, @all)");
    t.output("Neg(%sorted)");
    t.output("Neg(%order)");
    t
}

/// Loads whose elements do not lie side by side: steps, turned operands, the same one again.
pub(super) fn apart() -> Text {
    let mut t = Text::default();
    t.line("const @from: i64[1] = [-1]");
    t.line("const @to: i64[1] = [-1000]");
    t.line("const @axis: i64[1] = [1]");
    t.line("const @back: i64[1] = [-2]");
    for dtype in SIZES {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            t.output(&format!("Slice(%x_{s}, @from, @to, @axis, @back)"));
            t.output(&format!("Transpose(%x_{s}) {{perm = [1, 0]}}"));
            t.line(&format!("const @rows_{s}: i64[2] = [{n}, 5]"));
            t.line(&format!("const @column_{s}: i64[2] = [{n}, 1]"));
            t.line(&format!("%tall_{s} = Reshape(%z_{s}, @column_{s})"));
            t.output(&format!("Expand(%tall_{s}, @rows_{s})"));
            t.typed_input(&format!("t_{s}"), dtype, &[n, 3]);
            t.output(&format!("Transpose(%t_{s}) {{perm = [1, 0]}}"));
            if dtype != "f16" {
                t.line(&format!("%turned_{s} = Transpose(%t_{s}) {{perm = [1, 0]}}"));
                t.output(&format!("Add(%x_{s}, %turned_{s})"));
            }
        }
    }
    for n in TYPED_LENGTHS {
        t.input(&format!("like_{n}"), &[5, n]);
        t.output(&format!("EyeLike(%like_{n}) {{k = 1}}"));
        t.typed_input(&format!("pixels_{n}"), "u8", &[2, n, 3]);
        t.line(&format!("%floats_{n} = Cast(%pixels_{n}) {{to = 1}}"));
        t.line(&format!("%planes_{n} = Transpose(%floats_{n}) {{perm = [0, 2, 1]}}"));
        t.output(&format!("Sqrt(%planes_{n})"));
    }
    t
}

/// Positions of extremes along every axis, with ties, and bools that are reduced.
pub(super) fn positions() -> Text {
    let mut t = Text::default();
    t.line("const @along: i64[1] = [1]");
    for dtype in ["f32", "i64", "u8", "f64", "i32"] {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            t.typed_input(&format!("cube_{s}"), dtype, &[2, 5, n]);
            for op in ["ArgMax", "ArgMin"] {
                for last in [0, 1] {
                    t.output(&format!("{op}(%x_{s}) {{axis = 1, select_last_index = {last}}}"));
                    t.output(&format!(
                        "{op}(%cube_{s}) {{axis = 1, select_last_index = {last}, keepdims = 0}}"
                    ));
                }
            }
            t.line(&format!("%less_{s} = Less(%x_{s}, %z_{s})"));
            t.line(&format!("%same_{s} = Equal(%x_{s}, %z_{s})"));
            t.output(&format!("ReduceMax(%less_{s}, @along)"));
            t.output(&format!("ReduceMin(%less_{s}, @along)"));
            t.line(&format!("%either_{s} = Or(%less_{s}, %same_{s})"));
            t.output(&format!("ReduceMin(%either_{s}, @along)"));
        }
    }
    // Every value as bad as can be, and equal ones far apart.
    t.line("const @shape: i64[2] = [3, 67]");
    t.line("const @low: f32[] = [-inf]");
    t.line("%lowest = Expand(@low, @shape)");
    t.input("f", &[3, 67]);
    t.line("%signs = Sign(%f)");
    t.line("%some = Less(%signs, %f)");
    t.line("%holes = Where(%some, %lowest, %signs)");
    t.line("%roots = Sqrt(%signs)");
    for value in ["lowest", "signs", "holes", "roots"] {
        for op in ["ArgMax", "ArgMin"] {
            for (axis, last) in [(1, 0), (1, 1), (0, 1)] {
                t.output(&format!("{op}(%{value}) {{axis = {axis}, select_last_index = {last}}}"));
            }
        }
    }
    t
}

/// Quotients and remainders of integers that f32 or f64 hold.
pub(super) fn quotients() -> Text {
    let mut t = Text::default();
    for dtype in INTEGERS.into_iter().filter(|ty| !ty.ends_with("64")) {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            t.output(&format!("Div(%x_{s}, %z_{s})"));
            t.output(&format!("Mod(%x_{s}, %z_{s})"));
            t.output(&format!("Mod(%x_{s}, %z_{s}) {{fmod = 1}}"));
        }
    }
    t
}
