//! Runs of several ranks, as threads: the same run as that of one, resumed on any number of them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use clipn_base::progress::{NoProgress, Progress};
use clipn_checkpoint::Checkpoint;
use clipn_data::{SkipLimit, SkippedSamples};
use clipn_image::{Augmentation, RgbImage};
use clipn_train::training_log::{LogRecord, TrainingLog, read_log};
use clipn_train::{
    Communicator, InProcess, ObjectiveName, RunBuilder, RunObserver, RunOutcome, RunStart,
    SingleProcess, StepEvent, TrainRun, TrainSettings, TrainingError,
};

/// The smallest config that the towers accept.
const CONFIG: &str = r#"{
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
}"#;

/// Rounding error of a logit: that of a sum over the 64 channels of the towers, which grows with the root
/// of their number, times the scale of cosines, 1 / 0.07.
const ROUNDING: f64 = 8.0 / 0.07 * f32::EPSILON as f64;

const COLORS: [&str; 20] = [
    "red", "green", "blue", "gray", "cyan", "pink", "gold", "plum", "tan", "teal", "navy", "lime",
    "snow", "rose", "rust", "jade", "mint", "ruby", "sand", "wine",
];

/// Settings of a CLIP training on 18 images and two broken ones, in steps of eight samples.
fn clip_settings(dir: &Path) -> TrainSettings {
    let mut table = "filepath\ttitle\n".to_owned();
    for (i, name) in COLORS.iter().enumerate() {
        let path = dir.join(format!("{name}.png"));
        let color = [12 * i as u8, 255 - 9 * i as u8, 128];
        let image = RgbImage::new(40, 32, color.repeat(40 * 32)).unwrap();
        let mut png = image.to_png().unwrap();
        if i % 11 == 3 {
            png.truncate(40);
        }
        fs::write(&path, png).unwrap();
        table += &format!("{}\ta {name} square\n", path.display());
    }
    fs::write(dir.join("captions.csv"), table).unwrap();
    fs::write(dir.join("tiny.json"), CONFIG).unwrap();
    let mut settings = TrainSettings::new(
        dir.join("tiny.json").display().to_string(),
        dir.join("captions.csv").display().to_string(),
    );
    settings.objective.name = ObjectiveName::Clip;
    settings.batch_size = 8;
    settings.epochs = 3;
    settings.workers = 1;
    settings.data.max_bad = SkipLimit::Unlimited;
    settings.augmentation.horizontal_flip = 0.5;
    settings
}

/// Settings of a CLIPN training with cached features, from the weights of a short CLIP training.
fn clipn_settings(dir: &Path) -> TrainSettings {
    let mut run = TrainRun::open(clip_settings(dir), dir.join("clip")).unwrap();
    let outcome = run.run(&NoProgress).unwrap();
    let mut settings = TrainSettings {
        pretrained: Some(outcome.checkpoint.join("model.safetensors")),
        objective: Default::default(),
        augmentation: Augmentation::none(),
        cache_image_features: true,
        ..clip_settings(dir)
    };
    settings.objective.weights.outlier = 0.5;
    settings
}

/// Runs on `count` ranks with the same samples per step, and returns the outcome of each.
fn run_on(
    count: usize,
    settings: &TrainSettings,
    dir: &Path,
    start: &RunStart,
    observer: &(dyn RunObserver + Sync),
) -> Vec<Result<RunOutcome, TrainingError>> {
    let settings = TrainSettings {
        batch_size: settings.batch_size / count,
        ..settings.clone()
    };
    let run = |ranks: Arc<dyn Communicator>| {
        let builder: RunBuilder<'_> = TrainRun::builder(settings.clone(), dir);
        let mut run = builder
            .with_start(start.clone())
            .with_communicator(ranks)
            .open()?;
        run.run(observer)
    };
    if count == 1 {
        return vec![run(Arc::new(SingleProcess))];
    }
    thread::scope(|scope| {
        let run = &run;
        let ranks: Vec<_> = InProcess::world(count)
            .into_iter()
            .map(|rank| scope.spawn(move || run(Arc::new(rank))))
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn succeed(outcomes: Vec<Result<RunOutcome, TrainingError>>) -> RunOutcome {
    let outcomes: Vec<RunOutcome> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    outcomes[0].clone()
}

fn log(dir: &Path) -> Vec<LogRecord> {
    read_log(dir.join(TrainingLog::LINES_FILE)).unwrap()
}

fn losses(dir: &Path) -> Vec<Vec<f64>> {
    let log = log(dir).into_iter();
    log.map(|record| record.losses.into_values().collect())
        .collect()
}

/// Largest difference of losses, and of parameters at the end, without the biases of
/// keys: their gradient is zero but for rounding noise, which AdamW amplifies.
fn differences(a: &Path, b: &Path) -> (f64, f64) {
    let (losses_a, losses_b) = (losses(a), losses(b));
    assert_eq!(losses_a.len(), losses_b.len());
    let loss = (losses_a.iter().flatten())
        .zip(losses_b.iter().flatten())
        .fold(0.0, |max: f64, (a, b)| {
            max.max((a - b).abs() / a.abs().max(1.0))
        });
    let open = |dir: &Path| {
        let epoch = dir.join("checkpoints/epoch-3/model.safetensors");
        Checkpoint::open(epoch).unwrap()
    };
    let (a, b) = (open(a), open(b));
    let mut parameter: f32 = 0.0;
    for (name, _) in a.iter() {
        let values = |checkpoint: &Checkpoint| checkpoint.get(name).unwrap().to_f32().to_vec();
        let (mut a, mut b) = (values(&a), values(&b));
        if name.ends_with("in_proj_bias") {
            let third = a.len() / 3;
            a.drain(third..2 * third);
            b.drain(third..2 * third);
        }
        parameter = (a.iter().zip(&b)).fold(parameter, |max, (a, b)| max.max((a - b).abs()));
    }
    (loss, f64::from(parameter))
}

/// Cancels a run after this number of steps, on the rank that takes the last of them.
struct CancelAfter(Mutex<u64>);

impl Progress for CancelAfter {
    fn is_cancelled(&self) -> bool {
        *self.0.lock().unwrap() == 0
    }
}

impl RunObserver for CancelAfter {
    fn step(&self, _: &StepEvent<'_>) {
        let mut left = self.0.lock().unwrap();
        *left = left.saturating_sub(1);
    }
}

#[test]
fn a_run_is_the_same_on_one_two_and_four_ranks() {
    for make in [clip_settings, clipn_settings] {
        let dir = tempfile::tempdir().unwrap();
        let settings = make(dir.path());
        let path = |count: usize| dir.path().join(count.to_string());
        for count in [1, 2, 4, 8] {
            let start = RunStart::Fresh;
            let outcome = succeed(run_on(count, &settings, &path(count), &start, &NoProgress));
            assert_eq!(outcome.step, 6);
            assert_eq!(outcome.checkpoint, path(count).join("checkpoints/epoch-3"));
        }
        for count in [2, 4, 8] {
            let (loss, parameter) = differences(&path(1), &path(count));
            println!(
                "{} on {count}: {loss:e} {parameter:e}",
                settings.objective.name
            );
            assert!(loss < ROUNDING, "{count} ranks: losses differ by {loss}");
            assert!(
                parameter < 1e-5,
                "{count} ranks: parameters differ by {parameter}"
            );
            let samples: Vec<u64> = log(&path(count)).iter().map(|r| r.samples).collect();
            assert_eq!(samples, [8, 16, 24, 32, 40, 48]);
        }
        let stored = TrainSettings::load(path(4).join(TrainSettings::FILE_NAME)).unwrap();
        assert_eq!((stored.processes, stored.batch_size), (4, 2));
        let first = fs::read_to_string(path(1).join(TrainSettings::FILE_NAME)).unwrap();
        assert!(!first.contains("processes"), "{first}");
    }
}

#[test]
fn four_ranks_have_the_same_bits_in_every_run_and_after_a_resume() {
    for make in [clip_settings, clipn_settings] {
        let dir = tempfile::tempdir().unwrap();
        let settings = make(dir.path());
        let path = |name: &str| dir.path().join(name);
        let weights = |name: &str| {
            let epoch = path(name).join("checkpoints/epoch-3");
            ["model.safetensors", "optimizer.safetensors"].map(|f| fs::read(epoch.join(f)).unwrap())
        };
        for name in ["first", "second"] {
            succeed(run_on(
                4,
                &settings,
                &path(name),
                &RunStart::Fresh,
                &NoProgress,
            ));
        }
        assert!(weights("first") == weights("second"), "two runs differ");
        // One rank cancels in the middle of an epoch: all of them stop after the same step.
        let cancel = CancelAfter(Mutex::new(4 * 3));
        let outcome = succeed(run_on(
            4,
            &settings,
            &path("cut"),
            &RunStart::Fresh,
            &cancel,
        ));
        assert!(outcome.interrupted && outcome.step == 3, "{outcome:?}");
        assert!(!path("cut").join(TrainRun::FINISHED_FILE).exists());
        succeed(run_on(
            4,
            &settings,
            &path("cut"),
            &RunStart::Latest,
            &NoProgress,
        ));
        assert!(weights("first") == weights("cut"), "a resumed run differs");
        assert_eq!(losses(&path("first")), losses(&path("cut")));
    }
}

#[test]
fn a_checkpoint_of_four_ranks_resumes_on_two_and_one() {
    for make in [clip_settings, clipn_settings] {
        let dir = tempfile::tempdir().unwrap();
        let settings = make(dir.path());
        let whole = dir.path().join("whole");
        succeed(run_on(1, &settings, &whole, &RunStart::Fresh, &NoProgress));
        for (from, to) in [(4, 2), (4, 1), (1, 4)] {
            let path = dir.path().join(format!("{from}-{to}"));
            let cancel = CancelAfter(Mutex::new(3 * from as u64));
            let outcome = succeed(run_on(from, &settings, &path, &RunStart::Fresh, &cancel));
            assert!(outcome.interrupted && outcome.step == 3, "{outcome:?}");
            succeed(run_on(to, &settings, &path, &RunStart::Latest, &NoProgress));
            let (loss, parameter) = differences(&whole, &path);
            assert!(
                loss < ROUNDING && parameter < 1e-5,
                "{from} to {to}: {loss}, {parameter}"
            );
        }
    }
}

#[test]
fn skipped_samples_of_all_ranks_are_reported() {
    struct Skipped(Mutex<Vec<SkippedSamples>>);
    impl Progress for Skipped {}
    impl RunObserver for Skipped {
        fn epoch_ended(&self, _: &TrainRun, _: u64, skipped: &SkippedSamples) {
            self.0.lock().unwrap().push(skipped.clone());
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let settings = clip_settings(dir.path());
    let skipped_on = |count: usize| {
        let skipped = Skipped(Mutex::default());
        let path = dir.path().join(count.to_string());
        succeed(run_on(count, &settings, &path, &RunStart::Fresh, &skipped));
        skipped.0.into_inner().unwrap()
    };
    let alone = skipped_on(1);
    let shared = skipped_on(4);
    assert_eq!((alone.len(), shared.len()), (3, 12));
    let totals: Vec<u64> = alone.iter().map(SkippedSamples::total).collect();
    assert!(totals.iter().any(|&total| total > 0), "{totals:?}");
    for (epoch, ranks) in shared.chunks(4).enumerate() {
        for skipped in ranks {
            assert_eq!(skipped.counts, alone[epoch].counts);
        }
    }
}

#[test]
fn a_finished_run_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let settings = clip_settings(dir.path());
    let path = dir.path().join("run");
    let mark = path.join(TrainRun::FINISHED_FILE);
    succeed(run_on(2, &settings, &path, &RunStart::Fresh, &NoProgress));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&mark).unwrap()).unwrap();
    let expected = serde_json::json!({ "step": 6, "checkpoint": "epoch-3", "processes": 2 });
    assert_eq!(json, expected);
    // Nothing is left to train: the mark stays.
    let outcome = succeed(run_on(1, &settings, &path, &RunStart::Latest, &NoProgress));
    assert_eq!(outcome.step, 6);
    assert!(mark.exists());
    // A killed run lacks the mark, even if its last checkpoint is complete.
    fs::remove_file(&mark).unwrap();
    succeed(run_on(2, &settings, &path, &RunStart::Latest, &NoProgress));
    assert!(mark.exists());
    // A mark without its checkpoints is an error, not a run that starts again.
    fs::remove_dir_all(path.join("checkpoints/epoch-3")).unwrap();
    let outcomes = run_on(2, &settings, &path, &RunStart::Latest, &NoProgress);
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is finished after 6 steps, but the newest checkpoint has 4"),
        "{error}"
    );
    assert!(outcomes[1].is_err(), "rank 1 does not wait for rank 0");
    assert_eq!(
        error.hint(),
        Some("remove finished.json to train the missing steps again")
    );
}

#[test]
fn ranks_with_other_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = TrainSettings {
        batch_size: 2,
        ..clip_settings(dir.path())
    };
    let open = |rank: InProcess| {
        let mut settings = settings.clone();
        settings.workers = rank.rank();
        if rank.rank() == 2 {
            settings.lr = 1.0;
        }
        let builder = TrainRun::builder(settings, dir.path().join("run"));
        let run = builder.with_communicator(Arc::new(rank)).open();
        run.map(drop).unwrap_err().to_string()
    };
    let errors: Vec<String> = thread::scope(|scope| {
        let open = &open;
        let ranks: Vec<_> = InProcess::world(4)
            .into_iter()
            .map(|rank| scope.spawn(move || open(rank)))
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for error in errors {
        assert_eq!(error, "rank 2 differs from rank 0: lr: 0.0003, now 1.0");
    }
    assert!(!dir.path().join("run/settings.toml").exists());
}
