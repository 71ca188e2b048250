//! Files of an output: weights, configs and preprocessing in the format of the program that reads
//! them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clipn_base::files::replace;
use clipn_base::progress::Progress;
use clipn_checkpoint::{
    Checkpoint, CheckpointError, Dtype, TensorEntry, WeightsFormat, write_safetensors_with_progress,
};
use clipn_image::Preprocessing;
use serde_json::{Value, json};

use crate::config::{Activation, ModelConfig};
use crate::convert::{ConversionTarget, ConvertError};
use crate::pretrained::image_processor::{
    PREPROCESSOR_FILE, PROCESSOR_FILE, decimal, to_preprocessor_config, to_processor_config,
};
use crate::pretrained::{hub, transformers};
use crate::weights::WeightsMetadata;

/// Metadata keys of a `.pt` file that are kept; the others concern its training.
const KEPT_KEYS: [&str; 2] = ["epoch", "name"];

/// Everything but the tensors that writing needs.
pub(super) struct Writer<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) pixels: &'a Preprocessing,
    /// Templates and logit scale that replace those of the weights.
    pub(super) metadata: WeightsMetadata,
    pub(super) out: &'a Path,
    pub(super) progress: &'a dyn Progress,
}

impl Writer<'_> {
    pub(super) fn file(
        &self,
        from: &Checkpoint,
        entries: Vec<TensorEntry>,
    ) -> Result<(), ConvertError> {
        let is_kept =
            |key: &str| from.format() == WeightsFormat::Safetensors || KEPT_KEYS.contains(&key);
        let kept = from.metadata().iter().filter(|(key, _)| is_kept(key));
        let mut metadata: BTreeMap<String, String> = kept
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        metadata.extend(self.metadata.to_metadata());
        metadata.insert("format".to_owned(), "pt".to_owned());
        metadata.insert(hub::NAME_KEY.to_owned(), self.config.name.clone());
        metadata.insert(
            hub::CONFIG_KEY.to_owned(),
            self.open_clip_config().to_string(),
        );
        self.weights(self.out, entries, &metadata)
    }

    pub(super) fn hub(
        &self,
        directory: &Path,
        entries: Vec<TensorEntry>,
    ) -> Result<(), ConvertError> {
        self.foreign_weights(&directory.join(hub::WEIGHTS_FILE), entries)?;
        self.json(&directory.join(hub::CONFIG_FILE), &self.open_clip_config())
    }

    pub(super) fn transformers(
        &self,
        directory: &Path,
        entries: Vec<TensorEntry>,
        to: ConversionTarget,
    ) -> Result<(), ConvertError> {
        let dtypes = entries
            .iter()
            .map(TensorEntry::dtype)
            .filter(|dtype| dtype.is_float());
        let widest = dtypes.max_by_key(|dtype| dtype.size());
        let mixed = entries
            .iter()
            .any(|entry| entry.dtype().is_float() && Some(entry.dtype()) != widest);
        self.foreign_weights(&directory.join(transformers::WEIGHTS_FILE), entries)?;
        self.json(
            &directory.join(transformers::CONFIG_FILE),
            &self.transformers_config(widest, mixed),
        )?;
        let preprocessing = [
            (PREPROCESSOR_FILE, to_preprocessor_config(self.pixels)),
            (PROCESSOR_FILE, to_processor_config(self.pixels)),
        ];
        for (name, config) in preprocessing {
            if to.files().contains(&name) {
                self.json(&directory.join(name), &config)?;
            }
        }
        Ok(())
    }

    /// Writes weights for other programs, with `"format": "pt"` as their only metadata.
    fn foreign_weights(&self, path: &Path, entries: Vec<TensorEntry>) -> Result<(), ConvertError> {
        self.weights(
            path,
            entries,
            &BTreeMap::from([("format".to_owned(), "pt".to_owned())]),
        )
    }

    fn weights(
        &self,
        path: &Path,
        entries: Vec<TensorEntry>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), ConvertError> {
        write_safetensors_with_progress(path, entries, metadata, self.progress)
            .map_err(|error| self.with_output_path(error))
    }

    /// Replaces the path of the temporary directory in an error by the output path.
    fn with_output_path(&self, error: CheckpointError) -> ConvertError {
        let path = self.out.to_owned();
        match error {
            CheckpointError::Cancelled { .. } => ConvertError::Canceled { path },
            CheckpointError::Io { action, source, .. } => ConvertError::Io {
                action,
                path,
                source,
            },
            CheckpointError::Overflow {
                tensor,
                value,
                to,
                max,
                ..
            } => ConvertError::Checkpoint(CheckpointError::Overflow {
                path,
                tensor,
                value,
                to,
                max,
            }),
            other => ConvertError::Checkpoint(other),
        }
    }

    fn json(&self, path: &Path, value: &Value) -> Result<(), ConvertError> {
        let text = format!("{value:#}\n");
        replace(path, text).map_err(ConvertError::io("write", self.out))
    }

    fn open_clip_config(&self) -> Value {
        json!({
            "model_cfg": self.config.to_open_clip(),
            "preprocess_cfg": {
                "mean": self.pixels.mean.map(decimal),
                "std": self.pixels.std.map(decimal),
                "interpolation": "bicubic",
                "resize_mode": "shortest",
            },
        })
    }

    /// Returns the config for `transformers`. Tensors of mixed types are declared, and then loaded,
    /// as `float32`.
    fn transformers_config(&self, dtype: Option<Dtype>, mixed: bool) -> Value {
        let ModelConfig {
            embed_dim,
            activation,
            vision,
            text,
            ..
        } = self.config;
        let activation = match activation {
            Activation::Gelu => "gelu",
            Activation::QuickGelu => "quick_gelu",
        };
        let dtype = match dtype {
            Some(Dtype::F16) if !mixed => "float16",
            Some(Dtype::Bf16) if !mixed => "bfloat16",
            Some(Dtype::F64) => "float64",
            _ => "float32",
        };
        json!({
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": embed_dim,
            "torch_dtype": dtype,
            "text_config": {
                "model_type": "clip_text_model",
                "hidden_act": activation,
                "hidden_size": text.width,
                "intermediate_size": text.mlp_width,
                "layer_norm_eps": transformers::EPSILON,
                "max_position_embeddings": text.context_length,
                "num_attention_heads": text.heads,
                "num_hidden_layers": text.layers,
                "projection_dim": embed_dim,
                "vocab_size": text.vocab_size,
                "bos_token_id": text.vocab_size.saturating_sub(2),
                "eos_token_id": text.vocab_size.saturating_sub(1),
            },
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_act": activation,
                "hidden_size": vision.width,
                "image_size": vision.image_size,
                "intermediate_size": vision.mlp_width,
                "layer_norm_eps": transformers::EPSILON,
                "num_attention_heads": vision.heads,
                "num_channels": 3,
                "num_hidden_layers": vision.layers,
                "patch_size": vision.patch_size,
                "projection_dim": embed_dim,
            },
        })
    }
}

/// Returns the files of an output with their sizes in bytes.
pub(super) fn written_files(
    out: &Path,
    to: ConversionTarget,
) -> Result<Vec<(PathBuf, u64)>, ConvertError> {
    let paths = match to.files() {
        [] => vec![out.to_owned()],
        names => names.iter().map(|name| out.join(name)).collect(),
    };
    let size = |path: PathBuf| {
        let len = fs::metadata(&path)
            .map_err(ConvertError::io("stat", &path))?
            .len();
        Ok((path, len))
    };
    paths.into_iter().map(size).collect()
}
