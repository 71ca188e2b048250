use clipn_base::features::row_problem;
use clipn_model::{FeatureMatrix, has_direction, normalize_row};
use clipn_ood::scores::LogitsRow;
use rayon::prelude::*;

use crate::classifier::{Classifier, ClassifierError, Logits};
use crate::inference::ItemError;

/// Rows whose logits are computed at a time by a thread.
const BLOCK: usize = 64;

/// How far the squared length of a row may be from 1 to be left as it is: more than what rounding to
/// `f32` does.
const UNIT_TOLERANCE: f32 = 1e-5;

/// Normalizes the rows `[N, D]` that do not have length 1. Those that have it within the rounding of
/// `f32` keep their bits, so that features of a pipeline have the scores of their images.
///
/// ```
/// use clipn_detect::inference::unit_features;
///
/// let features = unit_features(vec![0.6, 0.8, 3.0, 4.0], 2);
/// assert_eq!(features.values(), [0.6, 0.8, 0.6, 0.8]);
/// ```
#[must_use]
pub fn unit_features(mut features: Vec<f32>, dim: usize) -> FeatureMatrix<f32> {
    for row in features.chunks_exact_mut(dim.max(1)) {
        let square: f32 = row.iter().map(|value| value * value).sum();
        if (square - 1.0).abs() > UNIT_TOLERANCE {
            normalize_row(row);
        }
    }
    FeatureMatrix::new(features, dim)
}

/// Classifies features `[N, D]` that were computed elsewhere, on all cores. They are normalized first
/// ([`unit_features`]).
/// `inspect` gets the index of each row with its finite logits, or with why there are none; its results
/// are returned in order.
///
/// ```
/// use clipn_detect::classifier::Classifier;
/// use clipn_detect::inference::map_features;
/// use clipn_ood::scores::predict;
///
/// let names = ["cat", "dog"].map(String::from).into();
/// let classifier = Classifier::new(names, vec![1.0, 0.0, 0.0, 1.0], None)?;
/// let features = [3.0, 1.0, 0.5, 0.9, f32::NAN, 0.0];
/// let classes = map_features(&classifier, &features, |_, row| row.map(predict).ok())?;
/// assert_eq!(classes, [Some(0), Some(1), None]);
/// # Ok::<(), clipn_detect::classifier::ClassifierError>(())
/// ```
///
/// # Errors
/// [`ClassifierError::FeatureDimension`] if `features` are not a whole number of rows.
pub fn map_features<R: Send>(
    classifier: &Classifier,
    features: &[f32],
    inspect: impl Fn(usize, Result<LogitsRow<'_, f32>, ItemError>) -> R + Sync,
) -> Result<Vec<R>, ClassifierError> {
    let dim = classifier.dim();
    if !features.len().is_multiple_of(dim) {
        return Err(ClassifierError::FeatureDimension {
            expected: dim,
            found: features.len() % dim,
        });
    }
    let blocks = features.par_chunks(BLOCK * dim).enumerate();
    let mapped = blocks.map(|(block, values)| {
        let features = unit_features(values.to_vec(), dim);
        let logits: Logits = classifier.logits(&features)?;
        let rows = features.rows().zip(logits.rows()).enumerate();
        Ok(rows
            .map(|(index, (feature, row))| {
                let own = &values[index * dim..][..dim];
                let row = match row_problem(own) {
                    Some(problem) => Err(ItemError::InvalidRow { problem }),
                    None if has_direction(feature) && row.is_finite() => Ok(row),
                    None => Err(ItemError::InvalidFeatures),
                };
                inspect(block * BLOCK + index, row)
            })
            .collect::<Vec<R>>())
    });
    let mapped: Vec<Vec<R>> = mapped.collect::<Result<_, ClassifierError>>()?;
    Ok(mapped.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_many_blocks_come_back_in_order() {
        let names = ["a", "b"].map(String::from).into();
        let classifier = Classifier::new(names, vec![1.0, 0.0, 0.0, 1.0], None).unwrap();
        let features: Vec<f32> = (0..5 * BLOCK + 3)
            .flat_map(|row| [(row as f32).cos(), (row as f32).sin()])
            .collect();
        let rows = map_features(&classifier, &features, |index, row| {
            (index, row.map(|row| row.yes[0]).ok())
        });
        for (row, (index, logit)) in rows.unwrap().into_iter().enumerate() {
            assert_eq!(index, row);
            let expected = 100.0 * (row as f32).cos();
            assert!((logit.unwrap() - expected).abs() < 1e-4, "{row}");
        }
        assert!(map_features(&classifier, &features[1..], |_, _| ()).is_err());
    }
}
