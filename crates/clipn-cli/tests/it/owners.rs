//! One process at a time writes to a directory or file of state; a second one is refused and harms
//! nothing.

use clipn::files::StateLock;

use crate::common::child::{count_lines, wait_for_lines};
use crate::common::{Sandbox, error_report, text, with_model};

const TRAIN: [&str; 19] = [
    "train",
    "--objective",
    "clip",
    "--model",
    "small.json",
    "--train-data",
    "captions.tsv",
    "--batch-size",
    "8",
    "--workers",
    "1",
    "--epochs",
    "12",
    "--save-every",
    "1",
    "--keep",
    "2",
    "--name",
    "live",
];

fn build(s: &Sandbox, out: &str) {
    let mut arguments = vec!["classifier", "build"];
    arguments.extend(with_model("", &[]).into_iter().skip(1));
    arguments.extend(["--classes", "classes.txt", "--out", out]);
    s.done(&arguments);
}

fn lines(s: &Sandbox) -> usize {
    count_lines(&s.path("logs/live/log.jsonl"))
}

#[test]
fn a_second_run_of_the_same_name_is_refused_and_the_first_unharmed() {
    let s = Sandbox::new();
    s.training_set();
    let mut first = s.start(&TRAIN);
    wait_for_lines(&mut first, &s.path("logs/live/log.jsonl"), 1);
    let holder = format!("logs/live is in use by process {}", first.id());
    let mut refused = 0;
    for more in [
        &[][..],
        &["--resume", "latest"],
        &[],
        &["--resume", "latest"],
    ] {
        let second = s.clipn(&[&TRAIN[..], more].concat());
        let error = text(&second.stderr);
        if lines(&s) < 72 {
            assert_eq!(second.status.code(), Some(1), "{error}");
            assert!(error_report(&error).contains(&holder), "{error}");
            assert!(
                error.contains("hint: wait until that run has ended"),
                "{error}"
            );
            refused += 1;
        }
    }
    assert!(refused > 0, "the first run had ended before a second one");
    let output = first.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(lines(&s), 72);
    // Nothing of the lock is left.
    let found = std::fs::read_dir(s.path("logs/live")).unwrap();
    let names: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.contains(&".lock".into()), "{names:?}");
}

#[test]
fn a_run_that_fails_to_open_leaves_no_directory() {
    let s = Sandbox::new();
    s.training_set();
    s.write("captions.tsv", "nonsense");
    assert_eq!(s.clipn(&TRAIN).status.code(), Some(1));
    assert!(!s.path("logs/live").exists());
}

#[test]
fn a_bundle_is_changed_in_place_by_one_process() {
    let s = Sandbox::new();
    build(&s, "shop.clipn");
    let remove = ["classifier", "remove", "shop.clipn", "--classes", "pizza"];
    let lock = StateLock::of_file(s.path("shop.clipn")).unwrap();
    assert!(lock.is_some());
    let before = std::fs::read(s.path("shop.clipn")).unwrap();
    for arguments in [
        &remove[..],
        &["calibrate", "--bundle", "shop.clipn", "--id", "id"],
    ] {
        let output = s.clipn(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("shop.clipn is in use by process"), "{error}");
    }
    assert_eq!(std::fs::read(s.path("shop.clipn")).unwrap(), before);
    drop(lock);
    s.done(&remove);
    assert_ne!(std::fs::read(s.path("shop.clipn")).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn calibration_in_place_keeps_permissions_and_links() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    let s = Sandbox::new();
    build(&s, "real.clipn");
    let real = s.path("real.clipn");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink("real.clipn", s.path("link.clipn")).unwrap();
    let before = std::fs::read(&real).unwrap();
    s.done(&[
        "calibrate",
        "--bundle",
        "link.clipn",
        "--id",
        "id",
        "--pretrained",
        "epoch_10.pt",
        "--target-tpr",
        "0.5",
    ]);
    assert!(s.path("link.clipn").is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o600);
    assert_ne!(std::fs::read(&real).unwrap(), before);
}

#[test]
fn results_are_written_by_one_process() {
    let s = Sandbox::new();
    std::fs::create_dir(s.path("results")).unwrap();
    let arguments = with_model(
        "eval",
        &["--id", "id", "--ood", "noise=noise", "--output", "results"],
    );
    let lock = StateLock::of_directory(s.path("results")).unwrap();
    let output = s.clipn(&arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("results is in use by process"), "{error}");
    drop(lock);
    s.done(&arguments);
    assert!(s.path("results/results.json").exists());
    assert!(!s.path("results/.lock").exists());
}
