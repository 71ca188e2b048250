//! Warnings of data that is in two sets that should have nothing in common.

use std::fs::canonicalize;
use std::path::Path;

use clipn::dataset::{ImagePaths, ImageSet, OpenedBenchmark};

use super::train::TrainSource;
use crate::common::messages::warning;

/// Warns of images of the ID set that are out-of-distribution too, and of evaluated images that scores are
/// fitted to.
pub(super) fn warn_of_shared_images(benchmark: &OpenedBenchmark, train: Option<&TrainSource>) {
    let id = ImagePaths::of(&benchmark.id);
    let warn = |paths: &ImagePaths, set: &ImageSet, what: &str, consequence: &str| {
        let shared = paths.shared_with(set);
        if let Some(first) = shared.first() {
            warning(format_args!(
                "images of {what} that are in {} too: {} of {}, such as {}: {consequence}",
                benchmark.id.name,
                shared.len(),
                set.len(),
                first.display()
            ));
        }
    };
    for ood in &benchmark.ood {
        let what = &ood.set.name;
        let consequence = "they count as in-distribution and out-of-distribution";
        warn(&id, &ood.set, what, consequence);
    }
    if let Some(TrainSource::Images(train)) = train {
        warn(&id, &train.images, "--id-train", SEEN);
    }
}

const SEEN: &str =
    "fitted scores are evaluated on what they were fitted to, and look better than they are";

/// Warns if scores are fitted to the features that are evaluated.
pub(super) fn warn_of_shared_features(id: &Path, train: &Path) {
    let is_same = match (canonicalize(id), canonicalize(train)) {
        (Ok(id), Ok(train)) => id == train,
        _ => false,
    };
    if is_same {
        warning(format_args!(
            "--features and --train-features are the same file: {SEEN}"
        ));
    }
}
