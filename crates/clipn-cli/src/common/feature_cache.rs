//! The cache of image features of `--feature-cache`.

use std::path::{Path, PathBuf};

use clap::Args;
use clipn::count::count;
use clipn::image::Preprocessing;
use clipn::inference::{FeatureCache, FeatureCacheModel, FeatureCacheUse};
use clipn::model::{ModelConfig, Precision};

use crate::common::error::CliError;
use crate::common::messages::{status, warning};

#[derive(Debug, Clone, Args)]
pub(crate) struct FeatureCacheArgs {
    /// Keep the image features in this directory, and encode no image twice
    ///
    /// An image is known by its content. The directory can be shared by models, sets and processes.
    #[arg(long, value_name = "DIR")]
    pub feature_cache: Option<PathBuf>,
}

impl FeatureCacheArgs {
    /// Opens the cache for a model, if it is requested. `hash` computes the digest of the image tower.
    pub(crate) fn open(
        &self,
        hash: impl FnOnce() -> String,
        config: &ModelConfig,
        preprocessing: &Preprocessing,
        precision: Precision,
    ) -> Result<Option<FeatureCache>, CliError> {
        let Some(directory) = &self.feature_cache else {
            return Ok(None);
        };
        let model = FeatureCacheModel {
            image_tower_hash: &hash(),
            config,
            preprocessing,
            precision,
        };
        Ok(Some(FeatureCache::open(directory, &model)?))
    }

    /// Stores what was added to the cache, and reports how many images were found in it.
    pub(crate) fn finish(&self, cache: Option<&FeatureCache>) -> Result<(), CliError> {
        let (Some(cache), Some(directory)) = (cache, &self.feature_cache) else {
            return Ok(());
        };
        report(directory, cache.finish()?);
        Ok(())
    }
}

fn report(directory: &Path, used: FeatureCacheUse) {
    let FeatureCacheUse {
        found,
        encoded,
        damaged,
        ..
    } = used;
    if damaged > 0 {
        warning(format_args!(
            "ignored {} of the feature cache {}, incomplete or damaged; images that have no other are encoded \
             again",
            count(damaged, "record"),
            directory.display()
        ));
    }
    status(format_args!(
        "feature cache {}: {} found, {encoded} encoded",
        directory.display(),
        count(found, "image")
    ));
}
