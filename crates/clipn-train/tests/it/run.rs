//! Whole training runs on a handful of small images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clipn_base::progress::{NoProgress, Progress};
use clipn_checkpoint::Checkpoint;
use clipn_image::{Augmentation, RgbImage};
use clipn_model::WeightsMetadata;
use clipn_testing::shards::{bmp, tar};
use clipn_train::training_log::{TrainingLog, TrainingLogError, read_log};
use clipn_train::{
    DatasetKind, ObjectiveName, RunObserver, RunStart, StepEvent, TrainRun, TrainSettings,
    TrainableTowers, TrainingError,
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

/// Trains a run, and returns its losses.
fn losses(settings: &TrainSettings, dir: &Path) -> Vec<BTreeMap<String, f64>> {
    let mut run = TrainRun::open(settings.clone(), dir).unwrap();
    run.run(&NoProgress).unwrap();
    let log = read_log(dir.join(TrainingLog::LINES_FILE)).unwrap();
    log.into_iter()
        .map(|record| record.losses.into_iter().collect())
        .collect()
}

#[test]
fn a_shared_feature_cache_knows_images_by_their_contents() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let shared = TrainSettings {
        feature_cache: Some(path("features")),
        ..clipn_settings(dir.path())
    };
    let uncached = |settings: &TrainSettings| TrainSettings {
        cache_image_features: false,
        feature_cache: None,
        ..settings.clone()
    };
    let first = losses(&shared, &path("first"));
    assert_eq!(first, losses(&uncached(&shared), &path("first-uncached")));
    let size = || {
        fs::metadata(path("features/image-contents.features"))
            .unwrap()
            .len()
    };
    let of_eight = size();

    // The same images under another name are known.
    let mut other = shared.clone();
    fs::copy(path("captions.csv"), path("other.csv")).unwrap();
    other.data.train_data = path("other.csv").display().to_string();
    assert_eq!(losses(&other, &path("renamed")), first);
    assert_eq!(size(), of_eight);

    // Other images under the same names are not.
    for name in ["red", "blue", "plum"] {
        let image = RgbImage::new(40, 32, [7, 200, 20].repeat(40 * 32)).unwrap();
        fs::write(path(&format!("{name}.png")), image.to_png().unwrap()).unwrap();
    }
    let replaced = losses(&shared, &path("replaced"));
    assert_ne!(replaced, first);
    assert_eq!(
        replaced,
        losses(&uncached(&shared), &path("replaced-uncached"))
    );
    assert!(size() > of_eight);
}

/// Shards and samples of equal names, as data sets that are concatenated have.
#[test]
fn cached_features_of_images_with_equal_names_are_not_mixed_up() {
    let dir = tempfile::tempdir().unwrap();
    for (shard, first) in [("a", 1), ("b", 11)] {
        let files = (0..4).flat_map(|n| {
            [
                (format!("{n}.png"), bmp(17 * (first + n))),
                (
                    format!("{n}.txt"),
                    format!("number {}", first + n).into_bytes(),
                ),
            ]
        });
        fs::create_dir(dir.path().join(shard)).unwrap();
        let files: Vec<_> = files.collect();
        fs::write(dir.path().join(shard).join("s.tar"), tar(&files)).unwrap();
    }
    let mut settings = clipn_settings(dir.path());
    let root = dir.path().display();
    settings.data.train_data = format!("{root}/a/s.tar,{root}/b/s.tar");
    settings.data.kind = DatasetKind::Webdataset;
    let cached = losses(&settings, &dir.path().join("cached"));
    settings.cache_image_features = false;
    assert_eq!(cached, losses(&settings, &dir.path().join("uncached")));
}

/// Multiplies a tensor of a safetensors file.
fn scale_tensor(path: &Path, name: &str, factor: f32) {
    let mut bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let offset = |at: usize| header + json[name]["data_offsets"][at].as_u64().unwrap() as usize;
    for value in bytes[offset(0)..offset(1)].chunks_exact_mut(4) {
        let scaled = factor * f32::from_le_bytes(value.try_into().unwrap());
        value.copy_from_slice(&scaled.to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_feature_cache_belongs_to_all_weights_of_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let shared = TrainSettings {
        feature_cache: Some(dir.path().join("features")),
        epochs: 1,
        ..clipn_settings(dir.path())
    };
    losses(&shared, &dir.path().join("first"));
    let weights = shared.pretrained.clone().unwrap();
    let layer = "transformer.resblocks.0.attn.in_proj_weight";
    for (name, file) in [
        (format!("visual.{layer}"), "image-contents.features"),
        (layer.to_owned(), "captions.features"),
    ] {
        let original = fs::read(&weights).unwrap();
        scale_tensor(&weights, &name, 3.0);
        let error = TrainRun::open(shared.clone(), dir.path().join("other")).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(file) && message.contains("belongs to another model"),
            "{message}"
        );
        assert_eq!(
            error.hint(),
            Some("remove the file, or set another `feature_cache`")
        );
        fs::write(&weights, original).unwrap();
    }
}

/// Resumes with other settings, and returns the losses and weights of the run.
fn resumed(settings: &TrainSettings, dir: &Path, start: RunStart) -> (TrainRun, Vec<u8>) {
    let mut run = TrainRun::builder(settings.clone(), dir)
        .with_start(start)
        .with_changed_settings(true)
        .open()
        .unwrap();
    let outcome = run.run(&NoProgress).unwrap();
    let weights = fs::read(outcome.checkpoint.join("model.safetensors")).unwrap();
    (run, weights)
}

#[test]
fn other_settings_of_the_optimizer_hold_after_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let settings = TrainSettings {
        epochs: 1,
        ..clip_settings(dir.path())
    };
    let weights = |name: &str, change: &dyn Fn(&mut TrainSettings)| {
        TrainRun::open(settings.clone(), dir.path().join(name))
            .unwrap()
            .run(&NoProgress)
            .unwrap();
        let mut changed = settings.clone();
        changed.epochs = 2;
        change(&mut changed);
        resumed(&changed, &dir.path().join(name), RunStart::Latest).1
    };
    let usual = weights("usual", &|_| {});
    assert!(usual == weights("again", &|_| {}));
    let decayed = weights("decayed", &|changed| changed.optimizer.weight_decay = 90.0);
    assert!(usual != decayed, "the weight decay has no effect");
    let clipped = weights("clipped", &|changed| {
        changed.optimizer.max_gradient_norm = Some(1e-6);
    });
    assert!(usual != clipped, "the maximum norm has no effect");
}

#[test]
fn a_run_with_other_batches_trains_every_epoch_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let settings = TrainSettings {
        epochs: 1,
        ..clip_settings(dir.path())
    };
    for (batch_size, per_epoch) in [(8, 1), (2, 4)] {
        let name = dir.path().join(format!("batches-of-{batch_size}"));
        TrainRun::open(settings.clone(), &name)
            .unwrap()
            .run(&NoProgress)
            .unwrap();
        let changed = TrainSettings {
            batch_size,
            epochs: 3,
            ..settings.clone()
        };
        let (run, _) = resumed(&changed, &name, RunStart::Latest);
        assert_eq!(run.total_steps(), 2 + 2 * per_epoch);
        let log = read_log(name.join(TrainingLog::LINES_FILE)).unwrap();
        let seen: Vec<(u64, u64)> = log.iter().map(|line| (line.epoch, line.samples)).collect();
        let later = (1..=2 * per_epoch)
            .map(|step| ((step - 1) / per_epoch + 1, 8 + step * batch_size as u64));
        assert_eq!(
            seen,
            [(0, 4), (0, 8)]
                .into_iter()
                .chain(later)
                .collect::<Vec<_>>()
        );
        // The cosine ends at its end.
        let lr = |at: usize| log[at].lr;
        assert!(lr(log.len() - 1) < lr(1), "{log:?}");
        assert!(name.join("checkpoints/epoch-3").is_dir());
    }
}

#[test]
fn training_again_from_an_earlier_checkpoint_sets_later_ones_aside() {
    /// Collects the names of what is renamed.
    #[derive(Default)]
    struct Renamed(Mutex<Vec<String>>);
    impl Progress for Renamed {}
    impl RunObserver for Renamed {
        fn set_aside(&self, dirs: &[PathBuf]) {
            let names = dirs
                .iter()
                .map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned());
            self.0.lock().unwrap().extend(names);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let checkpoint = |name: &str| run_dir.join("checkpoints").join(name);
    let mut settings = TrainSettings {
        epochs: 3,
        keep: 9,
        ..clip_settings(dir.path())
    };
    TrainRun::open(settings.clone(), &run_dir)
        .unwrap()
        .run(&NoProgress)
        .unwrap();
    settings.keep = 1;
    settings.epochs = 2;
    let mut run = TrainRun::builder(settings.clone(), &run_dir)
        .with_start(RunStart::From(checkpoint("epoch-1")))
        .with_changed_settings(true)
        .open()
        .unwrap();
    let renamed = Renamed::default();
    let outcome = run.run(&renamed).unwrap();
    drop(run);
    let names = ["earlier-epoch-2", "earlier-epoch-3"];
    assert_eq!(*renamed.0.lock().unwrap(), names);
    for name in names {
        assert!(
            checkpoint(name).join("model.safetensors").is_file(),
            "{name}"
        );
    }
    assert_eq!(outcome.checkpoint, checkpoint("epoch-2"));
    assert!(outcome.checkpoint.join("model.safetensors").is_file());
    // It was removed as the older of two.
    assert!(!checkpoint("epoch-1").exists());
    let latest = TrainRun::builder(settings, &run_dir)
        .with_start(RunStart::Latest)
        .open()
        .unwrap();
    assert_eq!((latest.step(), latest.total_steps()), (4, 4));
}

#[test]
fn a_checkpoint_does_not_continue_the_log_of_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let settings = clip_settings(dir.path());
    let run_dir = |name: &str| dir.path().join(name);
    for name in ["a", "b"] {
        let mut run = TrainRun::open(settings.clone(), run_dir(name)).unwrap();
        run.run(&NoProgress).unwrap();
    }
    let read = |name: &str| fs::read(run_dir("b").join(name)).unwrap();
    let files = ["log.jsonl", TrainSettings::FILE_NAME];
    let before = files.map(read);
    let checkpoint = run_dir("a/checkpoints/epoch-1");
    let resumed = |name: &str| {
        TrainRun::builder(settings.clone(), run_dir(name))
            .with_start(RunStart::From(checkpoint.clone()))
            .with_changed_settings(true)
            .open()
    };
    let error = resumed("b").unwrap_err();
    assert!(
        matches!(
            error,
            TrainingError::Log(TrainingLogError::AlreadyExists { .. })
        ),
        "{error}"
    );
    assert_eq!(files.map(read), before);
    // Another directory, and the run itself by any spelling, are used.
    assert!(resumed("c").is_ok());
    assert!(resumed("c/../a").is_ok());
}

#[test]
fn a_refused_resume_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = TrainSettings {
        save_every: Some(1),
        ..clip_settings(dir.path())
    };
    let run_dir = dir.path().join("run");
    let mut run = TrainRun::open(settings.clone(), &run_dir).unwrap();
    run.run(&CancelAfter(Mutex::new(1))).unwrap();
    drop(run);
    let files = || {
        [TrainSettings::FILE_NAME, TrainingLog::LINES_FILE]
            .map(|name| fs::read_to_string(run_dir.join(name)).unwrap())
    };
    // A line of a step after the checkpoint, as of a run that was killed.
    let path = run_dir.join(TrainingLog::LINES_FILE);
    let line = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        line.clone() + &line.replace("\"step\":1", "\"step\":2"),
    )
    .unwrap();
    let before = files();
    let other = TrainSettings {
        seed: 5,
        ..settings
    };
    let error = TrainRun::builder(other, &run_dir)
        .with_start(RunStart::Latest)
        .with_changed_settings(true)
        .open()
        .unwrap_err();
    let message = clipn_base::error::chain_in_one_line(&error);
    assert!(
        message.contains("cannot resume at epoch 0, batch 1"),
        "{message}"
    );
    assert_eq!(files(), before);
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = clip_settings(dir.path());
    let run_dir = dir.path().join("run");
    let mut run = TrainRun::open(settings.clone(), &run_dir).unwrap();
    run.run(&NoProgress).unwrap();
    drop(run);
    let damaged = run_dir.join("checkpoints/epoch-2");
    fs::write(damaged.join("model.safetensors"), "cut").unwrap();
    let open = || {
        TrainRun::builder(settings.clone(), &run_dir)
            .with_start(RunStart::Latest)
            .open()
    };
    let message = open().unwrap_err().to_string();
    assert!(
        message.ends_with("the newest checkpoint has 2; damaged: epoch-2"),
        "{message}"
    );
    fs::remove_file(run_dir.join(TrainRun::FINISHED_FILE)).unwrap();
    let mut run = open().unwrap();
    assert_eq!((run.damaged_checkpoints(), run.step()), (&[damaged][..], 2));
    run.run(&NoProgress).unwrap();
    drop(run);
    assert!(open().unwrap().damaged_checkpoints().is_empty());
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
