//! Classifies a photo, on the calling thread and on several: the bits are the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use classify::cifar10::{Arena, Inputs, Outputs, run_parallel};

/// Reads a binary PPM of 32 x 32 pixels into [-1, 1].
fn read_photo(path: &str) -> Option<[f32; 3072]> {
    let bytes = std::fs::read(path).ok()?;
    let pixels = bytes.strip_prefix(b"P6\n32 32\n255\n")?;
    let pixels: &[u8; 3072] = pixels.try_into().ok()?;
    Some(pixels.map(|byte| f32::from(byte) / 127.5 - 1.0))
}

/// A `parallel_for` for the model: two threads take pieces until none is left.
fn on_two_threads(count: usize, task: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            task(i);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: classify PHOTO.ppm    a binary PPM of 32 x 32 pixels")?;
    let pixels = read_photo(&path).ok_or_else(|| format!("{path} is no binary PPM of 32 x 32 pixels"))?;
    let mut arena = Box::new(Arena::new());
    let (class, probability) = classify::classify(&pixels, &mut arena)?;
    println!("{path}: {class}, probability {probability:.3}");

    let mut probabilities = [0.0; 10];
    run_parallel(
        Inputs { input_102: &pixels },
        Outputs { identity: &mut probabilities },
        &mut arena,
        on_two_threads,
    )?;
    assert_eq!(probabilities.into_iter().fold(0.0, f32::max).to_bits(), probability.to_bits());
    Ok(())
}
