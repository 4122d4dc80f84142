//! What a kernel has to do: operations and bytes, for rates and limits.

mod products;

use kiln_ir::kernel::plan::{FlatAccess, Plan, PlannedKernel, Schedule};
use kiln_ir::kernel::{Form, Role, WindowOp};
use kiln_targets::Target;

pub use products::Products;

/// What a kernel does.
pub struct Work {
    /// The kernel's name.
    pub name: String,
    /// The name of its form.
    pub form: &'static str,
    /// The model's nodes in it.
    pub nodes: Vec<String>,
    /// Arithmetic operations.
    pub flops: f64,
    /// The same if no weight were left out: of all other kernels as many.
    pub dense_flops: f64,
    /// What its products are made of.
    pub products: Products,
    /// Bytes that it touches, each once.
    pub bytes: f64,
}

impl Work {
    /// What the kernels of a plan do on a machine; products with padding of depth do not count.
    pub fn of_plan(plan: &Plan, target: &Target) -> Vec<Self> {
        let of = |kernel: &PlannedKernel| {
            let work = Self::of(kernel);
            let asked = products::asked(kernel, &plan.weights);
            let (flops, dense_flops) = (work.flops * asked, work.dense_flops * asked);
            Self { flops, dense_flops, products: Products::of(kernel, target), ..work }
        };
        plan.kernels.iter().map(of).collect()
    }

    /// Multiplications whose products are summed.
    pub fn macs<A>(&self, form: &Form<A>) -> u64 {
        match form {
            Form::Contract { .. } | Form::Window { op: WindowOp::Dot, .. } => (self.flops / 2.0) as u64,
            _ => 0,
        }
    }

    /// Counts two operations for a product that is added to a sum and one for any other; bytes by [`bytes`].
    fn of(kernel: &PlannedKernel) -> Self {
        let flops = match &kernel.form {
            Form::Contract { .. } => 2.0 * iterations(kernel) * kept(kernel).unwrap_or(1.0),
            Form::Window { op: WindowOp::Dot, .. } => 2.0 * iterations(kernel),
            // Whole vectors of bytes: it is memory that limits them.
            Form::Window { op: WindowOp::Max, input, .. } if input.dtype.size() == 1 => 0.0,
            Form::Window { .. } => iterations(kernel),
            // Of bytes, four at a time: it is memory that limits them.
            Form::Reduce { .. } if matches!(kernel.schedule, Schedule::Digits(_)) => 0.0,
            Form::Reduce { value, .. } => iterations(kernel) * (1 + value.operations()) as f64,
            Form::Map { stores } => {
                iterations(kernel) * stores.iter().map(|s| s.value.operations()).sum::<usize>() as f64
            }
            Form::Transform { .. } | Form::Rearrange { .. } | Form::Procedure(_) => 0.0,
        };
        let bytes = bytes(kernel, &kernel.form.loads()) + bytes(kernel, &kernel.form.stores());
        let (name, nodes) = (kernel.name.clone(), kernel.nodes.clone());
        let dense_flops = kept(kernel).filter(|kept| *kept > 0.0).map_or(flops, |kept| flops / kept);
        let form = kernel.form.name();
        Self { name, form, nodes, flops, dense_flops, products: Products::Floats, bytes }
    }
}

/// The part of the weights that is multiplied, where they are kept in blocks.
pub fn kept(kernel: &PlannedKernel) -> Option<f64> {
    let Schedule::Sparse(sparse) = &kernel.schedule else { return None };
    let weights = &sparse.weights;
    Some((weights.blocks * weights.block.values()) as f64 / (weights.rows * weights.columns()).max(1) as f64)
}

fn extent(kernel: &PlannedKernel, l: usize) -> f64 {
    kernel.loops[l].extent.as_const().unwrap_or(0) as f64
}

fn iterations(kernel: &PlannedKernel) -> f64 {
    (0..kernel.loops.len()).map(|l| extent(kernel, l)).product()
}

/// Bytes behind the accesses of one direction. Every element counts once, however often it is read: what several
/// accesses read of the same memory is no more than lies between its first and its last element.
fn bytes(kernel: &PlannedKernel, accesses: &[&FlatAccess]) -> f64 {
    let mut all: Vec<&FlatAccess> = Vec::new();
    for &access in accesses {
        if !all.contains(&access) {
            all.push(access);
        }
        for gather in &access.gathers {
            if !all.contains(&&*gather.index) {
                all.push(&gather.index);
            }
        }
    }
    let mut total = 0.0;
    while let Some(first) = all.first().copied() {
        let same = |a: &&FlatAccess| a.storage == first.storage && a.dtype == first.dtype;
        let (group, others): (Vec<_>, Vec<_>) = all.into_iter().partition(same);
        all = others;
        let sum: f64 = group.iter().map(|a| elements(kernel, a)).sum();
        let elements = if group.len() == 1 { sum } else { sum.min(spanned(kernel, &group).unwrap_or(sum)) };
        total += elements * first.dtype.size() as f64;
    }
    total
}

/// Elements from the first to the last that the accesses reach by affine steps; `None` where one gathers.
fn spanned(kernel: &PlannedKernel, accesses: &[&FlatAccess]) -> Option<f64> {
    let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
    for access in accesses {
        if !access.gathers.is_empty() || panels(kernel, access).is_some() {
            return None;
        }
        let (mut first, mut last) = (access.offset.as_const()? as f64, access.offset.as_const()? as f64);
        for (l, stride) in access.strides.iter().enumerate() {
            let reach = stride.as_const()? as f64 * (extent(kernel, l) - 1.0).max(0.0);
            first += reach.min(0.0);
            last += reach.max(0.0);
        }
        (lo, hi) = (lo.min(first), hi.max(last));
    }
    Some(hi - lo + 1.0)
}

/// Distinct elements behind an access.
fn elements(kernel: &PlannedKernel, access: &FlatAccess) -> f64 {
    if let Some(packed) = panels(kernel, access) {
        return packed;
    }
    let moves = |a: &FlatAccess, l: usize| a.strides.get(l).is_some_and(|stride| !stride.is(0));
    let affine = |l: &usize| moves(access, *l);
    let loops = || 0..kernel.loops.len();
    let mut reached = distinct(kernel, access, loops().filter(affine));
    if !access.guards.is_empty() {
        // What is outside is not read: at most the whole guarded axes, for each step of the other loops.
        let guarded = |l: usize| access.guards.iter().any(|g| !g.coefficients[l].is(0));
        let inside = access.guards.iter().filter_map(|g| g.extent.as_const()).map(|e| e as f64);
        let others = distinct(kernel, access, loops().filter(affine).filter(|l| !guarded(*l)));
        reached = reached.min(others * inside.product::<f64>());
    }
    // Each index picks a row, and there are no more rows than the axis has; each iteration reads one element.
    let mut steps = 1.0;
    let picks = |l: usize| access.gathers.iter().any(|g| moves(&g.index, l));
    for l in loops().filter(|l| moves(access, *l) || picks(*l)) {
        steps *= extent(kernel, l);
    }
    for gather in &access.gathers {
        let rows = gather.extent.as_const().map_or(f64::INFINITY, |e| e as f64);
        reached *= elements(kernel, &gather.index).min(rows);
    }
    if access.gathers.is_empty() { reached } else { reached.min(steps) }
}

/// Elements of weights in blocks with their indices, or of weights in panels, the last one's filling included: the strides of the access stay within one panel.
fn panels(kernel: &PlannedKernel, access: &FlatAccess) -> Option<f64> {
    if let (Form::Contract { rhs, .. }, Schedule::Sparse(sparse)) = (&kernel.form, &kernel.schedule)
        && access == rhs
    {
        return Some((sparse.weights.len() / access.dtype.size().max(1)) as f64);
    }
    let (Form::Contract { rhs, .. }, Schedule::Tile(tile)) = (&kernel.form, &kernel.schedule) else {
        return None;
    };
    if !tile.rhs_padded || access != rhs {
        return None;
    }
    let col = tile.col.0 as usize;
    let moving = (0..kernel.loops.len()).filter(|l| *l != col && !access.strides[*l].is(0));
    let panel = f64::from(tile.panel);
    Some(moving.map(|l| extent(kernel, l)).product::<f64>() * (extent(kernel, col) / panel).ceil() * panel)
}

/// How many different offsets the loops' steps add up to. Steps that interleave are exact where the larger is a
/// multiple of the smaller, as in windows; elsewhere there are no more than from the first to the last.
fn distinct(kernel: &PlannedKernel, access: &FlatAccess, loops: impl Iterator<Item = usize>) -> f64 {
    let step = |l: usize| (access.strides[l].as_const().unwrap_or(1).abs() as f64, extent(kernel, l));
    let mut steps: Vec<(f64, f64)> = loops.map(step).collect();
    if steps.iter().any(|(_, extent)| *extent == 0.0) {
        return 0.0;
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Offsets so far are `below` of them for each of `along` multiples of `unit`, the largest is `last`.
    let (mut below, mut unit, mut along, mut last) = (1.0, 1.0, 1.0, 0.0);
    for (stride, extent) in steps {
        let reach = stride * (extent - 1.0);
        if stride > last {
            (below, unit, along) = (below * along, stride, extent);
        } else if stride % unit == 0.0 {
            along = f64::min(along * extent, along + reach / unit);
        } else {
            (below, unit, along) = (1.0, 1.0, f64::min(below * along * extent, last + reach + 1.0));
        }
        last += reach;
    }
    below * along
}

/// Kernels that compute one convolution by minimal filtering.
pub struct Group {
    /// The convolution's name.
    pub name: String,
    /// Positions in the plan: tiles of the input, products, results.
    pub kernels: [usize; 3],
    /// Operations of the convolution as it is defined.
    pub flops: f64,
    /// Whether they are of integers.
    pub integers: bool,
}

/// Every convolution of the plan that is computed by minimal filtering.
pub fn groups(kernels: &[PlannedKernel]) -> Vec<Group> {
    let find = |name: String| kernels.iter().position(|k| k.name == name);
    let of = |(i, kernel): (usize, &PlannedKernel)| {
        let Form::Transform { left, store, .. } = &kernel.form else { return None };
        let (tiles, product) =
            (find(format!("{}.tiles", kernel.name))?, find(format!("{}.product", kernel.name))?);
        let [m, t] = left.matrix.shape[..] else { return None };
        let loops = 0..kernel.loops.len();
        let parallel = loops.clone().filter(|&l| kernel.loops[l].role == Role::Parallel);
        let computed: f64 = parallel.map(|l| extent(kernel, l)).product();
        // Results beyond the border are computed and dropped: guards say how many are kept.
        let kept = store.to.guards.iter().map(|guard| {
            let last =
                |l: usize| guard.coefficients[l].as_const().unwrap_or(0) as f64 * (extent(kernel, l) - 1.0);
            guard.extent.as_const().unwrap_or(0) as f64 / (loops.clone().map(last).sum::<f64>() + 1.0)
        });
        let results = computed * kept.product::<f64>();
        // `t * t * tiles * o * c` products, for `m * m * tiles * o` results before dropping.
        let channels = iterations(&kernels[product]) / (computed / (m * m) as f64 * (t * t) as f64);
        let window = ((t - m + 1) * (t - m + 1)) as f64;
        let flops = 2.0 * results * channels * window;
        let integers = matches!(&kernels[product].form, Form::Contract { acc, .. } if acc.is_int());
        Some(Group { name: kernel.name.clone(), kernels: [tiles, product, i], flops, integers })
    };
    kernels.iter().enumerate().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::plan::{Gather, Guard, Provider, Storage, Tile};
    use kiln_ir::kernel::{BinaryOp, Expr, Loop, LoopId, Program, Scalar, Store};
    use kiln_ir::{DType, Dim};

    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout, winograd};
    use crate::schedule::Choices;
    use crate::schedule::choices::Pick;

    fn plan(mut program: Program, filter: u8) -> Vec<PlannedKernel> {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
        absorb::run(&mut program);
        let mut choices = Choices::default();
        for conv in winograd::candidates(&program, &target) {
            choices.set(&conv.key, Pick::Winograd(filter));
        }
        winograd::run_with(&mut program, std::slice::from_ref(&target), &choices).unwrap();
        layout::run(&mut program).unwrap();
        crate::planner::build(program, &target).unwrap().kernels
    }

    #[test]
    fn a_convolution_by_minimal_filtering_counts_as_it_is_defined() {
        let plain = plan(conv_bias_relu(32, 48), 0);
        assert!(groups(&plain).is_empty());
        let flops = Work::of(plain.iter().find(|k| k.name == "conv").unwrap()).flops;
        assert!(flops > 0.0);
        for filter in [2, 4] {
            let kernels = plan(conv_bias_relu(32, 48), filter);
            let [group] = &groups(&kernels)[..] else { panic!("one group") };
            assert_eq!((&*group.name, group.flops), ("conv", flops));
            assert!(Work::of(&kernels[group.kernels[1]]).flops < flops);
        }
    }

    #[test]
    fn overlapping_windows_are_read_once() {
        let kernels = plan(conv_bias_relu(20, 24), 0);
        let conv = kernels.iter().find(|k| k.name == "conv").unwrap();
        let Form::Contract { lhs, .. } = &conv.form else { panic!("a contraction") };
        // 20 channels of 10 pixels with their halo in each of 8 rows, not 9 times 8 x 8; rows of the halo are left out.
        assert_eq!(elements(conv, lhs), 1600.0);
    }

    fn kernel(loops: &[(i64, Role)], form: Form<FlatAccess>, schedule: Option<Tile>) -> PlannedKernel {
        let named = |(i, (extent, role)): (usize, &(i64, Role))| Loop {
            name: format!("l{i}"),
            extent: Dim::Const(*extent),
            role: *role,
        };
        PlannedKernel {
            name: "k".into(),
            nodes: Vec::new(),
            loops: loops.iter().enumerate().map(named).collect(),
            form,
            schedule: schedule.map_or(Schedule::Scalar { order: Vec::new() }, Schedule::Tile),
            provider: Provider::Plain,
            shared: None,
            why: String::new(),
            grain: None,
            bounds: Default::default(),
        }
    }

    fn access(storage: Storage, strides: &[i64]) -> FlatAccess {
        FlatAccess {
            name: "a".into(),
            storage,
            dtype: DType::F32,
            offset: Dim::Const(0),
            strides: strides.iter().map(|s| Dim::Const(*s)).collect(),
            gathers: Vec::new(),
            guards: Vec::new(),
            otherwise: None,
        }
    }

    const X: Storage = Storage::Input(0);
    const Y: Storage = Storage::Output(0);
    const W: Storage = Storage::Weights { offset_bytes: 0 };
    const P: Role = Role::Parallel;
    const R: Role = Role::Reduce;

    fn copy(loops: &[i64], from: FlatAccess) -> PlannedKernel {
        let loops: Vec<_> = loops.iter().map(|e| (*e, P)).collect();
        let to = access(Y, &vec![0; loops.len()]);
        kernel(&loops, Form::Rearrange { from, to }, None)
    }

    #[test]
    fn packed_weights_count_as_whole_panels() {
        // A row of 100 times a matrix of 100 x 50 in panels of 16 columns.
        let store = Store { to: access(Y, &[1, 0]), value: Expr::Acc };
        let (lhs, rhs) = (access(X, &[0, 1]), access(W, &[1, 16]));
        let tile = Tile {
            outer: vec![],
            row: None,
            col: LoopId(0),
            depth: vec![LoopId(1)],
            mr: 1,
            nr: 16,
            panel: 16,
            panel_stride: 1600,
            rhs_padded: true,
            unroll: 1,
            straight: false,
            by_lane: false,
            quad: None,
            eight: None,
            watched: false,
            panels_outermost: true,
            prefetch: 0,
        };
        let form = Form::Contract { acc: DType::F32, lhs, rhs, store };
        let work = Work::of(&kernel(&[(50, P), (100, R)], form, Some(tile)));
        assert_eq!(work.bytes, 4.0 * (100.0 + 4.0 * 16.0 * 100.0 + 50.0));
        assert_eq!(work.flops, 2.0 * 100.0 * 50.0);
    }

    #[test]
    fn padding_of_depth_is_no_work() {
        use kiln_ir::kernel::plan::Weight;

        // Depth of 8, of which the last 3 steps are zeros, in panels of 16 columns: 10 columns in fours.
        let quad = [LoopId(2), LoopId(3)];
        let tile = Tile {
            outer: vec![],
            row: None,
            col: LoopId(0),
            depth: vec![LoopId(1)],
            mr: 1,
            nr: 16,
            panel: 16,
            panel_stride: 128,
            rhs_padded: true,
            unroll: 1,
            straight: false,
            by_lane: false,
            quad: Some(quad),
            eight: None,
            watched: false,
            panels_outermost: true,
            prefetch: 0,
        };
        let of = |storage, strides: &[i64], dtype| FlatAccess { dtype, ..access(storage, strides) };
        let (lhs, rhs) = (of(X, &[0, 4, 2, 1], DType::U8), of(W, &[4, 64, 2, 1], DType::I8));
        let store = Store { to: of(Y, &[1, 0, 0, 0], DType::I32), value: Expr::Acc };
        let form = Form::Contract { acc: DType::I32, lhs, rhs, store };
        let kernels = vec![kernel(&[(10, P), (2, R), (2, R), (2, R)], form, Some(tile))];
        let bytes =
            (0..128).map(|i| if i / 4 % 16 < 10 && i / 64 * 4 + i % 4 < 5 { 7i8 } else { 0 }).collect();
        let weight = Weight {
            name: "w".into(),
            offset_bytes: 0,
            tensor: kiln_ir::Tensor::from_vec::<i8>(&[128], bytes),
        };
        let plan = Plan { kernels, weights: vec![weight], ..Plan::default() };
        for (level, products) in [("avx512vnni", Products::Fours), ("avx2", Products::Pairs)] {
            let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
            let work = &Work::of_plan(&plan, &target)[0];
            assert_eq!((work.flops, work.products), (2.0 * 10.0 * 5.0, products), "{level}");
        }
    }

    #[test]
    fn a_gather_reads_the_rows_that_it_names() {
        // 3 of 10 rows of 8; then 20 of 10: no more than there are.
        for (count, rows) in [(3, 3.0), (20, 10.0)] {
            let index = Box::new(FlatAccess { dtype: DType::I64, ..access(Storage::Input(1), &[1, 0]) });
            let gather = Gather { index, extent: Dim::Const(10), stride: Dim::Const(8), known: false };
            let from = FlatAccess { gathers: vec![gather], ..access(X, &[0, 1]) };
            let kernel = copy(&[count, 8], from.clone());
            assert_eq!(bytes(&kernel, &[&from]), rows * 8.0 * 4.0 + count as f64 * 8.0);
        }
        // An element of its own for each of 2 x 3 indices along an axis of 10: 6, not 10 for each column.
        let index = Box::new(FlatAccess { dtype: DType::I64, ..access(Storage::Input(1), &[3, 1]) });
        let gather = Gather { index, extent: Dim::Const(10), stride: Dim::Const(3), known: false };
        let from = FlatAccess { gathers: vec![gather], ..access(X, &[0, 1]) };
        assert_eq!(elements(&copy(&[2, 3], from.clone()), &from), 6.0);
    }

    #[test]
    fn broadcast_and_repeated_operands_count_once() {
        let value = Expr::Binary(
            BinaryOp::Mul,
            Box::new(Expr::Load(access(X, &[0, 1]))),
            Box::new(Expr::Load(access(X, &[0, 1]))),
        );
        let form = Form::Map { stores: vec![Store { to: access(Y, &[16, 1]), value }] };
        assert_eq!(Work::of(&kernel(&[(5, P), (16, P)], form, None)).bytes, 4.0 * (16.0 + 80.0));
    }

    #[test]
    fn steps_that_interleave_are_counted_exactly() {
        let of = |loops: &[i64], strides: &[i64]| {
            let from = access(X, strides);
            elements(&copy(loops, from.clone()), &from)
        };
        // Windows of 3 in steps of 2 over channels last: 2 * 7 + 3 pixels of 32.
        assert_eq!(of(&[8, 3, 32], &[64, 32, 1]), 17.0 * 32.0);
        // Steps of 2 that skip: 8 pixels of 32.
        assert_eq!(of(&[8, 32], &[64, 1]), 8.0 * 32.0);
        // Dilated windows: 8 + 2 * 2 of them.
        assert_eq!(of(&[8, 3], &[1, 2]), 12.0);
        // Backwards is as far as forwards; no iteration reads nothing.
        assert_eq!(of(&[4, 8], &[-8, 1]), 32.0);
        assert_eq!(of(&[0, 8], &[8, 1]), 0.0);
    }

    #[test]
    fn what_is_outside_a_border_is_not_read() {
        // A window of 3 over 8 with a border of 1: 10 positions, 8 of them there.
        let guard = Guard {
            offset: Dim::Const(-1),
            coefficients: vec![Dim::Const(1), Dim::Const(1)],
            extent: Dim::Const(8),
        };
        let from =
            FlatAccess { guards: vec![guard], otherwise: Some(Scalar::f32(0.0)), ..access(X, &[1, 1]) };
        assert_eq!(elements(&copy(&[8, 3], from.clone()), &from), 8.0);
    }
}
