//! The models of an evaluation: weights with a classifier of the benchmark's classes, or a bundle.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn::bundle::Bundle;
use clipn::calibration::published_threshold;
use clipn::classifier::{ClassPrompts, Classifier};
use clipn::count::count;
use clipn::detector::Detector;
use clipn::evaluation::{Evaluation, ScorePrecision};
use clipn::image::Preprocessing;
use clipn::model::{ImageTower, ModelConfig};
use clipn::negatives::Negatives;
use clipn::number::decimals;
use clipn::progress::Progress;
use clipn::report::ReportOptions;
use clipn::scores::{DecisionRule, Score};
use serde_json::{Value, json};

use super::EvalArgs;
use crate::common::args::ModelArgs;
use crate::common::classes::ClassesToEncode;
use crate::common::detector::open_bundle;
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::messages::status;
use crate::common::model::LoadedModel;
use crate::common::negatives::NegativesArgs;

/// A model with its classifier of the benchmark's classes.
#[derive(Clone)]
pub(super) struct EvaluatedModel {
    source: Arc<Source>,
    pub(super) classifier: Classifier,
    pub(super) prompts: ClassPrompts,
    pub(super) preprocessing: Preprocessing,
    /// Name or file of the templates.
    templates: String,
    device: Device,
    /// Seed of what is drawn for the negatives, if it was given.
    seed: Option<u64>,
}

enum Source {
    Weights {
        requested: PathBuf,
        loaded: Box<LoadedModel>,
    },
    Bundle {
        path: PathBuf,
        detector: Box<Detector>,
        bundle: Box<Bundle>,
    },
}

/// Opened weights, or an opened bundle, before the classes of the benchmark are known.
pub(super) struct OpenedModel {
    source: Source,
    device: Device,
}

/// Opens what the arguments name.
pub(super) fn open(args: &EvalArgs, device: &Device) -> Result<Vec<OpenedModel>, CliError> {
    let models = args.models()?;
    if let (Some(path), [model]) = (&args.bundle, &models[..]) {
        return Ok(vec![OpenedModel::bundle(path, model, device)?]);
    }
    let weights = |model| OpenedModel::weights(model, device);
    models.iter().map(weights).collect()
}

impl OpenedModel {
    fn weights(args: &ModelArgs, device: &Device) -> Result<Self, CliError> {
        let source = Source::Weights {
            requested: args.requested().to_owned(),
            loaded: Box::new(LoadedModel::open(args, device)?),
        };
        Ok(Self {
            source,
            device: device.clone(),
        })
    }

    fn bundle(path: &Path, model: &ModelArgs, device: &Device) -> Result<Self, CliError> {
        let opened = open_bundle(path, model, device)?;
        let Some(bundle) = opened.detector.bundle().cloned() else {
            return Err(CliError::usage(format!(
                "{} has no classifier",
                path.display()
            )));
        };
        let source = Source::Bundle {
            path: path.to_owned(),
            detector: Box::new(opened.detector),
            bundle: Box::new(bundle),
        };
        Ok(Self {
            source,
            device: device.clone(),
        })
    }

    /// The classes of a bundle, which are those of the evaluation.
    pub(super) fn class_names(&self) -> Option<&[String]> {
        match &self.source {
            Source::Weights { .. } => None,
            Source::Bundle { bundle, .. } => Some(bundle.classifier().class_names()),
        }
    }

    /// Builds the classifier of the classes, with negatives of the first seed, or takes that of the bundle. `gray`
    /// images stay gray.
    pub(super) fn with_classes(
        self,
        classes: &ClassesToEncode,
        args: &EvalArgs,
        gray: bool,
        progress: &dyn Progress,
    ) -> Result<EvaluatedModel, CliError> {
        let Self { source, device } = self;
        let seed = args.seeds.first().copied();
        let (classifier, prompts, preprocessing, templates) = match &source {
            Source::Weights { loaded, .. } => {
                let (classifier, prompts) = loaded.classifier(classes, &args.prompts, progress)?;
                let classifier = args.negatives.attach_seeded(
                    loaded,
                    classifier,
                    &prompts,
                    seed.unwrap_or_default(),
                    progress,
                )?;
                let templates = loaded.templates_name(&args.prompts).to_owned();
                let preprocessing = args
                    .pixels
                    .apply(loaded.preprocessing.clone())
                    .with_resize(args.preprocess);
                (classifier, prompts, preprocessing, templates)
            }
            Source::Bundle { bundle, .. } => (
                in_order(bundle.classifier(), &classes.names)?,
                bundle.prompts().clone(),
                bundle.preprocessing().clone(),
                bundle.templates().name().to_owned(),
            ),
        };
        Ok(EvaluatedModel {
            source: Arc::new(source),
            classifier,
            prompts,
            preprocessing: Preprocessing {
                gray,
                ..preprocessing
            },
            templates,
            device,
            seed,
        })
    }
}

/// The classifier with its classes in the order of the labels.
fn in_order(classifier: &Classifier, names: &[String]) -> Result<Classifier, CliError> {
    let own = classifier.class_names();
    if names == own {
        return Ok(classifier.clone());
    }
    // Equal names, in their order.
    let mut own_indices: HashMap<&String, VecDeque<usize>> = HashMap::new();
    for (index, name) in own.iter().enumerate() {
        own_indices.entry(name).or_default().push_back(index);
    }
    let indices: Option<Vec<usize>> = names
        .iter()
        .map(|name| own_indices.get_mut(name)?.pop_front())
        .collect();
    let Some(indices) = indices.filter(|indices| indices.len() == own.len()) else {
        return Err(CliError::usage(format!(
            "the bundle has the classes {}, the benchmark {}",
            own.join(", "),
            names.join(", ")
        )));
    };
    let dim = classifier.dim();
    let rows = |rows: &[f32]| -> Vec<f32> {
        let row = |&index: &usize| &rows[index * dim..][..dim];
        indices.iter().flat_map(row).copied().collect()
    };
    let no = classifier.no_weights().map(rows);
    let ordered = Classifier::new(names.to_vec(), rows(classifier.yes_weights()), no)?
        .with_scales_of(classifier)
        .with_negatives(classifier.negatives().cloned())?;
    let fit = classifier.fit().cloned();
    let fit = fit.map(|fit| fit.with_class_order(&indices, &ordered.scaled_yes_weights()));
    Ok(ordered.with_fit(fit.transpose()?)?)
}

impl EvaluatedModel {
    /// The model with the negatives of each seed; texts and weights are those of this one.
    pub(super) fn per_seed(
        &self,
        args: &EvalArgs,
        progress: &dyn Progress,
    ) -> Result<Vec<Self>, CliError> {
        let others = args.seeds.iter().skip(1);
        let others = others.map(|&seed| self.with_seed(seed, args, progress));
        let others: Vec<Self> = others.collect::<Result<_, _>>()?;
        Ok(std::iter::once(self.clone()).chain(others).collect())
    }

    fn with_seed(
        &self,
        seed: u64,
        args: &EvalArgs,
        progress: &dyn Progress,
    ) -> Result<Self, CliError> {
        let classifier = self.classifier.clone();
        let classifier = match &*self.source {
            Source::Weights { loaded, .. } => {
                let negatives = &args.negatives;
                negatives.attach_seeded(loaded, classifier, &self.prompts, seed, progress)?
            }
            // A bundle's negatives are drawn already.
            Source::Bundle { .. } => classifier,
        };
        Ok(Self {
            source: Arc::clone(&self.source),
            classifier,
            prompts: self.prompts.clone(),
            preprocessing: self.preprocessing.clone(),
            templates: self.templates.clone(),
            device: self.device.clone(),
            seed: Some(seed),
        })
    }

    /// The weights or the bundle as the user named them.
    pub(super) fn name(&self) -> String {
        let path = match &*self.source {
            Source::Weights { requested, .. } => requested,
            Source::Bundle { path, .. } => path,
        };
        match self.seed {
            Some(seed) => format!("{}, seed {seed}", path.display()),
            None => path.display().to_string(),
        }
    }

    pub(super) fn config(&self) -> &ModelConfig {
        match &*self.source {
            Source::Weights { loaded, .. } => loaded.weights.config(),
            Source::Bundle { bundle, .. } => &bundle.identity().config,
        }
    }

    pub(super) fn epoch(&self) -> Option<&str> {
        match &*self.source {
            Source::Weights { loaded, .. } => loaded.epoch.as_deref(),
            Source::Bundle { .. } => None,
        }
    }

    /// Digest of the image tower. It reads all weights.
    pub(super) fn image_tower_hash(&self) -> String {
        match &*self.source {
            Source::Weights { loaded, .. } => loaded.weights.image_tower_hash(),
            Source::Bundle { bundle, .. } => bundle.identity().image_tower_hash.clone(),
        }
    }

    /// All words that a method may choose among: those of the source of the negatives, or the negatives of a
    /// bundle.
    pub(super) fn all_words(
        &self,
        negatives: &NegativesArgs,
        progress: &dyn Progress,
    ) -> Result<Negatives, CliError> {
        match (&*self.source, self.classifier.negatives()) {
            (Source::Weights { loaded, .. }, _) => {
                negatives.all_words(loaded, &self.classifier, &self.prompts, progress)
            }
            (Source::Bundle { .. }, Some(negatives)) => Ok(negatives.clone()),
            (Source::Bundle { path, .. }, None) => Err(CliError::usage_with_hint(
                format!(
                    "{} has no negatives, whose words are chosen from",
                    path.display()
                ),
                "build the bundle with --negatives wordnet",
            )),
        }
    }

    /// Runs `work` with the image tower, whose memory is released after it.
    pub(super) fn with_tower<T>(
        &self,
        work: impl FnOnce(&dyn ImageTower<f32>) -> T,
    ) -> Result<T, CliError> {
        match &*self.source {
            Source::Weights { loaded, .. } => {
                let result = work(&*loaded.image_tower()?);
                loaded.weights.release_pages();
                Ok(result)
            }
            Source::Bundle { detector, .. } => Ok(work(detector.tower())),
        }
    }

    /// Description of the model for `results.json`.
    pub(super) fn describe(&self) -> Value {
        let mut described = match &*self.source {
            Source::Weights { requested, loaded } => json!({
                "model": loaded.weights.config(),
                "pretrained": requested,
                "weights": loaded.path,
                "epoch": loaded.epoch,
                "no_prompts": loaded.weights.no_prompts(),
                "precision": loaded.weights.precision(),
                "templates": self.templates,
            }),
            Source::Bundle { path, bundle, .. } => json!({
                "model": bundle.identity().config,
                "bundle": path,
                "weights": bundle.identity().source,
                "precision": bundle.identity().precision,
                "epoch": null,
                "templates": self.templates,
                "decision": self.decision().map(|(score, threshold)| json!({
                    "score": score,
                    "threshold": threshold,
                })),
            }),
        };
        // The file of that name may change.
        described["templates_checksum"] = json!(self.templates_checksum());
        if let Some(seed) = self.seed {
            described["seed"] = json!(seed);
        }
        described["device"] = json!(self.device.to_string());
        if !self.device.is_cpu() {
            described["device_name"] = json!(self.device.factory().device());
        }
        described
    }

    /// CRC-32 of the templates, or of the sentences of each class.
    fn templates_checksum(&self) -> Option<String> {
        let text = serde_json::to_vec(self.prompts.templates()).ok()?;
        Some(format!("{:08x}", crc32fast::hash(&text)))
    }

    /// The calibrated score of a bundle, and its threshold in the published unit.
    pub(super) fn decision(&self) -> Option<(&'static dyn Score, f64)> {
        let Source::Bundle { bundle, .. } = &*self.source else {
            return None;
        };
        match bundle.calibration()?.rule() {
            DecisionRule::Calibrated { score, threshold } => {
                Some((score, published_threshold(score, threshold)))
            }
            _ => None,
        }
    }

    /// The threshold of [`decision`](Self::decision) in log space, as scores in f64 are.
    fn stable_threshold(&self) -> Option<f64> {
        match &*self.source {
            Source::Bundle { bundle, .. } => Some(bundle.calibration()?.threshold()),
            Source::Weights { .. } => None,
        }
    }

    /// The report decides by the calibrated threshold, if its score was evaluated.
    pub(super) fn decide(&self, page: ReportOptions, evaluation: &Evaluation) -> ReportOptions {
        match self.decision() {
            Some((score, threshold)) if evaluation.scores.contains(&score) => page
                .with_deciding_score(score)
                .with_threshold(threshold)
                .with_stable_threshold(self.stable_threshold()),
            _ => page,
        }
    }

    /// Reports how many images the calibrated threshold keeps and rejects.
    pub(super) fn report_decision(&self, evaluation: &Evaluation, precision: ScorePrecision) {
        let Some((score, threshold)) = self.decision() else {
            return;
        };
        let Some(column) = evaluation.scores.iter().position(|other| *other == score) else {
            return;
        };
        let minimum = match precision {
            ScorePrecision::F64 => self.stable_threshold().unwrap_or(threshold),
            _ => threshold,
        };
        let kept = |rows: &[clipn::evaluation::ImageRow]| {
            let scores = rows.iter().filter_map(|row| row.outcome.as_ref().ok());
            let kept = scores.clone().filter(|row| row.scores[column] >= minimum);
            (kept.count(), scores.count())
        };
        let (known, images) = kept(&evaluation.id.rows);
        let rejected = evaluation.ood.iter().map(|set| {
            let (kept, images) = kept(&set.rows);
            format!("{} of {images} of {}", images - kept, set.name)
        });
        // In f32, scores that are different numbers for `clipn classify` may be one.
        let sets = std::iter::once(&evaluation.id).chain(&evaluation.ood);
        let rows = sets.flat_map(|set| &set.rows);
        let equal = rows.filter_map(|row| row.outcome.as_ref().ok());
        let equal = equal.filter(|row| row.scores[column] as f32 == threshold as f32);
        let rounding = match (precision, equal.count()) {
            (ScorePrecision::F64, _) | (_, 0) => String::new(),
            (_, equal) => format!(
                "; {} with that score may be decided otherwise by `clipn classify`, which computes as \
                 --score-precision f64 does",
                count(equal, "image")
            ),
        };
        status(format_args!(
            "at the bundle's threshold ({} {}): kept {known} of {} of {}; \
             rejected {}{rounding}",
            score.display_name(),
            decimals(threshold, 4),
            count(images, "image"),
            evaluation.id.name,
            rejected.collect::<Vec<_>>().join(", ")
        ));
    }
}
