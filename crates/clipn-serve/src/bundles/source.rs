use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use clipn::detector::Detector;

use super::watch::FileStamp;
use crate::classes::ClassEncoder;

/// A detector with its model name and text towers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServedModel {
    /// Detector that decides.
    pub detector: Detector,
    /// Name of the model in responses.
    pub name: String,
    /// Text towers for classes of a request; `None` if requests may use only the detector's own.
    pub encoder: Option<ClassEncoder>,
}

impl ServedModel {
    /// Creates a model that answers with the detector's own classes.
    pub fn new(detector: Detector, name: impl Into<String>) -> Self {
        Self {
            detector,
            name: name.into(),
            encoder: None,
        }
    }

    /// Sets the text towers for classes of a request.
    #[must_use]
    pub fn with_encoder(self, encoder: Option<ClassEncoder>) -> Self {
        Self { encoder, ..self }
    }
}

/// Any error of opening a bundle.
pub(super) type OpenError = Box<dyn Error + Send + Sync>;

/// Opens a bundle again. It is passed the models in service; one may have the towers that
/// the bundle needs.
type Open = dyn Fn(&[ServedModel]) -> Result<ServedModel, OpenError> + Send + Sync;

/// File that is opened again when it changes.
pub(super) struct WatchedFile {
    pub(super) path: PathBuf,
    pub(super) open: Box<Open>,
    /// State of the file before it was opened.
    pub(super) opened: Option<FileStamp>,
}

/// A model under the name by which requests select it.
pub struct ServedBundle {
    pub(super) name: String,
    pub(super) model: ServedModel,
    pub(super) file: Option<WatchedFile>,
}

impl ServedBundle {
    /// Serves a model as long as the server runs. The name, of at most 64 letters, digits, `-`, `_`
    /// and `.`, is part of paths and a label of metrics.
    pub fn new(name: impl Into<String>, model: ServedModel) -> Self {
        Self {
            name: name.into(),
            model,
            file: None,
        }
    }

    /// Opens a model from a file now, and again whenever the file has changed. Requests in progress
    /// finish with the model that they started with; if the changed file cannot be opened, the model
    /// before it stays in service.
    ///
    /// `open` is passed the models in service: with [`Detector::open_with_same_tower`] it can use the
    /// image tower of one of them, and such bundles are computed in common batches. `others` are those
    /// for the first call.
    ///
    /// # Errors
    /// The error of the first call of `open`.
    pub fn open<E: Into<Box<dyn Error + Send + Sync>>>(
        name: impl Into<String>,
        path: impl AsRef<Path>,
        others: &[ServedModel],
        open: impl Fn(&[ServedModel]) -> Result<ServedModel, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let path = path.as_ref().to_owned();
        // Before the file is read, so that a change meanwhile is seen later.
        let opened = FileStamp::of(&path).ok();
        Ok(Self {
            name: name.into(),
            model: open(others)?,
            file: Some(WatchedFile {
                path,
                open: Box::new(move |others| open(others).map_err(Into::into)),
                opened,
            }),
        })
    }

    /// Name of the bundle.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Model that was opened.
    pub fn model(&self) -> &ServedModel {
        &self.model
    }
}

impl fmt::Debug for ServedBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedBundle")
            .field("name", &self.name)
            .field("model", &self.model)
            .field("path", &self.file.as_ref().map(|file| &file.path))
            .finish()
    }
}
