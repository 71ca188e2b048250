//! Training checkpoints: they load as saved, damage is reported, and neither a kill nor a full disk
//! loses the last complete one.
//!
//! Some tests run this test program as a child process, to kill it or to limit the size of its
//! files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_checkpoint::Tensor;
use clipn_model::WeightsMetadata;
use clipn_testing::random::Random;
use clipn_train::{
    AdamW, AdamWSettings, CheckpointContents, CheckpointLabel, CheckpointStore, ObjectiveSettings,
    ParameterGradient, ParameterUpdate, RetentionPolicy, STATE_FORMAT_VERSION, Schedule,
    StateError, TrainingCheckpoint, TrainingState,
};

/// Environment variable with the directory that a child process writes to.
const CHILD_DIRECTORY: &str = "CLIPN_TEST_CHECKPOINTS";

const NAMES: [(&str, &[usize]); 3] = [
    ("token_embedding_no.weight", &[50, 8]),
    ("ln_final_no.bias", &[8]),
    ("logit_scale", &[]),
];

/// A run with a few parameters.
#[derive(Clone)]
struct Run {
    state: TrainingState,
    values: Vec<Vec<f32>>,
    optimizer: AdamW<f32>,
}

/// The state of a run before its first step.
pub(crate) fn first_state() -> TrainingState {
    TrainingState {
        format: STATE_FORMAT_VERSION,
        epoch: 0,
        step: 0,
        samples_seen: 0,
        position: json!({"shard": 0, "sample": 0}),
        rng: Xoshiro256::new(5),
        schedule: Schedule::Cosine {
            base: 3e-4,
            warmup: 2,
            total: 100,
        },
        optimizer: AdamWSettings::default(),
        objective: ObjectiveSettings::default(),
        model: json!({"embed_dim": 8}),
        settings: json!({"batch_size": 4}),
        versions: BTreeMap::from([("clipn".to_owned(), "0.1.0".to_owned())]),
        files: BTreeMap::new(),
    }
}

impl Run {
    fn new() -> Self {
        let state = first_state();
        let mut random = Random::new(1);
        let values = NAMES
            .iter()
            .map(|(_, shape)| random.values(shape.iter().product(), 1.0))
            .collect();
        Self {
            optimizer: AdamW::new(state.optimizer).unwrap(),
            state,
            values,
        }
    }

    /// Takes a step with gradients from the run's own generator.
    fn step(&mut self) {
        let lr = self.state.schedule.learning_rate(self.state.step);
        let row = self.state.rng.below(50) as u32;
        let mut draw = |count| {
            (0..count)
                .map(|_| self.state.rng.normal() as f32)
                .collect::<Vec<_>>()
        };
        let (table, bias, scale) = (draw(8), draw(8), draw(1));
        let gradients = [
            ParameterGradient::Rows {
                ids: &[row],
                values: &table,
            },
            ParameterGradient::Dense(&bias),
            ParameterGradient::Dense(&scale),
        ];
        let updates = NAMES.iter().zip(&mut self.values).zip(gradients).map(
            |(((name, shape), values), gradient)| ParameterUpdate {
                name,
                shape,
                values,
                gradient,
            },
        );
        self.optimizer.step(lr, updates).unwrap();
        self.state.step += 1;
        self.state.samples_seen += 4;
        self.state.position = json!({"shard": self.state.step / 3, "sample": self.state.step % 3});
    }

    fn snapshot(&self) -> CheckpointContents<'_, f32> {
        let tensor = |((name, shape), values): (&(&str, &[usize]), &Vec<f32>)| {
            (
                (*name).to_owned(),
                Tensor::from_f32(shape, values.clone()).unwrap(),
            )
        };
        let model = NAMES.iter().zip(&self.values).map(tensor).collect();
        CheckpointContents {
            state: &self.state,
            model,
            notes: WeightsMetadata::default(),
            optimizer: &self.optimizer,
        }
    }

    fn load(folder: &Path) -> Self {
        let TrainingCheckpoint {
            state,
            model,
            optimizer,
        } = TrainingCheckpoint::load(folder).unwrap();
        let values = NAMES
            .iter()
            .map(|(name, _)| model.get(name).unwrap().to_f32().to_vec())
            .collect();
        Self {
            state,
            values,
            optimizer,
        }
    }

    /// All bits of state, parameters and moments.
    fn bits(&self) -> (String, Vec<u32>) {
        let state = TrainingState {
            files: BTreeMap::new(),
            ..self.state.clone()
        };
        let moments = self
            .optimizer
            .moments()
            .flat_map(|(_, m)| m.first().iter().chain(m.second().iter()));
        let bits = self
            .values
            .iter()
            .flatten()
            .chain(moments)
            .map(|v| v.to_bits())
            .collect();
        (serde_json::to_string(&state).unwrap(), bits)
    }
}

pub(crate) fn store() -> (tempfile::TempDir, CheckpointStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(folder.path()).unwrap();
    (folder, store)
}

/// Returns the entries of a directory, hidden ones included.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    let (_folder, store) = store();
    let mut whole = Run::new();
    (0..4).for_each(|_| whole.step());
    let path = store
        .save(CheckpointLabel::Step(4), whole.snapshot())
        .unwrap();
    assert_eq!(
        entries(&path),
        ["model.safetensors", "optimizer.safetensors", "state.json"]
    );
    let mut resumed = Run::load(&path);
    assert_eq!(resumed.bits(), whole.bits());
    for _ in 0..5 {
        whole.step();
        resumed.step();
    }
    assert_eq!(resumed.bits(), whole.bits());
    // The first step after loading copies the moments; the files are unchanged.
    TrainingCheckpoint::<f32>::load(&path).unwrap();
}

#[test]
fn a_run_in_f64_loads_as_saved() {
    let (_folder, store) = store();
    let mut optimizer = AdamW::<f64>::new(AdamWSettings::default()).unwrap();
    let mut values = [0.1f64, 0.2];
    let gradient = ParameterGradient::Dense(&[1.0 / 3.0, 2.0][..]);
    optimizer
        .step(
            0.1,
            [ParameterUpdate {
                name: "w",
                shape: &[2],
                values: &mut values,
                gradient,
            }],
        )
        .unwrap();
    let model = vec![("w".to_owned(), Tensor::from_f64(&[2], &values).unwrap())];
    let state = Run::new().state;
    let path = store
        .save(
            CheckpointLabel::Epoch(1),
            CheckpointContents {
                state: &state,
                model,
                notes: WeightsMetadata::default(),
                optimizer: &optimizer,
            },
        )
        .unwrap();
    let loaded = TrainingCheckpoint::<f64>::load(&path).unwrap();
    let first = |optimizer: &AdamW<f64>| optimizer.moments().next().unwrap().1.first().to_vec();
    assert_eq!(first(&loaded.optimizer), first(&optimizer));
    // The state before the first step, without moments.
    let fresh = Run::new();
    let path = store
        .save(CheckpointLabel::Step(0), fresh.snapshot())
        .unwrap();
    assert_eq!(Run::load(&path).bits(), fresh.bits());
}

#[test]
fn latest_is_the_checkpoint_with_the_most_steps() {
    let (_folder, store) = store();
    assert_eq!(store.latest().unwrap(), None);
    let mut run = Run::new();
    for (steps, label) in [
        (9, CheckpointLabel::Step(9)),
        (10, CheckpointLabel::Step(10)),
        (10, CheckpointLabel::Epoch(1)),
    ] {
        while run.state.step < steps {
            run.step();
        }
        store.save(label, run.snapshot()).unwrap();
        assert_eq!(store.latest().unwrap().unwrap().label, label);
    }
    // Foreign directories, files and incomplete copies are skipped.
    let root = store.root();
    fs::create_dir(root.join("step-99")).unwrap();
    fs::write(root.join("step-98"), "a file").unwrap();
    fs::create_dir(root.join("notes-99")).unwrap();
    let incomplete = root.join("step-97");
    fs::create_dir(&incomplete).unwrap();
    for file in entries(&root.join("step-10")) {
        fs::copy(root.join("step-10").join(&file), incomplete.join(&file)).unwrap();
    }
    fs::write(incomplete.join("optimizer.safetensors"), "short").unwrap();
    let labels: Vec<String> = store
        .list()
        .unwrap()
        .iter()
        .map(|saved| saved.label.to_string())
        .collect();
    assert_eq!(labels, ["step-9", "step-10", "epoch-1"]);
}

#[test]
fn removes_leftovers_and_restores_a_replaced_checkpoint() {
    let (_folder, store) = store();
    let mut run = Run::new();
    run.step();
    store
        .save(CheckpointLabel::Step(1), run.snapshot())
        .unwrap();
    run.step();
    store
        .save(CheckpointLabel::Step(2), run.snapshot())
        .unwrap();
    let root = store.root();
    // Kills at four points: while replacing, before the new checkpoint has its name and after;
    // while writing; while pruning.
    fs::rename(root.join("step-2"), root.join(".step-2.replaced")).unwrap();
    for leftover in [".step-1.replaced", ".step-3.77-0.tmp", ".epoch-1.tmp"] {
        fs::create_dir(root.join(leftover)).unwrap();
        fs::write(root.join(leftover).join("model.safetensors"), "half").unwrap();
    }
    for foreign in [".cache.tmp", ".step-x.tmp", ".git"] {
        fs::create_dir(root.join(foreign)).unwrap();
    }
    let store = CheckpointStore::open(root).unwrap();
    assert_eq!(
        entries(root),
        [".cache.tmp", ".git", ".step-x.tmp", "step-1", "step-2"]
    );
    assert_eq!(
        Run::load(&store.latest().unwrap().unwrap().path).bits(),
        run.bits()
    );
}

#[test]
fn replaces_a_checkpoint_of_the_same_label() {
    let (_folder, store) = store();
    let mut run = Run::new();
    run.step();
    store
        .save(CheckpointLabel::Epoch(1), run.snapshot())
        .unwrap();
    run.step();
    let path = store
        .save(CheckpointLabel::Epoch(1), run.snapshot())
        .unwrap();
    assert_eq!(entries(store.root()), ["epoch-1"]);
    assert_eq!(Run::load(&path).bits(), run.bits());
}

#[test]
fn pruning_keeps_the_last_the_multiples_and_always_the_newest() {
    let (_folder, store) = store();
    let mut run = Run::new();
    for step in 1..=10 {
        run.step();
        store
            .save(CheckpointLabel::Step(step), run.snapshot())
            .unwrap();
    }
    fs::create_dir(store.root().join("step-0")).unwrap();
    let removed = store
        .prune(RetentionPolicy {
            keep_last: 3,
            keep_every: Some(4),
        })
        .unwrap();
    assert_eq!(removed.len(), 6);
    assert_eq!(
        entries(store.root()),
        ["step-0", "step-10", "step-4", "step-8", "step-9"]
    );
    store
        .prune(RetentionPolicy {
            keep_last: 0,
            keep_every: None,
        })
        .unwrap();
    assert_eq!(entries(store.root()), ["step-0", "step-10"]);
    assert!(
        store
            .prune(RetentionPolicy {
                keep_last: 0,
                keep_every: Some(0)
            })
            .unwrap()
            .is_empty()
    );
}

/// Saves a checkpoint, applies `damage`, and returns the error of loading it, with its causes.
fn load_error(damage: impl FnOnce(&Path)) -> String {
    let (_folder, store) = store();
    let mut run = Run::new();
    run.step();
    let path = store
        .save(CheckpointLabel::Step(1), run.snapshot())
        .unwrap();
    damage(&path);
    chain(&TrainingCheckpoint::<f32>::load(&path).unwrap_err())
}

/// The messages of an error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}

fn edit_state(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let file = path.join("state.json");
    let mut state = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    edit(&mut state);
    fs::write(file, serde_json::to_vec(&state).unwrap()).unwrap();
}

#[test]
fn reports_damage() {
    let flip = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let error = load_error(|path| flip(path.join("model.safetensors")));
    assert!(
        error.contains("model.safetensors: expected CRC-32"),
        "{error}"
    );
    let error = load_error(|path| flip(path.join("optimizer.safetensors")));
    assert!(
        error.contains("optimizer.safetensors: expected CRC-32"),
        "{error}"
    );
    let error = load_error(|path| fs::write(path.join("model.safetensors"), "half").unwrap());
    assert!(error.contains("got 4"), "{error}");
    let error = load_error(|path| fs::remove_file(path.join("optimizer.safetensors")).unwrap());
    assert!(
        error.contains("cannot read") && error.contains("optimizer.safetensors"),
        "{error}"
    );
    let error = load_error(|path| fs::remove_file(path.join("state.json")).unwrap());
    assert!(error.contains("state.json is missing"), "{error}");
    let error = load_error(|path| fs::write(path.join("state.json"), "{").unwrap());
    assert!(error.contains("invalid training state"), "{error}");
    let error = load_error(|path| edit_state(path, |state| state["format"] = 2.into()));
    assert!(
        error.contains("unsupported format") && error.contains("expected 1, got 2"),
        "{error}"
    );
    let error = load_error(|path| edit_state(path, |state| state["step"] = json!("three")));
    assert!(error.contains("invalid training state"), "{error}");
    let error = load_error(|path| edit_state(path, |state| state["files"] = json!({})));
    assert!(error.contains("no record of it"), "{error}");
    let error = load_error(|path| edit_state(path, |state| state["optimizer"]["beta1"] = 2.into()));
    assert!(
        error.contains("cannot restore the optimizer") && error.contains("below 1, got 2"),
        "{error}"
    );
}

#[test]
fn reports_moments_that_do_not_match_the_weights() {
    let (_folder, store) = store();
    let mut run = Run::new();
    run.step();
    let fail = |change: fn(&mut Vec<(String, Tensor)>)| {
        let mut snapshot = run.snapshot();
        change(&mut snapshot.model);
        let path = store.save(CheckpointLabel::Step(1), snapshot).unwrap();
        TrainingCheckpoint::<f32>::load(&path)
            .unwrap_err()
            .to_string()
    };
    let error = fail(|model| drop(model.remove(1)));
    assert!(
        error.contains("no weight for the moments of ln_final_no.bias"),
        "{error}"
    );
    let error = fail(|model| model[1].1 = Tensor::from_f32(&[4, 2], vec![0.0; 8]).unwrap());
    assert!(
        error.contains("exp_avg of ln_final_no.bias: expected shape [4, 2] of the weight, got [8]"),
        "{error}"
    );
}

/// Returns a command that runs one test of this program as a child process, with a directory to
/// write to.
fn child(test: &str, folder: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    let program = std::env::current_exe().unwrap();
    command.arg("-c").arg(format!(
        "{shell} exec \"$0\" --exact {test} --ignored --nocapture"
    ));
    command
        .arg(program)
        .env(CHILD_DIRECTORY, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Returns the directory to write to, if this process is such a child.
fn child_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from)
}

#[test]
#[ignore = "run as a child by a_kill_at_any_instant_leaves_the_last_complete_one"]
fn child_that_saves_forever() {
    let Some(folder) = child_directory() else {
        return;
    };
    let store = CheckpointStore::open(&folder).unwrap();
    let mut run = match store.latest().unwrap() {
        Some(latest) => Run::load(&latest.path),
        None => Run::new(),
    };
    loop {
        run.step();
        // Every other save replaces the same directory, and old ones are pruned: both have their
        // own instants to be killed at.
        store
            .save(CheckpointLabel::Epoch(1), run.snapshot())
            .unwrap();
        store
            .save(CheckpointLabel::Step(run.state.step), run.snapshot())
            .unwrap();
        store
            .prune(RetentionPolicy {
                keep_last: 2,
                keep_every: None,
            })
            .unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_kill_at_any_instant_leaves_the_last_complete_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(11);
    let mut last_step = 0;
    for round in 0..12 {
        let mut saving = child(
            "training_state::child_that_saves_forever",
            folder.path(),
            "",
        )
        .spawn()
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let started = last_step;
        // The first kill waits until a checkpoint exists.
        while steps_saved(folder.path()) <= started && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random.next_u64() % 30_000));
        saving.kill().unwrap();
        saving.wait().unwrap();
        let store = CheckpointStore::open(folder.path()).unwrap();
        let saved = store.list().unwrap();
        for checkpoint in &saved {
            TrainingCheckpoint::<f32>::load(&checkpoint.path).unwrap();
        }
        let latest = saved.last().unwrap();
        assert!(
            latest.step > started,
            "round {round}: {} steps after {started}",
            latest.step
        );
        last_step = latest.step;
        assert!(
            entries(folder.path())
                .iter()
                .all(|name| !name.starts_with('.'))
        );
    }
    // Twelve interruptions give the same result as one run.
    let mut whole = Run::new();
    (0..last_step).for_each(|_| whole.step());
    let latest = CheckpointStore::open(folder.path())
        .unwrap()
        .latest()
        .unwrap()
        .unwrap();
    assert_eq!(Run::load(&latest.path).bits(), whole.bits());
}

/// Returns the steps of the newest `step-N` without changing anything.
fn steps_saved(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
        .max()
        .unwrap_or(0)
}

#[test]
#[ignore = "run as a child by a_full_disk_leaves_the_last_complete_one"]
fn child_that_saves_once() {
    let Some(folder) = child_directory() else {
        return;
    };
    let store = CheckpointStore::open(&folder).unwrap();
    let mut run = Run::load(&store.latest().unwrap().unwrap().path);
    run.step();
    let mut snapshot = run.snapshot();
    snapshot.model.push((
        "large".to_owned(),
        Tensor::from_f32(&[100_000], vec![1.0; 100_000]).unwrap(),
    ));
    let error = store.save(CheckpointLabel::Step(2), snapshot).unwrap_err();
    assert!(matches!(error, StateError::Save { .. }));
    fs::write(folder.join("error.txt"), chain(&error)).unwrap();
}

/// A limit on the size of files makes writes fail in the middle, as a full disk does.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_complete_one() {
    let (folder, store) = store();
    let mut run = Run::new();
    run.step();
    let path = store
        .save(CheckpointLabel::Step(1), run.snapshot())
        .unwrap();
    let status = child(
        "training_state::child_that_saves_once",
        folder.path(),
        "trap '' XFSZ; ulimit -f 100;",
    )
    .status()
    .unwrap();
    let error = fs::read_to_string(folder.path().join("error.txt")).unwrap();
    assert!(status.success(), "{error}");
    assert!(
        error.contains("step-2") && error.contains("earlier checkpoints are unchanged"),
        "{error}"
    );
    assert_eq!(entries(folder.path()), ["error.txt", "step-1"]);
    assert_eq!(Run::load(&path).bits(), run.bits());
}

#[cfg(unix)]
#[test]
fn reports_a_directory_that_cannot_be_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = CheckpointStore::open(&file).unwrap_err().to_string();
    assert!(error.contains("cannot create the directory"), "{error}");
    let store = CheckpointStore::open(folder.path().join("a/b")).unwrap();
    fs::remove_dir_all(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    let error = store
        .save(CheckpointLabel::Step(1), Run::new().snapshot())
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot write the checkpoint"), "{error}");
}
