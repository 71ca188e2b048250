use clipn_model::Real;
use serde::{Deserialize, Serialize};

use crate::classifier::Classifier;

/// Mean cosines between the rows of a classifier, each in [−1, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextCosines {
    /// Mean over classes of the cosine between the "yes" and "no" rows of a class: 1 if the "no"
    /// tower has learned nothing, −1 if it gives the opposite. `None` without "no" rows.
    pub yes_no: Option<f64>,
    /// Mean over pairs of classes of the cosine between their "yes" rows; 1 for a single class.
    pub between_yes: f64,
    /// Mean over pairs of classes of the cosine between their "no" rows: near 1 if all classes have
    /// the same "no" row. `None` without "no" rows.
    pub between_no: Option<f64>,
}

impl<T: Real> Classifier<T> {
    /// Computes the mean cosines between the "yes" and "no" rows, and between different classes.
    pub fn text_cosines(&self) -> TextCosines {
        let rows = |side: &[T]| -> Vec<Vec<f64>> {
            let wide = |row: &[T]| row.iter().map(|v| v.to_f64().unwrap_or(f64::NAN)).collect();
            side.chunks_exact(self.dim()).map(wide).collect()
        };
        let yes = rows(self.yes_weights());
        let no = self.no_weights().map(rows);
        let own = |no: &Vec<Vec<f64>>| {
            let cosines = yes.iter().zip(no).map(|(yes, no)| dot(yes, no));
            cosines.sum::<f64>() / self.len() as f64
        };
        TextCosines {
            yes_no: no.as_ref().map(own),
            between_yes: mean_between(&yes),
            between_no: no.as_deref().map(mean_between),
        }
    }
}

/// Mean cosine over pairs of different unit rows, computed from the squared length of their sum
/// minus the rows' own.
fn mean_between(rows: &[Vec<f64>]) -> f64 {
    let n = rows.len() as f64;
    if rows.len() < 2 {
        return 1.0;
    }
    let mut sum = vec![0.0; rows[0].len()];
    for row in rows {
        sum.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += value);
    }
    let own: f64 = rows.iter().map(|row| dot(row, row)).sum();
    (dot(&sum, &sum) - own) / (n * (n - 1.0))
}

/// Dot product in 16 partial sums, which the compiler can vectorize.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: T = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(&x, &y)| x * y)
        .sum();
    for (a, b) in a.zip(b) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(a).zip(b) {
            *lane = *lane + x * y;
        }
    }
    lanes.into_iter().sum::<T>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosines(yes: &[f64], no: &[f64]) -> TextCosines {
        let names = (0..yes.len() / 2).map(|i| i.to_string()).collect();
        Classifier::new(names, yes.to_vec(), no.to_vec())
            .unwrap()
            .text_cosines()
    }

    #[test]
    fn cosines_of_known_rows() {
        // Orthogonal "yes" rows, and their opposites as "no" rows.
        let found = cosines(&[1.0, 0.0, 0.0, 1.0], &[-1.0, 0.0, 0.0, -1.0]);
        assert_eq!(
            found,
            TextCosines {
                yes_no: Some(-1.0),
                between_yes: 0.0,
                between_no: Some(0.0)
            }
        );
        // The same "no" row for all classes.
        let found = cosines(
            &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0],
            &[0.6, 0.8, 0.6, 0.8, 0.6, 0.8],
        );
        let (own, between_no) = (found.yes_no.unwrap(), found.between_no.unwrap());
        assert!((between_no - 1.0).abs() < 1e-12 && (found.between_yes + 1.0 / 3.0).abs() < 1e-12);
        assert!((own - 0.8 / 3.0).abs() < 1e-12, "{found:?}");
        assert_eq!(cosines(&[1.0, 0.0], &[1.0, 0.0]).between_yes, 1.0);
    }
}
