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
