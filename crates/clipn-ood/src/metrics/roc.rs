use super::counts::{Counts, Step};

/// ROC curve; at point `i`, every image with a score of at least `thresholds[i]` is accepted.
///
/// Points run from (0, 0), whose threshold is infinite, to (1, 1). As in scikit-learn's `roc_curve`
/// with `drop_intermediate`, inner points of a straight segment are omitted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Roc {
    /// Fraction of OOD images accepted, ascending.
    pub fpr: Vec<f64>,
    /// Fraction of ID images accepted, ascending.
    pub tpr: Vec<f64>,
    /// Minimum accepted score, descending. In JSON, the infinite one is `null`.
    #[serde(deserialize_with = "infinite_if_null")]
    pub thresholds: Vec<f64>,
}

fn infinite_if_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let values: Vec<Option<f64>> = serde::Deserialize::deserialize(from)?;
    let values = values.into_iter();
    Ok(values.map(|value| value.unwrap_or(f64::INFINITY)).collect())
}

/// Builds the curve with ID as the positive class.
pub(super) fn build(steps: &[Step], id: usize, ood: usize) -> Roc {
    let counts: Vec<Counts> = steps
        .iter()
        .map(|step| Counts {
            true_positives: step.id,
            false_positives: step.ood,
        })
        .collect();
    let corners = corners(&counts);
    let mut roc = Roc {
        fpr: Vec::with_capacity(corners.len() + 1),
        tpr: Vec::with_capacity(corners.len() + 1),
        thresholds: Vec::with_capacity(corners.len() + 1),
    };
    roc.push(0.0, 0.0, f64::INFINITY);
    for index in corners {
        let step = &steps[index];
        roc.push(
            step.ood as f64 / ood as f64,
            step.id as f64 / id as f64,
            step.threshold,
        );
    }
    roc
}

impl Roc {
    fn push(&mut self, fpr: f64, tpr: f64, threshold: f64) {
        self.fpr.push(fpr);
        self.tpr.push(tpr);
        self.thresholds.push(threshold);
    }
}

/// Indices of the points that scikit-learn keeps: both ends, and those at which the second
/// difference of either count is not zero. The points do not include the origin, which is added
/// later.
pub(super) fn corners(counts: &[Counts]) -> Vec<usize> {
    let last = counts.len().saturating_sub(1);
    (0..counts.len())
        .filter(|&i| i == 0 || i == last || bends(counts[i - 1], counts[i], counts[i + 1]))
        .collect()
}

fn bends(before: Counts, here: Counts, after: Counts) -> bool {
    here.true_positives - before.true_positives != after.true_positives - here.true_positives
        || here.false_positives - before.false_positives
            != after.false_positives - here.false_positives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_inner_points_of_straight_segments() {
        let line =
            [(1, 1), (2, 2), (3, 3), (3, 4)].map(|(true_positives, false_positives)| Counts {
                true_positives,
                false_positives,
            });
        assert_eq!(corners(&line), [0, 2, 3]);
        assert_eq!(corners(&line[..2]), [0, 1]);
        assert_eq!(corners(&[]), [0; 0]);
    }
}
