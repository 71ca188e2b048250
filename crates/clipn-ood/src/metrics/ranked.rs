use super::counts::{Counts, Step};
use super::precision_recall::{average_precision, trapezoid};
use super::{CoarseScores, FprConvention, MetricError, Roc, ScoreSet, fpr, resolution, roc, ties};

/// Ranked ID and OOD scores: the numbers of images at or above each distinct score.
///
/// Scores are compared exactly, without tolerance. Widening `f32` scores to `f64` is lossless, so
/// their ties stay ties. `-0.0` equals `0.0`.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedScores {
    steps: Vec<Step>,
    id: usize,
    ood: usize,
}

impl RankedScores {
    /// Ranks the scores of ID images, `[N]`, and OOD images, `[M]`; higher means more
    /// in-distribution.
    ///
    /// # Errors
    /// [`MetricError::Empty`] if a set is empty, and [`MetricError::NotFinite`] for the first NaN
    /// or infinite score.
    pub fn new<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<Self, MetricError> {
        let id_sorted = sorted(id, ScoreSet::Id)?;
        let ood_sorted = sorted(ood, ScoreSet::Ood)?;
        Ok(Self {
            steps: merge(&id_sorted, &ood_sorted),
            id: id.len(),
            ood: ood.len(),
        })
    }

    /// Number of ID scores.
    pub fn id_len(&self) -> usize {
        self.id
    }

    /// Number of OOD scores.
    pub fn ood_len(&self) -> usize {
        self.ood
    }

    /// Number of distinct scores in both sets together; far below `id_len + ood_len` if scores
    /// saturate.
    pub fn distinct_len(&self) -> usize {
        self.steps.len()
    }

    /// Returns what makes the scores of both sets together coarse: fewer distinct values than 1,000
    /// equally likely ones would show. `None` if they are not coarse, or fewer than 100.
    pub fn coarse(&self) -> Option<CoarseScores> {
        resolution::coarse(&self.steps, self.id + self.ood)
    }

    /// Computes the area under the ROC curve with ID as the positive class and ties counted as one
    /// half. Pairs are counted in integers, so only the final division rounds.
    pub fn auroc(&self) -> f64 {
        let mut twice_wins: u128 = 0;
        let (mut id_above, mut ood_above) = (0, 0);
        for step in &self.steps {
            let id_here = (step.id - id_above) as u128;
            let ood_here = (step.ood - ood_above) as u128;
            let ood_below = (self.ood - step.ood) as u128;
            twice_wins += id_here * (2 * ood_below + ood_here);
            (id_above, ood_above) = (step.id, step.ood);
        }
        let pairs = self.id as u128 * self.ood as u128;
        twice_wins as f64 / (2 * pairs) as f64
    }

    /// Computes the area under the precision-recall curve with ID as the positive class, as average
    /// precision: `sum_n (R_n - R_{n-1}) P_n` over the distinct scores from the highest down. This
    /// is scikit-learn's `average_precision_score`, a step function, as MCM and NegLabel report it.
    /// OpenOOD reports [`aupr_in_trapezoid`](Self::aupr_in_trapezoid).
    pub fn aupr_in(&self) -> f64 {
        average_precision(self.id_positive(), self.id)
    }

    /// Same as [`aupr_in`](Self::aupr_in) with OOD as the positive class and negated scores.
    pub fn aupr_out(&self) -> f64 {
        average_precision(self.ood_positive(), self.ood)
    }

    /// Computes the area under the precision-recall curve with ID as the positive class by the
    /// trapezoidal rule: `sum_n (R_n - R_{n-1}) (P_n + P_{n-1}) / 2`, from the point of recall 0 and
    /// precision 1 that scikit-learn's `precision_recall_curve` adds. OpenOOD, pytorch-ood and
    /// ood-metrics report it. With ties it is usually higher than [`aupr_in`](Self::aupr_in).
    ///
    /// ```
    /// use clipn_ood::metrics::RankedScores;
    ///
    /// // A score that is equal for all images.
    /// let ranked = RankedScores::new(&[0.5; 8], &[0.5; 12])?;
    /// assert_eq!((ranked.aupr_in(), ranked.aupr_in_trapezoid()), (0.4, 0.7));
    /// # Ok::<(), clipn_ood::metrics::MetricError>(())
    /// ```
    pub fn aupr_in_trapezoid(&self) -> f64 {
        trapezoid(self.id_positive(), self.id)
    }

    /// Same as [`aupr_in_trapezoid`](Self::aupr_in_trapezoid) with OOD as the positive class and
    /// negated scores.
    pub fn aupr_out_trapezoid(&self) -> f64 {
        trapezoid(self.ood_positive(), self.ood)
    }

    /// Computes the false positive rate at the true positive rate `tpr`; 0.95 gives FPR95.
    ///
    /// # Errors
    /// [`MetricError::InvalidTpr`] if `tpr` is not in `[0, 1]`.
    pub fn fpr_at_tpr(&self, tpr: f64, convention: FprConvention) -> Result<f64, MetricError> {
        if !(0.0..=1.0).contains(&tpr) {
            return Err(MetricError::InvalidTpr { tpr });
        }
        Ok(match convention {
            FprConvention::Clipn => fpr::interpolated(&self.roc(), tpr),
            FprConvention::Mcm => fpr::nearest(&self.steps, self.id, self.ood, tpr),
            FprConvention::Openood => {
                let counts: Vec<Counts> = self.ood_positive().collect();
                fpr::first_reaching(&counts, self.ood, self.id, tpr)
            }
        })
    }

    /// Computes the lowest and the highest [`fpr_at_tpr`](Self::fpr_at_tpr) over every order in which
    /// equal scores could be ranked: `[low, high]`, equal if no tie reaches the threshold. A wide
    /// range means that ties decide the figure.
    ///
    /// The figure of the convention itself is always inside. Where scikit-learn's dropped points put
    /// it outside of what an order can give ([`FprConvention::Openood`]), it is one of the ends.
    ///
    /// ```
    /// use clipn_ood::metrics::{FprConvention, RankedScores};
    ///
    /// // The image that decides ties with an OOD image, which is accepted or not.
    /// let ranked = RankedScores::new(&[0.9, 0.8, 0.5], &[0.5, 0.1])?;
    /// assert_eq!(ranked.fpr_range(0.95, FprConvention::Clipn)?, [0.0, 0.5]);
    /// # Ok::<(), clipn_ood::metrics::MetricError>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`fpr_at_tpr`](Self::fpr_at_tpr).
    pub fn fpr_range(&self, tpr: f64, convention: FprConvention) -> Result<[f64; 2], MetricError> {
        let figure = self.fpr_at_tpr(tpr, convention)?;
        let ((low, high), negatives) = match convention {
            FprConvention::Clipn => (ties::of_interpolated(&self.steps, self.id, tpr), self.ood),
            FprConvention::Mcm => (ties::of_nearest(&self.steps, self.id, tpr), self.ood),
            FprConvention::Openood => {
                let rejected = ties::of_first_reaching(&self.steps, self.id, self.ood, tpr);
                (rejected, self.id)
            }
        };
        let fraction = |count: usize| count as f64 / negatives as f64;
        Ok([fraction(low).min(figure), fraction(high).max(figure)])
    }

    /// Computes the ROC curve with ID as the positive class; collinear points are dropped.
    pub fn roc(&self) -> Roc {
        roc::build(&self.steps, self.id, self.ood)
    }

    /// Counts from the highest score down, with ID as the positive class.
    fn id_positive(&self) -> impl Iterator<Item = Counts> + '_ {
        self.steps.iter().map(|step| Counts {
            true_positives: step.id,
            false_positives: step.ood,
        })
    }

    /// Counts from the lowest score up, with OOD as the positive class: the ranking of the negated
    /// scores.
    fn ood_positive(&self) -> impl Iterator<Item = Counts> + '_ {
        let above = self
            .steps
            .iter()
            .rev()
            .skip(1)
            .map(|step| (step.id, step.ood))
            .chain([(0, 0)]);
        above.map(|(id, ood)| Counts {
            true_positives: self.ood - ood,
            false_positives: self.id - id,
        })
    }
}

/// Validates the scores of a set and sorts them in descending order.
fn sorted<T: Copy + Into<f64>>(scores: &[T], set: ScoreSet) -> Result<Vec<f64>, MetricError> {
    if scores.is_empty() {
        return Err(MetricError::Empty { set });
    }
    let mut values = Vec::with_capacity(scores.len());
    for (index, &score) in scores.iter().enumerate() {
        let value: f64 = score.into();
        if !value.is_finite() {
            return Err(MetricError::NotFinite { set, index, value });
        }
        // Adding zero turns -0.0 into 0.0; `total_cmp` distinguishes the two.
        values.push(value + 0.0);
    }
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(values)
}

/// Merges both descending lists into one step per distinct score.
fn merge(id: &[f64], ood: &[f64]) -> Vec<Step> {
    let mut steps = Vec::with_capacity(id.len() + ood.len());
    let (mut i, mut o) = (0, 0);
    loop {
        let threshold = match (id.get(i), ood.get(o)) {
            (Some(&a), Some(&b)) => a.max(b),
            (Some(&a), None) => a,
            (None, Some(&b)) => b,
            (None, None) => return steps,
        };
        i += id[i..]
            .iter()
            .take_while(|&&score| score == threshold)
            .count();
        o += ood[o..]
            .iter()
            .take_while(|&&score| score == threshold)
            .count();
        steps.push(Step {
            threshold,
            id: i,
            ood: o,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ties_once() {
        let ranked = RankedScores::new(&[3.0_f32, 1.0, 1.0], &[1.0, 0.0]).unwrap();
        assert_eq!(ranked.distinct_len(), 3);
        assert_eq!(ranked.auroc(), 5.0 / 6.0);
        let true_positives: Vec<_> = ranked
            .ood_positive()
            .map(|c| (c.true_positives, c.false_positives))
            .collect();
        assert_eq!(true_positives, [(1, 0), (2, 2), (2, 3)]);
    }

    #[test]
    fn zero_has_no_sign() {
        let ranked = RankedScores::new(&[-0.0_f64], &[0.0]).unwrap();
        assert_eq!((ranked.distinct_len(), ranked.auroc()), (1, 0.5));
    }

    #[test]
    fn errors_name_the_set_and_the_index() {
        assert_eq!(
            RankedScores::new::<f32>(&[], &[1.0]),
            Err(MetricError::Empty { set: ScoreSet::Id })
        );
        let error = RankedScores::new(&[1.0_f32], &[0.0, f32::INFINITY]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("got inf at index 1 of the out-of-distribution"),
            "{error}"
        );
        assert!(RankedScores::new(&[f64::NAN], &[0.0]).is_err());
    }

    #[test]
    fn rejects_rates_outside_the_unit_interval() {
        let ranked = RankedScores::new(&[1.0_f32], &[0.0]).unwrap();
        for level in [-0.01, 1.01, f64::NAN] {
            assert!(
                ranked.fpr_at_tpr(level, FprConvention::Clipn).is_err(),
                "{level}"
            );
        }
    }
}
