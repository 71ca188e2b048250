//! Advice for training runs.

use std::error::Error;

use clipn::files::LockError;
use clipn::training::{
    CommunicatorError, FeatureCacheError, ObjectiveError, ScheduleError, StateError, TrainingError,
};
use clipn::training_log::TrainingLogError;

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(training))
        .or_else(|| error.downcast_ref().and_then(schedule))
        .or_else(|| error.downcast_ref().and_then(objective))
        .or_else(|| error.downcast_ref().and_then(communicator))
        .or_else(|| error.downcast_ref().and_then(feature_cache))
        .or_else(|| error.downcast_ref().and_then(state))
        .or_else(|| error.downcast_ref().and_then(log))
}

fn training(error: &TrainingError) -> Option<&'static str> {
    Some(match error {
        TrainingError::MissingNoTower { .. } => "give weights with a \"no\" tower",
        TrainingError::Locked(LockError::InUse { .. }) => {
            "wait until that run has ended, or give another --name or --logs"
        }
        TrainingError::MissingNoTemplates { .. } => "give --templates clipn",
        TrainingError::ReadSettings { .. } => "give the settings.toml of a run with --settings",
        TrainingError::ObjectiveMismatch { .. } => {
            "resume with the --objective of the checkpoint, or start from its model.safetensors \
             with --pretrained"
        }
        TrainingError::SettingsMismatch { .. } => {
            "resume with the values of the checkpoint, which --settings RUN/settings.toml has, or \
             give --override to continue with the new ones"
        }
        TrainingError::RanksDiffer { .. } => {
            "start every rank with the same program and flags on processors of the same kind; CLIPN_SIMD \
             sets a common instruction set"
        }
        TrainingError::InvalidSetting { setting, .. } => return training_setting(setting),
        _ => return None,
    })
}

/// Advice for a setting by its name in `settings.toml`.
fn training_setting(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "pretrained" => {
            "give trained CLIP weights with --pretrained, such as clipn-mini, which is built in, or train some \
             with --objective clip"
        }
        "accum_freq" => "lower --accum-freq or --batch-size",
        "batch_size" => "give --batch-size 2 or more",
        "epochs" => "give --epochs 1 or more",
        "keep" => "give --keep 1 or more",
        "save_frequency and save_every" => "give --save-frequency and --save-every 1 or more",
        "outliers.illustrations" => {
            "give --illustrations from 0 to 1, and --outlier-weight for outliers at all"
        }
        "cache_image_features" => {
            "give --augmentation none too, or leave --cache-image-features out, as \
             --objective clip requires"
        }
        _ => return None,
    })
}

fn schedule(error: &ScheduleError) -> Option<&'static str> {
    Some(match error {
        ScheduleError::InvalidRate { .. } => "give another --lr",
        ScheduleError::WarmupTooLong { .. } => "lower --warmup",
        _ => return None,
    })
}

fn objective(error: &ObjectiveError) -> Option<&'static str> {
    Some(match error {
        ObjectiveError::BatchTooSmall { .. } => "raise --batch-size",
        ObjectiveError::NotFinite { .. } => "lower --lr, or look for damaged inputs",
        _ => return None,
    })
}

fn communicator(error: &CommunicatorError) -> Option<&'static str> {
    Some(match error {
        CommunicatorError::RankLost { .. } => {
            "find the error of that rank, then resume from the last checkpoint"
        }
        CommunicatorError::NoMpi { .. } => {
            "install an MPI or load its module, name its library with --mpi-library, or work alone with \
             --distributed none"
        }
        CommunicatorError::MpiLibrary { .. } => {
            "name the library of an MPI, such as libmpi.so.12, with --mpi-library"
        }
        CommunicatorError::WorldMismatch { .. } => {
            "start with the launcher of this MPI, name the launcher's library with --mpi-library, or \
             work alone with --distributed none"
        }
        CommunicatorError::MismatchedOperations { .. } => {
            "run the same program with the same settings on every rank"
        }
        _ => return None,
    })
}

fn feature_cache(error: &FeatureCacheError) -> Option<&'static str> {
    Some(match error {
        FeatureCacheError::InUse { .. } => {
            "wait for the other run, or give another --feature-cache"
        }
        FeatureCacheError::Io { .. } | FeatureCacheError::Mismatch { .. } => {
            "remove the file, or give another --feature-cache"
        }
        _ => return None,
    })
}

fn state(error: &StateError) -> Option<&'static str> {
    Some(match error {
        StateError::Save { .. } => "free disk space and continue with --resume latest",
        StateError::NotACheckpoint { .. } => "give a step-N or epoch-N directory with --resume",
        StateError::InvalidState { .. }
        | StateError::Corrupt { .. }
        | StateError::MomentMismatch { .. } => {
            "remove the directory and resume from the checkpoint before it"
        }
        StateError::UnsupportedFormat { .. } => "resume with the version of clipn that wrote it",
        StateError::NotAPublishedCheckpoint { .. } => {
            "to start from its weights alone, give it with --pretrained"
        }
        _ => return None,
    })
}

fn log(error: &TrainingLogError) -> Option<&'static str> {
    Some(match error {
        TrainingLogError::Open { .. } => "check the permissions of the directory",
        TrainingLogError::Write { .. } => "check the free space",
        TrainingLogError::AlreadyExists { .. } => {
            "continue that run with --resume latest, or give another --name or --logs"
        }
        TrainingLogError::InvalidRecord { .. } => "remove the line, or move the file away",
        _ => return None,
    })
}
