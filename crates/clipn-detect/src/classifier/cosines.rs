use serde::{Deserialize, Serialize};

use super::Classifier;
use super::build::dot;
use clipn_model::Real;

/// How far the rows of a classifier stand apart, as cosines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextCosines {
    /// Mean over the classes between a class's "yes" and its own "no": 1 where "no" has learned nothing, −1 where it is
    /// the opposite.
    pub yes_no: f64,
    /// Mean over pairs of classes of their "yes" rows; 1 for a single class.
    pub between_yes: f64,
    /// Mean over pairs of classes of their "no" rows: near 1 where all classes have the same "no".
    pub between_no: f64,
}

impl<T: Real> Classifier<T> {
    /// How far the "yes" and "no" rows stand apart, and those of different classes.
    pub fn text_cosines(&self) -> TextCosines {
        let rows = |side: &[T]| -> Vec<Vec<f64>> {
            let wide = |row: &[T]| row.iter().map(|v| v.to_f64().unwrap_or(f64::NAN)).collect();
            side.chunks_exact(self.dim()).map(wide).collect()
        };
        let (yes, no) = (rows(self.yes()), rows(self.no()));
        let own = yes
            .iter()
            .zip(&no)
            .map(|(yes, no)| dot(yes, no))
            .sum::<f64>()
            / self.len() as f64;
        TextCosines {
            yes_no: own,
            between_yes: mean_between(&yes),
            between_no: mean_between(&no),
        }
    }
}

/// Mean cosine over pairs of different rows of length 1: what the squared length of their sum holds beside the rows' own.
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
    fn rows_that_are_known() {
        // "Yes" rows at right angles, "no" their opposites.
        let found = cosines(&[1.0, 0.0, 0.0, 1.0], &[-1.0, 0.0, 0.0, -1.0]);
        assert_eq!(
            found,
            TextCosines {
                yes_no: -1.0,
                between_yes: 0.0,
                between_no: 0.0
            }
        );
        // One "no" for all.
        let found = cosines(
            &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0],
            &[0.6, 0.8, 0.6, 0.8, 0.6, 0.8],
        );
        assert!(
            (found.between_no - 1.0).abs() < 1e-12 && (found.between_yes + 1.0 / 3.0).abs() < 1e-12
        );
        assert!((found.yes_no - 0.8 / 3.0).abs() < 1e-12, "{found:?}");
        assert_eq!(cosines(&[1.0, 0.0], &[1.0, 0.0]).between_yes, 1.0);
    }
}
