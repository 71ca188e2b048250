//! Metrics of all scores.

use clipn::metrics::{FprConvention, MetricError, RankedScores};
use clipn::random::{RandomSource, Xoshiro256};
use clipn::scores;
use serde_json::Map;

use super::workload::Workload;
use crate::common::error::CliError;

/// Number of images of ImageNet's validation set, and of each published OOD set.
const ID: usize = 50_000;
const OOD: usize = 10_000;

/// Computes AUROC, both AUPRs and FPR95 by every convention for every score, on random values that
/// saturate as the published scores do.
pub(crate) fn metrics() -> Result<Workload, CliError> {
    let mut rng = Xoshiro256::new(7);
    let mut set = |count: usize, shift: f64| -> Vec<f32> {
        (0..count)
            .map(|_| 1.0 / (1.0 + (-8.0 * (rng.normal() + shift) as f32).exp()))
            .collect()
    };
    let sets: Vec<_> = scores::all()
        .iter()
        .map(|_| (set(ID, 0.5), set(OOD, -0.5)))
        .collect();
    Ok(Workload {
        items: (sets.len() * (ID + OOD)) as f64,
        run: Box::new(move || {
            for (id, ood) in &sets {
                std::hint::black_box(
                    all_metrics(id, ood).map_err(|error| CliError::usage(error.to_string()))?,
                );
            }
            Ok(())
        }),
        model: None,
        shape: format!("{ID} + {OOD} images, {} scores", scores::all().len()),
        unit: "scores",
        flops: None,
        details: Map::new(),
    })
}

fn all_metrics(id: &[f32], ood: &[f32]) -> Result<Vec<f64>, MetricError> {
    let ranked = RankedScores::new(id, ood)?;
    let mut values = vec![ranked.auroc(), ranked.aupr_in(), ranked.aupr_out()];
    for convention in FprConvention::ALL {
        values.push(ranked.fpr_at_tpr(0.95, convention)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #[test]
    fn computes_all_metrics() {
        (super::metrics().unwrap().run)().unwrap();
    }
}
