//! Weights that have not learned "no": they reject with words that are no class.

use serde_json::Value;

use crate::common::{Sandbox, error_report, text};

const CLASSES: &str = "goldfish, school bus, pizza";

/// Writes `plain`, the demonstration model without its "no" side.
fn plain(s: &Sandbox) {
    s.done(&["convert", "clipn-mini", "plain", "--to", "open-clip"]);
}

fn classify(more: &[&str]) -> Vec<String> {
    let command = ["classify", "--pretrained", "plain", "--classes", CLASSES];
    [&command[..], more]
        .concat()
        .iter()
        .map(|a| (*a).to_owned())
        .collect()
}

fn run(s: &Sandbox, more: &[&str]) -> std::process::Output {
    let arguments = classify(more);
    s.clipn(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn rows(s: &Sandbox, more: &[&str]) -> Vec<Value> {
    let output = run(
        s,
        &[more, &["--format", "json", "photos", "noise", "id"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_plain_clip_rejects_and_names_what_an_image_resembles() {
    let s = Sandbox::new();
    plain(&s);
    let rows = rows(&s, &[]);
    assert!(!rows.is_empty());
    for row in &rows {
        assert!(row["no"].is_null() && row["top"][0]["q"].is_null(), "{row}");
        assert_eq!(row["threshold"], 0.5);
        assert!(
            !row["negative"]["text"].as_str().unwrap().is_empty(),
            "{row}"
        );
        let is_below = row["score"].as_f64().unwrap() < 0.5;
        assert_eq!(row["unknown"].as_bool(), Some(is_below), "{row}");
    }
    let unknown = rows.iter().find(|row| row["unknown"] == true).unwrap();
    let reason = unknown["reason"].as_str().unwrap();
    let negative = unknown["negative"]["text"].as_str().unwrap();
    assert!(
        reason.contains("the classes must outweigh the negatives")
            && reason.contains(&format!("most like `{negative}`")),
        "{reason}"
    );
}

#[test]
fn a_list_to_reject_is_named() {
    let s = Sandbox::new();
    plain(&s);
    for row in rows(&s, &["--reject", "a hand, an empty table"]) {
        let negative = row["negative"]["text"].as_str().unwrap();
        assert!(["a hand", "an empty table"].contains(&negative), "{row}");
    }
    let output = run(&s, &["--reject", "a hand", "--threshold", "2", "noise"]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("unknown, most like \"a hand\""), "{stdout}");
}

#[test]
fn a_list_to_reject_may_be_a_file_and_is_checked() {
    let s = Sandbox::new();
    s.write("reject.txt", "a hand\n\nan empty table\n");
    let reject = |list: &str| {
        let command = ["classify", "--classes", CLASSES, "--score", "neglabel"];
        let output = s.clipn(&[&command[..], &["--reject", list, "noise"]].concat());
        let code = output.status.code();
        (code, text(&output.stdout), text(&output.stderr))
    };
    let (code, rows, _) = reject("reject.txt");
    assert_eq!((code, rows), (Some(0), reject("a hand, an empty table").1));
    let (code, _, error) = reject("rejected.txt");
    assert_eq!(code, Some(2));
    assert!(
        error.contains("--reject rejected.txt: no such file"),
        "{error}"
    );
    let (_, _, error) = reject("a zeppelin, Pizza, a hand");
    for part in [
        "warning: dropped texts to reject that name classes: 1, such as `Pizza`",
        "did not occur in the training captions: 2 of 2, such as `zeppelin`",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn a_run_resumes_only_with_its_negatives() {
    let s = Sandbox::new();
    let run = |more: &[&str]| {
        let command = ["classify", "--classes", CLASSES, "--score", "neglabel"];
        let output = ["--output", "rows.jsonl", "noise"];
        s.clipn(&[&command[..], &output, more].concat())
    };
    let first = run(&["--reject", "a hand, an empty table"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let same = run(&["--reject", "a hand, an empty table", "--resume"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    let other = run(&["--reject", "a hand, a wall", "--resume"]);
    let error = text(&other.stderr);
    assert_eq!(other.status.code(), Some(2), "{error}");
    assert!(
        error.contains("other settings: negatives was \"2 with hash "),
        "{error}"
    );
}

#[test]
fn negatives_that_the_score_does_not_read_are_reported() {
    let s = Sandbox::new();
    let warned = |more: &[&str]| {
        let command = ["classify", "--classes", CLASSES, "noise"];
        let output = s.clipn(&[&command[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stderr).contains("does not read negatives")
    };
    assert!(warned(&["--reject", "a hand", "--score", "atd"]));
    assert!(warned(&[
        "--negatives",
        "wordnet",
        "--score",
        "msp",
        "--threshold",
        "0.5"
    ]));
    for more in [
        // The default score reads "no" and negatives.
        &["--reject", "a hand"][..],
        &["--reject", "a hand", "--score", "neglabel"],
        &["--reject", "a hand", "--no-reject"],
        &["--negatives", "none"],
        &[],
    ] {
        assert!(!warned(more), "{more:?}");
    }
}

#[test]
fn scores_that_the_weights_do_not_allow_are_refused() {
    let s = Sandbox::new();
    plain(&s);
    for (arguments, part) in [
        (
            &["--score", "ctw"][..],
            "the score `ctw` needs a trained \"no\" side",
        ),
        (
            &["--score", "atd"],
            "the score `atd` needs a trained \"no\" side",
        ),
        (&["--negatives", "none"], "nothing to reject with"),
        (
            &["--negatives", "none", "--score", "neglabel"],
            "the score `neglabel` needs negatives",
        ),
    ] {
        let output = run(&s, &[arguments, &["photos"]].concat());
        let stderr = text(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            stderr.contains(part) && stderr.contains("hint: "),
            "{stderr}"
        );
    }
    let one = [
        "classify",
        "--pretrained",
        "plain",
        "--classes",
        "pizza,",
        "--score",
        "msp",
        "--threshold",
        "0.5",
        "photos",
    ];
    let stderr = text(&s.clipn(&one).stderr);
    assert!(
        stderr.contains("needs at least 2 classes, got 1"),
        "{stderr}"
    );
}

#[test]
fn nothing_is_rejected_on_request() {
    let s = Sandbox::new();
    plain(&s);
    for row in rows(&s, &["--no-reject"]) {
        assert_eq!(
            (&row["unknown"], &row["threshold"]),
            (&false.into(), &Value::Null)
        );
        assert!(row["negative"].is_null(), "{row}");
    }
}

#[test]
fn a_bundle_decides_like_the_weights_and_keeps_its_negatives() {
    let s = Sandbox::new();
    plain(&s);
    let build = [
        "classifier",
        "build",
        "--pretrained",
        "plain",
        "--classes",
        CLASSES,
    ];
    s.done(&[&build[..], &["--out", "shop.clipn"]].concat());
    let arguments = ["--format", "json", "photos", "noise"];
    let output = run(&s, &arguments);
    let with_bundle = s.done(&[&["classify", "--bundle", "shop.clipn"][..], &arguments].concat());
    assert_eq!(text(&output.stdout), with_bundle);

    let shown: Value =
        serde_json::from_str(&s.done(&["classifier", "show", "shop.clipn", "--format", "json"]))
            .unwrap();
    assert_eq!(
        (&shown["has_no"], &shown["negatives"]["origin"]["source"]),
        (&false.into(), &"wordnet".into())
    );
    assert_eq!(
        shown["negatives"]["words"].as_array().unwrap().len() as u64,
        shown["negatives"]["count"].as_u64().unwrap()
    );
    // Exported and given again.
    s.done(&[
        "classifier",
        "show",
        "shop.clipn",
        "--negatives",
        "words.safetensors",
    ]);
    let again = run(
        &s,
        &[&["--negatives", "words.safetensors"][..], &arguments].concat(),
    );
    assert_eq!(text(&again.stdout), with_bundle);
    // Over the file itself, but over no other.
    let show = ["classifier", "show", "shop.clipn", "--negatives"];
    s.done(&[&show[..], &["words.safetensors"]].concat());
    let before = std::fs::read(s.path("shop.clipn")).unwrap();
    let refused = s.clipn(&[&show[..], &["shop.clipn"]].concat());
    let stderr = text(&refused.stderr);
    assert!(
        error_report(&stderr).contains("shop.clipn already exists, and is no file of negatives"),
        "{stderr}"
    );
    assert_eq!(std::fs::read(s.path("shop.clipn")).unwrap(), before);
    // A class more: words that describe it are no negatives any more.
    s.done(&["classifier", "add", "shop.clipn", "--classes", "banana"]);
    let shown: Value =
        serde_json::from_str(&s.done(&["classifier", "show", "shop.clipn", "--format", "json"]))
            .unwrap();
    let words = shown["negatives"]["words"].as_array().unwrap();
    assert!(!words.is_empty() && !words.contains(&"banana".into()));
}

#[test]
fn features_of_words_are_encoded_once_and_listed() {
    let s = Sandbox::new();
    plain(&s);
    let first = run(&s, &["-v", "photos"]);
    let second = run(&s, &["-v", "photos"]);
    assert_eq!(text(&first.stdout), text(&second.stdout));
    let listed: Value =
        serde_json::from_str(&s.done(&["models", "--cache", "--format", "json"])).unwrap();
    let words = listed["words"].as_array().unwrap();
    assert_eq!(words.len(), 2, "{listed}");
    assert!(
        words.iter().all(|list| list["words"].as_u64() > Some(100)),
        "{listed}"
    );
    let table = s.done(&["models", "--cache"]);
    assert!(table.contains("wordnet nouns"), "{table}");
}

#[test]
fn an_evaluation_takes_the_scores_that_the_weights_allow() {
    let s = Sandbox::new();
    plain(&s);
    let eval = |more: &[&str]| {
        let command = [
            "eval",
            "--pretrained",
            "plain",
            "--id",
            "id",
            "--ood",
            "noise=noise",
        ];
        s.clipn(&[&command[..], more].concat())
    };
    let output = eval(&["--format", "json"]);
    let stderr = text(&output.stderr);
    assert!(
        stderr
            .contains("left out ctw, atd, gated-energy, ctw-neg, atd-neg: no trained \"no\" side"),
        "{stderr}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = report["results"].as_array().unwrap();
    let scores: Vec<_> = results
        .iter()
        .map(|r| r["score"].as_str().unwrap())
        .collect();
    assert!(
        scores.contains(&"neglabel") && !scores.contains(&"atd"),
        "{scores:?}"
    );
    assert_eq!(report["settings"]["has_no"], false);
    let refused = eval(&["--scores", "atd"]);
    assert!(
        text(&refused.stderr).contains("the score `atd` needs a trained"),
        "{}",
        text(&refused.stderr)
    );
}
