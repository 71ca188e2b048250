//! Class names to rows: the text towers, and the mean over templates.

use clipn_base::progress::Progress;
use clipn_model::{Real, TextTower, normalize_row};
use clipn_text::prompts::Template;

use crate::classifier::{ClassPrompts, Classifier, ClassifierError};
use crate::texts::{texts, token_batch};

/// Maximum number of texts encoded between two checks for cancellation.
const BATCH_SIZE: usize = 1024;

/// Encodes class names with the "yes" tower and, unless it is `None`, the "no" tower: the row of a class
/// is the normalized mean of its normalized text features over all templates. Same as
/// `classification.merge_yes_no_feature` of the published code.
pub(super) fn encode_classes<T: Real>(
    class_names: Vec<String>,
    prompts: &ClassPrompts,
    yes: &dyn TextTower<T>,
    no: Option<&dyn TextTower<T>>,
    progress: &dyn Progress,
) -> Result<Classifier<T>, ClassifierError> {
    if class_names.is_empty() {
        return Err(ClassifierError::NoClasses);
    }
    if let Some(no) = no
        && yes.embed_dim() != no.embed_dim()
    {
        return Err(ClassifierError::DimensionMismatch {
            left: yes.embed_dim(),
            right: no.embed_dim(),
        });
    }
    let yes_templates = prompts.templates().yes();
    let no = match no {
        Some(tower) => Some((tower, prompts.no_templates()?)),
        None => None,
    };
    let no_templates = no.map(|(_, templates)| templates.len());
    if yes_templates.is_empty() || no_templates == Some(0) {
        return Err(ClassifierError::NoTemplates);
    }
    let texts = class_names.len() * (yes_templates.len() + no_templates.unwrap_or_default());
    progress.begin("encoding class names", texts as u64);
    let yes = encode_side(&class_names, yes_templates, yes, progress)?;
    let no = match no {
        Some((tower, templates)) => Some(encode_side(&class_names, templates, tower, progress)?),
        None => None,
    };
    progress.end();
    Classifier::new(class_names, yes, no)
}

/// Encodes the class names with one tower; returns rows `[K, D]`.
fn encode_side<T: Real>(
    class_names: &[String],
    templates: &[Template],
    tower: &dyn TextTower<T>,
    progress: &dyn Progress,
) -> Result<Vec<T>, ClassifierError> {
    let dim = tower.embed_dim();
    let mut rows = vec![T::zero(); class_names.len() * dim];
    for batch in texts(class_names, templates, tower.context_length()).chunks(BATCH_SIZE) {
        if progress.is_cancelled() {
            return Err(ClassifierError::Cancelled);
        }
        let mut features = tower.encode(&token_batch(batch)?)?;
        features.normalize();
        for (text, feature) in batch.iter().zip(features.rows()) {
            for (sum, &value) in rows[text.name * dim..][..dim].iter_mut().zip(feature) {
                *sum = *sum + value;
            }
        }
        progress.advance(batch.len() as u64);
    }
    rows.chunks_exact_mut(dim).for_each(normalize_row);
    Ok(rows)
}
