//! `clipn results`, and the spread of `clipn eval --repeat`.

use crate::common::{CLASSES, MODEL, Sandbox, is_error_report, text, with_model};
use clipn::checkpoint::{Checkpoint, Tensor, write_safetensors};
use serde_json::Value;

const SETS: [&str; 6] = [
    "--id",
    "id",
    "--ood",
    "noise=noise",
    "--ood",
    "stripes=stripes",
];

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("eval", &[&SETS[..], more].concat())
}

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    serde_json::from_str(&sandbox.done(&[arguments, &["--format", "json"]].concat())).unwrap()
}

fn rejected(sandbox: &Sandbox, arguments: &[&str]) -> (Option<i32>, String) {
    let output = sandbox.clipn(arguments);
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (output.status.code(), text(&output.stderr))
}

/// Writes the tiny model with scaled tensors of one kind, as a stand-in for another seed.
fn variant(sandbox: &Sandbox, name: &str, of: &str, factor: f32) {
    let weights = Checkpoint::open(sandbox.path("epoch_10.pt")).unwrap();
    let tensors: Vec<(String, Tensor)> = weights
        .iter()
        .map(|(name, tensor)| {
            let values: Vec<f32> = tensor
                .to_f32()
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    if name.starts_with(of) && i % 3 == 0 {
                        v * factor
                    } else {
                        *v
                    }
                })
                .collect();
            (
                name.to_owned(),
                Tensor::from_f32(tensor.shape(), values).unwrap(),
            )
        })
        .collect();
    write_safetensors(
        sandbox.path(name),
        tensors,
        &std::collections::BTreeMap::new(),
    )
    .unwrap();
}

#[test]
fn merges_runs_into_mean_and_spread() {
    let sandbox = Sandbox::new();
    variant(&sandbox, "seed-1.safetensors", "prompt_no", 3.0);
    let seeds = [("a", "epoch_10.pt"), ("b", "seed-1.safetensors")];
    let runs = seeds.map(|(output, weights)| {
        let model = [
            "eval",
            "--model",
            "tiny.json",
            "--pretrained",
            weights,
            "--templates",
            "simple",
        ];
        json(
            &sandbox,
            &[&model[..], &SETS, &["--output", output]].concat(),
        )
    });
    let merged = json(
        &sandbox,
        &[
            "results",
            "merge",
            "a",
            "b/results.json",
            "--output",
            "both",
        ],
    );
    let at = |run: &Value, i: usize| run["results"][i]["auroc"].as_f64().unwrap();
    let mut moved = 0;
    for i in 0..12 {
        let (x, y) = (at(&runs[0], i), at(&runs[1], i));
        let reported = &merged["spread"]["results"][i]["auroc"];
        assert!(
            (reported["mean"].as_f64().unwrap() - (x + y) / 2.0).abs() < 1e-12,
            "{reported}"
        );
        assert!(
            (reported["std"].as_f64().unwrap() - (x - y).abs() / 2.0_f64.sqrt()).abs() < 1e-12,
            "{reported}"
        );
        assert!((at(&merged, i) - (x + y) / 2.0).abs() < 1e-12);
        moved += usize::from(x != y);
    }
    assert!(moved > 0, "the two models are the same");
    assert_eq!(merged["spread"]["n"], 2);
    assert_eq!(merged["spread"]["over"], "runs");
    assert_eq!(
        merged["spread"]["runs"][1]["settings"]["pretrained"],
        "seed-1.safetensors"
    );
    assert_eq!(merged["settings"]["templates"], "simple");
    assert!(merged["settings"].get("pretrained").is_none());

    std::fs::create_dir(sandbox.path("copy")).unwrap();
    std::fs::copy(
        sandbox.path("a/results.json"),
        sandbox.path("copy/results.json"),
    )
    .unwrap();
    let again = sandbox.clipn(&["results", "merge", "a", "copy"]);
    let said = text(&again.stderr);
    assert!(
        said.contains("warning: a and copy have the same figures"),
        "{said}"
    );

    let table = sandbox.done(&["results", "merge", "a", "b"]);
    assert!(
        table.contains("mean ± sample standard deviation over 2 runs"),
        "{table}"
    );
    let row = table.lines().find(|line| line.starts_with("CTW")).unwrap();
    assert_eq!(row.matches(" ± ").count(), 6, "{table}");
    assert_eq!(sandbox.done(&["results", "show", "both"]), table);
    let csv = sandbox.done(&["results", "merge", "a", "b", "--format", "csv"]);
    assert!(
        csv.starts_with(
            "score,ood,kind,auroc,fpr95,aupr_in,aupr_out,n_id,n_ood,auroc_mean,auroc_std,"
        ),
        "{csv}"
    );
    let file = std::fs::read_to_string(sandbox.path("both/results.csv")).unwrap();
    assert!(
        file.lines()
            .next()
            .unwrap()
            .contains("AUPR-out-mean,AUPR-out-std,n,FPR@95-low,FPR@95-high,AUPR-in-trapezoid,"),
        "{file}"
    );
    let page = std::fs::read_to_string(sandbox.path("both/report.html")).unwrap();
    assert!(page.contains("2 runs of id") && page.contains("seed-1.safetensors"));

    // Evaluating both at once equals merging separate runs.
    let both = [
        "--pretrained",
        "epoch_10.pt",
        "seed-1.safetensors",
        "--output",
        "at-once",
    ];
    let arguments = [
        &["eval", "--model", "tiny.json", "--templates", "simple"][..],
        &both,
        &SETS,
    ]
    .concat();
    let at_once = json(&sandbox, &arguments);
    // Metrics read from a file may differ in the last bit.
    for i in 0..12 {
        let std = |run: &Value| {
            run["spread"]["results"][i]["auroc"]["std"]
                .as_f64()
                .unwrap()
        };
        assert!(
            (at(&at_once, i) - at(&merged, i)).abs() < 1e-12
                && (std(&at_once) - std(&merged)).abs() < 1e-12
        );
    }
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(read("at-once/run-2/scores.csv"), read("b/scores.csv"));
    assert!(
        sandbox.path("at-once/run-1/report.html").is_file()
            && sandbox.path("at-once/report.html").is_file()
    );
}

#[test]
fn models_with_different_image_towers_use_their_own() {
    let sandbox = Sandbox::new();
    variant(&sandbox, "other.safetensors", "visual.", 1.5);
    let model = [
        "eval",
        "--model",
        "tiny.json",
        "--templates",
        "simple",
        "--pretrained",
        "other.safetensors",
    ];
    let alone = json(&sandbox, &[&model[..], &SETS].concat());
    let both = json(&sandbox, &[&model[..], &["epoch_10.pt"], &SETS].concat());
    let averages = &both["spread"]["runs"][0]["averages"];
    assert_eq!(*averages, alone["averages"]);
    assert_ne!(*averages, both["spread"]["runs"][1]["averages"]);
}

#[test]
fn rejects_runs_that_are_not_comparable() {
    let sandbox = Sandbox::new();
    sandbox.done(&eval(&["--output", "a"]));
    sandbox.done(&eval(&["--output", "mcm", "--fpr-convention", "mcm"]));
    sandbox.done(&eval(&["--output", "gray", "--gray"]));
    sandbox.done(&eval(&["--output", "few", "--scores", "msp"]));
    let others = CLASSES.map(|name| format!("toy {name}"));
    sandbox.write("toys.txt", others.join("\n"));
    sandbox.done(&eval(&["--output", "names", "--classes", "toys.txt"]));
    for (other, said) in [
        (
            "mcm",
            "settings.fpr_convention is \"clipn\" in a and \"mcm\" in mcm",
        ),
        (
            "gray",
            "settings.preprocessing.grey is false in a and true in gray",
        ),
        ("few", "the list of scores"),
        ("names", "settings.class_names"),
    ] {
        let (code, error) = rejected(&sandbox, &["results", "merge", "a", other]);
        assert!(
            code == Some(1) && error.contains(said) && is_error_report(&error),
            "{error}"
        );
    }
    // Negatives and templates that differ behind equal names and counts.
    let negatives = |output, word| {
        sandbox.done(&eval(&[
            "--output", output, "--scores", "neglabel", "--reject", word,
        ]));
    };
    negatives("hand", "a hand");
    negatives("table", "a table");
    let templates = |output, line| {
        sandbox.write("lines.txt", line);
        let templates = ["eval", "--templates", "lines.txt", "--output", output];
        sandbox.done(&[&templates[..], &MODEL, &SETS].concat());
    };
    templates("photo", "a photo of a {}.");
    templates("drawing", "a drawing of a {}.");
    for (runs, said) in [
        (
            ["hand", "table"],
            "settings.negatives.words is [\"a hand\"] in hand and [\"a table\"] in table",
        ),
        (["photo", "drawing"], "settings.templates_checksum is"),
    ] {
        let (code, error) = rejected(&sandbox, &["results", "merge", runs[0], runs[1]]);
        assert!(code == Some(1) && error.contains(said), "{error}");
    }
    let (code, error) = rejected(&sandbox, &["results", "merge", "a", "a/results.json"]);
    assert!(
        code == Some(2) && error.contains("duplicate results: a/results.json"),
        "{error}"
    );
    assert_eq!(rejected(&sandbox, &["results", "merge", "a"]).0, Some(2));
    std::fs::create_dir(sandbox.path("b")).unwrap();
    std::fs::copy(
        sandbox.path("a/results.json"),
        sandbox.path("b/results.json"),
    )
    .unwrap();
    let (code, error) = rejected(
        &sandbox,
        &["results", "merge", "a", "b", "--output", "b", "--force"],
    );
    assert!(
        code == Some(2) && error.contains("would overwrite"),
        "{error}"
    );
    sandbox.done(&["results", "merge", "a", "b", "--output", "c"]);
    let again = ["results", "merge", "a", "b", "--output", "c"];
    let (code, error) = rejected(&sandbox, &again);
    assert!(
        code == Some(2) && error.contains("c has results already") && error.contains("--force"),
        "{error}"
    );
    sandbox.done(&[&again[..], &["--force"]].concat());
    let (code, error) = rejected(&sandbox, &["results", "merge", "a", "c"]);
    assert!(
        code == Some(1) && error.contains("cannot merge c: it is already the mean of 2 runs"),
        "{error}"
    );

    sandbox.write("b/results.json", "{\"results\": [");
    let (code, error) = rejected(&sandbox, &["results", "show", "b"]);
    assert!(
        code == Some(1) && error.contains("does not hold the results of an evaluation"),
        "{error}"
    );
    assert!(
        rejected(&sandbox, &["results", "show", "nowhere"])
            .1
            .contains("cannot read nowhere")
    );
}

#[test]
fn repeats_estimate_the_spread_over_images() {
    let sandbox = Sandbox::new();
    let plain = json(&sandbox, &eval(&[]));
    let repeated = json(&sandbox, &eval(&["--repeat", "50", "--output", "out"]));
    // The metrics on all images stay, and the spread is added.
    assert_eq!(repeated["results"], plain["results"]);
    assert_eq!(repeated["settings"], plain["settings"]);
    let spread = &repeated["spread"];
    assert_eq!(
        (&spread["over"], &spread["n"], &spread["seed"]),
        (&"resamples".into(), &50.into(), &0.into())
    );
    assert_eq!(spread["results"].as_array().unwrap().len(), 20);
    assert!(
        spread["accuracy"]["interval"][0].as_f64() < spread["accuracy"]["interval"][1].as_f64()
    );
    assert_eq!(
        json(&sandbox, &eval(&["--repeat", "50", "--workers", "1"]))["spread"],
        *spread
    );
    assert_ne!(
        json(&sandbox, &eval(&["--repeat", "50", "--seed", "1"]))["spread"],
        *spread
    );
    assert_eq!(
        json(&sandbox, &["results", "show", "out"])["spread"]["n"],
        50
    );
    let page = std::fs::read_to_string(sandbox.path("out/report.html")).unwrap();
    assert!(page.contains("over 50 bootstrap resamples"), "no ±");

    let table = sandbox.done(&eval(&[
        "--repeat", "5", "--subset", "4", "--scores", "ctw",
    ]));
    assert!(
        table.contains("5 random subsets of 4 images of each set, drawn without replacement"),
        "{table}"
    );
    let of_subsets = json(
        &sandbox,
        &eval(&["--repeat", "5", "--subset", "4", "--scores", "ctw"]),
    );
    let mean = 100.0
        * of_subsets["spread"]["results"][0]["auroc"]["mean"]
            .as_f64()
            .unwrap();
    assert!(table.contains(&format!("{mean:.2} ± ")), "{table}");
}

#[test]
fn rejects_invalid_repeats() {
    let sandbox = Sandbox::new();
    for (more, code, said) in [
        (&["--repeat", "1"][..], 2, "2..=10000"),
        (&["--subset", "4"], 2, "--repeat"),
        (&["--seed", "4"], 2, "--repeat"),
        (
            &["--repeat", "3", "--subset", "6"],
            1,
            "1 to 5, the readable images of `noise`",
        ),
        (
            &["--pretrained", "epoch_10.pt"],
            2,
            "duplicate --pretrained",
        ),
    ] {
        let (found, error) = rejected(&sandbox, &eval(more));
        assert!(
            found == Some(code) && error.contains(said),
            "{more:?}: {error}"
        );
    }
    let both = ["--pretrained", "epoch_10.pt", "other.pt", "--repeat", "3"];
    let (code, error) = rejected(
        &sandbox,
        &[&["eval", "--model", "tiny.json"][..], &both, &SETS].concat(),
    );
    assert!(
        code == Some(2) && error.contains("leave one of them out"),
        "{error}"
    );
}
