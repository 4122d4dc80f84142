//! Initialisers of every element type, and of none.

use kiln_ir::Limits;
use kiln_ir::{DType, Tensor};
use onnx_protobuf::{GraphProto, SparseTensorProto, TensorProto};
use protobuf::MessageField;

use crate::from_bytes;
use crate::testing::*;

fn holding(tensor: TensorProto) -> onnx_protobuf::ModelProto {
    model(graph(vec![x()], vec![tensor], vec![node("Relu", &["x"], &["y"])]))
}

fn read(tensor: TensorProto) -> Tensor {
    let graph = import(&holding(tensor)).unwrap();
    graph.constant(graph.find("w").unwrap()).unwrap().clone()
}

fn typed(data_type: i32, dims: &[i64]) -> TensorProto {
    raw("w", data_type, dims, vec![])
}

#[test]
fn typed_fields_of_every_element_type() {
    let n = |d: DType| d.to_onnx();
    let f = TensorProto { float_data: vec![1.0, -2.5], ..typed(n(DType::F32), &[2]) };
    assert_eq!(read(f).to_f64s().unwrap(), [1.0, -2.5]);
    let f = TensorProto { double_data: vec![1.0, -2.5], ..typed(n(DType::F64), &[2]) };
    assert_eq!(read(f).to_f64s().unwrap(), [1.0, -2.5]);
    let i = TensorProto { int64_data: vec![i64::MIN, 7], ..typed(n(DType::I64), &[2]) };
    assert_eq!(read(i).to_i64s().unwrap(), [i64::MIN, 7]);
    let u = TensorProto { uint64_data: vec![u64::MAX, 7], ..typed(n(DType::U64), &[2]) };
    assert_eq!(read(u).as_slice::<u64>().unwrap()[..], [u64::MAX, 7]);
    let u = TensorProto { uint64_data: vec![4_000_000_000, 7], ..typed(n(DType::U32), &[2]) };
    assert_eq!(read(u).to_i64s().unwrap(), [4_000_000_000, 7]);
    for (dtype, values) in [
        (DType::I32, [-70_000, 7]),
        (DType::I16, [-300, 7]),
        (DType::I8, [-128, 7]),
        (DType::U16, [65_535, 7]),
        (DType::U8, [255, 7]),
        (DType::Bool, [1, 0]),
    ] {
        let i = TensorProto { int32_data: values.to_vec(), ..typed(n(dtype), &[2]) };
        assert_eq!(read(i).to_i64s().unwrap(), values.map(i64::from), "{dtype}");
    }
    let half = TensorProto { int32_data: vec![0x3c00, 0xc000], ..typed(n(DType::F16), &[2]) };
    assert_eq!(read(half).to_f64s().unwrap(), [1.0, -2.0]);
    let brain = TensorProto { int32_data: vec![0x3f80, 0xc000], ..typed(n(DType::BF16), &[2]) };
    assert_eq!(read(brain).to_f64s().unwrap(), [1.0, -2.0]);
    for dtype in [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F8E8M0] {
        let small = TensorProto { int32_data: vec![0x38, 0xff], ..typed(n(dtype), &[2]) };
        assert_eq!(read(small).data[..], [0x38, 0xff], "{dtype}");
    }
    for dtype in [DType::I4, DType::U4, DType::F4E2M1] {
        let odd = TensorProto { int32_data: vec![0x21, 0x03], ..typed(n(dtype), &[3]) };
        assert_eq!(read(odd).data[..], [1, 2, 3], "{dtype}");
    }
    let complex = TensorProto { float_data: vec![1.0, 2.0, 3.0, 4.0], ..typed(n(DType::C64), &[2]) };
    assert_eq!(read(complex).data.len(), 16);
}

#[test]
fn raw_data_keeps_its_bytes() {
    let data: Vec<u8> = (0..16).collect();
    assert_eq!(read(raw("w", DType::I32.to_onnx(), &[2, 2], data.clone())).data[..], data[..]);
    assert_eq!(read(raw("w", DType::Bool.to_onnx(), &[3], vec![0, 7, 1])).data[..], [0, 1, 1]);
    assert_eq!(read(raw("w", 1, &[0, 5], vec![])).shape, [0, 5]);
}

#[test]
fn data_of_the_wrong_size() {
    for data in [vec![], vec![0; 11], vec![0; 13]] {
        let text = refused(&holding(raw("w", 1, &[3], data)), 3);
        assert!(text.contains("initializer 'w': f32 tensor of shape [3] needs 12 bytes"), "{text}");
    }
    let short = TensorProto { float_data: vec![1.0], ..typed(1, &[2]) };
    assert!(refused(&holding(short), 3).contains("needs 8 bytes of data and has 4"));
    let elsewhere = TensorProto { int32_data: vec![1, 2], ..typed(1, &[2]) };
    assert!(refused(&holding(elsewhere), 3).contains("f32 in int32_data"));
    let both = TensorProto { float_data: vec![1.0], ..raw("w", 1, &[1], vec![0; 4]) };
    assert!(refused(&holding(both), 3).contains("both raw_data and float_data"));
    let wide = TensorProto { int32_data: vec![300], ..typed(DType::U8.to_onnx(), &[1]) };
    assert!(refused(&holding(wide), 3).contains("value 300 is not a u8"));
}

#[test]
fn shapes_out_of_range() {
    for dims in
        [&[-1][..], &[i64::MAX], &[1 << 41], &[1 << 40, 1 << 40], &[1 << 20, 1 << 20, 1 << 20, 1 << 20]]
    {
        let text = refused(&holding(raw("w", 1, dims, vec![0; 4])), 3);
        assert!(text.contains("initializer 'w'"), "{text}");
    }
    let limits = Limits { max_tensor_bytes: 8, ..Limits::default() };
    let errors = from_bytes(&bytes(&holding(raw("w", 1, &[3], vec![0; 12]))), None, &limits).unwrap_err();
    assert!(errors.to_string().contains("--max-tensor-bytes"), "{errors}");
}

#[test]
fn other_element_types() {
    assert!(refused(&holding(typed(0, &[])), 3).contains("UNDEFINED"));
    assert!(refused(&holding(typed(8, &[])), 4).contains("strings"));
    assert!(refused(&holding(typed(77, &[])), 4).contains("77"));
}

fn sparse(indices: &[i64], index_dims: &[i64], dims: &[i64]) -> onnx_protobuf::ModelProto {
    let values = TensorProto { float_data: vec![5.0, 6.0], ..typed(1, &[2]) };
    let indices = TensorProto { int64_data: indices.to_vec(), ..raw("", 7, index_dims, vec![]) };
    let sparse = SparseTensorProto {
        values: MessageField::some(values),
        indices: MessageField::some(indices),
        dims: dims.to_vec(),
        ..Default::default()
    };
    let proto = graph(vec![x()], vec![], vec![node("Relu", &["x"], &["y"])]);
    model(GraphProto { sparse_initializer: vec![sparse], ..proto })
}

#[test]
fn sparse_initializers_become_dense() {
    for model in [sparse(&[1, 5], &[2], &[2, 3]), sparse(&[0, 1, 1, 2], &[2, 2], &[2, 3])] {
        let graph = import(&model).unwrap();
        let w = graph.constant(graph.find("w").unwrap()).unwrap();
        assert_eq!(w.to_f64s().unwrap(), [0.0, 5.0, 0.0, 0.0, 0.0, 6.0]);
    }
    assert!(refused(&sparse(&[1, 6], &[2], &[2, 3]), 3).contains("6 is outside 0..6"));
    assert!(refused(&sparse(&[-1, 5], &[2], &[2, 3]), 3).contains("-1 is outside"));
    assert!(refused(&sparse(&[0, 1, 1, 3], &[2, 2], &[2, 3]), 3).contains("3 is outside 0..3"));
    assert!(refused(&sparse(&[5, 1], &[2], &[2, 3]), 3).contains("increasing"));
    assert!(refused(&sparse(&[1], &[1], &[2, 3]), 3).contains("indices of shape"));
}
