//! Scores that are fitted to images: `clipn eval --id-train` and `--train-features`, and their thresholds
//! in bundles.

use clipn::scores::FittedScore;
use serde_json::Value;

use crate::common::{MODEL, SCORES_WITHOUT_NEGATIVES, Sandbox, text};

/// The features of the small model are in a subspace of few dimensions.
const SETTINGS: &str = "knn-k=3,nnguide-k=3,vim-dim=4";

/// A sandbox with 24 images of each class to fit to, and 20 unlike them.
fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    for (index, class) in ["goldfish", "pizza", "school bus"].iter().enumerate() {
        for image in 0..24_u32 {
            s.image(&format!("train/{class}/{image}.bmp"), 40, 30, |x, y| {
                let shade = (x * image + 80 * index as u32) as u8;
                [
                    shade,
                    (y * 7 + image) as u8,
                    (x * y * (1 + index as u32)) as u8,
                ]
            });
        }
    }
    for image in 0..20_u32 {
        s.image(&format!("far/{image}.bmp"), 40, 30, |x, _| {
            [(x * 90 + image) as u8, 255, (image * 12) as u8]
        });
    }
    s
}

const SETS: [&str; 4] = ["--id", "id", "--ood", "noise=noise"];

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["eval"][..], &MODEL, more].concat()
}

fn json(s: &Sandbox, arguments: &[&str]) -> Value {
    let json = s.done(&[arguments, &["--format", "json"]].concat());
    serde_json::from_str(&json).unwrap()
}

fn names(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().unwrap();
    results
        .iter()
        .map(|r| r["score"].as_str().unwrap())
        .collect()
}

#[test]
fn images_that_two_sets_share_are_reported() {
    let s = sandbox();
    let warnings = |sets: &[&str]| {
        let output = s.clipn(&eval(&[sets, &["--scores", "msp"]].concat()));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
            .matches("in-distribution and out-of-distribution")
            .count()
    };
    assert_eq!(warnings(&["--id", "train", "--ood", "noise=noise"]), 0);
    let ood = ["--ood", "noise=noise", "--ood", "some=./train"];
    assert_eq!(warnings(&[&["--id", "train"][..], &ood].concat()), 1);
}

#[test]
fn images_to_fit_to_make_more_scores_available() {
    let s = sandbox();
    let train = [
        "--id-train",
        "train",
        "--fit-settings",
        SETTINGS,
        "--output",
        "out",
    ];
    let report = json(&s, &eval(&[&SETS[..], &train].concat()));
    let fitted = FittedScore::ALL.map(FittedScore::as_str);
    assert_eq!(
        names(&report),
        [&SCORES_WITHOUT_NEGATIVES[..], &fitted].concat()
    );
    let fit = &report["settings"]["train"]["fit"];
    assert_eq!(report["settings"]["train"]["images"], "train");
    assert_eq!((&fit["images"], &fit["labeled"]), (&72.into(), &72.into()));
    assert_eq!(fit["settings"]["knn-k"], 3);
    assert_eq!(fit["settings"]["react-percentile"], 90.0);
    let scores = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    let header = scores.lines().next().unwrap();
    assert!(header.contains(",knn,mds,rmds,vim,residual,she,nnguide,fdbd,react,kl-matching,"));
    let page = std::fs::read_to_string(s.path("out/report.html")).unwrap();
    assert!(page.contains("train.fit.settings.knn-k"));
    // The images that the scores were fitted to have no distance to themselves.
    let same = [
        "--id",
        "train",
        "--ood",
        "noise=noise",
        "--id-train",
        "train",
    ];
    let first = [
        "--scores",
        "knn",
        "--fit-settings",
        "knn-k=1",
        "--output",
        "same",
    ];
    let output = s.clipn(&eval(&[&same[..], &first].concat()));
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains(
            "warning: images of --id-train that are in train too: 72 of 72, such as train"
        ),
        "{stderr}"
    );
    let scores = std::fs::read_to_string(s.path("same/scores.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(scores.as_bytes());
    for row in rows
        .records()
        .map(Result::unwrap)
        .filter(|row| &row[0] == "train")
    {
        let distance: f64 = row[4].parse().unwrap();
        assert!(distance.abs() < 1e-12, "{row:?}");
    }
}

#[test]
fn features_have_the_scores_of_their_images() {
    let s = sandbox();
    for set in ["id", "noise", "train"] {
        let output = format!("{set}.npy");
        let embed = [
            "embed",
            "images",
            set,
            "--faithful-pixels",
            "--output",
            &output,
        ];
        s.done(&[&embed[..], &MODEL].concat());
    }
    s.write(
        "labels.txt",
        "goldfish\n".repeat(24) + &"pizza\n".repeat(24) + &"school bus\n".repeat(24),
    );
    s.write(
        "id-labels.txt",
        "goldfish\n".repeat(4) + &"pizza\n".repeat(4) + &"school bus\n".repeat(4),
    );
    let scores = [
        "--scores",
        "knn,mds,vim,she,react,kl-matching",
        "--fit-settings",
        SETTINGS,
    ];
    let images = ["--id-train", "train"];
    let images = json(&s, &eval(&[&SETS[..], &images, &scores].concat()));
    let features = [
        "--features",
        "id=id.npy",
        "--ood-features",
        "noise=noise.npy",
        "--labels",
        "id-labels.txt",
        "--classes",
        "classes.txt",
        "--train-features",
        "train.npy",
        "--train-labels",
        "labels.txt",
    ];
    let features = json(&s, &eval(&[&features[..], &scores].concat()));
    assert_eq!(features["results"], images["results"]);
    // Features to fit to beside images that are evaluated; without labels, the predicted class counts.
    let mixed = ["--train-features", "train.npy"];
    let mixed = json(&s, &eval(&[&SETS[..], &mixed, &scores].concat()));
    assert_eq!(mixed["settings"]["train"]["fit"]["labeled"], 0);
    assert_eq!(mixed["results"][0], images["results"][0]);
    let warnings = mixed["settings"]["train"]["fit"]["warnings"].to_string();
    assert!(warnings.contains("predicted-labels"), "{warnings}");
}

#[test]
fn a_score_without_images_to_fit_to_is_refused_by_name() {
    let s = Sandbox::new();
    let refused = |more: &[&str], expected: &[&str]| {
        let output = s.clipn(&eval(&[&SETS[..], more].concat()));
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "{stderr}");
        for part in expected {
            assert!(stderr.contains(part), "expected `{part}` in: {stderr}");
        }
    };
    refused(
        &["--scores", "msp,knn"],
        &[
            "the score `knn` needs in-distribution images that it is fitted to",
            "--id-train",
        ],
    );
    refused(
        &["--scores", "knn", "--id-train", "id"],
        &[
            "the score `knn` needs at least 50 images to compare with, got 12",
            "knn-k=10",
        ],
    );
    refused(
        &["--scores", "msp", "--id-train", "id"],
        &[
            "none of --scores is fitted to images",
            "add scores such as knn: knn, mds",
        ],
    );
    refused(
        &["--fit-settings", "knn-k=3"],
        &["--fit-settings without images to fit scores to"],
    );
    refused(
        &["--id-train", "id", "--fit-settings", "knn-k=0"],
        &["knn-k: expected at least 1, got `0`"],
    );
    refused(&["--id-train", "benchmark"], &["benchmark"]);
}

#[test]
fn a_benchmark_names_its_images_to_fit_to() {
    let s = sandbox();
    s.write(
        "b.toml",
        "name = \"b\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"noise\"\nfolder = \"noise\"\n\
         [train]\nfolder = \"train\"\nexclude = [\"pizza\"]\n",
    );
    let run = [
        "--benchmark",
        "b.toml",
        "--data-root",
        ".",
        "--id-train",
        "benchmark",
    ];
    let scores = ["--scores", "knn,she", "--fit-settings", SETTINGS];
    let output = s.clipn(&eval(&[&run[..], &scores].concat()));
    assert!(
        text(&output.stderr).contains("needs an image of every class, got none of `pizza`\n"),
        "{}",
        text(&output.stderr)
    );
    let knn = ["--scores", "knn", "--fit-settings", SETTINGS];
    let report = json(&s, &eval(&[&run[..], &knn].concat()));
    assert_eq!(report["settings"]["train"]["fit"]["images"], 48);
    s.write(
        "without.toml",
        "name = \"b\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"noise\"\nfolder = \"noise\"\n",
    );
    let run = [
        "--benchmark",
        "without.toml",
        "--data-root",
        ".",
        "--id-train",
        "benchmark",
    ];
    let output = s.clipn(&eval(&run));
    assert!(text(&output.stderr).contains("has no images to fit scores to"));
}

fn build(s: &Sandbox) {
    let build = [
        "classifier",
        "build",
        "--classes",
        "classes.txt",
        "--templates",
        "simple",
    ];
    let out = ["--faithful-pixels", "--with-model", "--out", "b.clipn"];
    s.done(&[&build[..], &MODEL, &out].concat());
}

fn calibrate(s: &Sandbox, more: &[&str]) -> (Value, String) {
    let flags = [
        "calibrate",
        "--bundle",
        "b.clipn",
        "--id",
        "train",
        "--format",
        "json",
    ];
    let output = s.clipn(&[&flags[..], more].concat());
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

#[test]
fn a_calibrated_bundle_decides_with_its_own_fit() {
    let s = sandbox();
    build(&s);
    let more = [
        "--score",
        "knn",
        "--fit-settings",
        "knn-k=3",
        "--out",
        "knn.clipn",
    ];
    let (report, stderr) = calibrate(&s, &more);
    let split =
        "split the 72 in-distribution images at random: 36 to fit scores to, 36 for the threshold";
    assert!(stderr.contains(split), "{stderr}");
    assert_eq!(
        (&report["score"], &report["n"]),
        (&"knn".into(), &36.into())
    );
    assert_eq!(
        (&report["fit"]["images"], &report["fit"]["bank"]),
        (&36.into(), &36.into())
    );
    assert_eq!(report["fit"]["scores"], serde_json::json!(["knn"]));
    let shown = s.done(&["classifier", "show", "knn.clipn"]);
    assert!(
        shown.contains("fit          fitted knn to 36 images, 36 with a label"),
        "{shown}"
    );
    // Images far from those that the score was fitted to are rejected, and most of the others are not.
    let unknown = |folder: &str| -> usize {
        let rows = s.done(&[
            "classify",
            "--bundle",
            "knn.clipn",
            "--format",
            "json",
            folder,
        ]);
        let rows = rows
            .lines()
            .map(|row| serde_json::from_str::<Value>(row).unwrap());
        rows.filter(|row| row["unknown"] == true).count()
    };
    assert_eq!(unknown("far"), 20);
    assert!(unknown("train") <= 4);
    // The bundle is evaluated with its fit, and decides as it did.
    let sets = [
        "--id", "train", "--ood", "far=far", "--scores", "knn,msp", "--format", "json",
    ];
    let output = s.clipn(&[&["eval", "--bundle", "knn.clipn"][..], &sets].concat());
    let stderr = text(&output.stderr);
    assert!(stderr.contains("rejected 20 of 20 of far"), "{stderr}");
    let more = ["--id-train", "train"];
    let output = s.clipn(&[&["eval", "--bundle", "knn.clipn"][..], &sets, &more].concat());
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("calibrated with its own fit of the score `knn`"),
        "{stderr}"
    );
    // Another score removes the fit.
    let again = [
        "calibrate",
        "--bundle",
        "knn.clipn",
        "--id",
        "train",
        "--score",
        "msp",
    ];
    s.done(&again);
    let shown = s.done(&["classifier", "show", "knn.clipn"]);
    assert!(!shown.contains("fitted"), "{shown}");
}

#[test]
fn images_of_other_directories_are_reported_and_not_fitted_to() {
    let s = sandbox();
    build(&s);
    for image in 0..30_u32 {
        s.image(&format!("train/lamp/{image}.bmp"), 40, 30, |x, y| {
            [(x + image) as u8, y as u8, 7]
        });
    }
    let (report, stderr) = calibrate(&s, &["--score", "knn", "--fit-settings", "knn-k=3"]);
    assert!(
        stderr.contains("in folders that match no class (lamp): "),
        "{stderr}"
    );
    let left_out = 51 - report["fit"]["images"].as_u64().unwrap();
    assert!((1..=30).contains(&left_out), "{left_out}");
    let said = format!("no score is fitted to {left_out} image");
    assert!(stderr.contains(&said), "{stderr}");
    assert_eq!(report["fit"]["labeled"], report["fit"]["images"]);
}

#[test]
fn a_bundle_with_equal_class_names_is_evaluated_with_its_fit() {
    let s = sandbox();
    let build = [
        "classifier",
        "build",
        "--classes",
        "goldfish,pizza,goldfish",
    ];
    let flags = [
        "--templates",
        "simple",
        "--allow-duplicates",
        "--faithful-pixels",
    ];
    s.done(
        &[
            &build[..],
            &MODEL,
            &flags,
            &["--with-model", "--out", "b.clipn"],
        ]
        .concat(),
    );
    calibrate(&s, &["--score", "knn", "--fit-settings", "knn-k=3"]);
    let sets = ["--id", "train", "--ood", "noise=noise", "--scores", "knn"];
    s.done(&[&["eval", "--bundle", "b.clipn"][..], &sets].concat());
}

#[test]
fn one_image_leaves_out_what_needs_differences() {
    let s = sandbox();
    let image = std::fs::read(s.path("train/pizza/3.bmp")).unwrap();
    s.write("one/pizza/3.bmp", &image);
    s.write("known/pizza/3.bmp", &image);
    let sets = [
        "--id",
        "known",
        "--ood",
        "noise=noise",
        "--classes",
        "classes.txt",
    ];
    let fit = ["--id-train", "one", "--fit-settings", "knn-k=1,nnguide-k=1"];
    let output = s.clipn(&eval(&[&sets[..], &fit, &["--format", "json"]].concat()));
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(names(&report).contains(&"knn") && names(&report).contains(&"msp"));
    for score in ["fdbd", "mds", "rmds", "vim", "residual"] {
        assert!(!names(&report).contains(&score), "{score}");
        assert!(
            stderr.contains(&format!("the score `{score}` needs")),
            "{score}: {stderr}"
        );
    }
}

#[test]
fn the_best_score_may_be_a_fitted_one() {
    let s = sandbox();
    build(&s);
    let best = [
        "--score",
        "best",
        "--ood",
        "far",
        "--force",
        "--out",
        "best.clipn",
    ];
    // 36 images are too few to fit to.
    let (report, stderr) = calibrate(&s, &best);
    assert!(
        stderr.contains("they are fitted to at least 100 images, got 36"),
        "{stderr}"
    );
    assert_eq!(report.get("fit"), None);
    for (index, class) in ["goldfish", "pizza", "school bus"].iter().enumerate() {
        for image in 24..80_u32 {
            s.image(&format!("train/{class}/{image}.bmp"), 40, 30, |x, y| {
                let shade = (x * image + 80 * index as u32) as u8;
                [
                    shade,
                    (y * 7 + image) as u8,
                    (x * y * (1 + index as u32)) as u8,
                ]
            });
        }
    }
    let (report, stderr) = calibrate(&s, &best);
    let compared = report["comparison"]["scores"].as_array().unwrap();
    let names: Vec<&str> = compared
        .iter()
        .map(|row| row["score"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"knn") && names.contains(&"msp"),
        "{names:?}"
    );
    // With a score that is not fitted, all images count.
    let is_fitted = report.get("fit").is_some();
    assert_eq!(report["n"], if is_fitted { 120 } else { 240 }, "{stderr}");
    let shown = s.done(&["classifier", "show", "best.clipn"]);
    assert_eq!(shown.contains("fitted"), is_fitted);
}
