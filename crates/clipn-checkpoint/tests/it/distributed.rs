//! Directories of `torch.distributed.checkpoint`, as PyTorch 2.15.0 wrote them
//! (`fixtures/cases/weights/README.md`).

use std::fs;
use std::path::{Path, PathBuf};

use clipn_checkpoint::{Checkpoint, CheckpointError, Dtype, Tensor, WeightsFormat};
use clipn_testing::distributed::write;
use clipn_testing::{fixture, test_data};

fn directory(name: &str) -> PathBuf {
    fixture("cases/weights/distributed").join(name)
}

/// Returns a copy that a test may change.
fn copied(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn error(path: &Path) -> CheckpointError {
    Checkpoint::open_model(path, None).expect_err("the checkpoint should be rejected")
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.get(name).expect(name).to_f32().to_vec()
}

/// Numbers from `first`, as the fixtures have them.
fn counting(first: usize, len: usize) -> Vec<f32> {
    (first..first + len).map(|value| value as f32).collect()
}

#[test]
fn a_model_sharded_by_fsdp_is_joined() {
    let expected = Checkpoint::open(directory("expected-f16.safetensors")).unwrap();
    let read = Checkpoint::open_model(directory("fsdp2"), None).unwrap();
    assert_eq!(read.format(), WeightsFormat::TorchDistributed);
    assert_eq!(read.path(), directory("fsdp2").join(".metadata"));
    assert_eq!(read.stripped_prefix(), "model.");
    assert_eq!(read.len(), 38);
    assert_eq!(read.len(), expected.len());
    for (name, tensor) in &expected {
        assert_eq!(read.get(name), Some(tensor), "{name}");
    }
    // The second rank has none of its elements.
    assert_eq!(read.get("logit_scale").map(Tensor::shape), Some(&[1][..]));
    assert_eq!(read.metadata().get("epoch"), Some("3"));
    assert_eq!(read.metadata().get("name"), Some("two ranks"));
    assert_eq!(read.shard_count(), 2);
    // The metadata file stands for its directory.
    let read = Checkpoint::open(directory("fsdp2").join(".metadata")).unwrap();
    assert_eq!(read.get("visual.proj"), expected.get("visual.proj"));
}

#[test]
fn tensors_split_over_a_mesh_are_joined() {
    let read = Checkpoint::open(directory("grid")).unwrap();
    for (name, first) in [("grid", 0), ("columns", 100), ("both", 200), ("whole", 300)] {
        assert_eq!(read.get(name).unwrap().shape(), [5, 7], "{name}");
        assert_eq!(values(&read, name), counting(first, 35), "{name}");
    }
    let cube = read.get("cube").unwrap();
    assert_eq!((cube.dtype(), cube.shape()), (Dtype::Bf16, &[2, 3, 4][..]));
    assert_eq!(cube.to_f32()[..], counting(0, 24));
    assert_eq!(read.get("plain").unwrap().to_i64(), [0, 1, 2]);
    let transposed = read.get("transposed").unwrap();
    assert_eq!(transposed.shape(), [7, 5]);
    assert_eq!(transposed.to_f32()[..6], [0.0, 7.0, 14.0, 21.0, 28.0, 1.0]);
}

#[test]
fn metadata_of_each_rank_are_merged() {
    let read = Checkpoint::open(directory("each-rank")).unwrap();
    assert_eq!(values(&read, "rows"), counting(0, 15));
    assert_eq!(values(&read, "columns"), counting(100, 15));
    assert_eq!(values(&read, "whole"), counting(0, 3));
    assert_eq!(read.metadata().get("epoch"), Some("4"));
    assert_eq!(read.len(), 3);
    // Without the second rank, half is missing.
    let copy = copied("each-rank");
    fs::remove_file(copy.path().join("__1.metadata")).unwrap();
    let error = Checkpoint::open(copy.path()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::InvalidChunks { tensor, reason, .. }
            if tensor == "state_dict.rows" && reason == "no chunk has the element at [3, 0]"),
        "{error}"
    );
}

#[test]
fn safetensors_files_of_ranks_are_joined() {
    let expected = Checkpoint::open(directory("expected-f16.safetensors")).unwrap();
    let read = Checkpoint::open_model(directory("hf-shards"), None).unwrap();
    assert_eq!(read.format(), WeightsFormat::TorchDistributed);
    assert_eq!((read.len(), read.shard_count()), (38, 2));
    for (name, tensor) in &expected {
        assert_eq!(read.get(name), Some(tensor), "{name}");
    }
    // One of them is a CLIP of half the size for any other reader.
    let shard = |rank| format!("shard-0000{rank}-model-00001-of-00001.safetensors");
    for rank in [1, 2] {
        let error = error(&directory("hf-shards").join(shard(rank)));
        assert!(
            matches!(
                &error,
                CheckpointError::PartOfCheckpoint { index: None, .. }
            ),
            "{error}"
        );
        assert_eq!(
            error.hint(),
            Some("name the directory, with all parts in it")
        );
    }
    // Under another name, that of the second rank still has the offsets.
    let copy = tempfile::tempdir().unwrap();
    let renamed = copy.path().join("renamed.safetensors");
    fs::copy(directory("hf-shards").join(shard(2)), &renamed).unwrap();
    let error = error(&renamed);
    assert!(
        matches!(&error, CheckpointError::PartOfCheckpoint { .. }),
        "{error}"
    );
}

#[test]
fn a_missing_rank_is_named() {
    let copy = copied("hf-shards");
    let first = "shard-00001-model-00001-of-00001.safetensors";
    fs::remove_file(copy.path().join(first)).unwrap();
    let error = Checkpoint::open(copy.path()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::InvalidChunks { reason, .. }
            if reason.starts_with("no chunk has the element at [0")),
        "{error}"
    );

    let copy = copied("fsdp2");
    fs::remove_file(copy.path().join("__1_0.distcp")).unwrap();
    let error = Checkpoint::open(copy.path()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::MissingShard { shard, .. } if shard == "__1_0.distcp"),
        "{error}"
    );

    let copy = copied("fsdp2");
    let file = copy.path().join("__1_0.distcp");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let error = Checkpoint::open(copy.path()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Truncated { path, reason }
            if *path == file && reason.contains("at byte ")),
        "{error}"
    );
}

#[test]
fn files_with_chunks_are_no_weights() {
    let error = error(&directory("fsdp2").join("__0_0.distcp"));
    assert!(
        matches!(&error, CheckpointError::PartOfCheckpoint { index: Some(index), found: true, .. }
            if index == ".metadata"),
        "{error}"
    );
    // `cp DIRECTORY/* …` leaves the hidden file behind.
    let copy = copied("fsdp2");
    fs::remove_file(copy.path().join(".metadata")).unwrap();
    let error = Checkpoint::open(copy.path()).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "__0_0.distcp is one part of a checkpoint in several files, and their index .metadata \
             is missing"
        ),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("hidden file"), "{error}");
}

#[test]
fn a_model_saved_by_one_process_is_read() {
    let Some(path) = test_data("cases/formats/weights/dcp") else {
        return;
    };
    let read = Checkpoint::open_model(&path, None).unwrap();
    assert_eq!(read.len(), 38);
    assert_eq!(read.stripped_prefix(), "model.");
    assert_eq!(read.metadata().get("step"), Some("7"));
}

#[test]
fn one_of_several_models_is_taken_by_its_key() {
    let tensor = |value| Tensor::from_f32(&[2, 1], vec![value; 2]).unwrap();
    let tensors = [
        ("model.visual.conv1.weight".to_owned(), tensor(1.0)),
        ("ema.module.visual.conv1.weight".to_owned(), tensor(2.0)),
        ("ema.n_averaged".to_owned(), tensor(3.0)),
        (
            "optim.state.visual.conv1.weight.exp_avg".to_owned(),
            tensor(4.0),
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &tensors, 2);
    let name = "visual.conv1.weight";
    let own = Checkpoint::open_model(directory.path(), None).unwrap();
    assert_eq!((own.len(), values(&own, name)), (1, vec![1.0; 2]));
    assert_eq!(own.other_models(), ["ema.module"]);
    let ignored = ["ema.n_averaged", "optim.state.visual.conv1.weight.exp_avg"];
    assert_eq!(own.ignored(), ignored);
    let averaged = Checkpoint::open_model(directory.path(), Some("ema")).unwrap();
    assert_eq!((averaged.len(), values(&averaged, name)), (1, vec![2.0; 2]));
    // All tensors, where no model is sought.
    assert_eq!(Checkpoint::open(directory.path()).unwrap().len(), 4);
}

#[test]
fn metadata_without_its_directory_are_named() {
    let bytes = fs::read(directory("fsdp2").join(".metadata")).unwrap();
    let error = Checkpoint::from_bytes("metadata", bytes).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Unrecognized { looks_like, .. }
            if looks_like.contains("distributed checkpoint")),
        "{error}"
    );
}

#[test]
fn runs_with_distributed_checkpoints_name_them() {
    let run = tempfile::tempdir().unwrap();
    let inner = run.path().join("pytorch_model_fsdp_0");
    fs::create_dir(&inner).unwrap();
    fs::copy(directory("grid").join(".metadata"), inner.join(".metadata")).unwrap();
    let error = Checkpoint::open(run.path()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::NoWeightsInDirectory { subdirectories, .. }
            if subdirectories == &["pytorch_model_fsdp_0"]),
        "{error}"
    );
}
