//! Weights with their towers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clipn::count::count;
use clipn::download::{DownloadError, DownloadSettings, FetchPurpose, WeightsName};
use clipn::engine::{TextEncoder, image_tower};
use clipn::image::Preprocessing;
use clipn::inference::{FeaturePipeline, InferenceError, ItemError, Parallelism};
use clipn::model::{
    ImageBatch, ImageTower, ModelConfig, ModelError, ModelWeights, NoSideOrigin, Precision,
    PretrainedWeights, TextSide, TextTower, WeightsMetadata,
};
use clipn::progress::Progress;
use clipn::tokenizer::TokenBatch;
use numpy::{PyArray2, PyArray4, PyReadonlyArray2, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays::to_matrix;
use crate::errors::{IntoException, OrRaise, exception, invalid, warn};
use crate::identity::{Identity, SharedIdentity};
use crate::images::{InputImage, decode_options, extract_all, tensors};
use crate::interrupt::{Reporter, run};
use crate::process;

/// Rows that a tower encodes between two looks at Ctrl-C.
const BATCH: usize = 64;

/// A CLIP model, opened from weights.
#[pyclass(frozen, module = "clipn")]
pub(crate) struct Model {
    pub(crate) weights: ModelWeights,
    pub(crate) pretrained: PretrainedWeights,
    pub(crate) metadata: WeightsMetadata,
    pub(crate) preprocessing: Preprocessing,
    pub(crate) tower: Arc<dyn ImageTower<f32>>,
    pub(crate) identity: SharedIdentity,
    texts: [OnceLock<TextEncoder>; 2],
}

/// Opens weights by path or name.
#[pyfunction]
pub(crate) fn load(
    py: Python<'_>,
    name: PathBuf,
    model: Option<&str>,
    precision: &str,
    offline: bool,
    faithful: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Model> {
    process::check()?;
    let precision = match precision {
        "f32" => Precision::F32,
        "int8" => Precision::Int8,
        other => {
            return Err(invalid(format!(
                "expected precision \"f32\" or \"int8\", got {other:?}"
            )));
        }
    };
    let reporter = Reporter::new(progress);
    let located = run(py, &reporter, || locate(&name, model, offline, &reporter))?;
    let (path, model, notes) = located.or_raise()?;
    let opened = run(py, &reporter, || open(&path, model, precision, faithful))?;
    let opened = opened.or_raise()?;
    let notes = notes.into_iter().chain(notes_of(&opened.pretrained, &path));
    for note in notes {
        warn(py, &note)?;
    }
    Ok(opened)
}

/// What was left out or chosen when weights were opened.
fn notes_of(weights: &PretrainedWeights, path: &Path) -> Vec<String> {
    let checkpoint = weights.checkpoint();
    let path = path.display();
    let mut notes = Vec::new();
    if !checkpoint.other_models().is_empty() {
        let others = checkpoint.other_models().join(", ");
        notes.push(format!("{path} has other models too: {others}"));
    }
    if let [first, ..] = checkpoint.ignored() {
        notes.push(format!(
            "left out {} of {path}, no part of the model under `{}`, such as {first}",
            count(checkpoint.ignored().len(), "tensor"),
            checkpoint.stripped_prefix(),
        ));
    }
    if let Some(older) = weights.overridden_preprocessing() {
        notes.push(format!(
            "{} has other pixels than processor_config.json, which is used; transformers 5 reads the latter, \
             transformers 4 the former",
            older.display()
        ));
    }
    notes
}

/// Resolves a name to a path and an architecture; downloads what the cache does not have.
fn locate(
    name: &Path,
    model: Option<&str>,
    offline: bool,
    progress: &Reporter,
) -> Result<(PathBuf, Option<String>, Vec<String>), DownloadError> {
    let parsed = WeightsName::parse(name, model)?;
    if let WeightsName::Path(path) = parsed {
        return Ok((path, model.map(str::to_owned), Vec::new()));
    }
    let settings = DownloadSettings::from_env()?;
    let settings = if offline {
        settings.without_downloads()
    } else {
        settings
    };
    let fetched = parsed.fetch_with_progress(&settings, FetchPurpose::Compute, progress)?;
    let has_config = PretrainedWeights::open(&fetched.path)
        .is_ok_and(|weights| matches!(weights.config(), Ok(Some(_))));
    // The architecture of open_clip's table is for weights without one; that of the caller must be theirs.
    let architecture = match fetched.model {
        Some(of_tag) => Some(of_tag).filter(|_| !has_config),
        None => model,
    };
    let architecture = architecture.map(str::to_owned);
    Ok((fetched.path, architecture, fetched.notes))
}

fn open(
    path: &Path,
    model: Option<String>,
    precision: Precision,
    faithful: bool,
) -> Result<Model, ModelError> {
    let model = model.as_deref().map(ModelConfig::resolve).transpose()?;
    let pretrained = PretrainedWeights::open(path)?;
    let weights = pretrained.weights(model)?.with_precision(precision)?;
    let size = weights.config().vision.image_size;
    let own = pretrained.preprocessing()?;
    let preprocessing = Preprocessing {
        size,
        ..own.unwrap_or_else(|| Preprocessing::clip(size))
    };
    let source = pretrained.checkpoint().path().display().to_string();
    Ok(Model {
        tower: image_tower(&weights).into(),
        identity: Identity::from_weights(&weights, source),
        metadata: pretrained.metadata(),
        preprocessing: preprocessing.with_decode(decode_options(faithful)),
        pretrained,
        weights,
        texts: [OnceLock::new(), OnceLock::new()],
    })
}

impl Model {
    fn text_tower(&self, side: &str) -> PyResult<&TextEncoder> {
        let (index, side) = match side {
            "yes" => (0, TextSide::Yes),
            "no" if self.has_no() => (1, TextSide::No),
            "no" => {
                return Err(exception(
                    "ModelError",
                    "the weights have not learned \"no\"",
                    Some("use side=\"yes\", or weights with a \"no\" side"),
                ));
            }
            other => {
                return Err(invalid(format!(
                    "expected side \"yes\" or \"no\", got {other:?}"
                )));
            }
        };
        Ok(self.texts[index].get_or_init(|| TextEncoder::from_weights(&self.weights, side)))
    }
}

#[pymethods]
impl Model {
    /// Dimension D of the features.
    #[getter]
    fn embed_dim(&self) -> usize {
        self.weights.config().embed_dim
    }

    /// Side S of the images in pixels.
    #[getter]
    fn image_size(&self) -> usize {
        self.preprocessing.size
    }

    /// Number of tokens of a text.
    #[getter]
    fn context_length(&self) -> usize {
        self.weights.config().text.context_length
    }

    /// Name of the architecture.
    #[getter]
    fn name(&self) -> &str {
        &self.weights.config().name
    }

    /// Number format of the matrix products.
    #[getter]
    fn precision(&self) -> String {
        self.weights.precision().to_string()
    }

    /// Whether the weights have learned "no".
    #[getter]
    fn has_no(&self) -> bool {
        self.weights.no_side_origin() == NoSideOrigin::Stored
    }

    /// Factor from cosines to logits that the model was trained with.
    #[getter]
    fn logit_scale(&self) -> f64 {
        self.weights.logit_scale()
    }

    /// The architecture as JSON.
    fn config_json(&self) -> PyResult<String> {
        serde_json::to_string(self.weights.config()).map_err(|error| invalid(error.to_string()))
    }

    /// Digest of the image tower.
    fn image_tower_hash(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| process::install(|| self.weights.image_tower_hash()))
    }

    /// Preprocesses images to [N, 3, S, S].
    fn preprocess<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray4<f32>>> {
        tensors(py, extract_all(images)?, &self.preprocessing)
    }

    /// Encodes images to [N, D].
    fn encode_images<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        normalize: bool,
        batch_size: usize,
        workers: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let images = extract_all(images)?;
        let names: Vec<Option<String>> = images.iter().map(InputImage::name).collect();
        let reporter = Reporter::new(progress);
        let pipeline = FeaturePipeline::new(&*self.tower, &self.preprocessing)
            .with_parallelism(parallelism(batch_size, workers))
            .with_normalization(normalize)
            .with_progress(&reporter);
        let mut rows = Vec::with_capacity(images.len() * self.embed_dim());
        let outcome = run(py, &reporter, || {
            reporter.begin("encoding images", images.len() as u64);
            let mut index = 0;
            pipeline.run(
                images,
                |_, row| row.map(<[f32]>::to_vec),
                |row: Result<Vec<f32>, ItemError>| -> Result<(), Failed> {
                    rows.extend(row.map_err(|error| Failed::Item(index, error))?);
                    index += 1;
                    Ok(())
                },
            )
        })?;
        outcome.map_err(|error| error.into_py_err(&names))?;
        to_matrix(py, rows, self.embed_dim())
    }

    /// Encodes pixels [N, 3, S, S] to [N, D].
    fn encode_pixels<'py>(
        &self,
        py: Python<'py>,
        pixels: PyReadonlyArray4<'py, f32>,
        normalize: bool,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let shape = pixels.shape().to_vec();
        let (height, width) = (shape[2], shape[3]);
        let size = self.image_size();
        if shape[1..] != [3, size, size] {
            return Err(invalid(format!(
                "expected pixels of shape (N, 3, {size}, {size}), got {shape:?}"
            )));
        }
        let values = pixels.as_slice()?;
        let reporter = Reporter::new(None);
        let rows = run(py, &reporter, || -> Result<Vec<f32>, ModelError> {
            let mut rows = Vec::new();
            for batch in values.chunks((3 * height * width * BATCH).max(1)) {
                if reporter.is_cancelled() {
                    break;
                }
                let mut features = self.tower.encode(ImageBatch::new(batch, height, width)?)?;
                if normalize {
                    features.normalize();
                }
                rows.extend_from_slice(features.values());
            }
            Ok(rows)
        })?;
        to_matrix(py, rows.or_raise()?, self.embed_dim())
    }

    /// Encodes token ids [N, L] to [N, D].
    fn encode_tokens<'py>(
        &self,
        py: Python<'py>,
        tokens: PyReadonlyArray2<'py, i64>,
        side: &str,
        normalize: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let length = tokens.shape()[1];
        if length == 0 {
            return Err(invalid(
                "expected token ids [N, L] with at least one per text, got none",
            ));
        }
        let id =
            |&id: &i64| u32::try_from(id).map_err(|_| invalid(format!("invalid token id {id}")));
        let ids: Vec<u32> = tokens.as_slice()?.iter().map(id).collect::<PyResult<_>>()?;
        let tower = self.text_tower(side)?;
        let reporter = Reporter::new(progress);
        let rows = run(py, &reporter, || -> Result<Vec<f32>, PyErr> {
            let mut rows = Vec::new();
            reporter.begin("encoding texts", (ids.len() / length) as u64);
            for batch in ids.chunks(length * BATCH) {
                if reporter.is_cancelled() {
                    break;
                }
                let batch = TokenBatch::new(batch.to_vec(), length).or_raise()?;
                let mut features = tower.encode(&batch).or_raise()?;
                if normalize {
                    features.normalize();
                }
                rows.extend_from_slice(features.values());
                reporter.advance(batch.len() as u64);
            }
            Ok(rows)
        })?;
        to_matrix(py, rows?, self.embed_dim())
    }

    fn __repr__(&self) -> String {
        format!(
            "<clipn.Model {}: D={}, S={}, {}, {}>",
            self.name(),
            self.embed_dim(),
            self.image_size(),
            self.precision(),
            if self.has_no() {
                "with \"no\""
            } else {
                "plain CLIP"
            }
        )
    }
}

/// Workers and batch size.
pub(crate) fn parallelism(batch_size: usize, workers: Option<usize>) -> Parallelism {
    let default = Parallelism::default();
    Parallelism {
        batch_size: batch_size.max(1),
        workers: workers.unwrap_or(default.workers).max(1),
    }
}

/// Why a run of images ended.
pub(crate) enum Failed {
    Run(InferenceError),
    Item(usize, ItemError),
}

impl From<InferenceError> for Failed {
    fn from(error: InferenceError) -> Self {
        Self::Run(error)
    }
}

impl Failed {
    /// The exception, which names the image.
    pub(crate) fn into_py_err(self, names: &[Option<String>]) -> PyErr {
        match self {
            Self::Run(error) => error.into_exception(),
            Self::Item(index, error) => {
                let name = names.get(index).and_then(Option::as_deref);
                item_exception(index, name, error)
            }
        }
    }
}

/// The exception of an image. Those of a file name it themselves, and have its path.
pub(crate) fn item_exception(index: usize, name: Option<&str>, error: ItemError) -> PyErr {
    if let Some(name) = name {
        let exception = error.into_exception();
        let named = Python::attach(|py| exception.value(py).setattr("path", name));
        return named.err().unwrap_or(exception);
    }
    let hint = error.hint();
    let message = format!("image {index}: {}", clipn::error::chain_in_one_line(&error));
    exception("ImageError", &message, hint)
}
