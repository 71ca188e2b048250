use std::collections::BTreeSet;
use std::path::Path;

use num_traits::Zero;

use super::names::{self, Named, PROMPT_NO, Side, is_no_side};
use super::position::{CoordinateMapping, resize_positions};
use super::{
    BlockParams, LinearParams, ModelConfig, ModelError, NormParams, Real, ResNetParams, SeenWords,
    TextParams, VisionParams, WeightsMetadata, resnet,
};
use clipn_checkpoint::{Buffer, Checkpoint, CheckpointError, Tensor};

/// Names of tensors that other programs store but that are not parameters.
const IGNORED: &[&str] = &[
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "num_batches_tracked",
];

/// Name of the positional embedding of a ViT.
pub(super) const VIT_POSITIONS: &str = "visual.positional_embedding";

/// Maximum number of names of one kind in an error message.
const MAX_LISTED: usize = 6;

/// Origin of the "no" side of loaded weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSide {
    /// The "no" side is in the file.
    Stored,
    /// The file is a plain CLIP. The "no" side is a copy of the "yes" side, so CTW and ATD are
    /// meaningless before training.
    CopiedFromYes,
}

/// Weights validated against a model config: every tensor is present and has the expected shape.
/// Towers are extracted one by one, so that a program keeps only those it uses in memory.
#[derive(Debug, Clone)]
pub struct Weights {
    config: ModelConfig,
    checkpoint: Checkpoint,
    no_side: NoSide,
    seen_words: Option<SeenWords>,
}

impl Weights {
    /// Validates the tensors of a file against a config.
    ///
    /// # Errors
    /// One [`ModelError::WeightsMismatch`] that counts all missing, unexpected and wrongly shaped
    /// tensors and lists the first of each kind.
    pub fn new(config: ModelConfig, checkpoint: Checkpoint) -> Result<Self, ModelError> {
        let no_side = if checkpoint.iter().any(|(name, _)| is_no_side(name)) {
            NoSide::Stored
        } else {
            NoSide::CopiedFromYes
        };
        let seen_words = WeightsMetadata::of(&checkpoint).seen_words;
        let weights = Self {
            config,
            checkpoint,
            no_side,
            seen_words,
        };
        let details = weights.differences();
        weights.fit_or(details)
    }

    /// Validates only the tensors of the image tower; the text towers of the result must not be
    /// used.
    pub(super) fn image_tower_only(
        config: ModelConfig,
        checkpoint: Checkpoint,
    ) -> Result<Self, ModelError> {
        let weights = Self {
            config,
            checkpoint,
            no_side: NoSide::CopiedFromYes,
            seen_words: None,
        };
        let (missing, wrong) = weights.misfits(&names::vision(
            &weights.config.vision,
            weights.config.embed_dim,
        ));
        weights.fit_or(listed(&[
            ("missing", missing),
            ("with a wrong shape", wrong),
        ]))
    }

    /// Returns the weights, or an error if `details` is not empty.
    fn fit_or(self, details: String) -> Result<Self, ModelError> {
        if details.is_empty() {
            return Ok(self);
        }
        Err(ModelError::WeightsMismatch {
            path: self.checkpoint.path().to_owned(),
            model: self.config.name.clone(),
            details,
        })
    }

    /// Returns the architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the tensors.
    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Iterates over the tensors that are parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let is_ignored = |name: &str| IGNORED.contains(&name.rsplit('.').next().unwrap_or(name));
        self.checkpoint
            .iter()
            .filter(move |(name, _)| !is_ignored(name))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Returns the resident memory of a mapped file to the system, for use after a tower is no
    /// longer needed. Pages that a tower still uses are read again on access.
    pub fn release(&self) {
        self.checkpoint
            .iter()
            .for_each(|(_, tensor)| tensor.release());
    }

    /// Returns whether the "no" side was stored or copied.
    pub fn no_side(&self) -> NoSide {
        self.no_side
    }

    /// Returns the training vocabulary if the file has it. The token embedding may then contain
    /// only the rows of these words; the other rows are zero.
    pub fn seen_words(&self) -> Option<&SeenWords> {
        self.seen_words.as_ref()
    }

    /// Returns the number of learnable "no" prompts; 0 in the hand-crafted variant and in a plain
    /// CLIP.
    pub fn no_prompts(&self) -> usize {
        self.checkpoint.get(PROMPT_NO).map_or(0, |t| t.shape()[0])
    }

    /// Returns the trained factor of the logits, `exp(logit_scale)`.
    pub fn logit_scale(&self) -> f64 {
        self.value::<f64>("logit_scale")
            .first()
            .copied()
            .unwrap_or_default()
            .exp()
    }

    /// Returns the parameters of a ViT image tower, or empty ones if the config has a ResNet.
    /// Positional embeddings of another grid are resized as open_clip does on load.
    /// [`clipn_engine::image_tower`] opens either kind of tower.
    pub fn vision<T: Real>(&self) -> VisionParams<T> {
        VisionParams {
            conv1: self.value("visual.conv1.weight"),
            class_embedding: self.value("visual.class_embedding"),
            positional_embedding: self.vision_positions(VIT_POSITIONS, self.config.vision.width),
            ln_pre: self.norm("visual.ln_pre"),
            blocks: self.blocks("visual.transformer", self.config.vision.layers),
            ln_post: self.norm("visual.ln_post"),
            proj: self.value("visual.proj"),
        }
    }

    /// Returns the parameters of a ResNet image tower. Positional embeddings of another grid are
    /// resized as for a ViT.
    ///
    /// # Errors
    /// [`ModelError::NotAResNet`] if the config's image tower is a ViT.
    pub fn resnet<T: Real>(&self) -> Result<ResNetParams<T>, ModelError> {
        ResNetParams::from_fn(&self.config, |name, shape| match name {
            resnet::POSITIONS => self.vision_positions(name, shape[1]),
            _ => self.value(name),
        })
    }

    /// Returns the parameters of a text tower.
    pub fn text<T: Real>(&self, side: Side) -> TextParams<T> {
        let stored = if self.no_side == NoSide::CopiedFromYes {
            Side::Yes
        } else {
            side
        };
        let no = stored.suffix();
        TextParams {
            token_embedding: self.token_table(&format!("token_embedding{no}.weight")),
            positional_embedding: self.value(&format!("positional_embedding{no}")),
            prompts: match stored {
                Side::Yes => None,
                Side::No => self.checkpoint.get(PROMPT_NO).map(T::buffer),
            },
            blocks: self.blocks(&format!("transformer{no}"), self.config.text.layers),
            ln_final: self.norm(&format!("ln_final{no}")),
            projection: self.value(&format!("text_projection{no}")),
        }
    }

    fn token_table<T: Real>(&self, name: &str) -> Buffer<T> {
        let stored: Buffer<T> = self.value(name);
        let (rows, width) = (self.config.text.vocab_size, self.config.text.width);
        match &self.seen_words {
            Some(words) if stored.len() < rows * width => {
                scatter_rows(&words.token_ids(), &stored, width, rows).into()
            }
            _ => stored,
        }
    }

    /// Returns a tensor for writing. A token embedding gets a row for every token, or only for the
    /// tokens of the training vocabulary if `only_seen` is set.
    pub(super) fn token_rows(
        &self,
        name: &str,
        tensor: &Tensor,
        only_seen: bool,
    ) -> Result<Tensor, CheckpointError> {
        let (Some(words), [rows, width]) = (&self.seen_words, tensor.shape()) else {
            return Ok(tensor.clone());
        };
        let vocab_size = self.config.text.vocab_size;
        let is_whole = *rows == vocab_size;
        if !name.starts_with("token_embedding") || is_whole != only_seen {
            return Ok(tensor.clone());
        }
        let ids = words.token_ids();
        // The vocabulary comes from another tokenizer than the model's.
        if ids.iter().any(|&id| id as usize >= vocab_size) {
            return Ok(tensor.clone());
        }
        let len = width * tensor.dtype().size();
        let stored = tensor.bytes();
        let (rows, bytes) = if only_seen {
            let taken = ids
                .iter()
                .flat_map(|&id| &stored[id as usize * len..][..len]);
            (ids.len(), taken.copied().collect())
        } else {
            (vocab_size, scatter_rows(&ids, stored, len, vocab_size))
        };
        Tensor::from_bytes(tensor.dtype(), &[rows, *width], bytes)
    }

    fn vision_positions<T: Real>(&self, name: &str, width: usize) -> Buffer<T> {
        let stored: Buffer<T> = self.value(name);
        let grid = self.config.vision.grid();
        match square_grid(stored.len() / width) {
            Some(from) if from != grid => resize_positions(
                &stored,
                width,
                from,
                (grid, grid),
                CoordinateMapping::Aligned,
            )
            .into(),
            _ => stored,
        }
    }

    fn blocks<T: Real>(&self, prefix: &str, layers: usize) -> Vec<BlockParams<T>> {
        let block = |layer: usize| {
            let name = |part: &str| format!("{prefix}.resblocks.{layer}.{part}");
            BlockParams {
                ln_1: self.norm(&name("ln_1")),
                in_proj: LinearParams {
                    weight: self.value(&name("attn.in_proj_weight")),
                    bias: self.value(&name("attn.in_proj_bias")),
                },
                out_proj: self.linear(&name("attn.out_proj")),
                ln_2: self.norm(&name("ln_2")),
                c_fc: self.linear(&name("mlp.c_fc")),
                c_proj: self.linear(&name("mlp.c_proj")),
            }
        };
        (0..layers).map(block).collect()
    }

    fn norm<T: Real>(&self, prefix: &str) -> NormParams<T> {
        let LinearParams { weight, bias } = self.linear(prefix);
        NormParams { weight, bias }
    }

    fn linear<T: Real>(&self, prefix: &str) -> LinearParams<T> {
        LinearParams {
            weight: self.value(&format!("{prefix}.weight")),
            bias: self.value(&format!("{prefix}.bias")),
        }
    }

    /// Returns a tensor whose shape [`Weights::new`] has validated.
    fn value<T: Real>(&self, name: &str) -> Buffer<T> {
        self.checkpoint
            .get(name)
            .map_or_else(|| Vec::new().into(), T::buffer)
    }

    /// Returns whether a token embedding has rows only for the tokens of the training vocabulary.
    fn holds_seen_rows(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> bool {
        let is_table = name.starts_with("token_embedding") && shape.len() == 2;
        let seen = self
            .seen_words
            .as_ref()
            .filter(|_| is_table)
            .map(SeenWords::token_ids);
        seen.is_some_and(|ids| {
            tensor.shape() == [ids.len(), shape[1]]
                && ids.iter().all(|&id| (id as usize) < shape[0])
        })
    }

    /// Describes mismatches by count and first names of each kind; empty if there are none.
    fn differences(&self) -> String {
        let mut expected: Vec<Named> = names::expected(&self.config);
        if self.no_side == NoSide::CopiedFromYes {
            let copied: BTreeSet<String> =
                names::text(&self.config.text, self.config.embed_dim, Side::No)
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect();
            expected.retain(|(name, _)| !copied.contains(name));
        }
        let (missing, mut wrong) = self.misfits(&expected);
        if let Some(prompts) = self.checkpoint.get(PROMPT_NO) {
            let shape = prompts.shape();
            let text = &self.config.text;
            if shape.len() != 3 || shape[0] == 0 || shape[1..] != [text.context_length, text.width]
            {
                wrong.push(format!(
                    "{PROMPT_NO} {shape:?}, expected [prompts, {}, {}]",
                    text.context_length, text.width
                ));
            }
        }
        let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let unexpected = self
            .checkpoint
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !known.contains(name) && *name != PROMPT_NO)
            .filter(|name| !IGNORED.contains(&name.rsplit('.').next().unwrap_or(name)))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        listed(&[
            ("missing", missing),
            ("with a wrong shape", wrong),
            ("unexpected", unexpected),
        ])
    }

    /// Returns the missing names, and descriptions of the tensors with a wrong shape.
    fn misfits(&self, expected: &[Named]) -> (Vec<String>, Vec<String>) {
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for (name, shape) in expected {
            match self.checkpoint.get(name) {
                None => missing.push(name.clone()),
                Some(tensor)
                    if fits(name, tensor, shape) || self.holds_seen_rows(name, tensor, shape) => {}
                Some(tensor) => {
                    wrong.push(format!("{name} {:?}, expected {shape:?}", tensor.shape()));
                }
            }
        }
        (missing, wrong)
    }
}

/// Formats `2 missing (a, b); 1 unexpected (c)`; empty if there are no names.
fn listed(sections: &[(&str, Vec<String>)]) -> String {
    let parts = sections
        .iter()
        .filter_map(|(heading, names)| section(heading, names));
    parts.collect::<Vec<_>>().join("; ")
}

/// Returns a table of `count` rows of `width` values, with each of `rows` at the index of its id
/// and zeros elsewhere. Every id must be below `count`.
fn scatter_rows<T: Zero + Copy>(ids: &[u32], rows: &[T], width: usize, count: usize) -> Vec<T> {
    let mut table = vec![T::zero(); count * width];
    for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
        table[id as usize * width..][..width].copy_from_slice(row);
    }
    table
}

/// Formats `2 missing (a, b)` with the first few names; `None` if there are none.
fn section(heading: &str, names: &[String]) -> Option<String> {
    let more = match names.len() {
        0 => return None,
        count if count > MAX_LISTED => format!(", and {} more", count - MAX_LISTED),
        _ => String::new(),
    };
    let listed = names
        .iter()
        .take(MAX_LISTED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    Some(format!("{} {heading} ({listed}{more})", names.len()))
}

/// Returns whether a tensor has the expected shape. Positional embeddings may have any square grid,
/// and a scalar may be `[1]`.
fn fits(name: &str, tensor: &Tensor, shape: &[usize]) -> bool {
    match name {
        VIT_POSITIONS | resnet::POSITIONS => {
            matches!(tensor.shape(), [rows, width] if *width == shape[1] && square_grid(*rows).is_some())
        }
        "logit_scale" => tensor.shape().iter().product::<usize>() == 1,
        _ => tensor.shape() == shape,
    }
}

/// Returns the side of the square grid formed by `rows` − 1 patches.
fn square_grid(rows: usize) -> Option<usize> {
    let patches = rows.checked_sub(1).filter(|&n| n > 0)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}
