//! Small models, pruned and run.

use kiln_calibrate::{Machine, Samples};
use kiln_compiler::{Compiler, DType, Limits, Problem, Tensor};
use kiln_onnx::{Document, Node};

use crate::{Budget, Options, Pattern, Saliency, Schedule, prune};

fn noise(n: usize, seed: usize) -> Vec<f32> {
    let word = |i: usize| ((i + 977 * seed + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = |i: usize| (word(i) ^ (word(i) >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (0..n).map(|i| (mixed(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

struct Images(usize);

impl Samples for Images {
    fn count(&self) -> usize {
        self.0
    }

    fn sample(&self, i: usize) -> Result<Vec<(String, Tensor)>, Problem> {
        // Channels are much alike.
        let common = noise(64, 1000 + i);
        let x = noise(384, 7 + i).iter().enumerate().map(|(at, v)| v + 2.0 * common[at % 64]).collect();
        Ok(vec![("x".to_owned(), Tensor::from_vec(&[1, 6, 8, 8], x))])
    }

    fn name(&self, i: usize) -> String {
        format!("sample {i}")
    }
}

fn options(pattern: Pattern, sparsity: f64, saliency: Saliency, reconstruct: bool) -> Options {
    let machine =
        Machine { cpu: "native".to_owned(), features: String::new(), threads: 2, limits: Limits::default() };
    Options {
        sparsity,
        pattern,
        saliency,
        budget: Budget::Uniform,
        layers: Vec::new(),
        schedule: Schedule::Oneshot,
        reconstruct,
        machine,
    }
}

/// Two branches with normalisations that meet in a sum, a depthwise convolution, a branch beside it, and a classifier.
fn branches() -> Document {
    let mut d = Document::new("branches", 17);
    d.add_input("x", DType::F32, &[1, 6, 8, 8]);
    let mut constant = |name: &str, shape: &[usize], seed: usize| {
        d.set_constant(name, Tensor::from_vec(shape, noise(shape.iter().product(), seed)));
    };
    constant("a", &[16, 6, 1, 1], 1);
    constant("b", &[16, 6, 1, 1], 2);
    constant("c", &[16, 1, 1, 1], 3);
    constant("e", &[12, 16, 1, 1], 4);
    constant("f", &[5, 28], 5);
    constant("e.bias", &[12], 6);
    constant("slope", &[16, 1, 1], 8);
    for (name, low) in [("gamma", 0.5), ("beta", -0.5), ("mean", -0.5), ("variance", 0.5)] {
        let values = noise(16, 9).iter().map(|v| low + v.abs()).collect();
        d.set_constant(name, Tensor::from_vec(&[16], values));
    }
    d.nodes_mut().extend([
        Node::new("a", "Conv", &["x", "a"], &["p"]),
        Node::new("norm", "BatchNormalization", &["p", "gamma", "beta", "mean", "variance"], &["q"]),
        Node::new("b", "Conv", &["x", "b"], &["r"]),
        Node::new("sum", "Add", &["q", "r"], &["s"]),
        Node::new("relu", "PRelu", &["s", "slope"], &["t"]),
        Node::new("c", "Conv", &["t", "c"], &["u"]).with_int("group", 16),
        Node::new("e", "Conv", &["u", "e", "e.bias"], &["v"]),
        Node::new("both", "Concat", &["v", "t"], &["w"]).with_int("axis", 1),
        Node::new("pool", "GlobalAveragePool", &["w"], &["g"]),
        Node::new("flat", "Flatten", &["g"], &["h"]),
        Node::new("f", "Gemm", &["h", "f"], &["y"]).with_int("transB", 1),
    ]);
    d.add_outputs(["y"]);
    d
}

fn run(document: &Document, i: usize) -> Vec<f64> {
    let model = Compiler::from_bytes(document.to_bytes().unwrap()).jit(1).unwrap();
    let x = Images(1).sample(i).unwrap().remove(0).1;
    model.run(&[x]).unwrap()[0].to_f64s().unwrap()
}

#[test]
fn channels_go_with_all_that_follows_them() {
    let samples = Images(8);
    for saliency in [Saliency::Magnitude, Saliency::Obd, Saliency::Obs] {
        let options = options(Pattern::Channels, 0.25, saliency, saliency == Saliency::Obs);
        let out = prune(branches(), &options, Some(&samples), None, &()).unwrap();
        let shape = |name: &str| out.model.constant(name).unwrap().shape.clone();
        // Both branches lose the same four, the depthwise convolution and the slopes with them; the last one three.
        assert_eq!((shape("a"), shape("b")), (vec![12, 6, 1, 1], vec![12, 6, 1, 1]));
        assert_eq!((shape("c"), shape("e")), (vec![12, 1, 1, 1], vec![9, 12, 1, 1]));
        assert_eq!((shape("slope"), shape("variance")), (vec![12, 1, 1], vec![12]));
        assert_eq!((shape("e.bias"), shape("f")), (vec![9], vec![5, 21]));
        assert!(out.error.unwrap() < 1.0, "{saliency:?} {:?}", out.error);
        run(&out.model, 0);
        let last = out.layers.iter().find(|l| l.node == "f").unwrap();
        assert!(last.why.contains("results of the model"), "{last:?}");
    }
}

#[test]
fn channels_that_cannot_be_followed_stay() {
    let mut d = branches();
    // Whoever reads the sum in another way holds both branches.
    d.nodes_mut().push(Node::new("turn", "Transpose", &["t"], &["z"]));
    d.add_outputs(["z"]);
    let options = options(Pattern::Channels, 0.25, Saliency::Magnitude, false);
    let out = prune(d, &options, None, None, &()).unwrap();
    assert_eq!(out.model.constant("a").unwrap().shape, [16, 6, 1, 1]);
    assert_eq!(out.model.constant("e").unwrap().shape, [9, 16, 1, 1]);
    let why = |name: &str| out.layers.iter().find(|l| l.node == name).unwrap().why.clone();
    assert!(why("a").contains("Transpose"), "{}", why("a"));
}

#[test]
fn patterns_hold_in_every_way() {
    let samples = Images(8);
    for saliency in [Saliency::Magnitude, Saliency::Wanda, Saliency::Obd, Saliency::Obs] {
        for reconstruct in [false, true] {
            for (rows, columns) in [(1, 1), (4, 1), (1, 4), (4, 4)] {
                let pattern = Pattern::Blocks { rows, columns };
                let mut wish = options(pattern, 0.5, saliency, reconstruct);
                wish.layers = vec![("?".to_owned(), 0.5), ("c".to_owned(), 0.0)];
                let out = prune(branches(), &wish, Some(&samples), None, &()).unwrap();
                let e = out.model.constant("e").unwrap().to_f64s().unwrap();
                let zero = |r: usize, k: usize| e[r * 16 + k] == 0.0;
                for r in 0..12 {
                    for k in 0..16 {
                        assert_eq!(
                            zero(r, k),
                            zero(r / rows * rows, k / columns * columns),
                            "{pattern} {r} {k}"
                        );
                    }
                }
                assert!((out.sparsity - 0.5).abs() < 0.05, "{pattern} {saliency:?}: {}", out.sparsity);
                // The file is otherwise the one that was given.
                assert_eq!(out.model.constant("c"), branches().constant("c"));
                assert_eq!(out.model.nodes().len(), branches().nodes().len());
            }
            let wish = options(Pattern::Of { kept: 1, of: 4 }, 0.75, saliency, reconstruct);
            let out = prune(branches(), &wish, Some(&samples), None, &()).unwrap();
            let e = out.model.constant("e").unwrap().to_f64s().unwrap();
            assert!(e.chunks(4).all(|g| g.iter().filter(|w| **w != 0.0).count() == 1), "{saliency:?}");
        }
    }
}

#[test]
fn what_is_left_makes_up_for_what_goes() {
    let samples = Images(16);
    let error = |saliency, reconstruct, schedule| {
        let mut wish = options(Pattern::Blocks { rows: 1, columns: 1 }, 0.6, saliency, reconstruct);
        wish.schedule = schedule;
        prune(branches(), &wish, Some(&samples), None, &()).unwrap().error.unwrap()
    };
    let once = Schedule::Oneshot;
    let by_size = error(Saliency::Magnitude, false, once);
    let solved = error(Saliency::Magnitude, true, once);
    let second = error(Saliency::Obs, true, once);
    let in_steps = error(Saliency::Obs, true, Schedule::Cubic(3));
    assert!(solved < 0.9 * by_size, "{solved} {by_size}");
    assert!(second < solved && in_steps < by_size, "{second} {solved} {in_steps}");
}

#[test]
fn constants_that_nodes_give_are_pruned_too() {
    let mut d = Document::new("m", 17);
    d.add_input("x", DType::F32, &[1, 6, 8, 8]);
    for (name, shape, seed) in [("w", [8, 6, 1, 1], 1), ("v", [4, 8, 1, 1], 2)] {
        d.set_constant(name, Tensor::from_vec(&shape, noise(shape.iter().product(), seed)));
    }
    d.nodes_mut().extend([
        Node::new("copy", "Identity", &["w"], &["w2"]),
        Node::new("first", "Conv", &["x", "w2"], &["p"]),
        Node::new("last", "Conv", &["p", "v"], &["y"]),
    ]);
    d.add_outputs(["y"]);
    let wish = options(Pattern::Blocks { rows: 1, columns: 1 }, 0.5, Saliency::Magnitude, false);
    let out = prune(d, &wish, None, None, &()).unwrap();
    let zeros = out.model.constant("w").unwrap().to_f64s().unwrap().iter().filter(|w| **w == 0.0).count();
    assert_eq!(zeros, 24);
    assert_eq!(run(&out.model, 0).len(), 4 * 64);
}

#[test]
fn an_artefact_shrinks_with_its_weights() {
    let widths = [64, 256, 128, 512, 256, 512];
    let mut d = Document::new("narrow", 17);
    d.add_input("x", DType::F32, &[1, 64, 14, 14]);
    let mut last = "x".to_owned();
    for (i, pair) in widths.windows(2).enumerate() {
        let (w, b, y, z) = (format!("w{i}"), format!("b{i}"), format!("y{i}"), format!("z{i}"));
        d.set_constant(&w, Tensor::from_vec(&[pair[1], pair[0], 1, 1], noise(pair[0] * pair[1], i)));
        d.set_constant(&b, Tensor::from_vec(&[pair[1]], noise(pair[1], 50 + i)));
        d.nodes_mut().push(Node::new(&y, "Conv", &[&last, &w, &b], &[&y]));
        d.nodes_mut().push(Node::new(&z, "Relu", &[&y], &[&z]));
        last = z;
    }
    d.set_constant("last", Tensor::from_vec(&[100, 512], noise(51_200, 90)));
    d.nodes_mut().extend([
        Node::new("pool", "GlobalAveragePool", &[&last], &["g"]),
        Node::new("flat", "Flatten", &["g"], &["h"]),
        Node::new("classes", "Gemm", &["h", "last"], &["classes"]).with_int("transB", 1),
    ]);
    d.add_outputs(["classes"]);
    let mut wish = options(Pattern::Blocks { rows: 4, columns: 1 }, 0.9, Saliency::Magnitude, false);
    // Those that are left alone by default, too.
    wish.layers = vec![("*".to_owned(), 0.9)];
    let pruned = prune(d.clone(), &wish, None, None, &()).unwrap();
    assert!((pruned.sparsity_of_model - 0.9).abs() < 0.001, "{}", pruned.sparsity_of_model);
    for cpu in ["sse2", "avx2"] {
        let bytes = |document: &Document| {
            let compiler = Compiler::from_bytes(document.to_bytes().unwrap()).cpu(cpu);
            compiler.jit(1).unwrap().weights_bytes() as f64
        };
        let part = bytes(&pruned.model) / bytes(&d);
        assert!(part < 0.13, "{cpu}: {part}");
    }
}
