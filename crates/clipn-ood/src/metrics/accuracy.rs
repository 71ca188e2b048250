use super::MetricError;

/// Share of predictions that equal their label: `predictions` and `labels` are class indices, `[N]` each.
///
/// # Errors
/// [`MetricError::Lengths`] when the two differ in length, [`MetricError::NoPredictions`] when they are empty.
pub fn accuracy(predictions: &[usize], labels: &[usize]) -> Result<f64, MetricError> {
    if predictions.len() != labels.len() {
        return Err(MetricError::Lengths {
            predictions: predictions.len(),
            labels: labels.len(),
        });
    }
    if predictions.is_empty() {
        return Err(MetricError::NoPredictions);
    }
    let hits = predictions
        .iter()
        .zip(labels)
        .filter(|(p, l)| p == l)
        .count();
    Ok(hits as f64 / predictions.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_hits() {
        assert_eq!(accuracy(&[0, 1, 2, 3], &[0, 1, 2, 2]), Ok(0.75));
        assert_eq!(
            accuracy(&[1], &[]),
            Err(MetricError::Lengths {
                predictions: 1,
                labels: 0
            })
        );
        assert_eq!(accuracy(&[], &[]), Err(MetricError::NoPredictions));
    }
}
