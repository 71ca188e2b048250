//! Texts that the text towers read: the caption itself with a random "no" prompt, or the caption in
//! a random pair of templates.

use super::{TrainSettings, TrainingError};
use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_model::PromptSelection;
use clipn_text::prompts::{Template, TemplateSet};
use clipn_text::tokenizer::{TokenBatch, Tokenizer};

/// Stream of the generator for prompts and templates.
const STREAM: u64 = 3;

/// How captions become texts.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    /// Captions unchanged, for the "yes" tower alone.
    Plain,
    /// Captions unchanged, with one of this many "no" prompts or their mean.
    Prompted(usize),
    /// Captions filled into a pair of "yes" and "no" templates.
    Paired(Vec<(Template, Template)>),
}

/// Texts of a micro-batch.
pub(super) struct Drawn {
    pub yes: Vec<String>,
    pub no: Option<(TokenBatch, Vec<PromptSelection>)>,
}

impl Texts {
    pub fn of(settings: &TrainSettings) -> Result<Self, TrainingError> {
        match settings.objective.name.as_str() {
            "clip" => Ok(Self::Plain),
            "clipn-handcrafted" => {
                let set = TemplateSet::resolve(&settings.templates)?;
                let pairs = set.pairs().ok_or_else(|| TrainingError::NoNoTemplates {
                    set: set.name().to_owned(),
                })?;
                Ok(Self::Paired(
                    pairs.map(|(yes, no)| (yes.clone(), no.clone())).collect(),
                ))
            }
            _ => Ok(Self::Prompted(settings.no_prompts)),
        }
    }

    /// Draws the texts of one micro-batch. They depend only on the seed and on `key`: step,
    /// micro-batch, rank.
    pub fn draw(&self, captions: &[String], context: usize, seed: u64, key: [u64; 3]) -> Drawn {
        let [step, part, rank] = key;
        let mut rng = Xoshiro256::keyed(seed, &[STREAM, step, part, rank]);
        let tokens = |texts: &[String]| Tokenizer::clip().tokenize_batch(texts, context);
        match self {
            Self::Plain => Drawn {
                yes: captions.to_vec(),
                no: None,
            },
            Self::Prompted(count) => {
                // One of the prompts or their mean, all equally likely.
                let draw = |_| match rng.below(*count as u64 + 1) as usize {
                    index if index < *count => PromptSelection::Index(index),
                    _ => PromptSelection::Mean,
                };
                let prompts = captions.iter().map(draw).collect();
                Drawn {
                    yes: captions.to_vec(),
                    no: Some((tokens(captions), prompts)),
                }
            }
            Self::Paired(pairs) => {
                let mut drawn = || &pairs[rng.below(pairs.len() as u64) as usize];
                let (yes, no): (Vec<String>, Vec<String>) = captions
                    .iter()
                    .map(|caption| {
                        let (yes, no) = drawn();
                        (yes.fill(caption), no.fill(caption))
                    })
                    .unzip();
                let prompts = vec![PromptSelection::Mean; no.len()];
                Drawn {
                    yes,
                    no: Some((tokens(&no), prompts)),
                }
            }
        }
    }
}
