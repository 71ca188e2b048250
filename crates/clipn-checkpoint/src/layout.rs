//! Conversion of other tensor naming schemes of CLIP models to open_clip's.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;

use crate::budget::{Budget, Exhausted};
use crate::error::escape_for_display;
use crate::{CheckpointError, Tensor};

/// Tensor naming scheme of a CLIP file. A [`Checkpoint`](crate::Checkpoint) always returns
/// open_clip's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// open_clip's names, which are OpenAI's, with CLIPN's for the "no" side. Also files that are
    /// no CLIP.
    OpenClip,
    /// open_clip's names with the text tower under `text.` (`custom_text` in its configs).
    CustomText,
    /// `CLIPModel` of Hugging Face's `transformers`: separate query, key and value tensors, and
    /// transposed projection matrices.
    Transformers,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::OpenClip => "open_clip",
            Layout::CustomText => "open_clip, text tower under text.",
            Layout::Transformers => "transformers CLIPModel",
        })
    }
}

/// Tensor names that occur only in a `CLIPModel` or a part of one.
const TRANSFORMERS_MARKERS: [&str; 2] = [
    "vision_model.embeddings.patch_embedding.weight",
    "text_model.embeddings.token_embedding.weight",
];

/// Prefix of open_clip's separate text tower.
const TEXT_PREFIX: &str = "text.";

/// Detects the layout from the tensor names, and converts the tensors to open_clip's names.
pub(crate) fn to_open_clip(
    path: &Path,
    tensors: IndexMap<String, Tensor>,
    budget: Budget,
) -> Result<(IndexMap<String, Tensor>, Layout), CheckpointError> {
    if TRANSFORMERS_MARKERS
        .iter()
        .any(|name| tensors.contains_key(*name))
    {
        let mut converter = Converter {
            path,
            budget,
            tensors: IndexMap::new(),
        };
        converter.add_transformers(&tensors)?;
        return Ok((converter.tensors, Layout::Transformers));
    }
    if tensors.contains_key("text.token_embedding.weight")
        && !tensors.contains_key("token_embedding.weight")
    {
        let mut converter = Converter {
            path,
            budget,
            tensors: IndexMap::new(),
        };
        for (name, tensor) in tensors {
            let name = name.strip_prefix(TEXT_PREFIX).unwrap_or(&name).to_owned();
            converter.insert(name, tensor)?;
        }
        return Ok((converter.tensors, Layout::CustomText));
    }
    Ok((tensors, Layout::OpenClip))
}

struct Converter<'a> {
    path: &'a Path,
    /// Charged for the copies of fused and transposed tensors: names may share one tensor, so
    /// copies alone could exhaust memory.
    budget: Budget,
    tensors: IndexMap<String, Tensor>,
}

impl Converter<'_> {
    fn add_transformers(&mut self, from: &IndexMap<String, Tensor>) -> Result<(), CheckpointError> {
        for (name, tensor) in from {
            if is_position_ids(name) {
                continue;
            }
            match name.as_str() {
                "visual_projection.weight" => {
                    let transposed = self.transposed(name, tensor)?;
                    self.insert("visual.proj".to_owned(), transposed)?;
                }
                "text_projection.weight" => {
                    let transposed = self.transposed(name, tensor)?;
                    self.insert("text_projection".to_owned(), transposed)?;
                }
                _ => match open_clip_name(name) {
                    OpenClipName::Same(name) => self.insert(name, tensor.clone())?,
                    OpenClipName::Fused { block, part } => {
                        let fused = self.fuse(from, name, part)?;
                        self.insert(format!("{block}.attn.in_proj_{part}"), fused)?;
                    }
                    OpenClipName::InFused { queries } if from.contains_key(&queries) => {}
                    OpenClipName::InFused { queries } => {
                        let reason = format!(
                            "found {} without {}",
                            escape_for_display(name),
                            escape_for_display(&queries)
                        );
                        return Err(self.mismatch(reason));
                    }
                },
            }
        }
        Ok(())
    }

    fn insert(&mut self, name: String, tensor: Tensor) -> Result<(), CheckpointError> {
        if self.tensors.contains_key(&name) {
            return Err(self.mismatch(format!(
                "two tensors map to open_clip's {}",
                escape_for_display(&name)
            )));
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// Concatenates the query tensor `name` with its key and value tensors along the rows, as
    /// open_clip stores them.
    fn fuse(
        &mut self,
        from: &IndexMap<String, Tensor>,
        name: &str,
        part: &str,
    ) -> Result<Tensor, CheckpointError> {
        let mut all = Vec::with_capacity(3);
        for letter in ["q", "k", "v"] {
            let other = match name.strip_suffix(&format!("q_proj.{part}")) {
                Some(layer) => format!("{layer}{letter}_proj.{part}"),
                None => name.to_owned(),
            };
            match from.get(&other) {
                Some(tensor) => all.push(tensor),
                None => {
                    let reason = format!(
                        "found {} without {}",
                        escape_for_display(name),
                        escape_for_display(&other)
                    );
                    return Err(self.mismatch(reason));
                }
            }
        }
        let (dtype, shape) = (all[0].dtype(), all[0].shape().to_vec());
        if shape.is_empty()
            || all
                .iter()
                .any(|tensor| tensor.dtype() != dtype || tensor.shape() != shape)
        {
            let reason = format!(
                "query, key and value tensors of {} are scalars, or differ in type or shape",
                escape_for_display(name)
            );
            return Err(self.mismatch(reason));
        }
        self.charge(name, all.iter().map(|tensor| tensor.bytes().len()).sum())?;
        let bytes = all
            .iter()
            .flat_map(|tensor| tensor.bytes())
            .copied()
            .collect();
        let mut fused_shape = shape;
        fused_shape[0] = fused_shape[0].saturating_mul(3);
        Tensor::from_bytes(dtype, &fused_shape, bytes)
    }

    /// Transposes a matrix.
    fn transposed(&mut self, name: &str, tensor: &Tensor) -> Result<Tensor, CheckpointError> {
        self.charge(name, tensor.bytes().len())?;
        tensor.transposed().ok_or_else(|| {
            let reason = format!(
                "expected a matrix for {}, got shape {:?}",
                escape_for_display(name),
                tensor.shape()
            );
            self.mismatch(reason)
        })
    }

    fn charge(&mut self, name: &str, bytes: usize) -> Result<(), CheckpointError> {
        self.budget
            .charge(bytes)
            .map_err(|Exhausted| CheckpointError::TooLarge {
                path: self.path.to_owned(),
                item: format!("a copy of {}", escape_for_display(name)),
            })
    }

    fn mismatch(&self, reason: String) -> CheckpointError {
        CheckpointError::LayoutMismatch {
            path: self.path.to_owned(),
            reason,
        }
    }
}

/// Whether it is a buffer of positions 0, 1, 2, …, which older versions saved.
fn is_position_ids(name: &str) -> bool {
    name.ends_with(".embeddings.position_ids")
}

/// Destination of a `CLIPModel` tensor under open_clip's names.
enum OpenClipName {
    /// Unchanged, under this name.
    Same(String),
    /// Query tensor: the first third of the block's `in_proj`.
    Fused { block: String, part: &'static str },
    /// Key or value tensor, fused when its query tensor of this name is converted.
    InFused { queries: String },
}

/// Names outside of transformer blocks: `CLIPModel`, open_clip.
pub(crate) const TOP_LEVEL_NAMES: &[(&str, &str)] = &[
    (
        "text_model.embeddings.token_embedding.weight",
        "token_embedding.weight",
    ),
    (
        "text_model.embeddings.position_embedding.weight",
        "positional_embedding",
    ),
    ("text_model.final_layer_norm.weight", "ln_final.weight"),
    ("text_model.final_layer_norm.bias", "ln_final.bias"),
    (
        "vision_model.embeddings.class_embedding",
        "visual.class_embedding",
    ),
    (
        "vision_model.embeddings.patch_embedding.weight",
        "visual.conv1.weight",
    ),
    (
        "vision_model.embeddings.position_embedding.weight",
        "visual.positional_embedding",
    ),
    // This typo is in every released version.
    ("vision_model.pre_layrnorm.weight", "visual.ln_pre.weight"),
    ("vision_model.pre_layrnorm.bias", "visual.ln_pre.bias"),
    (
        "vision_model.post_layernorm.weight",
        "visual.ln_post.weight",
    ),
    ("vision_model.post_layernorm.bias", "visual.ln_post.bias"),
];

/// Names within a block: `CLIPModel`, open_clip.
pub(crate) const BLOCK_NAMES: &[(&str, &str)] = &[
    ("self_attn.out_proj", "attn.out_proj"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
];

/// Prefixes up to the block number: `CLIPModel`, open_clip.
pub(crate) const BLOCK_PREFIXES: [(&str, &str); 2] = [
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (
        "vision_model.encoder.layers.",
        "visual.transformer.resblocks.",
    ),
];

/// Returns the destination of a tensor. An unknown name is kept, and reported as unexpected when
/// the weights are validated against a config.
fn open_clip_name(name: &str) -> OpenClipName {
    if let Some((_, to)) = TOP_LEVEL_NAMES.iter().find(|(from, _)| *from == name) {
        return OpenClipName::Same((*to).to_owned());
    }
    for (from, to) in BLOCK_PREFIXES {
        let Some((layer, part)) = name
            .strip_prefix(from)
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let block = format!("{to}{layer}");
        let Some((part, kind)) = part.rsplit_once('.') else {
            continue;
        };
        let kind = match kind {
            "weight" => "weight",
            "bias" => "bias",
            _ => continue,
        };
        match part {
            "self_attn.q_proj" => return OpenClipName::Fused { block, part: kind },
            "self_attn.k_proj" | "self_attn.v_proj" => {
                return OpenClipName::InFused {
                    queries: format!("{from}{layer}.self_attn.q_proj.{kind}"),
                };
            }
            _ => {
                if let Some((_, to)) = BLOCK_NAMES.iter().find(|(from, _)| *from == part) {
                    return OpenClipName::Same(format!("{block}.{to}.{kind}"));
                }
            }
        }
    }
    OpenClipName::Same(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        tensors: &[(&str, Tensor)],
    ) -> Result<(IndexMap<String, Tensor>, Layout), CheckpointError> {
        let mut all: IndexMap<String, Tensor> = tensors
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()))
            .collect();
        all.insert(TRANSFORMERS_MARKERS[1].to_owned(), matrix(&[1, 1], 0.0));
        to_open_clip(Path::new("f"), all, Budget::for_file(0))
    }

    fn matrix(shape: &[usize], first: f32) -> Tensor {
        let len: usize = shape.iter().product();
        Tensor::from_f32(
            shape,
            (0..len).map(|i| first + i as f32).collect::<Vec<_>>(),
        )
        .unwrap()
    }

    fn error(tensors: &[(&str, Tensor)]) -> String {
        read(tensors).unwrap_err().to_string()
    }

    const LAYER: &str = "text_model.encoder.layers.3.self_attn.";

    #[test]
    fn fuses_queries_keys_and_values_in_this_order() {
        let name = |letter: &str| format!("{LAYER}{letter}_proj.bias");
        let (q, k, v) = (name("q"), name("k"), name("v"));
        let parts = [
            (&*v, matrix(&[2], 4.0)),
            (&*q, matrix(&[2], 0.0)),
            (&*k, matrix(&[2], 2.0)),
        ];
        let (tensors, layout) = read(&parts).unwrap();
        assert_eq!(layout, Layout::Transformers);
        let fused = &tensors["transformer.resblocks.3.attn.in_proj_bias"];
        assert_eq!(
            (fused.shape(), &fused.to_f32()[..]),
            (&[6][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..])
        );
        assert_eq!(tensors.len(), 2);
        assert!(error(&parts[..2]).contains("k_proj.bias"));
        assert!(
            error(&[(&*k, matrix(&[2], 0.0))])
                .contains("without text_model.encoder.layers.3.self_attn.q_proj")
        );
        let uneven = [
            (&*q, matrix(&[2], 0.0)),
            (&*k, matrix(&[3], 0.0)),
            (&*v, matrix(&[2], 0.0)),
        ];
        assert!(error(&uneven).contains("differ in type or shape"));
        let scalars = [&*q, &*k, &*v].map(|name| (name, matrix(&[], 0.0)));
        assert!(error(&scalars).contains("differ in type or shape"));
    }

    #[test]
    fn transposes_projections() {
        let (tensors, _) = read(&[("visual_projection.weight", matrix(&[2, 3], 0.0))]).unwrap();
        let transposed = &tensors["visual.proj"];
        assert_eq!(
            (transposed.shape(), &transposed.to_f32()[..]),
            (&[3, 2][..], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..])
        );
        assert!(
            error(&[("text_projection.weight", matrix(&[2], 0.0))]).contains("expected a matrix")
        );
        let empty = Tensor::from_f32(&[usize::MAX >> 8, 0], Vec::new()).unwrap();
        assert!(
            read(&[("text_projection.weight", empty)]).unwrap().0["text_projection"].is_empty()
        );
    }

    #[test]
    fn one_storage_under_many_names_cannot_exhaust_memory() {
        let big = matrix(&[1 << 10, 1 << 10], 0.0);
        let names: Vec<String> = (0..60)
            .flat_map(|l| {
                ["q", "k", "v"]
                    .map(|p| format!("text_model.encoder.layers.{l}.self_attn.{p}_proj.weight"))
            })
            .collect();
        let all: Vec<(&str, Tensor)> = names
            .iter()
            .map(|name| (name.as_str(), big.clone()))
            .collect();
        let error = read(&all).unwrap_err();
        assert!(matches!(error, CheckpointError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn rejects_duplicate_names() {
        let duplicates = [
            ("ln_final.bias", matrix(&[1], 0.0)),
            ("text_model.final_layer_norm.bias", matrix(&[1], 0.0)),
        ];
        assert!(error(&duplicates).contains("ln_final.bias"));
    }

    #[test]
    fn strips_the_prefix_of_a_separate_text_tower() {
        let tensors: IndexMap<String, Tensor> = [
            "text.token_embedding.weight",
            "text.ln_final.bias",
            "visual.proj",
        ]
        .iter()
        .map(|name| ((*name).to_owned(), matrix(&[1], 0.0)))
        .collect();
        let (tensors, layout) = to_open_clip(Path::new("f"), tensors, Budget::for_file(0)).unwrap();
        assert_eq!(layout, Layout::CustomText);
        assert_eq!(
            tensors.keys().collect::<Vec<_>>(),
            ["token_embedding.weight", "ln_final.bias", "visual.proj"]
        );
    }
}
