use super::*;
use crate::op::Fact;
use crate::ops::testing::{parse, run, sample};

/// Weights of moderate size, so that gates are not all open or shut.
fn small(shape: &[usize], step: usize) -> Tensor {
    let values = sample(shape, step).to_f64s().unwrap().into_iter().map(|v| v as f32 * 0.4).collect();
    Tensor::from_vec(shape, values)
}

const T: usize = 4;
const B: usize = 3;
const I: usize = 5;
const H: usize = 2;

fn network(name: &str, list: &[(&str, Attr)], directions: usize, lengths: bool) {
    let gates = match name {
        "RNN" => 1,
        "GRU" => 3,
        _ => 4,
    } * H;
    let batch_first = list.iter().any(|(name, _)| *name == "layout");
    let of = |a: usize, b: usize, c: usize| if batch_first { [b, a, c] } else { [a, b, c] };
    let mut inputs = vec![
        small(&of(T, B, I), 3),
        small(&[directions, gates, I], 5),
        small(&[directions, gates, H], 7),
        small(&[directions, 2 * gates], 11),
        Tensor::from_vec(&[B], if lengths { vec![2i32, 4, 1] } else { vec![T as i32; B] }),
        small(&of(directions, B, H), 13),
    ];
    if name == "LSTM" {
        inputs.extend([small(&of(directions, B, H), 2), small(&[directions, 3 * H], 9)]);
    }
    let outputs = if name == "LSTM" { 3 } else { 2 };
    let list: Vec<_> = list.iter().cloned().chain([("hidden_size", Attr::Int(H as i64))]).collect();
    let op = parse(name, 22, &list, inputs.len(), outputs).unwrap();
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    run(&*op, &inputs, &[1, 2, 3]).unwrap();
}

#[test]
fn directions_lengths_and_layouts() {
    for name in ["RNN", "GRU", "LSTM"] {
        for (direction, count) in [("forward", 1), ("reverse", 1), ("bidirectional", 2)] {
            for lengths in [false, true] {
                network(name, &[("direction", Attr::Str(direction.into()))], count, lengths);
            }
        }
        network(name, &[("layout", Attr::Int(1)), ("clip", Attr::Float(0.3))], 1, true);
    }
    network("GRU", &[("linear_before_reset", Attr::Int(1))], 1, false);
    network("LSTM", &[("input_forget", Attr::Int(1))], 1, false);
}

#[test]
fn every_activation() {
    let names = [
        "relu",
        "Tanh",
        "Sigmoid",
        "Softsign",
        "Softplus",
        "Affine",
        "LeakyRelu",
        "ThresholdedRelu",
        "ScaledTanh",
        "HardSigmoid",
        "Elu",
    ];
    for name in names {
        let list = [
            ("activations", Attr::Strs(vec![name.to_owned()])),
            ("activation_alpha", Attr::Floats(vec![0.7])),
        ];
        network("RNN", &list, 1, false);
    }
}

#[test]
fn a_step_by_hand() {
    // One element, one state: h = tanh(x w + h r + b).
    let one = |shape: &[usize], v: f32| Tensor::from_vec(shape, vec![v]);
    let bias = Tensor::from_vec(&[1, 2], vec![0.25f32, -0.5]);
    let op = parse("RNN", 14, &[("hidden_size", Attr::Int(1))], 4, 2).unwrap();
    let inputs = [one(&[1, 1, 1], 2.0), one(&[1, 1, 1], 0.5), one(&[1, 1, 1], 3.0), bias];
    let y = run(&*op, &inputs.iter().collect::<Vec<_>>(), &[]).unwrap();
    assert!((y[0].to_f64s().unwrap()[0] - 0.75f64.tanh()).abs() < 1e-6);
    // LSTM with all weights 0: gates are 1/2, the cell halves.
    let op = parse("LSTM", 14, &[("hidden_size", Attr::Int(1))], 7, 3).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(DType::F32, shape);
    let inputs = [
        zeros(&[1, 1, 1]),
        zeros(&[1, 4, 1]),
        zeros(&[1, 4, 1]),
        zeros(&[1, 8]),
        Tensor::from_vec(&[1], vec![1i32]),
        zeros(&[1, 1, 1]),
        one(&[1, 1, 1], 2.0),
    ];
    let y = run(&*op, &inputs.iter().collect::<Vec<_>>(), &[]).unwrap();
    assert_eq!(y[2], one(&[1, 1, 1], 1.0));
    assert!((y[1].to_f64s().unwrap()[0] - 0.5 * 1f64.tanh()).abs() < 1e-6);
}

#[test]
fn weights_of_the_state_that_are_mostly_zeros() {
    const H: usize = 48;
    for (name, gates) in [("GRU", 3 * H), ("LSTM", 4 * H)] {
        for rows in [1, 4, 16] {
            let kept = |i: usize| (i / H / rows * 7 + i % H * 3).is_multiple_of(11);
            let values = small(&[1, gates, H], 7).to_f64s().unwrap();
            let zeros = values.iter().enumerate().map(|(i, v)| if kept(i) { *v as f32 } else { 0.0 });
            let state = || small(&[1, 1, H], 13);
            let mut inputs = vec![
                small(&[T, 1, I], 3),
                small(&[1, gates, I], 5),
                Tensor::from_vec(&[1, gates, H], zeros.collect()),
                small(&[1, 2 * gates], 11),
                Tensor::from_vec(&[1], vec![T as i32]),
                state(),
            ];
            inputs.extend((name == "LSTM").then(state));
            let mut list = vec![("hidden_size", Attr::Int(H as i64))];
            list.extend((name == "GRU").then_some(("linear_before_reset", Attr::Int(1))));
            let op = parse(name, 22, &list, inputs.len(), 2).unwrap();
            run(&*op, &inputs.iter().collect::<Vec<_>>(), &[1, 2, 3, 4]).unwrap();
        }
    }
}

#[test]
fn quantised_products() {
    let of = |shape: &[usize], seed| crate::ops::testing::bytes(DType::I8, shape, seed);
    let scale = Tensor::from_vec(&[1], vec![0.01f32]);
    let zero = Tensor::from_vec(&[1], vec![0i8]);
    let inputs = [
        small(&[T, B, I], 3),
        of(&[1, I, 4 * H], 1),
        of(&[1, H, 4 * H], 2),
        small(&[1, 8 * H], 11),
        Tensor::from_vec(&[B], vec![2i32, 4, 1]),
        small(&[1, B, H], 13),
        small(&[1, B, H], 2),
        small(&[1, 3 * H], 9),
        scale.clone(),
        zero.clone(),
        scale,
        zero,
    ];
    let list = [("hidden_size", Attr::Int(H as i64))];
    let op = parse("com.microsoft::DynamicQuantizeLSTM", 1, &list, 12, 3).unwrap();
    run(&*op, &inputs.iter().collect::<Vec<_>>(), &[1, 2, 3, 8, 9, 10, 11]).unwrap();
}

#[test]
fn what_does_not_fit_is_invalid() {
    let refused = |name: &str, list: &[(&str, Attr)]| parse(name, 22, list, 3, 1).unwrap_err().message;
    let hidden = ("hidden_size", Attr::Int(2));
    assert!(refused("RNN", &[]).contains("hidden_size"));
    assert!(refused("RNN", &[hidden.clone(), ("direction", Attr::Str("up".into()))]).contains("'up'"));
    assert!(
        refused("GRU", &[hidden.clone(), ("activations", Attr::Strs(vec!["Tanh".into()]))]).contains("1 act")
    );
    let op = parse("LSTM", 22, &[hidden], 3, 1).unwrap();
    let fact = |shape: &[usize]| Fact::new(DType::F32, crate::types::Shape::of(shape));
    let (x, w, r) = (fact(&[4, 3, 5]), fact(&[1, 8, 5]), fact(&[1, 8, 3]));
    let message = op.infer(&[Some(&x), Some(&w), Some(&r)]).unwrap_err().message;
    assert!(message.contains("weights of the state"), "{message}");
}

#[test]
fn a_long_sequence_is_a_loop_of_the_same_steps() {
    const LONG: usize = 1030;
    let op = parse("GRU", 22, &[("hidden_size", Attr::Int(1))], 4, 2).unwrap();
    let x = small(&[LONG, 1, 1], 3);
    let others = [small(&[1, 3, 1], 5), small(&[1, 3, 1], 7), small(&[1, 6], 11)];
    let of = |x: &Tensor| {
        let inputs: Vec<Option<&Tensor>> = [x].into_iter().chain(&others).map(Some).collect();
        op.eval(&inputs).unwrap()
    };
    let first = Tensor::new(DType::F32, vec![LONG - 6, 1, 1], x.data.slice(..4 * (LONG - 6))).unwrap();
    let (all, unrolled) = (of(&x), of(&first));
    assert_eq!(all[0].data[..4 * (LONG - 6)], unrolled[0].data[..]);
    assert_eq!(all[1].data[..], all[0].data[4 * (LONG - 1)..]);
    run(&*op, &[&x, &others[0], &others[1], &others[2]], &[1, 2, 3]).unwrap();
}
