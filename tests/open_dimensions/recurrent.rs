//! Recurrent layers and running sums over open sequences and batches.

/// Name and body of a graph with the dimensions `n` and `s`.
pub(super) const CASES: &[(&str, &str)] = &[
    (
        "lstm",
        "input %x: f32[s, n, 5] input %w: f32[1, 80, 5] input %wr: f32[1, 80, 20] input %wb: f32[1, 160] \
        %a, %h, %c = LSTM(%x, %w, %wr, %wb) {hidden_size = 20} %b = Add(%h, %c) %y = Add(%a, %b)",
    ),
    (
        "lstm_with_states_and_peepholes",
        "input %x: f32[s, n, 5] input %h0: f32[1, n, 6] input %c0: f32[1, n, 6] input %w: f32[1, 24, 5] \
        input %wr: f32[1, 24, 6] input %wb: f32[1, 48] input %wp: f32[1, 18] \
        %a, %h, %c = LSTM(%x, %w, %wr, %wb, _, %h0, %c0, %wp) {hidden_size = 6, direction = \"reverse\"} \
        %b = Add(%h, %c) %y = Add(%a, %b)",
    ),
    (
        "lstm_of_given_lengths_both_ways",
        "input %x: f32[s, n, 5] input %l: i64[n] input %w: f32[2, 24, 5] input %wr: f32[2, 24, 6] \
        %t = Shape(%x) {start = 0, end = 1} %m = Min(%l, %t) %k = Cast(%m) {to = 6} \
        %a, %h, %c = LSTM(%x, %w, %wr, _, %k) {hidden_size = 6, direction = \"bidirectional\"} \
        %b = Add(%h, %c) %y = Add(%a, %b)",
    ),
    (
        "lstm_of_batches_first",
        "input %x: f32[n, s, 5] input %w: f32[2, 24, 5] input %wr: f32[2, 24, 6] \
        %y = LSTM(%x, %w, %wr) {hidden_size = 6, direction = \"bidirectional\", layout = 1}",
    ),
    (
        "gru",
        "input %x: f32[s, n, 7] input %w: f32[1, 48, 7] input %wr: f32[1, 48, 16] input %wb: f32[1, 96] \
        %a, %h = GRU(%x, %w, %wr, %wb) {hidden_size = 16} %y = Add(%a, %h)",
    ),
    (
        "gru_reset_after_both_ways",
        "input %x: f32[s, n, 7] input %w: f32[2, 15, 7] input %wr: f32[2, 15, 5] input %wb: f32[2, 30] \
        %y, %h = GRU(%x, %w, %wr, %wb) {hidden_size = 5, linear_before_reset = 1, direction = \"bidirectional\"}",
    ),
    (
        "rnn_of_given_weights",
        "input %x: f32[s, n, 7] input %v: f32[1, 5, 7] input %r: f32[1, 5, 5] %a, %h = RNN(%x, %v, %r) {hidden_size = 5} \
        %y = Add(%a, %h)",
    ),
    (
        "layers_one_behind_the_other",
        "input %x: f32[s, n, 5] input %w: f32[1, 24, 5] input %wr: f32[1, 24, 6] input %wv: f32[1, 12, 6] \
        input %ws: f32[1, 12, 4] const @axis: i64[1] = [1] %a = LSTM(%x, %w, %wr) {hidden_size = 6} %b = Squeeze(%a, @axis) \
        %y = GRU(%b, %wv, %ws) {hidden_size = 4}",
    ),
    (
        "three_elements_of_a_batch",
        "input %x: f32[3, n, 5] input %h0: f32[1, n, 6] input %w: f32[1, 24, 5] input %wr: f32[1, 24, 6] input %z: f32[s] \
        %a, %h, %c = LSTM(%x, %w, %wr, _, _, %h0) {hidden_size = 6} %b = Add(%h, %c) %d = Add(%a, %b) %e = ReduceSum(%z) \
        %y = Add(%d, %e)",
    ),
    (
        "mostly_zeros",
        "input %x: f32[s, 1, 5] input %z: f32[n] input %w: f32[1, 64, 5] const @zeros: f32[1, 64, 16] = splat 0.0 \
        input %wb: f32[1, 128] %a = LSTM(%x, %w, @zeros, %wb) {hidden_size = 16} %b = ReduceSum(%z) %y = Add(%a, %b)",
    ),
    ("sums_of_rows", "input %x: f32[n, s, 6] const @axis: i64[] = [1] %y = CumSum(%x, @axis)"),
    (
        "sums_of_elements",
        "input %x: f32[n, s] const @axis: i64[] = [1] %y = CumSum(%x, @axis) {exclusive = 1}",
    ),
    (
        "sums_from_the_end",
        "input %x: i64[s, n] const @axis: i64[] = [0] %a = CumSum(%x, @axis) {reverse = 1} \
        %b = CumSum(%x, @axis) {reverse = 1, exclusive = 1} %y = Sub(%a, %b)",
    ),
];
