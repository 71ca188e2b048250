use super::row::argmax;
use super::softmax::{logsumexp, softmax};
use super::{LogitsRow, Score, ScoreError};

/// KL-matching: minus the smallest Kullback-Leibler divergence of the image's softmax `p` from a
/// class's typical one, `-min_c sum_k p_k ln(p_k / d_ck)`.
///
/// `d_c` is the mean softmax of the in-distribution images that are predicted as class c; a class
/// without any has a one-hot `d_c`. Source: Hendrycks et al., 2022,
/// <https://arxiv.org/abs/1911.11132>, in the form of OpenOOD.
///
/// A fit of one's own is not in the registry: [`by_name`](super::by_name) of `kl-matching` finds
/// [`FittedScore::KlMatching`](super::FittedScore), which reads the value of a
/// [`ScoreFit`](crate::fitted::ScoreFit) from the row. An image costs O(K^2).
///
/// ```
/// use clipn_ood::scores::{KlMatching, LogitsRow, Score};
///
/// let images = [[25.0_f32, 20.0], [24.0, 20.0], [19.0, 25.0]];
/// let score = KlMatching::fit(images.iter().map(|yes| LogitsRow::new(yes, &[])))?;
/// // Typical for class 0, and for neither class.
/// let typical = score.faithful(LogitsRow::new(&[24.5, 20.0], &[]));
/// assert!(typical > score.faithful(LogitsRow::new(&[21.0, 21.0], &[])));
/// # Ok::<(), clipn_ood::scores::ScoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct KlMatching {
    classes: usize,
    /// Logarithm of the mean softmax of each class, `[K, K]`.
    ln_means: Vec<f64>,
}

impl KlMatching {
    /// Fits the score to the "yes" logits of in-distribution images, `[N, K]` of `f32` or `f64`. The
    /// class of an image is the predicted one, so labels are not needed.
    ///
    /// # Errors
    /// - [`ScoreError::NoImages`] without rows.
    /// - [`ScoreError::UnusableRow`] for a row without classes or with a logit that is not finite.
    /// - [`ScoreError::ClassCount`] if a row has another number of classes than the first.
    pub fn fit<'a, T: Copy + Into<f64> + 'a>(
        rows: impl IntoIterator<Item = LogitsRow<'a, T>>,
    ) -> Result<Self, ScoreError> {
        let mut sums: Option<ClassSums> = None;
        for (index, row) in rows.into_iter().enumerate() {
            let yes: Vec<f64> = row.yes.iter().map(|v| (*v).into()).collect();
            if yes.is_empty() || yes.iter().any(|v| !v.is_finite()) {
                return Err(ScoreError::UnusableRow { index });
            }
            let sums = sums.get_or_insert_with(|| ClassSums::new(yes.len()));
            if sums.counts.len() != yes.len() {
                return Err(ScoreError::ClassCount {
                    index,
                    expected: sums.counts.len(),
                    got: yes.len(),
                });
            }
            sums.add(&yes);
        }
        Ok(sums.ok_or(ScoreError::NoImages)?.finish())
    }

    /// Number of classes K that the score was fitted to. A row with another number gets NaN.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Logarithm of the mean softmax of each class, `[K, K]`.
    pub(crate) fn ln_means(&self) -> &[f64] {
        &self.ln_means
    }

    /// Creates a score from the logarithm of the mean softmax of each class, `[K, K]`.
    pub(crate) fn from_ln_means(classes: usize, ln_means: Vec<f64>) -> Self {
        Self { classes, ln_means }
    }

    fn usable<'a, T: num_traits::Float>(&self, row: LogitsRow<'a, T>) -> Option<&'a [T]> {
        row.finite_yes().filter(|yes| yes.len() == self.classes)
    }
}

/// Sums of the softmax of the images of each predicted class, in log space.
#[derive(Debug, Clone)]
pub(crate) struct ClassSums {
    counts: Vec<usize>,
    ln_sums: Vec<f64>,
}

impl ClassSums {
    pub(crate) fn new(classes: usize) -> Self {
        Self {
            counts: vec![0; classes],
            ln_sums: vec![f64::NEG_INFINITY; classes * classes],
        }
    }

    /// Adds the finite logits of an image, `[K]`.
    pub(crate) fn add(&mut self, yes: &[f64]) {
        let class = argmax(yes);
        let total = logsumexp(yes.iter().copied());
        self.counts[class] += 1;
        let sums = &mut self.ln_sums[class * yes.len()..][..yes.len()];
        for (sum, v) in sums.iter_mut().zip(yes) {
            *sum = logsumexp([*sum, v - total].into_iter());
        }
    }

    pub(crate) fn finish(mut self) -> KlMatching {
        let classes = self.counts.len();
        for (class, means) in self.ln_sums.chunks_exact_mut(classes).enumerate() {
            if self.counts[class] == 0 {
                means[class] = 0.0;
            } else {
                let ln_count = (self.counts[class] as f64).ln();
                means.iter_mut().for_each(|sum| *sum -= ln_count);
            }
        }
        KlMatching {
            classes,
            ln_means: self.ln_sums,
        }
    }
}

impl Score for KlMatching {
    fn name(&self) -> &'static str {
        "kl-matching"
    }

    fn display_name(&self) -> &'static str {
        "KL-Matching"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn min_classes(&self) -> usize {
        2
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        let Some(yes) = self.usable(row) else {
            return f32::NAN;
        };
        let p = softmax(yes);
        let divergence = |ln_means: &[f64]| -> f32 {
            // A probability of 0 contributes nothing, even if the mean is 0 too.
            let terms = p.iter().zip(ln_means).filter(|(p, _)| **p > 0.0);
            terms.map(|(p, ln_d)| p * (p.ln() - *ln_d as f32)).sum()
        };
        let divergences = self.ln_means.chunks_exact(self.classes).map(divergence);
        -divergences.fold(f32::INFINITY, f32::min)
    }

    /// Takes `ln p` from the logits themselves, so that no probability is rounded to 0 or 1. A class
    /// without images then never matches; in `f32` it matches a softmax that is rounded to one-hot.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        let Some(yes) = self.usable(row) else {
            return f64::NAN;
        };
        let total = logsumexp(yes.iter().copied());
        let p: Vec<(f64, f64)> = yes.iter().map(|v| ((v - total).exp(), v - total)).collect();
        let divergence = |ln_means: &[f64]| -> f64 {
            let terms = p.iter().zip(ln_means).filter(|((p, _), _)| *p > 0.0);
            terms.map(|((p, ln_p), ln_d)| p * (ln_p - ln_d)).sum()
        };
        let divergences = self.ln_means.chunks_exact(self.classes).map(divergence);
        -divergences.fold(f64::INFINITY, f64::min)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
