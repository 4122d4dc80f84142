//! The functions of f32 by every vector builder against f64.

use kiln_ir::kernel::UnaryOp;

use super::tape;
use crate::simd::{R, Simd, V};
use crate::testing::{Unary, map_by_all};

struct Function(UnaryOp);

impl Unary for Function {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        let x = s.copy(v)?;
        let y = tape::emit(s, self.0, x)?;
        s.assign(v, &y);
        s.free(y);
        Ok(())
    }
}

/// Every 997th number of either sign, and the neighbourhood of special ones.
fn samples() -> Vec<f32> {
    let dense = (0..0x7f80_0000u32).step_by(997).flat_map(|bits| {
        let x = f32::from_bits(bits);
        [x, -x]
    });
    let near = [0.0f32, 1.0, 87.3365, 88.376, 88.7228, 7.9, 4.0, std::f32::consts::FRAC_PI_2]
        .into_iter()
        .flat_map(|x| {
            (0..64u32).flat_map(move |i| {
                let up = f32::from_bits(x.to_bits() + i);
                let down = f32::from_bits(x.to_bits().saturating_sub(i));
                [up, down, -up, -down]
            })
        });
    dense.chain(near).chain([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).collect()
}

/// Largest error in units in the last place of the result.
fn worst(op: UnaryOp, exact: impl Fn(f64) -> f64, inside: impl Fn(f32) -> bool) -> f64 {
    let xs: Vec<f32> = samples().into_iter().filter(|x| inside(*x)).collect();
    let mut worst = (0.0, 0.0, 0.0);
    for (_, all) in map_by_all(&Function(op), &xs) {
        for (x, got) in xs.iter().zip(all) {
            let want = exact(f64::from(*x));
            if want.is_nan() || (want as f32).is_infinite() {
                assert!(got.is_nan() == want.is_nan(), "{x}: {got}, should be {want}");
                assert!(got.is_nan() || got == want as f32, "{x}: {got}, should be {want}");
                continue;
            }
            let ulp = want.abs().max(1e-36) * 2f64.powi(-23);
            let error = (f64::from(got) - want).abs() / ulp;
            // Flushed to zero; the last number below infinity taken for it.
            let flushed = want.abs() < 1.2e-38 && got == 0.0;
            let overflown = want >= f64::from(f32::MAX) && got.is_infinite();
            let error = if flushed || overflown { 0.0 } else { error };
            if error > worst.0 || error.is_nan() {
                worst = (error, *x, got);
            }
        }
    }
    println!("worst {} at {:?} giving {:?}", worst.0, worst.1, worst.2);
    worst.0
}

#[test]
fn exp_is_within_2_ulp() {
    assert!(worst(UnaryOp::Exp, f64::exp, |_| true) <= 2.0);
}

#[test]
fn log_is_within_2_ulp() {
    assert!(worst(UnaryOp::Log, f64::ln, |_| true) <= 2.0);
}

#[test]
fn sigmoid_is_within_3_ulp() {
    assert!(worst(UnaryOp::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), |_| true) <= 3.0);
}

#[test]
fn tanh_is_within_6_ulp() {
    assert!(worst(UnaryOp::Tanh, f64::tanh, |_| true) <= 6.0);
}

#[test]
fn erf_is_within_6_ulp() {
    assert!(worst(UnaryOp::Erf, kiln_ir::numerics::erf, |x| !x.is_nan()) <= 6.0);
}

#[test]
fn sine_and_cosine_are_within_2e_7() {
    for (op, exact) in [(UnaryOp::Sin, f64::sin as fn(f64) -> f64), (UnaryOp::Cos, f64::cos)] {
        let xs: Vec<f32> = samples().into_iter().filter(|x| x.abs() <= 8192.0 || !x.is_finite()).collect();
        for (_, all) in map_by_all(&Function(op), &xs) {
            for (x, got) in xs.iter().zip(all) {
                let want = exact(f64::from(*x));
                let near = (f64::from(got) - want).abs() <= 2e-7;
                assert!(near || got.is_nan() && want.is_nan(), "{x}: {got}, should be {want}");
            }
        }
    }
}

#[test]
fn exact_functions_are_exact() {
    use UnaryOp::{Abs, Ceil, Floor, Neg, Round, Sign, Sqrt};
    for op in [Abs, Ceil, Floor, Neg, Round, Sign, Sqrt] {
        let meaning = op.of_floats().unwrap();
        let xs: Vec<f32> = samples().into_iter().step_by(7).collect();
        for (lanes, got) in map_by_all(&Function(op), &xs) {
            for (x, got) in xs.iter().zip(got) {
                let want = meaning(f64::from(*x)) as f32;
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{op:?} of {x} in {lanes} lanes: {got} instead of {want}");
            }
        }
    }
}

#[test]
fn functions_leave_room_for_a_tile() {
    for op in UnaryOp::ALL.iter().filter(|op| tape::has_form(**op)) {
        let need = tape::registers(*op);
        assert!((2..=9).contains(&need), "{op:?} needs {need} registers");
    }
}
