//! Advice for data sets, benchmarks and the demo.

use std::error::Error;

use crate::world::DemoError;
use clipn::dataset::{DatasetError, TrainingDataError};

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(dataset))
        .or_else(|| error.downcast_ref().and_then(training_data))
        .or_else(|| error.downcast_ref().and_then(demo))
}

fn dataset(error: &DatasetError) -> Option<&'static str> {
    Some(match error {
        DatasetError::EmptyClassName { .. } => "give every class a name",
        DatasetError::EmptyList { .. } => "give lines `path label`",
        DatasetError::MissingClassNames { .. } => "give the names with --classes",
        // The source is in a box, which the chain of errors does not see through.
        DatasetError::InSet { source, .. } => return dataset(source),
        DatasetError::Definition { .. } => "docs/benchmarks.md lists the keys",
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
        TrainingDataError::PositionMismatch { .. } => "resume with the same data and settings",
        TrainingDataError::Thread { .. } => "lower --workers",
        TrainingDataError::ShardSpec { .. } => {
            "check the path; shards must be on this machine, and each named once"
        }
        TrainingDataError::TooManySkipped { .. } => {
            "repair or remove the samples, or raise --max-bad"
        }
        TrainingDataError::ShardSizes { .. } => "correct or remove the file",
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
