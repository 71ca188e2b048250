//! The model that a classifier's texts were encoded with: features of two models cannot be compared.

use std::sync::{Arc, OnceLock};

use clipn::bundle::ModelIdentity;
use clipn::model::ModelWeights;
use pyo3::prelude::*;

use crate::errors::exception;

/// Identity of a model.
#[derive(Debug)]
pub(crate) enum Identity {
    /// That of weights, which are hashed when they are first compared.
    Weights {
        weights: Box<ModelWeights>,
        source: String,
        hashed: OnceLock<ModelIdentity>,
    },
    /// That in a bundle.
    Known(ModelIdentity),
}

/// An identity that the classifiers of a model share.
pub(crate) type SharedIdentity = Arc<Identity>;

impl Identity {
    pub(crate) fn from_weights(weights: &ModelWeights, source: String) -> SharedIdentity {
        Arc::new(Self::Weights {
            weights: Box::new(weights.clone()),
            source,
            hashed: OnceLock::new(),
        })
    }

    pub(crate) fn from_bundle(identity: &ModelIdentity) -> SharedIdentity {
        Arc::new(Self::Known(identity.clone()))
    }

    /// Returns the hashes.
    pub(crate) fn get(&self) -> &ModelIdentity {
        match self {
            Self::Weights {
                weights,
                source,
                hashed,
            } => hashed.get_or_init(|| ModelIdentity::from_weights(weights, source.clone())),
            Self::Known(identity) => identity,
        }
    }

    /// Whether both have the same text towers.
    fn has_texts_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
            || match &**self {
                // Accepts the hashes of older bundles too.
                Self::Weights { weights, .. } => {
                    weights.has_text_towers(&other.get().text_towers_hash)
                }
                Self::Known(identity) => match &**other {
                    Self::Weights { weights, .. } => {
                        weights.has_text_towers(&identity.text_towers_hash)
                    }
                    Self::Known(other) => identity.text_towers_hash == other.text_towers_hash,
                },
            }
    }

    /// Whether both have the same image tower, or the same text towers: the towers of one model in two precisions
    /// have other weights, and models with another "no" have other text towers.
    fn shares_features_with(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        self.has_texts_of(other) || self.get().image_tower_hash == other.get().image_tower_hash
    }

    fn name(&self) -> &str {
        match self {
            Self::Weights { source, .. } => source,
            Self::Known(identity) => identity.source.as_deref().unwrap_or("that of its bundle"),
        }
    }
}

/// Checks that texts of a classifier and of another one, or of a model, were encoded by the same towers. Those of
/// features are not known, and not compared.
pub(crate) fn check_texts(
    py: Python<'_>,
    own: Option<&SharedIdentity>,
    other: Option<&SharedIdentity>,
) -> PyResult<()> {
    check(py, own, other, Identity::has_texts_of)
}

/// Checks that a classifier can classify the images of a model.
pub(crate) fn check_features(
    py: Python<'_>,
    own: Option<&SharedIdentity>,
    other: Option<&SharedIdentity>,
) -> PyResult<()> {
    check(py, own, other, Identity::shares_features_with)
}

fn check(
    py: Python<'_>,
    own: Option<&SharedIdentity>,
    other: Option<&SharedIdentity>,
    is_same: impl Fn(&SharedIdentity, &SharedIdentity) -> bool + Sync,
) -> PyResult<()> {
    let (Some(own), Some(other)) = (own, other) else {
        return Ok(());
    };
    if py.detach(|| is_same(own, other)) {
        return Ok(());
    }
    Err(exception(
        "InvalidArgumentError",
        &format!(
            "expected the model of the classifier, {}, got {}",
            own.name(),
            other.name()
        ),
        Some("build the classifier with this model"),
    ))
}
