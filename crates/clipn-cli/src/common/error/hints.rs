//! Advice for errors, with the names of flags and commands. Messages of the libraries name
//! neither.

use std::error::Error;

use clipn::bundle::BundleError;
use clipn::calibration::CalibrationError;
use clipn::classifier::ClassifierError;
use clipn::detector::DetectorError;
use clipn::download::DownloadError;
use clipn::evaluation::EvaluationError;
use clipn::model::{ConvertError, ModelError};
use clipn::training::TrainingError;

use super::CliError;

/// The advice for an error, outermost error of the chain first.
pub fn hints(error: &CliError) -> Vec<String> {
    let mut hints: Vec<String> = program_hint(error).into_iter().collect();
    let mut link = library_error(error);
    while let Some(error) = link {
        if let Some(hint) = library_hint(error)
            && !hints.contains(&hint)
        {
            hints.push(hint);
        }
        link = wrapped(error).or_else(|| error.source());
    }
    hints
}

/// Advice for the program's own errors.
fn program_hint(error: &CliError) -> Option<String> {
    let hint = match error {
        CliError::Usage { hint, .. } => return hint.clone(),
        CliError::ClassifyInterrupted { .. } => {
            "run the same command with --resume to continue there"
        }
        CliError::DamagedRow { .. } => "start over with --force",
        CliError::TrainingInterrupted { .. } => "continue with --resume latest",
        CliError::RecipeInterrupted { .. } => "run the same command to continue there",
        #[cfg(feature = "serve")]
        CliError::Serve(clipn_serve::ServeError::Bind { .. }) => {
            "choose another --port, or 0 for any free port"
        }
        #[cfg(feature = "serve")]
        CliError::Serve(clipn_serve::ServeError::Threads { .. }) => "lower --workers",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Advice for an error of the library.
fn library_hint(error: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| error.downcast_ref().and_then(bundle))
        .or_else(|| error.downcast_ref().and_then(calibration))
        .or_else(|| error.downcast_ref().and_then(classifier))
        .or_else(|| error.downcast_ref().and_then(convert))
        .or_else(|| error.downcast_ref().and_then(detector))
        .or_else(|| error.downcast_ref().and_then(download))
        .or_else(|| error.downcast_ref().and_then(evaluation))
        .or_else(|| error.downcast_ref().and_then(model))
        .or_else(|| error.downcast_ref().and_then(training))
}

fn bundle(error: &BundleError) -> Option<String> {
    let hint = match error {
        BundleError::NotFound { .. } => {
            "check the path, or build the bundle with `clipn classifier build`"
        }
        BundleError::NotABundle { .. } => {
            "build a bundle with `clipn classifier build --classes … --out shop.clipn`; \
             weights are given with --pretrained"
        }
        BundleError::OtherModel { .. } => {
            "give the weights that the bundle was built with in --pretrained, or build it again"
        }
        BundleError::Damaged { .. } => "build the bundle again with `clipn classifier build`",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn calibration(error: &CalibrationError) -> Option<String> {
    let hint = match error {
        CalibrationError::TooFew { .. } => {
            "add images of the classes to --id, or lower --target-tpr"
        }
        CalibrationError::NoUnknown => "give out-of-distribution images with --ood",
        CalibrationError::Damaged { .. } => "run `clipn calibrate` again",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn classifier(error: &ClassifierError) -> Option<String> {
    let hint = match error {
        ClassifierError::NoSuchClass { .. } => {
            "`clipn classifier show` lists the classes of a bundle"
        }
        ClassifierError::NoNoTemplates { .. } => {
            "give --templates clipn, or a TOML file with `yes = [...]` and `no = [...]`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn convert(error: &ConvertError) -> Option<String> {
    let hint = match error {
        ConvertError::Exists { .. } => "name another output, or give --force to replace it",
        ConvertError::NoSeenWords { .. } => "leave --only-seen-words out",
        ConvertError::ResNet { .. } => "convert with --to open-clip",
        ConvertError::Positions { .. } => {
            "give the --model that the weights were trained as, or convert with --to clipn"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn detector(error: &DetectorError) -> Option<String> {
    match error {
        DetectorError::NoModel { .. } => Some(
            "give the weights with --pretrained, or build the bundle with --with-model, which \
             stores the image tower in it"
                .to_owned(),
        ),
        _ => None,
    }
}

fn download(error: &DownloadError) -> Option<String> {
    let hint = match error {
        DownloadError::TagWithoutModel { .. } => "give the architecture with --model",
        DownloadError::NotCached { .. } => {
            "run once without --offline and HF_HUB_OFFLINE, with a network connection"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn evaluation(error: &EvaluationError) -> Option<String> {
    let hint = match error {
        EvaluationError::NoResults { .. } => {
            "give a results.json of `clipn eval` or `clipn results merge`"
        }
        EvaluationError::Workers { .. } => "lower --workers",
        EvaluationError::TooFewRepeats { .. } => "give --repeat 2 or more",
        EvaluationError::Subset { .. } => "lower --subset",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn model(error: &ModelError) -> Option<String> {
    let hint = match error {
        ModelError::UnknownModel { .. } => "`clipn models` lists the architectures",
        ModelError::NoConfig { .. } => {
            "give --model with the name of an architecture or a config file; `clipn inspect` shows \
             which ones fit, and --bundle takes bundles"
        }
        ModelError::Contradiction { .. } => "leave --model out, or name the architecture they have",
        ModelError::WeightsMismatch { .. } => "`clipn inspect` shows what the file contains",
        ModelError::FrozenOnly { .. } => {
            "use --objective clipn or clipn-handcrafted, which freeze the image tower, or train a ViT"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn training(error: &TrainingError) -> Option<String> {
    let TrainingError::Setting { setting, .. } = error else {
        return match error {
            TrainingError::NoNoTemplates { .. } => Some("give --templates clipn".to_owned()),
            _ => None,
        };
    };
    let hint = match setting.trim_start_matches("--").replace('_', "-").as_str() {
        "pretrained" => {
            "give trained CLIP weights with --pretrained, or train one with --objective clip"
        }
        "accum-freq" => "lower --accum-freq, or --batch-size",
        "batch-size" => "give --batch-size 2 or more",
        "epochs" => "give --epochs 1 or more",
        "keep" => "give --keep 1 or more",
        "cache-image-features" => {
            "leave --cache-image-features out, or give --augmentation none and another objective \
             than --objective clip"
        }
        "objective" => {
            "resume with the --objective of the checkpoint, or start from its weights \
                        with --pretrained"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The library's error in a transparent variant of [`CliError`], whose `source` skips it.
fn library_error(error: &CliError) -> Option<&(dyn Error + 'static)> {
    Some(match error {
        CliError::Bundle(error) => error,
        CliError::Calibration(error) => error,
        CliError::Checkpoint(error) => error,
        CliError::Classifier(error) => error,
        CliError::Convert(error) => error,
        CliError::Dataset(error) => error,
        CliError::Demo(error) => error,
        CliError::Detector(error) => error,
        CliError::Download(error) => error,
        CliError::Report(error) => error,
        CliError::Evaluation(error) => error,
        CliError::Image(error) => error,
        CliError::Model(error) => error,
        CliError::Prompt(error) => error,
        CliError::Tokenizer(error) => error,
        CliError::Training(error) => error,
        other => return other.source(),
    })
}

/// The error in a transparent variant of a library's error.
fn wrapped<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    macro_rules! transparent {
        ($($enumeration:ident { $($variant:ident),* })*) => {$(
            if let Some(error) = error.downcast_ref::<$enumeration>() {
                return match error {
                    $($enumeration::$variant(inner) => Some(inner),)*
                    _ => None,
                };
            }
        )*};
    }
    transparent! {
        BundleError { Checkpoint, Model, Classifier, Prompt, Calibration }
        ClassifierError { Model }
        ConvertError { Model, Checkpoint }
        DetectorError { Bundle, Model, Classifier, Image }
        DownloadError { Index, Model }
        EvaluationError { Image, Model, Classifier }
        ModelError { Checkpoint }
        TrainingError { Model, Objective, Optimizer, Schedule, Data, State, Checkpoint, Prompt }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_of_a_wrapped_error_is_found() {
        let missing = BundleError::Classifier(ClassifierError::NoSuchClass {
            class: "cat".to_owned(),
        });
        let error = CliError::Detector(DetectorError::Bundle(missing));
        assert_eq!(
            hints(&error),
            ["`clipn classifier show` lists the classes of a bundle"]
        );
    }

    #[test]
    fn usage_errors_carry_their_own_advice() {
        let error = CliError::usage_with_hint("no threshold", "give --threshold");
        assert_eq!(hints(&error), ["give --threshold"]);
        assert!(hints(&CliError::usage("no threshold")).is_empty());
    }
}
