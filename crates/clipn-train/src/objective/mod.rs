//! Training losses over features, and their gradients.
//!
//! An objective takes L2-normalized features `[N, D]` of the whole batch and returns the loss and
//! its gradient for the features, from which the towers backpropagate. [`evaluate_over_ranks`]
//! evaluates it over several ranks. [`ObjectiveName`] lists the objectives.

mod clip_loss;
mod clipn_loss;
mod error;
mod features;
mod matmul;
mod name;
mod outlier_loss;
mod ranks;
mod settings;

pub use clip_loss::Clip;
pub use clipn_loss::{Clipn, LossWeights, TsoForm};
pub use error::ObjectiveError;
pub use features::{FeatureGradients, GradientMask, LossAndGradients, PairFeatures};
pub use name::ObjectiveName;
pub use ranks::{GradientScaling, evaluate_over_ranks};
pub use settings::ObjectiveSettings;

use clipn_model::Real;

/// ln 100, the maximum of `logit_scale`, as in open_clip (CLIP, section 2.5).
pub const MAX_LOGIT_SCALE: f64 = 4.605_170_185_988_092;

/// A loss over a batch of image–text pairs.
pub trait Objective<T: Real>: Send + Sync {
    /// Returns the name; an [`ObjectiveName`] for the objectives of this crate.
    fn name(&self) -> &'static str;

    /// Returns whether it needs features of the "no" tower.
    fn uses_no(&self) -> bool;

    /// Returns whether it needs features of outliers.
    fn uses_outliers(&self) -> bool {
        false
    }

    /// Returns the losses over all rows of `features`, and the gradient of the total for the
    /// features and rows in `mask` and for `scale`, which is exp(logit_scale).
    ///
    /// # Errors
    /// [`ObjectiveError`] if shapes do not match, the batch has fewer than two rows, or a loss is
    /// not finite.
    fn evaluate(
        &self,
        features: &PairFeatures<'_, T>,
        scale: T,
        mask: &GradientMask,
    ) -> Result<LossAndGradients<T>, ObjectiveError>;
}

/// Clamps `logit_scale` to [0, ln 100], as the published code does after each step.
pub fn clamp_logit_scale<T: Real>(logit_scale: &mut T) {
    *logit_scale = logit_scale.max(T::zero()).min(T::from_f64(MAX_LOGIT_SCALE));
}

/// Returns ln(1 + eˣ) without overflow.
fn softplus<T: Real>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}

/// Returns 1 / (1 + e⁻ˣ) without overflow.
fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    if x >= T::zero() {
        (T::one() + e).recip()
    } else {
        e / (T::one() + e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_logits_give_finite_values() {
        for x in [-1e30f32, -1e4, -90.0, 0.0, 90.0, 1e4, 1e30] {
            assert!(
                softplus(x).is_finite() && (0.0..=1.0).contains(&sigmoid(x)),
                "{x}"
            );
        }
        assert!((softplus(-30.0f64) / (-30.0f64).exp() - 1.0).abs() < 1e-12);
        assert!((sigmoid(2.0f64) + sigmoid(-2.0f64) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn logit_scale_is_clamped_as_published() {
        let clamped = |mut value: f64| {
            clamp_logit_scale(&mut value);
            value
        };
        assert_eq!(clamped(-0.1), 0.0);
        assert_eq!(clamped(2.5), 2.5);
        assert_eq!(clamped(9.0), 100f64.ln());
    }
}
