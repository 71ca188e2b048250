//! Checkpoints of a run: rank 0 writes them, after all ranks have compared their weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clipn_base::random::Xoshiro256;
use clipn_data::{Epoch, EpochPosition};
use clipn_model::TrainingVocabulary;

use crate::communicator::Communicator;
use crate::error::TrainingError;
use crate::run::ranks::check_same_digest;
use crate::run::{RunObserver, RunOutcome, TrainRun};
use crate::state::{
    CheckpointContents, CheckpointLabel, CheckpointStore, RetentionPolicy, STATE_FORMAT_VERSION,
    TrainingState,
};

impl TrainRun {
    /// The outcome with the newest checkpoint: the one of this call, or else of the run's directory. One
    /// is written if there is none, as after resuming a finished run of another directory.
    pub(super) fn outcome(
        &mut self,
        interrupted: bool,
        newest: Option<PathBuf>,
        observer: &dyn RunObserver,
    ) -> Result<RunOutcome, TrainingError> {
        let checkpoint = match newest {
            Some(newest) => newest,
            None => match self.newest()? {
                Some(label) => self.dir.join("checkpoints").join(label),
                None => self.save(CheckpointLabel::Epoch(self.epoch), None, observer)?,
            },
        };
        // A kill right after the last checkpoint leaves one more than are kept.
        if let Some(store) = &self.store {
            store.prune(self.retention())?;
        }
        Ok(RunOutcome {
            interrupted,
            step: self.step,
            checkpoint,
        })
    }

    /// Name of the newest checkpoint in the run's directory.
    fn newest(&self) -> Result<Option<String>, TrainingError> {
        let newest = match &self.store {
            Some(store) => store.latest()?.map(|saved| saved.label.to_string()),
            None => None,
        };
        let newest = self
            .ranks
            .bytes_of_root(newest.unwrap_or_default().as_bytes())?;
        let newest = String::from_utf8_lossy(&newest).into_owned();
        Ok(Some(newest).filter(|label| !label.is_empty()))
    }

    /// Saves a checkpoint in the middle of the epoch `data`, or between epochs.
    pub(super) fn save(
        &mut self,
        label: CheckpointLabel,
        data: Option<&Epoch>,
        observer: &dyn RunObserver,
    ) -> Result<PathBuf, TrainingError> {
        // Write features first: a resumed run must find those that this one used.
        if let Some(frozen) = &mut self.frozen {
            frozen.flush()?;
        }
        let position = data.map(Epoch::shared_position).transpose()?;
        self.trainer.synchronize()?;
        if self.ranks.world_size() > 1 {
            self.trainer.gather_moments()?;
            check_same_digest(
                &*self.ranks,
                "weights after training",
                self.trainer.digest(),
            )?;
            self.share_vocabulary()?;
        }
        let dir = self.dir.join("checkpoints").join(label.to_string());
        if let Some(store) = &self.store {
            self.write_checkpoint(store, label, position.as_ref())?;
            observer.saved(&dir);
        }
        self.ranks.barrier()?;
        Ok(dir)
    }

    /// Adds the words in the captions that other ranks read.
    fn share_vocabulary(&mut self) -> Result<(), TrainingError> {
        if let Some(words) = &mut self.notes.training_vocabulary {
            let all = self.ranks.all_gather_bytes(words.to_text().as_bytes())?;
            let all: Vec<_> = all
                .iter()
                .map(|text| String::from_utf8_lossy(text))
                .collect();
            *words = TrainingVocabulary::parse(&all.join(" "));
        }
        Ok(())
    }

    fn write_checkpoint(
        &self,
        store: &CheckpointStore,
        label: CheckpointLabel,
        position: Option<&EpochPosition>,
    ) -> Result<(), TrainingError> {
        let json = |part, value: Result<serde_json::Value, serde_json::Error>| {
            value.map_err(|source| TrainingError::StateJson { part, source })
        };
        let state = TrainingState {
            format: STATE_FORMAT_VERSION,
            epoch: self.epoch,
            step: self.step,
            samples_seen: self.samples_seen(),
            position: json("position", serde_json::to_value(position))?,
            rng: Xoshiro256::new(self.settings.seed),
            schedule: self.settings.schedule(self.total_steps()),
            optimizer: self.settings.optimizer,
            objective: self.settings.objective,
            model: json("model", serde_json::to_value(&self.config))?,
            settings: json("settings", serde_json::to_value(&self.settings))?,
            versions: BTreeMap::from([("clipn".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
            files: BTreeMap::new(),
        };
        let contents = CheckpointContents {
            state: &state,
            model: self.trainer.towers().tensors()?,
            notes: self.notes.clone(),
            optimizer: self.trainer.optimizer(),
        };
        store.save(label, contents)?;
        store.prune(self.retention())?;
        Ok(())
    }

    fn retention(&self) -> RetentionPolicy {
        RetentionPolicy {
            keep_last: self.settings.keep,
            keep_every: None,
        }
    }
}
