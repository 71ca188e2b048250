//! Words to rows: the "yes" text tower, and the mean over templates.

use clipn_base::progress::Progress;
use clipn_model::{Real, TextTower, has_direction, normalize_row};
use clipn_text::prompts::Template;
use serde::{Deserialize, Serialize};

use crate::negatives::NegativesError;
use crate::texts::{texts, token_batch};

/// Maximum number of texts encoded between two checks for cancellation.
const BATCH_SIZE: usize = 1024;

/// How the features of one word in several templates become one row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TemplateJoin {
    /// Mean of the normalized features, as for classes.
    #[default]
    NormalizedMean,
    /// Mean of the features as the tower returns them, as in CSP's code.
    RawMean,
}

impl TemplateJoin {
    /// Name in files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NormalizedMean => "normalized-mean",
            Self::RawMean => "raw-mean",
        }
    }
}

/// Encodes words with a text tower; returns rows `[M, D]` of length 1.
///
/// One stage of progress is reported, with a unit per text. Texts are encoded in the order of their
/// token ids, so that the tower computes common beginnings once.
///
/// # Errors
/// [`NegativesError::NoTemplates`], [`NegativesError::NotFinite`] for a word without direction,
/// [`NegativesError::Cancelled`], and errors of the tower.
pub fn encode_words<T: Real>(
    words: &[String],
    templates: &[Template],
    join: TemplateJoin,
    tower: &dyn TextTower<T>,
    progress: &dyn Progress,
) -> Result<Vec<T>, NegativesError> {
    if templates.is_empty() {
        return Err(NegativesError::NoTemplates);
    }
    let dim = tower.embed_dim();
    let mut rows = vec![T::zero(); words.len() * dim];
    progress.begin("encoding words", (words.len() * templates.len()) as u64);
    for batch in texts(words, templates, tower.context_length()).chunks(BATCH_SIZE) {
        if progress.is_cancelled() {
            return Err(NegativesError::Cancelled);
        }
        let mut features = tower.encode(&token_batch(batch)?)?;
        if join == TemplateJoin::NormalizedMean {
            features.normalize();
        }
        for (text, feature) in batch.iter().zip(features.rows()) {
            for (sum, &value) in rows[text.name * dim..][..dim].iter_mut().zip(feature) {
                *sum = *sum + value;
            }
        }
        progress.advance(batch.len() as u64);
    }
    progress.end();
    for (row, word) in rows.chunks_exact_mut(dim.max(1)).zip(words) {
        normalize_row(row);
        if !has_direction(row) {
            return Err(NegativesError::NotFinite { word: word.clone() });
        }
    }
    Ok(rows)
}
