//! Models with open dimensions, compiled once and run at several sizes: at six points of the way and on every level of this
//! machine, each result compared with that of the imported graph at that size. As libraries they stand between guard
//! pages, with room for nothing but the size of the run.

use std::path::Path;
use std::process::{Command, ExitCode};

use kiln_compiler::internals::emit::jit;
use kiln_compiler::internals::passes::infer;
use kiln_compiler::internals::pipeline;
use kiln_ir::dim::Symbols;
use kiln_ir::graph::{self, Graph};
use kiln_ir::{DType, Tensor};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::{Outcome, random, stages, text, tools};
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "open_dimensions/recurrent.rs"]
mod recurrent;

/// Name and body of a graph with the dimensions `n`, `s` or both; inputs whose names begin with `w` are constants.
const BATCHES: &[(&str, &str)] = &[
    ("elementwise", "input %x: f32[n, 5, 7] input %w: f32[5, 1] %a = Mul(%x, %w) %y = Tanh(%a)"),
    ("two_inputs", "input %x: f32[n, 33] input %z: f32[n, 1] %a = Add(%x, %z) %y = Sigmoid(%a)"),
    ("scalars", "input %x: f32[n] %y = Exp(%x)"),
    ("integers", "input %x: i32[n, 37] %y = Add(%x, %x)"),
    (
        "pointwise",
        "input %x: f32[n, 20, 5, 7] input %w: f32[24, 20, 1, 1] input %wb: f32[24] \
        %a = Conv(%x, %w, %wb) %y = Relu(%a)",
    ),
    // Enough for several threads, which share rows: of one panel, and of several.
    ("shared_rows", "input %x: f32[n, 48, 19, 21] input %w: f32[16, 48, 1, 1] %y = Conv(%x, %w)"),
    (
        "shared_panels",
        "input %x: f32[n, 40, 13, 7] input %w: f32[200, 40, 1, 1] %a = Conv(%x, %w) %y = Relu(%a)",
    ),
    ("shared_maps", "input %x: f32[n, 60, 40, 40] %a = Tanh(%x) %y = Exp(%a)"),
    (
        "padded",
        "input %x: f32[n, 3, 9, 7] input %w: f32[5, 3, 3, 3] \
        %y = Conv(%x, %w) {strides = [2, 1], pads = [2, 1, 1, 2], dilations = [2, 1]}",
    ),
    (
        "winograd",
        "input %x: f32[n, 24, 15, 14] input %w: f32[20, 24, 3, 3] input %wc: f32[18, 20, 3, 3] \
        %a = Conv(%x, %w) {pads = [1, 1, 1, 1]} %b = Relu(%a) %y = Conv(%b, %wc) {pads = [1, 1, 1, 1]}",
    ),
    (
        "depthwise",
        "input %x: f32[n, 20, 9, 8] input %w: f32[20, 1, 3, 3] \
        %y = Conv(%x, %w) {group = 20, pads = [1, 1, 1, 1]}",
    ),
    (
        "every_other_row",
        "input %x: f32[n, 7] const @b: i64[2] = [1, 0] const @e: i64[2] = [99, 99] const @a: i64[2] = [0, 1] \
        const @t: i64[2] = [2, 3] %y = Slice(%x, @b, @e, @a, @t)",
    ),
    (
        "rows_that_are_cut_off",
        "input %x: f32[1, 1, n, 3] input %w: f32[1, 2, 3, 3] %a = Tanh(%x) \
        %y = ConvTranspose(%a, %w) {strides = [2, 2], pads = [0, 1, 1, 1]}",
    ),
    (
        "rows_taken_apart_by_steps",
        "input %x: f32[1, 3, n, 5] input %w: f32[3, 4, 16, 3] input %wb: f32[4] input %wc: f32[4, 2, 5, 4] \
        %a = ConvTranspose(%x, %w, %wb) {strides = [8, 1], pads = [4, 1, 4, 1]} %b = Relu(%a) \
        %y = ConvTranspose(%b, %wc) {strides = [3, 2], pads = [1, 1, 2, 0]}",
    ),
    ("grouped", "input %x: f32[n, 12, 6, 6] input %w: f32[10, 6, 3, 3] %y = Conv(%x, %w) {group = 2}"),
    (
        "residual",
        "input %x: f32[n, 16, 6, 5] input %w: f32[16, 16, 1, 1] input %wd: f32[16, 1, 3, 3] \
        %a = Conv(%x, %w) %b = Conv(%a, %wd) {group = 16, pads = [1, 1, 1, 1]} %c = Add(%a, %b) %y = Relu(%c)",
    ),
    (
        "pools",
        "input %x: f32[n, 6, 9, 9] %a = MaxPool(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]} \
        %y = AveragePool(%a) {kernel_shape = [2, 2]}",
    ),
    (
        "positions_of_maxima",
        "input %x: f32[n, 3, 9, 7] %y, %i = MaxPool(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 1]} output %i",
    ),
    (
        "global",
        "input %x: f32[n, 20, 7, 7] input %w: f32[20, 9] %a = GlobalAveragePool(%x) %b = Flatten(%a) \
        %y = MatMul(%b, %w)",
    ),
    ("gemm", "input %x: f32[n, 33] input %w: f32[33, 50] input %wb: f32[50] %y = Gemm(%x, %w, %wb)"),
    ("narrow", "input %x: f32[n, 40] input %w: f32[40, 3] %y = MatMul(%x, %w)"),
    ("products", "input %x: f32[n, 5, 9] input %z: f32[n, 9, 18] %y = MatMul(%x, %z)"),
    ("softmax", "input %x: f32[n, 3, 37] %y = Softmax(%x) {axis = 2}"),
    ("softmax_outer", "input %x: f32[n, 37, 5] %y = Softmax(%x) {axis = 1}"),
    (
        "normalised",
        "input %x: f32[n, 4, 40] input %w: f32[40] input %wb: f32[40] \
        %y = LayerNormalization(%x, %w, %wb) {axis = -1}",
    ),
    ("means", "input %x: f32[n, 6, 35] %y = ReduceMean(%x) {axes = [1], keepdims = 0}"),
    ("over_batch", "input %x: f32[n, 6, 35] %y = ReduceMax(%x) {axes = [0], keepdims = 0}"),
    ("batch_mean", "input %x: f32[n, 9] %y = ReduceMean(%x) {axes = [0, 1], keepdims = 0}"),
    ("positions", "input %x: f32[n, 50] %y = ArgMax(%x) {axis = 1}"),
    ("transposed", "input %x: f32[n, 17, 20] %y = Transpose(%x) {perm = [0, 2, 1]}"),
    ("batch_inside", "input %x: f32[n, 6, 7] %y = Transpose(%x) {perm = [1, 0, 2]}"),
    ("batch_innermost", "input %x: f32[n, 6] %a = Tanh(%x) %b = Transpose(%a) {perm = [1, 0]} %y = Exp(%b)"),
    (
        "concat",
        "input %x: f32[n, 6, 5] input %z: f32[n, 3, 5] %a = Tanh(%x) %b = Concat(%a, %z) {axis = 1} %y = Exp(%b)",
    ),
    ("twice", "input %x: f32[n, 6] %a = Tanh(%x) %y = Concat(%a, %x) {axis = 0}"),
    ("split", "input %x: f32[n, 6, 4] %a, %b = Split(%x) {axis = 1} %c = Mul(%a, %b) %y = Tanh(%c)"),
    ("padding", "input %x: f32[n, 6, 5] const @p: i64[6] = [0, 1, 2, 0, 0, 1] %y = Pad(%x, @p)"),
    (
        "reshaped",
        "input %x: f32[n, 6, 10] const @s: i64[3] = [0, 4, -1] %a = Tanh(%x) %b = Reshape(%a, @s) %y = Exp(%b)",
    ),
    (
        "rows_merged",
        "input %x: f32[n, 6, 10] input %w: f32[10, 20] const @s: i64[2] = [-1, 10] %b = Reshape(%x, @s) \
        %y = MatMul(%b, %w)",
    ),
    ("gathered", "input %x: f32[n, 6, 10] const @i: i64[3] = [2, 0, -1] %y = Gather(%x, @i) {axis = 1}"),
    ("embedded", "input %i: i64[n, 4] input %w: f32[9, 20] %y = Gather(%w, %i)"),
    (
        "quantised",
        "input %x: f32[n, 20] input %w: f32[20, 18] %a, %s, %z = DynamicQuantizeLinear(%x) \
        %b = DequantizeLinear(%a, %s, %z) %y = MatMul(%b, %w)",
    ),
    ("halves", "input %x: f16[n, 20] input %w: f16[20, 18] %y = MatMul(%x, %w)"),
    ("doubles", "input %x: f64[n, 9] input %w: f64[9, 7] %y = MatMul(%x, %w)"),
];

/// The same with a second dimension inside.
const SEQUENCES: &[(&str, &str)] = &[
    ("elementwise", "input %x: f32[n, s, 9] input %w: f32[9] %y = Add(%x, %w)"),
    ("rows", "input %x: f32[n, s, 20] input %w: f32[20, 24] %a = MatMul(%x, %w) %y = Tanh(%a)"),
    ("softmax", "input %x: f32[n, 3, s] %y = Softmax(%x) {axis = 2}"),
    (
        "scores",
        "input %x: f32[n, s, 12] %t = Transpose(%x) {perm = [0, 2, 1]} %a = MatMul(%x, %t) \
        %b = Softmax(%a) {axis = -1} %y = MatMul(%b, %x)",
    ),
    (
        "normalised",
        "input %x: f32[n, s, 40] input %w: f32[40] input %wb: f32[40] \
        %y = LayerNormalization(%x, %w, %wb) {axis = -1}",
    ),
    ("embedded", "input %i: i64[n, s] input %w: f32[9, 20] %y = Gather(%w, %i)"),
    // Sizes as values: masks as exporters write them, positions, means by division.
    (
        "mask",
        "input %x: f32[n, s] const @one: i64[1] = [1] const @none: i64[1] = [-1] const @last: i64[] = [1] \
        const @first: i64[] = [0] const @step: i64[] = [1] const @axes: i64[1] = [0] \
        %shape = Shape(%x) %n = Gather(%shape, @first) {axis = 0} %s = Gather(%shape, @last) {axis = 0} \
        %rows = Range(@first, %n, @step) %cols = Range(@first, %s, @step) %r = Unsqueeze(%rows, @one) \
        %f = Mul(%r, %s) %at = Add(%cols, %f) %flat = Reshape(%x, @none) %b = Gather(%flat, %at) {axis = 0} \
        %n1 = Unsqueeze(%n, @axes) %s1 = Unsqueeze(%s, @axes) %wanted = Concat(%n1, @none, %s1) {axis = 0} \
        %rank = Shape(%wanted) %ones = ConstantOfShape(%rank) {value = tensor i64[1] [1]} \
        %minus = Mul(%ones, @none) %is = Equal(%wanted, %minus) %to = Where(%is, %ones, %wanted) \
        %three = Unsqueeze(%b, @one) %e = Expand(%three, %to) %y = Tanh(%e)",
    ),
    (
        "mean_by_size",
        "input %x: f32[n, s] const @last: i64[] = [1] const @axes: i64[1] = [1] %shape = Shape(%x) \
        %s = Gather(%shape, @last) {axis = 0} %f = Cast(%s) {to = 1} %a = ReduceSum(%x, @axes) %y = Div(%a, %f)",
    ),
    // No loop is open, and yet strides and places are.
    (
        "column",
        "input %x: f32[3, s, n] const @i: i64[1] = [0] %a = Gather(%x, @i) {axis = 1} %b = Gather(%a, @i) {axis = 2} %y = Tanh(%b)",
    ),
    ("sizes", "input %x: f32[n, s] %a = Shape(%x) %y = Add(%a, %a)"),
    // Vectors, columns and depth that are open, in every remainder; heads, of which rows lie apart.
    ("row", "input %x: f32[s] %a = Tanh(%x) %y = Exp(%a)"),
    ("bytes_of_rows", "input %x: u8[n, s] input %z: u8[n, s] %a = Min(%x, %z) %y = Max(%a, %x)"),
    ("wide", "input %x: f64[n, s] input %z: f64[1, s] %a = Mul(%x, %z) %y = Sqrt(%a)"),
    ("short", "input %x: f16[n, s] %a = Tanh(%x) %y = Mul(%a, %a)"),
    ("whole", "input %x: i64[n, s] input %z: i64[n, s] %y = Add(%x, %z)"),
    ("greatest", "input %x: f32[n, 5, s] %y = ReduceMax(%x) {axes = [2], keepdims = 0}"),
    (
        "product_sum",
        "input %x: f32[n, 5, s] input %z: f32[n, 5, s] %a = Mul(%x, %z) %y = ReduceSumSquare(%a) {axes = [2]}",
    ),
    ("where_greatest", "input %x: f32[n, s] %y = ArgMax(%x) {axis = 1}"),
    ("open_depth", "input %x: f32[n, 6, s] input %z: f32[n, s, 35] %y = MatMul(%x, %z)"),
    ("open_columns", "input %x: f32[n, 5, 9] input %z: f32[n, 9, s] %a = MatMul(%x, %z) %y = Tanh(%a)"),
    ("open_both", "input %x: f32[s, 9] input %z: f32[9, s] %y = MatMul(%x, %z)"),
    ("turned", "input %x: f32[n, s, 20] %a = Tanh(%x) %b = Transpose(%a) {perm = [0, 2, 1]} %y = Exp(%b)"),
    (
        "attention",
        "input %x: f32[n, s, 24] input %m: f32[n, s] input %w: f32[24, 24] input %wk: f32[24, 24] input %wv: f32[24, 24] \
        const @heads: i64[4] = [0, 0, 3, 8] const @whole: i64[3] = [0, 0, 24] const @axes: i64[2] = [1, 2] \
        %q0 = MatMul(%x, %w) %k0 = MatMul(%x, %wk) %v0 = MatMul(%x, %wv) \
        %q1 = Reshape(%q0, @heads) %k1 = Reshape(%k0, @heads) %v1 = Reshape(%v0, @heads) \
        %q = Transpose(%q1) {perm = [0, 2, 1, 3]} %k = Transpose(%k1) {perm = [0, 2, 3, 1]} \
        %v = Transpose(%v1) {perm = [0, 2, 1, 3]} %a = MatMul(%q, %k) %mask = Unsqueeze(%m, @axes) \
        %b = Add(%a, %mask) %c = Softmax(%b) {axis = -1} %d = MatMul(%c, %v) \
        %e = Transpose(%d) {perm = [0, 2, 1, 3]} %y = Reshape(%e, @whole)",
    ),
    // The caller's channels, which lie a size apart, are brought together.
    (
        "few_channels",
        "input %x: f32[n, 3, 4, s] input %w: f32[17, 3, 3, 3] %y = Conv(%x, %w) {pads = [1, 1, 1, 1], strides = [1, 2]}",
    ),
    ("two_channels", "input %x: i32[n, 2, 3, s] %a = Transpose(%x) {perm = [0, 2, 3, 1]} %y = Add(%a, %a)"),
    ("sums", "input %x: f32[n, s, 6] %y = ReduceMean(%x) {axes = [1], keepdims = 1}"),
];

/// Images of an open height and width, whose borders are where the size of a run says.
const IMAGES: &[(&str, &str)] = &[
    (
        "padded",
        "input %x: f32[2, 3, h, s] input %w: f32[5, 3, 3, 3] %y = Conv(%x, %w) {strides = [2, 1], pads = [1, 1, 1, 1]}",
    ),
    ("valid", "input %x: f32[1, 4, h, s] input %w: f32[20, 4, 3, 3] %y = Conv(%x, %w) {strides = [2, 2]}"),
    (
        "layers",
        "input %x: f32[1, 3, h, s] input %w: f32[16, 3, 3, 3] input %wd: f32[16, 1, 5, 5] input %wp: f32[24, 16, 1, 1] \
        %a = Conv(%x, %w) {strides = [2, 2], pads = [1, 1, 1, 1]} %b = Relu(%a) \
        %c = Conv(%b, %wd) {group = 16, strides = [2, 2], pads = [2, 2, 2, 2]} %d = Relu(%c) %y = Conv(%d, %wp)",
    ),
    (
        "residual",
        "input %x: f32[1, 16, h, s] input %w: f32[16, 16, 3, 3] input %wd: f32[16, 1, 3, 3] \
        %a = Conv(%x, %w) {pads = [1, 1, 1, 1]} %b = Conv(%a, %wd) {group = 16, pads = [1, 1, 1, 1]} %c = Add(%a, %b) \
        %y = Relu(%c)",
    ),
    // Minimal filtering of what is open along one axis or both; of bytes, too.
    (
        "filtered",
        "input %x: f32[1, 24, h, s] input %w: f32[20, 24, 3, 3] input %wb: f32[20] input %wc: f32[20, 20, 3, 3] \
        %a = Conv(%x, %w, %wb) {pads = [1, 1, 1, 1]} %b = Relu(%a) %c = Conv(%b, %wc) {pads = [1, 1, 1, 1]} \
        %d = Add(%c, %a) %y = Relu(%d)",
    ),
    (
        "filtered_without_padding",
        "input %x: f32[2, 32, h, s] input %w: f32[32, 32, 3, 3] input %wc: f32[17, 32, 3, 3] \
        %a = Conv(%x, %w) %b = Relu(%a) %y = Conv(%b, %wc) {pads = [2, 0, 1, 1]}",
    ),
    (
        "filtered_of_open_height",
        "input %x: f32[1, 24, h, 13] input %z: f32[1, 24, 1, s] input %w: f32[20, 24, 3, 3] input %wc: f32[18, 20, 3, 3] \
        %a = Conv(%x, %w) {pads = [1, 1, 1, 1]} %b = Relu(%a) %c = Conv(%b, %wc) {pads = [1, 1, 1, 1]} \
        %d = ReduceMax(%z) {axes = [1, 2, 3]} %y = Add(%c, %d)",
    ),
    (
        "filtered_of_open_width",
        "input %x: f32[1, 24, 14, s] input %z: f32[1, 24, h, 2] input %w: f32[20, 24, 3, 3] input %wc: f32[18, 20, 3, 3] \
        %a = Conv(%x, %w) {pads = [1, 1, 1, 1]} %b = Relu(%a) %c = Conv(%b, %wc) {pads = [1, 1, 1, 1]} \
        %d = ReduceMax(%z) {axes = [1, 2, 3]} %y = Add(%c, %d)",
    ),
    (
        "filtered_to_channels_last",
        "input %z: f32[1, h, s, 24] input %r: f32[1, h, s, 20] input %w: f32[20, 24, 3, 3] \
        %x = Transpose(%z) {perm = [0, 3, 1, 2]} %a = Conv(%x, %w) {pads = [1, 1, 1, 1]} \
        %b = Transpose(%a) {perm = [0, 2, 3, 1]} %y = Add(%b, %r)",
    ),
    // Channels of bytes by themselves: columns go by fours, of steps of one and two, with rests of channels.
    (
        "windows_of_bytes",
        "input %x: u8[1, 40, h, s] input %w: i8[40, 1, 3, 3] const @s: f32[] = [0.05] const @z: u8[] = [7] \
        const @zw: i8[] = [0] %y = QLinearConv(%x, @s, @z, %w, @s, @zw, @s, @z) {group = 40, pads = [1, 1, 1, 1]}",
    ),
    (
        "wide_windows_of_bytes",
        "input %x: u8[1, 20, h, s] input %w: i8[20, 1, 5, 5] const @s: f32[] = [0.05] const @z: u8[] = [7] \
        const @zw: i8[] = [0] %y = QLinearConv(%x, @s, @z, %w, @s, @zw, @s, @z) \
        {group = 20, pads = [2, 2, 2, 2], strides = [2, 2]}",
    ),
    // Planes of floats that become bytes of three channels, filled up to four.
    (
        "pixels",
        "input %x: f32[1, 3, h, s] input %w: i8[24, 3, 3, 3] const @s: f32[] = [0.05] const @z: u8[] = [128] \
        const @zw: i8[] = [0] %q = QuantizeLinear(%x, @s, @z) \
        %y = QLinearConv(%q, @s, @z, %w, @s, @zw, @s, @z) {pads = [1, 1, 1, 1], strides = [2, 2]}",
    ),
    (
        "filtered_bytes",
        "input %x: u8[1, 32, h, s] input %w: i8[32, 32, 3, 3] const @s: f32[] = [0.01] const @z: u8[] = [7] \
        const @zw: i8[] = [0] %a = QLinearConv(%x, @s, @z, %w, @s, @zw, @s, @z) {pads = [1, 1, 1, 1]} \
        %y = QLinearConv(%a, @s, @z, %w, @s, @zw, @s, @z) {pads = [1, 1, 1, 1]}",
    ),
    (
        "pools",
        "input %x: f32[1, 6, h, s] %a = MaxPool(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]} \
        %y = AveragePool(%a) {kernel_shape = [3, 3]}",
    ),
    (
        "padded_means",
        "input %x: f32[1, 20, h, s] input %w: f32[20, 20, 1, 1] %a = Conv(%x, %w) \
        %y = AveragePool(%a) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 1]}",
    ),
    (
        "means_of_padding_and_beyond",
        "input %x: f32[2, 6, h, s] \
        %y = AveragePool(%x) {kernel_shape = [3, 4], pads = [1, 2, 0, 1], strides = [2, 3], ceil_mode = 1, count_include_pad = 1}",
    ),
    (
        "means_of_distant_elements",
        "input %x: f32[1, 5, h, s] \
        %y = AveragePool(%x) {kernel_shape = [3, 2], pads = [2, 1, 2, 0], dilations = [2, 3], ceil_mode = 1, strides = [3, 1]}",
    ),
    (
        "means_of_the_same_size",
        "input %x: f32[1, 18, h, s] %a = Tanh(%x) %y = AveragePool(%a) {kernel_shape = [2, 3], auto_pad = \"SAME_UPPER\"}",
    ),
    (
        "norms",
        "input %x: f32[1, 6, h, s] %y = LpPool(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]}",
    ),
    ("global", "input %x: f32[1, 20, h, s] %a = Tanh(%x) %y = GlobalAveragePool(%a)"),
    (
        "positions_of_maxima",
        "input %x: f32[1, 3, h, s] %a = Tanh(%x) \
        %y, %i = MaxPool(%a) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]} output %i",
    ),
    (
        "positions_by_columns",
        "input %x: f32[1, 3, h, s] %y, %i = MaxPool(%x) {kernel_shape = [2, 3], storage_order = 1} output %i",
    ),
    (
        "back_where_they_were",
        "input %x: f32[1, 3, h, s] %c = Concat(%x, %x) {axis = 2} %d = Concat(%c, %c) {axis = 3} \
        %a, %i = MaxPool(%d) {kernel_shape = [2, 2], strides = [2, 2]} %b = Exp(%a) \
        %y = MaxUnpool(%b, %i) {kernel_shape = [2, 2], strides = [2, 2]}",
    ),
    (
        "transposed",
        "input %x: f32[1, 6, h, s] input %w: f32[6, 5, 2, 2] input %wb: f32[5] input %wd: f32[5, 3, 3, 3] \
        %a = ConvTranspose(%x, %w, %wb) {strides = [2, 2]} %b = Relu(%a) %y = ConvTranspose(%b, %wd) {strides = [2, 3], pads = [1, 0, 1, 1]}",
    ),
    (
        "halved_and_doubled",
        "input %x: f32[1, 4, h, s] input %w: f32[18, 4, 3, 3] input %wp: f32[18, 18, 3, 3] input %wt: f32[18, 1, 2, 2] input %wu: f32[1, 1, 2, 2] \
        %a = Conv(%x, %w) {strides = [2, 2], pads = [1, 1, 1, 1]} %b = Conv(%a, %wp) {strides = [2, 2], pads = [1, 1, 1, 1]} \
        %c = ConvTranspose(%b, %wt) {strides = [2, 2]} %d = Relu(%c) %e = ConvTranspose(%d, %wu) {strides = [2, 2]} %y = Sigmoid(%e)",
    ),
    (
        "twice_as_large",
        "input %x: f32[1, 16, h, s] input %w: f32[20, 16, 3, 3] input %wp: f32[16, 16, 1, 1] \
        const @s: f32[4] = [1.0, 1.0, 2.0, 2.0] %a = Conv(%x, %wp) \
        %b = Resize(%a, _, @s) {coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"} \
        %y = Conv(%b, %w) {pads = [1, 1, 1, 1]}",
    ),
    (
        "nearest_of_half_pixels",
        "input %x: f32[2, 5, h, s] const @s: f32[4] = [1.0, 1.0, 0.5, 1.5] %a = Tanh(%x) %y = Resize(%a, _, @s)",
    ),
    (
        "linear",
        "input %x: f32[2, 5, h, s] const @s: f32[4] = [1.0, 1.0, 2.0, 0.75] %a = Tanh(%x) \
        %y = Resize(%a, _, @s) {mode = \"linear\"}",
    ),
    (
        "linear_by_corners_to_the_size_of_another",
        "input %x: f32[1, 4, h, s] input %w: f32[4, 4, 3, 3] %a = Conv(%x, %w) {strides = [2, 2], pads = [1, 1, 1, 1]} \
        %n = Shape(%x) %b = Resize(%a, _, _, %n) {mode = \"linear\", coordinate_transformation_mode = \"align_corners\"} \
        %y = Add(%b, %x)",
    ),
    (
        "cubic",
        "input %x: f32[1, 3, h, s] const @s: f32[4] = [1.0, 1.0, 1.5, 2.0] \
        %y = Resize(%x, _, @s) {mode = \"cubic\", exclude_outside = 1}",
    ),
    (
        "bytes",
        "input %x: u8[1, 3, h, s] const @s: f32[4] = [1.0, 1.0, 1.5, 2.0] %y = Resize(%x, _, @s) {mode = \"linear\"}",
    ),
];

/// The graph of a case, with constants drawn.
fn graph(name: &str, body: &str, dims: &[&str]) -> Outcome<Graph> {
    let dims: String = dims.iter().map(|d| format!("dim {d}\n")).collect();
    let source = format!("graph @{name} opset(17) {{ {dims} {body} output %y }}");
    let mut graph = graph::parse(&source).map_err(text)?;
    for (i, id) in graph.inputs().to_vec().into_iter().enumerate() {
        let value = graph.value(id);
        let (constant, fact) = (value.name.starts_with('w'), value.fact.clone());
        if let (true, Some(fact)) = (constant, fact) {
            let shape = fact.shape.as_const().ok_or("an open constant")?;
            let tensor = random::tensor(fact.dtype, &shape, 7, i).map_err(text)?;
            graph.fix_input(id, tensor).map_err(text)?;
        }
    }
    infer::run(&mut graph).map_err(text)?;
    Ok(graph)
}

/// Inputs of a graph for values of its dimensions. Indices are small.
fn inputs(graph: &Graph, symbols: &Symbols) -> Outcome<Vec<Tensor>> {
    let make = |(position, id): (usize, &graph::ValueId)| {
        let fact = graph.value(*id).fact.as_ref().ok_or("an input without a type")?;
        let extent = |d: &kiln_ir::Dim| d.eval(symbols).and_then(|n| usize::try_from(n).ok());
        let shape: Vec<usize> = fact.shape.iter().map(extent).collect::<Option<_>>().ok_or("no extent")?;
        if fact.dtype == DType::I64 {
            let count = shape.iter().product::<usize>();
            return Ok(Tensor::from_vec(&shape, (0..count).map(|i| (i * 5 % 9) as i64).collect::<Vec<_>>()));
        }
        random::tensor(fact.dtype, &shape, 3, position).map_err(text)
    };
    graph.inputs().iter().enumerate().map(make).collect()
}

/// The case at the ends of its bounds and between, at six points; compiled once for each level of this machine, too.
fn check(name: &str, body: &str, dims: &[&str], sizes: &[&[i64]], opt: u8) -> Outcome {
    let graph = graph(name, body, dims)?;
    let names: Vec<_> = graph.bounds.keys().cloned().collect();
    let mut runs = Vec::new();
    for values in sizes {
        let symbols: Symbols = names.iter().cloned().zip(values.iter().copied()).collect();
        let inputs = inputs(&graph, &symbols)?;
        let expected =
            stages::six_points(name, &graph, &inputs, opt).map_err(|e| format!("{values:?}: {e}"))?;
        runs.push((values, inputs, expected));
    }
    for level in stages::levels() {
        let options = stages::options(level, opt)?;
        let plan = pipeline::compile(graph.clone(), &options).map_err(text)?;
        let model = jit::Model::new(plan, &options.target, 2).map_err(text)?;
        for (values, inputs, expected) in &runs {
            let found = model.run(inputs).map_err(text)?;
            compare::close(&found, expected, ACROSS_STAGES)
                .map_err(|e| format!("{level} at {values:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Models of some size, whose arena is to be that of the same model compiled for the greatest sizes.
const ARENAS: &[(&str, &str)] = &[
    (
        "convolutions",
        "input %x: f32[n, 3, 64, 64] input %w: f32[32, 3, 3, 3] input %wd: f32[32, 1, 3, 3] input %wp: f32[64, 32, 1, 1] \
        input %wc: f32[64, 64, 3, 3] %a = Conv(%x, %w) {strides = [2, 2], pads = [1, 1, 1, 1]} %b = Relu(%a) \
        %c = Conv(%b, %wd) {group = 32, pads = [1, 1, 1, 1]} %d = Relu(%c) %e = Conv(%d, %wp) \
        %f = Conv(%e, %wc) {pads = [1, 1, 1, 1]} %g = Add(%e, %f) \
        %h = MaxPool(%g) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]} %i = Conv(%h, %wc) {pads = [1, 1, 1, 1]} \
        %j = GlobalAveragePool(%i) %y = Flatten(%j)",
    ),
    (
        "attention",
        "input %x: f32[n, s, 96] input %w: f32[96, 96] input %wk: f32[96, 96] input %wv: f32[96, 96] input %wu: f32[96, 384] \
        input %wf: f32[384, 96] const @heads: i64[4] = [0, 0, 3, 32] const @whole: i64[3] = [0, 0, 96] \
        %q0 = MatMul(%x, %w) %k0 = MatMul(%x, %wk) %v0 = MatMul(%x, %wv) \
        %q1 = Reshape(%q0, @heads) %k1 = Reshape(%k0, @heads) %v1 = Reshape(%v0, @heads) \
        %q = Transpose(%q1) {perm = [0, 2, 1, 3]} %k = Transpose(%k1) {perm = [0, 2, 3, 1]} \
        %v = Transpose(%v1) {perm = [0, 2, 1, 3]} %a = MatMul(%q, %k) %c = Softmax(%a) {axis = -1} %d = MatMul(%c, %v) \
        %e = Transpose(%d) {perm = [0, 2, 1, 3]} %f = Reshape(%e, @whole) %g = Add(%f, %x) %u = MatMul(%g, %wu) \
        %r = Gelu(%u) %l = MatMul(%r, %wf) %y = Add(%l, %g)",
    ),
    (
        "images",
        "input %x: f32[1, 3, h, s] input %w: f32[16, 3, 3, 3] input %wd: f32[16, 1, 5, 5] input %wp: f32[24, 16, 1, 1] \
        %a = Conv(%x, %w) {strides = [2, 2], pads = [1, 1, 1, 1]} %b = Relu(%a) \
        %c = Conv(%b, %wd) {group = 16, pads = [2, 2, 2, 2]} %d = Relu(%c) %e = Conv(%d, %wp) %f = Exp(%e) \
        %y = MaxPool(%f) {kernel_shape = [2, 2], strides = [2, 2]}",
    ),
    (
        "bytes",
        "input %x: f32[n, 512] input %w: f32[512, 512] %a, %s, %z = DynamicQuantizeLinear(%x) \
        %b = DequantizeLinear(%a, %s, %z) %c = MatMul(%b, %w) %y = Softmax(%c) {axis = 1}",
    ),
];

/// Of each dimension the bounds.
const BOUNDS: [(&str, i64, i64); 3] = [("n", 1, 8), ("s", 1, 128), ("h", 16, 96)];
/// The greatest part of an arena that leaving dimensions open may add.
const MORE: f64 = 0.05;

/// The arena of a model is that of the same model compiled for its greatest sizes, on every level.
fn arena(name: &str, body: &str) -> Outcome {
    let named = |name: &str, end: &str| body.contains(&format!("{name}{end}"));
    let used = |dim: &str| {
        named(&format!("[{dim}"), ",") || named(&format!(", {dim}"), ",") || named(&format!(", {dim}"), "]")
    };
    let dims: Vec<_> = BOUNDS.into_iter().filter(|(dim, ..)| used(dim)).collect();
    let lines: Vec<String> = dims.iter().map(|(dim, lo, hi)| format!("{dim} = {lo}..{hi}")).collect();
    let open = graph(name, body, &lines.iter().map(String::as_str).collect::<Vec<_>>())?;
    let greatest = dims.iter().fold(body.to_owned(), |body, (dim, _, hi)| {
        let body = body.replace(&format!("[{dim},"), &format!("[{hi},"));
        body.replace(&format!(", {dim},"), &format!(", {hi},"))
            .replace(&format!(", {dim}]"), &format!(", {hi}]"))
    });
    let fixed = graph(name, &greatest, &[])?;
    for level in stages::levels() {
        let options = stages::options(level, 2)?;
        let bytes = |graph: &Graph| -> Outcome<usize> {
            Ok(pipeline::compile(graph.clone(), &options).map_err(text)?.arena_bytes)
        };
        let (open, fixed) = (bytes(&open)?, bytes(&fixed)?);
        if open as f64 > fixed as f64 * (1.0 + MORE) {
            return Err(format!("{level}: {open} bytes, and {fixed} when compiled for the greatest sizes"));
        }
    }
    Ok(())
}

/// Sizes that a model needs to agree: what inference lets pass is checked when a run begins.
const AGREEING: &[(&str, &str, [i64; 2], [i64; 2])] = &[
    ("operands", "input %x: f32[n, 3] input %z: f32[s, 3] %y = Add(%x, %z)", [4, 4], [4, 3]),
    ("depth", "input %x: f32[n, s] input %z: f32[n, 3] %y = MatMul(%x, %z)", [5, 5], [3, 5]),
    (
        "rest",
        "input %x: f32[n] input %z: f32[s] const @s: i64[2] = [2, -1] %a = Tanh(%x) %b = Reshape(%a, @s) \
        %y = Add(%b, %z)",
        [6, 3],
        [5, 2],
    ),
];

/// Runs where sizes agree; ends with an error at every point where they do not.
fn agree(name: &str, body: &str, good: [i64; 2], bad: [i64; 2]) -> Outcome {
    let dims = ["n = 1..6", "s = 1..6"];
    check(name, body, &dims, &[&good], 2)?;
    let graph = graph(name, body, &dims)?;
    let symbols: Symbols = graph.bounds.keys().cloned().zip(bad).collect();
    let inputs = inputs(&graph, &symbols)?;
    let options = stages::options("baseline", 2)?;
    let trace = stages::trace(graph, &options)?;
    let (_, program) = trace.programs.first().ok_or("no program")?;
    let found = [
        kiln_ir::eval::kernel::run(program, &inputs).map_err(text),
        stages::run_plan(&trace.plan, &inputs),
        stages::run_jit(&trace.plan, &options, 1, &inputs),
    ];
    for (found, words) in found.into_iter().zip(["must agree", "must agree", "do not agree"]) {
        match found {
            Err(e) if e.contains(words) => {}
            other => return Err(format!("sizes {bad:?} give {other:?}")),
        }
    }
    Ok(())
}

/// A size outside of its bounds ends a call with a status before anything is written.
fn statuses(folder: &Path) -> Outcome {
    let graph = graph("m", "input %x: f32[n, s] %y = Tanh(%x)", &["n = 2..4", "s = 0..3"])?;
    let options = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    stages::write_library(folder, "m", plan, &options)?;
    let main = r#"#include "m.h"
        static m_INPUT_0_CTYPE x[m_INPUT_0_ELEMENTS], y[m_OUTPUT_0_ELEMENTS + 1];
        static _Alignas(m_ARENA_ALIGN) unsigned char arena[m_ARENA_BYTES];
        static int at(int64_t n, int64_t s) {
            const void *in[] = { x };
            void *out[] = { y };
            m_sizes sizes = { n, s };
            return m_run(in, out, arena, &sizes);
        }
        int main(void) {
            const void *in[] = { x };
            void *out[] = { y };
            for (int i = 0; i < m_INPUT_0_ELEMENTS; i++) x[i] = 1, y[i] = 5;
            y[m_OUTPUT_0_ELEMENTS] = 5;
            int64_t wrong[][2] = { { 1, 1 }, { 5, 1 }, { 2, 4 }, { 2, -1 }, { -2, 1 }, { INT64_MIN, 0 },
                                   { INT64_MAX, 0 }, { 3, INT64_MAX }, { 3, INT64_MIN } };
            for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
                if (at(wrong[i][0], wrong[i][1]) != m_DIMENSION_OUT_OF_BOUNDS) return 10 + i;
            if (m_run(in, out, arena, 0) != m_NULL_POINTER) return 1;
            for (int i = 0; i <= m_OUTPUT_0_ELEMENTS; i++) if (y[i] != 5) return 2;
            if (at(3, 0) != m_OK || y[0] != 5) return 3;
            if (at(3, 2) != m_OK || y[5] == 5 || y[6] != 5) return 4;
            return at(4, 3) != m_OK || y[11] == 5 || y[12] != 5;
        }"#;
    let (source, program) = (folder.join("main.c"), folder.join("main"));
    tools::write(&source, main)?;
    tools::link(tools::CC, &["-std=c11", "-Wall", "-Werror"], &source, &[&folder.join("libm.a")], &program)?;
    tools::run(&mut Command::new(program)).map(|_| ())
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let mut add = |kind: &str, name: &str, opt: u8, run: Box<dyn Fn() -> Outcome + Send>| {
        trials.push(Trial::test(format!("{kind}::{name}::opt{opt}"), move || run().map_err(Failed::from)));
    };
    for (name, body) in BATCHES {
        for opt in [0, 2] {
            let run = move || check(name, body, &["n = 1..7"], &[&[1], &[2], &[7]], opt);
            add("batch", name, opt, Box::new(run));
        }
    }
    for (name, body) in SEQUENCES {
        let sizes: &[&[i64]] = &[&[1, 1], &[2, 13], &[3, 19], &[1, 157]];
        let alone: &[&[i64]] = &[&[1], &[13], &[19], &[157]];
        let run = move || match body.contains("[n") || body.contains("n]") {
            true => check(name, body, &["n = 1..3", "s = 1..157:23"], sizes, 2),
            false => check(name, body, &["s = 1..157:23"], alone, 2),
        };
        add("sequence", name, 2, Box::new(run));
    }
    for (name, body) in recurrent::CASES {
        let sizes: &[&[i64]] = &[&[1, 1], &[2, 5], &[3, 7], &[1, 19]];
        for opt in [0, 2] {
            let run = move || check(name, body, &["n = 1..3", "s = 1..19:7"], sizes, opt);
            add("recurrent", name, opt, Box::new(run));
        }
    }
    for (name, body) in IMAGES {
        let sizes: &[&[i64]] = &[&[7, 8], &[20, 13], &[9, 24]];
        let run = move || check(name, body, &["h = 7..20", "s = 8..24"], sizes, 2);
        add("image", name, 2, Box::new(run));
    }
    for (name, body) in ARENAS {
        add("arena", name, 2, Box::new(move || arena(name, body)));
    }
    for (name, body, good, bad) in AGREEING {
        add("agree", name, 2, Box::new(move || agree(name, body, *good, *bad)));
    }
    add("statuses", "status", 2, Box::new(|| statuses(tempfile::tempdir().map_err(text)?.path())));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
