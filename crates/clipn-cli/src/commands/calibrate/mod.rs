//! `clipn calibrate`: calibrates the threshold of a bundle.

mod args;
mod choice;
mod fit;
mod input;
mod output;
mod score;

pub(crate) use args::CalibrateArgs;

use std::borrow::Cow;
use std::path::PathBuf;

use clipn::bundle::Bundle;
use clipn::calibration::{
    Calibration, CalibrationSettings, ComparisonSettings, ThresholdMethod, calibrate,
    check_calibration_set,
};
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::SkippedFiles;
use clipn::detector::Detector;
use clipn::fitting::FitSplit;
use clipn::inference::FeatureCache;
use clipn::number::decimals;
use clipn::scores::{Score, ScoreInputs};

use crate::common::bundle_output::check_bundle_output;
use crate::common::detector::open_bundle;
use crate::common::error::CliError;
use crate::common::fitting::FitPlan;
use crate::common::locks;
use crate::common::messages::{hint, note_of_skipped, status, warning};
use crate::common::negatives::warn_if_unread;
use crate::common::overwriting::refuse_inputs;
use crate::common::progress::Bar;
use crate::common::scores::available_scores;
use args::ScoreChoice;
use choice::{choose, warn_of_guarantee};
use input::{Input, Run};
use score::{ScoredImage, score_features, select};

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
    // Its own path is that of a calibration in place.
    let out = args.out.as_deref().filter(|out| *out != args.bundle);
    if let Some(out) = out {
        check_bundle_output(out, args.force)?;
        let lists = args.id.iter().chain(&args.ood);
        let files = args.features.iter().chain(&args.ood_features);
        let files = files.chain(&args.labels).chain(&args.pretrained);
        refuse_inputs(out, lists.chain(files).map(PathBuf::as_path))?;
    }
    if args.choice == ThresholdMethod::Best
        && let Some(target) = args.target_tpr
    {
        return Err(CliError::usage_with_hint(
            format!("--target-tpr {target} has no effect with --choice best"),
            "leave it out, or give --choice on-average or guaranteed",
        ));
    }
    let _lock = locks::of_bundle(&args.bundle, out)?;
    let device = args.run.device.open()?;
    let mut skipped = SkippedFiles::default();
    let mut input = Input::open(args, &mut skipped)?;
    note_of_skipped("", &skipped);
    input.warn_of_shared_images();
    let is_comparison = matches!(args.score, Some(ScoreChoice::Best)) && has_ood;
    let comparison_settings = ComparisonSettings::default().with_target_tpr(args.target_tpr());
    let comparison = is_comparison.then_some(&comparison_settings);
    let counts = input.counts();
    if let Some(comparison) = comparison {
        // Before minutes of encoding; unreadable images count later.
        comparison.check_counts(counts[0], counts[1])?;
    }
    let detector = match &input {
        Input::Images { .. } => open_bundle(&args.bundle, &args.model(), &device)?.detector,
        Input::Features { .. } => Detector::for_features_of(Bundle::open(&args.bundle)?)?,
    };
    let bundle = detector
        .bundle()
        .ok_or_else(|| CliError::usage("--bundle is not a bundle"))?
        .clone();
    // Without the scores that an earlier calibration fitted.
    let detector = detector.with_classifier(bundle.classifier().clone().with_fit(None)?)?;
    let inputs = detector.score_inputs();
    let default = bundle.default_score(&inputs);
    let candidates = candidates(args, &detector, default, is_comparison);
    let plan = fit::plan(args, &candidates, comparison, counts)?;
    let inputs = ScoreInputs {
        fitted: plan.map_or(inputs.fitted, |plan| plan.scores),
        ..inputs
    };
    for score in &candidates {
        inputs.check(*score)?;
    }
    let bar = Bar::default();
    let cache = match &input {
        Input::Images { .. } => {
            args.run.report(&device);
            open_cache(&bundle, &detector, args)?
        }
        Input::Features { .. } => None,
    };
    let run = Run {
        args,
        device: &device,
        cache: cache.as_ref(),
        bar: &bar,
    };
    let scored = Scored::new(&mut input, detector, (candidates, plan), comparison, &run)?;
    args.cache.finish(cache.as_ref())?;
    let chosen = match comparison {
        Some(comparison) => {
            let images = [&scored.held_out()[..], &scored.ood[..]];
            Some(choose(&scored.candidates, default, images, comparison)?)
        }
        None => None,
    };
    let best = chosen.as_ref().map(|chosen| chosen.comparison.best().score);
    let score = best.unwrap_or(scored.candidates[0]);
    let (id, ood, classifier) = scored.choose(score)?;
    let settings = CalibrationSettings::default()
        .with_score(score)
        .with_target_tpr(args.target_tpr())
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
    report_choice(&bundle, score, args.out.is_some());
    if let Some(out) = out {
        // Another process may have written it meanwhile.
        check_bundle_output(out, args.force)?;
    }
    let path = args.out.as_deref().unwrap_or(&args.bundle);
    let lowest = lowest(&id);
    let calibrated = bundle
        .with_classifier(classifier)?
        .with_calibration(calibration);
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

/// Says what is kept and what is lost of an earlier calibration, and of negatives that have no part in the
/// score.
fn report_choice(bundle: &Bundle, score: &dyn Score, is_copy: bool) {
    if let Some(earlier) = bundle.calibration() {
        status(format_args!(
            "{} the threshold {} of {}, from {}",
            if is_copy { "leaves out" } else { "replaces" },
            decimals(earlier.published_threshold(), 4),
            earlier.score().display_name(),
            count(earlier.len(), "image")
        ));
    }
    if bundle.classifier().negatives().is_some() {
        warn_if_unread(score);
    }
}

fn open_cache(
    bundle: &Bundle,
    detector: &Detector,
    args: &CalibrateArgs,
) -> Result<Option<FeatureCache>, CliError> {
    let identity = bundle.identity();
    args.cache.open(
        || identity.image_tower_hash.clone(),
        &identity.config,
        detector.preprocessing(),
        detector.tower().precision(),
    )
}

/// The candidates but for those that are fitted to images in a comparison.
fn candidates(
    args: &CalibrateArgs,
    detector: &Detector,
    default: &'static dyn Score,
    is_comparison: bool,
) -> Vec<&'static dyn Score> {
    match args.score {
        Some(ScoreChoice::Best) if is_comparison => available_scores(&[detector.classifier()]),
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
    }
}

/// Images with the values of all candidates.
struct Scored {
    candidates: Vec<&'static dyn Score>,
    id: Vec<ScoredImage>,
    ood: Vec<ScoredImage>,
    /// Indices of the in-distribution images that no score was fitted to; `None` if none was fitted.
    held_out: Option<Vec<usize>>,
    classifier: Classifier,
}

impl Scored {
    fn new(
        input: &mut Input,
        mut detector: Detector,
        (mut candidates, plan): (Vec<&'static dyn Score>, Option<FitPlan>),
        comparison: Option<&ComparisonSettings>,
        run: &Run<'_>,
    ) -> Result<Self, CliError> {
        let mut held_out = None;
        let id = match plan {
            None => input.score_id(&detector, &candidates, run)?,
            Some(plan) => {
                let rows = input.id_features(&detector, run)?;
                let fraction = run.args.fit_fraction();
                let mut split = FitSplit::new(&rows.classes, fraction, plan.settings.seed);
                fit::leave_out_foreign(&rows, &mut split);
                let classifier = detector.classifier().clone();
                let fit = fit::fit(&rows, &classifier, &split, plan)?;
                detector = detector.with_classifier(classifier.with_fit(fit)?)?;
                if comparison.is_some() {
                    candidates = available_scores(&[detector.classifier()]);
                }
                held_out = Some(split.threshold);
                score_features(detector.classifier(), &rows, &candidates)?
            }
        };
        Ok(Self {
            id,
            ood: input.score_ood(&detector, &candidates, run)?,
            held_out,
            candidates,
            classifier: detector.classifier().clone(),
        })
    }

    /// The in-distribution images that no score was fitted to.
    fn held_out(&self) -> Cow<'_, [ScoredImage]> {
        match &self.held_out {
            Some(indices) => select(&self.id, indices).into(),
            None => self.id[..].into(),
        }
    }

    /// The images that the threshold of a score comes from, and the classifier that computes it: all
    /// in-distribution images for a score that is not fitted.
    fn choose(
        mut self,
        score: &'static dyn Score,
    ) -> Result<(Vec<ScoredImage>, Vec<ScoredImage>, Classifier), CliError> {
        let fit = match (score.fitted(), self.classifier.fit()) {
            (Some(score), Some(fit)) => {
                let fit = fit.clone().only(score);
                self.id = self.held_out().into_owned();
                Some(fit)
            }
            _ => None,
        };
        if let Some(index) = self.candidates.iter().position(|other| *other == score) {
            self.id
                .iter_mut()
                .chain(&mut self.ood)
                .for_each(|image| image.sample.choose(score, image.candidates[index]));
        }
        Ok((self.id, self.ood, self.classifier.with_fit(fit)?))
    }
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
