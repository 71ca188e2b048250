//! Weights that are damaged or wrapped: what the program says, and its exit codes.

use crate::common::{Sandbox, library_fixture, text};
use serde_json::Value;

fn weights(name: &str) -> String {
    let path = library_fixture(&format!("cases/weights/{name}.safetensors"));
    path.display().to_string()
}

const CLASSES: [&str; 2] = ["--classes", "pizza, goldfish"];

#[test]
fn damaged_image_towers_label_nothing_unknown() {
    let s = Sandbox::new();
    for name in ["nan-image-tower", "inf-image-tower"] {
        let weights = weights(name);
        let model = ["--pretrained", &weights];
        let classify = |more: &[&str]| {
            s.clipn(&[&["classify"], &model[..], &CLASSES, more, &["photos"]].concat())
        };
        let output = classify(&["--format", "json"]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let rows = text(&output.stdout);
        assert_eq!(rows.lines().count(), 2);
        for row in rows.lines() {
            let row: Value = serde_json::from_str(row).unwrap();
            assert_eq!(
                row["error"],
                "the image features are NaN, infinite or zero: the weights are damaged"
            );
            assert!(row["label"].is_null() && row["unknown"].is_null(), "{row}");
        }
        let error = text(&output.stderr);
        assert!(
            error.contains("error: none of the 2 images could be classified"),
            "{error}"
        );
        let strict = classify(&["--strict"]);
        let error = text(&strict.stderr);
        assert_eq!(strict.status.code(), Some(1));
        assert!(
            error.contains(
                "error: cannot classify photos/gradient.bmp\ncaused by: the image features are NaN"
            ) && error.contains("hint: download the weights or save them again"),
            "{error}"
        );
        let output = classify(&["--output", "rows.csv", "--force"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stdout).contains("2 unreadable"),
            "{}",
            text(&output.stdout)
        );

        let build = [
            &["classifier", "build"],
            &model[..],
            &CLASSES,
            &["--out", "shop.clipn"],
        ];
        let output = s.clipn(&build.concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("the weights are damaged"));
        assert!(!s.path("shop.clipn").exists());
    }
    let sound = weights("sound");
    s.done(
        &[
            &["classify", "--pretrained", &sound],
            &CLASSES[..],
            &["photos"],
        ]
        .concat(),
    );
}

/// Exit codes that scripts can rely on: nothing read is a failure, something read is none.
#[test]
fn classifying_nothing_fails() {
    let s = Sandbox::new();
    let sound = weights("sound");
    s.write("notes.jpg", "These are notes.");
    let run = |more: &[&str]| {
        let base = ["classify", "--pretrained", &sound];
        s.clipn(&[&base[..], &CLASSES, more].concat())
    };
    for (paths, code) in [
        (&["nosuch.jpg"][..], 1),
        (&["nosuch"], 1),
        (&["notes.jpg"], 1),
        (&["notes.jpg", "nosuch.jpg"], 1),
        (&["notes.jpg", "photos"], 0),
        (&["--strict", "notes.jpg", "photos"], 1),
        (&["--output", "all.jsonl", "nosuch.jpg"], 1),
    ] {
        let output = run(paths);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{paths:?}: {error}");
    }
    // The rows say why, and are kept.
    assert!(s.path("all.jsonl").exists());
}
