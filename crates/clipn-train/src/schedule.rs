//! Learning-rate schedules.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A learning-rate schedule. Steps count from 0; the rate of a step is set before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// Linear warm-up, then half a cosine down to zero at `total`, as in open_clip and the
    /// published training.
    Cosine {
        /// Learning rate after warm-up.
        base: f64,
        /// Warm-up steps: step k of them has the rate base·(k + 1)/warmup.
        warmup: u64,
        /// Steps of the whole run, warm-up included.
        total: u64,
    },
    /// Linear warm-up, then a constant rate.
    Constant {
        /// Learning rate after warm-up.
        base: f64,
        /// Warm-up steps.
        warmup: u64,
    },
}

/// Error of an invalid [`Schedule`].
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The learning rate is negative, infinite or NaN.
    #[error("invalid learning rate: expected a finite number of at least 0, got {base}")]
    InvalidRate {
        /// The rejected rate.
        base: f64,
    },
    /// Warm-up is longer than the run.
    #[error("expected at most {total} warm-up steps, the length of the run, got {warmup}")]
    WarmupTooLong {
        /// Warm-up steps.
        warmup: u64,
        /// Steps of the whole run.
        total: u64,
    },
}

impl Schedule {
    /// Checks that the rate is valid and that warm-up is not longer than the run.
    ///
    /// # Errors
    /// [`ScheduleError::InvalidRate`] or [`ScheduleError::WarmupTooLong`] if it is not.
    pub fn check(&self) -> Result<(), ScheduleError> {
        let (Self::Cosine { base, .. } | Self::Constant { base, .. }) = *self;
        if !(base.is_finite() && base >= 0.0) {
            return Err(ScheduleError::InvalidRate { base });
        }
        match *self {
            Self::Cosine { warmup, total, .. } if warmup > total => {
                Err(ScheduleError::WarmupTooLong { warmup, total })
            }
            _ => Ok(()),
        }
    }

    /// Returns the rate to set before step `step`. A cosine stays at zero from `total` on.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let (Self::Cosine { base, warmup, .. } | Self::Constant { base, warmup }) = *self;
        if step < warmup {
            return base * (step + 1) as f64 / warmup as f64;
        }
        match *self {
            Self::Constant { .. } => base,
            Self::Cosine { total, .. } if step >= total => 0.0,
            Self::Cosine { total, .. } => {
                let progress = (step - warmup) as f64 / (total - warmup) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * progress).cos()) * base
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_falls_to_zero_after_warm_up() {
        let schedule = Schedule::Cosine {
            base: 0.4,
            warmup: 4,
            total: 12,
        };
        let rates: Vec<f64> = (0..15).map(|step| schedule.learning_rate(step)).collect();
        assert_eq!(rates[..5], [0.1, 0.2, 0.4 * 3.0 / 4.0, 0.4, 0.4]);
        assert!((rates[8] - 0.2).abs() < 1e-15);
        assert!(rates[4..13].is_sorted_by(|a, b| a > b));
        assert_eq!(rates[12..], [0.0; 3]);
    }

    #[test]
    fn constant_keeps_its_rate_after_warm_up() {
        let schedule = Schedule::Constant {
            base: 0.3,
            warmup: 2,
        };
        assert_eq!(
            [0, 1, 2, 1_000_000].map(|step| schedule.learning_rate(step)),
            [0.15, 0.3, 0.3, 0.3]
        );
    }

    #[test]
    fn rates_are_finite_if_warm_up_fills_the_run() {
        let schedule = Schedule::Cosine {
            base: 1.0,
            warmup: 3,
            total: 3,
        };
        assert!((0..6).all(|step| schedule.learning_rate(step).is_finite()));
        assert_eq!(schedule.check(), Ok(()));
    }

    #[test]
    fn rejects_invalid_rates_and_warm_up() {
        let cosine = |base, warmup| {
            Schedule::Cosine {
                base,
                warmup,
                total: 5,
            }
            .check()
        };
        assert_eq!(
            cosine(1.0, 6),
            Err(ScheduleError::WarmupTooLong {
                warmup: 6,
                total: 5
            })
        );
        assert_eq!(
            cosine(-1.0, 0),
            Err(ScheduleError::InvalidRate { base: -1.0 })
        );
        assert!(
            Schedule::Constant {
                base: f64::NAN,
                warmup: 0
            }
            .check()
            .is_err()
        );
    }
}
