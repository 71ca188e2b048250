//! The state that a run starts with: fresh, or restored from a checkpoint.

use std::path::Path;

use clipn_data::EpochPosition;
use clipn_model::{
    ModelConfig, ModelWeights, PretrainedWeights, TrainingVocabulary, WeightsMetadata,
};

use crate::error::TrainingError;
use crate::objective::{ObjectiveName, ObjectiveSettings};
use crate::optimizer::AdamW;
use crate::run::differences::{differences, optimizer_differences};
use crate::run::settings::TrainSettings;
use crate::setting_difference::SettingDifference;
use crate::state::{PublishedCheckpoint, TrainingCheckpoint};
use crate::towers::CpuTowers;

/// Initial state of a run.
#[derive(Debug)]
pub(crate) struct InitialState {
    pub(crate) towers: CpuTowers,
    pub(crate) notes: WeightsMetadata,
    /// Settings of the objective, with the factor of the "no" logits of the weights unless another is set.
    pub(crate) objective: ObjectiveSettings,
    pub(crate) optimizer: AdamW<f32>,
    /// Number of completed steps.
    pub(crate) step: u64,
    /// Number of samples seen.
    pub(crate) samples: u64,
    /// Number of completed epochs.
    pub(crate) epoch: u64,
    /// Position in a started epoch.
    pub(crate) position: Option<EpochPosition>,
    /// Settings that differ from those of the checkpoint.
    pub(crate) changed_settings: Vec<SettingDifference>,
    /// Number of computing threads that the checkpoint was trained with, if it is known.
    pub(crate) threads: Option<usize>,
}

impl InitialState {
    /// Restores the state of a checkpoint directory or a published `epoch_N.pt`, or creates that of
    /// a fresh run.
    pub(crate) fn load(
        checkpoint: Option<&Path>,
        settings: &TrainSettings,
        config: &ModelConfig,
        steps_per_epoch: u64,
    ) -> Result<Self, TrainingError> {
        match checkpoint {
            None => Self::fresh(settings, config),
            Some(path) if path.is_dir() => Self::from_checkpoint(path, settings, config),
            Some(path) => Self::from_published(path, settings, config, steps_per_epoch),
        }
    }

    fn fresh(settings: &TrainSettings, config: &ModelConfig) -> Result<Self, TrainingError> {
        settings.check_start()?;
        let (towers, mut notes) = match &settings.pretrained {
            None => {
                let notes = WeightsMetadata {
                    training_vocabulary: Some(TrainingVocabulary::default()),
                    ..WeightsMetadata::default()
                };
                (CpuTowers::untrained(config, settings.seed)?, notes)
            }
            Some(path) => {
                let pretrained = PretrainedWeights::open(path)?;
                let weights = ModelWeights::new(config.clone(), pretrained.checkpoint().clone())?;
                (
                    CpuTowers::from_weights(&weights, no_prompts(settings))?,
                    pretrained.metadata(),
                )
            }
        };
        let objective = resolved(settings.objective, &mut notes);
        Ok(Self {
            towers,
            notes,
            objective,
            optimizer: AdamW::new(settings.optimizer)?,
            step: 0,
            samples: 0,
            epoch: 0,
            position: None,
            changed_settings: Vec::new(),
            threads: None,
        })
    }

    fn from_checkpoint(
        dir: &Path,
        settings: &TrainSettings,
        config: &ModelConfig,
    ) -> Result<Self, TrainingError> {
        let TrainingCheckpoint {
            state,
            model,
            optimizer,
        } = TrainingCheckpoint::<f32>::load(dir)?;
        if state.objective.name != settings.objective.name {
            return Err(TrainingError::ObjectiveMismatch {
                path: dir.to_owned(),
                expected: state.objective.name,
                found: settings.objective.name,
            });
        }
        let threads = state.settings.get("threads").and_then(|n| n.as_u64());
        let mut notes = WeightsMetadata::from_checkpoint(&model);
        let objective = resolved(settings.objective, &mut notes);
        let settings = &TrainSettings {
            objective,
            ..settings.clone()
        };
        let changed_settings = differences(&state.settings, settings);
        let weights = ModelWeights::new(config.clone(), model)?;
        let towers = CpuTowers::from_weights(&weights, no_prompts(settings))?;
        let position =
            serde_json::from_value(state.position).map_err(|source| TrainingError::StateJson {
                part: "position",
                source,
            })?;
        Ok(Self {
            towers,
            notes,
            objective,
            optimizer: optimizer.with_settings(settings.optimizer)?,
            step: state.step,
            samples: state.samples_seen,
            epoch: state.epoch,
            position,
            changed_settings,
            threads: threads.and_then(|threads| usize::try_from(threads).ok()),
        })
    }

    /// Restores a checkpoint of the published training, which is written after whole epochs.
    fn from_published(
        path: &Path,
        settings: &TrainSettings,
        config: &ModelConfig,
        steps_per_epoch: u64,
    ) -> Result<Self, TrainingError> {
        let published = PublishedCheckpoint::<f32>::open(path)?;
        let weights = ModelWeights::new(config.clone(), published.model)?;
        let mut notes = WeightsMetadata::default();
        let objective = resolved(settings.objective, &mut notes);
        let step = published.epoch * steps_per_epoch;
        Ok(Self {
            towers: CpuTowers::from_weights(&weights, no_prompts(settings))?,
            notes,
            objective,
            changed_settings: optimizer_differences(
                published.optimizer.settings(),
                &settings.optimizer,
            ),
            optimizer: published.optimizer.with_settings(settings.optimizer)?,
            step,
            samples: step * settings.samples_per_step() as u64,
            epoch: published.epoch,
            position: None,
            threads: None,
        })
    }
}

/// Takes the factor of the "no" logits from the metadata of the weights unless another is set, and records
/// in `notes` the one that "no" is trained with.
fn resolved(mut objective: ObjectiveSettings, notes: &mut WeightsMetadata) -> ObjectiveSettings {
    if objective.name.uses_no() {
        let factor = objective.no_scale.or(notes.no_scale);
        objective.no_scale = factor.filter(|&factor| factor != 1.0);
    }
    notes.no_scale = objective.no_scale;
    objective
}

/// Returns the number of "no" prompts of the run's "no" tower; `None` for no "no" tower.
fn no_prompts(settings: &TrainSettings) -> Option<usize> {
    match settings.objective.name {
        ObjectiveName::Clip => None,
        ObjectiveName::ClipnHandcrafted => Some(0),
        ObjectiveName::Clipn => Some(settings.no_prompts),
    }
}
