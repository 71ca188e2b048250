use serde::{Deserialize, Serialize};
use statrs::function::beta::checked_beta_reg;

/// Observed proportion and the confidence interval of the true one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Proportion {
    /// Number of images counted.
    pub count: usize,
    /// Total number of images.
    #[serde(rename = "of")]
    pub total: usize,
    /// Lower end of the interval, a fraction.
    pub lower: f64,
    /// Upper end of the interval, a fraction.
    pub upper: f64,
}

impl Proportion {
    /// Creates `count` out of `total` with the exact binomial interval (Clopper and Pearson, 1934),
    /// which contains the true proportion with at least the given confidence.
    ///
    /// ```
    /// use clipn_ood::calibration::Proportion;
    ///
    /// let proportion = Proportion::clopper_pearson(8, 10, 0.95);
    /// assert_eq!(proportion.rate(), 0.8);
    /// assert!((proportion.lower - 0.4439).abs() < 1e-4);
    /// assert!((proportion.upper - 0.9748).abs() < 1e-4);
    /// ```
    pub fn clopper_pearson(count: usize, total: usize, confidence: f64) -> Self {
        let (tail, hits, misses) = (
            (1.0 - confidence) / 2.0,
            count as f64,
            (total - count.min(total)) as f64,
        );
        let lower = if count == 0 {
            0.0
        } else {
            beta_quantile(hits, misses + 1.0, tail)
        };
        let upper = if count >= total {
            1.0
        } else {
            beta_quantile(hits + 1.0, misses, 1.0 - tail)
        };
        Self {
            count,
            total,
            lower,
            upper,
        }
    }

    /// Observed proportion, or NaN if the total is 0.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.total as f64
    }
}

/// Computes the fraction of further images that a threshold at the `rank`-th lowest (from 1) of n
/// calibration scores keeps.
///
/// Over all possible calibration sets it follows Beta(n + 1 − rank, rank), whatever the
/// distribution of the scores; this gives the interval. The count is that of the calibration images
/// themselves. Without images nothing is known: the interval is 0 to 1.
pub fn kept_proportion(rank: usize, n: usize, confidence: f64) -> Proportion {
    if n == 0 {
        return Proportion {
            count: 0,
            total: 0,
            lower: 0.0,
            upper: 1.0,
        };
    }
    let (kept, below) = ((n - rank.min(n)) as f64 + 1.0, rank.max(1) as f64);
    let tail = (1.0 - confidence) / 2.0;
    Proportion {
        count: n - (rank.clamp(1, n) - 1),
        total: n,
        lower: beta_quantile(kept, below, tail),
        upper: beta_quantile(kept, below, 1.0 - tail),
    }
}

/// Cumulative distribution function P(Beta(a, b) ≤ x).
pub(super) fn beta_cdf(a: f64, b: f64, x: f64) -> f64 {
    checked_beta_reg(a, b, x).unwrap_or(f64::NAN)
}

/// Cumulative distribution function P(Binomial(n, p) ≤ k).
pub(super) fn binomial_cdf(n: usize, p: f64, k: usize) -> f64 {
    if k >= n {
        1.0
    } else {
        beta_cdf((n - k) as f64, k as f64 + 1.0, 1.0 - p)
    }
}

/// Quantile of Beta(a, b) by bisection.
///
/// It takes about 10 µs. `Beta::inverse_cdf` of `statrs` 0.19.1 takes 1 µs but is less precise for
/// small quantiles: with a + b up to 50,001 its relative error reaches 1.5e-6, at the 0.9-quantile
/// of Beta(1, 50000), whose closed form is 1 − 0.1^(1/50000). The bisection is within 4e-11 there.
fn beta_quantile(a: f64, b: f64, probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if beta_cdf(a, b, middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clopper_pearson_intervals_agree_with_published_tables() {
        // Clopper and Pearson at 95 %: 8 of 10, 0 of 20, 20 of 20.
        let close = |interval: Proportion, lower: f64, upper: f64| {
            assert!(
                (interval.lower - lower).abs() < 1e-4 && (interval.upper - upper).abs() < 1e-4,
                "{interval:?}"
            );
        };
        close(Proportion::clopper_pearson(8, 10, 0.95), 0.4439, 0.9748);
        close(Proportion::clopper_pearson(0, 20, 0.95), 0.0, 0.1684);
        close(Proportion::clopper_pearson(20, 20, 0.95), 0.8316, 1.0);
        assert!(Proportion::clopper_pearson(0, 0, 0.95).rate().is_nan());
    }

    #[test]
    fn binomial_cdf_is_the_sum_of_its_terms() {
        let (n, p) = (12_usize, 0.3_f64);
        let mut sum = 0.0;
        let mut term = (1.0 - p).powi(12);
        for k in 0..=n {
            sum += term;
            assert!((binomial_cdf(n, p, k) - sum).abs() < 1e-12, "{k}");
            term *= (n - k) as f64 / (k as f64 + 1.0) * p / (1.0 - p);
        }
    }

    #[test]
    fn quantiles_agree_with_their_closed_form() {
        // F(x) = 1 − (1 − x)ⁿ for Beta(1, n) and xⁿ for Beta(n, 1).
        for n in [1.0, 2.0, 10.0, 100.0, 1000.0, 10_000.0, 50_000.0] {
            for probability in [0.0005, 0.025, 0.05, 0.5, 0.9, 0.975, 0.9995_f64] {
                let lowest = -((-probability).ln_1p() / n).exp_m1();
                let highest = (probability.ln() / n).exp();
                for (actual, expected) in [
                    (beta_quantile(1.0, n, probability), lowest),
                    (beta_quantile(n, 1.0, probability), highest),
                ] {
                    assert!(
                        (actual / expected - 1.0).abs() < 1e-9,
                        "{n} {probability}: expected {expected:e}, got {actual:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn more_images_narrow_the_interval() {
        let none = kept_proportion(1, 0, 0.95);
        assert_eq!((none.count, none.lower, none.upper), (0, 0.0, 1.0));
        let few = kept_proportion(5, 100, 0.95);
        let many = kept_proportion(5000, 100_000, 0.95);
        assert_eq!((few.count, few.total, many.count), (96, 100, 95_001));
        assert!(
            few.lower > 0.88 && few.lower < 0.91 && few.upper > 0.98,
            "{few:?}"
        );
        assert!(
            many.upper - many.lower < 0.003 && (many.rate() - 0.95).abs() < 1e-4,
            "{many:?}"
        );
    }
}
