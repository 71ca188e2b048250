//! Other programs' names for the tensors of a CLIP, turned into open_clip's.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;

use super::budget::{Budget, Exhausted};
use super::error::shown;
use super::{CheckpointError, Tensor};

/// How a file names the tensors of a CLIP. Whatever it is, a [`Checkpoint`](super::Checkpoint) tells open_clip's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// open_clip's names, which are OpenAI's, with CLIPN's for the "no" side; also anything that is no CLIP.
    OpenClip,
    /// open_clip's names with the text tower under `text.` (`custom_text` in its configs).
    CustomText,
    /// `CLIPModel` of Hugging Face's `transformers`: queries, keys and values apart, projections the other way round.
    Transformers,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::OpenClip => "open_clip",
            Layout::CustomText => "open_clip, text tower apart",
            Layout::Transformers => "transformers CLIPModel",
        })
    }
}

/// Names that only a `CLIPModel` or a part of one has.
const OF_TRANSFORMERS: [&str; 2] = [
    "vision_model.embeddings.patch_embedding.weight",
    "text_model.embeddings.token_embedding.weight",
];

/// What open_clip has under `text.` when the text tower is apart.
const TEXT: &str = "text.";

/// Tells the layout by the names, and gives the tensors open_clip's.
pub(crate) fn to_open_clip(
    path: &Path,
    tensors: IndexMap<String, Tensor>,
    budget: Budget,
) -> Result<(IndexMap<String, Tensor>, Layout), CheckpointError> {
    if OF_TRANSFORMERS
        .iter()
        .any(|name| tensors.contains_key(*name))
    {
        let mut to = Target {
            path,
            budget,
            tensors: IndexMap::new(),
        };
        to.transformers(&tensors)?;
        return Ok((to.tensors, Layout::Transformers));
    }
    if tensors.contains_key("text.token_embedding.weight")
        && !tensors.contains_key("token_embedding.weight")
    {
        let mut to = Target {
            path,
            budget,
            tensors: IndexMap::new(),
        };
        for (name, tensor) in tensors {
            to.insert(name.strip_prefix(TEXT).unwrap_or(&name).to_owned(), tensor)?;
        }
        return Ok((to.tensors, Layout::CustomText));
    }
    Ok((tensors, Layout::OpenClip))
}

struct Target<'a> {
    path: &'a Path,
    /// Joining and transposing copy, and names may share one tensor, so copies alone could fill the memory.
    budget: Budget,
    tensors: IndexMap<String, Tensor>,
}

impl Target<'_> {
    fn transformers(&mut self, from: &IndexMap<String, Tensor>) -> Result<(), CheckpointError> {
        for (name, tensor) in from {
            if is_index(name) {
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
                _ => match renamed(name) {
                    Renamed::As(name) => self.insert(name, tensor.clone())?,
                    Renamed::Joined { block, part } => {
                        let joined = self.joined(from, name, part)?;
                        self.insert(format!("{block}.attn.in_proj_{part}"), joined)?;
                    }
                    Renamed::InJoined { queries } if from.contains_key(&queries) => {}
                    Renamed::InJoined { queries } => {
                        let what = format!("it holds {} and no {}", shown(name), shown(&queries));
                        return Err(self.refused(what));
                    }
                },
            }
        }
        Ok(())
    }

    fn insert(&mut self, name: String, tensor: Tensor) -> Result<(), CheckpointError> {
        if self.tensors.contains_key(&name) {
            return Err(self.refused(format!(
                "two of its tensors are open_clip's {}",
                shown(&name)
            )));
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// The tensor of queries named `name` with those of keys and values below it, as open_clip stores them.
    fn joined(
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
                    let what = format!("it holds {} and no {}", shown(name), shown(&other));
                    return Err(self.refused(what));
                }
            }
        }
        let (dtype, shape) = (all[0].dtype(), all[0].shape().to_vec());
        if shape.is_empty()
            || all
                .iter()
                .any(|tensor| tensor.dtype() != dtype || tensor.shape() != shape)
        {
            let what = format!(
                "queries, keys and values of {} differ in type or shape",
                shown(name)
            );
            return Err(self.refused(what));
        }
        self.charge(name, all.iter().map(|tensor| tensor.bytes().len()).sum())?;
        let bytes = all
            .iter()
            .flat_map(|tensor| tensor.bytes())
            .copied()
            .collect();
        let mut joined = shape;
        joined[0] = joined[0].saturating_mul(3);
        Tensor::from_bytes(dtype, &joined, bytes)
    }

    /// A matrix the other way round.
    fn transposed(&mut self, name: &str, tensor: &Tensor) -> Result<Tensor, CheckpointError> {
        self.charge(name, tensor.bytes().len())?;
        tensor.transposed().ok_or_else(|| {
            let what = format!("{} is no matrix but {:?}", shown(name), tensor.shape());
            self.refused(what)
        })
    }

    fn charge(&mut self, name: &str, bytes: usize) -> Result<(), CheckpointError> {
        self.budget
            .charge(bytes)
            .map_err(|Exhausted| CheckpointError::TooLarge {
                path: self.path.to_owned(),
                what: format!("a copy of {}", shown(name)),
            })
    }

    fn refused(&self, what: String) -> CheckpointError {
        CheckpointError::Layout {
            path: self.path.to_owned(),
            what,
        }
    }
}

/// Buffers of positions 0, 1, 2, …, which older versions saved.
fn is_index(name: &str) -> bool {
    name.ends_with(".embeddings.position_ids")
}

/// Where a tensor of `CLIPModel` goes.
enum Renamed {
    /// As it is, under this name.
    As(String),
    /// Queries, the first third of the block's `in_proj`.
    Joined { block: String, part: &'static str },
    /// Keys or values, taken with their queries, which have this name.
    InJoined { queries: String },
}

/// Names outside the blocks.
pub(super) const WHOLE: &[(&str, &str)] = &[
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
    // Spelt so in every released version.
    ("vision_model.pre_layrnorm.weight", "visual.ln_pre.weight"),
    ("vision_model.pre_layrnorm.bias", "visual.ln_pre.bias"),
    (
        "vision_model.post_layernorm.weight",
        "visual.ln_post.weight",
    ),
    ("vision_model.post_layernorm.bias", "visual.ln_post.bias"),
];

/// Parts of a block.
pub(super) const BLOCK: &[(&str, &str)] = &[
    ("self_attn.out_proj", "attn.out_proj"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
];

/// Towers, up to the number of a block.
pub(super) const TOWERS: [(&str, &str); 2] = [
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (
        "vision_model.encoder.layers.",
        "visual.transformer.resblocks.",
    ),
];

/// A name that is none of `CLIPModel`'s stays, and is told as unexpected when it is held against a config.
fn renamed(name: &str) -> Renamed {
    if let Some((_, to)) = WHOLE.iter().find(|(from, _)| *from == name) {
        return Renamed::As((*to).to_owned());
    }
    for (from, to) in TOWERS {
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
            "self_attn.q_proj" => return Renamed::Joined { block, part: kind },
            "self_attn.k_proj" | "self_attn.v_proj" => {
                return Renamed::InJoined {
                    queries: format!("{from}{layer}.self_attn.q_proj.{kind}"),
                };
            }
            _ => {
                if let Some((_, to)) = BLOCK.iter().find(|(from, _)| *from == part) {
                    return Renamed::As(format!("{block}.{to}.{kind}"));
                }
            }
        }
    }
    Renamed::As(name.to_owned())
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
        all.insert(OF_TRANSFORMERS[1].to_owned(), matrix(&[1, 1], 0.0));
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

    fn refused(tensors: &[(&str, Tensor)]) -> String {
        read(tensors).unwrap_err().to_string()
    }

    const LAYER: &str = "text_model.encoder.layers.3.self_attn.";

    #[test]
    fn queries_keys_and_values_are_joined_in_this_order() {
        let name = |letter: &str| format!("{LAYER}{letter}_proj.bias");
        let (q, k, v) = (name("q"), name("k"), name("v"));
        let parts = [
            (&*v, matrix(&[2], 4.0)),
            (&*q, matrix(&[2], 0.0)),
            (&*k, matrix(&[2], 2.0)),
        ];
        let (tensors, layout) = read(&parts).unwrap();
        assert_eq!(layout, Layout::Transformers);
        let joined = &tensors["transformer.resblocks.3.attn.in_proj_bias"];
        assert_eq!(
            (joined.shape(), &joined.to_f32()[..]),
            (&[6][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..])
        );
        assert_eq!(tensors.len(), 2);
        assert!(refused(&parts[..2]).contains("k_proj.bias"));
        assert!(
            refused(&[(&*k, matrix(&[2], 0.0))])
                .contains("no text_model.encoder.layers.3.self_attn.q_proj")
        );
        let uneven = [
            (&*q, matrix(&[2], 0.0)),
            (&*k, matrix(&[3], 0.0)),
            (&*v, matrix(&[2], 0.0)),
        ];
        assert!(refused(&uneven).contains("differ in type or shape"));
        let scalars = [&*q, &*k, &*v].map(|name| (name, matrix(&[], 0.0)));
        assert!(refused(&scalars).contains("differ in type or shape"));
    }

    #[test]
    fn projections_are_turned() {
        let (tensors, _) = read(&[("visual_projection.weight", matrix(&[2, 3], 0.0))]).unwrap();
        let turned = &tensors["visual.proj"];
        assert_eq!(
            (turned.shape(), &turned.to_f32()[..]),
            (&[3, 2][..], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..])
        );
        assert!(refused(&[("text_projection.weight", matrix(&[2], 0.0))]).contains("no matrix"));
        let empty = Tensor::from_f32(&[usize::MAX >> 8, 0], Vec::new()).unwrap();
        assert!(
            read(&[("text_projection.weight", empty)]).unwrap().0["text_projection"].is_empty()
        );
    }

    #[test]
    fn one_storage_under_many_names_cannot_fill_the_memory() {
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
    fn a_name_may_not_stand_twice() {
        let twice = [
            ("ln_final.bias", matrix(&[1], 0.0)),
            ("text_model.final_layer_norm.bias", matrix(&[1], 0.0)),
        ];
        assert!(refused(&twice).contains("ln_final.bias"));
    }

    #[test]
    fn a_text_tower_apart_is_brought_home() {
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
