//! Help and version: what users read first.

use crate::common::Sandbox;
use crate::common::snapshot::assert_text;

/// Every command, as the names of the manual pages have it.
pub(crate) const COMMANDS: [&str; 29] = [
    "eval",
    "benchmark",
    "benchmark list",
    "benchmark check",
    "results",
    "results merge",
    "results show",
    "metrics",
    "classify",
    "embed",
    "embed images",
    "embed texts",
    "classifier",
    "classifier build",
    "classifier show",
    "classifier add",
    "classifier remove",
    "calibrate",
    "serve",
    "inspect",
    "convert",
    "models",
    "train",
    "recipe",
    "demo",
    "devices",
    "bench",
    "completions",
    "man",
];

#[test]
fn help_of_the_program() {
    let s = Sandbox::new();
    assert_text("help", &s.done(&["--help"]));
}

#[test]
fn long_help_of_every_command() {
    let s = Sandbox::new();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        assert_text(
            &format!("help-{}", command.replace(' ', "-")),
            &s.done(&words),
        );
    }
}

#[test]
fn version_names_commit_features_instructions_and_terms_of_the_model() {
    let s = Sandbox::new();
    let long = s.done(&["--version"]);
    let redacted: Vec<String> = long
        .lines()
        .map(|line| match line.split_once("  ") {
            Some((key @ ("commit" | "features" | "SIMD level"), value)) => {
                assert!(!value.trim().is_empty(), "{long}");
                format!("{key:<12}[{key}]")
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_text("version", &redacted.join("\n"));
    assert_eq!(
        s.done(&["-V"]),
        format!("clipn {}\n", env!("CARGO_PKG_VERSION"))
    );
    let level = clipn::simd::SimdLevel::current().to_string();
    assert!(long.contains(&format!("SIMD level  {level}\n")), "{long}");
}

#[test]
fn version_shows_the_requested_instructions() {
    let s = Sandbox::new();
    let output = s
        .command("http://127.0.0.1:1", &["--version"])
        .env("CLIPN_SIMD", "portable")
        .output()
        .unwrap();
    let stdout = crate::common::text(&output.stdout);
    assert!(stdout.contains("SIMD level  portable\n"), "{stdout}");
}
