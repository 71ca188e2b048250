//! `clipn classifier`, `clipn calibrate` and the use of bundles.

use crate::common::{SCORES_WITHOUT_NEGATIVES, Sandbox, error_report, text};
use serde_json::Value;

const BUILD: [&str; 10] = [
    "classifier",
    "build",
    "--model",
    "tiny.json",
    "--pretrained",
    "epoch_10.pt",
    "--templates",
    "simple",
    "--classes",
    "classes.txt",
];

fn build(sandbox: &Sandbox, name: &str, more: &[&str]) -> String {
    sandbox.done(&[&BUILD[..], &["--out", name], more].concat())
}

/// Writes enough images for a calibration.
fn known(sandbox: &Sandbox) {
    for image in 0..60u32 {
        sandbox.image(
            &format!("known/pizza/{image}.bmp"),
            40,
            30 + image % 7,
            |x, y| {
                [
                    (x * (image + 3)) as u8,
                    (y * 7 + image * 40) as u8,
                    (x * y) as u8,
                ]
            },
        );
    }
}

/// Fails with the exit code and an error report that contains every part.
#[track_caller]
fn fails(sandbox: &Sandbox, code: i32, arguments: &[&str], parts: &[&str]) {
    let output = sandbox.clipn(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    let report = error_report(&error);
    for part in parts {
        assert!(
            report.contains(part),
            "{arguments:?}: no {part:?} in {report}"
        );
    }
}

#[test]
fn shows_the_contents_of_a_bundle() {
    let s = Sandbox::new();
    let stdout = build(&s, "shop.clipn", &[]);
    for part in [
        "classes      3: goldfish, school bus, pizza",
        "templates    simple (1 line;",
        "model        tiny",
        "not calibrated",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    assert_eq!(s.done(&["classifier", "show", "shop.clipn"]), stdout);
    let json: Value =
        serde_json::from_str(&s.done(&["classifier", "show", "shop.clipn", "--format", "json"]))
            .unwrap();
    assert_eq!(json["class_names"][1], "school bus");
    assert!(json["calibration"].is_null() && json["has_image_tower"] == false);
    assert!(
        json["model"]["source"]
            .as_str()
            .unwrap()
            .ends_with("/epoch_10.pt")
    );
    assert_eq!(
        s.done(&["classifier", "show", "shop.clipn", "--format", "csv"]),
        "class,label\n0,goldfish\n1,school bus\n2,pizza\n"
    );
    fails(
        &s,
        2,
        &[&BUILD[..], &["--out", "shop.clipn"]].concat(),
        &["shop.clipn already exists", "--force"],
    );
    build(&s, "shop.clipn", &["--force", "--with-model"]);
    let json: Value =
        serde_json::from_str(&s.done(&["classifier", "show", "shop.clipn", "--format", "json"]))
            .unwrap();
    assert_eq!(json["has_image_tower"], true);
    let inspected = s.clipn(&["inspect", "shop.clipn"]);
    assert!(
        text(&inspected.stderr).contains("clipn classifier show"),
        "{}",
        text(&inspected.stderr)
    );
}

#[test]
fn adds_and_removes_classes() {
    let s = Sandbox::new();
    build(&s, "shop.clipn", &[]);
    let all = ["goldfish", "school bus", "pizza", "teapot", "red lamp"];
    s.done(&[
        "classifier",
        "add",
        "shop.clipn",
        "--classes",
        "teapot, red lamp",
        "--out",
        "more.clipn",
    ]);
    s.write("all.txt", all.join("\n"));
    s.done(&[&BUILD[..9], &["all.txt", "--out", "all.clipn"]].concat());
    let rows = |name: &str| {
        let bundle = clipn::bundle::Bundle::open(s.path(name)).unwrap();
        assert_eq!(bundle.classifier().class_names(), all);
        (
            bundle.classifier().yes_weights().to_vec(),
            bundle.classifier().no_weights().unwrap().to_vec(),
        )
    };
    let (more, whole) = (rows("more.clipn"), rows("all.clipn"));
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&more.0, &whole.0) && close(&more.1, &whole.1));
    s.done(&[
        "classifier",
        "remove",
        "more.clipn",
        "--classes",
        "red lamp,goldfish",
    ]);
    assert!(
        s.done(&["classifier", "show", "more.clipn"])
            .contains("3: school bus, pizza, teapot")
    );

    fails(
        &s,
        2,
        &["classifier", "add", "shop.clipn", "--classes", "pizza"],
        &["already has the class `pizza`"],
    );
    // A list of one, and a file that does not exist, are no names.
    for list in [r#"["pizza"]"#, "['pizza']"] {
        fails(
            &s,
            2,
            &["classifier", "add", "shop.clipn", "--classes", list],
            &["already has the class `pizza`"],
        );
    }
    fails(
        &s,
        1,
        &["classifier", "add", "shop.clipn", "--classes", "new.txt"],
        &["new.txt"],
    );
    fails(
        &s,
        2,
        &["classifier", "remove", "shop.clipn", "--classes", "lamp"],
        &[
            "unknown class `lamp`",
            "`clipn classifier show shop.clipn --format csv` lists the classes",
        ],
    );
    fails(
        &s,
        2,
        &["classifier", "remove", "shop.clipn", "--classes", "Pizza"],
        &["unknown class `Pizza`", "the bundle has `pizza`"],
    );
    s.write("comma.txt", "pop bottle, soda bottle\ngoldfish\nsock\n");
    let (same, classes) = (&BUILD[..BUILD.len() - 1], "comma.txt");
    s.done(&[same, &[classes, "--out", "comma.clipn"]].concat());
    let shown = s.done(&["classifier", "show", "comma.clipn"]);
    assert!(
        shown.contains("3: \"pop bottle, soda bottle\", goldfish, sock"),
        "{shown}"
    );
    let both = "pop bottle, soda bottle";
    fails(
        &s,
        2,
        &["classifier", "remove", "comma.clipn", "--classes", both],
        &[
            "unknown class `pop bottle`",
            "--classes '\"pop bottle, soda bottle\"'",
        ],
    );
    s.done(&[
        "classifier",
        "remove",
        "comma.clipn",
        "--classes",
        "\"pop bottle, soda bottle\"",
    ]);
    fails(
        &s,
        1,
        &["classifier", "add", "none.clipn", "--classes", "lamp"],
        &["bundle not found: none.clipn"],
    );
    fails(
        &s,
        1,
        &[
            "classifier",
            "add",
            "shop.clipn",
            "--classes",
            "lamp",
            "--pretrained",
            "clipn-mini",
        ],
        &["clipn-mini"],
    );
    fails(
        &s,
        2,
        &[
            "classifier",
            "remove",
            "shop.clipn",
            "--classes",
            "goldfish, school bus, pizza",
        ],
        &["no class of shop.clipn would be left"],
    );
    // The same image tower with another "no".
    s.write_other_formats();
    s.done(&[
        "convert",
        "--model",
        "tiny.json",
        "epoch_10.pt",
        "plain",
        "--to",
        "open-clip",
    ]);
    fails(
        &s,
        1,
        &[
            "classifier",
            "add",
            "shop.clipn",
            "--classes",
            "lamp",
            "--pretrained",
            "plain",
        ],
        &["does not match the bundle", "text tower weights"],
    );
}

#[test]
fn stores_a_calibrated_threshold_in_the_bundle() {
    let s = Sandbox::new();
    known(&s);
    build(&s, "shop.clipn", &["--with-model"]);
    let stdout = s.done(&[
        "calibrate",
        "--bundle",
        "shop.clipn",
        "--id",
        "known",
        "--ood",
        "noise",
        "--ood",
        "stripes",
    ]);
    for part in [
        "threshold  ATD ",
        "accepts    58 of the 60 images of known",
        "rejects    ",
        " of 10 out-of-distribution images",
        "lowest ",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    let json = s.done(&[
        "calibrate",
        "--bundle",
        "shop.clipn",
        "--id",
        "known",
        "--target-tpr",
        "0.8",
        "--score",
        "ctw",
        "--format",
        "json",
        "--out",
        "ctw.clipn",
    ]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["score"], &json["n"], &json["kept"]["count"]),
        (&"ctw".into(), &60.into(), &49.into())
    );
    assert!((json["smallest_p_value"].as_f64().unwrap() - 1.0 / 61.0).abs() < 1e-12);
    assert_eq!(json["lowest"].as_array().unwrap().len(), 5);
    assert!(
        s.done(&["classifier", "show", "shop.clipn"])
            .contains("threshold    ATD")
    );
    assert!(
        s.done(&["classifier", "show", "ctw.clipn"])
            .contains("threshold    CTW")
    );
    let csv = s.done(&[
        "calibrate",
        "--bundle",
        "shop.clipn",
        "--id",
        "known",
        "--format",
        "csv",
    ]);
    assert!(
        csv.starts_with("score,threshold,target_tpr,n,kept") && csv.lines().count() == 2,
        "{csv}"
    );

    // A bundle is calibrated again with its score.
    let again = s.clipn(&["calibrate", "--bundle", "ctw.clipn", "--id", "known"]);
    assert!(
        text(&again.stderr).contains("replaces the threshold ")
            && text(&again.stderr).contains(" of CTW, from 60 images"),
        "{}",
        text(&again.stderr)
    );
    assert!(
        s.done(&["classifier", "show", "ctw.clipn"])
            .contains("threshold    CTW")
    );

    // A change of the classes removes the threshold.
    let changed = s.clipn(&["classifier", "remove", "ctw.clipn", "--classes", "pizza"]);
    assert!(
        text(&changed.stderr).contains("run `clipn calibrate` again"),
        "{}",
        text(&changed.stderr)
    );
    assert!(text(&changed.stdout).contains("not calibrated"));
}

/// A bundle is evaluated as it answers: with its classes, in its order, and with its threshold.
#[test]
fn a_bundle_can_be_evaluated() {
    let s = Sandbox::new();
    known(&s);
    build(&s, "shop.clipn", &[]);
    build(&s, "whole.clipn", &["--with-model"]);
    s.done(&["calibrate", "--bundle", "shop.clipn", "--id", "known"]);
    let sets = ["--id", "id", "--ood", "noise=noise", "--format", "json"];
    let eval = |more: &[&str]| -> Value {
        let json = s.done(&[&["eval"], more, &sets].concat());
        serde_json::from_str(&json).unwrap()
    };
    let weights = eval(&[
        "--model",
        "tiny.json",
        "--pretrained",
        "epoch_10.pt",
        "--templates",
        "simple",
        "--classes",
        "classes.txt",
    ]);
    for bundle in ["shop.clipn", "whole.clipn"] {
        let found = eval(&["--bundle", bundle]);
        assert_eq!(found["settings"]["bundle"], bundle);
        assert_eq!(found["accuracy"], weights["accuracy"]);
        // Images of users are decoded as they are displayed; these have no profile or rotation.
        assert_eq!(found["results"], weights["results"]);
    }
    let output = s.clipn(
        &[
            &["eval", "--bundle", "shop.clipn", "--output", "out"],
            &sets[..],
        ]
        .concat(),
    );
    let error = text(&output.stderr);
    assert!(
        error.contains("at the bundle's threshold (ATD 0.") && error.contains("of 5 of noise"),
        "{error}"
    );
    let results: Value =
        serde_json::from_slice(&std::fs::read(s.path("out/results.json")).unwrap()).unwrap();
    assert_eq!(results["settings"]["decision"]["score"], "atd");
    let page = std::fs::read_to_string(s.path("out/report.html")).unwrap();
    let threshold = results["settings"]["decision"]["threshold"]
        .as_f64()
        .unwrap();
    assert!(page.contains(&format!("{threshold:.3}")), "{threshold}");
    fails(
        &s,
        2,
        &[
            &["eval", "--bundle", "shop.clipn", "--classes", "a,b"],
            &sets[..],
        ]
        .concat(),
        &["--bundle", "--classes"],
    );
}

#[test]
fn calibrates_the_score_that_separates_best() {
    let s = Sandbox::new();
    known(&s);
    build(&s, "shop.clipn", &["--with-model"]);
    let calibrate = |more: &[&'static str]| {
        let start = ["calibrate", "--bundle", "shop.clipn", "--id", "known"];
        s.clipn(&[&start[..], &["--force", "--out", "best.clipn"], more].concat())
    };
    let best: &[&str] = &["--score", "best", "--ood", "noise", "--ood", "stripes"];
    let json = calibrate(&[best, &["--verbose", "--format", "json"]].concat());
    assert!(json.status.success(), "{}", text(&json.stderr));
    let said = text(&json.stderr);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let comparison = &json["comparison"];
    let reason = comparison["reason"].as_str().unwrap();
    assert!(said.contains(reason), "{said}");
    // The weights have learned "no", and the bundle has no negatives.
    let rows = comparison["scores"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["score"].as_str().unwrap()).collect();
    assert_eq!(names, SCORES_WITHOUT_NEGATIVES);
    assert!(
        said.contains("left out neglabel, ctw-neg, atd-neg: no negatives"),
        "{said}"
    );
    assert_eq!(
        (&comparison["folds"], &comparison["seed"]),
        (&5.into(), &0.into())
    );

    // The best has the highest AUROC, and the bundle is calibrated with it.
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    let highest = rows.iter().map(|r| number(r, "auroc")).fold(0.0, f64::max);
    let chosen = rows
        .iter()
        .find(|r| r["score"] == comparison["best"])
        .unwrap();
    assert_eq!(number(chosen, "auroc"), highest);
    assert_eq!(json["score"], comparison["best"]);

    // Each row has what a calibration with this score has.
    for row in rows {
        let name = row["score"].as_str().unwrap();
        let single = s.done(&[
            "calibrate",
            "--bundle",
            "shop.clipn",
            "--id",
            "known",
            "--ood",
            "noise",
            "--ood",
            "stripes",
            "--score",
            name,
            "--force",
            "--out",
            "single.clipn",
            "--format",
            "json",
        ]);
        let single: Value = serde_json::from_str(&single).unwrap();
        assert_eq!(single["unknown"]["auroc"], row["auroc"], "{name}");
        assert!(single["comparison"].is_null());
        assert!((0.8..=1.0).contains(&number(row, "kept")), "{row}");
        if name == comparison["best"] {
            for key in [
                "threshold",
                "threshold_bounds",
                "kept",
                "unknown",
                "lowest",
                "warnings",
            ] {
                assert_eq!(single[key], json[key], "{key}");
            }
        }
    }

    let table = calibrate(best);
    let table = text(&table.stdout);
    for part in ["score ", "MaxLogit ", "in 5 folds", reason, "threshold  "] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
    // Negatives allow every score, but for those that need more images to be fitted to.
    let negatives = ["--force", "--with-model", "--reject", "a hand, a table"];
    build(&s, "shop.clipn", &negatives);
    let json = calibrate(&[best, &["--format", "json"]].concat());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let rows = json["comparison"]["scores"].as_array().unwrap();
    let fitted = clipn::scores::FittedScore::ALL.len();
    assert_eq!(rows.len(), clipn::scores::all().len() - fitted);

    let guaranteed = calibrate(&[best, &["--choice", "guaranteed"]].concat());
    assert!(
        text(&guaranteed.stderr).contains("does not cover the choice of the score"),
        "{}",
        text(&guaranteed.stderr)
    );
}

#[test]
fn scores_are_compared_only_with_enough_images() {
    let s = Sandbox::new();
    known(&s);
    build(&s, "shop.clipn", &[]);
    let calibrate = |more: &[&'static str]| {
        let start = ["calibrate", "--bundle", "shop.clipn", "--score", "best"];
        [&start[..], more].concat()
    };
    // Without out-of-distribution images: the default.
    let output = s.clipn(&calibrate(&["--id", "known", "--format", "json"]));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("cannot compare scores without out-of-distribution images")
            && said.contains("took the default, ATD")
            && said.contains("--ood"),
        "{said}"
    );
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["score"], &json["comparison"]),
        (&"atd".into(), &Value::Null)
    );

    fails(
        &s,
        1,
        &calibrate(&["--id", "known", "--ood", "noise"]),
        &[
            "at least 10 out-of-distribution (OOD) images",
            "got 5",
            "--score",
        ],
    );
    fails(
        &s,
        1,
        &calibrate(&["--id", "id", "--ood", "noise", "--ood", "stripes"]),
        &["at least 24 in-distribution (ID) images", "got 12"],
    );
    fails(
        &s,
        2,
        &[
            "calibrate",
            "--bundle",
            "shop.clipn",
            "--id",
            "known",
            "--score",
            "worst",
        ],
        &["worst", "or best"],
    );
}

#[test]
fn calibration_rejects_unsuitable_input() {
    let s = Sandbox::new();
    known(&s);
    build(&s, "shop.clipn", &[]);
    let calibrate =
        |more: &[&'static str]| [&["calibrate", "--bundle", "shop.clipn"], more].concat();
    fails(
        &s,
        1,
        &calibrate(&["--id", "photos"]),
        &["expected at least 19 images", "got 2"],
    );
    fails(
        &s,
        1,
        &calibrate(&["--id", "absent"]),
        &["absent does not exist"],
    );
    fails(
        &s,
        2,
        &calibrate(&["--id", "known", "--choice", "best"]),
        &["--ood"],
    );
    fails(
        &s,
        2,
        &calibrate(&["--id", "known", "--choice", "worst"]),
        &["on-average, guaranteed, best"],
    );
    fails(
        &s,
        2,
        &calibrate(&["--id", "known", "--target-tpr", "1.5"]),
        &["between 0 and 1", "1.5"],
    );
    // What is wrong with the output is found before images are read.
    s.write("notes.txt", "not to be lost");
    for (out, parts) in [
        ("notes.txt", &["notes.txt already exists", "--force"][..]),
        ("photos", &["photos is a directory"]),
        (
            "nowhere/a.clipn",
            &["no directory nowhere for nowhere/a.clipn"],
        ),
    ] {
        fails(&s, 2, &calibrate(&["--id", "absent", "--out", out]), parts);
    }
    assert_eq!(
        std::fs::read(s.path("notes.txt")).unwrap(),
        b"not to be lost"
    );
    // A flag whose requirement conflicts with another flag is no flag that does nothing.
    fails(
        &s,
        2,
        &calibrate(&["--id", "known", "--labels", "notes.txt"]),
        &["were not provided", "--features"],
    );
    let same = s.clipn(&calibrate(&[
        "--id",
        "known",
        "--ood",
        "known",
        "--out",
        "same.clipn",
    ]));
    let said = text(&same.stderr);
    assert!(
        said.contains("warning: images of --ood that are in --id too: 60 of 60, such as known"),
        "{said}"
    );
    fails(
        &s,
        1,
        &["calibrate", "--bundle", "classes.txt", "--id", "known"],
        &["not a bundle: classes.txt"],
    );
    // Few images, and one that cannot be read.
    s.write("known/pizza/broken.bmp", "BM");
    let output = s.clipn(&calibrate(&["--id", "known"]));
    let said = text(&output.stderr);
    assert!(
        output.status.success() && said.contains("only 60 images: "),
        "{said}"
    );
    assert!(said.contains("skipped 1 image that"), "{said}");
    fails(
        &s,
        1,
        &calibrate(&["--id", "known", "--strict"]),
        &["broken.bmp"],
    );
    // A folder that matches no class.
    s.image("known/lamp/0.bmp", 9, 9, |x, y| [x as u8, y as u8, 7]);
    let output = s.clipn(&calibrate(&["--id", "known"]));
    assert!(text(&output.stderr).contains("in folders that match no class (lamp): 1"));
}
