//! A tensor as a picture: half blocks in colours of 24 bits, or sixels where the terminal says that it has them.

use kiln_ir::{Result, Tensor, bail_invalid};
use kiln_tools::images;

use super::sixel;

/// Points of a picture, red, green, blue, row by row.
#[derive(Debug, PartialEq)]
pub(crate) struct Picture {
    height: usize,
    width: usize,
    points: Vec<[u8; 3]>,
}

/// The widest picture of sixels, in points.
const MOST_SIXELS: usize = 640;

/// A picture of the last two axes, or of the last two but the channels: of the first sample where there are several. Three
/// channels, first or last, are colours. Values are stretched from black to white.
pub(crate) fn of(tensor: &Tensor) -> Result<Picture> {
    let values = tensor.to_f64s()?;
    let shape: Vec<usize> = tensor.shape.clone();
    let rank = shape.len();
    let (height, width, channels, first) = match shape[..] {
        [w] => (1, w, 1, true),
        [h, w] => (h, w, 1, true),
        [.., h, w, 3] if h != 3 => (h, w, 3, false),
        [.., 3, h, w] => (h, w, 3, true),
        [.., h, w] => (h, w, 1, true),
        [] => bail_invalid!("a number is no picture"),
    };
    let all = if first { channels } else { shape[rank - 1] };
    let count = height * width;
    if count == 0 {
        bail_invalid!("an empty tensor is no picture");
    }
    let value = |at: usize, c: usize| values[if first { c * count + at } else { at * all + c }];
    let shown = (0..count).flat_map(|at| (0..channels).map(move |c| (at, c))).map(|(at, c)| value(at, c));
    let (lo, hi) = (shown.filter(|v| v.is_finite()))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    let scale = if hi > lo { 255.0 / (hi - lo) } else { 0.0 };
    let byte = |v: f64| if v.is_finite() { ((v - lo) * scale).round() as u8 } else { 255 };
    let point = |at: usize| match channels {
        1 => [byte(value(at, 0)); 3],
        _ => [0, 1, 2].map(|c| byte(value(at, c))),
    };
    Ok(Picture { height, width, points: (0..count).map(point).collect() })
}

impl Picture {
    /// The picture no larger than that, its sides in proportion; small ones stay as they are.
    pub(crate) fn within(&self, height: usize, width: usize) -> Self {
        let ratio = (height as f64 / self.height as f64).min(width as f64 / self.width as f64).min(1.0);
        let size = |n: usize| ((n as f64 * ratio).round() as usize).max(1);
        let (to_height, to_width) = (size(self.height), size(self.width));
        if (to_height, to_width) == (self.height, self.width) {
            return Self { height: self.height, width: self.width, points: self.points.clone() };
        }
        let pixels: Vec<f32> = self.points.iter().flatten().map(|v| f32::from(*v)).collect();
        let resized = images::resize(&pixels, (self.height, self.width), (to_height, to_width));
        let points = resized.chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(|v| v.round() as u8)).collect();
        Self { height: to_height, width: to_width, points }
    }

    /// Two points of a column in each character: the upper one in the colour of the half block, the lower one behind it.
    pub(crate) fn blocks(&self) -> String {
        let mut lines = Vec::new();
        for y in (0..self.height).step_by(2) {
            let mut line = String::new();
            for x in 0..self.width {
                let [r, g, b] = self.points[y * self.width + x];
                line += &format!("\x1b[38;2;{r};{g};{b}m");
                match self.points.get((y + 1) * self.width + x) {
                    Some([r, g, b]) => line += &format!("\x1b[48;2;{r};{g};{b}m▀"),
                    None => line += "\x1b[49m▀",
                }
            }
            lines.push(line + "\x1b[0m");
        }
        lines.join("\n")
    }

    /// Shades without colours, for texts: a character for two points of a column.
    pub(crate) fn shades(&self) -> String {
        const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
        let grey = |p: &[u8; 3]| p.iter().map(|v| usize::from(*v)).sum::<usize>();
        let mut lines = Vec::new();
        for y in (0..self.height).step_by(2) {
            let shade = |x: usize| {
                let above = &self.points[y * self.width + x];
                let below = self.points.get((y + 1) * self.width + x).unwrap_or(above);
                SHADES[((grey(above) + grey(below)) * SHADES.len() / (6 * 256)).min(SHADES.len() - 1)]
            };
            lines.push((0..self.width).map(shade).collect::<String>());
        }
        lines.join("\n")
    }

    /// The picture as sixels; small ones are enlarged.
    pub(crate) fn sixels(&self) -> String {
        let times = (MOST_SIXELS / 2 / self.width.max(self.height)).max(1);
        let Self { height, width, points } = self.within(MOST_SIXELS, MOST_SIXELS).times(times);
        sixel::encode(height, width, &points)
    }

    /// The picture as a PNG file.
    pub(crate) fn png(&self) -> std::result::Result<Vec<u8>, png::EncodingError> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.points.concat())?;
        writer.finish()?;
        Ok(out)
    }

    fn times(&self, n: usize) -> Self {
        let (height, width) = (self.height * n, self.width * n);
        let point = |i: usize| self.points[i / width / n * self.width + i % width / n];
        Self { height, width, points: (0..height * width).map(point).collect() }
    }
}

/// Whether the terminal is one that has sixels, as it says by its name.
pub(crate) fn has_sixels() -> bool {
    let is = |name: &str, words: &[&str]| {
        std::env::var(name)
            .is_ok_and(|value| words.iter().any(|word| value.to_ascii_lowercase().contains(word)))
    };
    is("TERM", &["sixel", "mlterm", "yaft", "foot"]) || is("TERM_PROGRAM", &["wezterm", "iterm", "mintty"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_told_apart() {
        let size = |shape: &[usize]| {
            let picture = of(&Tensor::zeros(kiln_ir::DType::F32, shape)).unwrap();
            (picture.height, picture.width)
        };
        assert_eq!(size(&[1, 3, 32, 24]), (32, 24));
        assert_eq!(size(&[1, 32, 24, 3]), (32, 24));
        assert_eq!(size(&[1, 1, 28, 28]), (28, 28));
        assert_eq!(size(&[28, 28]), (28, 28));
        assert_eq!(size(&[1, 10]), (1, 10));
        assert!(of(&Tensor::scalar(1.0f32)).is_err());
    }

    #[test]
    fn values_are_stretched() {
        let picture = of(&Tensor::from_vec(&[2, 2], vec![-1.0f32, 1.0, 0.0, f32::NAN])).unwrap();
        assert_eq!(picture.points, [[0; 3], [255; 3], [128; 3], [255; 3]]);
        assert_eq!(picture.shades(), "░█");
        assert!(picture.blocks().starts_with("\x1b[38;2;0;0;0m\x1b[48;2;128;128;128m▀"));
        assert!(picture.sixels().starts_with("\x1bPq"));
        let small = of(&Tensor::zeros(kiln_ir::DType::F32, &[100, 50])).unwrap().within(10, 10);
        assert_eq!((small.height, small.width), (10, 5));
    }
}
