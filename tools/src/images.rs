//! Photographs as tensors: JPEG and PNG, resized, less a mean, divided by a deviation.

use std::io::Cursor;
use std::path::Path;

use kiln_ir::{Error, Result, Tensor, bail_invalid};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Where the channels of an image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// Each channel as a plane.
    Nchw,
    /// Channels of a pixel side by side.
    Nhwc,
}

/// How an image becomes numbers.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Height and width; nothing: as the image is.
    pub size: Option<(usize, usize)>,
    /// What is subtracted from each channel, of 0 to 255.
    pub mean: [f32; 3],
    /// What each channel is divided by then.
    pub std: [f32; 3],
    /// Where the channels lie.
    pub layout: Layout,
    /// 3, or 1 for grey.
    pub channels: usize,
}

/// An image of three channels, red first, row by row.
struct Image {
    height: usize,
    width: usize,
    pixels: Vec<f32>,
}

/// Whether a file is taken for an image.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    matches!(&*extension, "jpg" | "jpeg" | "png")
}

/// Reads an image as a tensor of one sample.
pub fn read(path: &Path, recipe: &Recipe) -> Result<Tensor> {
    let named = |e: Error| Error { message: format!("{}: {}", path.display(), e.message), ..e };
    let bytes =
        std::fs::read(path).map_err(|e| Error::invalid(format!("cannot read {}: {e}", path.display())))?;
    let image = decode(&bytes).map_err(named)?;
    Ok(tensor(&image, recipe))
}

fn decode(bytes: &[u8]) -> Result<Image> {
    if bytes.starts_with(b"\x89PNG") { decode_png(bytes) } else { decode_jpeg(bytes) }
}

fn decode_png(bytes: &[u8]) -> Result<Image> {
    let damaged = |e: png::DecodingError| Error::invalid(format!("not a PNG image, or a damaged one: {e}"));
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().filter(|n| *n < 1 << 31);
    let Some(size) = size else { bail_invalid!("the image is too large") };
    let mut data = vec![0; size];
    let info = reader.next_frame(&mut data).map_err(damaged)?;
    let samples = info.color_type.samples();
    let (height, width) = (info.height as usize, info.width as usize);
    let colour = |pixel: &[u8]| match pixel {
        // Grey, and grey with transparency, which is left out.
        [v] | [v, _] => [f32::from(*v); 3],
        [r, g, b, ..] => [*r, *g, *b].map(f32::from),
        [] => [0.0; 3],
    };
    let pixels: Vec<f32> = data.chunks_exact(samples).take(height * width).flat_map(colour).collect();
    Ok(Image { height, width, pixels })
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let damaged = |e| Error::invalid(format!("neither a PNG nor a JPEG image, or a damaged one: {e}"));
    let data = decoder.decode().map_err(damaged)?;
    let Some(info) = decoder.info() else { bail_invalid!("the image has no size") };
    let (height, width) = (usize::from(info.height), usize::from(info.width));
    if data.len() != 3 * height * width {
        bail_invalid!("the image has {} bytes of pixels, not three for each", data.len());
    }
    Ok(Image { height, width, pixels: data.into_iter().map(f32::from).collect() })
}

fn tensor(image: &Image, recipe: &Recipe) -> Tensor {
    let (height, width) = recipe.size.unwrap_or((image.height, image.width));
    let pixels = resize(&image.pixels, (image.height, image.width), (height, width));
    let channels = recipe.channels;
    let number = |at: usize, c: usize| {
        let pixel = &pixels[3 * at..3 * at + 3];
        let value = match channels {
            1 => 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2],
            _ => pixel[c],
        };
        (value - recipe.mean[c]) / recipe.std[c]
    };
    let count = height * width;
    match recipe.layout {
        Layout::Nchw => {
            let values = (0..channels).flat_map(|c| (0..count).map(move |at| (at, c)));
            let values = values.map(|(at, c)| number(at, c)).collect();
            Tensor::from_vec(&[1, channels, height, width], values)
        }
        Layout::Nhwc => {
            let values = (0..count).flat_map(|at| (0..channels).map(move |c| (at, c)));
            let values = values.map(|(at, c)| number(at, c)).collect();
            Tensor::from_vec(&[1, height, width, channels], values)
        }
    }
}

/// An image of three channels, row by row, in another height and width.
pub fn resize(pixels: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let rows = resized(pixels, from.0, 3 * from.1, to.0);
    columns(&rows, to.0, from.1, to.1)
}

/// Columns of an image as `resized` does rows.
fn columns(pixels: &[f32], height: usize, width: usize, to: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(3 * height * to);
    for row in pixels.chunks_exact(3 * width).take(height) {
        out.extend(resized(row, width, 3, to));
    }
    out
}

/// `from` stretches of `stride` numbers become `to`: linear between neighbours, over as many as fall on one where there get
/// fewer (the triangle filter of Pillow's `BILINEAR`).
fn resized(values: &[f32], from: usize, stride: usize, to: usize) -> Vec<f32> {
    if from == to {
        return values.to_vec();
    }
    let ratio = from as f32 / to as f32;
    let reach = ratio.max(1.0);
    let mut out = vec![0.0; to * stride];
    for (i, line) in out.chunks_exact_mut(stride).enumerate() {
        let centre = (i as f32 + 0.5) * ratio;
        let first = (centre - reach).floor().max(0.0) as usize;
        let last = ((centre + reach).ceil() as usize).min(from);
        let weight = |j: usize| (1.0 - ((j as f32 + 0.5 - centre) / reach).abs()).max(0.0);
        let total: f32 = (first..last).map(weight).sum();
        for j in first..last {
            let part = weight(j) / total;
            let source = &values[j * stride..(j + 1) * stride];
            line.iter_mut().zip(source).for_each(|(to, v)| *to += part * v);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(size: Option<(usize, usize)>, layout: Layout) -> Recipe {
        Recipe { size, mean: [1.0, 0.0, 0.0], std: [1.0, 2.0, 1.0], layout, channels: 3 }
    }

    #[test]
    fn layouts_and_means() {
        let image = Image { height: 1, width: 2, pixels: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let planes = tensor(&image, &recipe(None, Layout::Nchw));
        assert_eq!(planes, Tensor::from_vec(&[1, 3, 1, 2], vec![0.0f32, 3.0, 1.0, 2.5, 3.0, 6.0]));
        let pixels = tensor(&image, &recipe(None, Layout::Nhwc));
        assert_eq!(pixels, Tensor::from_vec(&[1, 1, 2, 3], vec![0.0f32, 1.0, 3.0, 3.0, 2.5, 6.0]));
    }

    #[test]
    fn sizes() {
        // Halves are averages of what falls on them and a little around; a constant stays one.
        assert_eq!(resized(&[4.0; 6], 6, 1, 3), [4.0; 3]);
        let ramp: Vec<f32> = (0..8).map(|v| v as f32).collect();
        let half = resized(&ramp, 8, 1, 4);
        assert!((half[1] - 2.5).abs() < 1e-6 && (half[2] - 4.5).abs() < 1e-6, "{half:?}");
        let image = Image { height: 4, width: 2, pixels: vec![9.0; 24] };
        assert_eq!(tensor(&image, &recipe(Some((2, 5)), Layout::Nchw)).shape, [1, 3, 2, 5]);
    }

    #[test]
    fn what_is_no_image_is_told() {
        for bytes in [&b""[..], b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"] {
            assert_eq!(decode(bytes).err().unwrap().kind, kiln_ir::ErrorKind::Invalid);
        }
        assert!(is_image(Path::new("a.JPG")) && !is_image(Path::new("a.txt")));
    }
}
