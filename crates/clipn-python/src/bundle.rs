//! Bundles: a classifier with its model in one file.

use std::path::PathBuf;

use clipn::bundle::Bundle as Inner;
use clipn::classifier::ClassPrompts;
use clipn::count::count;
use pyo3::prelude::*;

use crate::calibration::Calibration;
use crate::classifier::Classifier;
use crate::errors::{OrRaise, invalid};
use crate::identity::{Identity, check_texts};
use crate::model::Model;
use crate::process;

/// A bundle.
#[pyclass(frozen, module = "clipn")]
#[derive(Clone)]
pub(crate) struct Bundle {
    pub(crate) inner: Inner,
}

#[pymethods]
impl Bundle {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let inner = py.detach(|| Inner::open(&path)).or_raise()?;
        Ok(Self { inner })
    }

    #[staticmethod]
    fn build(
        py: Python<'_>,
        classifier: &Classifier,
        model: &Model,
        image_tower: bool,
    ) -> PyResult<Self> {
        let prompts = prompts_of(classifier)?;
        check_texts(py, classifier.model.as_ref(), Some(&model.identity))?;
        process::check()?;
        let bundle = py.detach(|| {
            let identity = model.identity.get().clone();
            let preprocessing = model.preprocessing.clone();
            let bundle = Inner::new(classifier.inner.clone(), prompts, identity, preprocessing);
            if image_tower {
                bundle.with_image_tower(&model.weights)
            } else {
                Ok(bundle)
            }
        });
        Ok(Self {
            inner: bundle.or_raise()?,
        })
    }

    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.inner.write(&path)).or_raise()
    }

    /// The classifier.
    #[getter]
    fn classifier(&self) -> Classifier {
        Classifier {
            inner: self.inner.classifier().clone(),
            prompts: Some(self.inner.prompts().clone()),
            model: Some(Identity::from_bundle(self.inner.identity())),
        }
    }

    /// The calibration, if there is one.
    #[getter]
    fn calibration(&self) -> Option<Calibration> {
        let inner = self.inner.calibration()?.clone();
        Some(Calibration { inner })
    }

    /// Whether the image tower is in the file.
    #[getter]
    fn has_image_tower(&self) -> bool {
        self.inner.has_image_tower()
    }

    /// Architecture, digests and precision of the model as JSON.
    fn identity_json(&self) -> PyResult<String> {
        serde_json::to_string(self.inner.identity()).map_err(|error| invalid(error.to_string()))
    }

    fn with_classifier(&self, py: Python<'_>, classifier: &Classifier) -> PyResult<Self> {
        let prompts = prompts_of(classifier)?;
        let own = Identity::from_bundle(self.inner.identity());
        check_texts(py, Some(&own), classifier.model.as_ref())?;
        let bundle = self.inner.clone().with_prompts(prompts);
        let inner = bundle
            .with_classifier(classifier.inner.clone())
            .or_raise()?;
        Ok(Self { inner })
    }

    fn __repr__(&self) -> String {
        format!(
            "<clipn.Bundle: {}, {}, {}>",
            count(self.inner.classifier().len(), "class"),
            self.inner.identity().config.name,
            if self.inner.calibration().is_some() {
                "calibrated"
            } else {
                "not calibrated"
            }
        )
    }
}

/// The prompts of a classifier, which a bundle needs to add classes.
fn prompts_of(classifier: &Classifier) -> PyResult<ClassPrompts> {
    classifier.prompts.clone().ok_or_else(|| {
        invalid("the classifier was made of features; a bundle needs one of class names")
    })
}
