//! The learning rate of each step.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A learning-rate schedule. The rate of a step is set before it; steps count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// Linear warm-up, then half a cosine to zero at `total`, as open_clip and the published training have it.
    Cosine {
        /// The rate after warm-up.
        base: f64,
        /// Steps of warm-up: step k of them has base·(k + 1)/warmup.
        warmup: u64,
        /// Steps of the whole run.
        total: u64,
    },
    /// Linear warm-up, then the same rate for ever.
    Constant {
        /// The rate after warm-up.
        base: f64,
        /// Steps of warm-up.
        warmup: u64,
    },
}

/// A schedule that makes no sense.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A rate that is negative or no number.
    #[error("the learning rate is {base}; give a finite number that is not negative")]
    Rate {
        /// The rate given.
        base: f64,
    },
    /// Warm-up longer than the run.
    #[error("warm-up takes {warmup} steps and the whole run {total}; give fewer steps of warm-up")]
    Warmup {
        /// Steps of warm-up.
        warmup: u64,
        /// Steps of the run.
        total: u64,
    },
}

impl Schedule {
    /// Says whether the settings make sense.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn check(&self) -> Result<(), ScheduleError> {
        let (Self::Cosine { base, .. } | Self::Constant { base, .. }) = *self;
        if !(base.is_finite() && base >= 0.0) {
            return Err(ScheduleError::Rate { base });
        }
        match *self {
            Self::Cosine { warmup, total, .. } if warmup > total => {
                Err(ScheduleError::Warmup { warmup, total })
            }
            _ => Ok(()),
        }
    }

    /// The rate to set before step `step`. From `total` on a cosine stays at zero.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let (Self::Cosine { base, warmup, .. } | Self::Constant { base, warmup }) = *self;
        if step < warmup {
            return base * (step + 1) as f64 / warmup as f64;
        }
        match *self {
            Self::Constant { .. } => base,
            Self::Cosine { total, .. } if step >= total => 0.0,
            Self::Cosine { total, .. } => {
                let share = (step - warmup) as f64 / (total - warmup) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * share).cos()) * base
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_goes_from_warm_up_to_zero() {
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
    fn constant_stays() {
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
    fn degenerate_runs_stay_finite() {
        let schedule = Schedule::Cosine {
            base: 1.0,
            warmup: 3,
            total: 3,
        };
        assert!((0..6).all(|step| schedule.learning_rate(step).is_finite()));
        assert_eq!(schedule.check(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused() {
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
            Err(ScheduleError::Warmup {
                warmup: 6,
                total: 5
            })
        );
        assert_eq!(cosine(-1.0, 0), Err(ScheduleError::Rate { base: -1.0 }));
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
