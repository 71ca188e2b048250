//! Advice for data sets, benchmarks and the demo.

use std::error::Error;

use crate::world::DemoError;
use clipn::dataset::{DatasetError, FeatureError, SkipReason, SkippedSamples, TrainingDataError};

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(dataset))
        .or_else(|| error.downcast_ref().and_then(features))
        .or_else(|| error.downcast_ref().and_then(training_data))
        .or_else(|| error.downcast_ref().and_then(demo))
}

fn dataset(error: &DatasetError) -> Option<&'static str> {
    Some(match error {
        DatasetError::EmptyClassName { .. } => "give every class a name",
        DatasetError::EmptyList { .. } => "give lines `path label`",
        DatasetError::MissingClassNames { .. } => "give the names with --classes",
        DatasetError::WithoutParquet { .. } => {
            "build clipn with --features parquet, or list the images as JSON Lines"
        }
        DatasetError::Table { .. } => "name the column or key of images with --image-key",
        DatasetError::InSet { source, .. } if matches!(**source, DatasetError::Table { .. }) => {
            "name the column or key of images `filepath` or `image`, and that of labels `label`"
        }
        // The source is in a box, which the chain of errors does not see through.
        DatasetError::InSet { source, .. } => return dataset(source),
        DatasetError::Definition { .. } => "docs/benchmarks.md lists the keys",
        _ => return None,
    })
}

fn features(error: &FeatureError) -> Option<&'static str> {
    Some(match error {
        FeatureError::WithoutParquet { .. } => {
            "use .npy or .safetensors, or build clipn with --features parquet"
        }
        FeatureError::Dimension { .. } => "all features must be of the model of the classifier",
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
        TrainingDataError::PositionMismatch { .. } => {
            "resume with the same data and settings, or from a checkpoint at the end of an epoch: --resume DIR"
        }
        TrainingDataError::Thread { .. } => "lower --workers",
        TrainingDataError::ShardSpec { .. } => {
            "check the path; shards must be on this machine, and each named once"
        }
        TrainingDataError::TooManySkipped { skipped, .. } => match fields(skipped) {
            Some(hint) => hint,
            None => "repair or remove the samples, or raise --max-bad",
        },
        TrainingDataError::WithoutParquet { .. } => {
            "build clipn with --features parquet, or convert the table to JSON Lines"
        }
        TrainingDataError::DamagedShards { .. } => {
            "download the shards again (`git lfs pull` in place of LFS pointers), or unpack xz and \
             bzip2; otherwise leave them out, or raise --max-bad"
        }
        TrainingDataError::NoUsableSample { skipped } => return fields(skipped),
        TrainingDataError::ShardSizes { .. } => "correct or remove the file",
        TrainingDataError::Table { .. } => {
            "set --csv-img-key, --csv-caption-key or --csv-separator if they differ"
        }
        _ => return None,
    })
}

/// Advice if most of the skipped samples lack a file.
fn fields(skipped: &SkippedSamples) -> Option<&'static str> {
    let count = |reason| skipped.counts.get(&reason).copied().unwrap_or(0);
    let incomplete = count(SkipReason::NoImage).max(count(SkipReason::NoCaption));
    (incomplete * 2 > skipped.total()).then_some(
        "name the files of a sample with --fields image=…,caption=…, such as \
         image=input.jpg,caption=outputs.txt; if only a few samples lack one, raise --max-bad",
    )
}

fn demo(error: &DemoError) -> Option<&'static str> {
    Some(match error {
        DemoError::NotEmpty { .. } => "name a new directory with --output, or empty this one",
        DemoError::Write { .. } => "check the permissions of the directory and the free space",
        DemoError::Cancelled { .. } => "remove the directory before another run",
        _ => return None,
    })
}
