//! Whole training runs on a handful of small images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clipn_base::progress::{NoProgress, Progress};
use clipn_checkpoint::Checkpoint;
use clipn_image::{Augmentation, RgbImage};
use clipn_model::WeightsMetadata;
use clipn_train::training_log::{TrainingLog, read_log};
use clipn_train::{
    ObjectiveName, RunObserver, RunStart, StepEvent, TrainRun, TrainSettings, TrainableTowers,
    TrainingError,
};

/// The smallest config that the towers accept.
const CONFIG: &str = r#"{
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
}"#;

/// Writes eight images with captions and a config; returns the settings of a CLIP training of two
/// steps per epoch.
fn clip_settings(dir: &Path) -> TrainSettings {
    let mut table = "filepath\ttitle\n".to_owned();
    for (i, name) in [
        "red", "green", "blue", "gray", "cyan", "pink", "gold", "plum",
    ]
    .iter()
    .enumerate()
    {
        let path = dir.join(format!("{name}.png"));
        let color = [30 * i as u8, 255 - 20 * i as u8, 128];
        let image = RgbImage::new(40, 32, color.repeat(40 * 32)).unwrap();
        fs::write(&path, image.to_png().unwrap()).unwrap();
        table += &format!("{}\ta {name} square\n", path.display());
    }
    fs::write(dir.join("captions.csv"), table).unwrap();
    fs::write(dir.join("tiny.json"), CONFIG).unwrap();
    let mut settings = TrainSettings::new(
        dir.join("tiny.json").display().to_string(),
        dir.join("captions.csv").display().to_string(),
    );
    settings.objective.name = ObjectiveName::Clip;
    settings.batch_size = 4;
    settings.epochs = 2;
    settings.workers = 1;
    settings
}

/// Trains the CLIP, and returns its weights.
fn trained_clip(dir: &Path) -> PathBuf {
    let mut run = TrainRun::open(clip_settings(dir), dir.join("clip")).unwrap();
    let outcome = run.run(&NoProgress).unwrap();
    outcome.checkpoint.join("model.safetensors")
}

/// Settings of a CLIPN training from the weights of [`trained_clip`], with cached image features.
fn clipn_settings(dir: &Path) -> TrainSettings {
    TrainSettings {
        pretrained: Some(trained_clip(dir)),
        objective: Default::default(),
        augmentation: Augmentation::none(),
        cache_image_features: true,
        ..clip_settings(dir)
    }
}

/// Cancels a run after this step.
struct CancelAfter(Mutex<u64>);

impl Progress for CancelAfter {
    fn is_cancelled(&self) -> bool {
        *self.0.lock().unwrap() == 0
    }
}

impl RunObserver for CancelAfter {
    fn step(&self, _: &StepEvent<'_>) {
        *self.0.lock().unwrap() -= 1;
    }
}

#[test]
fn a_run_logs_every_step_and_saves_every_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let mut run = TrainRun::open(clip_settings(dir.path()), &run_dir).unwrap();
    assert_eq!(run.trainable_towers(), TrainableTowers::Clip);
    assert_eq!((run.steps_per_epoch(), run.total_steps()), (2, 4));
    let outcome = run.run(&NoProgress).unwrap();
    assert!(!outcome.interrupted && outcome.step == 4);
    assert_eq!(outcome.checkpoint, run_dir.join("checkpoints/epoch-2"));
    let log = read_log(run_dir.join(TrainingLog::LINES_FILE)).unwrap();
    let steps: Vec<(u64, u64, u64)> = log
        .iter()
        .map(|record| (record.step, record.epoch, record.samples))
        .collect();
    assert_eq!(steps, [(1, 0, 4), (2, 0, 8), (3, 1, 12), (4, 1, 16)]);
    let settings = TrainSettings::load(run_dir.join(TrainSettings::FILE_NAME)).unwrap();
    assert_eq!(&settings, run.settings());
}

#[test]
fn a_resumed_run_has_the_losses_of_an_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    let settings = clipn_settings(dir.path());
    let losses = |name: &str| {
        let log = read_log(dir.path().join(name).join(TrainingLog::LINES_FILE)).unwrap();
        log.into_iter().map(|r| r.losses).collect::<Vec<_>>()
    };
    let mut whole = TrainRun::open(settings.clone(), dir.path().join("whole")).unwrap();
    whole.run(&NoProgress).unwrap();

    let parts = dir.path().join("parts");
    let mut first = TrainRun::open(settings.clone(), &parts).unwrap();
    let outcome = first.run(&CancelAfter(Mutex::new(3))).unwrap();
    assert!(outcome.interrupted && outcome.step == 3);
    drop(first);
    let mut second = TrainRun::builder(settings, &parts)
        .with_start(RunStart::Latest)
        .open()
        .unwrap();
    assert_eq!(second.step(), 3);
    second.run(&NoProgress).unwrap();
    assert_eq!(losses("parts"), losses("whole"));
}

#[test]
fn the_factor_of_the_no_logits_is_recorded_and_taken_from_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = clipn_settings(dir.path());
    settings.objective.no_scale = Some(2.5);
    let metadata = |checkpoint: &Path| {
        let path = checkpoint.join("model.safetensors");
        WeightsMetadata::from_checkpoint(&Checkpoint::open(path).unwrap()).no_scale
    };
    let run = |settings: &TrainSettings, name: &str| {
        let mut run = TrainRun::open(settings.clone(), dir.path().join(name)).unwrap();
        let outcome = run.run(&NoProgress).unwrap();
        let log = read_log(dir.path().join(name).join(TrainingLog::LINES_FILE)).unwrap();
        (
            outcome.checkpoint,
            log[0].losses["yes"],
            run.settings().objective.no_scale,
        )
    };
    let (first, yes, _) = run(&settings, "first");
    assert_eq!(metadata(&first), Some(2.5));
    // "No" starts as a copy of "yes", so that q is one half of everything without a factor.
    assert!((yes - 2f64.ln()).abs() > 0.1, "{yes}");

    // Resumed without the flag, and continued from the weights, it stays; another one replaces it.
    let mut parts = TrainRun::open(settings.clone(), dir.path().join("parts")).unwrap();
    parts.run(&CancelAfter(Mutex::new(3))).unwrap();
    drop(parts);
    settings.objective.no_scale = None;
    let mut parts = TrainRun::builder(settings.clone(), dir.path().join("parts"))
        .with_start(RunStart::Latest)
        .open()
        .unwrap();
    let outcome = parts.run(&NoProgress).unwrap();
    assert_eq!(metadata(&outcome.checkpoint), Some(2.5));
    let bytes = |checkpoint: &Path| fs::read(checkpoint.join("model.safetensors")).unwrap();
    assert!(bytes(&outcome.checkpoint) == bytes(&first));
    settings.pretrained = Some(first.join("model.safetensors"));
    assert_eq!(metadata(&run(&settings, "continued").0), Some(2.5));
    settings.objective.no_scale = Some(1.0);
    let (published, _, recorded) = run(&settings, "published");
    assert_eq!((metadata(&published), recorded), (None, None));
    settings.objective.no_scale = Some(f64::NAN);
    let error = TrainRun::open(settings, dir.path().join("bad")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected a positive number, got NaN"),
        "{error}"
    );
}

#[test]
fn outliers_are_trained_on_with_and_without_a_cache_and_resume_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = clipn_settings(dir.path());
    settings.objective.weights.outlier = 1.0;
    let losses = |name: &str| {
        let log = read_log(dir.path().join(name).join(TrainingLog::LINES_FILE)).unwrap();
        log.into_iter().map(|r| r.losses).collect::<Vec<_>>()
    };
    let run = |settings: &TrainSettings, name: &str| {
        let mut run = TrainRun::open(settings.clone(), dir.path().join(name)).unwrap();
        run.run(&NoProgress).unwrap();
        losses(name)
    };
    let whole = run(&settings, "whole");
    for losses in &whole {
        // "No" starts as a copy of "yes": every q is one half.
        let total = 0.5 * (losses["yes"] + losses["no"] + losses["tso"]);
        let expected = total + losses["inlier"] + losses["outlier"];
        assert!((losses["total"] - expected).abs() < 1e-6, "{losses:?}");
    }
    assert!((whole[0]["outlier"] - 2f64.ln()).abs() < 1e-4, "{whole:?}");
    assert!(whole[3]["outlier"] != whole[0]["outlier"]);

    let mut first = TrainRun::open(settings.clone(), dir.path().join("parts")).unwrap();
    first.run(&CancelAfter(Mutex::new(3))).unwrap();
    drop(first);
    let mut second = TrainRun::builder(settings.clone(), dir.path().join("parts"))
        .with_start(RunStart::Latest)
        .open()
        .unwrap();
    second.run(&NoProgress).unwrap();
    assert_eq!(losses("parts"), whole);

    // A cache that a run without outliers has filled lacks theirs.
    settings.feature_cache = Some(dir.path().join("features"));
    let mut without = settings.clone();
    without.objective.weights.outlier = 0.0;
    assert!(!run(&without, "without")[0].contains_key("outlier"));
    assert_eq!(run(&settings, "shared"), whole);
    assert_eq!(run(&settings, "again"), whole);

    settings.cache_image_features = false;
    let uncached = run(&settings, "uncached");
    assert_eq!(uncached[0]["inlier"], whole[0]["inlier"]);
}

#[test]
fn a_feature_cache_belongs_to_its_data_if_it_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let shared = TrainSettings {
        feature_cache: Some(dir.path().join("features")),
        epochs: 1,
        ..clipn_settings(dir.path())
    };
    for name in ["first", "second"] {
        let mut run = TrainRun::open(shared.clone(), dir.path().join(name)).unwrap();
        run.run(&NoProgress).unwrap();
    }
    let mut other = shared;
    let table = dir.path().join("other.csv");
    fs::copy(dir.path().join("captions.csv"), &table).unwrap();
    other.data.train_data = table.display().to_string();
    let error = TrainRun::open(other, dir.path().join("third")).unwrap_err();
    assert!(matches!(error, TrainingError::FeatureCache(_)), "{error}");
    assert_eq!(
        error.hint(),
        Some("remove the file, or set another `feature_cache`")
    );
}

#[test]
fn the_time_to_write_a_checkpoint_is_not_in_the_log() {
    /// Makes every checkpoint take two seconds.
    struct SlowDisk;
    const WRITING: Duration = Duration::from_secs(2);
    impl Progress for SlowDisk {}
    impl RunObserver for SlowDisk {
        fn saved(&self, _: &Path) {
            std::thread::sleep(WRITING);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let settings = TrainSettings {
        save_every: Some(1),
        epochs: 1,
        ..clip_settings(dir.path())
    };
    let run_dir = dir.path().join("run");
    let mut run = TrainRun::open(settings, &run_dir).unwrap();
    run.run(&SlowDisk).unwrap();
    let log = read_log(run_dir.join(TrainingLog::LINES_FILE)).unwrap();
    let second = &log[1];
    assert!(second.seconds < WRITING.as_secs_f64(), "{second:?}");
    assert!((second.samples_per_second * second.seconds - 4.0).abs() < 1e-9);
}

#[test]
fn rejects_settings_that_cannot_train() {
    let dir = tempfile::tempdir().unwrap();
    let settings = clip_settings(dir.path());
    let reject = |change: fn(&mut TrainSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        TrainRun::open(settings, dir.path().join("run"))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        reject(|s| s.accum_freq = 3),
        "accum_freq: expected at most 2, the batches in an epoch, got 3"
    );
    assert_eq!(
        reject(|s| s.objective.name = ObjectiveName::Clipn),
        "pretrained: the objective `clipn` needs the weights of a trained CLIP, got none"
    );
    assert_eq!(
        reject(|s| s.warmup = 5),
        "expected at most 4 warm-up steps, the length of the run, got 5"
    );
    assert_eq!(
        reject(|s| s.batch_size = 1),
        "batch_size: expected at least 2 samples per step for a contrastive loss, got 1"
    );
    assert_eq!(
        reject(|s| s.cache_image_features = true),
        "cache_image_features: cannot cache features of the image tower, which the objective \
         `clip` trains"
    );
}

#[test]
fn an_unreadable_settings_file_keeps_its_cause() {
    use std::error::Error;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    let error = TrainSettings::load(&path).unwrap_err();
    let io = error.source().unwrap().downcast_ref::<std::io::Error>();
    assert_eq!(io.unwrap().kind(), std::io::ErrorKind::NotFound);
    fs::write(&path, "model = 3").unwrap();
    let error = TrainSettings::load(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read training settings from {}", path.display())
    );
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("invalid type: integer"), "{cause}");
}
