//! The program with the built-in model.

use crate::common::{Sandbox, test_data, text};
use clipn::model::{ModelWeights, PretrainedWeights, TextSide, WeightsMetadata};
use clipn::tokenizer::Tokenizer;
use serde_json::Value;

#[test]
fn classify_needs_no_model() {
    let s = Sandbox::new();
    let output = s.clipn(&[
        "classify",
        "--classes",
        "goldfish, school bus, pizza",
        "photos",
        "--format",
        "json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).lines().count(), 1);
    let printed = text(&output.stdout);
    let rows: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .all(|row| row["error"].is_null() && row["top"].as_array().unwrap().len() == 3),
        "{printed}"
    );
    let named = [
        "classify",
        "--pretrained",
        "clipn-mini",
        "--classes",
        "goldfish, school bus, pizza",
    ];
    assert_eq!(
        s.done(&[&named[..], &["photos", "--format", "json"]].concat()),
        printed
    );
}

#[test]
fn warns_of_a_word_that_was_not_in_training() {
    let s = Sandbox::new();
    let output = s.clipn(&["classify", "--classes", "goldfish, zeppelin", "photos"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("warning: ").count(), 1, "{stderr}");
    assert!(
        stderr.contains(
            "warning: words that did not occur in the training captions make 1 of 2 classes unreliable: \
             `zeppelin`\n"
        ),
        "{stderr}"
    );
}

#[test]
fn is_inspected_and_converted_like_other_weights() {
    let s = Sandbox::new();
    let stdout = s.done(&["inspect", "clipn-mini"]);
    for part in [
        "weights with their config",
        "16 \"no\" prompts",
        "seen_words",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    s.done(&["convert", "clipn-mini", "mini", "--to", "open-clip"]);
    assert!(s.path("mini/open_clip_config.json").is_file());
}

/// Trains on the sandbox's captions, and opens the resulting weights.
fn taught(s: &Sandbox, objective: &str, more: &[&str]) -> PretrainedWeights {
    let data = [
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--lr",
        "1e-3",
    ];
    let command = [
        "train",
        "--pretrained",
        "clipn-mini",
        "--objective",
        objective,
    ];
    let written = s.done(&[&command[..], &data, &["--name", objective], more].concat());
    PretrainedWeights::open(s.root().join(written.trim())).unwrap()
}

#[test]
fn training_continues_and_keeps_notes_and_token_table() {
    let s = Sandbox::new();
    s.training_set();
    let mini = PretrainedWeights::mini().unwrap();
    let taught = taught(&s, "clipn", &[]);
    // Templates, logit scale and seen words are kept.
    assert_eq!(taught.metadata(), mini.metadata());
    assert!(mini.metadata().templates.is_some() && mini.metadata().training_vocabulary.is_some());
    let (before, after) = (mini.weights(None).unwrap(), taught.weights(None).unwrap());
    let table = |weights: &ModelWeights, side| weights.text_params::<f32>(side).token_embedding;
    assert_eq!(
        table(&before, TextSide::Yes)[..],
        table(&after, TextSide::Yes)[..]
    );
    assert_ne!(
        table(&before, TextSide::No)[..],
        table(&after, TextSide::No)[..]
    );
    let stored = |weights: &PretrainedWeights| {
        let table = weights.checkpoint().get("token_embedding.weight").unwrap();
        table.shape()[0]
    };
    assert_eq!((stored(&mini) < 1000, stored(&taught)), (true, 49_408));
    // It resumes without its initial weights being named again.
    s.done(&[
        "train",
        "--settings",
        "logs/clipn/settings.toml",
        "--name",
        "clipn",
        "--resume",
        "latest",
    ]);
    let refused = s.clipn(&[
        "train",
        "--pretrained",
        "clipn-mini",
        "--model",
        "ViT-B-16",
        "--train-data",
        "captions.tsv",
    ]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(
        text(&refused.stderr).contains("clipn-mini"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn training_adds_new_words() {
    let s = Sandbox::new();
    s.training_set();
    let taught = taught(&s, "clip", &[]);
    let (before, after) = (
        PretrainedWeights::mini().unwrap().metadata(),
        taught.metadata(),
    );
    let unseen = |notes: &WeightsMetadata| {
        notes
            .training_vocabulary
            .as_ref()
            .unwrap()
            .unknown_words("number")
    };
    assert_eq!(
        (unseen(&before), unseen(&after)),
        (vec!["number".to_owned()], Vec::new())
    );
    let all = before.training_vocabulary.unwrap();
    assert!(after.training_vocabulary.unwrap().len() > all.len());
    // Words that remain unseen keep rows of zeros.
    let weights = taught.weights(None).unwrap();
    let table = weights.text_params::<f32>(TextSide::Yes).token_embedding;
    let width = weights.config().text.width;
    let row = |word: &str| {
        let ids = Tokenizer::clip().encode(word);
        table[ids[0] as usize * width..][..width]
            .iter()
            .any(|&value| value != 0.0)
    };
    assert_eq!(
        [row("goldfish"), row("number"), row("zeppelin")],
        [true, true, false]
    );
}

#[test]
fn its_name_works_wherever_weights_are_named() {
    let s = Sandbox::new();
    assert!(
        s.done(&["models", "clipn-mini"])
            .contains("width 128, 6 blocks")
    );
    // A file of that name takes precedence.
    std::fs::copy(s.path("epoch_10.pt"), s.path("clipn-mini")).unwrap();
    let stdout = s.done(&["inspect", "clipn-mini"]);
    assert!(!stdout.contains("seen_words"), "{stdout}");
}

#[test]
fn an_architecture_without_weights_is_rejected_with_a_hint() {
    let s = Sandbox::new();
    let output = s.clipn(&[
        "classify",
        "--model",
        "ViT-B-16",
        "--classes",
        "a, b",
        "photos",
    ]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("--pretrained") && stderr.contains("clipn-mini"),
        "{stderr}"
    );
}

/// Reads the figures from `docs/results.md`.
#[test]
fn reproduces_the_documented_figures() {
    let Some(data) = test_data("data") else {
        return;
    };
    let s = Sandbox::new();
    let printed = s.done(&[
        "eval",
        "--benchmark",
        "tiny-imagenet-ood",
        "--data-root",
        data.to_str().unwrap(),
        "--score-precision",
        "f64",
        "--format",
        "json",
    ]);
    let found: Value = serde_json::from_str(&printed).unwrap();
    let book = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/results.md"
    ))
    .unwrap();
    let documented = book.split("<!-- clipn-mini -->").nth(1).unwrap();
    let accuracy = format!("{:.1} %", 100.0 * found["accuracy"].as_f64().unwrap());
    assert!(
        documented.contains(&accuracy),
        "no accuracy of {accuracy} in {documented}"
    );
    let mut compared = 0;
    for line in documented
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(" / "))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let score = cells[0].to_lowercase().replace(' ', "-");
        let of_score = |result: &&Value| result["score"] == score.as_str();
        let results = found["results"].as_array().unwrap().iter().filter(of_score);
        for (result, cell) in results.zip(&cells[1..]) {
            let (auroc, fpr95) = cell.split_once(" / ").unwrap();
            for (found, documented) in [(&result["auroc"], auroc), (&result["fpr95"], fpr95)] {
                let (found, documented) = (
                    100.0 * found.as_f64().unwrap(),
                    documented.parse::<f64>().unwrap(),
                );
                // Another processor may round scores differently, which changes the ranks of a few
                // images.
                assert!(
                    (found - documented).abs() < 0.16,
                    "{score} on {}: {found} and {documented}",
                    result["ood"]
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 10 * 5 * 2, "{documented}");
}
