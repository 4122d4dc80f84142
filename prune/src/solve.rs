//! The best weights where others are zero: `w_S = (H_SS)^-1 t_S`.

use crate::second::{Second, product};
use kiln_calibrate::matrix::{cholesky, solve};

/// Steps of conjugate gradients, at most.
const STEPS: usize = 40;
/// A residual of so little of what it was is enough.
const STILL: f64 = 1e-5;

/// Solves for rows that share what is removed, from what they are now. `targets` are those of [`Second::target`].
pub(crate) fn rows(second: &Second, dead: &[bool], targets: &[Vec<f64>], now: &mut [Vec<f64>]) {
    let n = second.depth;
    let alive: Vec<usize> = (0..n).filter(|k| !dead[*k]).collect();
    let m = alive.len();
    let mut part = Vec::with_capacity(m * m);
    for i in &alive {
        let line = &second.h[i * n..(i + 1) * n];
        part.extend(alive.iter().map(|j| line[*j]));
    }
    let pick = |row: &[f64]| -> Vec<f64> { alive.iter().map(|k| row[*k]).collect() };
    // Whichever takes fewer operations.
    let direct = m < 6 * STEPS * targets.len();
    let factor = direct.then(|| {
        let mut l = part.clone();
        cholesky(&mut l, m).map(|()| l)
    });
    for (target, row) in targets.iter().zip(now) {
        let (b, x) = (pick(target), pick(row));
        let found = match &factor {
            Some(Some(l)) => {
                let mut x = b;
                solve(l, m, &mut x);
                x
            }
            _ => gradients(&part, &b, x),
        };
        if found.iter().any(|v| !v.is_finite()) {
            continue;
        }
        row.fill(0.0);
        alive.iter().zip(found).for_each(|(k, v)| row[*k] = v);
    }
}

/// Conjugate gradients, from `x`, with the diagonal to begin with.
fn gradients(a: &[f64], b: &[f64], mut x: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    if n == 0 {
        return x;
    }
    let times = |v: &[f64]| -> Vec<f64> { a.chunks_exact(n).map(|line| product(line, v)).collect() };
    let scaled = |r: &[f64]| -> Vec<f64> { r.iter().enumerate().map(|(i, r)| r / a[i * n + i]).collect() };
    let mut r: Vec<f64> = b.iter().zip(times(&x)).map(|(b, ax)| b - ax).collect();
    let mut z = scaled(&r);
    let mut p = z.clone();
    let mut rz = product(&r, &z);
    let first = rz;
    for _ in 0..STEPS {
        if rz.is_nan() || rz <= first * STILL * STILL || rz <= f64::MIN_POSITIVE {
            break;
        }
        let ap = times(&p);
        let alpha = rz / product(&p, &ap);
        if !alpha.is_finite() {
            break;
        }
        x.iter_mut().zip(&p).for_each(|(x, p)| *x += alpha * p);
        r.iter_mut().zip(&ap).for_each(|(r, ap)| *r -= alpha * ap);
        z = scaled(&r);
        let next = product(&r, &z);
        let beta = next / rz;
        p.iter_mut().zip(&z).for_each(|(p, z)| *p = z + beta * *p);
        rz = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_and_factors_agree() {
        let n = 30;
        let number = |i: usize| ((i * 7919 + i * i * 31 + 13) % 1009) as f64 / 504.5 - 1.0;
        let vectors: Vec<Vec<f64>> =
            (0..2 * n).map(|r| (0..n).map(|i| number(r * n + i) + number(r)).collect()).collect();
        let entry = |i: usize, j: usize| {
            vectors.iter().map(|v| v[i] * v[j]).sum::<f64>() + if i == j { 2.0 } else { 0.0 }
        };
        let a: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        let b: Vec<f64> = (0..n).map(number).collect();
        let found = gradients(&a, &b, vec![0.0; n]);
        let mut l = a.clone();
        cholesky(&mut l, n).unwrap();
        let mut right = b.clone();
        solve(&l, n, &mut right);
        for (f, r) in found.iter().zip(&right) {
            assert!((f - r).abs() < 1e-4 * r.abs().max(0.01), "{f} {r}");
        }
        assert!(gradients(&[], &[], Vec::new()).is_empty());
    }
}
