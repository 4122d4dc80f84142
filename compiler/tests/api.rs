//! The library as programs use it: through what the crate's root exports.

use std::path::{Path, PathBuf};

use kiln_compiler::{Compiler, DType, Emit, Error, Model, PortKey, Session, Tensor};

/// A protobuf field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// `y = op(x)` for x of f32[batch, 3].
fn model(op: &str) -> Vec<u8> {
    let dims = [field(1, &field(2, b"batch")), field(1, &[1 << 3, 3])].concat();
    let tensor = |name: &str| {
        let ty = field(1, &[vec![1 << 3, 1], field(2, &dims)].concat());
        [field(1, name.as_bytes()), field(2, &ty)].concat()
    };
    let node = [field(1, b"x"), field(2, b"y"), field(4, op.as_bytes())].concat();
    let graph = [field(1, &node), field(2, b"g"), field(11, &tensor("x")), field(12, &tensor("y"))].concat();
    // ir_version 8, opset 17.
    [vec![1 << 3, 8], field(7, &graph), field(8, &[2 << 3, 17])].concat()
}

fn relu(batch: i64) -> Compiler {
    Compiler::from_bytes(model("Relu")).dim("batch", batch)
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny/tiny_ic_resnet8.onnx")
}

#[test]
fn a_session_takes_new_inputs_and_lends_outputs() {
    let model = relu(2).jit(1).unwrap();
    let mut session = model.session().unwrap();
    for round in 0..3 {
        let x = session.input::<f32>("x").unwrap();
        let at = x.as_ptr();
        x.copy_from_slice(&[round as f32, -1.0, 2.0, -3.0, 4.0, -5.0]);
        session.run().unwrap();
        assert_eq!(session.output::<f32>("y").unwrap(), [round as f32, 0.0, 2.0, 0.0, 4.0, 0.0]);
        assert_eq!(session.output::<f32>(0).unwrap(), session.output::<f32>("y").unwrap());
        // The same memory each time.
        assert_eq!(session.input::<f32>(0).unwrap().as_ptr(), at);
    }
    let tensor = Tensor::from_vec(&[2, 3], vec![7.0f32; 6]);
    session.set_input(0, &tensor).unwrap();
    session.run().unwrap();
    assert_eq!(session.outputs().unwrap(), std::slice::from_ref(&tensor));
    assert_eq!(model.run(std::slice::from_ref(&tensor)).unwrap(), [tensor]);
}

#[test]
fn a_session_refuses_what_the_model_does_not_have() {
    let model = relu(2).jit(1).unwrap();
    let mut session = model.session().unwrap();
    let text = |result: Result<(), Error>| match result {
        Err(Error::Invalid(list)) => list.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(text(session.input::<f32>("z").map(drop)).contains("no input 'z'; its inputs: 'x'"), "");
    assert!(text(session.output::<f32>(1).map(drop)).contains("no output number 1"));
    assert_eq!(text(session.input::<i64>("x").map(drop)), "input 'x' is f32, not i64");
    assert_eq!(text(session.output::<f64>("y").map(drop)), "output 'y' is f32, not f64");
    let wrong = Tensor::zeros(DType::F32, &[3, 2]);
    assert_eq!(text(session.set_input("x", &wrong)), "input 'x' is f32[2, 3], f32[3, 2] is given");
    assert_eq!(text(model.run(&[]).map(drop)), "the model has 1 inputs, 0 are given");
    assert_eq!(PortKey::from("x"), PortKey::Name("x"));
}

#[test]
fn models_are_shared_and_sessions_are_sent() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Model>();
    shared::<Error>();
    sent::<Session<'_>>();
    let model = relu(1).jit(1).unwrap();
    std::thread::scope(|scope| {
        let mut session = model.session().unwrap();
        scope.spawn(move || session.run().unwrap());
        scope.spawn(|| model.run(&[Tensor::zeros(DType::F32, &[1, 3])]).unwrap());
    });
}

#[test]
fn a_dimension_without_a_value_is_refused_by_name() {
    let compiler = Compiler::from_bytes(model("Relu"));
    let folder = tempfile::tempdir().unwrap();
    for error in
        [compiler.jit(1).map(drop).unwrap_err(), compiler.compile_to(folder.path()).map(drop).unwrap_err()]
    {
        assert_eq!(
            error.to_string(),
            "dimension 'batch' of the model: no value is given; Compiler::dim gives one"
        );
        assert!(matches!(error, Error::UnboundDimensions(names) if names == ["batch"]));
    }
    assert!(matches!(compiler.dim("seq", 1).jit(1), Err(Error::Invalid(_))));
    assert_eq!(relu(5).jit(1).unwrap().inputs()[0].ty.shape.as_const().unwrap(), [5, 3]);
}

#[test]
fn open_dimensions_have_a_size_in_every_run() {
    let compiler = Compiler::from_bytes(model("Relu")).open_dim("batch", 2..=5, None);
    let model = compiler.jit(1).unwrap();
    assert_eq!(model.open_dimensions()["batch"].typical, 3);
    for n in [2, 5, 3] {
        let x = Tensor::from_vec(&[n, 3], (0..3 * n).map(|i| i as f32 - 4.0).collect::<Vec<_>>());
        let y = model.run(&[x]).unwrap().remove(0);
        assert_eq!((&y.shape[..], y.as_slice::<f32>().unwrap()[5]), (&[n, 3][..], 1.0));
    }
    assert!(matches!(model.run(&[Tensor::zeros(DType::F32, &[6, 3])]), Err(Error::Invalid(_))));
    // A session has the greatest size until it is told another; the memory stays the same.
    let mut session = model.session().unwrap();
    assert_eq!(session.input::<f32>(0).unwrap().len(), 15);
    let at = session.input::<f32>(0).unwrap().as_ptr();
    session.set_size("batch", 2).unwrap();
    session.input::<f32>("x").unwrap().fill(7.0);
    session.run().unwrap();
    assert_eq!(session.output::<f32>("y").unwrap(), [7.0; 6]);
    assert_eq!(session.input::<f32>(0).unwrap().as_ptr(), at);
    assert!(matches!(session.set_size("batch", 6), Err(Error::Invalid(_))));
    assert!(matches!(session.set_size("seq", 2), Err(Error::Invalid(_))));
    let wrong = Compiler::from_bytes(self::model("Relu")).open_dim("batch", 2..=5, Some(9));
    assert!(matches!(wrong.jit(1), Err(Error::Invalid(_))));
}

#[test]
fn errors_can_be_told_apart() {
    let error = |compiler: Compiler| compiler.jit(1).map(drop).unwrap_err();
    assert!(matches!(error(Compiler::from_bytes(b"no model".to_vec())), Error::Invalid(_)));
    let unsupported = error(Compiler::from_bytes(model("StringNormalizer")).dim("batch", 1));
    assert!(
        matches!(&unsupported, Error::Unsupported(list) if list.0[0].op == "StringNormalizer"),
        "{unsupported}"
    );
    assert!(matches!(error(relu(1).cpu("nonesuch")), Error::Invalid(_)));
    assert!(matches!(error(relu(1).name("no identifier")), Error::Invalid(_)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let Err(Error::Write { path, disk_full, .. }) = relu(1).compile_to(&file) else { panic!("written") };
    assert_eq!((path, disk_full), (file, false));
    assert!(matches!(
        Error::write("x", std::io::ErrorKind::StorageFull.into()),
        Error::Write { disk_full: true, .. }
    ));
}

#[test]
fn defaults_are_this_machine_in_memory_and_every_machine_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::from_path(shipped());
    let cpu = |compiler: &Compiler, name: &str| {
        let artifact = compiler.compile_to(folder.path().join(name)).unwrap();
        let report = std::fs::read(&artifact.files[2]).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        (artifact.code_bytes, report["cpu"].as_str().unwrap().to_owned())
    };
    let (_, baseline) = cpu(&compiler.clone().cpu("baseline"), "a");
    let portable = kiln_targets::resolve_list("", kiln_targets::portable("").unwrap(), "").unwrap();
    let levels: Vec<String> = portable.iter().map(kiln_targets::Target::name).collect();
    assert_eq!(levels[0], baseline);
    assert_eq!(cpu(&compiler, "b").1, levels.join(","));
    let (native_bytes, native) = cpu(&compiler.clone().cpu("native"), "c");
    // Code in memory has kernels alone where a library asks for the processor first.
    let bytes = |compiler: &Compiler| compiler.jit(1).unwrap().code_bytes();
    assert_eq!(bytes(&compiler), bytes(&compiler.clone().cpu("native")));
    if native != baseline {
        assert_ne!(bytes(&compiler), bytes(&compiler.clone().cpu("baseline")));
    }
    assert!(bytes(&compiler) <= native_bytes);
}

#[test]
fn models_come_from_files_bytes_and_readers() {
    let bytes = std::fs::read(shipped()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = [
        Compiler::from_path(shipped()),
        Compiler::from_bytes(bytes.clone()),
        Compiler::from_reader(&bytes[..]).unwrap(),
    ]
    .map(|compiler| {
        let artifact = compiler.name("m").emit(&[Emit::Obj]).compile_to(folder.path()).unwrap();
        assert_eq!(artifact.files, [folder.path().join("m.o")]);
        std::fs::read(&artifact.files[0]).unwrap()
    });
    assert!(files[0] == files[1] && files[1] == files[2]);
}
