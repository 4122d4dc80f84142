//! One axis of a resized tensor: which elements each position is made of, and with what weights.
//!
//! The formulas are those of ONNX Resize (version 19 and its reference). A position `i` of the result lies at `x` of the
//! source, by the coordinate transformation; the kernel of interpolation, centred at `x`, gives the weights of the elements
//! around it. Elements outside are the border's, or are left out where `exclude_outside` says so.

/// How positions of the result lie in the source.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

/// Which element is the nearest one.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// The kernel of interpolation.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Nearest(Nearest),
    Linear,
    /// With the coefficient `a` of the kernel, -0.75 by default.
    Cubic(f32),
}

/// What all axes have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The kernel.
    pub mode: Mode,
    /// Where positions lie.
    pub coordinates: Coordinates,
    /// Whether the kernel is as wide as a step of the result where that is larger than an element.
    pub antialias: bool,
    /// Whether elements outside are left out, and the other weights sum to 1 without them.
    pub exclude_outside: bool,
}

/// Extents of an axis and what is given for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    /// Elements of the source.
    pub from: i64,
    /// Elements of the result.
    pub to: i64,
    /// How much larger the result is, which `to` rounds.
    pub scale: f64,
    /// First and last place of the region that is shown, in parts of the axis.
    pub region: (f64, f64),
}

/// What an axis of the result is made of: taps, each an element of the source and a weight for every position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taps {
    /// By tap and position.
    pub sources: Vec<Vec<i64>>,
    /// By tap and position; none where each position is one element as it is.
    pub weights: Vec<Vec<f64>>,
    /// Positions that lie in the source; the others have the value for extrapolation.
    pub inside: Vec<bool>,
}

impl Axis {
    /// Whether the axis stays as it is.
    pub(super) fn is_same(&self, sampling: &Sampling) -> bool {
        let whole = sampling.coordinates != Coordinates::TfCropAndResize || self.region == (0.0, 1.0);
        self.from == self.to && self.scale == 1.0 && whole
    }

    /// The place in the source of position `i`.
    pub(super) fn place(&self, i: i64, coordinates: Coordinates) -> f64 {
        let (i, from, scaled) = (i as f64, self.from as f64, self.scale * self.from as f64);
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => from / 2.0 * (1.0 - self.to as f64 / scaled) + half_pixel,
            Coordinates::PytorchHalfPixel if scaled == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if scaled == 1.0 => 0.0,
            Coordinates::AlignCorners => i * (from - 1.0) / (scaled - 1.0),
            Coordinates::Asymmetric => i / self.scale,
            Coordinates::TfCropAndResize => {
                let (first, last) = self.region;
                let part = if scaled == 1.0 { 0.5 } else { i / (scaled - 1.0) };
                part * (last - first) * (from - 1.0) + first * (from - 1.0)
            }
        }
    }

    /// The elements and weights of all positions.
    pub(super) fn taps(&self, sampling: &Sampling) -> Taps {
        let places: Vec<f64> = (0..self.to).map(|i| self.place(i, sampling.coordinates)).collect();
        let last = (self.from - 1) as f64;
        let crops = sampling.coordinates == Coordinates::TfCropAndResize;
        let inside = places.iter().map(|x| !crops || (0.0..=last).contains(x)).collect();
        let clamped = |at: i64| at.clamp(0, self.from - 1);
        if let Mode::Nearest(nearest) = sampling.mode {
            let sources = places.iter().map(|x| clamped(self::nearest(*x, nearest))).collect();
            return Taps { sources: vec![sources], weights: Vec::new(), inside };
        }
        let kernel = Kernel::new(sampling, self.scale);
        let count = 2 * kernel.reach;
        let mut taps = Taps {
            sources: vec![Vec::with_capacity(places.len()); count],
            weights: vec![Vec::with_capacity(places.len()); count],
            inside,
        };
        for x in &places {
            let first = x.floor() as i64 + 1 - kernel.reach as i64;
            let weight = |tap: i64| {
                let at = first + tap;
                let outside = sampling.exclude_outside && clamped(at) != at;
                if outside { 0.0 } else { kernel.weight(at as f64 - x) }
            };
            let weights: Vec<f64> = (0..count as i64).map(weight).collect();
            let sum: f64 =
                if kernel.normal && !sampling.exclude_outside { 1.0 } else { weights.iter().sum() };
            for (tap, weight) in weights.into_iter().enumerate() {
                taps.sources[tap].push(clamped(first + tap as i64));
                taps.weights[tap].push(if sum == 0.0 { 0.0 } else { weight / sum });
            }
        }
        taps.without_zeros()
    }
}

impl Taps {
    /// Taps that weigh nothing anywhere are left out.
    fn without_zeros(mut self) -> Self {
        let used: Vec<bool> = self.weights.iter().map(|tap| tap.iter().any(|w| *w != 0.0)).collect();
        if used.contains(&true) {
            let mut keep = used.iter();
            self.sources.retain(|_| keep.next() == Some(&true));
            let mut keep = used.iter();
            self.weights.retain(|_| keep.next() == Some(&true));
        }
        self
    }
}

/// The element that is nearest to a place.
pub(super) fn nearest(x: f64, nearest: Nearest) -> i64 {
    let (floor, ceil) = (x.floor(), x.ceil());
    let up = match nearest {
        Nearest::RoundPreferFloor => x - floor > 0.5,
        Nearest::RoundPreferCeil => x - floor >= 0.5,
        Nearest::Floor => false,
        Nearest::Ceil => true,
    };
    (if up { ceil } else { floor }) as i64
}

/// A kernel of interpolation: how much an element weighs by its distance.
struct Kernel {
    mode: Mode,
    /// By what distances are multiplied: below 1 the kernel is wider than it is defined.
    scale: f64,
    /// Elements that it reaches on either side.
    reach: usize,
    /// Whether its weights sum to 1 by themselves.
    normal: bool,
}

impl Kernel {
    fn new(sampling: &Sampling, scale: f64) -> Self {
        let half = if sampling.mode == Mode::Linear { 1.0 } else { 2.0 };
        let scale = if sampling.antialias { scale.min(1.0) } else { 1.0 };
        // Elements at a distance below half / scale: as many are above a place as below it, itself included.
        let reach = (half / scale).ceil().min(f64::from(u16::MAX)) as usize;
        Self { mode: sampling.mode, scale, reach, normal: scale == 1.0 }
    }

    /// The weight at a distance.
    fn weight(&self, distance: f64) -> f64 {
        let x = (distance * self.scale).abs();
        match self.mode {
            Mode::Cubic(a) => {
                let a = f64::from(a);
                if x <= 1.0 {
                    ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
                } else {
                    0.0
                }
            }
            _ => (1.0 - x).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_PIXEL: Sampling = Sampling {
        mode: Mode::Linear,
        coordinates: Coordinates::HalfPixel,
        antialias: false,
        exclude_outside: false,
    };

    fn axis(from: i64, to: i64) -> Axis {
        Axis { from, to, scale: to as f64 / from as f64, region: (0.0, 1.0) }
    }

    #[test]
    fn twice_as_many_by_halves_of_pixels() {
        let taps = axis(2, 4).taps(&HALF_PIXEL);
        assert_eq!(taps.sources, [[0, 0, 0, 1], [0, 1, 1, 1]]);
        assert_eq!(taps.weights, [[0.25, 0.75, 0.25, 0.75], [0.75, 0.25, 0.75, 0.25]]);
    }

    #[test]
    fn a_wide_kernel_takes_all_that_a_step_covers() {
        let taps = axis(8, 2).taps(&Sampling { antialias: true, ..HALF_PIXEL });
        for i in 0..2 {
            let sum: f64 = taps.weights.iter().map(|tap| tap[i]).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{taps:?}");
        }
        // The place 1.5, with elements at a distance below 4.
        let first: Vec<f64> = taps.weights.iter().map(|tap| tap[0] * 16.0).collect();
        assert_eq!(first, [0.5, 1.5, 2.5, 3.5, 3.5, 2.5, 1.5, 0.5]);
    }

    #[test]
    fn cubic_weights_sum_to_one_without_what_is_outside() {
        let sampling = Sampling { mode: Mode::Cubic(-0.75), exclude_outside: true, ..HALF_PIXEL };
        let taps = axis(4, 8).taps(&sampling);
        for i in 0..8 {
            assert!((taps.weights.iter().map(|tap| tap[i]).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(taps.weights[0][0], 0.0);
    }

    #[test]
    fn ties_go_where_the_mode_says() {
        let all = [Nearest::RoundPreferFloor, Nearest::RoundPreferCeil, Nearest::Floor, Nearest::Ceil];
        assert_eq!(all.map(|mode| nearest(1.5, mode)), [1, 2, 1, 2]);
        assert_eq!(all.map(|mode| nearest(1.7, mode)), [2, 2, 1, 2]);
        assert_eq!(all.map(|mode| nearest(-0.25, mode)), [0, 0, -1, 0]);
        assert_eq!(all.map(|mode| nearest(3.0, mode)), [3, 3, 3, 3]);
    }
}
