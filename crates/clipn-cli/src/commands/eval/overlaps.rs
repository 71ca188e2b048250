//! Warnings of data that is in two sets that should have nothing in common.

use std::path::Path;

use clipn::dataset::{ImagePaths, OpenedBenchmark};

use super::train::TrainSource;
use crate::common::shared_images::{IN_BOTH, NamedPaths, warn_of_same_features};

/// Warns of images of the ID set that are out-of-distribution too, of images in two out-of-distribution sets, and of
/// evaluated images that scores are fitted to.
pub(super) fn warn_of_shared_images(benchmark: &OpenedBenchmark, train: Option<&TrainSource>) {
    let id = NamedPaths {
        name: &benchmark.id.name,
        paths: ImagePaths::of(&benchmark.id),
    };
    for (index, ood) in benchmark.ood.iter().enumerate() {
        id.warn_of_shared(&ood.set.name, ood.set.paths(), IN_BOTH);
        let known = NamedPaths {
            name: &ood.set.name,
            paths: ImagePaths::of(&ood.set),
        };
        for other in &benchmark.ood[index + 1..] {
            known.warn_of_shared(&other.set.name, other.set.paths(), IN_TWO_SETS);
        }
    }
    if let Some(TrainSource::Images(train)) = train {
        id.warn_of_shared("--id-train", train.images.paths(), SEEN);
    }
}

const IN_TWO_SETS: &str = "means over sets count them twice";

const SEEN: &str =
    "fitted scores are evaluated on what they were fitted to, and look better than they are";

/// Warns of features that are in-distribution and out-of-distribution, of out-of-distribution features given twice,
/// and of scores that are fitted to the features that are evaluated.
pub(super) fn warn_of_shared_features(
    id: (&str, &Path),
    ood: &[(&str, &Path)],
    train: Option<&Path>,
) {
    for (index, &(name, path)) in ood.iter().enumerate() {
        warn_of_same_features([id.0, name], [id.1, path], IN_BOTH);
        for other in &ood[index + 1..] {
            warn_of_same_features([name, other.0], [path, other.1], IN_TWO_SETS);
        }
    }
    if let Some(train) = train {
        warn_of_same_features(["--features", "--train-features"], [id.1, train], SEEN);
    }
}
