//! The memory of a stream in a safetensors file.

use std::collections::BTreeMap;
use std::path::Path;

use clipn_checkpoint::{
    Checkpoint, CheckpointError, Dtype, Tensor, WeightsFormat, write_safetensors,
};
use clipn_ood::streams::{StreamTensor, StreamValues};
use serde::{Deserialize, Serialize};

use crate::adaptation::{AdaptationError, AdaptiveMethod, AdaptiveScorer};

/// Metadata key of the description.
const KEY: &str = "stream_memory";
const VERSION: u64 = 1;

/// Description of a memory, as JSON.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u64,
    clipn: String,
    method: AdaptiveMethod,
    /// Number of images that were scored.
    images: u64,
    /// Number of items of the caller's stream that the memory includes.
    position: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Hash of texts and settings.
    identity: String,
}

/// Where the memory is in the caller's stream.
///
/// ```
/// use clipn_detect::adaptation::StreamPosition;
///
/// let position = StreamPosition::from(7).with_stream("rows.jsonl".to_owned());
/// assert_eq!((position.items, position.stream.as_deref()), (7, Some("rows.jsonl")));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPosition {
    /// Number of items of the stream that the memory includes.
    pub items: u64,
    /// Name of the stream. A memory may be continued with one stream after another, and a position in one
    /// means nothing in another.
    pub stream: Option<String>,
}

impl StreamPosition {
    /// Sets the name of the stream.
    #[must_use]
    pub fn with_stream(self, stream: impl Into<Option<String>>) -> Self {
        Self {
            stream: stream.into(),
            ..self
        }
    }
}

impl From<u64> for StreamPosition {
    fn from(items: u64) -> Self {
        Self {
            items,
            stream: None,
        }
    }
}

impl AdaptiveScorer {
    /// Writes the memory to a file, atomically. `position` is the caller's own, returned by
    /// [`load`](Self::load).
    ///
    /// # Errors
    /// [`AdaptationError::Checkpoint`] for I/O errors. After an error, `path` is unchanged.
    pub fn save(
        &self,
        path: impl AsRef<Path>,
        position: impl Into<StreamPosition>,
    ) -> Result<(), AdaptationError> {
        let position = position.into();
        let description = Description {
            version: VERSION,
            clipn: env!("CARGO_PKG_VERSION").to_owned(),
            method: self.method(),
            images: self.images(),
            position: position.items,
            stream: position.stream,
            identity: self.identity().to_owned(),
        };
        let json = serde_json::to_string(&description);
        let json = json.map_err(|error| AdaptationError::Serialize {
            source: error.into(),
        })?;
        let tensor = |tensor: StreamTensor| {
            let stored = match tensor.values {
                StreamValues::F32(values) => Tensor::from_f32(&tensor.shape, values),
                StreamValues::F64(values) => Tensor::from_f64(&tensor.shape, &values),
            };
            Ok((tensor.name, stored?))
        };
        let tensors: Result<Vec<_>, AdaptationError> =
            self.state().into_iter().map(tensor).collect();
        let metadata = BTreeMap::from([(KEY.to_owned(), json)]);
        Ok(write_safetensors(path, tensors?, &metadata)?)
    }

    /// Checks that a file is a memory of a stream, of any method and any classes, before it is replaced.
    ///
    /// # Errors
    /// [`AdaptationError::NotMemory`] for other files, [`AdaptationError::Checkpoint`] for I/O errors.
    pub fn check_memory(path: impl AsRef<Path>) -> Result<(), AdaptationError> {
        open_memory(path.as_ref()).map(drop)
    }

    /// Continues with the memory of a file; returns the position of [`save`](Self::save).
    ///
    /// # Errors
    /// [`AdaptationError::NotMemory`] for other files, [`AdaptationError::OtherStream`] for a memory of
    /// another method, of other classes, words or settings, [`AdaptationError::Stream`] for one that does
    /// not fit, and [`AdaptationError::Checkpoint`] for I/O errors. Nothing changes then.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<StreamPosition, AdaptationError> {
        let path = path.as_ref();
        let (checkpoint, json) = open_memory(path)?;
        let other = |reason: String| AdaptationError::OtherStream {
            path: path.to_owned(),
            reason,
        };
        let description: Description = serde_json::from_str(&json)
            .map_err(|error| other(format!("another version: {error}")))?;
        if description.version != VERSION {
            return Err(other(format!("version {}", description.version)));
        }
        if description.method != self.method() {
            return Err(other(format!(
                "{}, not {}",
                description.method,
                self.method()
            )));
        }
        if description.identity != self.identity() {
            return Err(other("other classes, words or settings".to_owned()));
        }
        let tensor = |(name, stored): (&str, &Tensor)| match stored.dtype() {
            Dtype::F32 => {
                let values = stored.to_f32().into_vec();
                Some(StreamTensor::f32(name, stored.shape(), values))
            }
            Dtype::F64 => Some(StreamTensor::f64(name, stored.to_f64().into_vec())),
            // A part of another type counts as missing.
            _ => None,
        };
        let state: Vec<StreamTensor> = checkpoint.iter().filter_map(tensor).collect();
        self.restore(&state, description.images)?;
        Ok(StreamPosition::from(description.position).with_stream(description.stream))
    }
}

/// Opens a memory; returns its tensors and its description in JSON.
fn open_memory(path: &Path) -> Result<(Checkpoint, String), AdaptationError> {
    let other = || AdaptationError::NotMemory {
        path: path.to_owned(),
    };
    let checkpoint = Checkpoint::open(path).map_err(|error| match error {
        CheckpointError::Unrecognized { .. } => other(),
        error => error.into(),
    })?;
    let json = checkpoint.metadata().get(KEY).map(str::to_owned);
    match json {
        Some(json) if checkpoint.format() == WeightsFormat::Safetensors => Ok((checkpoint, json)),
        _ => Err(other()),
    }
}
