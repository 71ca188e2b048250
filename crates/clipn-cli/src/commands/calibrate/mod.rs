//! `clipn calibrate`: the threshold of a bundle.

mod args;
mod output;
mod score;

pub use args::CalibrateArgs;
pub use output::object;

use clipn::calibration::{Calibration, Settings, calibrate, examine};
use clipn::detector::Detector;

use crate::common::detector::{Opened, open_bundle};
use crate::common::error::CliError;
use crate::common::progress::Bar;
use score::{Picture, pictures_below, score};

/// Pictures that are named as the lowest.
const LOWEST: usize = 5;

/// `clipn calibrate`.
pub fn run(args: &CalibrateArgs) -> Result<(), CliError> {
    if args.choice == clipn::calibration::Choice::Best && args.ood.is_empty() {
        let problem = "--choice best is a threshold between two kinds of pictures; give examples of the unknown with --ood";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let id_files = pictures_below(&args.id)?;
    let ood_files = args
        .ood
        .iter()
        .map(|path| pictures_below(path))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let Opened {
        detector,
        weights: _,
    } = open_bundle(&args.bundle, &args.model())?;
    let bundle = detector
        .bundle()
        .ok_or_else(|| CliError::Usage("give a bundle".to_owned()))?
        .clone();
    let settings = Settings {
        score: args.score,
        target_tpr: args.target_tpr,
        choice: args.choice,
        confidence: args.confidence,
    };
    let bar = Bar::default();
    let id = scored(&detector, &id_files, &settings, args, &bar)?;
    let ood = scored(&detector, &ood_files, &settings, args, &bar)?;

    let of = |pictures: &[Picture]| {
        pictures
            .iter()
            .map(|picture| picture.looked.score)
            .collect::<Vec<f64>>()
    };
    let looked: Vec<_> = id.iter().map(|picture| picture.looked.clone()).collect();
    let suspicions = examine(&looked, bundle.classifier().class_names(), &settings);
    let calibration = calibrate(&of(&id), &of(&ood), &settings)?
        .with_notes(args.id.display().to_string(), suspicions);
    let path = args.out.as_deref().unwrap_or(&args.bundle);
    let lowest = lowest(&id);
    let written = bundle.with_calibration(calibration);
    written.write(path)?;
    if let Some(calibration) = written.calibration() {
        tell_warnings(calibration);
        output::print(args, &written, calibration, &lowest)?;
    }
    eprintln!("wrote the threshold into {}", path.display());
    Ok(())
}

fn scored(
    detector: &Detector,
    files: &[score::File],
    settings: &Settings,
    args: &CalibrateArgs,
    bar: &Bar,
) -> Result<Vec<Picture>, CliError> {
    let outcome = score(detector, files, settings, &args.run, bar)?;
    if let Some(first) = outcome.errors.first() {
        eprintln!(
            "warning: pictures that could not be read or scored and are left out: {}; the first: {first}",
            outcome.errors.len()
        );
    }
    Ok(outcome.pictures)
}

/// The pictures that are scored lowest, the lowest first.
fn lowest(pictures: &[Picture]) -> Vec<&Picture> {
    let mut sorted: Vec<&Picture> = pictures.iter().collect();
    sorted.sort_by(|a, b| a.looked.score.total_cmp(&b.looked.score));
    sorted.truncate(LOWEST);
    sorted
}

fn tell_warnings(calibration: &Calibration) {
    for warning in calibration.warnings() {
        eprintln!("warning: {warning}");
    }
}
