//! Killed, interrupted, resumed and repeated runs.

use std::process::Command;

use clipn::progress::NoProgress;

use crate::common::child::wait_for_lines;
use crate::common::{Sandbox, error_report, library_fixture, text};
use crate::train::{assert_same_end, log, sandbox, steps, train, trained_clip, without_times};
use crate::world::World;

/// Kills a run of 18 steps three times and resumes it each time. It must end like an uninterrupted
/// run.
fn survives_kills(s: &Sandbox, objective: &[&str]) {
    let more = [objective, &["--epochs", "3", "--save-every", "2"]].concat();
    s.done(&train("whole", &more));
    let resumed = [&more[..], &["--resume", "latest"]].concat();
    let path = s.path("logs/killed/log.jsonl");
    let mut killed = 0;
    for (attempt, lines) in [1, 5, 11].into_iter().enumerate() {
        let arguments = if attempt == 0 { &more } else { &resumed };
        let mut child = s.start(&train("killed", arguments));
        wait_for_lines(&mut child, &path, lines);
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(killed > 0, "every run had ended before it could be killed");
    s.clipn(&train("killed", &resumed));
    assert_eq!(steps(&log(s, "killed")), (1..=18).collect::<Vec<_>>());
    assert_same_end(s, "whole", "killed", "epoch-3");
}

#[test]
fn clip_survives_kills() {
    survives_kills(&sandbox(), &["--objective", "clip"]);
}

#[test]
fn clipn_survives_kills() {
    let s = &sandbox();
    let weights = trained_clip(s);
    survives_kills(s, &["--objective", "clipn", "--pretrained", &weights]);
}

#[test]
fn clipn_with_cached_features_survives_kills() {
    let s = &sandbox();
    let weights = trained_clip(s);
    let cached = ["--cache-image-features", "--augmentation", "none"];
    survives_kills(
        s,
        &[
            &["--objective", "clipn", "--pretrained", &weights],
            &cached[..],
        ]
        .concat(),
    );
}

#[test]
fn a_run_on_shards_with_accumulation_survives_kills() {
    let s = &sandbox();
    let world = World {
        per_class: 1,
        per_far_set: 1,
        shard_size: 25,
        ..World::default()
    };
    world.write(&s.path("world"), 100, &NoProgress).unwrap();
    let data = [
        "--train-data",
        "world/train",
        "--accum-freq",
        "2",
        "--grad-clip-norm",
        "1",
    ];
    survives_kills(s, &[&["--objective", "clip"], &data[..]].concat());
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint() {
    let s = &sandbox();
    let more = [
        "--objective",
        "clip",
        "--epochs",
        "20",
        "--save-frequency",
        "20",
    ];
    s.done(&train("whole", &more));
    let mut child = s.start(&train("stopped", &more));
    wait_for_lines(&mut child, &s.path("logs/stopped/log.jsonl"), 3);
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let error = text(&output.stderr);
    assert!(
        sent.success(),
        "the run had ended before it could be interrupted: {error}"
    );
    assert_eq!(output.status.code(), Some(130), "{error}");
    assert!(
        error_report(&error).ends_with("--resume latest\n"),
        "{error}"
    );
    let checkpoints: Vec<_> = std::fs::read_dir(s.path("logs/stopped/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let done = log(s, "stopped").len();
    assert!(done < 120);
    assert_eq!(checkpoints, [format!("step-{done}")]);
    s.done(&train(
        "stopped",
        &[&more[..], &["--resume", "latest"]].concat(),
    ));
    assert_same_end(s, "whole", "stopped", "epoch-20");
}

#[test]
fn resuming_a_finished_run_does_nothing() {
    let s = &sandbox();
    let more = ["--objective", "clip", "--epochs", "1"];
    s.done(&train("done", &more));
    let lines = log(s, "done");
    let newest = s.done(&train(
        "done",
        &[&more[..], &["--resume", "latest"]].concat(),
    ));
    assert_eq!(
        newest.trim(),
        "logs/done/checkpoints/epoch-1/model.safetensors"
    );
    assert_eq!(log(s, "done"), lines);
    // A kill before the first checkpoint leaves only a log: the run starts over.
    std::fs::remove_dir_all(s.path("logs/done/checkpoints")).unwrap();
    std::fs::remove_file(s.path("logs/done/finished.json")).unwrap();
    s.done(&train(
        "done",
        &[&more[..], &["--resume", "latest"]].concat(),
    ));
    assert_eq!(without_times(&log(s, "done")), without_times(&lines));
}

#[test]
fn a_run_records_its_threads_and_keeps_no_more_checkpoints_after_a_kill() {
    let s = sandbox();
    let more = [
        "--objective",
        "clip",
        "--epochs",
        "2",
        "--keep",
        "1",
        "--threads",
        "1",
    ];
    s.done(&train("run", &more));
    let settings = std::fs::read_to_string(s.path("logs/run/settings.toml")).unwrap();
    assert!(settings.contains("threads = 1\n"), "{settings}");
    // As after a kill between the last checkpoint and the removal of the one before.
    let checkpoints = s.path("logs/run/checkpoints");
    let copied = checkpoints.join("epoch-1");
    std::fs::create_dir(&copied).unwrap();
    for file in std::fs::read_dir(checkpoints.join("epoch-2")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copied.join(file.file_name())).unwrap();
    }
    let state = std::fs::read_to_string(copied.join("state.json")).unwrap();
    let older = state
        .replace("\"epoch\": 2", "\"epoch\": 1")
        .replace("\"step\": 12", "\"step\": 6");
    assert_ne!(older, state);
    std::fs::write(copied.join("state.json"), older).unwrap();
    let resumed = [&more[..6], &["--resume", "latest", "--threads", "2"]].concat();
    let output = s.clipn(&train("run", &resumed));
    let error = text(&output.stderr);
    assert!(output.status.success(), "{error}");
    let note = "resuming with 2 threads a checkpoint that was trained with 1";
    assert!(error.contains(note), "{error}");
    assert!(!copied.exists());
}

#[test]
fn resuming_with_other_settings_needs_a_flag() {
    let s = &sandbox();
    let first = ["--objective", "clip", "--epochs", "1", "--seed", "3"];
    s.done(&train("changed", &first));
    let before = log(s, "changed");
    let other = [
        "--objective",
        "clip",
        "--epochs",
        "2",
        "--seed",
        "77",
        "--resume",
        "latest",
    ];
    let output = s.clipn(&train("changed", &other));
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("was trained with other settings: epochs: 1, now 2; seed: 3, now 77")
            && error.contains("--override"),
        "{error}"
    );
    assert_eq!(log(s, "changed"), before);
    let output = s.clipn(&train("changed", &[&other[..], &["--override"]].concat()));
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(
        error.contains("warning: resuming with other settings than those of the checkpoint"),
        "{error}"
    );
    assert_eq!(steps(&log(s, "changed")), (1..=12).collect::<Vec<_>>());
}

#[test]
fn flags_replace_values_of_a_settings_file() {
    let s = &sandbox();
    s.done(&train("first", &["--objective", "clip", "--epochs", "1"]));
    let again = ["train", "--settings", "logs/first/settings.toml", "--name"];
    s.done(&[&again[..], &["same"]].concat());
    s.done(&[&again[..], &["other", "--seed", "5", "--epochs", "2"]].concat());
    assert_same_end(s, "first", "same", "epoch-1");
    for (threads, is_noted) in [("1", true), ("2", false)] {
        let file = std::fs::read_to_string(s.path("logs/first/settings.toml")).unwrap();
        let of_two: String = (file.lines())
            .map(|line| {
                if line.starts_with("threads = ") {
                    "threads = 2"
                } else {
                    line
                }
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        s.write("two.toml", of_two);
        let more = [
            "train",
            "--settings",
            "two.toml",
            "--threads",
            threads,
            "--name",
            threads,
        ];
        let error = text(&s.clipn(&more).stderr);
        let note = "training with 1 thread, and the settings are of a run with 2";
        assert_eq!(error.contains(note), is_noted, "{error}");
    }
    assert_eq!(steps(&log(s, "other")), (1..=12).collect::<Vec<_>>());
    let settings = std::fs::read_to_string(s.path("logs/other/settings.toml")).unwrap();
    assert!(
        settings.contains("seed = 5") && settings.contains("lr = 0.003"),
        "{settings}"
    );
}

/// The fixture checkpoint of the published training code has a vocabulary of 96, too small for real
/// captions. The run resumes after its first epoch, and stops with an error about the vocabulary.
#[test]
fn resumes_a_published_checkpoint_and_reports_its_vocabulary() {
    let s = &sandbox();
    let checkpoint = library_fixture("training/checkpoint_after3.pt");
    let model = library_fixture("models/vit_quickgelu/vit_quickgelu.json");
    let output = s.clipn(&[
        "train",
        "--model",
        model.to_str().unwrap(),
        "--pretrained",
        checkpoint.to_str().unwrap(),
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "8",
        "--resume",
        checkpoint.to_str().unwrap(),
    ]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("60 steps of 8 samples, 6 per epoch, from step 6"),
        "{error}"
    );
    assert!(error_report(&error).contains("vocabulary of 96"), "{error}");
}

#[test]
fn repeats_a_run_from_its_settings() {
    let s = sandbox();
    s.done(&train(
        "one",
        &[
            "--objective",
            "clip",
            "--epochs",
            "2",
            "--seed",
            "7",
            "--grad-clip-norm",
            "1",
        ],
    ));
    let settings = [
        "train",
        "--settings",
        "logs/one/settings.toml",
        "--name",
        "other",
    ];
    s.done(&settings);
    assert_same_end(&s, "one", "other", "epoch-2");
    let strange = s.clipn(&["train", "--settings", "classes.txt", "--name", "third"]);
    assert!(
        text(&strange.stderr).contains("cannot read training settings from classes.txt"),
        "{}",
        text(&strange.stderr)
    );
}
