//! Notes, warnings and progress on standard error, with `--quiet` and `--verbose`.

use crate::common::{MODEL, Sandbox, text, with_model};

const CLASSES: [&str; 3] = ["--classes", "classes.txt", "photos"];

/// Exit code, standard output and standard error.
fn run(s: &Sandbox, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = s.clipn(arguments);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn verbose_reports_what_was_chosen() {
    let s = Sandbox::new();
    let arguments = with_model(
        "classify",
        &[&CLASSES[..], &["--workers", "2", "-v"]].concat(),
    );
    let (code, rows, notes) = run(&s, &arguments);
    assert_eq!(code, Some(0), "{notes}");
    assert!(
        notes.lines().all(|line| line.starts_with("note: ")),
        "{notes}"
    );
    let level = clipn::simd::SimdLevel::current();
    for part in [
        &format!("SIMD level {level}, "),
        " threads\n",
        "note: weights epoch_10.pt\n",
        "from tiny.json; preprocessing of CLIP",
        "1 template of simple, variant learnable; logit scale 100",
        "2 workers, batches of 16 images",
    ] {
        assert!(notes.contains(part), "no {part:?} in {notes}");
    }
    let plain = with_model("classify", &CLASSES);
    assert_eq!(run(&s, &plain), (Some(0), rows, String::new()));
}

#[test]
fn verbose_names_the_weights_of_a_bundle() {
    let s = Sandbox::new();
    let classes = ["--classes", "classes.txt", "--templates", "simple"];
    let build = [
        &["classifier", "build", "--out", "shop.clipn"],
        &MODEL[..],
        &classes,
    ]
    .concat();
    s.done(&build);
    let (code, _, notes) = run(
        &s,
        &["classify", "--bundle", "shop.clipn", "photos", "--verbose"],
    );
    assert_eq!(code, Some(0), "{notes}");
    assert!(
        notes.contains("epoch_10.pt\n") && notes.contains("from the bundle"),
        "{notes}"
    );
}

#[test]
fn the_demonstration_model_is_noted_once_unless_quiet() {
    let s = Sandbox::new();
    let arguments = ["classify", "--classes", "goldfish, pizza", "photos"];
    let (code, rows, notes) = run(&s, &arguments);
    assert_eq!(code, Some(0), "{notes}");
    assert_eq!(
        notes,
        "note: using the demonstration model clipn-mini, for non-commercial research and education \
         only; name other weights with --pretrained\n"
    );
    let quiet = [&arguments[..], &["--quiet"]].concat();
    assert_eq!(run(&s, &quiet), (Some(0), rows.clone(), String::new()));
    let before = [&["-q"], &arguments[..]].concat();
    assert_eq!(run(&s, &before), (Some(0), rows.clone(), String::new()));
    let named = [&arguments[..], &["--pretrained", "clipn-mini"]].concat();
    assert_eq!(run(&s, &named), (Some(0), rows, String::new()));
}

#[test]
fn every_command_without_weights_notes_the_demonstration_model() {
    let s = Sandbox::new();
    let build = [
        "classifier",
        "build",
        "--classes",
        "goldfish, pizza",
        "--out",
        "a.clipn",
    ];
    let eval = [
        "eval",
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--classes",
        "goldfish,school bus,pizza",
    ];
    for arguments in [&build[..], &eval[..]] {
        let (code, _, notes) = run(&s, arguments);
        assert_eq!(code, Some(0), "{notes}");
        assert_eq!(notes.matches("demonstration model").count(), 1, "{notes}");
    }
}

#[test]
fn quiet_keeps_warnings_and_errors() {
    let s = Sandbox::new();
    s.write("photos/text.jpg", "this is text");
    let arguments = with_model("classify", &[&CLASSES[..], &["-q"]].concat());
    let (code, rows, warnings) = run(&s, &arguments);
    assert_eq!(code, Some(0));
    assert_eq!(rows.lines().count(), 3, "{rows}");
    assert_eq!(warnings, "warning: 1 of 3 images could not be classified\n");
    let (code, _, error) = run(&s, &["-q", "inspect", "gone.pt"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("error: ") && error.contains("hint: "),
        "{error}"
    );
}

#[test]
fn quiet_training_prints_its_weights_alone() {
    let s = Sandbox::new();
    s.training_set();
    let train = [
        "train",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
        "--objective",
        "clip",
        "--batch-size",
        "16",
        "--epochs",
        "1",
        "--name",
    ];
    let (code, weights, progress) = run(&s, &[&train[..], &["loud"]].concat());
    assert_eq!(code, Some(0), "{progress}");
    assert!(progress.contains("step 3/3"), "{progress}");
    assert!(weights.ends_with("model.safetensors\n"), "{weights}");
    let verbose = ["verbose", "-v", "--workers", "3"];
    let (code, _, progress) = run(&s, &[&train[..], &verbose].concat());
    assert_eq!(code, Some(0), "{progress}");
    let note = "note: architecture small, from small.json; 3 loading threads\n";
    assert!(progress.contains(note), "{progress}");
    let (code, weights, progress) = run(&s, &[&train[..], &["silent", "--quiet"]].concat());
    assert_eq!((code, progress.as_str()), (Some(0), ""));
    assert!(weights.ends_with("model.safetensors\n"), "{weights}");
}

#[test]
fn the_flags_of_a_recipe_step_apply_to_the_step() {
    let s = Sandbox::new();
    s.write(
        "r.toml",
        "[[steps]]\nname = \"one\"\ncommand = \"models\"\narguments = [\"tiny.json\"]\n\
         [[steps]]\nname = \"two\"\ncommand = \"inspect\"\narguments = [\"epoch_10.pt\"]\n\
         flags = { verbose = true }\n",
    );
    let (code, _, lines) = run(&s, &["recipe", "r.toml"]);
    assert_eq!(code, Some(0), "{lines}");
    assert_eq!(
        lines.matches("note: weights epoch_10.pt").count(),
        1,
        "{lines}"
    );
    assert!(lines.contains("$ clipn models tiny.json"), "{lines}");
    let (code, _, lines) = run(&s, &["recipe", "r.toml", "--quiet"]);
    assert_eq!(
        (code, lines.as_str()),
        (Some(0), "note: weights epoch_10.pt\n")
    );
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    let s = Sandbox::new();
    let (code, _, error) = run(&s, &["models", "-q", "-v"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("--quiet") && error.contains("--verbose"),
        "{error}"
    );
}
