//! `clipn calibrate`: calibrates the threshold of a bundle.

mod args;
mod choice;
mod output;
mod score;

pub(crate) use args::CalibrateArgs;
pub(crate) use output::object;

use clipn::bundle::Bundle;
use clipn::calibration::{
    Calibration, CalibrationSettings, ComparisonSettings, ThresholdMethod, calibrate,
    check_calibration_set,
};
use clipn::dataset::{FeatureFile, SkippedFiles, read_labels};
use clipn::detector::Detector;
use clipn::inference::FeatureCache;
use clipn::scores::{MaxLogit, Score};

use crate::common::detector::open_bundle;
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::locks;
use crate::common::messages::{hint, note_of_skipped, status, warning};
use crate::common::progress::Bar;
use crate::common::scores::available_scores;
use args::ScoreChoice;
use choice::{choose, warn_of_guarantee};
use score::{ImageFile, ScoredImage, list_images, name_folders, score, score_features};

/// Number of lowest-scoring images to print.
const LOWEST_SHOWN: usize = 5;

/// `clipn calibrate`.
pub(crate) fn run(args: &CalibrateArgs) -> Result<(), CliError> {
    let has_ood = !(args.ood.is_empty() && args.ood_features.is_empty());
    if args.choice == ThresholdMethod::Best && !has_ood {
        return Err(CliError::usage_with_hint(
            "--choice best needs in-distribution and out-of-distribution images",
            "give out-of-distribution images with --ood, or features with --ood-features",
        ));
    }
    let _lock = locks::of_bundle(&args.bundle, args.out.as_deref())?;
    let device = args.run.device.open()?;
    let mut skipped = SkippedFiles::default();
    let mut input = Input::open(args, &mut skipped)?;
    note_of_skipped("", &skipped);
    let is_comparison = matches!(args.score, Some(ScoreChoice::Best)) && has_ood;
    let comparison_settings = ComparisonSettings::default().with_target_tpr(args.target_tpr);
    if is_comparison {
        // Before minutes of encoding; unreadable images count later.
        let [id, ood] = input.counts();
        comparison_settings.check_counts(id, ood)?;
    }
    let detector = match &input {
        Input::Images { .. } => open_bundle(&args.bundle, &args.model(), &device)?.detector,
        Input::Features { .. } => Detector::for_features_of(Bundle::open(&args.bundle)?)?,
    };
    let bundle = detector
        .bundle()
        .ok_or_else(|| CliError::usage("--bundle is not a bundle"))?
        .clone();
    let inputs = detector.score_inputs();
    let default: &'static dyn Score = match inputs.default_rule() {
        Some(rule) => rule.score(),
        None => &MaxLogit,
    };
    let candidates = match args.score {
        Some(ScoreChoice::Best) if is_comparison => available_scores(&[bundle.classifier()]),
        Some(ScoreChoice::Best) => {
            warning(format_args!(
                "cannot compare scores without out-of-distribution images: took the default, {}",
                default.display_name()
            ));
            hint("give out-of-distribution images with --ood");
            vec![default]
        }
        Some(ScoreChoice::Named(score)) => vec![score],
        None => vec![default],
    };
    for score in &candidates {
        inputs.check(*score)?;
    }
    let bar = Bar::default();
    let [mut id, mut ood] = input.scored(&detector, &candidates, (args, &device), &bar)?;
    let chosen = if is_comparison {
        let images = [&id[..], &ood[..]];
        Some(choose(&candidates, default, images, &comparison_settings)?)
    } else {
        None
    };
    let best = chosen.as_ref().map(|chosen| chosen.comparison.best().score);
    let score = best.unwrap_or(candidates[0]);
    if let Some(index) = candidates.iter().position(|candidate| *candidate == score) {
        id.iter_mut()
            .chain(&mut ood)
            .for_each(|image| image.choose(index, score));
    }
    let settings = CalibrationSettings::default()
        .with_score(score)
        .with_target_tpr(args.target_tpr)
        .with_method(args.choice)
        .with_confidence(args.confidence);

    let scores = |images: &[ScoredImage]| {
        images
            .iter()
            .map(|image| image.sample.score)
            .collect::<Vec<f64>>()
    };
    let samples: Vec<_> = id.iter().map(|image| image.sample.clone()).collect();
    let warnings = check_calibration_set(&samples, bundle.classifier().class_names(), &settings);
    let calibration = calibrate(&scores(&id), &scores(&ood), &settings)?
        .with_description(args.description())
        .with_warnings(warnings);
    let path = args.out.as_deref().unwrap_or(&args.bundle);
    let lowest = lowest(&id);
    let calibrated = bundle.with_calibration(calibration);
    calibrated.write(path)?;
    if let Some(calibration) = calibrated.calibration() {
        print_warnings(calibration);
        if chosen.is_some() {
            warn_of_guarantee(args.choice);
        }
        let report = output::Report {
            calibration,
            lowest: &lowest,
            chosen: chosen.as_ref(),
            skipped: &skipped,
        };
        output::print(args.format, &calibrated, &report)?;
    }
    status(format_args!(
        "wrote the calibrated bundle to {}",
        path.display()
    ));
    Ok(())
}

/// What the threshold is calibrated on: in-distribution and out-of-distribution.
enum Input {
    Images {
        id: Vec<ImageFile>,
        ood: Vec<ImageFile>,
    },
    Features {
        id: FeatureFile,
        ood: Vec<FeatureFile>,
    },
}

impl Input {
    fn open(args: &CalibrateArgs, skipped: &mut SkippedFiles) -> Result<Self, CliError> {
        if let Some(id) = &args.features {
            let ood = args.ood_features.iter().map(FeatureFile::open);
            return Ok(Self::Features {
                id: FeatureFile::open(id)?,
                ood: ood.collect::<Result<_, _>>()?,
            });
        }
        let id = args.id.iter().map(|path| list_images(path, skipped));
        let id: Vec<_> = id.collect::<Result<_, _>>()?;
        let ood = args.ood.iter().map(|path| list_images(path, skipped));
        let ood: Vec<_> = ood.collect::<Result<_, _>>()?;
        Ok(Self::Images {
            id: id.concat(),
            ood: ood.concat(),
        })
    }

    /// Number of in-distribution and of out-of-distribution images.
    fn counts(&self) -> [usize; 2] {
        match self {
            Self::Images { id, ood } => [id.len(), ood.len()],
            Self::Features { id, ood } => [id.len(), ood.iter().map(FeatureFile::len).sum()],
        }
    }

    /// Scores the in-distribution and the out-of-distribution images.
    fn scored(
        &mut self,
        detector: &Detector,
        candidates: &[&'static dyn Score],
        (args, device): (&CalibrateArgs, &Device),
        bar: &Bar,
    ) -> Result<[Vec<ScoredImage>; 2], CliError> {
        let classifier = detector.classifier();
        match self {
            Self::Images { id, ood } => {
                args.run.report(device);
                name_folders(id, classifier.class_names());
                let cache = open_cache(detector, args)?;
                let cache = cache.as_ref();
                let scored = [
                    scored(detector, id, candidates, (args, device), cache, bar)?,
                    scored(detector, ood, candidates, (args, device), cache, bar)?,
                ];
                args.cache.finish(cache)?;
                Ok(scored)
            }
            Self::Features { id, ood } => {
                let labels = match &args.labels {
                    Some(path) => read_labels(path, classifier.class_names(), id.len())?,
                    None => Vec::new(),
                };
                let scored_id = score_features(classifier, id, &labels, candidates)?;
                let mut scored_ood = Vec::new();
                for file in ood {
                    scored_ood.extend(score_features(classifier, file, &[], candidates)?);
                }
                Ok([scored_id, scored_ood])
            }
        }
    }
}

fn open_cache(detector: &Detector, args: &CalibrateArgs) -> Result<Option<FeatureCache>, CliError> {
    let Some(bundle) = detector.bundle() else {
        return Ok(None);
    };
    let identity = bundle.identity();
    args.cache.open(
        || identity.image_tower_hash.clone(),
        &identity.config,
        detector.preprocessing(),
        detector.tower().precision(),
    )
}

fn scored(
    detector: &Detector,
    files: &[ImageFile],
    candidates: &[&'static dyn Score],
    (args, device): (&CalibrateArgs, &Device),
    cache: Option<&FeatureCache>,
    bar: &Bar,
) -> Result<Vec<ScoredImage>, CliError> {
    let outcome = score(detector, files, candidates, (&args.run, device), cache, bar)?;
    if let Some(first) = outcome.errors.first() {
        warning(format_args!(
            "skipped {} images that could not be read or scored; the first: {first}",
            outcome.errors.len()
        ));
    }
    Ok(outcome.images)
}

/// The images with the lowest scores, the lowest first.
fn lowest(images: &[ScoredImage]) -> Vec<&ScoredImage> {
    let mut sorted: Vec<&ScoredImage> = images.iter().collect();
    sorted.sort_by(|a, b| a.sample.score.total_cmp(&b.sample.score));
    sorted.truncate(LOWEST_SHOWN);
    sorted
}

fn print_warnings(calibration: &Calibration) {
    for message in calibration.warnings() {
        warning(message);
        if let Some(advice) = message.hint() {
            hint(advice);
        }
    }
}
