use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ClassifierError, Logits};
use clipn_base::progress::Progress;
use clipn_model::{Features, NoSide, Real, TextTower, Weights, normalize_row};
use clipn_ood::scores::LOGIT_SCALE;
use clipn_text::prompts::{Template, TemplateSet};
use clipn_text::tokenizer::{TokenBatch, Tokenizer, end_of_text_position};

/// Maximum number of texts encoded between two checks for cancellation.
const BATCH_SIZE: usize = 1024;

/// Variant of CLIPN by its "no" prompts: which templates the "no" text tower encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptVariant {
    /// Learnable variant: both towers encode the `yes` templates, and learned "no" prompts make the
    /// difference.
    #[default]
    Learnable,
    /// Hand-crafted variant: the "no" tower encodes the `no` templates, each paired with the `yes`
    /// template of the same line.
    HandCrafted,
}

impl PromptVariant {
    /// Chooses the variant for `weights` and `templates`: hand-crafted if the weights have a "no"
    /// tower without learnable prompts and there are `no` templates, else learnable.
    pub fn for_weights(weights: &Weights, templates: &TemplateSet) -> Self {
        let has_no_side = weights.no_side() == NoSide::Stored;
        if has_no_side && weights.no_prompts() == 0 && templates.no().is_some() {
            Self::HandCrafted
        } else {
            Self::Learnable
        }
    }
}

/// Two zero-shot classifiers, "yes" and "no", over the same K classes with D-dimensional features.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier<T = f32> {
    class_names: Vec<String>,
    yes: Vec<T>,
    no: Vec<T>,
    dim: usize,
    scale: f64,
}

impl<T: Real> Classifier<T> {
    /// Creates a classifier from rows `yes` and `no`, each `[K, D]` for K class names and of length
    /// 1. The scale is the published 100.
    ///
    /// # Errors
    /// [`ClassifierError::NoClasses`] if there are no names, [`ClassifierError::Dimensions`] if the
    /// values do not form K rows each.
    pub fn new(class_names: Vec<String>, yes: Vec<T>, no: Vec<T>) -> Result<Self, ClassifierError> {
        let dim = yes
            .len()
            .checked_div(class_names.len())
            .ok_or(ClassifierError::NoClasses)?;
        if yes.len() != no.len() || dim * class_names.len() != yes.len() || dim == 0 {
            return Err(ClassifierError::Dimensions {
                yes: yes.len(),
                no: no.len(),
            });
        }
        Ok(Self {
            class_names,
            yes,
            no,
            dim,
            scale: LOGIT_SCALE,
        })
    }

    /// Sets the factor between cosines and logits, which is the published 100 by default. The
    /// model's own, with which it was trained, is
    /// [`logit_scale`](clipn_model::Weights::logit_scale).
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// Returns the factor between cosines and logits.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Returns the K class names, in row order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Returns the number of classes K.
    pub fn len(&self) -> usize {
        self.class_names.len()
    }

    /// Always false, as [`Classifier::new`] requires a class.
    pub fn is_empty(&self) -> bool {
        self.class_names.is_empty()
    }

    /// Returns the feature dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns W_yes, `[K, D]`, rows of length 1.
    pub fn yes(&self) -> &[T] {
        &self.yes
    }

    /// Returns W_no, `[K, D]`, rows of length 1.
    pub fn no(&self) -> &[T] {
        &self.no
    }

    /// Concatenates two classifiers, with the classes of `other` last and the scale of `self`.
    ///
    /// # Errors
    /// [`ClassifierError::Dimensions`] if the feature dimensions differ,
    /// [`ClassifierError::Repeated`] if both have a class of the same name.
    pub fn joined(&self, other: &Self) -> Result<Self, ClassifierError> {
        if self.dim != other.dim {
            return Err(ClassifierError::Dimensions {
                yes: self.dim,
                no: other.dim,
            });
        }
        if let Some(name) = other
            .class_names
            .iter()
            .find(|name| self.class_names.contains(name))
        {
            return Err(ClassifierError::Repeated {
                class: name.clone(),
            });
        }
        let class_names = [self.class_names(), other.class_names()].concat();
        let (yes, no) = (
            [self.yes(), other.yes()].concat(),
            [self.no(), other.no()].concat(),
        );
        Ok(Self {
            class_names,
            yes,
            no,
            dim: self.dim,
            scale: self.scale,
        })
    }

    /// Removes the given classes; all classes with a given name are removed.
    ///
    /// # Errors
    /// [`ClassifierError::UnknownClass`] for an unknown name, [`ClassifierError::NoClasses`] if no
    /// class would be left.
    pub fn without(&self, class_names: &[String]) -> Result<Self, ClassifierError> {
        if let Some(name) = class_names
            .iter()
            .find(|name| !self.class_names.contains(name))
        {
            return Err(ClassifierError::UnknownClass {
                class: name.clone(),
            });
        }
        let kept: Vec<usize> = (0..self.len())
            .filter(|&class| !class_names.contains(&self.class_names[class]))
            .collect();
        let rows = |side: &[T]| {
            kept.iter()
                .flat_map(|&class| &side[class * self.dim..][..self.dim])
                .copied()
                .collect()
        };
        let names = kept
            .iter()
            .map(|&class| self.class_names[class].clone())
            .collect();
        Ok(Self::new(names, rows(&self.yes), rows(&self.no))?.with_scale(self.scale))
    }

    /// Computes the logits of normalized image features f `[N, D]`: scale·f·W_yesᵀ and
    /// scale·f·W_noᵀ, each `[N, K]`.
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if the dimension of the features differs.
    pub fn logits(&self, features: &Features<T>) -> Result<Logits<T>, ClassifierError> {
        if features.dim() != self.dim {
            return Err(ClassifierError::FeatureDimension {
                expected: self.dim,
                found: features.dim(),
            });
        }
        let logits_for = |rows: &[T]| {
            let scale = T::of(self.scale);
            let row = |f| rows.chunks_exact(self.dim).map(move |w| scale * dot(f, w));
            features.rows().flat_map(row).collect()
        };
        Ok(Logits::new(
            logits_for(&self.yes),
            logits_for(&self.no),
            self.len(),
            self.scale,
        ))
    }
}

/// Builds a classifier: the row of a class is the normalized mean of its normalized text features
/// over all templates, once for the "yes" tower and once for the "no" tower. Same as
/// `classification.merge_yes_no_feature` of the published code.
///
/// # Errors
/// A [`ClassifierError`] if there are no names or templates, if the template set lacks the `no`
/// templates of the hand-crafted variant, if the towers differ in dimension, if a tower rejects the
/// texts or returns non-finite features, or if `progress` is cancelled.
pub fn build<T: Real>(
    class_names: &[String],
    templates: &TemplateSet,
    wording: PromptVariant,
    yes: &dyn TextTower<T>,
    no: &dyn TextTower<T>,
    progress: &dyn Progress,
) -> Result<Classifier<T>, ClassifierError> {
    if class_names.is_empty() {
        return Err(ClassifierError::NoClasses);
    }
    if yes.embed_dim() != no.embed_dim() {
        return Err(ClassifierError::Dimensions {
            yes: yes.embed_dim(),
            no: no.embed_dim(),
        });
    }
    let yes_lines = templates.yes();
    let no_lines = match wording {
        PromptVariant::Learnable => yes_lines,
        PromptVariant::HandCrafted => {
            templates
                .no()
                .ok_or_else(|| ClassifierError::NoNoTemplates {
                    set: templates.name().to_owned(),
                })?
        }
    };
    if yes_lines.is_empty() || no_lines.is_empty() {
        return Err(ClassifierError::NoTemplates);
    }
    let texts = class_names.len() * (yes_lines.len() + no_lines.len());
    progress.begin("encoding class names", texts as u64);
    let yes = side(class_names, yes_lines, yes, progress)?;
    let no = side(class_names, no_lines, no, progress)?;
    progress.end();
    Classifier::new(class_names.to_vec(), yes, no)
}

/// Encodes the class names with one tower; returns rows `[K, D]`.
fn side<T: Real>(
    class_names: &[String],
    lines: &[Template],
    tower: &dyn TextTower<T>,
    progress: &dyn Progress,
) -> Result<Vec<T>, ClassifierError> {
    let dim = tower.embed_dim();
    let mut rows = vec![T::zero(); class_names.len() * dim];
    for batch in texts(class_names, lines, tower.context_length()).chunks(BATCH_SIZE) {
        if progress.is_cancelled() {
            return Err(ClassifierError::Cancelled);
        }
        let length = batch
            .iter()
            .map(|text| text.ids.len())
            .max()
            .unwrap_or_default();
        let padded = |text: &Text| {
            let mut ids = text.ids.clone();
            ids.resize(length, 0);
            ids
        };
        let tokens = TokenBatch::new(batch.iter().flat_map(padded).collect(), length)?;
        let mut features = tower.encode(&tokens)?;
        features.normalize();
        for (text, feature) in batch.iter().zip(features.rows()) {
            for (sum, &value) in rows[text.class * dim..][..dim].iter_mut().zip(feature) {
                *sum = *sum + value;
            }
        }
        progress.advance(batch.len() as u64);
    }
    for (row, class) in rows.chunks_exact_mut(dim).zip(class_names) {
        normalize_row(row);
        if row.iter().any(|v| !v.is_finite()) {
            return Err(ClassifierError::NotFinite {
                class: class.clone(),
            });
        }
    }
    Ok(rows)
}

/// Class name in a template, as token ids up to the end of the text.
struct Text {
    ids: Vec<u32>,
    class: usize,
}

/// Tokenizes all class names in all templates, sorted by token ids. Texts with a common prefix are
/// adjacent, so a tower that caches prefixes computes each once.
fn texts(class_names: &[String], lines: &[Template], context_length: usize) -> Vec<Text> {
    let texts_of_class = |(class, name): (usize, &String)| {
        let text = move |line: &Template| {
            let mut ids = Tokenizer::clip().tokenize(&line.fill(name), context_length);
            ids.truncate(end_of_text_position(&ids) + 1);
            Text { ids, class }
        };
        lines.iter().map(text).collect::<Vec<_>>()
    };
    let mut texts: Vec<Text> = class_names
        .par_iter()
        .enumerate()
        .flat_map_iter(texts_of_class)
        .collect();
    texts.par_sort_by(|a, b| a.ids.cmp(&b.ids));
    texts
}

/// Dot product in 16 partial sums, which the compiler can vectorize.
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: T = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(&x, &y)| x * y)
        .sum();
    for (a, b) in a.zip(b) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(a).zip(b) {
            *lane = *lane + x * y;
        }
    }
    lanes.into_iter().sum::<T>() + tail
}
