//! Cheap pointwise kernels go into the epilogues that read them: what dequantises the other operand of a sum, say.
//!
//! The first rule of [`absorb`](super::absorb) makes a reader the epilogue of its writer. The second operand of an addition
//! behind a product has a writer too, which is then left over between the two:
//!
//! ```text
//!   map "d" { %t[i, j] = (f32(%q[i, j]) - 3.0) * 0.1 }            contract "p" { ..
//!   contract "p" { .. %y[m, n] = acc + %t[m, n] }                   %y[m, n] = acc + (f32(%q[m, n]) - 3.0) * 0.1 }
//! ```

use kiln_ir::kernel::{BufferId, BufferKind, Expr, Form, Kernel, LoopId, Program, Uses};

use super::absorb::{MAX_PLACES, at_element, makes_every_element, places, remove_dead, tiles_compute};
use super::substitute::substitute_access;

/// Operations that are done again rather than their result stored and loaded.
const CHEAP: usize = 5;

/// Feeds every sum and window, and removes kernels whose results nobody reads any more.
pub fn run(program: &mut Program) {
    let uses = Uses::of(program);
    for i in 0..program.kernels().len() {
        let (Form::Contract { store, .. } | Form::Window { store, .. }) = &program.kernel(i).form else {
            continue;
        };
        let mut read = Vec::new();
        store.value.for_each_access(&mut |a| read.push(a.buffer));
        for buffer in read {
            if let Some(fed) = fed(program, &uses, i, buffer) {
                *program.kernel_mut(i) = fed;
            }
        }
    }
    remove_dead(program);
}

/// Kernel `i` with the value of `buffer` in the place of its loads.
fn fed(program: &Program, uses: &Uses, i: usize, buffer: BufferId) -> Option<Kernel> {
    let kernel = program.kernel(i);
    let acc = match &kernel.form {
        Form::Contract { acc, .. } => *acc,
        form => form.acc_type(&mut |a| program.buffer(a.buffer).ty.dtype).ok()??,
    };
    let writer = uses.only_writer(buffer).filter(|w| *w < i)?;
    let map = program.kernel(writer);
    let Form::Map { stores } = &map.form else { return None };
    let [store] = &stores[..] else { return None };
    let whole = makes_every_element(map, &store.to, &program.buffer(buffer).ty.shape);
    let loops = store.to.as_loops()?;
    // Where others read the result too, it is worth it only if what it is made of is shorter.
    let bytes = |b: BufferId| program.buffer(b).ty.dtype.size();
    let (mut plain, mut shorter) = (true, true);
    store.value.for_each_access(&mut |a| {
        shorter &= bytes(a.buffer) < bytes(buffer);
        plain &= a.otherwise.is_none() && a.index.iter().all(|i| i.affine().is_some());
        // What a loop carries may be another by then.
        plain &= !program.is_cell(a.buffer);
    });
    let counts = (0..map.loops.len() as u16).any(|l| store.value.reads_counter(LoopId(l)));
    let cheap = store.value.operations() <= CHEAP && !calls(&store.value);
    let worth = shorter || uses.only_reader(buffer) == Some(i);
    if program.buffer(buffer).kind != BufferKind::Temp || !worth || !whole || !plain || counts || !cheap {
        return None;
    }
    let mut new = kernel.clone();
    let (Form::Contract { store: to, .. } | Form::Window { store: to, .. }) = &mut new.form else {
        return None;
    };
    let mut fits = true;
    to.value = to.value.replace(&mut |load| {
        let Expr::Load(access) = load else { return None };
        if access.buffer != buffer {
            return None;
        }
        let at = at_element(map, &loops, &access.index);
        let Some(at) = at.filter(|_| access.otherwise.is_none()) else {
            fits = false;
            return None;
        };
        Some(store.value.map(&mut |leaf| match leaf {
            Expr::Load(a) => Some(Expr::Load(substitute_access(a, &at))),
            _ => None,
        }))
    });
    // What is read must not be what the kernel writes.
    let written = new.form.written();
    let mut own = false;
    store.value.for_each_access(&mut |a| own |= written.contains(&a.buffer));
    let tiles =
        matches!(&new.form, Form::Contract { store, .. } if !tiles_compute(program, &store.value, acc));
    (fits && !own && !tiles && places(&new) <= MAX_PLACES).then_some(new)
}

/// Whether a function of many operations is part of an expression.
fn calls(e: &Expr) -> bool {
    matches!(e, Expr::Unary(op, _) if !op.is_exact()) || e.children().into_iter().any(calls)
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::*;

    #[test]
    fn what_dequantises_the_other_operand() {
        let text = "program @m {
          input %x: f32[3, 4] input %q: u8[2, 3]
          const @w: f32[4, 2] = splat 0.5
          temp %t: f32[3, 2] temp %s: f32[3, 2]
          output %y: f32[3, 2] output %z: f32[3, 2]
          map \"t\" [a: 3, b: 2] { %t[a, b] = (f32(%q[b, a]) - 3.0:f32) * 0.1:f32 }
          map \"s\" [a: 3, b: 2] { %s[a, b] = exp(f32(%q[b, a])) }
          contract \"y\" [m: 3, n: 2 | k: 4] { acc: f32 = %x[m, k] * @w[k, n] %y[m, n] = acc + %t[m, n] }
          contract \"z\" [m: 3, n: 2 | k: 4] { acc: f32 = %x[m, k] * @w[k, n] %z[m, n] = acc + %s[m, n] }
        }";
        let mut program = kernel::parse(text).unwrap();
        let x = [
            kiln_ir::Tensor::from_vec::<f32>(&[3, 4], (0..12).map(|i| i as f32).collect()),
            kiln_ir::Tensor::from_vec::<u8>(&[2, 3], (0..6).collect()),
        ];
        let expected = eval::kernel::run(&program, &x).unwrap();
        run(&mut program);
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected, "{program}");
        let text = program.to_string();
        assert!(
            text.contains("acc + (f32(%q[n, m]) - 3.0:f32) * 0.1:f32") && text.contains("acc + %s[m, n]"),
            "{text}"
        );
        assert!(!text.contains("map \"t\""), "{text}");
    }

    #[test]
    fn loops_of_one_that_a_value_is_not_stored_by_are_no_loops_of_its_reader() {
        let text = "program @m {
          input %x: f32[3, 4] input %q: u8[3, 3, 2]
          const @w: f32[4, 2] = splat 0.5
          temp %t: f32[3, 2]
          output %y: f32[3, 2]
          map \"t\" [a: 3, one: 1, b: 2] { %t[a, b] = f32(%q[a, one + 1, b]) }
          contract \"y\" [m: 3, n: 2 | k: 4] { acc: f32 = %x[m, k] * @w[k, n] %y[m, n] = acc + %t[m, n] }
        }";
        let mut program = kernel::parse(text).unwrap();
        let x = [
            kiln_ir::Tensor::from_vec::<f32>(&[3, 4], (0..12).map(|i| i as f32).collect()),
            kiln_ir::Tensor::from_vec::<u8>(&[3, 3, 2], (0..18).collect()),
        ];
        let expected = eval::kernel::run(&program, &x).unwrap();
        run(&mut program);
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected, "{program}");
        assert!(program.to_string().contains("acc + f32(%q[m, 1, n])"), "{program}");
    }
}
