//! Results after an evaluation: repeated on other draws of the images, read back from untrusted
//! files, and merged with other runs.

use std::error::Error;
use std::io;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use clipn_base::progress::Progress;
use clipn_data::{OodKind, SkippedFiles};
use clipn_eval::{
    Evaluation, EvaluationError, EvaluationRecord, EvaluationRun, FprSettings, ImageRow,
    ImageScores, RepeatSettings, Results, SetPart, SetScores, Spread, SpreadSource, merge,
    write_openood_rows, write_record_csv, write_record_rows, write_results_json, write_scores_csv,
};
use clipn_ood::metrics::{CoarseCause, FprConvention};
use clipn_ood::scores::parse_list;
use clipn_testing::random::Random;

/// Synthetic scores: `n` readable images per set and one unreadable; every fourth ID prediction is
/// wrong.
fn synthetic(seed: u64, n: usize) -> Evaluation {
    let mut random = Random::new(seed);
    let mut set = |name: &str, kind, level: f64, labels: bool| {
        let row = |i: usize| {
            let mut value = || level + f64::from(random.signed() + random.signed());
            let scored = ImageScores {
                prediction: i % 4 / 3,
                scores: vec![value(), value()],
                confidence: 0.5,
                feature: Vec::new(),
            };
            let outcome = if i == n {
                Err("broken".to_owned())
            } else {
                Ok(scored)
            };
            ImageRow {
                path: format!("{name}/{i}").into(),
                label: labels.then_some(0),
                outcome,
            }
        };
        SetScores {
            name: name.to_owned(),
            kind,
            rows: (0..=n).map(row).collect(),
            skipped_files: SkippedFiles::default(),
            parts: Vec::new(),
        }
    };
    Evaluation {
        class_names: vec!["a".to_owned(), "b".to_owned()],
        scores: parse_list("msp,ctw").unwrap(),
        id: set("id", None, 0.6, true),
        ood: vec![
            set("near", Some(OodKind::Near), 0.2, false),
            set("far", Some(OodKind::Far), -0.2, false),
        ],
    }
}

fn repeat(evaluation: &Evaluation, n: usize, subset: Option<usize>, seed: u64) -> Spread {
    Spread::repeat(
        evaluation,
        FprConvention::Clipn,
        RepeatSettings { n, subset, seed },
    )
    .unwrap()
}

fn record(seed: u64, settings: Value) -> EvaluationRecord {
    let results = Results::compute(&synthetic(seed, 20), FprConvention::Clipn).unwrap();
    EvaluationRecord {
        results,
        settings,
        spread: None,
        streams: None,
    }
}

#[test]
fn resamples_give_the_standard_error() {
    let evaluation = synthetic(1, 200);
    let results = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    let spread = repeat(&evaluation, 1000, None, 7);
    assert_eq!(
        (spread.source, spread.n, spread.subset, spread.seed),
        (SpreadSource::Resamples, 1000, None, Some(7))
    );
    // An accuracy of 3/4 on 200 images has the standard error √(p (1 − p) / n).
    // The deviation over 1000 resamples has a relative standard error of 1/√2000, 2.2 %, and the
    // quantiles and means one of a few per cent of the deviation: the tolerances are four and more
    // of them.
    let accuracy = spread.accuracy.unwrap();
    let expected = (0.75_f64 * 0.25 / 200.0).sqrt();
    assert!(
        (accuracy.std / expected - 1.0).abs() < 0.1,
        "{accuracy:?} against {expected}"
    );
    let [low, high] = accuracy.interval.unwrap();
    assert!(
        (low - (0.75 - 1.96 * expected)).abs() < 0.01
            && (high - (0.75 + 1.96 * expected)).abs() < 0.01
    );
    for result in &results.results {
        let auroc = spread.result(result.score, &result.ood).unwrap().auroc;
        // Hanley and McNeil's standard error of the AUROC, for 200 images on each side.
        let (a, n) = (result.auroc, 200.0);
        let (q1, q2) = (a / (2.0 - a), 2.0 * a * a / (1.0 + a));
        let expected = ((a * (1.0 - a) + (n - 1.0) * (q1 - a * a) + (n - 1.0) * (q2 - a * a))
            / (n * n))
            .sqrt();
        assert!(
            (auroc.std / expected - 1.0).abs() < 0.2,
            "{auroc:?} against {expected}"
        );
        assert!((auroc.mean - a).abs() < 0.005);
        assert_eq!(spread.center(a, &auroc), a);
    }
    for (average, spread) in results.averages.iter().zip(&spread.averages) {
        assert_eq!((average.score, average.kind), (spread.score, spread.kind));
    }
    assert_eq!(spread.averages.len(), 6);
}

#[test]
fn repeats_depend_only_on_the_seed() {
    let evaluation = synthetic(2, 60);
    let reference = repeat(&evaluation, 20, Some(30), 1);
    let single_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(
        single_thread.install(|| repeat(&evaluation, 20, Some(30), 1)),
        reference
    );
    assert_ne!(
        repeat(&evaluation, 20, Some(30), 2).results,
        reference.results
    );
    // Smaller subsets have a larger spread.
    let small = repeat(&evaluation, 20, Some(5), 1);
    assert!(small.results[0].metrics.auroc.std > reference.results[0].metrics.auroc.std);
}

#[test]
fn a_subset_of_all_images_equals_the_whole() {
    let evaluation = synthetic(3, 40);
    let results = Results::compute(&evaluation, FprConvention::Mcm).unwrap();
    let all = RepeatSettings {
        n: 3,
        subset: Some(40),
        seed: 0,
    };
    let spread = Spread::repeat(&evaluation, FprConvention::Mcm, all).unwrap();
    for (whole, part) in results.results.iter().zip(&spread.results) {
        let figures = [
            part.metrics.auroc,
            part.metrics.fpr95,
            part.metrics.aupr_in,
            part.metrics.aupr_out,
        ];
        for (whole, part) in [whole.auroc, whole.fpr95, whole.aupr_in, whole.aupr_out]
            .iter()
            .zip(figures)
        {
            assert_eq!((part.mean, part.std, part.interval), (*whole, 0.0, None));
        }
    }
    assert_eq!(spread.accuracy.unwrap().mean, results.accuracy.unwrap());
}

#[test]
fn rejects_invalid_repeats() {
    struct Cancelled;
    impl Progress for Cancelled {
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let mut evaluation = synthetic(4, 40);
    evaluation.ood[1].rows.truncate(12);
    let reject = |n, subset| {
        let repeat = RepeatSettings { n, subset, seed: 0 };
        Spread::repeat(&evaluation, FprConvention::Clipn, repeat)
            .unwrap_err()
            .to_string()
    };
    assert!(reject(1, None).contains("at least 2"));
    let error = reject(5, Some(13));
    assert!(
        error.contains("1 to 12, the readable images of `far`, got 13"),
        "{error}"
    );
    assert!(reject(5, Some(0)).contains("expected 1 to 12"));
    let repeat = RepeatSettings {
        n: 5,
        subset: None,
        seed: 0,
    };
    let error = Spread::repeat_with_progress(&evaluation, FprConvention::Clipn, repeat, &Cancelled)
        .unwrap_err();
    assert!(
        matches!(error, EvaluationError::RepeatsInterrupted { n: 5 }),
        "{error}"
    );
}

#[test]
fn merging_gives_mean_and_sample_deviation() {
    let settings = |seed: u64| json!({"pretrained": seed, "workers": seed, "templates": "clipn", "logit_scale": 100.0});
    let runs: Vec<EvaluationRun> = (1..=3)
        .map(|seed| EvaluationRun {
            path: format!("run {seed}"),
            record: record(seed, settings(seed)),
        })
        .collect();
    let merged = merge(&runs).unwrap();
    let spread = merged.spread.as_ref().unwrap();
    assert_eq!((spread.source, spread.n), (SpreadSource::Runs, 3));
    for (i, result) in merged.results.results.iter().enumerate() {
        let values: Vec<f64> = runs
            .iter()
            .map(|run| run.record.results.results[i].fpr95)
            .collect();
        let mean = values.iter().sum::<f64>() / 3.0;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        let variation = spread.results[i].metrics.fpr95;
        assert!(
            (variation.mean - mean).abs() < 1e-12 && (variation.std - std).abs() < 1e-12,
            "{variation:?}"
        );
        assert_eq!(result.fpr95, variation.mean);
        let aurc = spread.results[i].metrics.aurc;
        let difference = aurc.unwrap().mean - result.aurc.unwrap();
        assert!(difference.abs() < 1e-12, "{difference}");
    }
    // The spread of a mean over sets is that of the runs' means, not the mean of the sets'
    // deviations, which is larger.
    let means: Vec<f64> = runs
        .iter()
        .map(|run| run.record.results.averages[0].auroc)
        .collect();
    let (low, high) = (
        means.iter().copied().fold(1.0, f64::min),
        means.iter().copied().fold(0.0, f64::max),
    );
    let variation = spread.averages[0].metrics.auroc;
    assert_eq!((variation.min, variation.max), (low, high));
    assert_eq!(
        merged.settings,
        json!({"templates": "clipn", "logit_scale": 100.0})
    );
    assert_eq!(spread.runs[1].settings["pretrained"], json!(2));
    assert_eq!(merged.results.skipped.len(), 3);

    let again = EvaluationRun {
        path: "merged".to_owned(),
        record: merged,
    };
    let error = merge(&[again, runs[0].clone()]).unwrap_err().to_string();
    assert!(
        error.contains("cannot merge merged: it is already the mean of 3 runs"),
        "{error}"
    );
    assert!(
        merge(&runs[..1])
            .unwrap_err()
            .to_string()
            .contains("expected at least 2 runs")
    );
}

/// The scores of an evaluation, rounded so that they tie.
fn rounded(mut evaluation: Evaluation, unit: f64) -> Evaluation {
    let sets = std::iter::once(&mut evaluation.id).chain(&mut evaluation.ood);
    for scored in sets
        .flat_map(|set| &mut set.rows)
        .filter_map(|row| row.outcome.as_mut().ok())
    {
        for value in &mut scored.scores {
            *value = (*value / unit).round() * unit;
        }
    }
    evaluation
}

#[test]
fn ties_widen_the_range_of_fpr95_around_the_figure() {
    for convention in FprConvention::ALL {
        let smooth = Results::compute(&synthetic(1, 200), convention).unwrap();
        for r in &smooth.results {
            assert_eq!(r.fpr95_ties, Some([r.fpr95; 2]), "{convention}");
            assert_eq!((r.wide_ties(), r.coarse), (None, None));
        }
        assert_eq!(smooth.ties_description(), None);
        let tied = Results::compute(&rounded(synthetic(1, 200), 0.25), convention).unwrap();
        for r in &tied.results {
            let [low, high] = r.wide_ties().unwrap();
            assert!(low <= r.fpr95 && r.fpr95 <= high, "{convention}: {r:?}");
            let coarse = r.coarse.unwrap();
            assert_eq!(
                (coarse.total, coarse.cause),
                (400, CoarseCause::Decimals(2))
            );
        }
        let of_set = |set: usize, end: usize| tied.results[set].fpr95_ties.unwrap()[end];
        let mean = |end: usize| (of_set(0, end) + of_set(2, end)) / 2.0;
        let all = tied
            .averages
            .iter()
            .find(|a| a.score == tied.results[0].score);
        assert_eq!(all.unwrap().fpr95_ties, Some([mean(0), mean(1)]));
        assert!(tied.ties_description().is_some());
    }
}

#[test]
fn merged_ranges_over_ties_are_means() {
    let runs: Vec<EvaluationRun> = [1, 2]
        .map(|seed| {
            let evaluation = rounded(synthetic(seed, 100), 0.5);
            let results = Results::compute(&evaluation, FprConvention::Mcm).unwrap();
            EvaluationRun {
                path: seed.to_string(),
                record: EvaluationRecord {
                    results,
                    settings: json!({}),
                    spread: None,
                    streams: None,
                },
            }
        })
        .into();
    let merged = merge(&runs).unwrap();
    let end = |run: usize, end: usize| runs[run].record.results.results[1].fpr95_ties.unwrap()[end];
    let expected = [0, 1].map(|i| (end(0, i) + end(1, i)) / 2.0);
    assert_eq!(merged.results.results[1].fpr95_ties, Some(expected));
    assert_eq!(merged.results.results[1].coarse, None);
    // A run of an earlier version has no range, so the mean has none.
    let mut old = runs.clone();
    old[1].record.results.results[1].fpr95_ties = None;
    let merged = merge(&old).unwrap();
    assert_eq!(merged.results.results[1].fpr95_ties, None);
    assert!(merged.results.results[0].fpr95_ties.is_some());
}

#[test]
fn results_of_earlier_versions_have_no_range_over_ties() {
    let dir = tempfile::tempdir().unwrap();
    let mut value = serde_json::to_value(record(3, json!({}))).unwrap();
    for list in ["results", "averages"] {
        for entry in value[list].as_array_mut().unwrap() {
            let entry = entry.as_object_mut().unwrap();
            for added in [
                "fpr95_ties",
                "aupr_in_trapezoid",
                "aupr_out_trapezoid",
                "aurc",
                "fpr",
            ] {
                assert!(entry.remove(added).is_some(), "{added}");
            }
        }
    }
    value.as_object_mut().unwrap().remove("id_results").unwrap();
    let old = read(dir.path(), &value.to_string()).unwrap();
    assert!(old.results.results.iter().all(|r| r.fpr95_ties.is_none()));
    assert!(old.results.averages.iter().all(|a| a.fpr95_ties.is_none()));
    assert!(!serde_json::to_string(&old).unwrap().contains("ties"));
    let mut csv = Vec::new();
    write_record_rows(&mut csv, &old).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert!(
        csv.lines().nth(1).unwrap().ends_with(",20,20,,,,,"),
        "{csv}"
    );
    assert!(matches!(
        old.results.openood_rows("msp"),
        Err(EvaluationError::WithoutOpenoodMetrics)
    ));
    // A range that is none is refused.
    for range in [
        json!([0.5, 0.4]),
        json!([-0.1, 0.4]),
        json!([0.1, 1.5]),
        json!([0.1]),
    ] {
        value["results"][0]["fpr95_ties"] = range.clone();
        assert!(read(dir.path(), &value.to_string()).is_err(), "{range}");
    }
}

#[test]
fn rejects_runs_of_other_evaluations() {
    let base = json!({"templates": "clipn", "fpr_convention": "clipn", "logit_scale": 100.0, "classes": 2,
                      "model": {"embed_dim": 4, "vision": {"width": 8}}});
    let reject = |change: &dyn Fn(&mut EvaluationRecord)| {
        let mut other = record(2, base.clone());
        change(&mut other);
        let runs =
            [("a", record(1, base.clone())), ("b", other)].map(|(path, record)| EvaluationRun {
                path: path.to_owned(),
                record,
            });
        merge(&runs).unwrap_err().to_string()
    };
    let error = reject(&|r| r.settings["templates"] = json!("simple"));
    assert!(
        error.contains("settings.templates is \"clipn\" in a and \"simple\" in b"),
        "{error}"
    );
    assert!(
        reject(&|r| r.settings["fpr_convention"] = json!("mcm"))
            .contains("settings.fpr_convention")
    );
    assert!(
        reject(&|r| r.settings["model"]["vision"]["width"] = json!(9))
            .contains("settings.model.vision.width is 8")
    );
    assert!(
        reject(&|r| r.settings["more"] = json!(1))
            .contains("settings.more is absent in a and 1 in b")
    );
    assert!(
        reject(&|r| r.settings["logit_scale"] = json!(55.0))
            .contains("settings.logit_scale is 100.0")
    );
    let error = reject(&|r| r.results.id.n = 21);
    assert!(
        error.contains("the in-distribution set is `id` of 20 images in a and `id` of 21"),
        "{error}"
    );
    assert!(
        reject(&|r| r.results.results.retain(|r| r.score == "ctw"))
            .contains("the list of scores is msp, ctw in a")
    );
    assert!(
        reject(&|r| r.results.results.iter_mut().for_each(|r| r.kind = None))
            .contains("near (near, 20 images)")
    );
    assert!(
        reject(&|r| r.results.accuracy = None)
            .contains("the accuracy is present in a and absent in b")
    );
}

fn read(dir: &Path, text: &str) -> Result<EvaluationRecord, String> {
    std::fs::write(dir.join(EvaluationRecord::FILE_NAME), text).unwrap();
    EvaluationRecord::read(dir).map_err(|error| error.to_string())
}

#[test]
fn written_results_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let evaluation = synthetic(5, 30);
    let mut whole = record(5, json!({"templates": "clipn", "epoch": "3"}));
    whole.results = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    for spread in [
        None,
        Some(repeat(&evaluation, 10, None, 0)),
        Some(repeat(&evaluation, 10, Some(9), 0)),
    ] {
        whole.spread = spread;
        let path = dir.path().join(EvaluationRecord::FILE_NAME);
        write_results_json(&path, &whole).unwrap();
        let back = EvaluationRecord::read(&path).unwrap();
        assert_eq!(EvaluationRecord::read(dir.path()).unwrap(), back);
        assert_eq!(back.settings, whole.settings);
        assert_eq!(back.results.skipped, whole.results.skipped);
        for (a, b) in back.results.results.iter().zip(&whole.results.results) {
            assert!((a.score, &a.ood, a.kind, a.n_ood) == (b.score, &b.ood, b.kind, b.n_ood));
            assert!((a.auroc - b.auroc).abs() < 1e-15);
        }
        assert_eq!(back.spread.is_some(), whole.spread.is_some());
        write_results_json(&path, &merge(&[run("a", &whole), run("b", &back)]).unwrap()).unwrap();
        let merged = EvaluationRecord::read(&path).unwrap();
        assert_eq!(merged.spread.unwrap().runs.len(), 2);

        let mut rows = Vec::new();
        write_record_rows(&mut rows, &whole).unwrap();
        let csv = dir.path().join("results.csv");
        write_record_csv(&csv, &whole, Some("3")).unwrap();
        let (rows, csv) = (
            String::from_utf8(rows).unwrap(),
            std::fs::read_to_string(csv).unwrap(),
        );
        let columns = if whole.spread.is_some() { 9 } else { 0 };
        // AUPR by the trapezoidal rule, AURC, and FPR95 in three conventions come last.
        for (text, own) in [(rows, 17), (csv, 18)] {
            assert_eq!(text.lines().count(), 5, "{text}");
            assert!(
                text.lines()
                    .all(|line| line.split(',').count() == own + columns),
                "{text}"
            );
        }
    }
}

fn run(path: &str, record: &EvaluationRecord) -> EvaluationRun {
    EvaluationRun {
        path: path.to_owned(),
        record: record.clone(),
    }
}

/// The JSON of a record with one changed value.
fn changed(record: &EvaluationRecord, pointer: &str, value: Value) -> String {
    let mut json = serde_json::to_value(record).unwrap();
    *json.pointer_mut(pointer).unwrap() = value;
    json.to_string()
}

#[test]
fn rejects_invalid_files_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut good = record(6, json!({"templates": "clipn"}));
    good.spread = Some(repeat(&synthetic(6, 20), 5, None, 0));
    let cases: [(&str, Value, &str); 18] = [
        (
            "/accuracy",
            json!(1.5),
            "accuracy: expected a fraction from 0 to 1, got 1.5",
        ),
        ("/accuracy", json!("high"), "invalid type"),
        ("/id/n", json!(-1), "invalid value"),
        (
            "/id/n",
            json!(7),
            "expected 7 in-distribution images as in `id`, got 20",
        ),
        ("/id/name", json!("\u{1b}[2J"), "control character"),
        ("/results", json!([]), "`results` is empty"),
        (
            "/results/0/score",
            json!("entropy"),
            "unknown score `entropy`",
        ),
        ("/results/0/auroc", Value::Null, "invalid type: null"),
        (
            "/results/1/fpr95",
            json!(-1e-3),
            "fpr95 of ctw on near: expected a fraction from 0 to 1, got -0.001",
        ),
        (
            "/results/0/score",
            json!("ctw"),
            "duplicate result of ctw on near",
        ),
        (
            "/results/0/ood",
            json!("other"),
            "missing result of ctw on other",
        ),
        (
            "/results/0/n_ood",
            json!(3),
            "differ in kind or number of images of near",
        ),
        (
            "/results/0/kind",
            json!("far"),
            "differ in kind or number of images of near",
        ),
        (
            "/results/3/n_ood",
            json!(0),
            "ctw on far: a set has no images",
        ),
        ("/settings", json!([1]), "expected an object in `settings`"),
        (
            "/spread/n",
            json!(1),
            "expected at least 2 repeats in `spread`, got 1",
        ),
        (
            "/spread/results/0/auroc/std",
            json!(7.5),
            "the spread of a metric: expected a fraction from 0 to 1, got 7.5",
        ),
        (
            "/spread/averages/0/kind",
            json!("near"),
            "the entries of `spread` do not match",
        ),
    ];
    assert!(read(dir.path(), &serde_json::to_string(&good).unwrap()).is_ok());
    for (pointer, value, reason) in cases {
        let error = read(dir.path(), &changed(&good, pointer, value)).unwrap_err();
        assert!(
            error.contains(reason) && error.contains("results.json"),
            "{pointer}: {error}"
        );
    }
    let huge = serde_json::to_string(&good)
        .unwrap()
        .replacen("\"auroc\":0.", "\"auroc\":1e999", 1);
    assert!(
        read(dir.path(), &huge)
            .unwrap_err()
            .contains("out of range")
    );
    let deep = format!("{{\"settings\":{}", "[".repeat(100_000));
    assert!(
        read(dir.path(), &deep)
            .unwrap_err()
            .contains("recursion limit")
    );
    // Larger than what is read, without the space on the disk.
    let large = dir.path().join("large.json");
    std::fs::File::create(&large)
        .unwrap()
        .set_len((1 << 30) + 1)
        .unwrap();
    let error = EvaluationRecord::read(&large).unwrap_err().to_string();
    assert!(error.contains("the file has more than 1024 MiB"), "{error}");
    assert!(
        EvaluationRecord::read(dir.path().join("nowhere"))
            .unwrap_err()
            .to_string()
            .starts_with("cannot read")
    );
}

#[test]
fn order_and_means_are_recomputed() {
    let dir = tempfile::tempdir().unwrap();
    let good = record(7, json!({}));
    let mut mixed = good.clone();
    mixed.results.results.swap(1, 2);
    mixed.results.averages.clear();
    let back = read(dir.path(), &serde_json::to_string(&mixed).unwrap()).unwrap();
    let keys = |r: &Results| {
        r.results
            .iter()
            .map(|r| (r.ood.clone(), r.score))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&back.results), keys(&good.results));
    assert_eq!(back.results.averages.len(), 6);
}

#[test]
fn errors_of_files_keep_their_cause() {
    let absent = Path::new("/absent/results.json");
    let record = record(9, json!({}));
    let evaluation = synthetic(9, 20);
    let errors = [
        EvaluationRecord::read(absent).unwrap_err(),
        write_results_json(absent, &record).unwrap_err(),
        write_record_csv(absent, &record, None).unwrap_err(),
        write_scores_csv(absent, &evaluation).unwrap_err(),
        #[cfg(feature = "parquet")]
        clipn_eval::write_scores_parquet(absent, &evaluation).unwrap_err(),
    ];
    for error in errors {
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::NotFound, "{error}");
        let message = error.to_string();
        assert!(message.ends_with("/absent/results.json"), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A truncated or changed file gives an error or still valid results, and never a panic.
    #[test]
    fn broken_files_never_panic(cut in 0usize..6000, at in 0usize..6000, byte in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut good = record(8, json!({"templates": "clipn", "nested": {"a": [1, 2.5, null]}}));
        good.spread = Some(repeat(&synthetic(8, 20), 3, None, 0));
        let mut bytes = serde_json::to_vec(&good).unwrap();
        let length = bytes.len();
        bytes[at % length] = byte;
        if cut % 3 > 0 {
            bytes.truncate(cut);
        }
        std::fs::write(dir.path().join(EvaluationRecord::FILE_NAME), &bytes).unwrap();
        if let Ok(record) = EvaluationRecord::read(dir.path()) {
            for r in &record.results.results {
                prop_assert!((0.0..=1.0).contains(&r.auroc) && r.n_id > 0);
            }
            let _ = merge(&[run("a", &record), run("b", &good)]);
        }
    }
}

#[test]
fn figures_have_every_rate_in_every_convention() {
    let evaluation = synthetic(3, 40);
    let fpr = FprSettings::from(FprConvention::Mcm).with_tprs([0.9, 0.99, 0.9]);
    let results = Results::compute(&evaluation, fpr.clone()).unwrap();
    for r in &results.results {
        let rates: Vec<f64> = r.fpr.iter().step_by(3).map(|f| f.tpr).collect();
        assert_eq!(rates, [0.95, 0.9, 0.99]);
        let at_95 = r
            .fpr
            .iter()
            .find(|f| f.convention == FprConvention::Mcm)
            .unwrap();
        assert_eq!((at_95.fpr, Some(at_95.ties)), (r.fpr95, r.fpr95_ties));
    }
    let mean = &results.averages[0];
    let of_score = results.results.iter().filter(|r| r.score == mean.score);
    let values: Vec<f64> = of_score.map(|r| r.fpr[3].fpr).collect();
    assert!((mean.fpr[3].fpr - values.iter().sum::<f64>() / values.len() as f64).abs() < 1e-15);
    // Repeats have them in the convention of the settings.
    let settings = RepeatSettings {
        n: 20,
        subset: None,
        seed: 1,
    };
    let spread = Spread::repeat(&evaluation, fpr, settings).unwrap();
    let figures = &spread.results[0].metrics.fpr;
    assert_eq!(figures.len(), 3);
    assert!(
        figures
            .iter()
            .all(|f| f.convention == FprConvention::Mcm && f.spread.is_some())
    );
    assert!(spread.results[0].metrics.aupr_in_trapezoid.is_some());
}

#[test]
fn openood_rows_are_near_then_far_with_their_means() {
    let results = Results::compute(&synthetic(3, 40), FprConvention::Clipn).unwrap();
    let rows = results.openood_rows("msp").unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.dataset.as_str()).collect();
    assert_eq!(names, ["near", "nearood", "far", "farood"]);
    assert_eq!(
        (rows[0].fpr95, rows[0].aupr_in),
        (rows[1].fpr95, rows[1].aupr_in)
    );
    // The convention and the AUPR are OpenOOD's, whatever the evaluation's are.
    let near = &results.results[0];
    assert_eq!(Some(rows[0].aupr_in), near.aupr_in_trapezoid);
    let openood = near
        .fpr
        .iter()
        .find(|f| f.convention == FprConvention::Openood)
        .unwrap();
    assert_eq!(rows[0].fpr95, openood.fpr);
    let mut table = Vec::new();
    write_openood_rows(&mut table, &results).unwrap().unwrap();
    let table = String::from_utf8(table).unwrap();
    assert!(
        table.starts_with("score,dataset,FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC\nmsp,near,"),
        "{table}"
    );
    let accuracy = format!(",{:.2}\n", 100.0 * results.accuracy.unwrap());
    assert!(table.ends_with(&accuracy), "{table}");
}

#[test]
fn shifted_sets_count_as_in_distribution() {
    let mut evaluation = synthetic(3, 40);
    let alone = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    assert!(alone.id.parts.is_empty() && alone.id_results.len() == evaluation.scores.len());
    let part = |name: &str, rows| SetPart {
        name: name.to_owned(),
        rows,
    };
    evaluation.id.parts = vec![part("id", 30), part("drawings", 10)];
    let results = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    assert_eq!(results.results, alone.results);
    let parts = &results.id.parts;
    assert_eq!((parts[0].n, parts[1].n), (30, 10));
    assert_eq!(parts[1].name, "drawings");
    let mean = 0.75 * parts[0].accuracy.unwrap() + 0.25 * parts[1].accuracy.unwrap();
    assert!((mean - results.accuracy.unwrap()).abs() < 1e-15);
}

#[test]
fn scores_that_are_not_finite_are_named_and_removed() {
    let mut evaluation = synthetic(3, 8);
    assert_eq!(evaluation.not_finite(), []);
    let expected = {
        let mut without = evaluation.clone();
        without.remove_scores(&parse_list("msp").unwrap());
        Results::compute(&without, FprConvention::Clipn).unwrap()
    };
    evaluation.ood[1].rows[2].outcome.as_mut().unwrap().scores[0] = f64::INFINITY;
    let error = Results::compute(&evaluation, FprConvention::Clipn).unwrap_err();
    assert!(error.to_string().contains("msp"), "{error}");
    let found = evaluation.not_finite();
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["msp: it is inf for far/2 of far"]);
    evaluation.remove_scores(&[found[0].score]);
    let results = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    assert_eq!(results, expected);
    assert!(results.results.iter().all(|result| result.score == "ctw"));
}
