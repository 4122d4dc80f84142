//! Indices that arrive at run time are checked: nothing outside an axis is read, and the run ends with an error that
//! names the node and the values.

use kiln_compiler::internals::emit::jit::Model;
use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::{DType, Error, ErrorKind, Tensor, graph};

const ROWS: &str = "graph @m opset(17) {
  input %x: f32[5, 4]
  input %i: i64[3]
  %y = Gather(%x, %i) {axis = 0}
  %z = Neg(%y)
  output %z
}
";
const ELEMENTS: &str = "graph @m opset(17) {
  input %x: f32[2, 5]
  input %i: i32[2, 3]
  %y = GatherElements(%x, %i) {axis = 1}
  output %y
}
";
const CHAIN: &str = "graph @m opset(17) {
  input %x: f32[5, 2]
  input %table: i64[3]
  input %i: i64[4]
  %j = Gather(%table, %i) {axis = 0}
  %y = Gather(%x, %j) {axis = 0}
  output %y
}
";
const PUT: &str = r#"graph @m opset(18) {
  input %x: f32[5, 4]
  input %i: i64[2, 1]
  input %u: f32[2, 4]
  %y = ScatterND(%x, %i, %u) {reduction = "add"}
  output %y
}
"#;
const PUT_ELEMENTS: &str = "graph @m opset(18) {
  input %x: f32[3, 5]
  input %i: i32[3, 2]
  input %u: f32[3, 2]
  %y = ScatterElements(%x, %i, %u) {axis = 1}
  output %y
}
";
const NOTHING: &str = "graph @m opset(17) {
  input %x: f32[0, 4]
  input %i: i64[3]
  %y = Gather(%x, %i) {axis = 0}
  output %y
}
";
const OF_NOTHING: &str = "graph @m opset(17) {
  input %x: f32[0, 4]
  input %i: i64[0]
  %y = Gather(%x, %i) {axis = 0}
  output %y
}
";

/// The one problem of a run that was refused.
fn only(error: kiln_compiler::Error) -> Error {
    match error {
        kiln_compiler::Error::Invalid(list) => list.0[0].clone(),
        other => panic!("{other}"),
    }
}

/// The result on every level of this machine, with and without fusion, on one thread and on two: all agree.
fn run(source: &str, inputs: &[Tensor]) -> Result<Tensor, Error> {
    let mut results = Vec::new();
    for level in ["baseline", "avx", "avx2", "native"] {
        for opt in [0, 2] {
            let Ok(target) = kiln_targets::resolve("host", level, "") else { continue };
            let options = Options { opt, ..Options::new(target) };
            let plan = pipeline::compile(graph::parse(source).unwrap(), &options).unwrap();
            for threads in [1, 2] {
                let Ok(model) = Model::new(plan.clone(), &options.target, threads) else { continue };
                results.push(model.run(inputs).map(|mut outputs| outputs.swap_remove(0)).map_err(only));
            }
        }
    }
    let first = results.swap_remove(0);
    for other in results {
        assert_eq!(first.clone().map_err(|e| e.kind), other.map_err(|e| e.kind));
    }
    first
}

fn numbers(shape: &[usize]) -> Tensor {
    Tensor::from_vec(shape, (0..shape.iter().product::<usize>()).map(|i| i as f32).collect())
}

#[test]
fn rows_inside_are_taken() {
    let y = run(ROWS, &[numbers(&[5, 4]), Tensor::from_vec(&[3], vec![4i64, -5, 2])]).unwrap();
    assert_eq!(y.to_f64s().unwrap()[..5], [-16.0, -17.0, -18.0, -19.0, -0.0]);
}

#[test]
fn rows_outside_are_errors_that_name_node_and_values() {
    for bad in [9i64, 5, -6, i64::MAX, i64::MIN] {
        let indices = Tensor::from_vec(&[3], vec![0, bad, 3]);
        let error = run(ROWS, &[numbers(&[5, 4]), indices]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::IndexOutOfRange, "{error}");
        assert!(!error.node.is_empty(), "{error}");
        assert!(error.message.contains("'i' is an index into the 5 elements of an axis of 'x'"), "{error}");
    }
}

#[test]
fn elements_outside_are_errors() {
    let run =
        |at: i32| run(ELEMENTS, &[numbers(&[2, 5]), Tensor::from_vec(&[2, 3], vec![0, 1, at, -1, 4, 0])]);
    assert_eq!(run(-5).unwrap().to_f64s().unwrap(), [0.0, 1.0, 0.0, 9.0, 9.0, 5.0]);
    assert!(run(5).is_err() && run(-6).is_err() && run(i32::MIN).is_err());
}

#[test]
fn nothing_is_written_outside() {
    let rows = |at: [i64; 2]| {
        run(PUT, &[numbers(&[5, 4]), Tensor::from_vec(&[2, 1], at.to_vec()), numbers(&[2, 4])])
    };
    let y = rows([4, -1]).unwrap().to_f64s().unwrap();
    assert_eq!(y[12..], [12.0, 13.0, 14.0, 15.0, 20.0, 23.0, 26.0, 29.0]);
    for bad in [5, -6, i64::MAX, i64::MIN, 1 << 40] {
        let error = rows([0, bad]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::IndexOutOfRange, "{error}");
        assert!(error.message.contains("'i' is an index into the 5 elements of an axis of 'y"), "{error}");
    }
    let elements = |at: i32| {
        run(
            PUT_ELEMENTS,
            &[numbers(&[3, 5]), Tensor::from_vec(&[3, 2], vec![0, 1, at, -1, 4, 0]), numbers(&[3, 2])],
        )
    };
    let y = elements(-5).unwrap().to_f64s().unwrap();
    assert_eq!(y, [0.0, 1.0, 2.0, 3.0, 4.0, 2.0, 6.0, 7.0, 8.0, 3.0, 5.0, 11.0, 12.0, 13.0, 4.0]);
    assert!(elements(5).is_err() && elements(-6).is_err() && elements(i32::MIN).is_err());
}

#[test]
fn indices_of_indices_are_checked_too() {
    let run = |table: [i64; 3], i: [i64; 4]| {
        let (table, i) = (Tensor::from_vec(&[3], table.to_vec()), Tensor::from_vec(&[4], i.to_vec()));
        run(CHAIN, &[numbers(&[5, 2]), table, i])
    };
    let y = run([4, 0, 1], [0, 1, 2, -3]).unwrap();
    assert_eq!(y.to_f64s().unwrap(), [8.0, 9.0, 0.0, 1.0, 2.0, 3.0, 8.0, 9.0]);
    assert!(run([4, 0, 5], [0, 1, 2, 0]).unwrap_err().message.contains("'x'"));
    assert!(run([4, 0, 1], [0, 1, 3, 0]).unwrap_err().message.contains("'table'"));
    // What nobody asks for may be anything.
    assert!(run([4, 0, 77], [0, 1, 1, 0]).is_ok());
}

#[test]
fn an_axis_without_elements_has_no_index() {
    let none = || Tensor::zeros(DType::F32, &[0, 4]);
    assert!(run(NOTHING, &[none(), Tensor::from_vec(&[3], vec![0i64, 0, 0])]).is_err());
    assert_eq!(run(OF_NOTHING, &[none(), Tensor::zeros(DType::I64, &[0])]).unwrap().shape, [0, 4]);
}
