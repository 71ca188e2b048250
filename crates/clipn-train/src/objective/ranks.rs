//! Evaluation of an objective over the batches of all ranks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use clipn_model::Real;

use crate::communicator::{Collective, Communicator};
use crate::objective::Objective;
use crate::objective::error::ObjectiveError;
use crate::objective::features::{FeatureGradients, GradientMask, LossAndGradients, PairFeatures};

/// Scale of each rank's gradient. Parameter gradients are **summed** over the ranks in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GradientScaling {
    /// The sum over ranks is the gradient of the global loss, for any number of ranks.
    #[default]
    True,
    /// The sum over ranks is that gradient divided by the number of ranks, as in the published code
    /// without `--gather-with-grad`: it computes each rank's gradient for its own features and
    /// averages. AdamW hides the factor up to its eps; clipping does not.
    Published,
}

/// Evaluates the losses over the features of all ranks, which are the same on every rank, and the
/// gradients of this rank's own features.
///
/// Ranks may have batches of different sizes. `mask` selects the gradients; its rows are replaced
/// by this rank's own.
///
/// The gradient of the scale is divided by the number of ranks, so that its sum over ranks is the
/// true one.
///
/// # Errors
/// Same as [`Objective::evaluate`], and [`ObjectiveError::Communicator`] if a rank is lost.
pub fn evaluate_over_ranks<T, C>(
    objective: &dyn Objective<T>,
    local: &PairFeatures<'_, T>,
    scale: T,
    mask: &GradientMask,
    scaling: GradientScaling,
    communicator: &C,
) -> Result<LossAndGradients<T>, ObjectiveError>
where
    T: Real,
    C: Communicator + Collective<T> + ?Sized,
{
    let world = communicator.world_size();
    local.check_shapes()?;
    if world == 1 {
        return objective.evaluate(
            local,
            scale,
            &GradientMask {
                rows: 0..local.rows(),
                ..mask.clone()
            },
        );
    }
    let (image, lengths) = communicator.all_gather(local.image)?.into_parts();
    let (yes, _) = communicator.all_gather(local.yes)?.into_parts();
    let no = match local.no.filter(|_| objective.uses_no()) {
        Some(no) => Cow::Owned(communicator.all_gather(no)?.into_parts().0),
        None => Cow::Borrowed(&[][..]),
    };
    let outliers = if objective.uses_outliers() {
        Cow::Owned(communicator.all_gather(local.outliers)?.into_parts().0)
    } else {
        Cow::Borrowed(&[][..])
    };
    let preceding: usize = lengths.iter().take(communicator.rank()).sum();
    let first = preceding / local.dim;
    let global = PairFeatures {
        dim: local.dim,
        image: &image,
        yes: &yes,
        no: (objective.uses_no() && local.no.is_some()).then_some(&no),
        outliers: &outliers,
    };
    let mask = GradientMask {
        rows: first..first + local.rows(),
        ..mask.clone()
    };
    let mut outcome = objective.evaluate(&global, scale, &mask)?;
    let inverse_world = T::from_f64((world as f64).recip());
    outcome.gradients.scale = outcome.gradients.scale * inverse_world;
    if scaling == GradientScaling::Published {
        scale_features(&mut outcome.gradients, inverse_world);
    }
    Ok(outcome)
}

fn scale_features<T: Real>(gradients: &mut FeatureGradients<T>, factor: T) {
    let FeatureGradients { image, yes, no, .. } = gradients;
    for value in [image, yes, no].into_iter().flatten().flatten() {
        *value = *value * factor;
    }
}
