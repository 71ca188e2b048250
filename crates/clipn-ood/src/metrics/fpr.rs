use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ranked::{Counts, Step};
use super::{MetricError, Roc, roc};

/// What "the false positive rate at a true positive rate" means; the three in use lie up to 12 points apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FprConvention {
    /// CLIPN's published code: ID positive; the ROC curve as scikit-learn's `roc_curve` gives it (collinear points
    /// dropped), interpolated linearly at the rate as `numpy.interp` does. Where the curve has the rate itself at
    /// several points, the highest FPR counts.
    #[default]
    Clipn,
    /// The code of MCM (`fpr_and_fdr_at_recall`): ID positive; the point whose TPR is nearest to the rate, the higher
    /// TPR of two equally near, and of several points with that TPR the one with the highest FPR (but at TPR 1 the
    /// first that reaches it).
    Mcm,
    /// OpenOOD: OOD positive with negated scores; the first point of scikit-learn's `roc_curve` (collinear points
    /// dropped) whose TPR is at least the rate. So it is the share of ID images rejected where that share of OOD
    /// images is.
    Openood,
}

impl FprConvention {
    /// Every convention, the default first.
    pub const ALL: [Self; 3] = [Self::Clipn, Self::Mcm, Self::Openood];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clipn => "clipn",
            Self::Mcm => "mcm",
            Self::Openood => "openood",
        }
    }
}

impl fmt::Display for FprConvention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FprConvention {
    type Err = MetricError;

    fn from_str(given: &str) -> Result<Self, MetricError> {
        let named = Self::ALL
            .into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(given.trim()));
        named.ok_or_else(|| MetricError::UnknownConvention {
            given: given.to_string(),
        })
    }
}

/// FPR over TPR at `level` by linear interpolation, with the cases that `numpy.interp` tells apart.
pub(super) fn interpolated(roc: &Roc, level: f64) -> f64 {
    let (tpr, fpr) = (&roc.tpr, &roc.fpr);
    // The first point has TPR 0 and the level is not below it, so at least one point lies at or below the level.
    let at = tpr.partition_point(|&t| t <= level).saturating_sub(1);
    if at + 1 == tpr.len() || tpr[at] == level {
        return fpr[at];
    }
    let slope = (fpr[at + 1] - fpr[at]) / (tpr[at + 1] - tpr[at]);
    slope * (level - tpr[at]) + fpr[at]
}

/// FPR of the threshold whose TPR is nearest to `level`, among those down to the first that accepts every ID image.
pub(super) fn nearest(steps: &[Step], id: usize, ood: usize, level: f64) -> f64 {
    let full = steps.partition_point(|step| step.id < id);
    let mut best = (f64::INFINITY, 0);
    for step in steps[..=full.min(steps.len() - 1)].iter().rev() {
        let distance = (step.id as f64 / id as f64 - level).abs();
        if distance < best.0 {
            best = (distance, step.ood);
        }
    }
    best.1 as f64 / ood as f64
}

/// Share of `negatives` wrongly taken at the first kept point that takes at least `level` of the `positives`.
pub(super) fn first_reaching(
    counts: &[Counts],
    positives: usize,
    negatives: usize,
    level: f64,
) -> f64 {
    if level <= 0.0 {
        return 0.0;
    }
    let corners = roc::corners(counts);
    let reached = corners
        .into_iter()
        .map(|i| counts[i])
        .find(|c| c.right as f64 / positives as f64 >= level);
    // The last point takes every positive, so one is always found; level 1 is reached there.
    reached.map_or(1.0, |c| c.wrong as f64 / negatives as f64)
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
        // Between TPR 0.9 (FPR 0.5 then 0.75 through the OOD score 1.5) and TPR 1 (FPR 0.75): flat.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 0.95, FprConvention::Clipn).unwrap(),
            0.75
        );
        // 0.9 is nearer in floating point than 1.0, and its highest FPR counts.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 0.95, FprConvention::Mcm).unwrap(),
            0.75
        );
        // To reject all four OOD images, everything up to 8.5 goes: eight of ten ID images.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 0.95, FprConvention::Openood).unwrap(),
            0.8
        );
    }

    #[test]
    fn ends_of_the_range() {
        let (id, ood) = ([1.0_f32, 2.0], [0.0_f32, 1.5]);
        for convention in FprConvention::ALL {
            for level in [0.0, 1.0] {
                let fpr = fpr_at_tpr(&id, &ood, level, convention).unwrap();
                assert!((0.0..=1.0).contains(&fpr), "{convention} at {level}: {fpr}");
            }
        }
        // The curve ends at (1, 1), and the last point with the rate counts.
        assert_eq!(
            fpr_at_tpr(&id, &ood, 1.0, FprConvention::Clipn).unwrap(),
            1.0
        );
        assert_eq!(fpr_at_tpr(&id, &ood, 1.0, FprConvention::Mcm).unwrap(), 0.5);
    }
}
