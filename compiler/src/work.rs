//! What a kernel has to do: operations and bytes, for rates and limits.

use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel};
use kiln_ir::kernel::{Form, Role, WindowOp};

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
    /// Bytes that it touches, each once.
    pub bytes: f64,
}

impl Work {
    /// What a planned kernel does.
    pub fn of(kernel: &PlannedKernel) -> Self {
        let flops = match &kernel.form {
            Form::Contract { .. } | Form::Window { op: WindowOp::Dot, .. } => 2.0 * iterations(kernel),
            Form::Window { .. } | Form::Reduce { .. } => iterations(kernel),
            Form::Map { stores } => {
                iterations(kernel) * stores.iter().map(|s| s.value.operations()).sum::<usize>() as f64
            }
            Form::Transform { .. } | Form::Rearrange { .. } | Form::Extern { .. } => 0.0,
        };
        let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
        let bytes = accesses.map(|a| footprint(kernel, a)).sum();
        let (name, nodes) = (kernel.name.clone(), kernel.nodes.clone());
        Self { name, form: kernel.form.name(), nodes, flops, bytes }
    }
}

fn extent(kernel: &PlannedKernel, l: usize) -> f64 {
    kernel.loops[l].extent.as_const().unwrap_or(0) as f64
}

fn iterations(kernel: &PlannedKernel) -> f64 {
    (0..kernel.loops.len()).map(|l| extent(kernel, l)).product()
}

/// Bytes behind an access. Every element counts once, however often it is read: windows overlap, so there are no
/// more elements than from the first to the last.
fn footprint(kernel: &PlannedKernel, access: &FlatAccess) -> f64 {
    let size = access.dtype.size() as f64;
    if !access.gathers.is_empty() {
        return iterations(kernel) * size;
    }
    let moving = || access.strides.iter().enumerate().filter(|(_, stride)| !stride.is(0));
    let all: f64 = moving().map(|(l, _)| extent(kernel, l)).product();
    let reach = |(l, stride): (usize, &kiln_ir::Dim)| {
        stride.as_const().unwrap_or(0).abs() as f64 * (extent(kernel, l) - 1.0).max(0.0)
    };
    all.min(1.0 + moving().map(reach).sum::<f64>()) * size
}

/// Kernels that compute one convolution by minimal filtering.
pub struct Group {
    /// The convolution's name.
    pub name: String,
    /// Positions in the plan: tiles of the input, products, results.
    pub kernels: [usize; 3],
    /// Operations of the convolution as it is defined.
    pub flops: f64,
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
        Some(Group { name: kernel.name.clone(), kernels: [tiles, product, i], flops })
    };
    kernels.iter().enumerate().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::Program;

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
        winograd::run_with(&mut program, &target, &choices).unwrap();
        layout::run(&mut program).unwrap();
        crate::plan::build(program, &target).unwrap().kernels
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
        let kernels = plan(conv_bias_relu(3, 8), 0);
        let conv = kernels.iter().find(|k| k.name == "conv").unwrap();
        let Form::Contract { lhs, .. } = &conv.form else { panic!("a contraction") };
        // 3 channels of at most 10 x 10 pixels with their halo, not 9 times 8 x 8.
        assert!(footprint(conv, lhs) <= 3.0 * 100.0 * 4.0, "{}", footprint(conv, lhs));
    }
}
