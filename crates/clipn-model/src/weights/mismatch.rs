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
        let (missing, wrong) = self.mismatched(&expected);
        self.or_mismatch(listed(&[
            ("missing", missing),
            ("with a wrong shape", wrong),
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
        let (missing, mut wrong) = self.mismatched(&expected);
        if let Some(prompts) = self.checkpoint.get(NO_PROMPTS) {
            let shape = prompts.shape();
            let text = &self.config.text;
            if shape.len() != 3 || shape[0] == 0 || shape[1..] != [text.context_length, text.width]
            {
                wrong.push(format!(
                    "{NO_PROMPTS} {shape:?}, expected [prompts, {}, {}]",
                    text.context_length, text.width
                ));
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
            ("with a wrong shape", wrong),
            ("unexpected", unexpected),
        ])
    }

    /// Returns the missing names, and descriptions of the tensors with a wrong shape.
    fn mismatched(&self, expected: &[TensorSpec]) -> (Vec<String>, Vec<String>) {
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for TensorSpec { name, shape } in expected {
            match self.checkpoint.get(name) {
                None => missing.push(name.clone()),
                Some(tensor)
                    if fits(name, tensor, shape)
                        || self.has_vocabulary_rows(name, tensor, shape) => {}
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
