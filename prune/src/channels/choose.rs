//! Which channels go: those whose loss costs the layers that read them least.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lanes::Lanes;
use crate::elimination::Elimination;
use crate::matrix::Matrix;
use crate::options::{Budget, Options, Saliency};
use crate::trace::{Alone, Known, best_rows};

/// Exact elimination is for rows of at most so many numbers.
const MOST_EXACT: usize = 2400;

/// Channels that are one and the same, and go together.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) root: usize,
    /// Layers that give them, and the row.
    pub(crate) rows: Vec<(usize, usize)>,
    /// Layers that read them, and the columns.
    pub(crate) columns: Vec<(usize, Vec<usize>)>,
}

/// Channels of the same layers.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) classes: Vec<Class>,
    /// Layers that give them.
    pub(crate) layers: Vec<usize>,
}

/// The channels that can go, by the layers that give them.
pub(crate) fn groups(lanes: &Lanes, matrices: &[Matrix]) -> Vec<Group> {
    let mut classes: BTreeMap<usize, Class> = BTreeMap::new();
    fn class(classes: &mut BTreeMap<usize, Class>, root: usize) -> &mut Class {
        classes.entry(root).or_insert_with(|| Class { root, rows: Vec::new(), columns: Vec::new() })
    }
    for (m, matrix) in matrices.iter().enumerate() {
        let Some(ends) = lanes.ends.get(&matrix.layer.node) else { continue };
        for (row, lane) in ends.gives.iter().enumerate() {
            class(&mut classes, lanes.root(*lane)).rows.push((m, row));
        }
        let Some(reads) = &ends.reads else { continue };
        let taps = matrix.weights.depth / reads.len().max(1);
        for (channel, lane) in reads.iter().enumerate() {
            let columns = (channel * taps..(channel + 1) * taps).collect::<Vec<_>>();
            let class = class(&mut classes, lanes.root(*lane));
            match class.columns.iter_mut().find(|(at, _)| *at == m) {
                Some((_, known)) => known.extend(columns),
                None => class.columns.push((m, columns)),
            }
        }
    }
    let mut groups: BTreeMap<Vec<usize>, Vec<Class>> = BTreeMap::new();
    for class in classes.into_values() {
        if lanes.why(class.root).is_some() || class.rows.is_empty() || class.columns.is_empty() {
            continue;
        }
        let mut layers: Vec<usize> = class.rows.iter().map(|(m, _)| *m).collect();
        layers.sort_unstable();
        layers.dedup();
        groups.entry(layers).or_default().push(class);
    }
    groups.into_iter().map(|(layers, classes)| Group { classes, layers }).collect()
}

/// The roots of the channels that go, `common` of each group or of all, or `own` where a layer has a part of its own.
pub(crate) fn choose(
    groups: &[Group],
    known: &[Known<'_>],
    common: f64,
    own: &[Option<f64>],
    options: &Options,
) -> BTreeSet<usize> {
    // How many may go, by group; and of those without a part of their own together.
    let wish = |g: &Group| {
        let own: Vec<f64> = g.layers.iter().filter_map(|l| own[*l]).collect();
        // A layer that is to be left alone is, whatever others that are coupled to it wish.
        if own.contains(&0.0) { Some(0.0) } else { own.first().copied() }
    };
    let is_pooled = |g: &Group| options.budget == Budget::Global && wish(g).is_none();
    let mut left: Vec<usize> = groups
        .iter()
        .map(|g| {
            let most = g.classes.len().saturating_sub(1);
            match is_pooled(g) {
                true => most,
                false => ((wish(g).unwrap_or(common) * g.classes.len() as f64).round() as usize).min(most),
            }
        })
        .collect();
    let in_pool: usize = groups.iter().filter(|g| is_pooled(g)).map(|g| g.classes.len()).sum();
    let mut pool = (common * in_pool as f64).round() as usize;
    let mut scorer = Scorer::of(groups, known, options);
    let mut gone = BTreeSet::new();
    let mut costs: Vec<Vec<f64>> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        costs.push((0..group.classes.len()).map(|c| scorer.cost(groups, g, c)).collect());
    }
    loop {
        let open = |g: usize| left[g] > 0 && (!is_pooled(&groups[g]) || pool > 0);
        let all =
            (0..groups.len()).filter(|g| open(*g)).flat_map(|g| (0..costs[g].len()).map(move |c| (g, c)));
        let Some((g, c)) = all
            .filter(|(g, c)| costs[*g][*c].is_finite())
            .min_by(|a, b| costs[a.0][a.1].total_cmp(&costs[b.0][b.1]))
        else {
            return gone;
        };
        gone.insert(groups[g].classes[c].root);
        costs[g][c] = f64::INFINITY;
        left[g] -= 1;
        pool -= usize::from(is_pooled(&groups[g]) && pool > 0);
        let touched = scorer.remove(groups, g, c);
        if touched.is_empty() {
            continue;
        }
        for (g, group) in groups.iter().enumerate() {
            for (c, class) in group.classes.iter().enumerate() {
                if costs[g][c].is_finite() && class.columns.iter().any(|(m, _)| touched.contains(m)) {
                    costs[g][c] = scorer.cost(groups, g, c);
                }
            }
        }
    }
}

/// What channels cost, while others go.
struct Scorer<'a> {
    known: &'a [Known<'a>],
    saliency: Saliency,
    whole: Vec<f64>,
    eliminations: Vec<Option<Elimination<'a>>>,
    /// Of layers without an elimination.
    alone: Vec<Option<Alone>>,
    /// By layer: the block of each class, by its root.
    block: Vec<HashMap<usize, usize>>,
}

impl<'a> Scorer<'a> {
    fn of(groups: &[Group], known: &'a [Known<'a>], options: &Options) -> Self {
        let saliency = options.saliency;
        let mut block: Vec<HashMap<usize, usize>> = vec![HashMap::new(); known.len()];
        let mut columns: Vec<Vec<Vec<usize>>> = vec![Vec::new(); known.len()];
        for class in groups.iter().flat_map(|g| &g.classes) {
            for (m, list) in &class.columns {
                block[*m].insert(class.root, columns[*m].len());
                columns[*m].push(list.clone());
            }
        }
        let whole: Vec<f64> = known.iter().map(|k| k.whole(saliency)).collect();
        let mut eliminations = Vec::with_capacity(known.len());
        for ((known, columns), whole) in known.iter().zip(columns).zip(&whole) {
            let short = known.matrix.weights.depth <= MOST_EXACT && !columns.is_empty();
            let second = known.second.as_ref().filter(|_| saliency == Saliency::Obs && short);
            let inverse = second.and_then(|s| {
                crate::elimination::inverse(s[0].h.clone(), s[0].depth, options.machine.threads)
            });
            eliminations.push(match (second, inverse) {
                (Some(second), Some(inverse)) => {
                    let rows = best_rows(known.matrix, 0, &second[0], &inverse);
                    Some(Elimination::new(inverse, columns, rows, known.importance(0, *whole)))
                }
                _ => None,
            });
        }
        let parts = known.iter().zip(&whole).zip(&eliminations);
        let alone = parts.map(|((k, whole), e)| e.is_none().then(|| Alone::of(k, 0, saliency, *whole)));
        let alone = alone.collect();
        Self { known, saliency, whole, eliminations, alone, block }
    }

    fn cost(&self, groups: &[Group], g: usize, c: usize) -> f64 {
        let class = &groups[g].classes[c];
        if self.saliency == Saliency::Magnitude {
            let row = |(m, row): &(usize, usize)| {
                let matrix = self.known[*m].matrix;
                let squares: f64 = matrix.row(&matrix.original, *row).iter().map(|w| w * w).sum();
                matrix.scale[*row] * squares / self.whole[*m]
            };
            return class.rows.iter().map(row).sum();
        }
        let layer = |(m, columns): &(usize, Vec<usize>)| match (&self.eliminations[*m], &self.alone[*m]) {
            (Some(elimination), _) => elimination.cost(self.block[*m][&class.root]),
            (_, Some(alone)) => alone.cost(columns),
            _ => 0.0,
        };
        class.columns.iter().map(layer).sum()
    }

    /// Removes channels; gives the layers in which others cost something else now.
    fn remove(&mut self, groups: &[Group], g: usize, c: usize) -> Vec<usize> {
        let class = &groups[g].classes[c];
        let mut touched = Vec::new();
        for (m, _) in &class.columns {
            if let Some(elimination) = &mut self.eliminations[*m] {
                elimination.remove(self.block[*m][&class.root]);
                touched.push(*m);
            }
        }
        touched
    }
}
