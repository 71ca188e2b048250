//! Advice for data sets, benchmarks and the demo.

use std::error::Error;

use crate::commands::demo::world::DemoError;
use clipn::dataset::{DatasetError, TrainingDataError};

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(dataset))
        .or_else(|| error.downcast_ref().and_then(training_data))
        .or_else(|| error.downcast_ref().and_then(demo))
}

fn dataset(error: &DatasetError) -> Option<&'static str> {
    Some(match error {
        DatasetError::Missing { .. } => "check the path, and that the data set is unpacked there",
        DatasetError::NotADirectory { .. } => "give the directory that contains the images",
        DatasetError::Permission { .. } => "give this user read permission (chmod u+rX)",
        DatasetError::TooLarge { .. } => "check that this is the right file",
        DatasetError::NoImages { .. } => {
            "images end in .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif or .tiff"
        }
        DatasetError::NoClassDirectories { .. } => {
            "a labeled set needs one folder of images per class, as CLASS/IMAGE.jpg"
        }
        DatasetError::NothingSelected { .. } => "loosen `exclude` or `roles`",
        DatasetError::ClassCount { .. } => {
            "the k-th name belongs to the k-th class folder in sorted order; give one name for each"
        }
        DatasetError::EmptyClassName { .. } => "give every class a name",
        DatasetError::ClassesMissingFromMap { .. } => "add the classes to the map, or to `exclude`",
        DatasetError::MissingClassDirectories { .. } => {
            "complete the data set, or list the classes in `exclude`"
        }
        DatasetError::UnknownExclude { .. } | DatasetError::UnknownRole { .. } => {
            "correct or remove the name"
        }
        DatasetError::EmptyList { .. } => "give lines `path label`",
        DatasetError::LabelOutOfRange { .. } => "give the class names of the list",
        DatasetError::Definition { .. } => "docs/benchmarks.md lists the keys",
        DatasetError::UnknownBenchmark { .. } => {
            "give a known benchmark, or the path of a definition (.toml)"
        }
        DatasetError::UnknownClassList { .. } => {
            "use a known list, or write the class names into the definition"
        }
        _ => return None,
    })
}

fn training_data(error: &TrainingDataError) -> Option<&'static str> {
    Some(match error {
        TrainingDataError::UnknownSize { .. } => {
            "give --train-num-samples, or put sizes.json or __len__ beside the shards"
        }
        TrainingDataError::TooFewShards { .. } => {
            "put sizes.json beside the shards, or make more shards"
        }
        TrainingDataError::TooFewSamples { .. } => "lower --batch-size, or give more data",
        TrainingDataError::Position { .. } => "resume with the same data and settings",
        TrainingDataError::Thread { .. } => "lower --workers",
        TrainingDataError::Spec { .. } => {
            "check the path; shards must be on this machine, and each named once"
        }
        TrainingDataError::Sizes { .. } => "correct or remove the file",
        TrainingDataError::Table { .. } => {
            "set --csv-img-key, --csv-caption-key or --csv-separator if they differ"
        }
        _ => return None,
    })
}

fn demo(error: &DemoError) -> Option<&'static str> {
    Some(match error {
        DemoError::NotEmpty { .. } => "name a new directory with --output, or empty this one",
        DemoError::Write { .. } => "check the permissions of the directory and the free space",
        DemoError::Cancelled { .. } => "remove the directory before another run",
        _ => return None,
    })
}
