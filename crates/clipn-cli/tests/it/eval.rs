//! `clipn eval`.

use crate::common::{SCORES_WITHOUT_NEGATIVES, Sandbox, test_data, text, with_model};
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

fn json(sandbox: &Sandbox, more: &[&str]) -> Value {
    serde_json::from_str(&sandbox.done(&eval(&[&["--format", "json"], more].concat()))).unwrap()
}

#[test]
fn json_has_the_documented_fields() {
    let sandbox = Sandbox::new();
    let report = json(&sandbox, &[]);
    assert_eq!(report["id"], serde_json::json!({"name": "id", "n": 12}));
    assert!((0.0..=1.0).contains(&report["accuracy"].as_f64().unwrap()));
    let results = report["results"].as_array().unwrap();
    let pairs: Vec<(&str, &str)> = results
        .iter()
        .map(|r| (r["ood"].as_str().unwrap(), r["score"].as_str().unwrap()))
        .collect();
    let expected: Vec<_> = ["noise", "stripes"]
        .iter()
        .flat_map(|o| SCORES_WITHOUT_NEGATIVES.iter().map(move |s| (*o, *s)))
        .collect();
    assert_eq!(pairs, expected);
    for result in results {
        for figure in ["auroc", "fpr95", "aupr_in", "aupr_out"] {
            assert!(
                (0.0..=1.0).contains(&result[figure].as_f64().unwrap()),
                "{result}"
            );
        }
        assert_eq!(
            (result["n_id"].as_u64(), result["n_ood"].as_u64()),
            (Some(12), Some(5))
        );
    }
    assert_eq!(report["skipped"], serde_json::json!([]));
    assert_eq!(report["settings"]["fpr_convention"], "clipn");
    assert_eq!(report["settings"]["epoch"], "10");
}

#[test]
fn results_do_not_depend_on_batch_size_and_workers() {
    let sandbox = Sandbox::new();
    let reference = json(&sandbox, &["--batch-size", "1", "--workers", "1"]);
    for spread in [
        ["--batch-size", "3", "--workers", "2"],
        ["--batch-size", "64", "--workers", "5"],
    ] {
        let other = json(&sandbox, &spread);
        assert_eq!(other["results"], reference["results"]);
        assert_eq!(other["accuracy"], reference["accuracy"]);
    }
}

/// Images that repeat score alike; the table, the warning and the JSON say so.
#[test]
fn scores_with_few_distinct_values_are_reported() {
    let s = Sandbox::new();
    let list: String = (0..150).map(|i| format!("noise/{}.bmp\n", i % 5)).collect();
    s.write("many.txt", list);
    let run = |more: &[&str]| {
        let sets = [
            "--id",
            "id",
            "--ood",
            "many=many.txt",
            "--scores",
            "msp,mcm",
        ];
        s.clipn(&with_model("eval", &[&sets[..], more].concat()))
    };
    let output = run(&[]);
    let error = text(&output.stderr);
    let warning = "warning: msp has 17 distinct values among 162 scores with many: many scores are equal; ties \
                   decide a part of its metrics";
    assert!(error.contains(warning), "{error}");
    assert_eq!(error.matches("--score-precision f64").count(), 1, "{error}");
    let report: Value = serde_json::from_slice(&run(&["--format", "json"]).stdout).unwrap();
    for result in report["results"].as_array().unwrap() {
        let coarse = serde_json::json!({"distinct": 17, "total": 162, "cause": "other"});
        assert_eq!(result["coarse"], coarse);
        // No ID image ties with an OOD image, so no order changes FPR95.
        let fpr95 = result["fpr95"].as_f64().unwrap();
        assert_eq!(result["fpr95_ties"], serde_json::json!([fpr95, fpr95]));
    }
    let precise = text(&run(&["--score-precision", "f64"]).stderr);
    assert!(precise.contains("17 distinct values"), "{precise}");
    assert!(!precise.contains("--score-precision"), "{precise}");
}

/// Known images that are among the unknown ones, too, tie with them.
#[test]
fn ties_widen_fpr95_in_the_table() {
    let s = Sandbox::new();
    let sets = ["--id", "id", "--ood", "same=id", "--scores", "msp"];
    let table = s.done(&with_model("eval", &sets));
    assert!(
        table.contains("[lowest, highest FPR95] over every order of equal scores"),
        "{table}"
    );
    let row = table.lines().find(|line| line.starts_with("MSP")).unwrap();
    assert!(
        row.contains("50.00 / ") && row.contains(" [91.67, 100.00]"),
        "{table}"
    );
    s.done(&with_model(
        "eval",
        &[&sets[..], &["--output", "out"]].concat(),
    ));
    let read = |name: &str| std::fs::read_to_string(s.path("out").join(name)).unwrap();
    let csv = read("results.csv");
    assert!(
        csv.lines().next().unwrap().contains(
            ",FPR@95-low,FPR@95-high,AUPR-in-trapezoid,AUPR-out-trapezoid,AURC,FPR@95-clipn,"
        ),
        "{csv}"
    );
    let cell = csv.lines().nth(1).unwrap().split(',').nth(11);
    assert_eq!(cell, Some("1"), "{csv}");
    let html = read("report.html");
    assert_eq!(
        html.matches(" [91.67, 100.00]").count(),
        3,
        "table, tile and full table"
    );
    assert!(html.contains("over every order of equal scores"));
    assert_eq!(s.done(&["results", "show", "out"]), table);
}

#[test]
fn tables_and_csv_agree() {
    let sandbox = Sandbox::new();
    let table = sandbox.done(&eval(&["--scores", "ctw,atd"]));
    let report = json(&sandbox, &["--scores", "ctw,atd"]);
    let auroc = 100.0 * report["results"][0]["auroc"].as_f64().unwrap();
    assert!(table.contains(&format!("{auroc:.2} / ")), "{table}");
    assert!(
        table.contains("id: 12 images, 3 classes, accuracy") && table.contains("noise"),
        "{table}"
    );
    let csv = sandbox.done(&eval(&["--scores", "ctw,atd", "--format", "csv"]));
    assert_eq!(csv.lines().count(), 1 + 4, "{csv}");
    assert!(csv.starts_with("score,ood,kind,auroc,fpr95,"), "{csv}");
}

/// An evaluation of yesterday is not replaced by accident, and nothing of it is left if it is.
#[test]
fn results_are_replaced_only_by_request() {
    let s = Sandbox::new();
    let run = |more: &[&str]| s.clipn(&eval(&[&["--output", "out"], more].concat()));
    assert!(run(&[]).status.success());
    s.write("out/notes.txt", "mine");
    s.write("out/run-1/report.html", "stale");
    s.write("out/scores.parquet", "stale");
    let before = std::fs::read(s.path("out/results.json")).unwrap();
    let refused = run(&["--scores", "msp"]);
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(
        error.contains("out has results already") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(std::fs::read(s.path("out/results.json")).unwrap(), before);
    assert!(run(&["--scores", "msp", "--force"]).status.success());
    assert_ne!(std::fs::read(s.path("out/results.json")).unwrap(), before);
    assert!(s.path("out/notes.txt").exists());
    assert!(!s.path("out/run-1/report.html").exists());
    let parquet = std::fs::read(s.path("out/scores.parquet"));
    assert!(parquet.is_err() || parquet.unwrap() != b"stale");
    // A file of the user's own that has the name of a result.
    s.write("mine/scores.csv", "mine");
    let refused = s.clipn(&eval(&["--output", "mine"]));
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(
        error.contains("mine has a file scores.csv already"),
        "{error}"
    );
    assert_eq!(std::fs::read(s.path("mine/scores.csv")).unwrap(), b"mine");
}

#[test]
fn output_files_have_the_table_and_one_row_per_image() {
    let sandbox = Sandbox::new();
    sandbox.write("noise/broken.png", "not an image");
    let output = sandbox.clipn(&eval(&["--output", "out/deep"]));
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("skipped 1 image that could not be read"),
        "{}",
        text(&output.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(sandbox.path("out/deep").join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(report["skipped"][0]["set"], "noise");
    assert!(
        report["skipped"][0]["error"]
            .as_str()
            .unwrap()
            .contains("broken.png")
    );
    let results = read("results.csv");
    assert!(
        results.starts_with("epoch,method,oodset,AUROC,FPR@95,"),
        "{results}"
    );
    assert!(
        results.lines().nth(1).unwrap().starts_with("10,MSP,noise,"),
        "{results}"
    );
    let scores = read("scores.csv");
    assert_eq!(
        scores.lines().next().unwrap(),
        "set,path,label,prediction,msp,maxlogit,energy,mcm,margin,gen,logitgap,ctw,atd,gated-energy,error,is_id"
    );
    assert_eq!(scores.lines().count(), 1 + 12 + 6 + 5);
    assert!(
        scores
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("id,id/goldfish/0.bmp,goldfish,"),
        "{scores}"
    );
}

#[test]
fn strict_makes_an_unreadable_image_fatal() {
    let sandbox = Sandbox::new();
    sandbox.write("noise/broken.png", "not an image");
    let output = sandbox.clipn(&eval(&["--strict"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("broken.png"));
}

#[test]
fn gray_images_and_precision_change_the_scores() {
    let sandbox = Sandbox::new();
    let scores = |more: &[&str]| {
        sandbox.done(&eval(&[&["--output", "out", "--force"], more].concat()));
        std::fs::read_to_string(sandbox.path("out/scores.csv")).unwrap()
    };
    let plain = scores(&[]);
    let gray = scores(&["--gray"]);
    assert_ne!(plain, gray);
    // The British spelling remains as a hidden alias.
    assert_eq!(gray, scores(&["--grey"]));
    let log = scores(&["--score-precision", "f64"]);
    let msp = |csv: &str| {
        csv.lines()
            .nth(1)
            .unwrap()
            .split(',')
            .nth(4)
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!((msp(&plain) - msp(&log).exp()).abs() < 1e-6);
}

#[test]
fn a_plain_clip_needs_a_tokenizer_that_it_knows() {
    let sandbox = Sandbox::new();
    let weights = crate::common::library_fixture("checkpoint/plain_clip.pt");
    std::fs::copy(weights, sandbox.path("plain.pt")).unwrap();
    sandbox.write(
        "plain.json",
        r#"{"embed_dim":48,"quick_gelu":true,"vision_cfg":{"image_size":32,"layers":2,"width":128,"patch_size":16},
            "text_cfg":{"context_length":12,"vocab_size":100,"width":64,"heads":1,"layers":1}}"#,
    );
    let output = sandbox.clipn(&[
        "classify",
        "--model",
        "plain.json",
        "--pretrained",
        "plain.pt",
        "--classes",
        "a,b",
        "photos",
    ]);
    let error = text(&output.stderr);
    assert!(error.contains("outside the vocabulary of 100"), "{error}");
}

/// The published pipeline over 28 photos: table, accuracy and every score.
#[test]
fn photos_give_the_published_table() {
    let (Some(e2e), Some(weights)) = (
        test_data("golden/e2e"),
        test_data("golden/models/clipn-tiny-realvocab/run/checkpoints/epoch_10.pt"),
    ) else {
        return;
    };
    let expected: Value =
        serde_json::from_slice(&std::fs::read(e2e.join("expected.json")).unwrap()).unwrap();
    let classes = expected["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect::<Vec<_>>()
        .join(",");

    // On the stored crops, the table equals the published one; on the photos, every score is close.
    let sandbox = Sandbox::new();
    for (path, _) in expected["scores"].as_object().unwrap() {
        let path = path.strip_prefix("e2e/").unwrap();
        let name = path.rsplit('/').next().unwrap();
        let crop = std::fs::read(e2e.join("crops").join(format!("{name}.png"))).unwrap();
        sandbox.write(&format!("crops/{path}.png"), crop);
    }
    let run = |root: &str, suffix: &str| {
        let sets = ["iNaturalist", "SUN", "Textures", "Places"]
            .map(|name| format!("{name}={root}/{name}"));
        let id = format!("{root}/id");
        let mut arguments = vec![
            "eval",
            "--model",
            "tiny.json",
            "--pretrained",
            weights.to_str().unwrap(),
        ];
        arguments.extend([
            "--classes",
            &classes,
            "--id",
            &id,
            "--format",
            "json",
            "--output",
            "out",
            "--force",
        ]);
        for set in &sets {
            arguments.extend(["--ood", set]);
        }
        let report: Value = serde_json::from_str(&sandbox.done(&arguments)).unwrap();
        let scores = std::fs::read_to_string(sandbox.path("out/scores.csv")).unwrap();
        let worst = worst_score(&scores, &expected, root, suffix);
        (report, worst)
    };

    let (report, worst) = run("crops", ".png");
    for row in expected["rows"].as_array().unwrap() {
        let found = report["results"].as_array().unwrap().iter().find(|r| {
            r["ood"] == row[2]
                && r["score"].as_str().unwrap() == row[1].as_str().unwrap().to_lowercase()
        });
        for (figure, column) in [("auroc", 3), ("fpr95", 4)] {
            let (found, expected) = (
                found.unwrap()[figure].as_f64().unwrap(),
                row[column].as_f64().unwrap(),
            );
            assert!(
                (found - expected).abs() < 1e-6,
                "{figure} of {row}: {found}"
            );
        }
    }
    // By the published features and classifier, 4 of the 12 images are closest to their own class.
    assert_eq!(report["accuracy"], 4.0 / 12.0);
    assert!(
        worst < 1e-4,
        "from crops, the largest score difference is {worst:e}"
    );
    println!("from crops, the largest score difference is {worst:e}");

    let (_, worst) = run(e2e.to_str().unwrap(), "");
    assert!(
        worst < 2e-3,
        "from JPEGs, the largest score difference is {worst:e}"
    );
    println!("from JPEGs, the largest score difference is {worst:e}");
}

/// Largest difference of any score from the published one.
fn worst_score(csv: &str, expected: &Value, root: &str, suffix: &str) -> f64 {
    let mut lines = csv.lines();
    let heading: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut worst = 0.0f64;
    let mut compared = 0;
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let path = cells[1]
            .strip_prefix(root)
            .unwrap()
            .strip_suffix(suffix)
            .unwrap();
        for (name, value) in expected["scores"][format!("e2e{path}")]
            .as_object()
            .unwrap()
        {
            let column = heading
                .iter()
                .position(|h| *h == name.to_lowercase())
                .unwrap();
            worst =
                worst.max((cells[column].parse::<f64>().unwrap() - value.as_f64().unwrap()).abs());
            compared += 1;
        }
    }
    assert_eq!(compared, 28 * 5);
    worst
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_scores_equal_csv_scores() {
    use parquet::file::reader::SerializedFileReader;
    use parquet::record::Field;

    use crate::common::CLASSES;

    let sandbox = Sandbox::new();
    sandbox.write("noise/broken.jpg", "text");
    sandbox.done(&with_model(
        "eval",
        &["--id", "id", "--ood", "noise=noise", "--output", "out"],
    ));
    let csv = csv::Reader::from_path(sandbox.path("out/scores.csv")).unwrap();
    let file = std::fs::File::open(sandbox.path("out/scores.parquet")).unwrap();
    let shown = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Double(number) => number.to_string(),
        Field::Long(number) => number.to_string(),
        Field::Bool(truth) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    let rows = SerializedFileReader::new(file)
        .unwrap()
        .into_iter()
        .map(|row| {
            row.unwrap()
                .get_column_iter()
                .map(|(_, field)| shown(field))
                .collect::<Vec<_>>()
        });
    let expected = csv
        .into_records()
        .map(|record| record.unwrap().iter().map(String::from).collect::<Vec<_>>());
    let (rows, expected) = (rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        let (shared, added) = row.split_at(expected.len());
        assert_eq!(shared, expected);
        let is_id = expected[0] == "id";
        let kind = if is_id { "id" } else { "" };
        assert_eq!(
            (&expected[expected.len() - 1], added[0].as_str()),
            (&is_id.to_string(), kind)
        );
        let index = |name: &str| {
            let found = CLASSES.iter().position(|class| *class == name);
            found.map(|index| index.to_string()).unwrap_or_default()
        };
        // The class directories are in the order of their names.
        assert_eq!(
            added[1].is_empty(),
            index(&expected[2]).is_empty(),
            "{row:?}"
        );
        assert_eq!(
            added[2].is_empty(),
            index(&expected[3]).is_empty(),
            "{row:?}"
        );
        assert!(is_id || added[1].is_empty());
    }
}
