//! The program built without the demonstration model.

use crate::common::{Sandbox, error_report, text};

#[test]
fn a_command_without_weights_names_the_flag() {
    let s = Sandbox::new();
    let output = s.clipn(&["classify", "--classes", "goldfish, pizza", "photos"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let report = error_report(&stderr);
    assert!(
        report.contains("without the demonstration model") && report.contains("give --pretrained"),
        "{report}"
    );
}

#[test]
fn naming_the_demonstration_model_is_an_error_with_a_hint() {
    let s = Sandbox::new();
    let weights = ["--pretrained", "clipn-mini"];
    let command = ["classify", "--classes", "goldfish, pizza", "photos"];
    let output = s.clipn(&[&command[..], &weights].concat());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let report = error_report(&stderr);
    assert!(
        report.contains("without the feature `mini`") && report.contains("--pretrained"),
        "{report}"
    );
}

#[test]
fn version_and_help_do_not_mention_the_demonstration_model() {
    let s = Sandbox::new();
    for arguments in [
        &["--version"][..],
        &["classify", "--help"],
        &["eval", "--help"],
    ] {
        let stdout = s.done(arguments);
        assert!(!stdout.contains("clipn-mini"), "{stdout}");
    }
}
