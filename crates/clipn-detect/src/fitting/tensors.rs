//! Fitted scores in files: their state in `f64`, the kept features in `f16` and the energies of these in
//! `f64`.

use clipn_checkpoint::{Checkpoint, Dtype, Tensor};
use clipn_model::Real;
use clipn_ood::fitted::{FitSummary, FitTensor, ScoreFit};

use crate::classifier::Classifier;
use crate::fitting::FittingError;
use crate::fitting::fitter::half_bank;

const BANK: &str = "bank";
const ENERGIES: &str = "bank_energies";

/// Returns the tensors of a fit, whose names begin with the prefix and a dot.
pub(crate) fn write_fit(
    fit: &ScoreFit,
    prefix: &str,
) -> Result<Vec<(String, Tensor)>, FittingError> {
    let named = |name: &str| format!("{prefix}.{name}");
    let mut tensors = Vec::new();
    for FitTensor {
        name,
        shape,
        values,
        ..
    } in fit.tensors()
    {
        tensors.push((named(&name), Tensor::from_f64(&shape, &values)?));
    }
    if !fit.bank().is_empty() {
        let energies = fit.bank_energies();
        tensors.push((named(BANK), half_bank(fit)?));
        tensors.push((
            named(ENERGIES),
            Tensor::from_f64(&[energies.len()], energies)?,
        ));
    }
    Ok(tensors)
}

/// Reads a fit from the tensors of [`write_fit`]; a part that is missing or has another shape is an error.
pub(crate) fn read_fit(
    checkpoint: &Checkpoint,
    prefix: &str,
    summary: FitSummary,
    classifier: &Classifier,
) -> Result<ScoreFit, FittingError> {
    let start = format!("{prefix}.");
    let (mut tensors, mut bank, mut energies) = (Vec::new(), Vec::new(), Vec::new());
    for (name, tensor) in checkpoint.iter() {
        let Some(name) = name.strip_prefix(&start) else {
            continue;
        };
        match (name, tensor.dtype()) {
            (BANK, Dtype::F16) => bank = f32::load(tensor).into_vec(),
            (ENERGIES, Dtype::F64) => energies = f64::load(tensor).into_vec(),
            (_, Dtype::F64) => {
                let values = f64::load(tensor).into_vec();
                tensors.push(FitTensor::new(name, tensor.shape(), values));
            }
            // A part of another type counts as missing.
            _ => {}
        }
    }
    let weights = classifier.scaled_yes_weights();
    Ok(ScoreFit::from_tensors(
        summary, tensors, bank, energies, &weights,
    )?)
}
