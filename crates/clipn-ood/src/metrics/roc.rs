use super::ranked::{Counts, Step};

/// A ROC curve: point `i` is what accepting every image with a score of at least `thresholds[i]` gives.
///
/// Points run from (0, 0), whose threshold is infinite, to (1, 1). As in scikit-learn's `roc_curve` with
/// `drop_intermediate`, inner points on a straight stretch are left out.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Roc {
    /// Share of OOD images accepted.
    pub fpr: Vec<f64>,
    /// Share of ID images accepted.
    pub tpr: Vec<f64>,
    /// Score from which images are accepted, falling.
    pub thresholds: Vec<f64>,
}

/// The curve with ID as the positive class.
pub(super) fn build(steps: &[Step], id: usize, ood: usize) -> Roc {
    let counts: Vec<Counts> = steps
        .iter()
        .map(|step| Counts {
            right: step.id,
            wrong: step.ood,
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

/// Indices of the points that scikit-learn keeps: both ends, and those where the second difference of either count is
/// not zero. The origin is not among the points when this is decided.
pub(super) fn corners(counts: &[Counts]) -> Vec<usize> {
    let last = counts.len().saturating_sub(1);
    (0..counts.len())
        .filter(|&i| i == 0 || i == last || bends(counts[i - 1], counts[i], counts[i + 1]))
        .collect()
}

fn bends(before: Counts, here: Counts, after: Counts) -> bool {
    here.right - before.right != after.right - here.right
        || here.wrong - before.wrong != after.wrong - here.wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_straight_stretches() {
        let line = [(1, 1), (2, 2), (3, 3), (3, 4)].map(|(right, wrong)| Counts { right, wrong });
        assert_eq!(corners(&line), [0, 2, 3]);
        assert_eq!(corners(&line[..2]), [0, 1]);
        assert_eq!(corners(&[]), [0; 0]);
    }
}
