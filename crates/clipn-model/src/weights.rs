use std::collections::BTreeSet;
use std::path::Path;

use num_traits::Zero;

use super::names::{self, Named, PROMPT_NO, Side, is_no_side};
use super::position::{Corners, resize_positions};
use super::{
    BlockParams, LinearParams, ModelConfig, ModelError, NormParams, Real, ResNetParams, SeenWords,
    TextParams, VisionParams, WeightsNotes, resnet,
};
use clipn_checkpoint::{Buffer, Checkpoint, CheckpointError, Tensor};

/// Names that other programs leave in a file and that hold no parameter.
const IGNORED: &[&str] = &[
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "num_batches_tracked",
];

/// The positional embedding of a ViT.
pub(super) const VIT_POSITIONS: &str = "visual.positional_embedding";

/// At most so many names of one kind in an error.
const LISTED: usize = 6;

/// Where the "no" side of loaded weights came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSide {
    /// The file holds it.
    Stored,
    /// The file is a plain CLIP: the "no" side is a copy of the "yes" side, and CTW and ATD mean nothing before
    /// training.
    CopiedFromYes,
}

/// A weights file that has been held against a config: every tensor is there with its shape. Towers are taken out one
/// by one, so that a program keeps in memory only those it uses.
#[derive(Debug, Clone)]
pub struct Weights {
    config: ModelConfig,
    checkpoint: Checkpoint,
    no_side: NoSide,
    seen_words: Option<SeenWords>,
}

impl Weights {
    /// Holds a file's tensors against a config.
    ///
    /// # Errors
    /// One error that counts every missing, unexpected and wrong-shaped tensor and names the first.
    pub fn new(config: ModelConfig, checkpoint: Checkpoint) -> Result<Self, ModelError> {
        let no_side = if checkpoint.iter().any(|(name, _)| is_no_side(name)) {
            NoSide::Stored
        } else {
            NoSide::CopiedFromYes
        };
        let seen_words = WeightsNotes::of(&checkpoint).seen_words;
        let weights = Self {
            config,
            checkpoint,
            no_side,
            seen_words,
        };
        let details = weights.differences();
        weights.fit_or(details)
    }

    /// The image tower's tensors alone, held against a config: no text tower may be asked of them.
    pub(super) fn of_images(
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
        weights.fit_or(listed(&[("missing", missing), ("of another shape", wrong)]))
    }

    /// These weights where there is nothing that does not fit.
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

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tensors.
    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The tensors that are parameters, without what other programs leave in a file.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let is_ignored = |name: &str| IGNORED.contains(&name.rsplit('.').next().unwrap_or(name));
        self.checkpoint
            .iter()
            .filter(move |(name, _)| !is_ignored(name))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Hands the memory of what was read of a mapped file back to the system: for when a tower has done its work. What a
    /// tower still uses comes back as it uses it.
    pub fn release(&self) {
        self.checkpoint
            .iter()
            .for_each(|(_, tensor)| tensor.release());
    }

    /// Whether the "no" side was stored or copied.
    pub fn no_side(&self) -> NoSide {
        self.no_side
    }

    /// The words that the model has read, where it tells. Of token tables it may then hold the rows of these alone; the
    /// others are zeros.
    pub fn seen_words(&self) -> Option<&SeenWords> {
        self.seen_words.as_ref()
    }

    /// Number of learnable "no" prompts; 0 in the hand-crafted variant and in a plain CLIP.
    pub fn no_prompts(&self) -> usize {
        self.checkpoint.get(PROMPT_NO).map_or(0, |t| t.shape()[0])
    }

    /// exp(logit_scale), the trained scale of the logits.
    pub fn logit_scale(&self) -> f64 {
        self.value::<f64>("logit_scale")
            .first()
            .copied()
            .unwrap_or_default()
            .exp()
    }

    /// The parameters of a ViT image tower; of a config of a ResNet, empty ones. Positional embeddings of another grid
    /// are resized as open_clip does at load. [`clipn_engine::image_tower`] opens either kind of tower.
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

    /// The parameters of a ResNet image tower. Positional embeddings of another grid are resized as those of a ViT.
    ///
    /// # Errors
    /// The config's image tower is a ViT.
    pub fn resnet<T: Real>(&self) -> Result<ResNetParams<T>, ModelError> {
        ResNetParams::from_fn(&self.config, |name, shape| match name {
            resnet::POSITIONS => self.vision_positions(name, shape[1]),
            _ => self.value(name),
        })
    }

    /// A text tower's parameters.
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

    /// A tensor of these weights; a token table with a row for each token, or with those of the seen words alone.
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
        // Words of another tokenizer than the model's.
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
            Some(from) if from != grid => {
                resize_positions(&stored, width, from, (grid, grid), Corners::Aligned).into()
            }
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

    /// A tensor that [`Weights::new`] has seen with the right shape.
    fn value<T: Real>(&self, name: &str) -> Buffer<T> {
        self.checkpoint
            .get(name)
            .map_or_else(|| Vec::new().into(), T::buffer)
    }

    /// Whether a token table has a row for each token of the seen words instead of for all.
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

    /// What does not fit, a count and the first names of each kind; empty where all fits.
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
                    "{PROMPT_NO} is {shape:?} where the model has [prompts, {}, {}]",
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
            ("of another shape", wrong),
            ("unexpected", unexpected),
        ])
    }

    /// The names that are missing, and what is of another shape.
    fn misfits(&self, expected: &[Named]) -> (Vec<String>, Vec<String>) {
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for (name, shape) in expected {
            match self.checkpoint.get(name) {
                None => missing.push(name.clone()),
                Some(tensor)
                    if fits(name, tensor, shape) || self.holds_seen_rows(name, tensor, shape) => {}
                Some(tensor) => {
                    wrong.push(format!(
                        "{name} is {:?} where the model has {shape:?}",
                        tensor.shape()
                    ));
                }
            }
        }
        (missing, wrong)
    }
}

/// `2 missing (a, b); 1 unexpected (c)`; empty where there are no names.
fn listed(sections: &[(&str, Vec<String>)]) -> String {
    let told = sections
        .iter()
        .filter_map(|(heading, names)| section(heading, names));
    told.collect::<Vec<_>>().join("; ")
}

/// A table of `count` rows of `width` with each of `rows` in the place of its id, and zeros elsewhere. Every id is below
/// `count`.
fn scatter_rows<T: Zero + Copy>(ids: &[u32], rows: &[T], width: usize, count: usize) -> Vec<T> {
    let mut table = vec![T::zero(); count * width];
    for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
        table[id as usize * width..][..width].copy_from_slice(row);
    }
    table
}

/// `2 missing (a, b)`, the first few by name; nothing for no names.
fn section(heading: &str, names: &[String]) -> Option<String> {
    let more = match names.len() {
        0 => return None,
        count if count > LISTED => format!(", and {} more", count - LISTED),
        _ => String::new(),
    };
    let listed = names
        .iter()
        .take(LISTED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    Some(format!("{} {heading} ({listed}{more})", names.len()))
}

/// The file's shape is the model's; positional embeddings may be of any square grid, and a scalar may be `[1]`.
fn fits(name: &str, tensor: &Tensor, shape: &[usize]) -> bool {
    match name {
        VIT_POSITIONS | resnet::POSITIONS => {
            matches!(tensor.shape(), [rows, width] if *width == shape[1] && square_grid(*rows).is_some())
        }
        "logit_scale" => tensor.shape().iter().product::<usize>() == 1,
        _ => tensor.shape() == shape,
    }
}

/// The side of the square grid that `rows` − 1 patches form.
fn square_grid(rows: usize) -> Option<usize> {
    let patches = rows.checked_sub(1).filter(|&n| n > 0)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}
