//! Scores that learn from the stream of images, in `clipn eval`.

use serde_json::Value;

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{Sandbox, text, with_model};

const DATA: [&str; 4] = ["--id", "id", "--far-ood", "noise=noise"];

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let scores = ["--scores", "neglabel", "--negatives", "words.txt"];
    with_model("eval", &[&DATA[..], &scores, more].concat())
}

fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    s.write("words.txt", "gravel\nfog\na brick wall\nstatic noise\n");
    s
}

#[test]
fn streams_have_a_table_of_their_own() {
    let s = sandbox();
    let arguments = eval(&[
        "--stream",
        "adaneg,tanl",
        "--stream-batch",
        "4",
        "--output",
        "out",
    ]);
    let output = s.clipn(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let messages = text(&output.stderr);
    for message in [
        "TANL: 4 words of list",
        "AdaNeg: ",
        " ms an image beside the tower",
    ] {
        assert!(messages.contains(message), "{messages}");
    }
    let results: Value =
        serde_json::from_slice(&std::fs::read(s.path("out/results.json")).unwrap()).unwrap();
    let streams = &results["streams"];
    assert_eq!(streams["settings"]["batch"], 4);
    let methods: Vec<&str> = streams["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["adaneg", "tanl"]);
    // AdaNeg without memory is NegLabel, up to the order of sums.
    let fixed = streams["results"][0]["fixed"]["auroc"].as_f64().unwrap();
    let neglabel = results["results"][0]["auroc"].as_f64().unwrap();
    assert!((fixed - neglabel).abs() < 0.01, "{fixed} {neglabel}");
    let images = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    let rows = std::fs::read_to_string(s.path("out/stream-scores.csv")).unwrap();
    assert_eq!(
        rows.lines().count() - 1,
        2 * 3 * (images.lines().count() - 1)
    );
    let page = std::fs::read_to_string(s.path("out/report.html")).unwrap();
    assert!(page.contains("<h2>Streams</h2>") && page.contains("href=\"#streams\""));

    // The table, again from the file.
    let show = s.done(&["results", "show", "out"]);
    assert_eq!(show, text(&output.stdout));
    assert!(
        show.contains("Scores that learn from the stream of images"),
        "{show}"
    );
    let markdown = s.done(&["results", "show", "out", "--format", "markdown"]);
    assert!(markdown.contains("| AdaNeg | noise (far) |"), "{markdown}");
    let csv = s.clipn(&["results", "show", "out", "--format", "csv"]);
    assert!(text(&csv.stderr).contains("this format has no place for the streams"));
}

#[test]
fn results_are_the_same_again_and_from_features() {
    let s = sandbox();
    let json = |more: &[&str]| -> Value {
        let stream = [
            "--stream",
            "adaneg",
            "--stream-ood-share",
            "0.2,0.5",
            "--format",
            "json",
        ];
        let results: Value =
            serde_json::from_str(&s.done(&eval(&[&stream[..], more].concat()))).unwrap();
        results["streams"]["results"].clone()
    };
    let first = json(&[]);
    assert_eq!(json(&[]), first);
    assert_ne!(json(&["--stream-seed", "1"]), first);
    let shares: Vec<f64> = first
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["ood_share"].as_f64().unwrap())
        .collect();
    assert_eq!(shares, [0.2, 0.5]);
}

#[test]
fn what_a_stream_needs_is_said_before_the_work() {
    let s = sandbox();
    let mut transcripts = String::new();
    for more in [
        &["--stream", "adaneg"][..],
        &["--stream", "oodd"],
        &["--stream", "tanl", "--stream-ood-share", "1"],
        &["--stream-batch", "8"],
        &[
            "--stream",
            "tanl",
            "--negatives",
            "words.txt",
            "--seeds",
            "0,1",
        ],
        &["--seeds", "0,1"],
        &[
            "--scores",
            "atd",
            "--negatives",
            "words.txt",
            "--seeds",
            "0,1",
        ],
    ] {
        let arguments = with_model("eval", &[&DATA[..], more].concat());
        let output = s.clipn(&arguments);
        assert_ne!(output.status.code(), Some(0));
        transcripts += &transcript(&s, &arguments, &output);
    }
    assert_text("stream-needs", &transcripts);
}

#[test]
fn seeds_of_the_negatives_give_a_mean() {
    let s = sandbox();
    let letters = ["a", "e", "i", "o", "u", "y"];
    let word = |(first, second): (&str, &str)| format!("st{first}n{second}\n");
    let pairs = letters
        .iter()
        .flat_map(|a| letters.iter().map(move |b| (*a, *b)));
    let words: String = pairs.map(word).collect();
    s.write("many.txt", words);
    let seeds = [
        "--negatives",
        "many.txt",
        "--scores",
        "neglabel",
        "--seeds",
        "0,1,2",
    ];
    let arguments = [&DATA[..], &seeds, &["--output", "out"]].concat();
    let table = s.done(&with_model("eval", &arguments));
    assert!(
        table.contains("mean ± sample standard deviation over 3 runs"),
        "{table}"
    );
    let read = |run: &str| -> Value {
        let file = s.path(&format!("out/{run}results.json"));
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    let merged = read("");
    let seeds: Vec<u64> = merged["spread"]["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["settings"]["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(seeds, [0, 1, 2]);
    // Other groups give other scores.
    let scores = |run: usize| std::fs::read_to_string(s.path(&format!("out/run-{run}/scores.csv")));
    assert_ne!(scores(1).unwrap(), scores(2).unwrap());
    assert!(
        merged["spread"]["results"][0]["auroc"]["std"]
            .as_f64()
            .is_some()
    );
}
