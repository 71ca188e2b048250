//! `clipn calibrate`: calibrates the threshold of a bundle.

mod args;
mod choice;
mod output;
mod score;

pub(crate) use args::CalibrateArgs;
pub(crate) use output::object;

use clipn::calibration::{
    Calibration, CalibrationSettings, ComparisonSettings, ThresholdMethod, calibrate,
    check_calibration_set,
};
use clipn::dataset::SkippedFiles;
use clipn::detector::Detector;
use clipn::scores::{MaxLogit, Score};

use crate::common::detector::{OpenedDetector, open_bundle};
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::locks;
use crate::common::messages::{hint, note_of_skipped, status, warning};
use crate::common::progress::Bar;
use crate::common::scores::available_scores;
use args::ScoreChoice;
use choice::{choose, warn_of_guarantee};
use score::{ImageFile, ScoredImage, list_images, name_folders, score};

/// Number of lowest-scoring images to print.
const LOWEST_SHOWN: usize = 5;

/// `clipn calibrate`.
pub(crate) fn run(args: &CalibrateArgs) -> Result<(), CliError> {
    if args.choice == ThresholdMethod::Best && args.ood.is_empty() {
        return Err(CliError::usage_with_hint(
            "--choice best needs in-distribution and out-of-distribution images",
            "give out-of-distribution images with --ood",
        ));
    }
    let _lock = locks::of_bundle(&args.bundle, args.out.as_deref())?;
    let device = args.run.device.open()?;
    args.run.report(&device);
    let mut skipped = SkippedFiles::default();
    let mut id_files = list_images(&args.id, &mut skipped)?;
    let ood_files = args
        .ood
        .iter()
        .map(|path| list_images(path, &mut skipped))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    note_of_skipped("", &skipped);
    let is_comparison = matches!(args.score, Some(ScoreChoice::Best)) && !args.ood.is_empty();
    let comparison_settings = ComparisonSettings::default().with_target_tpr(args.target_tpr);
    if is_comparison {
        // Before minutes of encoding; unreadable images count later.
        comparison_settings.check_counts(id_files.len(), ood_files.len())?;
    }
    let OpenedDetector {
        detector,
        weights: _,
    } = open_bundle(&args.bundle, &args.model(), &device)?;
    let bundle = detector
        .bundle()
        .ok_or_else(|| CliError::usage("--bundle is not a bundle"))?
        .clone();
    name_folders(&mut id_files, bundle.classifier().class_names());
    let inputs = bundle.classifier().score_inputs();
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
    let mut id = scored(&detector, &id_files, &candidates, (args, &device), &bar)?;
    let mut ood = scored(&detector, &ood_files, &candidates, (args, &device), &bar)?;
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
        .with_description(args.id.display().to_string())
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

fn scored(
    detector: &Detector,
    files: &[ImageFile],
    candidates: &[&'static dyn Score],
    (args, device): (&CalibrateArgs, &Device),
    bar: &Bar,
) -> Result<Vec<ScoredImage>, CliError> {
    let outcome = score(detector, files, candidates, (&args.run, device), bar)?;
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
