//! Measures how well images of none of the classes are recognized, with the built-in model.
//!
//! `cargo run -p clipn --features mini --example evaluate -- ID_DIRECTORY OOD_DIRECTORY`: the first has
//! one directory per class, named as the class; the second has images of no class.

use std::error::Error;
use std::path::Path;

use clipn::dataset::{ImageFolder, OodSet};
use clipn::engine::image_tower;
use clipn::evaluation::{EvaluationOptions, Evaluator, Results, ScorePrecision};
use clipn::inference::InferencePipeline;
use clipn::metrics::FprConvention;
use clipn::prelude::*;
use clipn::scores::{Atd, Msp, Score};

#[allow(dead_code)] // The tests include this file and call `measure`.
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [id, ood] = arguments.as_slice() else {
        return Err("expected two directories: ID_DIRECTORY OOD_DIRECTORY".into());
    };
    let results = measure(id.as_ref(), ood.as_ref())?;
    if let Some(accuracy) = results.accuracy {
        println!("accuracy {:.1} %", 100.0 * accuracy);
    }
    for row in &results.results {
        println!(
            "{}: AUROC {:.3}, FPR95 {:.3}",
            row.score, row.auroc, row.fpr95
        );
    }
    Ok(())
}

/// Scores both directories, and computes the metrics of two scores.
pub(crate) fn measure(id: &Path, ood: &Path) -> Result<Results, Box<dyn Error>> {
    let id = ImageFolder::read(id)?.labeled("in-distribution")?;
    let ood = ImageFolder::read(ood)?.unlabeled("out-of-distribution")?;

    let pretrained = PretrainedWeights::mini()?;
    let weights = pretrained.weights(None)?;
    let classifier = ClassifierBuilder::new(&id.class_directories)
        .with_metadata(&pretrained.metadata())
        .build(&weights)?;
    let tower = image_tower(&weights);
    let preprocessing = Preprocessing::clip(weights.config().vision.image_size);
    let pipeline = InferencePipeline::new(&*tower, &classifier, &preprocessing)?;

    let scores: [&dyn Score; 2] = [&Atd, &Msp];
    let options = EvaluationOptions::default()
        .with_scores(scores)
        .with_precision(ScorePrecision::F64);
    let ood = OodSet {
        set: ood,
        kind: None,
    };
    let evaluation = Evaluator::new(&id, &[ood])
        .with_options(options)
        .evaluate(&pipeline)?;
    Ok(Results::compute(&evaluation, FprConvention::default())?)
}
