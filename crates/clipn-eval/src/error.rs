use std::path::PathBuf;

use thiserror::Error;

use clipn_detect::classifier::ClassifierError;
use clipn_detect::inference::InferenceError;
use clipn_image::ImageError;
use clipn_ood::metrics::MetricError;

/// What can go wrong while images are scored and a benchmark is evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// An image could not be read, and a single one is enough to stop.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Images could not be run through the tower and the classifier.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The classifier belongs to another model.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The scores of a set do not give metrics.
    #[error("the score {score} on {ood}: {source}")]
    Metric {
        /// The score's name.
        score: &'static str,
        /// The out-of-distribution set.
        ood: String,
        /// Why.
        source: MetricError,
    },
    /// Not one image of a set could be read.
    #[error("none of the {count} images of `{set}` could be read; the first error: {first}")]
    NothingReadable {
        /// The set's name.
        set: String,
        /// How many images it has.
        count: usize,
        /// The first image's error.
        first: String,
    },
    /// A label points beyond the class names.
    #[error(
        "{} has label {label}, but there are {classes} class names; the list of classes does not belong to these images",
        path.display()
    )]
    Label {
        /// The image.
        path: PathBuf,
        /// Its label.
        label: usize,
        /// How many names there are.
        classes: usize,
    },
    /// A result could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no spread of one.
    #[error("{n} repeat has no spread; ask for at least 2")]
    TooFewRepeats {
        /// How many were asked for.
        n: usize,
    },
    /// A subset that a set cannot give.
    #[error(
        "subsets of {size} images cannot be drawn from the {images} images of `{set}` that could be read; give a size \
         from 1 to {images}"
    )]
    Subset {
        /// The size asked for.
        size: usize,
        /// The smallest set.
        set: String,
        /// How many images it has.
        images: usize,
    },
    /// Repeats were asked to stop.
    #[error("interrupted before all {n} repeats were counted; nothing was written")]
    RepeatsCancelled {
        /// How many there were to be.
        n: usize,
    },
    /// Results cannot be read from a file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold the results of an evaluation.
    #[error("{} does not hold results of `clipn eval`: {reason}", path.display())]
    NoResults {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to merge.
    #[error("{n} run has no spread; give at least 2 results to merge")]
    TooFewRuns {
        /// How many were given.
        n: usize,
    },
    /// Results that are a mean already.
    #[error("{path} is the mean of {n} runs already; give the runs themselves")]
    AlreadyMerged {
        /// Where they are from.
        path: String,
        /// How many runs they hold.
        n: usize,
    },
    /// Runs that do not belong together.
    #[error("these runs differ in more than weights and seeds: {what} is {first} and {other}")]
    RunsDiffer {
        /// What is not the same, as `settings.templates`.
        what: String,
        /// What it is in one run, and in which.
        first: String,
        /// What it is in another, and in which.
        other: String,
    },
    /// The work was asked to stop.
    #[error("interrupted after {done} of {total} images; nothing was written")]
    Cancelled {
        /// Images finished.
        done: usize,
        /// Images in all.
        total: usize,
    },
}
