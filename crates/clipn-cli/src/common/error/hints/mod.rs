//! Advice for errors, with the names of flags and commands. Messages of the libraries name
//! neither.

mod data;
mod device;
mod download;
mod evaluation;
mod inference;
mod training;

use std::error::Error;

use clipn::bundle::BundleError;
use clipn::calibration::CalibrationError;
use clipn::checkpoint::CheckpointError;
use clipn::classifier::ClassifierError;
use clipn::dataset::{DatasetError, FeatureError, TrainingDataError};
use clipn::detector::DetectorError;
use clipn::download::DownloadError;
use clipn::evaluation::EvaluationError;
use clipn::evaluation::score_files::ScoreFileError;
use clipn::files::LockError;
use clipn::fitting::FittingError;
use clipn::image::ImageError;
use clipn::inference::{InferenceError, ItemError};
use clipn::model::{ConvertError, ModelError};
use clipn::negatives::NegativesError;
use clipn::prompts::PromptError;
use clipn::tokenizer::TokenizerError;
use clipn::training::{ObjectiveError, StateError, TrainingError};

use super::CliError;

/// The advice for an error, outermost error of the chain first. The program's words precede those
/// of the library, which name no flags.
pub(crate) fn hints(error: &CliError) -> Vec<String> {
    let links = chain(library_error(error));
    let own: Vec<_> = links.iter().map(|link| own_hint(*link)).collect();
    let mut hints: Vec<String> = program_hint(error).into_iter().collect();
    for (index, link) in links.iter().enumerate() {
        let hint = match own[index] {
            Some(hint) => Some(hint.to_owned()),
            // An outer error repeats the library's words for an inner one.
            None if own[index..].iter().any(Option::is_some) => None,
            None => library_hint(*link),
        };
        hints.extend(hint.filter(|hint| !hints.contains(hint)));
    }
    hints
}

/// An error and its sources, with those that transparent variants skip.
fn chain<'a>(first: Option<&'a (dyn Error + 'static)>) -> Vec<&'a (dyn Error + 'static)> {
    std::iter::successors(first, |&error| wrapped(error).or_else(|| error.source())).collect()
}

/// The advice for an image of a run that can be read with another flag.
pub(crate) fn flag_for_image(error: &ItemError) -> Option<&'static str> {
    inference::flag_for_image(error)
}

/// Advice for the program's own errors.
fn program_hint(error: &CliError) -> Option<String> {
    let hint = match error {
        CliError::Usage { hint, .. } => return hint.clone(),
        CliError::ClassifyInterrupted { .. } | CliError::EmbedInterrupted { .. } => {
            "run the same command with --resume to continue there"
        }
        CliError::NothingEncoded { .. } => "start over with --force",
        CliError::SourcesLost { .. } => {
            "the rows with errors name them; repair or download them again, and start over with --force: \
             an output cannot be resumed where a source is longer now"
        }
        CliError::ReadFile { source, .. } | CliError::ReadRecipe { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            "check the path"
        }
        CliError::Locked(LockError::InUse { .. }) => {
            "wait until that process has ended, or write to another path"
        }
        CliError::DamagedRow { .. } => "start over with --force",
        CliError::TrainingInterrupted { .. } => "continue with --resume latest",
        CliError::DemoInterrupted { .. } => "the demo begins again with another --output",
        CliError::RecipeInterrupted { .. } => "run the same command to continue there",
        #[cfg(feature = "serve")]
        CliError::Serve(clipn_serve::ServeError::Bind { source, .. })
            if source.kind() == std::io::ErrorKind::AddrNotAvailable =>
        {
            "give an address of this machine with --host, or 0.0.0.0 for all of them"
        }
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
    const OUT_OF_RANGE: [(&str, &str); 16] = [
        ("workers", "check --workers"),
        ("max_batch", "check --max-batch"),
        ("max_queued_images", "check --queue"),
        ("max_request_bytes", "check --max-request-bytes"),
        ("max_images", "check --max-images"),
        ("max_classes", "check --max-classes"),
        ("max_connections", "check --max-connections"),
        (
            "max_connections_per_address",
            "check --max-connections-per-address",
        ),
        ("max_pixels", "check --max-pixels"),
        ("deadline", "check --deadline-ms"),
        ("read_timeout", "check --read-timeout-ms"),
        ("write_timeout", "check --write-timeout-ms"),
        ("stuck_timeout", "check --stuck-after-ms"),
        ("max_batch_wait", "check --max-wait-ms"),
        ("shutdown_grace", "check --grace-ms"),
        ("reload_interval", "check --reload-ms"),
    ];
    let name = problem
        .strip_prefix("invalid ")
        .and_then(|rest| rest.split(':').next());
    let flag = OUT_OF_RANGE
        .iter()
        .find(|(setting, _)| Some(*setting) == name);
    match flag {
        Some((_, hint)) => Some(hint),
        None if problem.contains("max_images") => Some("raise --queue or lower --max-images"),
        None if problem.contains("API key") => Some("`openssl rand -hex 16` generates a key"),
        None => None,
    }
}

/// Advice in the program's words for an error of the library.
fn own_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    inference::hint(error)
        .or_else(|| data::hint(error))
        .or_else(|| device::hint(error))
        .or_else(|| training::hint(error))
        .or_else(|| evaluation::hint(error))
        .or_else(|| download::hint(error))
}

/// Advice of the library for its error, for Rust programs.
fn library_hint(error: &(dyn Error + 'static)) -> Option<String> {
    macro_rules! of_any {
        ($($enumeration:ident),*) => {$(
            if let Some(error) = error.downcast_ref::<$enumeration>() {
                return error.hint().map(|hint| hint.to_string());
            }
        )*};
    }
    of_any! {
        BundleError, CalibrationError, CheckpointError, ClassifierError, DatasetError,
        DetectorError, DownloadError, FeatureError, ImageError, ItemError, ModelError, PromptError,
        ScoreFileError, TokenizerError, TrainingError
    }
    None
}

/// The library's error in a transparent variant of [`CliError`], whose `source` skips it.
fn library_error(error: &CliError) -> Option<&(dyn Error + 'static)> {
    Some(match error {
        CliError::Adaptation(error) => error,
        CliError::Bundle(error) => error,
        CliError::Calibration(error) => error,
        CliError::Checkpoint(error) => error,
        CliError::Classifier(error) => error,
        CliError::Convert(error) => error,
        CliError::Dataset(error) => error,
        CliError::Demo(error) => error,
        CliError::Detector(error) => error,
        CliError::Device(error) => error,
        CliError::Download(error) => error,
        CliError::Feature(error) => error,
        CliError::FeatureCache(error) => error,
        CliError::Fit(error) => error,
        CliError::Fitting(error) => error,
        CliError::Report(error) => error,
        CliError::Evaluation(error) => error,
        CliError::Image(error) => error,
        CliError::Inference(error) => error,
        CliError::Model(error) => error,
        CliError::Negatives(error) => error,
        CliError::Prompt(error) => error,
        CliError::Score(error) => error,
        CliError::ScoreFile(error) => error,
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
        BundleError { Checkpoint, Model, Classifier, Calibration, Fitting, Negatives }
        CalibrationError { Metric }
        ClassifierError { Prompt, Model, Tokens, Negatives }
        ConvertError { Model, Checkpoint }
        DetectorError { Bundle, Model, Classifier, Image, Item, Score }
        DownloadError { Index, Model }
        FeatureError { Checkpoint }
        FittingError { Classifier, Fit, Checkpoint }
        EvaluationError { Image, Inference, Classifier, Score }
        InferenceError { Model, Classifier }
        ItemError { Image }
        ModelError { Checkpoint }
        NegativesError { Checkpoint, Model, Tokens }
        ObjectiveError { Communicator }
        StateError { Checkpoint }
        TrainingDataError { File, Image }
        TrainingError {
            Model, Device, Objective, Optimizer, Communicator, Schedule, Data, State, Checkpoint,
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
    fn the_advice_of_the_library_is_the_last_resort() {
        let image = CliError::Image(ImageError::NotFound {
            origin: clipn::image::ImageOrigin::Memory,
        });
        assert_eq!(hints(&image), ["check the path"]);
        let checkpoint = CheckpointError::NotFound {
            path: "a.pt".into(),
        };
        let error = CliError::Bundle(BundleError::Model(checkpoint.into()));
        assert_eq!(hints(&error), ["check the path"]);
    }

    #[test]
    fn usage_errors_carry_their_own_advice() {
        let error = CliError::usage_with_hint("no threshold", "give --threshold");
        assert_eq!(hints(&error), ["give --threshold"]);
        assert!(hints(&CliError::usage("no threshold")).is_empty());
    }
}
