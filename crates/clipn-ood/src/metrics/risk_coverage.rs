//! Area under the risk-coverage curve.

use super::{MetricError, ScoreSet};

/// Computes the area under the risk-coverage curve (AURC): the mean over `n = 1, …, N` of the error
/// rate among the `n` images with the highest scores. It is low if errors have low scores. Geifman
/// and El-Yaniv, [Selective classification for deep neural networks](https://arxiv.org/abs/1705.08500),
/// 2017.
///
/// `id` are the scores of ID images and `is_wrong` whether their predicted class is wrong, `[N]` each.
/// `ood` are the scores of OOD images, `[M]`, which are errors all. Without them, it is the AURC of
/// the classifier alone.
///
/// Equal scores have no order: the value is the mean over every order of them.
///
/// ```
/// use clipn_ood::metrics::aurc;
///
/// // Error rates 0, 0, 1/3 and 2/4 of the best one, two, three and four images.
/// let area = aurc(&[0.9, 0.8, 0.5], &[false, false, true], &[0.7])?;
/// assert!((area - (1.0 / 3.0 + 2.0 / 4.0) / 4.0).abs() < 1e-15);
/// # Ok::<(), clipn_ood::metrics::MetricError>(())
/// ```
///
/// # Errors
/// [`MetricError::ScoreCount`] if `id` and `is_wrong` differ in length, [`MetricError::Empty`] without
/// ID images, and [`MetricError::NotFinite`] for the first NaN or infinite score.
pub fn aurc<T: Copy + Into<f64>>(
    id: &[T],
    is_wrong: &[bool],
    ood: &[T],
) -> Result<f64, MetricError> {
    if id.len() != is_wrong.len() {
        return Err(MetricError::ScoreCount {
            scores: id.len(),
            predictions: is_wrong.len(),
        });
    }
    if id.is_empty() {
        return Err(MetricError::Empty { set: ScoreSet::Id });
    }
    let mut ranked = Vec::with_capacity(id.len() + ood.len());
    let id = id
        .iter()
        .zip(is_wrong)
        .map(|(&score, &is_wrong)| (score, is_wrong));
    let ood = ood.iter().map(|&score| (score, true));
    push(&mut ranked, id, ScoreSet::Id)?;
    push(&mut ranked, ood, ScoreSet::Ood)?;
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut area, mut accepted, mut errors) = (0.0, 0_usize, 0_usize);
    for tie in ranked.chunk_by(|a, b| a.0 == b.0) {
        let of_tie = tie.iter().filter(|(_, is_error)| *is_error).count();
        // In a random order of the tie, the expected number of its errors grows evenly.
        let per_image = of_tie as f64 / tie.len() as f64;
        for position in 1..=tie.len() {
            let expected = errors as f64 + per_image * position as f64;
            area += expected / (accepted + position) as f64;
        }
        accepted += tie.len();
        errors += of_tie;
    }
    Ok(area / ranked.len() as f64)
}

/// Appends the scores of a set after they are validated.
fn push<T: Into<f64>>(
    ranked: &mut Vec<(f64, bool)>,
    scores: impl Iterator<Item = (T, bool)>,
    set: ScoreSet,
) -> Result<(), MetricError> {
    for (index, (score, is_error)) in scores.enumerate() {
        let value: f64 = score.into();
        if !value.is_finite() {
            return Err(MetricError::NotFinite { set, index, value });
        }
        // Adding zero turns -0.0 into 0.0; `total_cmp` distinguishes the two.
        ranked.push((value + 0.0, is_error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_have_the_mean_of_all_orders() {
        let orders = [
            [3, 2, 1],
            [3, 1, 2],
            [2, 3, 1],
            [2, 1, 3],
            [1, 3, 2],
            [1, 2, 3],
        ];
        let area = |[wrong, right, other]: [i32; 3]| {
            aurc(&[wrong, right, other], &[true, false, false], &[]).unwrap()
        };
        let mean = orders.map(area).iter().sum::<f64>() / 6.0;
        let tied = aurc(&[0.0, -0.0, 0.0], &[true, false, false], &[]).unwrap();
        assert!((tied - mean).abs() < 1e-15, "{tied} {mean}");
    }

    #[test]
    fn equals_the_error_rate_if_all_scores_are_equal() {
        let area = aurc(&[1.0_f32; 4], &[true, false, false, false], &[1.0; 4]).unwrap();
        assert!((area - 5.0 / 8.0).abs() < 1e-15, "{area}");
    }

    #[test]
    fn rejects_unequal_lengths_and_scores_that_are_not_finite() {
        let error = aurc(&[1.0], &[], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected one score per prediction, got 1 scores for 0 predictions"
        );
        assert!(matches!(
            aurc::<f64>(&[], &[], &[]),
            Err(MetricError::Empty { .. })
        ));
        let error = aurc(&[1.0, 0.5], &[true, false], &[0.0, f64::NAN]).unwrap_err();
        let set = ScoreSet::Ood;
        assert!(
            matches!(error, MetricError::NotFinite { set: found, index: 1, .. } if found == set)
        );
    }
}
