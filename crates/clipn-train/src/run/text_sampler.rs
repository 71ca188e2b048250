//! Texts that the text towers read: the caption itself with a random "no" prompt, or the caption in
//! a random pair of templates.

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_data::TrainBatch;
use clipn_model::PromptSelection;
use clipn_text::prompts::{Template, TemplateSet};
use clipn_text::tokenizer::Tokenizer;

use crate::error::TrainingError;
use crate::objective::ObjectiveName;
use crate::run::settings::TrainSettings;
use crate::trainer::NoTexts;

/// Stream of the generator for prompts and templates.
const STREAM: u64 = 3;

/// Conversion of captions into texts.
#[derive(Debug, Clone)]
pub(crate) enum TextSampler {
    /// Captions unchanged, for the "yes" tower alone.
    Plain,
    /// Captions unchanged, with one of this many "no" prompts or their mean.
    Prompted(usize),
    /// Captions filled into a pair of "yes" and "no" templates.
    Paired(Vec<(Template, Template)>),
}

/// Texts of a micro-batch.
#[derive(Debug)]
pub(crate) struct SampledTexts {
    pub(crate) yes: Vec<String>,
    pub(crate) no: Option<NoTexts>,
    /// Number of texts of the "no" tower that exceed the context length.
    pub(crate) truncated: usize,
}

impl TextSampler {
    /// Creates the sampler of the objective.
    ///
    /// # Errors
    /// [`TrainingError::Prompt`] if the template set cannot be loaded,
    /// [`TrainingError::MissingNoTemplates`] if it has no "no" templates.
    pub(crate) fn from_settings(settings: &TrainSettings) -> Result<Self, TrainingError> {
        match settings.objective.name {
            ObjectiveName::Clip => Ok(Self::Plain),
            ObjectiveName::Clipn => Ok(Self::Prompted(settings.no_prompts)),
            ObjectiveName::ClipnHandcrafted => {
                let set = TemplateSet::resolve(&settings.templates)?;
                let pairs = set
                    .pairs()
                    .ok_or_else(|| TrainingError::MissingNoTemplates {
                        set: set.name().to_owned(),
                    })?;
                Ok(Self::Paired(
                    pairs.map(|(yes, no)| (yes.clone(), no.clone())).collect(),
                ))
            }
        }
    }

    /// Samples the texts of one micro-batch. They depend only on the seed, on `key`, which is step and
    /// micro-batch, and on each sample's position in the batch of all processes, so that any number
    /// of processes draws the same.
    pub(crate) fn sample(
        &self,
        batch: &TrainBatch,
        context: usize,
        seed: u64,
        key: [u64; 2],
    ) -> SampledTexts {
        let [step, micro_batch] = key;
        let mut rng = Xoshiro256::keyed(seed, &[STREAM, step, micro_batch, 0]);
        let captions = &batch.captions;
        let tokens = |texts: &[String]| Tokenizer::clip().tokenize_batch_counted(texts, context);
        match self {
            Self::Plain => SampledTexts {
                yes: captions.to_vec(),
                no: None,
                truncated: 0,
            },
            Self::Prompted(count) => {
                // One of the prompts or their mean, all equally likely.
                let mut draw = |_| match rng.below(*count as u64 + 1) as usize {
                    index if index < *count => PromptSelection::Index(index),
                    _ => PromptSelection::Mean,
                };
                let draws: Vec<PromptSelection> = (0..batch.total).map(&mut draw).collect();
                let (tokens, truncated) = tokens(captions);
                SampledTexts {
                    yes: captions.to_vec(),
                    no: Some(NoTexts {
                        tokens,
                        prompts: batch.positions.iter().map(|&at| draws[at]).collect(),
                    }),
                    truncated,
                }
            }
            Self::Paired(pairs) => {
                let mut draw_pair = |_| &pairs[rng.below(pairs.len() as u64) as usize];
                let draws: Vec<_> = (0..batch.total).map(&mut draw_pair).collect();
                let (yes, no): (Vec<String>, Vec<String>) = captions
                    .iter()
                    .zip(&batch.positions)
                    .map(|(caption, &at)| {
                        let (yes, no) = draws[at];
                        (yes.fill(caption), no.fill(caption))
                    })
                    .unzip();
                let (tokens, truncated) = tokens(&no);
                SampledTexts {
                    yes,
                    no: Some(NoTexts {
                        tokens,
                        prompts: vec![PromptSelection::Mean; no.len()],
                    }),
                    truncated,
                }
            }
        }
    }
}
