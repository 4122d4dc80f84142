//! Factors of symmetric matrices, which lie row by row.

/// The lower triangular `L` with `L L^T = A`, in place of the lower half of `A`; nothing where `A` is not positive.
pub fn cholesky(a: &mut [f64], n: usize) -> Option<()> {
    for i in 0..n {
        let (above, line) = a.split_at_mut(i * n);
        let line = &mut line[..n];
        for j in 0..i {
            let other = &above[j * n..j * n + n];
            let sum = dot(&line[..j], &other[..j]);
            line[j] = (line[j] - sum) / other[j];
        }
        let rest = line[i] - dot(&line[..i], &line[..i]);
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        line[i] = rest.sqrt();
    }
    Some(())
}

/// Solves `L L^T x = b` in place of `b`.
pub fn solve(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let line = &l[i * n..i * n + n];
        b[i] = (b[i] - dot(&line[..i], &b[..i])) / line[i];
    }
    for i in (0..n).rev() {
        let line = &l[i * n..i * n + n];
        let x = b[i] / line[i];
        b[i] = x;
        b[..i].iter_mut().zip(&line[..i]).for_each(|(b, l)| *b -= l * x);
    }
}

/// The upper triangular `U` with `U^T U = H^-1`. With the rows and columns of `H` in reverse order `L L^T`, `H` is `V V^T`
/// with an upper triangular `V`, and `U` is its inverse.
pub fn inverse_factor(mut h: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    h.reverse();
    cholesky(&mut h, n)?;
    h.reverse();
    // `V` is upper triangular now. Its inverse, from the last row up: row i of `V U = 1`.
    let v = h;
    let mut u = vec![0.0; n * n];
    for i in (0..n).rev() {
        let (head, below) = u.split_at_mut((i + 1) * n);
        let line = &mut head[i * n..];
        for k in i + 1..n {
            let factor = v[i * n + k];
            let from = &below[(k - i - 1) * n..][..n];
            line[k..].iter_mut().zip(&from[k..]).for_each(|(to, f)| *to -= factor * f);
        }
        let pivot = 1.0 / v[i * n + i];
        line[i + 1..].iter_mut().for_each(|x| *x *= pivot);
        line[i] = pivot;
    }
    Some(u)
}

/// A sum in four parts, which the machine adds side by side.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (quads, rest) = (a.chunks_exact(4), a.chunks_exact(4).remainder());
    for (a, b) in quads.zip(b.chunks_exact(4)) {
        (0..4).for_each(|i| sums[i] += a[i] * b[i]);
    }
    let tail: f64 = rest.iter().zip(&b[a.len() - rest.len()..]).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_that_of_the_inverse() {
        let n = 7;
        let row = |r: usize| -> Vec<f64> {
            (0..n).map(|i| ((i * 7919 + r * 31 + i * i * r) % 101) as f64 / 50.0 - 1.0).collect()
        };
        let rows: Vec<Vec<f64>> = (0..3 * n).map(row).collect();
        let entry = |i: usize, j: usize| rows.iter().map(|r| r[i] * r[j]).sum::<f64>();
        let mut h: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        (0..n).for_each(|i| h[i * n + i] += 0.1);
        let u = inverse_factor(h.clone(), n).unwrap();
        for i in 0..n {
            for j in 0..n {
                let inverse = |a: usize, b: usize| (0..n).map(|k| u[k * n + a] * u[k * n + b]).sum::<f64>();
                let unit: f64 = (0..n).map(|k| h[i * n + k] * inverse(k, j)).sum();
                assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-9, "{i} {j}: {unit}");
                assert!(j >= i || u[i * n + j] == 0.0);
            }
        }
        assert!(inverse_factor(vec![-1.0], 1).is_none());
        let x: Vec<f64> = (0..n).map(|i| i as f64 - 2.5).collect();
        let mut b: Vec<f64> = h.chunks(n).map(|line| dot(line, &x)).collect();
        let mut l = h.clone();
        cholesky(&mut l, n).unwrap();
        solve(&l, n, &mut b);
        assert!(b.iter().zip(&x).all(|(b, x)| (b - x).abs() < 1e-9), "{b:?}");
    }
}
