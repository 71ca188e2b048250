use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ClassifierError, Logits};
use clipn_model::{Features, NoSide, Real, TextTower, Weights, normalise_row};
use clipn_base::progress::Progress;
use clipn_text::prompts::{Template, TemplateSet};
use clipn_ood::scores::LOGIT_SCALE;
use clipn_text::tokenizer::{TokenBatch, Tokenizer, end_of_text_position};

/// Texts encoded between two looks at the progress.
const TEXTS_AT_ONCE: usize = 1024;

/// Which lines the "no" tower reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wording {
    /// The learnable variant: both towers read the `yes` lines, and the "no" prompts make the difference.
    #[default]
    Learnable,
    /// The hand-crafted variant: the "no" tower reads the `no` lines, line by line.
    HandCrafted,
}

impl Wording {
    /// Hand-crafted where the weights have a "no" side without learnable prompts and the templates have `no` lines,
    /// learnable for all others.
    pub fn suited_to(weights: &Weights, templates: &TemplateSet) -> Self {
        let has_no_side = weights.no_side() == NoSide::Stored;
        if has_no_side && weights.no_prompts() == 0 && templates.no().is_some() {
            Self::HandCrafted
        } else {
            Self::Learnable
        }
    }
}

/// Two zero-shot classifiers over the same classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier<T = f32> {
    class_names: Vec<String>,
    yes: Vec<T>,
    no: Vec<T>,
    dim: usize,
    scale: f64,
}

impl<T: Real> Classifier<T> {
    /// A classifier of ready rows: `yes` and `no`, each `[K, D]` for K class names.
    ///
    /// # Errors
    /// There are no names, or the rows do not divide among them.
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

    /// The same classifier with another factor between cosines and logits than the published 100: the model's own
    /// [`logit_scale`](clipn_model::Weights::logit_scale), with which it was trained.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The factor between cosines and logits.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The K class names, in the order of the rows.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of classes K.
    pub fn len(&self) -> usize {
        self.class_names.len()
    }

    /// Whether there is no class, which [`Classifier::new`] does not allow.
    pub fn is_empty(&self) -> bool {
        self.class_names.is_empty()
    }

    /// Dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// W_yes, `[K, D]`, rows of length 1.
    pub fn yes(&self) -> &[T] {
        &self.yes
    }

    /// W_no, `[K, D]`, rows of length 1.
    pub fn no(&self) -> &[T] {
        &self.no
    }

    /// The classes of both, those of `other` after these, with this one's scale.
    ///
    /// # Errors
    /// The two belong to different models, or a class stands in both.
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

    /// The classifier without some of its classes; a name that stands twice goes wholly.
    ///
    /// # Errors
    /// There is no such class, or none would be left.
    pub fn without(&self, class_names: &[String]) -> Result<Self, ClassifierError> {
        if let Some(name) = class_names
            .iter()
            .find(|name| !self.class_names.contains(name))
        {
            return Err(ClassifierError::NoSuchClass {
                class: name.clone(),
            });
        }
        let left: Vec<usize> = (0..self.len())
            .filter(|&class| !class_names.contains(&self.class_names[class]))
            .collect();
        let rows = |side: &[T]| {
            left.iter()
                .flat_map(|&class| &side[class * self.dim..][..self.dim])
                .copied()
                .collect()
        };
        let names = left
            .iter()
            .map(|&class| self.class_names[class].clone())
            .collect();
        Ok(Self::new(names, rows(&self.yes), rows(&self.no))?.with_scale(self.scale))
    }

    /// The logits of normalised image features `[N, D]`: scale·f·W_yesᵀ and scale·f·W_noᵀ, each `[N, K]`.
    ///
    /// # Errors
    /// The features have another dimension.
    pub fn logits(&self, features: &Features<T>) -> Result<Logits<T>, ClassifierError> {
        if features.dim() != self.dim {
            return Err(ClassifierError::FeatureDimension {
                expected: self.dim,
                found: features.dim(),
            });
        }
        let against = |rows: &[T]| {
            let scale = T::of(self.scale);
            let row = |f| rows.chunks_exact(self.dim).map(move |w| scale * dot(f, w));
            features.rows().flat_map(row).collect()
        };
        Ok(Logits::new(
            against(&self.yes),
            against(&self.no),
            self.len(),
            self.scale,
        ))
    }
}

/// Builds a classifier: for every class the mean direction of its normalised text features over all templates, once
/// from the "yes" tower and once from the "no" tower (published `classification.merge_yes_no_feature`).
///
/// # Errors
/// There are no names or templates, a tower refuses the texts, its features are not finite, or the work was cancelled.
pub fn build<T: Real>(
    class_names: &[String],
    templates: &TemplateSet,
    wording: Wording,
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
        Wording::Learnable => yes_lines,
        Wording::HandCrafted => templates
            .no()
            .ok_or_else(|| ClassifierError::NoNoTemplates {
                set: templates.name().to_owned(),
            })?,
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

/// One tower's rows, `[K, D]`.
fn side<T: Real>(
    class_names: &[String],
    lines: &[Template],
    tower: &dyn TextTower<T>,
    progress: &dyn Progress,
) -> Result<Vec<T>, ClassifierError> {
    let dim = tower.embed_dim();
    let mut rows = vec![T::zero(); class_names.len() * dim];
    for batch in texts(class_names, lines, tower.context_length()).chunks(TEXTS_AT_ONCE) {
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
        features.normalise();
        for (text, feature) in batch.iter().zip(features.rows()) {
            for (sum, &value) in rows[text.class * dim..][..dim].iter_mut().zip(feature) {
                *sum = *sum + value;
            }
        }
        progress.advance(batch.len() as u64);
    }
    for (row, class) in rows.chunks_exact_mut(dim).zip(class_names) {
        normalise_row(row);
        if row.iter().any(|v| !v.is_finite()) {
            return Err(ClassifierError::NotFinite {
                class: class.clone(),
            });
        }
    }
    Ok(rows)
}

/// A class name in a template, as ids up to the end of the text.
struct Text {
    ids: Vec<u32>,
    class: usize,
}

/// Every name in every template, in the order of the ids: texts that begin alike stand side by side, so that a tower
/// that computes common beginnings once finds them.
fn texts(class_names: &[String], lines: &[Template], context_length: usize) -> Vec<Text> {
    let of_class = |(class, name): (usize, &String)| {
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
        .flat_map_iter(of_class)
        .collect();
    texts.par_sort_by(|a, b| a.ids.cmp(&b.ids));
    texts
}

/// A dot product in sixteen partial sums, which the compiler can keep side by side.
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: T = a
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
    lanes.into_iter().sum::<T>() + rest
}
