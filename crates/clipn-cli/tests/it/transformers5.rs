//! Preprocessing in the form of transformers 5, `processor_config.json`: the values are those that
//! `CLIPImageProcessor` 5.24.0 reads from the same files.

use serde_json::{Value, json};

use crate::common::snapshot::assert_text;
use crate::common::{Sandbox, is_error_report, text};

const NEW: &str = "clip-transformers/processor_config.json";
const OLD: &str = "clip-transformers/preprocessor_config.json";

/// A sandbox with a `CLIPModel` of transformers 5: mean 0.5, deviation 0.25, and no older file.
fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    s.write_other_formats();
    s.write(NEW, config(0.5).to_string());
    std::fs::remove_file(s.path(OLD)).unwrap();
    s
}

fn config(mean: f64) -> Value {
    json!({
        "image_processor": {
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true,
            "do_rescale": true, "do_resize": true,
            "image_mean": [mean, mean, mean],
            "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.25, 0.25, 0.25],
            "resample": 3, "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 224}
        },
        "processor_class": "CLIPProcessor"
    })
}

const PIXELS: &str = "mean [0.5, 0.5, 0.5], std [0.25, 0.25, 0.25]";

/// Scores of the images with these weights.
fn scores(s: &Sandbox, weights: &str) -> String {
    s.done(&[
        "classify",
        "--templates",
        "simple",
        "--pretrained",
        weights,
        "--classes",
        "classes.txt",
        "--score",
        "msp",
        "--threshold",
        "0",
        "--format",
        "csv",
        "photos",
    ])
}

#[test]
fn the_pixels_are_read_scored_and_kept_by_conversions() {
    let s = sandbox();
    let of_new = scores(&s, "clip-transformers");
    assert!(s.done(&["inspect", "clip-transformers"]).contains(PIXELS));
    s.done(&["convert", "clip-transformers", "out.safetensors"]);
    assert!(s.done(&["inspect", "out.safetensors"]).contains(PIXELS));
    assert_eq!(scores(&s, "out.safetensors"), of_new);
    for to in [
        "transformers",
        "transformers-4",
        "transformers-5",
        "open-clip",
    ] {
        s.done(&["convert", "--to", to, "clip-transformers", to]);
        assert!(s.done(&["inspect", to]).contains(PIXELS), "{to}");
        assert_eq!(scores(&s, to), of_new, "{to}");
    }

    // The same values in the older file give the same scores, those of CLIP others.
    let processor = config(0.5)["image_processor"].to_string();
    s.write(OLD, processor);
    std::fs::remove_file(s.path(NEW)).unwrap();
    assert_eq!(scores(&s, "clip-transformers"), of_new);
    std::fs::remove_file(s.path(OLD)).unwrap();
    assert_ne!(scores(&s, "clip-transformers"), of_new);
}

#[test]
fn the_newer_file_comes_first_and_a_difference_is_a_warning() {
    let s = sandbox();
    s.write(OLD, config(0.1)["image_processor"].to_string());
    let output = s.clipn(&["inspect", "clip-transformers"]);
    assert!(text(&output.stdout).contains(PIXELS));
    assert_text("transformers5-both", &text(&output.stderr));
    // Equal files are no reason for a warning.
    s.write(OLD, config(0.5)["image_processor"].to_string());
    assert_eq!(text(&s.clipn(&["inspect", "clip-transformers"]).stderr), "");
}

#[test]
fn squash_and_bilinear_are_refused_wherever_pixels_are_needed() {
    let s = sandbox();
    let mut squash = config(0.5);
    squash["image_processor"]["do_center_crop"] = json!(false);
    squash["image_processor"]["resample"] = json!(2);
    squash["image_processor"]["size"] = json!({"height": 224, "width": 224});
    s.write(NEW, squash.to_string());
    let weights = ["--pretrained", "clip-transformers"];
    let classes = ["--classes", "classes.txt"];
    for arguments in [
        &["convert", "clip-transformers", "out.safetensors"][..],
        &[&["classify"], &weights[..], &classes, &["photos"]].concat(),
        &[
            &["classifier", "build"],
            &weights[..],
            &classes,
            &["--out", "x.clipn"],
        ]
        .concat(),
    ] {
        let output = s.clipn(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(is_error_report(&error), "{arguments:?}: {error}");
        for part in [
            "processor_config.json",
            "`image_processor.do_center_crop` = false",
        ] {
            assert!(
                error.contains(part),
                "{arguments:?}: no {part:?} in {error}"
            );
        }
    }
    assert!(!s.path("out.safetensors").exists());
    let inspected = s.done(&["inspect", "clip-transformers"]);
    assert!(
        inspected.contains("pixels      not usable: "),
        "{inspected}"
    );
}

#[cfg(feature = "download")]
#[test]
fn the_hub_provides_the_file_and_weights_that_need_other_pixels_are_not_fetched() {
    let s = sandbox();
    let server = s.hub(&[("test/tiny", "clip-transformers")]);
    let run = |arguments: &[&str]| s.command(&server.url(), arguments).output().unwrap();
    let output = run(&["inspect", "hf-hub:test/tiny"]);
    assert!(
        text(&output.stdout).contains(PIXELS),
        "{}",
        text(&output.stderr)
    );
    let offline = run(&["inspect", "hf-hub:test/tiny", "--offline"]);
    assert_eq!(
        (offline.stdout, text(&offline.stderr)),
        (output.stdout, String::new())
    );

    let s = sandbox();
    let mut lanczos = config(0.5);
    lanczos["image_processor"]["resample"] = json!(1);
    s.write(NEW, lanczos.to_string());
    let server = s.hub(&[("test/tiny", "clip-transformers")]);
    let arguments = ["convert", "hf-hub:test/tiny", "out.safetensors"];
    let output = s.command(&server.url(), &arguments).output().unwrap();
    let error = text(&output.stderr);
    assert!(
        error.contains("`image_processor.resample` = 1 (Lanczos)"),
        "{error}"
    );
    let requests = server.seen();
    let weights = requests
        .iter()
        .filter(|one| one.target.contains("model.safetensors"));
    assert_eq!(weights.count(), 0, "the weights were fetched");
}
