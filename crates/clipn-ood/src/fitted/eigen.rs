//! Eigenvectors of symmetric matrices: Householder's reduction to a tridiagonal matrix and the QL
//! algorithm with implicit shifts (Bowdler, Martin, Reinsch and Wilkinson, Numerische Mathematik 11,
//! 1968; EISPACK's `tred2` and `tql2`). The cost is O(D³), about 1 s for D = 1,024.

/// Maximum number of iterations of QL per eigenvalue; two are usual.
const MAX_ITERATIONS: usize = 100;

/// Eigenvalues and eigenvectors of a symmetric matrix.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Eigen {
    /// Eigenvalues, `[D]`, descending.
    pub(super) values: Vec<f64>,
    /// Eigenvectors of length 1 as rows, `[D, D]`, in the order of the values.
    pub(super) vectors: Vec<f64>,
}

/// Computes the eigenvectors of a symmetric matrix `[D, D]` of finite values. `None` if QL does not
/// converge, which is not known to happen.
pub(super) fn symmetric_eigen(matrix: Vec<f64>, dim: usize) -> Option<Eigen> {
    if dim == 0 {
        return Some(Eigen {
            values: Vec::new(),
            vectors: Vec::new(),
        });
    }
    let mut work = Tridiagonal::reduce(matrix, dim);
    work.accumulate();
    work.diagonalize()?;
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by(|&a, &b| work.diagonal[b].total_cmp(&work.diagonal[a]));
    let row = |&index: &usize| work.columns[index * dim..][..dim].iter().copied();
    Some(Eigen {
        values: order.iter().map(|&index| work.diagonal[index]).collect(),
        vectors: order.iter().flat_map(row).collect(),
    })
}

/// Matrix in reduction. Columns are stored one after another, as all inner loops run along them.
struct Tridiagonal {
    dim: usize,
    /// Column j is `columns[j * dim..][..dim]`.
    columns: Vec<f64>,
    diagonal: Vec<f64>,
    /// Element i couples i and i − 1; the first is unused.
    off_diagonal: Vec<f64>,
}

impl Tridiagonal {
    /// Householder's reduction.
    fn reduce(matrix: Vec<f64>, dim: usize) -> Self {
        let mut v = matrix;
        let at = |row: usize, column: usize| column * dim + row;
        let mut d: Vec<f64> = (0..dim).map(|j| v[at(dim - 1, j)]).collect();
        let mut e = vec![0.0; dim];
        for i in (1..dim).rev() {
            let scale: f64 = d[..i].iter().map(|value| value.abs()).sum();
            let mut h = 0.0;
            if scale == 0.0 {
                e[i] = d[i - 1];
                for j in 0..i {
                    d[j] = v[at(i - 1, j)];
                    v[at(i, j)] = 0.0;
                    v[at(j, i)] = 0.0;
                }
            } else {
                for value in &mut d[..i] {
                    *value /= scale;
                    h += *value * *value;
                }
                let f = d[i - 1];
                let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
                e[i] = scale * g;
                h -= f * g;
                d[i - 1] = f - g;
                e[..i].fill(0.0);
                for j in 0..i {
                    let f = d[j];
                    v[at(j, i)] = f;
                    let mut g = e[j] + v[at(j, j)] * f;
                    let column = &v[at(j + 1, j)..at(i, j)];
                    let below = column.iter().zip(&d[j + 1..i]).zip(&mut e[j + 1..i]);
                    for ((&value, &d), e) in below {
                        g += value * d;
                        *e += value * f;
                    }
                    e[j] = g;
                }
                let mut f = 0.0;
                for (e, d) in e[..i].iter_mut().zip(&d[..i]) {
                    *e /= h;
                    f += *e * d;
                }
                let half = f / (h + h);
                for (e, d) in e[..i].iter_mut().zip(&d[..i]) {
                    *e -= half * d;
                }
                for j in 0..i {
                    let (f, g) = (d[j], e[j]);
                    let column = &mut v[at(j, j)..at(i, j)];
                    for ((value, e), d) in column.iter_mut().zip(&e[j..i]).zip(&d[j..i]) {
                        *value -= f * e + g * d;
                    }
                    d[j] = v[at(i - 1, j)];
                    v[at(i, j)] = 0.0;
                }
            }
            d[i] = h;
        }
        Self {
            dim,
            columns: v,
            diagonal: d,
            off_diagonal: e,
        }
    }

    /// Multiplies the Householder reflections.
    fn accumulate(&mut self) {
        let dim = self.dim;
        let (v, d) = (&mut self.columns, &mut self.diagonal);
        let at = |row: usize, column: usize| column * dim + row;
        for i in 0..dim - 1 {
            v[at(dim - 1, i)] = v[at(i, i)];
            v[at(i, i)] = 1.0;
            let h = d[i + 1];
            if h != 0.0 {
                let (before, next) = v.split_at_mut(at(0, i + 1));
                let next = &next[..=i];
                for (d, value) in d.iter_mut().zip(next) {
                    *d = value / h;
                }
                for column in before.chunks_exact_mut(dim) {
                    let g: f64 = next.iter().zip(&*column).map(|(a, b)| a * b).sum();
                    for (value, d) in column[..=i].iter_mut().zip(&*d) {
                        *value -= g * d;
                    }
                }
            }
            v[at(0, i + 1)..=at(i, i + 1)].fill(0.0);
        }
        for j in 0..dim {
            d[j] = v[at(dim - 1, j)];
            v[at(dim - 1, j)] = 0.0;
        }
        v[at(dim - 1, dim - 1)] = 1.0;
        self.off_diagonal[0] = 0.0;
    }

    /// QL with implicit shifts.
    fn diagonalize(&mut self) -> Option<()> {
        let dim = self.dim;
        let (v, d, e) = (
            &mut self.columns,
            &mut self.diagonal,
            &mut self.off_diagonal,
        );
        e.rotate_left(1);
        e[dim - 1] = 0.0;
        let (mut shift, mut magnitude) = (0.0, 0.0_f64);
        for l in 0..dim {
            magnitude = magnitude.max(d[l].abs() + e[l].abs());
            let is_small = |value: f64| value.abs() <= f64::EPSILON * magnitude;
            let m = (l..dim).find(|&m| is_small(e[m]))?;
            let mut iterations = 0;
            if m > l {
                loop {
                    iterations += 1;
                    if iterations > MAX_ITERATIONS {
                        return None;
                    }
                    let g = d[l];
                    let p = (d[l + 1] - g) / (2.0 * e[l]);
                    let r = if p < 0.0 { -p.hypot(1.0) } else { p.hypot(1.0) };
                    d[l] = e[l] / (p + r);
                    d[l + 1] = e[l] * (p + r);
                    let next = d[l + 1];
                    let h = g - d[l];
                    d[l + 2..].iter_mut().for_each(|value| *value -= h);
                    shift += h;
                    let mut p = d[m];
                    let (mut c, mut c2, mut c3) = (1.0, 1.0, 1.0);
                    let first = e[l + 1];
                    let (mut s, mut s2) = (0.0, 0.0);
                    for i in (l..m).rev() {
                        (c3, c2, s2) = (c2, c, s);
                        let g = c * e[i];
                        let h = c * p;
                        let r = p.hypot(e[i]);
                        e[i + 1] = s * r;
                        s = e[i] / r;
                        c = p / r;
                        p = c * d[i] - s * g;
                        d[i + 1] = h + s * (c * g + s * d[i]);
                        let (left, right) = v.split_at_mut((i + 1) * dim);
                        let pairs = left[i * dim..].iter_mut().zip(&mut right[..dim]);
                        for (a, b) in pairs {
                            (*a, *b) = (c * *a - s * *b, s * *a + c * *b);
                        }
                    }
                    p = -s * s2 * c3 * first * e[l] / next;
                    e[l] = s * p;
                    d[l] = c * p;
                    if is_small(e[l]) {
                        break;
                    }
                }
            }
            d[l] += shift;
            e[l] = 0.0;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipn_base::random::{RandomSource, Xoshiro256};

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Checks that the vectors are orthonormal and that A v = λ v.
    fn check(matrix: &[f64], dim: usize) -> Eigen {
        let eigen = symmetric_eigen(matrix.to_vec(), dim).unwrap();
        let norm = dot(matrix, matrix).sqrt().max(1e-300);
        let rows: Vec<&[f64]> = eigen.vectors.chunks_exact(dim).collect();
        for (i, row) in rows.iter().enumerate() {
            for (j, other) in rows.iter().enumerate() {
                let expected = f64::from(u8::from(i == j));
                assert!((dot(row, other) - expected).abs() < 1e-13 * dim as f64);
            }
            for (line, value) in matrix.chunks_exact(dim).zip(*row) {
                let residual = dot(line, row) - eigen.values[i] * value;
                assert!(residual.abs() < 1e-14 * dim as f64 * norm, "{residual}");
            }
        }
        assert!(eigen.values.is_sorted_by(|a, b| a >= b));
        eigen
    }

    #[test]
    fn random_matrices_are_diagonalized() {
        let mut random = Xoshiro256::new(3);
        for dim in [1, 2, 3, 7, 16, 65] {
            let mut matrix = vec![0.0; dim * dim];
            for i in 0..dim {
                for j in 0..=i {
                    let value = random.normal();
                    matrix[i * dim + j] = value;
                    matrix[j * dim + i] = value;
                }
            }
            check(&matrix, dim);
        }
    }

    #[test]
    fn degenerate_matrices_are_diagonalized() {
        assert_eq!(check(&[0.0; 9], 3).values, [0.0; 3]);
        assert_eq!(check(&[2.0, 0.0, 0.0, 5.0], 2).values, [5.0, 2.0]);
        // All ones: one eigenvalue of D, the others are 0.
        let values = check(&[1.0; 25], 5).values;
        assert!((values[0] - 5.0).abs() < 1e-14 && values[1].abs() < 1e-14);
        assert!(symmetric_eigen(vec![f64::NAN; 4], 2).is_none());
    }
}
