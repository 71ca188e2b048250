use std::cmp::Ordering;

use num_traits::Float;

use super::{LogitsRow, Score};

/// LogitGap: the highest cosine similarity minus the mean of the next N.
///
/// `S = z_1 - mean(z_2, ..., z_(N+1))` with the cosines z in descending order. Source: Liang et al.,
/// 2025, <https://arxiv.org/abs/2510.20134>. The code counts the N runners-up
/// ([`LogitGap::with_runners_up`]), the paper counts the best class too
/// ([`LogitGap::with_ranks`]), so N runners-up are N + 1 ranks.
///
/// The default takes 20 % of the classes by the paper's fixed rule: K / 5 ranks, rounded down, and at
/// least one runner-up. The score is linear in the logits, so it does not saturate.
///
/// ```
/// use clipn_ood::scores::{LogitGap, LogitsRow, Score};
///
/// let row = LogitsRow::new(&[20.0, 30.0, 24.0], &[]);
/// let gap = LogitGap::with_runners_up(2).stable(LogitsRow::new(&[20.0, 30.0, 24.0], &[]));
/// assert!((gap - 0.08).abs() < 1e-12);
/// assert_eq!(LogitGap::with_ranks(3).faithful(row), LogitGap::with_runners_up(2).faithful(row));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogitGap {
    /// Number of runners-up, or `None` for 20 % of the classes.
    runners_up: Option<usize>,
}

impl LogitGap {
    /// The score with the default number of runners-up.
    pub const fn published() -> Self {
        Self { runners_up: None }
    }

    /// Creates the score with the N of the code: `runners_up` classes after the best, at least one.
    /// If there are fewer, it takes all. Its name is `logitgap-custom`, which
    /// [`by_name`](super::by_name) does not find.
    pub fn with_runners_up(runners_up: usize) -> Self {
        Self {
            runners_up: Some(runners_up.max(1)),
        }
    }

    /// Creates the score with the N of the paper: `ranks` classes including the best, at least two.
    /// Otherwise the same as [`LogitGap::with_runners_up`].
    pub fn with_ranks(ranks: usize) -> Self {
        Self::with_runners_up(ranks.saturating_sub(1))
    }

    /// Number of runners-up among K classes, from 1 to K - 1 for at least two classes.
    fn count(&self, classes: usize) -> usize {
        let wanted = self
            .runners_up
            .unwrap_or_else(|| (classes / 5).saturating_sub(1));
        wanted.max(1).min(classes.saturating_sub(1))
    }

    fn compute<T: Float>(&self, row: LogitsRow<'_, T>) -> Option<T> {
        let yes = row.finite_yes().filter(|yes| yes.len() >= 2)?;
        let count = self.count(yes.len());
        let scale = T::from(row.scale)?;
        let mut cosines: Vec<T> = yes.iter().map(|v| *v / scale).collect();
        let descending = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(Ordering::Equal);
        let (ranked, next, _) = cosines.select_nth_unstable_by(count, descending);
        let top = ranked.iter().copied().fold(*next, T::max);
        // The term of the best class itself is 0.
        let sum = ranked.iter().fold(top - *next, |sum, v| sum + (top - *v));
        Some(sum / T::from(count)?)
    }
}

impl Score for LogitGap {
    fn name(&self) -> &'static str {
        match self.runners_up {
            None => "logitgap",
            Some(_) => "logitgap-custom",
        }
    }

    fn display_name(&self) -> &'static str {
        "LogitGap"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn min_classes(&self) -> usize {
        2
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        self.compute(row).unwrap_or(f32::NAN)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        self.compute(row).unwrap_or(f64::NAN)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
