//! A classifier of photos without the standard library: the model is compiled by build.rs.
#![no_std]

/// The compiled model.
#[allow(missing_docs)]
pub mod cifar10 {
    include!(concat!(env!("OUT_DIR"), "/cifar10.rs"));
}

use cifar10::{Arena, Failure, Inputs, Outputs};

/// Names of the classes, by their number.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The likeliest class of a photo, and its probability. `pixels` are rows of 32 x 32 colours in [-1, 1].
pub fn classify(pixels: &[f32; 3072], arena: &mut Arena) -> Result<(&'static str, f32), Failure> {
    let mut probabilities = [0.0; 10];
    cifar10::run(Inputs { input_102: pixels }, Outputs { identity: &mut probabilities }, arena)?;
    let (mut best, mut probability) = (0, probabilities[0]);
    for (class, &p) in probabilities.iter().enumerate() {
        if p > probability {
            (best, probability) = (class, p);
        }
    }
    Ok((CLASSES[best], probability))
}
