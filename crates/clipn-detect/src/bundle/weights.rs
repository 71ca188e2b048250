//! The weights of a bundle: its own image tower, or those that it names.

use std::path::{Path, PathBuf};

use clipn_checkpoint::Checkpoint;
use clipn_model::{ImageTower, ImageTowerWeights, ModelWeights, PretrainedWeights, TowerFactory};

use crate::bundle::{Bundle, BundleError, TowerSource};

impl Bundle {
    /// Adds the image tower of `weights`, so that the bundle needs no other file.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`], see [`Bundle::check_image_tower`].
    pub fn with_image_tower(self, weights: &ModelWeights) -> Result<Self, BundleError> {
        self.check_image_tower(weights)?;
        Ok(Self {
            tower: TowerSource::InMemory(Box::new(weights.clone())),
            ..self
        })
    }

    /// Checks that `weights` have the image tower of the bundle's model. Reads and hashes the whole
    /// image tower.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`] with the differences.
    pub fn check_image_tower(&self, weights: &ModelWeights) -> Result<(), BundleError> {
        match self.identity.differences(weights) {
            differences if differences.is_empty() => Ok(()),
            differences => Err(mismatch(weights, differences)),
        }
    }

    /// Checks the image tower and the text towers of `weights`, as required before adding classes.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`] with the differences. Models that differ only in their "no" text
    /// tower have the same image tower, so [`check_image_tower`](Self::check_image_tower) accepts them.
    pub fn check_text_towers(&self, weights: &ModelWeights) -> Result<(), BundleError> {
        self.check_image_tower(weights)?;
        if weights.has_text_towers(&self.identity.text_towers_hash) {
            return Ok(());
        }
        let differences = vec!["different text tower weights".to_owned()];
        Err(mismatch(weights, differences))
    }

    /// Returns the weights of the image tower in the bundle file, after a check against the
    /// identity. Returns `None` if the bundle was not read from a file with an image tower.
    ///
    /// # Errors
    /// A [`BundleError`] if tensors are missing or have an unexpected shape, and
    /// [`BundleError::Corrupt`] if they do not match the identity.
    pub fn image_weights(&self) -> Result<Option<ImageTowerWeights>, BundleError> {
        let TowerSource::InFile(checkpoint) = &self.tower else {
            return Ok(None);
        };
        let path = checkpoint.path();
        let weights =
            ImageTowerWeights::new(self.identity.config.clone(), Checkpoint::clone(checkpoint))?;
        if weights.image_tower_hash() != self.identity.image_tower_hash {
            return Err(BundleError::Corrupt {
                path: path.to_owned(),
                reason: "its image tower does not match its model identity".to_owned(),
            });
        }
        Ok(Some(weights))
    }

    /// Returns the image tower that the bundle contains, if it does.
    pub(crate) fn image_tower(
        &self,
        towers: &dyn TowerFactory,
    ) -> Result<Option<Box<dyn ImageTower<f32>>>, BundleError> {
        if let TowerSource::InMemory(weights) = &self.tower {
            return Ok(Some(self.tower_of(weights, towers)?));
        }
        let Some(weights) = self.image_weights()? else {
            return Ok(None);
        };
        let weights = weights.with_precision(self.identity.precision)?;
        Ok(Some(towers.image_tower(weights.weights())?))
    }

    /// Returns the image tower of weights in the precision of the bundle.
    pub(crate) fn tower_of(
        &self,
        weights: &ModelWeights,
        towers: &dyn TowerFactory,
    ) -> Result<Box<dyn ImageTower<f32>>, BundleError> {
        let weights = weights.clone().with_precision(self.identity.precision)?;
        Ok(towers.image_tower(&weights)?)
    }

    /// Finds the weights of a bundle that was read from `bundle_path`. Candidates are the path that
    /// the bundle names, that path relative to the directory of the bundle, and a file of that name
    /// in that directory. Returns `clipn-mini` for the built-in weights, and `None` if there are no
    /// weights.
    pub fn find_weights(&self, bundle_path: impl AsRef<Path>) -> Option<PathBuf> {
        let source = self.identity.source.as_deref()?;
        let named = PathBuf::from(source);
        let folder = bundle_path.as_ref().parent().unwrap_or(Path::new(""));
        let sibling = named.file_name().map(|name| folder.join(name));
        let candidates = [Some(named.clone()), Some(folder.join(&named)), sibling];
        candidates
            .into_iter()
            .flatten()
            .find(|path| path.exists())
            .or_else(|| (source == PretrainedWeights::MINI).then_some(named))
    }
}

fn mismatch(weights: &ModelWeights, differences: Vec<String>) -> BundleError {
    BundleError::ModelMismatch {
        path: weights.path().to_owned(),
        differences,
    }
}
