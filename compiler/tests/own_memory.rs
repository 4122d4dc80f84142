//! Runs on memory of the caller's own: nothing is copied, and what does not fit is refused.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use kiln_compiler::{Compiler, DType, Model, Tensor, View, ViewMut};

const SHAPE: [usize; 4] = [1, 3, 32, 32];

fn model(threads: usize) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny/tiny_ic_resnet8.onnx");
    Compiler::from_path(path).jit(threads).unwrap()
}

fn image() -> Vec<f32> {
    (0..3072).map(|i| (i % 29) as f32 / 29.0).collect()
}

#[test]
fn slices_anywhere_give_the_bits_of_tensors() {
    let model = model(2);
    let expected = model.run(&[Tensor::from_vec(&SHAPE, image())]).unwrap();
    let mut runner = model.runner().unwrap();
    for shift in 0..17 {
        let mut input = vec![f32::NAN; shift];
        input.extend(image());
        input.push(f32::NAN);
        let mut output = vec![7.0f32; 12 + shift];
        let view = View::new(&SHAPE, &input[shift..shift + 3072]);
        runner.run(&[view], &mut [ViewMut::new(&mut output[shift..shift + 10])]).unwrap();
        assert_eq!(output[shift..shift + 10], *expected[0].as_slice::<f32>().unwrap());
        // Nothing beside it was written.
        assert!(output[..shift].iter().chain(&output[shift + 10..]).all(|v| *v == 7.0));
        let mut again = [0.0f32; 10];
        let stop = AtomicBool::new(false);
        assert!(runner.run_unless(&[view], &mut [ViewMut::new(&mut again).shaped(&[1, 10])], &stop).unwrap());
        assert_eq!(again, output[shift..shift + 10]);
    }
}

/// Elements of a file may lie anywhere: tensors of them run too.
#[test]
fn tensors_that_lie_askew_run() {
    let model = model(1);
    let expected = model.run(&[Tensor::from_vec(&SHAPE, image())]).unwrap();
    let bytes: Vec<u8> = [0].into_iter().chain(image().iter().flat_map(|v| v.to_le_bytes())).collect();
    let askew = Tensor::new(DType::F32, SHAPE.to_vec(), bytes::Bytes::from(bytes).slice(1..)).unwrap();
    assert_eq!(model.run(&[askew]).unwrap(), expected);
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = model(1);
    let (input, mut output) = (image(), [0.0f32; 10]);
    let mut words = vec![0u64; 2000];
    let askew: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut words)[1..];
    let view = View::new(&SHAPE, &input);
    let refused = |inputs: &[View<'_>], outputs: &mut [ViewMut<'_>], expected: &str| {
        let e = model.run_on(inputs, outputs).unwrap_err();
        assert!(matches!(e, kiln_compiler::Error::Invalid(_)), "{e}");
        assert!(e.to_string().contains(expected), "{e}");
    };
    refused(&[], &mut [ViewMut::new(&mut output)], "the model has 1 inputs, 0 are given");
    refused(&[view], &mut [], "the model has 1 outputs, 0 are given");
    let wrong = View::new(&[1, 3, 32, 31], &input);
    refused(&[wrong], &mut [ViewMut::new(&mut output)], "f32[1, 3, 32, 31] is given");
    let short = View::new(&SHAPE, &input[1..]);
    refused(&[short], &mut [ViewMut::new(&mut output)], "12288 bytes, 12284 bytes are given");
    let integers = vec![0i32; 3072];
    refused(&[View::new(&SHAPE, &integers)], &mut [ViewMut::new(&mut output)], "i32[1, 3, 32, 32] is given");
    refused(&[view], &mut [ViewMut::new(&mut output[1..])], "40 bytes, 36 bytes are given");
    refused(&[view], &mut [ViewMut::new(&mut output).shaped(&[10, 1])], "f32[10, 1] is given");
    refused(&[view], &mut [ViewMut::new(&mut [0u32; 10])], "memory for u32 is given");
    let bytes = ViewMut::of_bytes(DType::F32, &mut askew[..40]);
    refused(&[view], &mut [bytes], "does not begin at a multiple of 4 bytes");
    let bytes = View::of_bytes(DType::F32, &SHAPE, &askew[..12288]);
    refused(&[bytes], &mut [ViewMut::new(&mut output)], "'input' does not begin at a multiple of 4 bytes");
}

/// Sizes follow from the arguments, and a run with them can be stopped.
#[test]
fn open_dimensions_follow_from_the_views() {
    let graph = "graph @m opset(17) {\n  input %x: f32[n, 3]\n  const @w: f32[3, 2] = [1, 2, 3, 4, 5, 6]\n  \
                 %y = Relu(%x)\n  %z = MatMul(%x, @w)\n  output %y\n  output %z\n}\n";
    let graph = kiln_ir::graph::parse(graph).unwrap();
    let model = Compiler::from_graph(graph).open_dim("n", 1..=9, None).jit(1).unwrap();
    let mut runner = model.runner().unwrap();
    for n in [1usize, 4, 9] {
        let x: Vec<f32> = (0..3 * n).map(|i| i as f32 - 4.0).collect();
        let shape = [n, 3];
        let view = View::new(&shape, &x);
        assert_eq!(runner.output_shapes(&[view]).unwrap(), [vec![n, 3], vec![n, 2]]);
        let (mut y, mut z) = (vec![0.0f32; 3 * n], vec![0.0f32; 2 * n]);
        let mut results = [ViewMut::new(&mut y), ViewMut::new(&mut z)];
        runner.run(&[view], &mut results).unwrap();
        assert!(!runner.run_unless(&[view], &mut results, &AtomicBool::new(true)).unwrap());
        assert!(y.iter().zip(&x).all(|(y, x)| *y == x.max(0.0)));
        let (expected, y_then) = (z.clone(), y.clone());
        (y, z) = (vec![0.0f32; 3 * n], vec![0.0f32; 2 * n]);
        let mut results = [ViewMut::new(&mut y), ViewMut::new(&mut z)];
        assert!(runner.run_unless(&[view], &mut results, &AtomicBool::new(false)).unwrap());
        assert_eq!((y, z), (y_then, expected));
    }
    let e = runner.output_shapes(&[View::new(&[10, 3], &[0.0f32; 30])]).unwrap_err();
    assert!(e.to_string().contains("outside 1..9"), "{e}");
}
