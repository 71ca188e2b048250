//! `clipn calibrate`: calibrates the threshold of a bundle.

mod args;
mod output;
mod score;

pub(crate) use args::CalibrateArgs;
pub(crate) use output::object;

use clipn::calibration::{
    Calibration, CalibrationSettings, ThresholdMethod, calibrate, check_calibration_set,
};
use clipn::detector::Detector;
use clipn::scores::{MaxLogit, Score};

use crate::common::detector::{OpenedDetector, open_bundle};
use crate::common::error::CliError;
use crate::common::messages::{hint, status, warning};
use crate::common::progress::Bar;
use score::{ImageFile, ScoredImage, list_images, score};

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
    args.run.report();
    let id_files = list_images(&args.id)?;
    let ood_files = args
        .ood
        .iter()
        .map(|path| list_images(path))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let OpenedDetector {
        detector,
        weights: _,
    } = open_bundle(&args.bundle, &args.model())?;
    let bundle = detector
        .bundle()
        .ok_or_else(|| CliError::usage("--bundle is not a bundle"))?
        .clone();
    let inputs = bundle.classifier().score_inputs();
    let default: &dyn Score = match inputs.default_rule() {
        Some(rule) => rule.score(),
        None => &MaxLogit,
    };
    let score = args.score.unwrap_or(default);
    inputs.check(score)?;
    let settings = CalibrationSettings::default()
        .with_score(score)
        .with_target_tpr(args.target_tpr)
        .with_method(args.choice)
        .with_confidence(args.confidence);
    let bar = Bar::default();
    let id = scored(&detector, &id_files, &settings, args, &bar)?;
    let ood = scored(&detector, &ood_files, &settings, args, &bar)?;

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
        output::print(args, &calibrated, calibration, &lowest)?;
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
    settings: &CalibrationSettings,
    args: &CalibrateArgs,
    bar: &Bar,
) -> Result<Vec<ScoredImage>, CliError> {
    let outcome = score(detector, files, settings, &args.run, bar)?;
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
