//! Moments as tensors `exp_avg.NAME` and `exp_avg_sq.NAME`, and the scalar `step.NAME`.

use std::any::Any;
use std::path::Path;

use clipn_checkpoint::{Buffer, Checkpoint, CheckpointError, Tensor};
use clipn_model::Real;

use super::StateError;
use crate::optimizer::{AdamW, AdamWSettings, Moments};

const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";
const STEP: &str = "step.";

/// Returns the tensors of an optimizer's moments; f32 ones share its memory.
pub(super) fn tensors<T: Real>(
    optimizer: &AdamW<T>,
) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    let mut tensors = Vec::new();
    for (name, moments) in optimizer.moments() {
        let step = i64::try_from(moments.step()).unwrap_or(i64::MAX);
        tensors.push((format!("{STEP}{name}"), Tensor::from_i64(&[], &[step])?));
        tensors.push((
            format!("{FIRST}{name}"),
            tensor(moments.shape(), moments.first())?,
        ));
        tensors.push((
            format!("{SECOND}{name}"),
            tensor(moments.shape(), moments.second())?,
        ));
    }
    Ok(tensors)
}

fn tensor<T: Real>(shape: &[usize], values: &Buffer<T>) -> Result<Tensor, CheckpointError> {
    match (values as &dyn Any).downcast_ref::<Buffer<f32>>() {
        Some(values) => Tensor::from_f32(shape, values.clone()),
        None => {
            let values: Vec<f64> = values
                .iter()
                .map(|v| v.to_f64().unwrap_or(f64::NAN))
                .collect();
            Tensor::from_f64(shape, &values)
        }
    }
}

/// Restores the optimizer from such a file and checks it against the weights.
pub(super) fn restore<T: Real>(
    file: &Checkpoint,
    model: &Checkpoint,
    settings: AdamWSettings,
) -> Result<AdamW<T>, StateError> {
    let mismatch = |what: String| StateError::MomentMismatch {
        path: file.path().to_owned(),
        what,
    };
    let mut restored = Vec::new();
    for (name, first) in file
        .iter()
        .filter_map(|(key, t)| Some((key.strip_prefix(FIRST)?, t)))
    {
        let part = |prefix: &str| {
            file.get(&format!("{prefix}{name}"))
                .ok_or_else(|| mismatch(format!("missing tensor {prefix}{name}")))
        };
        let step = part(STEP)?.to_i64();
        let step = match step[..] {
            [step] => u64::try_from(step).map_err(|_| {
                mismatch(format!(
                    "{STEP}{name}: expected a step count of at least 0, got {step}"
                ))
            })?,
            _ => {
                return Err(mismatch(format!(
                    "{STEP}{name}: expected 1 value, got {}",
                    step.len()
                )));
            }
        };
        let moments = moments(
            file.path(),
            name,
            model.get(name),
            step,
            first,
            part(SECOND)?,
        )?;
        restored.push((name.to_owned(), moments));
    }
    if file.len() != 3 * restored.len() {
        return Err(mismatch(format!(
            "expected {} tensors for {} parameters, got {}",
            3 * restored.len(),
            restored.len(),
            file.len()
        )));
    }
    optimizer(file.path(), settings, restored)
}

/// Restores one parameter's moments and checks them against its weight.
pub(super) fn moments<T: Real>(
    path: &Path,
    name: &str,
    weight: Option<&Tensor>,
    step: u64,
    first: &Tensor,
    second: &Tensor,
) -> Result<Moments<T>, StateError> {
    let mismatch = |what: String| StateError::MomentMismatch {
        path: path.to_owned(),
        what,
    };
    let Some(weight) = weight else {
        return Err(mismatch(format!("no weight for the moments of {name}")));
    };
    for (moment, tensor) in [("exp_avg", first), ("exp_avg_sq", second)] {
        if tensor.shape() != weight.shape() {
            let (found, expected) = (tensor.shape(), weight.shape());
            return Err(mismatch(format!(
                "{moment} of {name}: expected shape {expected:?} of the weight, got {found:?}"
            )));
        }
    }
    Moments::new(name, weight.shape(), step, T::load(first), T::load(second)).map_err(|source| {
        StateError::Optimizer {
            path: path.to_owned(),
            source,
        }
    })
}

pub(super) fn optimizer<T: Real>(
    path: &Path,
    settings: AdamWSettings,
    moments: Vec<(String, Moments<T>)>,
) -> Result<AdamW<T>, StateError> {
    AdamW::with_moments(settings, moments).map_err(|source| StateError::Optimizer {
        path: path.to_owned(),
        source,
    })
}
