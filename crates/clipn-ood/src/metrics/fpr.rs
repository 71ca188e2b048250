use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Step};
use super::{MetricError, Roc, roc};

/// Convention of the false positive rate at a true positive rate. CLIPN's and MCM's agree on large sets without
/// ties, and are tens of points apart on small ones; OpenOOD's is another quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FprConvention {
    /// CLIPN's published code: ID positive; scikit-learn's `roc_curve` (collinear points dropped),
    /// interpolated linearly at the rate like `numpy.interp`. If several points of the curve have
    /// exactly this TPR, the highest FPR counts.
    #[default]
    Clipn,
    /// MCM's published code (`fpr_and_fdr_at_recall`): ID positive; the point whose TPR is nearest
    /// to the rate. Of two equally near TPRs the higher counts, and of several points with that TPR
    /// the highest FPR. At TPR 1, the first point that reaches it counts.
    Mcm,
    /// OpenOOD: OOD positive with negated scores; the first point of scikit-learn's `roc_curve`
    /// (collinear points dropped) whose TPR is at least the rate. So it is the fraction of ID
    /// images that are rejected when that fraction of OOD images is rejected.
    Openood,
}

impl FprConvention {
    /// All conventions, default first.
    pub const ALL: [Self; 3] = [Self::Clipn, Self::Mcm, Self::Openood];

    /// Name in command lines and files, such as `clipn`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clipn => "clipn",
            Self::Mcm => "mcm",
            Self::Openood => "openood",
        }
    }
}

impl fmt::Display for FprConvention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FprConvention {
    type Err = MetricError;

    /// Parses a name, ignoring ASCII case.
    ///
    /// # Errors
    /// [`MetricError::UnknownConvention`] if no convention has this name.
    fn from_str(name: &str) -> Result<Self, MetricError> {
        let convention = Self::ALL
            .into_iter()
            .find(|convention| convention.as_str().eq_ignore_ascii_case(name.trim()));
        convention.ok_or_else(|| MetricError::UnknownConvention {
            name: name.to_owned(),
        })
    }
}

/// Interpolates the FPR linearly at `target`, with the same case distinctions as
/// `numpy.interp`.
pub(super) fn interpolated(roc: &Roc, target: f64) -> f64 {
    let (tpr, fpr) = (&roc.tpr, &roc.fpr);
    // The first point has TPR 0 and `target` is at least 0, so at least one point is at or below
    // the target.
    let i = tpr.partition_point(|&t| t <= target).saturating_sub(1);
    if i + 1 == tpr.len() || tpr[i] == target {
        return fpr[i];
    }
    let slope = (fpr[i + 1] - fpr[i]) / (tpr[i + 1] - tpr[i]);
    slope * (target - tpr[i]) + fpr[i]
}

/// Returns the FPR of the threshold whose TPR is nearest to `target`, among the thresholds down to
/// the first that accepts every ID image.
pub(super) fn nearest(steps: &[Step], id: usize, ood: usize, target: f64) -> f64 {
    let full = steps.partition_point(|step| step.id < id);
    let mut best = (f64::INFINITY, 0);
    for step in steps[..=full.min(steps.len() - 1)].iter().rev() {
        let distance = (step.id as f64 / id as f64 - target).abs();
        if distance < best.0 {
            best = (distance, step.ood);
        }
    }
    best.1 as f64 / ood as f64
}

/// Returns the FPR of the first corner of the curve whose TPR is at least `target`.
pub(super) fn first_reaching(
    counts: &[Counts],
    positives: usize,
    negatives: usize,
    target: f64,
) -> f64 {
    if target <= 0.0 {
        return 0.0;
    }
    let corners = roc::corners(counts);
    let reached = corners
        .into_iter()
        .map(|i| counts[i])
        .find(|c| c.true_positives as f64 / positives as f64 >= target);
    // The last point accepts every positive, so a point is always found, also for target 1.
    reached.map_or(1.0, |c| c.false_positives as f64 / negatives as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fpr_at_tpr;

    #[test]
    fn names_round_trip() {
        for convention in FprConvention::ALL {
            assert_eq!(
                convention.to_string().to_uppercase().parse(),
                Ok(convention)
            );
            let json = serde_json::to_string(&convention).unwrap();
            assert_eq!(json, format!("\"{convention}\""));
            assert_eq!(
                serde_json::from_str::<FprConvention>(&json).unwrap(),
                convention
            );
        }
        let error = "fpr95".parse::<FprConvention>().unwrap_err().to_string();
        assert!(error.contains("clipn, mcm, openood"), "{error}");
        assert_eq!(FprConvention::default(), FprConvention::Clipn);
    }

    #[test]
    fn conventions_differ_as_defined() {
        // Ten ID scores 1..=10; OOD at 0.5, 1.5, 2.5, 8.5.
        let id: Vec<f64> = (1..=10).map(f64::from).collect();
        let ood = [0.5, 1.5, 2.5, 8.5];
        // Flat between TPR 0.9 (FPR 0.5, then 0.75 because of the OOD score 1.5) and TPR 1 (FPR
        // 0.75).
        assert_eq!(
            fpr_at_tpr(&id, &ood, 0.95, FprConvention::Clipn).unwrap(),
            0.75
        );
        // In floating point 0.9 is nearer than 1.0, and its highest FPR counts.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 0.95, FprConvention::Mcm).unwrap(),
            0.75
        );
        // Rejecting all four OOD images rejects every score up to 8.5: eight of ten ID images.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 0.95, FprConvention::Openood).unwrap(),
            0.8
        );
    }

    #[test]
    fn rates_of_0_and_1_are_valid() {
        let (id, ood) = ([1.0_f32, 2.0], [0.0_f32, 1.5]);
        for convention in FprConvention::ALL {
            for level in [0.0, 1.0] {
                let fpr = fpr_at_tpr(&id, &ood, level, convention).unwrap();
                assert!((0.0..=1.0).contains(&fpr), "{convention} at {level}: {fpr}");
            }
        }
        // The curve ends at (1, 1), and the last point with this TPR counts.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 1.0, FprConvention::Clipn).unwrap(),
            1.0
        );
        assert_eq!(fpr_at_tpr(&id, &ood, 1.0, FprConvention::Mcm).unwrap(), 0.5);
    }
}
