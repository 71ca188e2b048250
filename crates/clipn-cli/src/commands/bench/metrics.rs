use clipn::metrics::{FprConvention, MetricError, RankedScores};
use clipn::scores;
use clipn::training::TrainingRng;
use serde_json::Map;

use super::work::Work;
use crate::common::error::CliError;

/// Images of ImageNet's validation set, and of the published OOD sets.
const ID: usize = 50_000;
const OOD: usize = 10_000;

/// AUROC, both AUPRs and FPR95 of every score by every convention, from scores that saturate as the published ones do.
pub fn metrics() -> Result<Work, CliError> {
    let mut rng = TrainingRng::new(7);
    let mut set = |count: usize, shift: f64| -> Vec<f32> {
        (0..count)
            .map(|_| 1.0 / (1.0 + (-8.0 * (rng.normal() + shift) as f32).exp()))
            .collect()
    };
    let sets: Vec<_> = scores::all()
        .iter()
        .map(|_| (set(ID, 0.5), set(OOD, -0.5)))
        .collect();
    Ok(Work {
        items: (sets.len() * (ID + OOD)) as f64,
        run: Box::new(move || {
            for (id, ood) in &sets {
                std::hint::black_box(
                    figures(id, ood).map_err(|error| CliError::Usage(error.to_string()))?,
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

fn figures(id: &[f32], ood: &[f32]) -> Result<Vec<f64>, MetricError> {
    let ranked = RankedScores::new(id, ood)?;
    let mut figures = vec![ranked.auroc(), ranked.aupr_in(), ranked.aupr_out()];
    for convention in FprConvention::ALL {
        figures.push(ranked.fpr_at_tpr(0.95, convention)?);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_scores_can_be_measured() {
        (super::metrics().unwrap().run)().unwrap();
    }
}
