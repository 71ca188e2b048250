//! Names and messages from outside never act on the terminal; output for programs stays exact.
#![cfg(unix)]

use serde_json::Value;

use crate::common::shards::tar;
use crate::common::{Sandbox, text, with_model};

/// Name of a file that would color and clear the terminal, print a line of its own, and turn the
/// direction of the text around.
const NAME: &str = "a\u{1b}[31m\u{1b}[2J\nerror: spoofed\r\u{9b}31m\u{202e}gpj";
const ESCAPED: &str = r"a\u{1b}[31m\u{1b}[2J\nerror: spoofed\r\u{9b}31m\u{202e}gpj";

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("classify", &[&["--classes", "classes.txt"], more].concat())
}

/// Runs the program and checks that everything it prints can be shown; returns it.
#[track_caller]
fn shown(s: &Sandbox, arguments: &[&str]) -> String {
    let output = s.clipn(arguments);
    let all = text(&output.stdout) + &text(&output.stderr);
    let raw = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!all.contains(raw), "{all:?}");
    assert!(!all.contains("\nerror: spoofed"), "{all}");
    all
}

#[test]
fn rows_and_errors_escape_the_names_of_files() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    s.write(&format!("odd/{NAME}.bmp"), image);
    s.write(&format!("odd/{NAME}.jpg"), "no image");
    let printed = shown(&s, &classify(&["--explain", "odd"]));
    let row = format!("odd/{ESCAPED}.bmp: ");
    assert!(printed.contains(&row), "{printed}");
    // An error is one line already.
    let name = ESCAPED.replace(r"\n", " ").replace(r"\r", " ");
    let error = format!("odd/{ESCAPED}.jpg: error: odd/{name}.jpg: expected a JPEG");
    assert!(printed.contains(&error), "{printed}");

    // Standard error: a fatal error, wrong usage, a missing file, an output.
    let strict = shown(&s, &classify(&["--strict", "odd"]));
    assert!(strict.contains(r"error: odd/a\u{1b}[31m"), "{strict}");
    let usage = shown(&s, &["classify", &format!("--{NAME}")]);
    assert!(usage.contains(r"31m\u{202e}gpj"), "{usage}");
    let gone = shown(
        &s,
        &["eval", "--id", NAME, "--ood", "noise", "--classes", NAME],
    );
    assert!(gone.contains(r"\u{1b}[31m"), "{gone}");
    let output = format!("{NAME}.csv");
    let written = shown(&s, &classify(&["--output", &output, "noise"]));
    assert!(written.contains(&format!("{ESCAPED}.csv")), "{written}");
}

#[test]
fn machine_readable_rows_keep_the_names() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let name = format!("odd/{NAME}.bmp");
    s.write(&name, image);
    let json = s.done(&classify(&["--format", "json", "odd"]));
    let row: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(row["path"], name.as_str());
    let csv = s.done(&classify(&["--format", "csv", "odd"]));
    assert!(csv.contains(&name), "{csv}");
}

#[test]
fn headers_of_archives_are_escaped() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let name = "b\u{1b}[2J.bmp";
    let mut archive = tar(&[(name.to_owned(), image)]);
    s.write("odd.tar", &archive);
    let printed = shown(&s, &classify(&["odd.tar"]));
    assert!(printed.contains(r"odd.tar/b\u{1b}[2J.bmp: "), "{printed}");
    // The size of the entry, whose bytes the tar library repeats in its error.
    archive[124..136].copy_from_slice(b"\x1b[2J\xFF\x9b31m\x07\x08!");
    s.write("damaged.tar", &archive);
    let printed = shown(&s, &classify(&["damaged.tar"]));
    assert!(printed.contains("damaged.tar: error: "), "{printed}");
}

#[test]
fn names_of_classes_and_metadata_are_escaped() {
    let s = Sandbox::new();
    let arguments = ["--classes", "odd.txt", "noise/0.bmp"];
    let classify = with_model("classify", &arguments);
    s.write("odd.txt", "cat \u{1b}[31m red\ndog\u{202e}god\n");
    let refused = shown(&s, &classify);
    assert!(
        refused.contains("control character U+001B") && refused.contains(r"cat \u{1b}[31m red"),
        "{refused}"
    );
    // A change of direction is no control character.
    s.write("odd.txt", "cat\ndog\u{202e}god\n");
    let printed = shown(&s, &classify);
    assert!(printed.contains(r"dog\u{202e}god p "), "{printed}");
    let build = with_model("build", &["--classes", "odd.txt", "--out", "odd.clipn"]);
    let build: Vec<&str> = build.into_iter().filter(|word| !word.is_empty()).collect();
    shown(&s, &[&["classifier"][..], &build].concat());
    let printed = shown(&s, &["classifier", "show", "odd.clipn"]);
    assert!(printed.contains(r"dog\u{202e}god"), "{printed}");
}
