//! When minimal filtering pays: multiplications saved against transforms and memory.
//!
//! Costs are in vector multiply-adds, of which a core starts two per cycle. As everywhere in schedules they rank
//! candidates and mean nothing else.

use kiln_targets::Target;

use super::matrices::{Filter, WINDOW};
use crate::schedule::Choices;
use crate::schedule::choices::Pick;

/// Extents of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub(super) n: i64,
    pub(super) o: i64,
    pub(super) c: i64,
    pub(super) h: i64,
    pub(super) w: i64,
    /// Weights are floats of 16 bits.
    pub(super) short: bool,
    /// Factors are bytes: the greatest magnitude of a sum.
    pub(super) most: Option<i64>,
}

impl Layer {
    /// Whether transformed weights have 16 bits, as the weights have: F(2x2) adds an error of one and a half times what
    /// rounding the results does, F(4x4) one of ten times that.
    pub(super) fn keeps_short(&self, filter: Filter) -> bool {
        self.short && filter == Filter::Two
    }

    /// What measured choices know it by.
    pub(super) fn key(&self) -> String {
        let Self { n, o, c, h, w, .. } = self;
        let types = match (self.short, self.most) {
            (_, Some(_)) => " bytes",
            (true, None) => " short",
            (false, None) => "",
        };
        format!("winograd n{n} o{o} c{c} h{h} w{w}{types}")
    }

    /// The factors of the definition.
    fn factors(&self, target: &Target) -> Factors {
        match (self.short, self.most) {
            (_, Some(_)) => Factors {
                bytes: 1.0,
                cost: if target.multiplies_fours() { FOUR_BYTES } else { BYTES_AS_WORDS },
            },
            (short, None) => Factors { bytes: if short { 2.0 } else { 4.0 }, cost: 1.0 },
        }
    }

    /// The factors of the products of a size of tiles.
    fn filtered_factors(&self, filter: Filter) -> Factors {
        match self.most {
            Some(_) => Factors { bytes: 2.0, cost: WORDS },
            None => Factors { bytes: if self.keeps_short(filter) { 2.0 } else { 4.0 }, cost: 1.0 },
        }
    }
}

/// What is multiplied.
#[derive(Clone, Copy)]
struct Factors {
    /// Of a weight.
    bytes: f64,
    /// Multiply-adds of f32 in the time of as many of these.
    cost: f64,
}

/// Bytes four at a time, by an instruction.
const FOUR_BYTES: f64 = 0.25;
/// Bytes that become words as they are read: 22 products a cycle of a Zen 4 where f32 has 16.
const BYTES_AS_WORDS: f64 = 0.7;
/// Words two at a time: a multiplication and an addition, or one instruction of the speed of an f32 multiply-add.
const WORDS: f64 = 0.5;

/// Channels of either side at least: vectors are filled and products are deep enough to be products.
const LEAST_CHANNELS: i64 = 16;
/// Bytes of weights that a core reads from beyond its second-level cache in the time of a multiply-add; measured
/// with 256- and 512-bit vectors.
const COLD_BYTES: f64 = 4.0;
/// The same for temporaries, which have just been written.
const WARM_BYTES: f64 = 8.0;
/// The same for what is in the second-level cache.
const NEAR_BYTES: f64 = 24.0;
/// Vectors of which one multiply-add starts per cycle.
const WIDE: usize = 64;
/// Bytes of words and sums that their product reads and writes in the time of one of these; what the transforms take for them
/// is less than their operations are counted for (Zen 4: 22 and 47 us of 71 and 97 for 64 channels of 56 x 56).
const WIDE_BYTES: f64 = 24.0;
/// What a byte of weights in the artefact is worth, in multiply-adds of one lane: F(4x4) has four times the weights of
/// the definition and F(2x2) 1.8 times, and on small images of many channels the larger one buys its speed with tens
/// of megabytes. At this price resnet50 grows by 30 MB instead of 57 (512 bits) or 98 (128 bits).
const BYTE_PRICE: f64 = 3.0;
/// The same of a model whose weights have 16 bits, which is there to be small: resnet50 stays at half the bytes of the one of
/// f32, at its speed.
const SHORT_BYTE_PRICE: f64 = 16.0;
/// The same of bytes, which become eight times as many (F(4x4)) or three and a half times.
const WORD_PRICE: f64 = 6.0;
/// What is saved must be more than this part of the cost, or the rounding is not worth it.
const LEAST_GAIN: f64 = 0.15;
/// Temporaries at most: displacements must reach from one end to the other.
const MOST_BYTES: f64 = (1 << 30) as f64;

/// Sizes of tiles that could pay.
pub(super) fn possible(layer: &Layer) -> Vec<Filter> {
    if layer.o < LEAST_CHANNELS || layer.c < LEAST_CHANNELS {
        return Vec::new();
    }
    let exact = |f: &Filter| layer.most.is_none_or(|most| f.holds(most));
    let fits = |f: &Filter| temporaries(layer, *f) < MOST_BYTES;
    [Filter::Two, Filter::Four].into_iter().filter(|f| exact(f) && fits(f)).collect()
}

/// Whether displacements reach through temporaries of either size of tiles.
pub(super) fn reaches(layer: &Layer) -> bool {
    [Filter::Two, Filter::Four].iter().all(|f| temporaries(layer, *f) < MOST_BYTES)
}

/// Why [`choose`] chose none.
pub(super) fn why_not(layer: &Layer, target: &Target) -> String {
    if layer.o < LEAST_CHANNELS || layer.c < LEAST_CHANNELS {
        return format!(
            "{} channels to {}: at least {LEAST_CHANNELS} on either side fill vectors",
            layer.c, layer.o
        );
    }
    let definition = definition(layer, target);
    let list = possible(layer)
        .into_iter()
        .map(|f| format!("{} costs {:.0} %", f.name(), 100.0 * filtered(layer, f, target) / definition));
    let list: Vec<String> = list.collect();
    if list.is_empty() {
        return "its temporaries or its sums would be too large".to_owned();
    }
    format!("{} of the definition; less than {:.0} % pays", list.join(", "), 100.0 * (1.0 - LEAST_GAIN))
}

/// The fastest size of tiles; `None` when the definition is as fast or almost. Machines of several levels share their
/// weights and so the choice: it is the one that is closest to what each would have alone, where it is farthest from that.
pub(super) fn choose(layer: &Layer, targets: &[Target]) -> Option<Filter> {
    let alone: Vec<f64> = targets.iter().map(|target| alone(layer, target)).collect();
    let loss = |choice: &Option<Filter>| {
        let costs = targets.iter().map(|target| match choice {
            Some(filter) => filtered(layer, *filter, target),
            None => definition(layer, target),
        });
        costs.zip(&alone).map(|(cost, alone)| cost / alone).fold(1.0, f64::max)
    };
    let filters = possible(layer).into_iter().map(Some);
    [None].into_iter().chain(filters).min_by(|a, b| loss(a).total_cmp(&loss(b))).flatten()
}

/// What the best choice for one machine leaves of the definition's cost.
pub(super) fn part(layer: &Layer, target: &Target) -> f64 {
    alone(layer, target) / definition(layer, target)
}

/// What the best choice for one machine costs: of the sizes of tiles if one of them pays, else of the definition.
fn alone(layer: &Layer, target: &Target) -> f64 {
    let definition = definition(layer, target);
    let least = possible(layer).into_iter().map(|f| filtered(layer, f, target)).fold(f64::INFINITY, f64::min);
    if least < definition * (1.0 - LEAST_GAIN) { least } else { definition }
}

/// The size of tiles that was measured to be the fastest, or else the cost model's.
pub(super) fn filter(layer: &Layer, targets: &[Target], choices: &Choices) -> Option<Filter> {
    let possible = possible(layer);
    match choices.get(&layer.key()) {
        Some(Pick::Winograd(0)) => None,
        Some(Pick::Winograd(m)) => {
            possible.into_iter().find(|f| f.outputs() == usize::from(*m)).or_else(|| choose(layer, targets))
        }
        _ => choose(layer, targets),
    }
}

/// Multiply-adds, or reading the weights where that takes longer, and the weights' price.
fn product(layer: &Layer, rows: f64, weights: f64, factors: Factors, target: &Target) -> f64 {
    let (c, o, lanes) = (layer.c as f64, layer.o as f64, target.lanes() as f64);
    let columns = (o / lanes).ceil() * lanes;
    let bytes = weights * c * o * factors.bytes;
    let price = match (layer.short, layer.most) {
        (_, Some(_)) => WORD_PRICE,
        (true, None) => SHORT_BYTE_PRICE,
        (false, None) => BYTE_PRICE,
    };
    let speed = if bytes > target.l2_bytes as f64 { COLD_BYTES } else { NEAR_BYTES };
    (rows * weights * c * columns / lanes * factors.cost).max(bytes / speed) + bytes * price / lanes
}

fn definition(layer: &Layer, target: &Target) -> f64 {
    let rows = (layer.n * layer.h * layer.w) as f64;
    product(layer, rows, (WINDOW * WINDOW) as f64, layer.factors(target), target)
}

fn tiles(layer: &Layer, filter: Filter) -> f64 {
    let m = filter.outputs() as i64;
    (layer.n * ((layer.h + m - 1) / m) * ((layer.w + m - 1) / m)) as f64
}

/// Bytes of transformed inputs and of products.
fn temporaries(layer: &Layer, filter: Filter) -> f64 {
    let elements = (filter.inputs() * filter.inputs()) as f64;
    let input = if layer.most.is_some() { 2.0 } else { 4.0 };
    tiles(layer, filter) * elements * (layer.c as f64 * input + layer.o as f64 * 4.0)
}

fn filtered(layer: &Layer, filter: Filter, target: &Target) -> f64 {
    // Without vectors the transforms take as many instructions as the products that they save.
    if layer.most.is_some() && target.crosses_bytes {
        return f64::INFINITY;
    }
    let elements = (filter.inputs() * filter.inputs()) as f64;
    // Vector operations of the transforms of a tile: loads, additions, what is put aside, stores.
    let (input, output) = match filter {
        Filter::Two => (100.0, 70.0),
        Filter::Four => (300.0, 260.0),
    };
    // Bytes are transformed in words.
    let input = if layer.most.is_some() { input / 2.0 } else { input };
    let vectors = |channels: i64| (channels as f64 / target.lanes() as f64).ceil();
    let transforms = tiles(layer, filter) * (input * vectors(layer.c) + output * vectors(layer.o));
    let bytes = temporaries(layer, filter);
    // Written once and read once.
    let memory = match (layer.most, bytes > target.l2_bytes as f64) {
        (Some(_), _) if target.vector_bytes == WIDE => bytes / WIDE_BYTES,
        (_, true) => 2.0 * bytes / WARM_BYTES,
        (_, false) => 2.0 * bytes / NEAR_BYTES,
    };
    product(layer, tiles(layer, filter), elements, layer.filtered_factors(filter), target)
        + transforms
        + memory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(o: i64, c: i64, h: i64, w: i64) -> Option<Filter> {
        choose(&Layer { n: 1, o, c, h, w, short: false, most: None }, &targets(&["avx2"]))
    }

    fn targets(levels: &[&str]) -> Vec<Target> {
        kiln_targets::resolve_list("x86_64-unknown-linux-gnu", levels, "").unwrap()
    }

    #[test]
    fn large_images_of_many_channels_pay() {
        assert_eq!(chosen(64, 64, 56, 56), Some(Filter::Four));
        assert_eq!(chosen(128, 128, 28, 28), Some(Filter::Four));
    }

    #[test]
    fn small_images_of_many_channels_have_smaller_tiles() {
        // Four times the weights would take longer to read than the products they save.
        assert_eq!(chosen(512, 512, 7, 7), Some(Filter::Two));
    }

    #[test]
    fn every_level_weighs_size_against_speed_alike() {
        for level in ["sse2", "avx2", "avx512"] {
            let targets = targets(&[level]);
            let chosen = |c, h| choose(&Layer { n: 1, o: c, c, h, w: h, short: false, most: None }, &targets);
            let layers = [(64, 56), (128, 28), (256, 14)].map(|(c, h)| chosen(c, h));
            assert_eq!(layers, [Filter::Four, Filter::Four, Filter::Two].map(Some), "{level}");
        }
    }

    #[test]
    fn short_weights_stay_short_where_there_are_many() {
        let targets = targets(&["avx512"]);
        let layers = [(64, 56), (128, 28), (256, 14), (512, 7)];
        let chosen =
            layers.map(|(c, h)| choose(&Layer { n: 1, o: c, c, h, w: h, short: true, most: None }, &targets));
        assert_eq!(chosen, [Some(Filter::Four), Some(Filter::Two), Some(Filter::Two), None]);
    }

    #[test]
    fn bytes_are_filtered_where_that_is_exact_and_pays() {
        let layer = |c, h, most| Layer { n: 1, o: c, c, h, w: h, short: false, most: Some(most) };
        for level in ["sse2", "avx2", "avx512"] {
            let chosen = |c, h| choose(&layer(c, h, 1 << 20), &targets(&[level]));
            let layers = [(64, 56), (128, 28), (256, 14)].map(|(c, h)| chosen(c, h));
            assert_eq!(layers, [Filter::Four, Filter::Four, Filter::Two].map(Some), "{level}");
        }
        // Sums that F(4x4) cannot hold, and sums that neither can.
        assert_eq!(choose(&layer(64, 56, 1 << 25), &targets(&["avx2"])), Some(Filter::Two));
        assert_eq!(choose(&layer(64, 56, 1 << 30), &targets(&["avx2"])), None);
    }

    #[test]
    fn four_bytes_at_a_time_are_filtered_on_large_images() {
        let targets = targets(&["avx512vnni"]);
        let chosen =
            |c, h| choose(&Layer { n: 1, o: c, c, h, w: h, short: false, most: Some(1 << 20) }, &targets);
        assert!(targets[0].dot4);
        // Beyond, what is read of transformed weights is as much as products are saved.
        let layers = [(64, 56), (128, 28), (256, 14), (512, 7)].map(|(c, h)| chosen(c, h));
        assert_eq!(layers, [Some(Filter::Four), Some(Filter::Four), None, None]);
    }

    #[test]
    fn levels_that_share_weights_take_what_costs_none_of_them_much() {
        let layer = |o, c, h| Layer { n: 1, o, c, h, w: h, short: false, most: None };
        // Narrow vectors gain more from fewer products, wide ones more from fewer bytes.
        let of = |levels: &[&str], layer: &Layer| choose(layer, &targets(levels));
        let list = ["baseline", "avx2", "avx512"];
        let deep = layer(512, 512, 7);
        assert_eq!([of(&["avx2"], &deep), of(&["avx512"], &deep)], [Some(Filter::Two), None]);
        assert_eq!(of(&list, &deep), Some(Filter::Two));
        for layer in [layer(64, 64, 56), layer(128, 128, 28), layer(256, 256, 14), deep] {
            let shared = of(&list, &layer);
            for target in targets(&list) {
                let cost = shared.map_or(definition(&layer, &target), |f| filtered(&layer, f, &target));
                let loss = cost / alone(&layer, &target);
                assert!(loss < 1.02, "{} {layer:?}: {loss}", target.level);
            }
        }
    }

    #[test]
    fn few_channels_and_single_pixels_do_not() {
        assert_eq!(chosen(64, 3, 224, 224), None);
        assert_eq!(chosen(8, 64, 56, 56), None);
        assert_eq!(chosen(256, 256, 1, 1), None);
    }
}
