//! What the pruner is asked for.

use kiln_calibrate::Machine;

use crate::pattern::Pattern;

/// What says that a weight matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saliency {
    /// Its square.
    Magnitude,
    /// Its square times the mean square of what it is multiplied by, compared within a channel of results (or a block of
    /// them). After Sun et al., 2023.
    Wanda,
    /// The same, compared within the layer: the diagonal of the second derivative of the squared error of its result. After
    /// LeCun et al., 1989.
    Obd,
    /// What the layer's result loses when the other weights make up for it as well as they can: the whole second
    /// derivative. After Hassibi and Stork, 1993, and Frantar and Alistarh, 2022 and 2023.
    Obs,
}

impl Saliency {
    /// Whether it needs data.
    pub fn needs_data(self) -> bool {
        self != Self::Magnitude
    }
}

/// How layers share what is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The same part of each.
    Uniform,
    /// Whatever costs least, in parts of each layer's result.
    Global,
    /// No slower than the same part of each, on this machine, with the least cost.
    Time,
}

/// How the part that is removed grows over steps. Between them weights that are left are solved for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// All at once.
    Oneshot,
    /// Equal parts.
    Linear(usize),
    /// Large parts first: what is left falls with the cube.
    Cubic(usize),
}

impl Schedule {
    /// How many steps there are; one at least.
    pub fn steps(self) -> usize {
        match self {
            Self::Oneshot => 1,
            Self::Linear(steps) | Self::Cubic(steps) => steps.max(1),
        }
    }

    /// The part of the whole that is removed after step `step`, from 1.
    pub(crate) fn part(self, step: usize) -> f64 {
        let t = step as f64 / self.steps() as f64;
        match self {
            Self::Oneshot => 1.0,
            Self::Linear(_) => t,
            Self::Cubic(_) => 1.0 - (1.0 - t).powi(3),
        }
    }
}

/// What the pruner is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The part of the weights, or of the channels, that is removed: from 0 to less than 1.
    pub sparsity: f64,
    /// What is removed together.
    pub pattern: Pattern,
    /// What matters.
    pub saliency: Saliency,
    /// How layers share it.
    pub budget: Budget,
    /// Layers with a part of their own, by name with `*` and `?`; the last that fits counts. 0 leaves a layer as it is.
    pub layers: Vec<(String, f64)>,
    /// Steps.
    pub schedule: Schedule,
    /// Whether weights that are left are solved for, so that results stay as near as they can; needs data.
    pub reconstruct: bool,
    /// How models run.
    pub machine: Machine,
}
