//! Class names to rows: the text towers, and the mean over templates.

use clipn_base::progress::Progress;
use clipn_model::{Real, TextTower, normalize_row};

use crate::classifier::{
    BuiltClassifier, ClassPrompts, Classifier, ClassifierError, TruncatedClass,
};
use crate::texts::{Text, equal_texts, own_texts, shortened, texts, token_batch};

/// Maximum number of texts encoded between two checks for cancellation.
const BATCH_SIZE: usize = 1024;

/// Encodes class names with the "yes" tower and, unless it is `None`, the "no" tower: the row of a class
/// is the normalized mean of its normalized text features over all templates. Same as
/// `classification.merge_yes_no_feature` of the published code.
///
/// Classes whose texts are equal are an error, unless `allow_duplicates` is set.
pub(super) fn encode_classes<T: Real>(
    class_names: Vec<String>,
    prompts: &ClassPrompts,
    yes: &dyn TextTower<T>,
    no: Option<&dyn TextTower<T>>,
    allow_duplicates: bool,
    progress: &dyn Progress,
) -> Result<BuiltClassifier<T>, ClassifierError> {
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
    let (yes_texts, no_texts) = texts_of_towers(&class_names, prompts, yes, no)?;
    if yes_texts.is_empty() || no_texts.as_ref().is_some_and(Vec::is_empty) {
        return Err(ClassifierError::NoTemplates);
    }
    let truncated = truncated_classes(&class_names, &yes_texts, no_texts.as_deref());
    if !allow_duplicates {
        let is_candidate = |class: usize| {
            prompts.templates().sentences().is_some()
                || truncated.iter().any(|cut| cut.index == class)
        };
        if let Some(group) = equal_texts(&yes_texts, is_candidate).first() {
            return Err(ClassifierError::EqualTexts {
                first: shortened(&class_names[group[0]]),
                second: shortened(&class_names[group[1]]),
                context_length: yes.context_length(),
            });
        }
    }
    let count = yes_texts.len() + no_texts.as_ref().map_or(0, Vec::len);
    progress.begin("encoding class names", count as u64);
    let yes_rows = encode_side(&class_names, &yes_texts, yes, progress)?;
    let no_rows = match (no, &no_texts) {
        (Some(tower), Some(texts)) => Some(encode_side(&class_names, texts, tower, progress)?),
        _ => None,
    };
    progress.end();
    Ok(BuiltClassifier {
        classifier: Classifier::new(class_names, yes_rows, no_rows)?,
        truncated,
        unseen: Vec::new(),
        note_of_templates: None,
        context_length: yes.context_length(),
    })
}

/// Texts of the "yes" tower and, if there is one, of the "no" tower.
type TowerTexts = (Vec<Text>, Option<Vec<Text>>);

fn texts_of_towers<T: Real>(
    class_names: &[String],
    prompts: &ClassPrompts,
    yes: &dyn TextTower<T>,
    no: Option<&dyn TextTower<T>>,
) -> Result<TowerTexts, ClassifierError> {
    if let Some(sentences) = prompts.templates().sentences() {
        let sentences = sentences.for_classes(class_names)?;
        if no.is_some() {
            // The hand-crafted variant has no sentences for the "no" tower.
            prompts.no_templates()?;
        }
        let of_tower = |tower: &dyn TextTower<T>| own_texts(&sentences, tower.context_length());
        return Ok((of_tower(yes), no.map(of_tower)));
    }
    let of_tower =
        |templates, tower: &dyn TextTower<T>| texts(class_names, templates, tower.context_length());
    let no_texts = match no {
        Some(tower) => Some(of_tower(prompts.no_templates()?, tower)),
        None => None,
    };
    Ok((of_tower(prompts.templates().yes(), yes), no_texts))
}

/// Counts the truncated texts by class, in class order.
fn truncated_classes(
    class_names: &[String],
    yes: &[Text],
    no: Option<&[Text]>,
) -> Vec<TruncatedClass> {
    let mut counts = vec![(0, 0); class_names.len()];
    for text in yes.iter().chain(no.unwrap_or_default()) {
        counts[text.name].0 += usize::from(text.truncated);
        counts[text.name].1 += 1;
    }
    let classes = counts.into_iter().zip(class_names).enumerate();
    classes
        .filter(|(_, ((truncated, _), _))| *truncated > 0)
        .map(|(index, ((truncated, texts), name))| TruncatedClass {
            index,
            name: name.clone(),
            truncated,
            texts,
        })
        .collect()
}

/// Encodes the texts of the classes with one tower; returns rows `[K, D]`.
fn encode_side<T: Real>(
    class_names: &[String],
    texts: &[Text],
    tower: &dyn TextTower<T>,
    progress: &dyn Progress,
) -> Result<Vec<T>, ClassifierError> {
    let dim = tower.embed_dim();
    let mut rows = vec![T::zero(); class_names.len() * dim];
    for batch in texts.chunks(BATCH_SIZE) {
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
