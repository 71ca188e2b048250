//! The published code's `epoch_N.pt`: weights and moments are read under their names.

use std::fs;

use clipn_checkpoint::Checkpoint;
use clipn_model::WeightsMetadata;
use clipn_testing::figures::Figures;
use clipn_testing::fixture;
use clipn_train::{
    AdamWSettings, CheckpointContents, CheckpointLabel, PublishedCheckpoint, TrainingCheckpoint,
    TrainingState, has_weight_decay,
};

use crate::training_state::{first_state, store};

#[test]
fn reads_the_published_training_checkpoint() {
    let published =
        PublishedCheckpoint::<f32>::open(fixture("training/checkpoint_after3.pt")).unwrap();
    assert_eq!((published.epoch, published.step), (1, 3));
    assert_eq!(published.name.as_deref(), Some("vit_quickgelu"));
    assert_eq!(published.optimizer.settings(), &AdamWSettings::default());
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("training/train_meta.json")).unwrap()).unwrap();
    let [not_decaying, decaying]: [Vec<String>; 2] =
        serde_json::from_value(meta["param_groups"].clone()).unwrap();
    let names: Vec<&str> = published
        .optimizer
        .moments()
        .map(|(name, _)| name)
        .collect();
    let expected: Vec<&str> = not_decaying
        .iter()
        .chain(&decaying)
        .map(String::as_str)
        .collect();
    assert_eq!(names, expected);
    for (name, moments) in published.optimizer.moments() {
        assert_eq!(
            moments.shape(),
            published.model.get(name).unwrap().shape(),
            "{name}"
        );
        assert_eq!(moments.step(), 3, "{name}");
        assert!(moments.second().iter().all(|v| *v >= 0.0), "{name}");
    }
    let expected_decay: Vec<bool> = names
        .iter()
        .map(|n| has_weight_decay(n, published.model.get(n).unwrap().shape()))
        .collect();
    assert!(expected_decay.is_sorted());
}

/// Only tokens seen in the three steps have moments in the token table: indices and names match.
#[test]
fn published_moments_belong_to_the_tokens_seen() {
    let published =
        PublishedCheckpoint::<f32>::open(fixture("training/checkpoint_after3.pt")).unwrap();
    let steps = Figures::open(&fixture("training/step1.safetensors"));
    let (_, moments) = published
        .optimizer
        .moments()
        .find(|(name, _)| *name == "token_embedding_no.weight")
        .unwrap();
    let width = moments.shape()[1];
    let touched: Vec<u32> = moments
        .second()
        .chunks(width)
        .zip(0..)
        .filter(|(row, _)| row.iter().any(|v| *v != 0.0))
        .map(|(_, id)| id)
        .collect();
    let seen: Vec<u32> = (0..3)
        .flat_map(|step| steps.ids(&format!("tokens_step{step}")))
        .collect();
    assert!(
        !touched.is_empty() && touched.iter().all(|id| seen.contains(id)),
        "{touched:?}"
    );
    // Every token with a gradient in the first step has moments in the file.
    let gradient = steps.f32("grad_step0.token_embedding_no.weight");
    for (id, row) in gradient.chunks(width).enumerate() {
        let had_gradient = row.iter().any(|v| *v != 0.0);
        assert!(
            !had_gradient || touched.contains(&(id as u32)),
            "token {id}"
        );
    }
}

#[test]
fn rejects_files_that_are_not_published_checkpoints() {
    let fail = |path: &str| {
        PublishedCheckpoint::<f32>::open(fixture(path))
            .unwrap_err()
            .to_string()
    };
    let error = fail("models/vit_quickgelu/model.safetensors");
    assert!(
        error.contains("a safetensors file has no optimizer state"),
        "{error}"
    );
    let error = fail("checkpoint/plain_clip.pt");
    assert!(error.contains("missing `optimizer`"), "{error}");
    assert!(fail("training/none.pt").contains("weights file not found"));
}

#[test]
fn a_published_checkpoint_can_be_saved_and_resumed() {
    let (_folder, store) = store();
    let PublishedCheckpoint {
        model,
        optimizer,
        step,
        ..
    } = PublishedCheckpoint::<f32>::open(fixture("training/checkpoint_after3.pt")).unwrap();
    let tensors: Vec<_> = model
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    let state = TrainingState {
        step,
        ..first_state()
    };
    let path = store
        .save(
            CheckpointLabel::Epoch(1),
            CheckpointContents {
                state: &state,
                model: tensors,
                notes: WeightsMetadata::default(),
                optimizer: &optimizer,
            },
        )
        .unwrap();
    let loaded = TrainingCheckpoint::<f32>::load(&path).unwrap();
    let same =
        |a: &Checkpoint, b: &Checkpoint| a.iter().all(|(name, tensor)| b.get(name) == Some(tensor));
    assert!(same(&model, &loaded.model) && model.len() == loaded.model.len());
    for ((a, m), (b, n)) in optimizer.moments().zip(loaded.optimizer.moments()) {
        assert_eq!(
            (a, m.step(), m.first(), m.second()),
            (b, n.step(), n.first(), n.second())
        );
    }
}
