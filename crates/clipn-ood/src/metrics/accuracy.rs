use super::MetricError;

/// Computes the fraction of predictions that equal their label. `predictions` and `labels` are
/// class indices, `[N]` each.
///
/// # Errors
/// [`MetricError::LengthMismatch`] if the lengths differ, and [`MetricError::NoPredictions`] if
/// both are empty.
pub fn accuracy(predictions: &[usize], labels: &[usize]) -> Result<f64, MetricError> {
    if predictions.len() != labels.len() {
        return Err(MetricError::LengthMismatch {
            predictions: predictions.len(),
            labels: labels.len(),
        });
    }
    if predictions.is_empty() {
        return Err(MetricError::NoPredictions);
    }
    let correct = predictions
        .iter()
        .zip(labels)
        .filter(|(p, l)| p == l)
        .count();
    Ok(correct as f64 / predictions.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_correct_predictions() {
        assert_eq!(accuracy(&[0, 1, 2, 3], &[0, 1, 2, 2]), Ok(0.75));
        assert_eq!(
            accuracy(&[1], &[]),
            Err(MetricError::LengthMismatch {
                predictions: 1,
                labels: 0
            })
        );
        assert_eq!(accuracy(&[], &[]), Err(MetricError::NoPredictions));
    }
}
