//! In-distribution images that scores such as KNN and ViM are fitted to.

use std::path::{Path, PathBuf};

use clap::Args;
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::{
    FeatureFile, MatchedClasses, NamedImage, TrainDefinition, TrainSet, read_labels,
};
use clipn::fitted::ScoreFit;
use clipn::inference::FeaturePipeline;
use clipn::scores::{FittedScoreSet, Score};
use serde_json::{Value, json};

use super::benchmark::{load as load_benchmark, source};
use super::model::EvaluatedModel;
use super::{EvalArgs, ScoreList};
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::fitting::{FitArgs, FitImages, FitPlan, fit_file, fit_images, fitted_scores};
use crate::common::messages::{note_of_skipped, status};
use crate::common::progress::Bar;

/// Value of --id-train for the set of the benchmark.
const OF_BENCHMARK: &str = "benchmark";

/// In-distribution images or features that scores are fitted to.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrainArgs {
    /// In-distribution images that scores such as knn and vim are fitted to, as for --id; `benchmark`
    /// takes those of the benchmark
    ///
    /// Classes come from class folders or labels. In a directory without class folders, the predicted
    /// class stands in. Images of other classes are left out.
    #[arg(long, value_name = "DIR|LIST|benchmark", conflicts_with_all = ["features", "train_features"])]
    pub id_train: Option<String>,
    /// Features of in-distribution images that scores are fitted to, in a .npy, .safetensors, .pt or
    /// .parquet file
    #[arg(long, value_name = "FILE")]
    pub train_features: Option<PathBuf>,
    /// Class of each row of --train-features: an index or name per line, or a .npy array of indices;
    /// without it, the predicted class stands in
    #[arg(long, value_name = "FILE", requires = "train_features")]
    pub train_labels: Option<PathBuf>,
    #[command(flatten)]
    pub fit: FitArgs,
}

/// Images that were found, or a file of features.
pub(super) enum TrainSource {
    Images(Box<TrainSet>),
    Features(PathBuf),
}

impl TrainArgs {
    /// Whether scores are to be fitted.
    fn is_given(&self) -> bool {
        self.id_train.is_some() || self.train_features.is_some()
    }

    /// Scores to fit; `None` if none is to be fitted.
    pub(super) fn plan(&self, scores: &ScoreList) -> Result<Option<FitPlan>, CliError> {
        let wanted = match &scores.0 {
            Some(scores) => fitted_scores(scores),
            None => FittedScoreSet::all(),
        };
        if !self.is_given() {
            if self.fit.fit_settings.is_some() {
                return Err(CliError::usage_with_hint(
                    "--fit-settings without images to fit scores to",
                    "give images with --id-train, or features with --train-features",
                ));
            }
            return Ok(None);
        }
        if wanted.is_empty() {
            return Err(CliError::usage_with_hint(
                "none of --scores is fitted to images",
                format!("add scores such as knn: {}", FittedScoreSet::all()),
            ));
        }
        Ok(Some(FitPlan {
            scores: wanted,
            settings: self.fit.fit_settings.unwrap_or_default(),
            is_strict: scores.0.is_some(),
        }))
    }

    /// Finds the images or features; `matched` are the classes of the benchmark.
    pub(super) fn open(
        &self,
        args: &EvalArgs,
        matched: &MatchedClasses,
    ) -> Result<TrainSource, CliError> {
        if let Some(path) = &self.train_features {
            return Ok(TrainSource::Features(path.clone()));
        }
        let spec = self.id_train.as_deref().unwrap_or_default();
        let root = args.data_root.as_deref().unwrap_or(Path::new(""));
        let set = match (&args.benchmark, spec) {
            (Some(name), OF_BENCHMARK) => {
                let benchmark = load_benchmark(name, args.list_root.as_deref())?;
                let Some(train) = benchmark.train else {
                    return Err(CliError::usage_with_hint(
                        format!("the benchmark {name} has no images to fit scores to"),
                        "give them with --id-train DIR, or add a table [train] to the definition",
                    ));
                };
                train.open(root, benchmark.list_root, matched)?
            }
            _ => {
                let source = source(PathBuf::from(spec));
                TrainDefinition { source, map: None }.open("", "", matched)?
            }
        };
        note_of_skipped(" of --id-train", &set.images.skipped);
        Ok(TrainSource::Images(Box::new(set)))
    }

    /// Adds to the settings of `results.json` what scores were fitted to, if any were.
    pub(super) fn describe(&self, fit: Option<&ScoreFit>, settings: &mut Value) {
        if let Some(fit) = fit {
            settings["train"] = json!({
                "images": self.id_train,
                "features": self.train_features,
                "labels": self.train_labels,
                "fit": fit.summary(),
            });
        }
    }
}

/// Fits scores to a file of features, and adds them to the classifier.
pub(super) fn with_fitted_file(
    classifier: &Classifier,
    args: &TrainArgs,
    path: &Path,
    plan: FitPlan,
    bar: &Bar,
) -> Result<Classifier, CliError> {
    let mut file = FeatureFile::open(path)?;
    let labels = match &args.train_labels {
        Some(path) => read_labels(path, classifier.class_names(), file.len())?,
        None => Vec::new(),
    };
    let fit = fit_file(classifier, &mut file, &labels, plan, bar)?;
    Ok(classifier.clone().with_fit(fit)?)
}

/// Refuses to fit the score of a calibrated bundle again: its threshold belongs to its own fit.
pub(super) fn check_bundle(decision: Option<&'static dyn Score>) -> Result<(), CliError> {
    match decision.filter(|score| score.fitted().is_some()) {
        Some(score) => Err(CliError::usage_with_hint(
            format!("the bundle is calibrated with its own fit of the score `{score}`"),
            "leave --id-train and --train-features out",
        )),
        None => Ok(()),
    }
}

/// Fits scores to a training set with the image tower of a model, and adds them to its classifier.
pub(super) fn fit_model(
    model: &mut EvaluatedModel,
    (args, device): (&EvalArgs, &Device),
    source: &TrainSource,
    plan: FitPlan,
    bar: &Bar,
) -> Result<(), CliError> {
    check_bundle(model.decision().map(|(score, _)| score))?;
    let set = match source {
        TrainSource::Features(path) => {
            model.classifier = with_fitted_file(&model.classifier, &args.train, path, plan, bar)?;
            return Ok(());
        }
        TrainSource::Images(set) => set,
    };
    let is_used = |index: usize| {
        set.classes
            .as_ref()
            .is_none_or(|classes| classes[index].is_some())
    };
    let indices: Vec<usize> = (0..set.images.len())
        .filter(|index| is_used(*index))
        .collect();
    if indices.len() < set.images.len() {
        status(format_args!(
            "left out {} of {} to fit scores to, which belong to other classes",
            set.images.len() - indices.len(),
            count(set.images.len(), "image")
        ));
    }
    let class = |index: &usize| set.classes.as_ref().and_then(|classes| classes[*index]);
    let classes = indices.iter().map(class).collect();
    let fit = model.with_tower(|tower| {
        let cache = args.cache.open(
            || model.image_tower_hash(),
            model.config(),
            &model.preprocessing,
            tower.precision(),
        )?;
        let pipeline = FeaturePipeline::new(tower, &model.preprocessing)
            .with_parallelism(args.run.parallelism(device))
            .with_cache(cache.as_ref());
        let images = set.images.images().enumerate();
        let images = FitImages {
            images: images
                .filter(|(index, _)| is_used(*index))
                .map(|(_, image)| image),
            classes,
            name: |image: &NamedImage| image.name.clone(),
        };
        let plan = (plan, args.run.strict);
        let fit = fit_images(pipeline, &model.classifier, images, plan, bar)?;
        args.cache.finish(cache.as_ref())?;
        Ok::<_, CliError>(fit)
    })??;
    model.classifier = model.classifier.clone().with_fit(fit)?;
    Ok(())
}
