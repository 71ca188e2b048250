//! Comparison of a weights file with a config.

use std::collections::BTreeSet;

use clipn_checkpoint::Tensor;

use crate::config::{
    NO_PROMPTS, RESNET_POSITIONAL_EMBEDDING, TensorSpec, TextSide, VIT_POSITIONAL_EMBEDDING,
};
use crate::error::ModelError;
use crate::weights::{ModelWeights, NoSideOrigin, TrainingVocabulary, is_ignored, square_grid};

/// Maximum number of names of one kind in an error message.
const MAX_LISTED: usize = 6;

impl ModelWeights {
    /// Returns the weights, or an error if `details` is not empty.
    fn or_mismatch(self, details: String) -> Result<Self, ModelError> {
        if details.is_empty() {
            return Ok(self);
        }
        Err(ModelError::WeightsMismatch {
            path: self.checkpoint.path().to_owned(),
            model: self.config.name.clone(),
            details,
        })
    }

    /// Validates all tensors.
    pub(super) fn validated(self) -> Result<Self, ModelError> {
        let details = self.describe_mismatches();
        self.or_mismatch(details)
    }

    /// Validates the tensors of the image tower.
    pub(super) fn validated_image_tower(self) -> Result<Self, ModelError> {
        let expected = self.config.vision.tensors(self.config.embed_dim);
        let Mismatches {
            missing,
            wrong_shape,
            not_float,
        } = self.mismatched(&expected);
        self.or_mismatch(listed(&[
            ("missing", missing),
            ("with a wrong shape", wrong_shape),
            (NOT_FLOAT, not_float),
        ]))
    }

    /// Returns whether a token embedding has rows only for the tokens of the training vocabulary.
    fn has_vocabulary_rows(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> bool {
        let is_table = name.starts_with("token_embedding") && shape.len() == 2;
        let ids = self
            .training_vocabulary
            .as_ref()
            .filter(|_| is_table)
            .map(TrainingVocabulary::token_ids);
        ids.is_some_and(|ids| {
            tensor.shape() == [ids.len(), shape[1]]
                && ids.iter().all(|&id| (id as usize) < shape[0])
        })
    }

    /// Describes mismatches by count and first names of each kind; empty if there are none.
    fn describe_mismatches(&self) -> String {
        let mut expected = self.config.tensors();
        if self.no_side == NoSideOrigin::CopiedFromYes {
            let copied: BTreeSet<String> = self
                .config
                .text
                .tensors(self.config.embed_dim, TextSide::No)
                .into_iter()
                .map(|tensor| tensor.name)
                .collect();
            expected.retain(|tensor| !copied.contains(&tensor.name));
        }
        let Mismatches {
            missing,
            mut wrong_shape,
            mut not_float,
        } = self.mismatched(&expected);
        if let Some(prompts) = self.checkpoint.get(NO_PROMPTS) {
            let shape = prompts.shape();
            let text = &self.config.text;
            if shape.len() != 3 || shape[0] == 0 || shape[1..] != [text.context_length, text.width]
            {
                wrong_shape.push(format!(
                    "{NO_PROMPTS} {shape:?}, expected [prompts, {}, {}]",
                    text.context_length, text.width
                ));
            }
            if !prompts.dtype().is_float() {
                not_float.push(format!("{NO_PROMPTS} {}", prompts.dtype()));
            }
        }
        let known: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
        let unexpected = self
            .checkpoint
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !known.contains(name) && *name != NO_PROMPTS)
            .filter(|name| !is_ignored(name))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        listed(&[
            ("missing", missing),
            ("with a wrong shape", wrong_shape),
            (NOT_FLOAT, not_float),
            ("unexpected", unexpected),
        ])
    }

    /// Compares the tensors with those that the config needs.
    fn mismatched(&self, expected: &[TensorSpec]) -> Mismatches {
        let mut found = Mismatches::default();
        for TensorSpec { name, shape } in expected {
            let Some(tensor) = self.checkpoint.get(name) else {
                found.missing.push(name.clone());
                continue;
            };
            if !fits(name, tensor, shape) && !self.has_vocabulary_rows(name, tensor, shape) {
                let wrong = format!("{name} {:?}, expected {shape:?}", tensor.shape());
                found.wrong_shape.push(wrong);
            }
            // Integers are quantized weights or a mistake: their scale is not in the tensor.
            if !tensor.dtype().is_float() {
                found.not_float.push(format!("{name} {}", tensor.dtype()));
            }
        }
        found
    }
}

/// Heading of tensors with integers or booleans.
const NOT_FLOAT: &str = "of a type that is not floating-point";

/// Differences from a config, as texts by kind.
#[derive(Default)]
struct Mismatches {
    missing: Vec<String>,
    wrong_shape: Vec<String>,
    not_float: Vec<String>,
}

/// Formats `2 missing (a, b); 1 unexpected (c)`; empty if there are no names.
fn listed(sections: &[(&str, Vec<String>)]) -> String {
    let parts = sections
        .iter()
        .filter_map(|(heading, names)| section(heading, names));
    parts.collect::<Vec<_>>().join("; ")
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
        VIT_POSITIONAL_EMBEDDING | RESNET_POSITIONAL_EMBEDDING => {
            matches!(tensor.shape(), [rows, width] if *width == shape[1] && square_grid(*rows).is_some())
        }
        "logit_scale" => tensor.shape().iter().product::<usize>() == 1,
        _ => tensor.shape() == shape,
    }
}
