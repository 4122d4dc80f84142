//! Compiled models in files: used as they are if they are whole and of the key, and not at all otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_compiler::internals::codegen::KernelStore;
use kiln_compiler::internals::emit::image::Image;
use kiln_compiler::{Compiler, Model, Tensor};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny/tiny_ic_resnet8.onnx")
}

fn image(store: &KernelStore) -> Image {
    let planned = Compiler::from_path(shipped()).cpu("native").load().unwrap().plan().unwrap();
    planned.image(store, &AtomicBool::new(false)).unwrap()
}

fn input() -> Tensor {
    Tensor::from_vec(&[1, 3, 32, 32], (0..3072).map(|i| (i % 29) as f32 / 29.0).collect())
}

#[test]
fn an_image_computes_what_the_jit_does() {
    let target = kiln_targets::resolve("host", "native", "").unwrap();
    let expected = Compiler::from_path(shipped()).jit(1).unwrap().run(&[input()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let store = KernelStore::default();
    image(&store).write(&path, "key").unwrap();
    assert_eq!(store.hits(), 0);
    for threads in [1, 2, 5] {
        let fresh = Model::from_image(image(&store), &target, threads).unwrap();
        let read = Model::from_image(Image::open(&path, "key").unwrap(), &target, threads).unwrap();
        assert_eq!(fresh.run(&[input()]).unwrap(), expected);
        assert_eq!(read.run(&[input()]).unwrap(), expected);
        assert_eq!((read.arena_bytes(), read.weights_bytes()), (fresh.arena_bytes(), fresh.weights_bytes()));
    }
    assert!(store.hits() > 0);
}

#[test]
fn what_is_damaged_or_of_another_key_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    image(&KernelStore::default()).write(&path, "key").unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert!(
        Image::open(&path, "another").is_none() && Image::open(&folder.path().join("no"), "key").is_none()
    );
    // A byte of every part, ends included, and every way of being too short or too long.
    let places = (0..200).chain((0..60).map(|i| i * whole.len() / 60)).chain([whole.len() - 1]);
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Image::open(&path, "key").is_none(), "byte {at}");
    }
    for len in [0, 1, 23, 24, 100, 200, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(Image::open(&path, "key").is_none(), "{len} bytes");
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(Image::open(&path, "key").is_none());
    std::fs::write(&path, &whole).unwrap();
    assert!(Image::open(&path, "key").is_some());
}

#[test]
fn a_compilation_can_be_stopped() {
    let planned = Compiler::from_path(shipped()).load().unwrap().plan().unwrap();
    let stopped = planned.image(&KernelStore::default(), &AtomicBool::new(true));
    assert!(stopped.err().unwrap().to_string().contains("stopped"));
}

/// Open dimensions, their bounds and what a run takes for granted of them are kept too.
#[test]
fn an_image_keeps_dimensions_open() {
    let graph = "graph @m opset(17) {\n  input %x: f32[n, 40]\n  input %z: f32[m, 40]\n  %a = Add(%x, %z)\n  \
                 %b = Softmax(%a)\n  %y = Tanh(%b)\n  output %y\n}\n";
    let graph = kiln_ir::graph::parse(graph).unwrap();
    let compiler =
        Compiler::from_graph(graph).cpu("native").open_dim("n", 1..=5, None).open_dim("m", 1..=5, None);
    let jit = compiler.jit(1).unwrap();
    let target = kiln_targets::resolve("host", "native", "").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let planned = compiler.load().unwrap().plan().unwrap();
    planned.image(&KernelStore::default(), &AtomicBool::new(false)).unwrap().write(&path, "key").unwrap();
    let read = Model::from_image(Image::open(&path, "key").unwrap(), &target, 2).unwrap();
    assert_eq!(read.open_dimensions(), jit.open_dimensions());
    let tensor = |rows: usize, by: usize| {
        Tensor::from_vec(&[rows, 40], (0..rows * 40).map(|i| (i * by % 23) as f32 / 23.0).collect())
    };
    for n in 1..=5 {
        let inputs = [tensor(n, 7), tensor(n, 11)];
        assert_eq!(read.run(&inputs).unwrap(), jit.run(&inputs).unwrap(), "{n}");
        assert_eq!(read.run_unless(&inputs, &AtomicBool::new(true)).unwrap(), None);
    }
    for model in [&read, &jit] {
        let e = model.run_unless(&[tensor(2, 3), tensor(3, 3)], &AtomicBool::new(false)).unwrap_err();
        assert!(e.to_string().contains("m - n is to be 0, with m = 3, n = 2"), "{e}");
    }
}

/// A loop of so many turns: what it carries, and a branch in it.
fn endless() -> Compiler {
    let text = "graph @m opset(17) {
      input %n: i64[] input %x: f32[20, 33] input %w: f32[33, 33]
      %y = Loop(%n, _, %x, %w) {kiln.captures = 1, body = graph @b opset(17) {
        input %i: i64[] input %go: bool[] input %s: f32[] input %w: f32[]
        const @two: i64[] = [2] const @zero: i64[] = [0]
        %p = MatMul(%s, %w) %r = Mod(%i, @two) %odd = Greater(%r, @zero)
        %t = If(%odd, %p, %s) {else_branch = graph @e opset(17) {
            input %p: f32[] input %s: f32[] %t = Tanh(%s) output %t
          }, then_branch = graph @t opset(17) {
            input %p: f32[] input %s: f32[] %t = Tanh(%p) output %t }}
        output %go output %t }}
      output %y }";
    Compiler::from_graph(kiln_ir::graph::parse(text).unwrap()).cpu("native")
}

/// Branches and loops are kept, and a run stops within them.
#[test]
fn an_image_branches_and_loops_until_somebody_stops_it() {
    let target = kiln_targets::resolve("host", "native", "").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let planned = endless().load().unwrap().plan().unwrap();
    assert!(planned.plan.regions.len() > 1);
    planned.image(&KernelStore::default(), &AtomicBool::new(false)).unwrap().write(&path, "key").unwrap();
    let read = Model::from_image(Image::open(&path, "key").unwrap(), &target, 2).unwrap();
    let jit = endless().jit(2).unwrap();
    let tensor = |shape: &[usize], by: usize| {
        let count = shape.iter().product();
        Tensor::from_vec(shape, (0..count).map(|i: usize| (i * by % 23) as f32 / 46.0 - 0.25).collect())
    };
    let inputs =
        |turns: i64| [Tensor::from_vec(&[], vec![turns]), tensor(&[20, 33], 7), tensor(&[33, 33], 11)];
    for turns in [0, 1, 2, 7] {
        let expected = jit.run(&inputs(turns)).unwrap();
        assert_eq!(read.run(&inputs(turns)).unwrap(), expected, "{turns}");
        let unstopped = jit.run_unless(&inputs(turns), &AtomicBool::new(false)).unwrap();
        assert_eq!(unstopped, Some(expected), "{turns}");
    }
    for model in [&read, &jit] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            // More turns than anybody waits for.
            assert_eq!(model.run_unless(&inputs(i64::MAX), &stop).unwrap(), None);
        });
        assert!(model.run(&inputs(3)).is_ok());
    }
}

/// A model that was changed in one node compiles that one: the rest is there, in memory or in the folder.
#[test]
fn kernels_are_found_by_content() {
    let graph = |last: &str| {
        let text = format!(
            "graph @m opset(17) {{\n  input %x: f32[8, 40]\n  %a = Softmax(%x)\n  %b = Transpose(%a) {{perm = [1, 0]}}\n  \
             %c = Softmax(%b)\n  %d = Transpose(%c) {{perm = [1, 0]}}\n  const @axis: i64[] = [1]\n  \
             %e = CumSum(%d, @axis)\n  %y = {last}\n  output %y\n}}\n"
        );
        kiln_ir::graph::parse(&text).unwrap()
    };
    let compile = |last: &str, store: &KernelStore| {
        let planned = Compiler::from_graph(graph(last)).cpu("native").load().unwrap().plan().unwrap();
        let kernels = planned.plan.kernels.len();
        planned.image(store, &AtomicBool::new(false)).unwrap();
        kernels
    };
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::with_folder(folder.path(), "build");
    let kernels = compile("CumSum(%e, @axis)", &store);
    let made = store.made();
    assert!(made > 1 && made <= kernels && store.from_folder() == 0, "{made} of {kernels}");
    // The same in this process, and in one that finds the folder.
    compile("CumSum(%e, @axis)", &store);
    assert_eq!(store.made(), made);
    let second = KernelStore::with_folder(folder.path(), "build");
    compile("CumSum(%e, @axis)", &second);
    assert_eq!((second.made(), second.from_folder()), (0, made));
    // Another last node, and otherwise nothing.
    let third = KernelStore::with_folder(folder.path(), "build");
    compile("LogSoftmax(%e)", &third);
    assert!(third.made() <= 4 && third.from_folder() >= made - 2, "{} {}", third.made(), third.from_folder());
    // Another build.
    let other = KernelStore::with_folder(folder.path(), "another");
    compile("CumSum(%e, @axis)", &other);
    assert_eq!((other.made(), other.from_folder()), (made, 0));
}

/// The JIT's promise to programs with threads of their own.
#[test]
fn eight_threads_get_the_bits_of_one() {
    fn shared<T: Send + Sync>(_: &T) {}
    let model = Arc::new(Compiler::from_path(shipped()).jit(2).unwrap());
    shared(&*model);
    let inputs: Vec<Tensor> = (0..8)
        .map(|i| {
            Tensor::from_vec(&[1, 3, 32, 32], (0..3072).map(|j| ((i * 7 + j) % 31) as f32 / 31.0).collect())
        })
        .collect();
    let expected: Vec<_> = inputs.iter().map(|x| model.run(std::slice::from_ref(x)).unwrap()).collect();
    let threads: Vec<_> = inputs
        .into_iter()
        .zip(expected)
        .map(|(input, expected)| {
            let model = Arc::clone(&model);
            std::thread::spawn(move || {
                let mut session = model.session_with(std::slice::from_ref(&input)).unwrap();
                for _ in 0..50 {
                    assert_eq!(model.run(std::slice::from_ref(&input)).unwrap(), expected);
                    assert!(session.run_unless(&AtomicBool::new(false)).unwrap());
                    assert_eq!(session.outputs().unwrap(), expected);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
