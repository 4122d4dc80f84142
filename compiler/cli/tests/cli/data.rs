//! A model that was trained, and data for it.

use std::fs::File;
use std::path::Path;

use npyz::WriterBuilder;
use npyz::npz::NpzWriter;

pub(super) fn mnist() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/tiny/mnist_cnn.onnx").to_owned()
}

/// Numbers that look random, from 0 to 1.
pub(super) fn noise(n: usize) -> Vec<f32> {
    let word =
        |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (0..n).map(|i| (word(i) >> 40) as f32 / (1u64 << 24) as f32).collect()
}

/// Writes an archive of one array; gives its path.
pub(super) fn archive<T: npyz::AutoSerialize + Copy>(
    folder: &Path,
    name: &str,
    shape: &[u64],
    values: &[T],
) -> String {
    let path = folder.join(format!("{name}.npz"));
    let mut file = NpzWriter::new(File::create(&path).unwrap());
    let mut array =
        file.array(name, Default::default()).unwrap().default_dtype().shape(shape).begin_nd().unwrap();
    array.extend(values.iter().copied()).unwrap();
    array.finish().unwrap();
    path.display().to_string()
}

pub(super) fn images(folder: &Path, count: usize) -> String {
    archive(folder, "image", &[count as u64, 1, 28, 28], &noise(count * 784))
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
