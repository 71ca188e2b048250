//! Comparison of a precision with f32 on the images of a user.

use std::io::Write;
use std::path::{Path, PathBuf};

use clipn::count::count;
use clipn::dataset::FolderImages;
use clipn::image::Preprocessing;
use clipn::metrics::auroc;
use clipn::model::{FeatureMatrix, ImageBatch, Precision, has_direction};
use clipn::progress::NoProgress;
use clipn::scores::predict;
use serde::Serialize;

use super::InspectArgs;
use crate::common::args::{ModelArgs, PromptArgs, VariantChoice};
use crate::common::classes;
use crate::common::device::DeviceArgs;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::model::LoadedModel;
use crate::common::table::Table;

/// Maximum number of images of a directory.
const MAX_IMAGES: usize = 64;
/// Images per batch.
const BATCH: usize = 16;
/// A mean cosine below this shifts logits by more than about 0.3: 100·√(2·(1 − c)/D) at D = 512.
const MIN_MEAN_COSINE: f64 = 0.998;
/// A cosine below this shifts the logits of an image by more than about 0.6.
const MIN_COSINE: f64 = 0.99;

/// How far features and scores of a precision are from those of f32.
#[derive(Debug, Serialize)]
pub(super) struct PrecisionComparison {
    precision: Precision,
    images: usize,
    /// Images that could not be read.
    unreadable: usize,
    least_cosine: f64,
    mean_cosine: f64,
    /// Images with the same best class; with `--classes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_labels: Option<usize>,
    /// With `--classes` and `--ood`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scores: Vec<ScoreComparison>,
}

#[derive(Debug, Serialize)]
struct ScoreComparison {
    score: &'static str,
    auroc_f32: f64,
    auroc: f64,
}

/// Features of the images of a directory in f32 and in a precision.
struct Compared {
    features: [FeatureMatrix<f32>; 2],
    unreadable: usize,
}

/// Compares `precision` with f32 on up to 64 images of `directory`.
pub(super) fn compare(
    args: &InspectArgs,
    precision: Precision,
    directory: &Path,
) -> Result<PrecisionComparison, CliError> {
    let model = ModelArgs {
        model: args.model.clone(),
        pretrained: Some(args.file.clone()),
        key: args.key.clone(),
        downloads: args.downloads.clone(),
    };
    let device = DeviceArgs {
        precision: None,
        ..args.device.clone()
    };
    let mut loaded = LoadedModel::open(&model, &device.open()?)?;
    let known = encode_both(&loaded, precision, directory)?;
    let cosines = cosines(&known.features);
    let mut comparison = PrecisionComparison {
        precision,
        images: cosines.len(),
        unreadable: known.unreadable,
        least_cosine: cosines.iter().copied().fold(1.0, f64::min),
        mean_cosine: cosines.iter().sum::<f64>() / cosines.len() as f64,
        same_labels: None,
        scores: Vec::new(),
    };
    let Some(classes) = &args.classes else {
        return Ok(comparison);
    };
    let unknown = match &args.ood {
        Some(directory) => Some(encode_both(&loaded, precision, directory)?),
        None => None,
    };
    let names = classes::to_encode(classes, true)?;
    let prompts = PromptArgs {
        templates: None,
        variant: VariantChoice(None),
        logit_scale: None,
        allow_duplicates: true,
    };
    let mut classifiers = Vec::new();
    for precision in [Precision::F32, precision] {
        loaded.set_precision(precision)?;
        let (classifier, _) = loaded.classifier(&names, &prompts, &NoProgress)?;
        classifiers.push(classifier);
    }
    let mut labels = Vec::new();
    for (classifier, features) in classifiers.iter().zip(&known.features) {
        let logits = classifier.logits(features)?;
        labels.push(logits.rows().map(predict).collect::<Vec<_>>());
    }
    let same = labels[0].iter().zip(&labels[1]).filter(|(a, b)| a == b);
    comparison.same_labels = Some(same.count());
    let Some(unknown) = unknown else {
        return Ok(comparison);
    };
    for score in classifiers[0].score_inputs().available() {
        let mut aurocs = [0.0; 2];
        for (which, classifier) in classifiers.iter().enumerate() {
            let mut of = Vec::new();
            for set in [&known, &unknown] {
                let logits = classifier.logits(&set.features[which])?;
                of.push(
                    logits
                        .rows()
                        .map(|row| score.faithful(row))
                        .collect::<Vec<f32>>(),
                );
            }
            aurocs[which] =
                auroc(&of[0], &of[1]).map_err(|error| CliError::usage(error.to_string()))?;
        }
        comparison.scores.push(ScoreComparison {
            score: score.name(),
            auroc_f32: aurocs[0],
            auroc: aurocs[1],
        });
    }
    Ok(comparison)
}

/// Encodes the images of a directory in f32 and in `precision`.
fn encode_both(
    loaded: &LoadedModel,
    precision: Precision,
    directory: &Path,
) -> Result<Compared, CliError> {
    let paths = chosen_images(directory)?;
    let preprocessing = &loaded.preprocessing;
    let (pixels, unreadable) = read(&paths, preprocessing);
    if pixels.is_empty() {
        return Err(CliError::usage(format!(
            "no readable image in {}",
            directory.display()
        )));
    }
    let mut features = Vec::new();
    for precision in [Precision::F32, precision] {
        let weights = loaded.weights.clone().with_precision(precision)?;
        let tower = loaded.towers().image_tower(&weights)?;
        let mut values = Vec::new();
        for batch in pixels.chunks(BATCH * preprocessing.tensor_len()) {
            let images = ImageBatch::new(batch, preprocessing.size, preprocessing.size)?;
            values.extend_from_slice(tower.encode(images)?.values());
        }
        let mut all = FeatureMatrix::new(values, tower.embed_dim());
        let without = all.rows().filter(|row| !has_direction(row)).count();
        if without > 0 {
            return Err(CliError::NoDirection {
                precision,
                images: without,
                total: all.len(),
            });
        }
        all.normalize();
        features.push(all);
        loaded.weights.release_pages();
    }
    let [f32_features, own] = <[_; 2]>::try_from(features)
        .map_err(|_| CliError::usage("expected features in two precisions"))?;
    Ok(Compared {
        features: [f32_features, own],
        unreadable,
    })
}

/// Returns up to [`MAX_IMAGES`] images of a directory, evenly spaced in its order.
fn chosen_images(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let images = FolderImages::open(directory)?;
    let total = images.total() as usize;
    let count = total.min(MAX_IMAGES);
    let mut chosen = Vec::with_capacity(count);
    for (index, image) in images.enumerate() {
        if index * count / total.max(1) >= chosen.len() && chosen.len() < count {
            chosen.push(PathBuf::from(image.name));
        }
    }
    Ok(chosen)
}

/// Decodes images, one after the other; returns their pixels and the number of unreadable ones.
fn read(paths: &[PathBuf], preprocessing: &Preprocessing) -> (Vec<f32>, usize) {
    let mut pixels = Vec::new();
    let mut unreadable = 0;
    let mut image = vec![0.0; preprocessing.tensor_len()];
    for path in paths {
        match preprocessing.preprocess_file(path, &mut image) {
            Ok(()) => pixels.extend_from_slice(&image),
            Err(error) => {
                warning(format_args!("skipped {}: {error}", path.display()));
                unreadable += 1;
            }
        }
    }
    (pixels, unreadable)
}

fn cosines(features: &[FeatureMatrix<f32>; 2]) -> Vec<f64> {
    let cosine = |(a, b): (&[f32], &[f32])| {
        let terms = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        terms.sum::<f64>().min(1.0)
    };
    features[0]
        .rows()
        .zip(features[1].rows())
        .map(cosine)
        .collect()
}

impl PrecisionComparison {
    /// Warns if the differences are larger than scores tolerate.
    pub(super) fn warn(&self) {
        if self.least_cosine >= MIN_COSINE && self.mean_cosine >= MIN_MEAN_COSINE {
            return;
        }
        warning(format_args!(
            "{} changes the features of these images more than scores tolerate: cosine to f32 {:.4} \
             on average and {:.4} at least; expected {MIN_MEAN_COSINE} and {MIN_COSINE}",
            self.precision, self.mean_cosine, self.least_cosine
        ));
    }

    pub(super) fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "{:<10}  cosine to f32 {:.6} on average, {:.6} at least, on {}",
            self.precision.as_str(),
            self.mean_cosine,
            self.least_cosine,
            count(self.images, "image")
        )?;
        if let Some(same) = self.same_labels {
            writeln!(
                out,
                "labels      the same for {same} of {}",
                count(self.images, "image")
            )?;
        }
        if self.scores.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let mut table = Table::new(["score", "AUROC f32", "AUROC", "change"], 1);
        for row in &self.scores {
            table.row([
                row.score.to_owned(),
                format!("{:.4}", row.auroc_f32),
                format!("{:.4}", row.auroc),
                format!("{:+.4}", row.auroc - row.auroc_f32),
            ]);
        }
        table.write(out)
    }
}
