//! Advice for evaluations and calibrations.

use std::error::Error;

use clipn::calibration::CalibrationError;
use clipn::content::ContentKind;
use clipn::evaluation::EvaluationError;
use clipn::evaluation::score_files::ScoreFileError;
use clipn::fitted::FitError;
use clipn::inference::InferenceError;
use clipn::metrics::MetricError;

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(evaluation))
        .or_else(|| error.downcast_ref().and_then(score_file))
        .or_else(|| error.downcast_ref().and_then(inference))
        .or_else(|| error.downcast_ref().and_then(calibration))
        .or_else(|| error.downcast_ref().and_then(metric))
        .or_else(|| error.downcast_ref().and_then(fit))
}

fn evaluation(error: &EvaluationError) -> Option<&'static str> {
    Some(match error {
        EvaluationError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "check the path"
        }
        EvaluationError::LabelOutOfRange { .. } => {
            "give the class names of these images with --classes"
        }
        EvaluationError::InvalidResults { .. } => {
            "give a results.json of `clipn eval` or `clipn results merge`"
        }
        EvaluationError::AlreadyMerged { .. } => "give the runs themselves",
        EvaluationError::TooFewRepeats { .. } => "give --repeat 2 or more",
        EvaluationError::TooFewRuns { .. } => "give at least two results",
        EvaluationError::InvalidSubsetSize { .. } => "lower --subset",
        _ => return None,
    })
}

fn score_file(error: &ScoreFileError) -> Option<&'static str> {
    Some(match error {
        ScoreFileError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "check the path"
        }
        ScoreFileError::Kind { kind, .. } if *kind == ContentKind::NumPyArchive => {
            "save each array on its own with numpy.save"
        }
        ScoreFileError::NumPy { .. } => {
            "save one-dimensional arrays of float32 or float64 with numpy.save"
        }
        ScoreFileError::NoSets { .. } => {
            "add --labels FILE, or give one file per set with --id and --ood"
        }
        ScoreFileError::UnknownColumn { .. } => "check --scores and --set-column",
        ScoreFileError::NoScoreColumn { .. } => "name the columns of scores with --scores",
        ScoreFileError::NoIdRows { .. } => "check --id-value",
        ScoreFileError::Contradiction { .. } => "name the column with the truth with --set-column",
        ScoreFileError::NoSetColumn { .. } => "name the column with --set-column",
        ScoreFileError::Decisions { .. } => {
            "add a column `is_ood` with the truth, or name one with --set-column"
        }
        ScoreFileError::UnknownId { .. } => {
            "name the value of in-distribution rows with --id-value"
        }
        _ => return None,
    })
}

fn inference(error: &InferenceError) -> Option<&'static str> {
    match error {
        InferenceError::Workers { .. } | InferenceError::Thread(_) => Some("lower --workers"),
        _ => None,
    }
}

fn calibration(error: &CalibrationError) -> Option<&'static str> {
    Some(match error {
        CalibrationError::OutOfRange { .. } => {
            "give a fraction such as 0.95 for --target-tpr and --confidence"
        }
        CalibrationError::TooFewImages { .. } => {
            "add images of the classes to --id (several hundred for a precise threshold), or lower \
             --target-tpr"
        }
        CalibrationError::TooFewImagesToCompare { .. } => {
            "add images to --id and --ood, or name a score with --score"
        }
        CalibrationError::NoScores => "name a score with --score",
        CalibrationError::MissingOodScores => "give out-of-distribution images with --ood",
        CalibrationError::Corrupt { .. } => "run `clipn calibrate` again",
        _ => return None,
    })
}

fn fit(error: &FitError) -> Option<&'static str> {
    Some(match error {
        FitError::Setting { .. } | FitError::UnknownSetting { .. } => "check --fit-settings",
        FitError::TooFewImages { .. } => {
            "give more images, a larger bank, or a smaller K: --fit-settings knn-k=10,nnguide-k=10"
        }
        FitError::ClassWithoutImages { .. } => "add images of these classes, or name another score",
        FitError::TooFewClasses { .. } => "add images of other classes, or name another score",
        FitError::PrincipalDim { .. } => "lower vim-dim in --fit-settings",
        FitError::NoResidual { .. } => "give more images, or lower vim-dim in --fit-settings",
        _ => return None,
    })
}

fn metric(error: &MetricError) -> Option<&'static str> {
    Some(match error {
        MetricError::Empty { .. } => "metrics need at least one image in both sets",
        MetricError::NotFinite { .. } => "check the features and logits of that image",
        _ => return None,
    })
}
