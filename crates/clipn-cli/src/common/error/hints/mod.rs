//! Advice for errors, with the names of flags and commands. Messages of the libraries name
//! neither.

mod data;
mod download;
mod evaluation;
mod inference;
mod training;

use std::error::Error;

use clipn::bundle::BundleError;
use clipn::classifier::ClassifierError;
use clipn::dataset::TrainingDataError;
use clipn::detector::DetectorError;
use clipn::download::DownloadError;
use clipn::evaluation::EvaluationError;
use clipn::inference::InferenceError;
use clipn::model::{ConvertError, ModelError};
use clipn::training::{ObjectiveError, StateError, TrainingError};

use super::CliError;

/// The advice for an error, outermost error of the chain first.
pub(crate) fn hints(error: &CliError) -> Vec<String> {
    let mut hints: Vec<String> = program_hint(error).into_iter().collect();
    let mut link = library_error(error);
    while let Some(error) = link {
        if let Some(hint) = library_hint(error)
            && !hints.iter().any(|known| known == hint)
        {
            hints.push(hint.to_owned());
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
        CliError::Serve(clipn_serve::ServeError::SpawnThreads { .. }) => "lower --workers",
        #[cfg(feature = "serve")]
        CliError::Serve(clipn_serve::ServeError::InvalidSetting(problem)) => {
            return server_setting(problem).map(str::to_owned);
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Advice for a setting of the server, recognized by the message.
#[cfg(feature = "serve")]
fn server_setting(problem: &str) -> Option<&'static str> {
    if problem.contains("max_images") {
        Some("raise --queue or lower --max-images")
    } else if problem.contains("API key") {
        Some("`openssl rand -hex 16` generates a key")
    } else {
        None
    }
}

/// Advice for an error of the library.
fn library_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    inference::hint(error)
        .or_else(|| data::hint(error))
        .or_else(|| training::hint(error))
        .or_else(|| evaluation::hint(error))
        .or_else(|| download::hint(error))
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
        CliError::Inference(error) => error,
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
        EvaluationError { Image, Inference, Classifier }
        InferenceError { Model, Classifier }
        ModelError { Checkpoint }
        ObjectiveError { Communicator }
        StateError { Weights }
        TrainingDataError { File, Image }
        TrainingError {
            Model, Objective, Optimizer, Communicator, Schedule, Data, State, Checkpoint,
            FeatureCache, Log, Prompt, Tokens
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_of_a_wrapped_error_is_found() {
        let missing = BundleError::Classifier(ClassifierError::UnknownClass {
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
