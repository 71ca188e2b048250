use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::output::Output;
use super::{ConvertError, Target};
use crate::names::{self, is_no_side};
use crate::pretrained::{hub, transformers};
use crate::{
    Activation, LogitScale, ModelConfig, Parameters, Pretrained, Weights, WeightsMetadata,
};
use clipn_base::progress::Progress;
use clipn_checkpoint::{
    Checkpoint, CheckpointError, Dtype, FloatType, Tensor, TensorEntry, WeightsFormat,
    to_transformers, write_safetensors_with_progress,
};
use clipn_image::Preprocessing;

/// Names of tensors that other programs store but that are not parameters: sizes, which the config
/// contains, and the mask of causal attention.
const NON_PARAMETERS: [&str; 4] = [
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
];

/// Metadata keys of a `.pt` file that are kept; the others concern its training.
const KEPT_KEYS: [&str; 2] = ["epoch", "name"];

/// Settings of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// Output format.
    pub to: Target,
    /// Floating-point type of the output; `None` keeps the type of each tensor.
    pub float: Option<FloatType>,
    /// Whether a single file contains only the rows of the token embeddings that belong to the
    /// training vocabulary.
    pub only_seen_words: bool,
    /// Name of the embedded template set to store in a single file; `None` keeps that of the
    /// weights.
    pub templates: Option<String>,
    /// Logit scale to store in a single file; `None` keeps that of the weights.
    pub logit_scale: Option<LogitScale>,
    /// Whether existing weights at the output path are replaced.
    pub replace: bool,
}

/// Summary of a conversion.
#[derive(Debug, Clone)]
pub struct Converted {
    /// Output format.
    pub to: Target,
    /// Architecture.
    pub config: ModelConfig,
    /// Written files with their sizes in bytes, weights first.
    pub files: Vec<(PathBuf, u64)>,
    /// Number of tensors written.
    pub tensors: usize,
    /// Number of tensors by element type.
    pub dtypes: BTreeMap<String, usize>,
    /// Number of parameters written.
    pub parameters: Parameters,
    /// Parts of the input that are not in the output.
    pub left_out: Vec<OmittedPart>,
}

/// Names and tensors.
type Tensors = Vec<(String, Tensor)>;

/// Part of the input that a conversion omits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OmittedPart {
    /// The "no" side, which CLIP does not have.
    NoSide {
        /// Number of tensors.
        tensors: usize,
        /// Number of parameters.
        parameters: usize,
    },
    /// Sizes, which the config contains, and masks, which are stored as tensors.
    Settings {
        /// Names of the tensors.
        names: Vec<String>,
    },
}

impl fmt::Display for OmittedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OmittedPart::NoSide {
                tensors,
                parameters,
            } => {
                write!(
                    f,
                    "the \"no\" side ({tensors} tensors, {parameters} parameters), which CLIP does not have"
                )
            }
            OmittedPart::Settings { names } => {
                write!(f, "{}, which are not parameters", names.join(", "))
            }
        }
    }
}

impl Conversion {
    /// Creates a conversion to `to` that keeps all types and metadata and replaces nothing.
    pub fn new(to: Target) -> Self {
        Self {
            to,
            float: None,
            only_seen_words: false,
            templates: None,
            logit_scale: None,
            replace: false,
        }
    }

    /// Writes the weights to `out`. The output is written beside `out` and then renamed, so it is
    /// either complete or absent. `model` is the architecture of weights without a config. Tensors
    /// are streamed from the mapped file.
    ///
    /// # Errors
    /// See [`ConvertError`]: the weights do not fit their config or lack the requested training
    /// vocabulary, `out` is not usable or exists, a value exceeds the range of the requested type,
    /// the output format has no such tower, or `progress` is canceled.
    pub fn run(
        &self,
        from: &Pretrained,
        model: Option<ModelConfig>,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Converted, ConvertError> {
        let index_and_files = [
            &[from.checkpoint().path().to_owned()],
            from.checkpoint().shard_paths(),
        ]
        .concat();
        let output = Output::check(out, self.to, self.replace, &index_and_files)?;
        let weights = from.weights(model)?;
        let config = weights.config();
        let own = from.preprocessing()?;
        let pixels = own.unwrap_or_else(|| Preprocessing::clip(config.vision.image_size));
        if self.to.is_directory() {
            self.check_tower(&weights)?;
        }
        let (kept_tensors, left_out) = self.kept_tensors(&weights)?;
        let lens = kept_tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.len()));
        let parameters = Parameters::count(lens);
        let entries = self
            .entries(kept_tensors)
            .map_err(ConvertError::Checkpoint)?;
        let mut dtypes = BTreeMap::new();
        for entry in &entries {
            *dtypes.entry(entry.dtype().to_string()).or_insert(0) += 1;
        }
        let tensors = entries.len();
        let writer = Writer {
            config,
            pixels: &pixels,
            conversion: self,
            out,
            progress,
        };
        match self.to {
            Target::Clipn => writer.file(from.checkpoint(), entries)?,
            Target::OpenClip => output.write_folder(|folder| writer.hub(folder, entries))?,
            Target::Transformers => {
                output.write_folder(|folder| writer.transformers(folder, entries))?
            }
        }
        let files = files(out, self.to)?;
        let (to, config) = (self.to, config.clone());
        Ok(Converted {
            to,
            config,
            files,
            tensors,
            dtypes,
            parameters,
            left_out,
        })
    }

    /// Checks that other programs can use the tensors of the image tower as they are.
    fn check_tower(&self, weights: &Weights) -> Result<(), ConvertError> {
        let config = weights.config();
        if self.to == Target::Transformers && config.vision.stages.is_some() {
            return Err(ConvertError::ResNet {
                model: config.name.clone(),
            });
        }
        let towers = names::vision(&config.vision, config.embed_dim);
        let resized = towers.iter().find_map(|(name, shape)| {
            let stored = weights.checkpoint().get(name)?.shape();
            (stored != shape).then(|| (name.clone(), stored[0], shape[0]))
        });
        match resized {
            Some((tensor, stored, expected)) => Err(ConvertError::Positions {
                model: config.name.clone(),
                tensor,
                stored,
                expected,
            }),
            None => Ok(()),
        }
    }

    /// Returns the tensors to write and a description of those omitted.
    fn kept_tensors(&self, weights: &Weights) -> Result<(Tensors, Vec<OmittedPart>), ConvertError> {
        let from = weights.checkpoint();
        let only_seen = self.only_seen_words && !self.to.is_directory();
        if only_seen && weights.seen_words().is_none() {
            return Err(ConvertError::NoSeenWords {
                path: from.path().to_owned(),
            });
        }
        let (mut kept_tensors, mut settings) = (Vec::new(), Vec::new());
        let (mut no_side, mut parameters) = (0, 0);
        for (name, tensor) in from.iter() {
            if NON_PARAMETERS.contains(&name.rsplit('.').next().unwrap_or(name)) {
                settings.push(name.to_owned());
            } else if self.to.is_directory() && is_no_side(name) {
                no_side += 1;
                parameters += tensor.len();
            } else {
                let tensor = weights
                    .token_rows(name, tensor, only_seen)
                    .map_err(ConvertError::Checkpoint)?;
                kept_tensors.push((name.to_owned(), tensor));
            }
        }
        let mut left_out = Vec::new();
        if no_side > 0 {
            left_out.push(OmittedPart::NoSide {
                tensors: no_side,
                parameters,
            });
        }
        if !settings.is_empty() {
            left_out.push(OmittedPart::Settings { names: settings });
        }
        Ok((kept_tensors, left_out))
    }

    fn entries(&self, kept_tensors: Tensors) -> Result<Vec<TensorEntry>, CheckpointError> {
        let mut entries = Vec::with_capacity(kept_tensors.len());
        let mut push = |name, tensor| {
            entries.push(TensorEntry {
                name,
                tensor,
                cast_to: self.float,
            })
        };
        for (name, tensor) in kept_tensors {
            // A logit scale may be stored as `[1]`, which only some versions of open_clip read.
            let scalar =
                (self.to.is_directory() && name == "logit_scale").then(|| tensor.reshaped(&[]));
            let tensor = scalar.flatten().unwrap_or(tensor);
            match self.to {
                Target::Clipn | Target::OpenClip => push(name, tensor),
                Target::Transformers => {
                    to_transformers(&name, &tensor)?
                        .into_iter()
                        .for_each(|(name, tensor)| push(name, tensor));
                }
            }
        }
        Ok(entries)
    }
}

/// Everything but the tensors that writing needs.
struct Writer<'a> {
    config: &'a ModelConfig,
    pixels: &'a Preprocessing,
    conversion: &'a Conversion,
    out: &'a Path,
    progress: &'a dyn Progress,
}

impl Writer<'_> {
    fn file(&self, from: &Checkpoint, entries: Vec<TensorEntry>) -> Result<(), ConvertError> {
        let is_kept =
            |key: &str| from.format() == WeightsFormat::Safetensors || KEPT_KEYS.contains(&key);
        let kept = from.metadata().iter().filter(|(key, _)| is_kept(key));
        let mut metadata: BTreeMap<String, String> = kept
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let Conversion {
            templates,
            logit_scale,
            ..
        } = self.conversion;
        let notes = WeightsMetadata {
            templates: templates.clone(),
            logit_scale: *logit_scale,
            seen_words: None,
        };
        metadata.extend(notes.to_metadata());
        metadata.insert("format".to_owned(), "pt".to_owned());
        metadata.insert(hub::NAME_KEY.to_owned(), self.config.name.clone());
        metadata.insert(
            hub::CONFIG_KEY.to_owned(),
            self.open_clip_config().to_string(),
        );
        self.weights(self.out, entries, &metadata)
    }

    fn hub(&self, folder: &Path, entries: Vec<TensorEntry>) -> Result<(), ConvertError> {
        self.foreign_weights(&folder.join(hub::WEIGHTS), entries)?;
        self.json(&folder.join(hub::CONFIG), &self.open_clip_config())
    }

    fn transformers(&self, folder: &Path, entries: Vec<TensorEntry>) -> Result<(), ConvertError> {
        let dtypes = entries
            .iter()
            .map(TensorEntry::dtype)
            .filter(|dtype| dtype.is_float());
        let widest = dtypes.max_by_key(|dtype| dtype.size());
        let mixed = entries
            .iter()
            .any(|entry| entry.dtype().is_float() && Some(entry.dtype()) != widest);
        self.foreign_weights(&folder.join(transformers::WEIGHTS), entries)?;
        self.json(
            &folder.join(transformers::CONFIG),
            &self.transformers_config(widest, mixed),
        )?;
        self.json(
            &folder.join(transformers::PREPROCESSOR),
            &self.preprocessor_config(),
        )
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
            CheckpointError::Cancelled { .. } => ConvertError::Cancelled { path },
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
        let written = File::create_new(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(ConvertError::io("write", self.out))
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

    fn preprocessor_config(&self) -> Value {
        let size = self.pixels.size;
        json!({
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": true,
            "do_resize": true,
            "size": { "shortest_edge": size },
            "resample": transformers::BICUBIC,
            "do_center_crop": true,
            "crop_size": { "height": size, "width": size },
            "do_rescale": true,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": true,
            "image_mean": self.pixels.mean.map(decimal),
            "image_std": self.pixels.std.map(decimal),
        })
    }
}

/// Returns the shortest decimal that rounds to this `f32`.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

fn files(out: &Path, to: Target) -> Result<Vec<(PathBuf, u64)>, ConvertError> {
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
