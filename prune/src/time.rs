//! How much of each layer is removed so that a run takes no longer than it may, with the least error: dynamic programming over
//! measured times.

/// What a level of a layer costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// Milliseconds.
    pub(crate) ms: f64,
    /// In parts of the layer's result.
    pub(crate) error: f64,
}

/// Steps that the time is counted in.
const STEPS: usize = 4000;

/// The level of each layer with the least sum of errors, where the sum of times is at most `most`. Where nothing is as fast,
/// the fastest of each.
pub(crate) fn choose(layers: &[Vec<Level>], most: f64) -> Vec<usize> {
    let fastest = |levels: &[Level]| {
        let all = levels.iter().enumerate();
        all.min_by(|a, b| {
            (a.1.ms, a.1.error).partial_cmp(&(b.1.ms, b.1.error)).unwrap_or(std::cmp::Ordering::Equal)
        })
        .map_or(0, |(i, _)| i)
    };
    if most.is_nan() || most <= 0.0 {
        return layers.iter().map(|l| fastest(l)).collect();
    }
    // Rounded up, so that a choice that fits here fits. The step is a little wider for it.
    let step = most / (STEPS - layers.len().min(STEPS / 2)) as f64;
    let steps = |ms: f64| (ms / step).ceil().max(0.0) as usize;
    // By time so far: the least sum of errors. By layer and time: the level that leads there.
    let mut best = vec![f64::INFINITY; STEPS + 1];
    best[0] = 0.0;
    let mut chosen: Vec<Vec<u8>> = Vec::new();
    for levels in layers {
        let mut next = vec![f64::INFINITY; STEPS + 1];
        let mut by = vec![0u8; STEPS + 1];
        for (l, level) in levels.iter().enumerate() {
            let width = steps(level.ms);
            for from in 0..(STEPS + 1).saturating_sub(width) {
                let sum = best[from] + level.error;
                if sum < next[from + width] {
                    (next[from + width], by[from + width]) = (sum, l as u8);
                }
            }
        }
        best = next;
        chosen.push(by);
    }
    let end = (0..=STEPS).min_by(|a, b| best[*a].total_cmp(&best[*b])).unwrap_or(0);
    if !best[end].is_finite() {
        return layers.iter().map(|l| fastest(l)).collect();
    }
    let mut at = end;
    let mut out: Vec<usize> = Vec::new();
    for (levels, by) in layers.iter().zip(&chosen).rev() {
        let level = usize::from(by[at]);
        out.push(level);
        at -= steps(levels[level].ms);
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(ms: f64, error: f64) -> Level {
        Level { ms, error }
    }

    #[test]
    fn the_least_error_in_the_time() {
        // The first layer gains much for little; the second nothing.
        let layers = [
            vec![level(10.0, 0.0), level(5.0, 0.1), level(2.0, 0.5)],
            vec![level(4.0, 0.0), level(4.2, 0.2)],
        ];
        assert_eq!(choose(&layers, 20.0), [0, 0]);
        assert_eq!(choose(&layers, 9.1), [1, 0]);
        assert_eq!(choose(&layers, 6.1), [2, 0]);
        // Nothing is so fast.
        assert_eq!(choose(&layers, 3.0), [2, 0]);
        assert_eq!(choose(&layers, f64::NAN), [2, 0]);
        assert!(choose(&[], 1.0).is_empty());
        // Against all choices.
        let number = |i: usize| ((i * 7919 + 13) % 101) as f64 / 10.0 + 0.1;
        let layers: Vec<Vec<Level>> = (0..5)
            .map(|l| (0..4).map(|i| level(number(l * 9 + i), number(l * 5 + i + 50))).collect())
            .collect();
        let sum = |c: &[usize], of: &dyn Fn(&Level) -> f64| -> f64 {
            layers.iter().zip(c).map(|(l, c)| of(&l[*c])).sum()
        };
        for most in [10.0, 20.0, 30.0] {
            let all = (0..4usize.pow(5)).map(|i| (0..5).map(|l| i / 4usize.pow(l) % 4).collect::<Vec<_>>());
            // What fits with a little room.
            let fits = all.filter(|c| sum(c, &|l| l.ms) <= most * 0.997);
            let least = fits.map(|c| sum(&c, &|l| l.error)).min_by(f64::total_cmp);
            let found = choose(&layers, most);
            if let Some(least) = least {
                assert!(
                    sum(&found, &|l| l.ms) <= most && sum(&found, &|l| l.error) <= least + 1e-9,
                    "{most}"
                );
            }
        }
    }
}
