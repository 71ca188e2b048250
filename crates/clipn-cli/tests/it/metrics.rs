//! `clipn metrics`: scores from tables and NumPy arrays of any program.

use serde_json::Value;

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{Sandbox, text, with_model};

/// A one-dimensional array as `numpy.save` writes it.
fn npy(descr: &str, values: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let shape = values.len();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape},), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let start = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    start.into_iter().chain(values.flatten()).collect()
}

pub(crate) fn npy_f32(values: &[f32]) -> Vec<u8> {
    npy("<f4", values.iter().map(|v| v.to_le_bytes().to_vec()))
}

/// Rounds to float16 by its bits; for values that are normal there.
fn f16_bits(value: f32) -> u16 {
    let rounded = value.to_bits() + 0xfff + (value.to_bits() >> 13 & 1);
    ((rounded >> 13) - (112 << 10)) as u16
}

fn npy_f16(values: &[f32]) -> Vec<u8> {
    npy(
        "<f2",
        values.iter().map(|&v| f16_bits(v).to_le_bytes().to_vec()),
    )
}

/// Values spread over an interval, in an order without a pattern.
fn spread(n: usize, low: f32, high: f32) -> Vec<f32> {
    let fraction = |i: usize| (i as f64 * 0.618_033_988_749_895).fract() as f32;
    (0..n).map(|i| low + (high - low) * fraction(i)).collect()
}

const TABLE: &str = "\
image,dataset,msp,energy
a.jpg,id,0.91,12.5
b.jpg,id,0.85,11.25
c.jpg,id,0.8,13
d.jpg,id,0.4,9
e.jpg,noise,0.4,10
f.jpg,noise,0.35,8.5
g.jpg,lines,0.86,7
h.jpg,lines,0.2,6
";

fn json(s: &Sandbox, arguments: &[&str]) -> Value {
    let arguments = [&["metrics"], arguments, &["--format", "json"]].concat();
    serde_json::from_str(&s.done(&arguments)).unwrap()
}

fn failed(s: &Sandbox, arguments: &[&str]) -> String {
    let output = s.clipn(&[&["metrics"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}");
    assert!(output.stdout.is_empty());
    transcript(s, &[&["metrics"], arguments].concat(), &output)
}

#[test]
fn a_table_gives_every_metric_of_every_score_and_set() {
    let s = Sandbox::new();
    s.write("scores.csv", TABLE);
    let mut all = String::new();
    for more in [
        &[][..],
        &[
            "--format",
            "json",
            "--scores",
            "msp",
            "--fpr-convention",
            "mcm",
        ],
        &["--format", "csv", "--tpr", "0.5"],
        &[
            "--repeat",
            "50",
            "--scores",
            "msp",
            "--fpr-convention",
            "openood",
        ],
    ] {
        let arguments = [&["metrics", "scores.csv"], more].concat();
        all += &(transcript(&s, &arguments, &s.clipn(&arguments)) + "\n");
    }
    assert_text("metrics", &all);
}

#[test]
fn figures_are_those_of_the_definitions() {
    let s = Sandbox::new();
    s.write("scores.csv", TABLE);
    let report = json(&s, &["scores.csv", "--scores", "msp"]);
    let noise = &report["results"][0];
    // One tie of 0.4 among eight pairs.
    assert_eq!(noise["auroc"], 7.5 / 8.0);
    // 95 % of four images keep all four, with the tied OOD image or without it.
    for (index, convention) in ["clipn", "mcm", "openood"].into_iter().enumerate() {
        let fpr = &noise["fpr"][index];
        assert_eq!(fpr["convention"], convention);
        let ties = if index == 2 { [0.0, 0.25] } else { [0.0, 0.5] };
        assert_eq!(fpr["ties"], serde_json::json!(ties), "{convention}");
    }
    assert_eq!(noise["distinct"], 5);
    assert_eq!(report["set_column"], "dataset");
    assert_eq!(
        report["averages"][0]["auroc"],
        (7.5 / 8.0 + 5.0 / 8.0) / 2.0
    );
}

#[test]
fn arrays_tables_and_both_directions_agree() {
    let s = Sandbox::new();
    let (id, ood) = (spread(300, 0.3, 1.0), spread(200, 0.0, 0.7));
    s.write("id.npy", npy_f32(&id));
    s.write("noise.npy", npy_f32(&ood));
    let lists = json(&s, &["--id", "id.npy", "--ood", "noise.npy"]);
    let lines = |values: &[f32]| values.iter().map(|v| format!("{v}\n")).collect::<String>();
    s.write("id.txt", lines(&id));
    s.write("noise.txt", format!("mcm\n{}", lines(&ood)));
    let listed = json(&s, &["--id", "id.txt", "--ood", "noise.txt"]);
    assert!(
        (listed["results"][0]["auroc"].as_f64().unwrap()
            - lists["results"][0]["auroc"].as_f64().unwrap())
        .abs()
            < 1e-12
    );

    let all = [&id[..], &ood].concat();
    s.write("all.npy", npy_f32(&all));
    let is_ood = |i: usize| u8::from(i >= id.len());
    s.write(
        "labels.npy",
        npy("|u1", (0..all.len()).map(|i| vec![is_ood(i)])),
    );
    let labeled = json(
        &s,
        &["all.npy", "--labels", "labels.npy", "--id-value", "0"],
    );
    assert_eq!(labeled["results"][0]["fpr"], lists["results"][0]["fpr"]);
    assert_eq!(
        labeled["results"][0]["aupr_out"],
        lists["results"][0]["aupr_out"]
    );

    // Outlier scores, and a flag instead of names.
    let row = |(i, v): (usize, &f32)| format!("{};{}\n", -f64::from(*v), is_ood(i));
    let rows: String = all.iter().enumerate().map(row).collect();
    s.write("outliers.csv", format!("anomaly_score;is_ood\n{rows}"));
    let turned = json(&s, &["outliers.csv", "--higher-is", "unknown"]);
    assert_eq!(turned["results"][0]["auroc"], lists["results"][0]["auroc"]);
    assert_eq!(turned["results"][0]["fpr"], lists["results"][0]["fpr"]);
    let wrong = s.clipn(&["metrics", "outliers.csv"]);
    let error = text(&wrong.stderr);
    assert!(
        wrong.status.success() && error.contains("below 50 %"),
        "{error}"
    );
    assert!(error.contains("hint: --higher-is unknown"), "{error}");
}

#[test]
fn half_precision_is_reported_with_the_range_over_ties() {
    let s = Sandbox::new();
    // Softmax probabilities of cosines of about 1,000 classes lie in a narrow range, as MCM's do.
    let (id, ood) = (
        spread(6000, 0.001_00, 0.001_15),
        spread(4000, 0.000_96, 0.001_10),
    );
    for (name, values) in [("id", &id), ("noise", &ood)] {
        s.write(&format!("{name}.npy"), npy_f32(values));
        s.write(&format!("{name}-f16.npy"), npy_f16(values));
    }
    let fine = s.clipn(&["metrics", "--id", "id.npy", "--ood", "noise.npy"]);
    assert!(fine.stderr.is_empty(), "{}", text(&fine.stderr));
    let half = [
        "metrics",
        "--id",
        "id=id-f16.npy",
        "--ood",
        "noise=noise-f16.npy",
    ];
    let output = s.clipn(&half);
    assert!(output.status.success());
    assert_text("metrics-half", &transcript(&s, &half, &output));
    let report = json(&s, &half[1..]);
    let result = &report["results"][0];
    assert_eq!(result["coarse"]["cause"], "f16");
    assert_eq!(result["coarse"]["total"], 10_000);
    assert_eq!(result["coarse"]["distinct"], result["distinct"]);
    let precise = json(&s, &["--id", "id.npy", "--ood", "noise.npy"]);
    for (half, fine) in std::iter::zip(
        result["fpr"].as_array().unwrap(),
        precise["results"][0]["fpr"].as_array().unwrap(),
    ) {
        // The range over ties contains what f32 gives.
        let [low, high] = [0, 1].map(|end| half["ties"][end].as_f64().unwrap());
        let fine = fine["fpr"].as_f64().unwrap();
        assert!(
            low <= fine && fine <= high && high - low > 0.002,
            "{half} {fine}"
        );
    }
}

/// The table that an evaluation writes gives the metrics and the spread of the evaluation.
#[test]
fn scores_of_an_evaluation_give_its_results() {
    let s = Sandbox::new();
    s.write("noise/broken.png", "not an image");
    let sets = [
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--ood",
        "stripes=stripes",
    ];
    let more = [
        "--output", "out", "--repeat", "20", "--seed", "3", "--format", "json",
    ];
    let evaluation = s.done(&with_model("eval", &[&sets[..], &more].concat()));
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    let arguments = ["out/scores.csv", "--repeat", "20", "--seed", "3"];
    let report = json(&s, &arguments);
    let (ours, theirs) = (&report["results"], &evaluation["results"]);
    assert_eq!(
        ours.as_array().unwrap().len(),
        theirs.as_array().unwrap().len()
    );
    for (index, ours) in ours.as_array().unwrap().iter().enumerate() {
        let theirs = &theirs[index];
        for key in [
            "score", "ood", "auroc", "aupr_in", "aupr_out", "n_id", "n_ood",
        ] {
            assert_eq!(ours[key], theirs[key], "{key} of {theirs}");
        }
        assert_eq!(ours["fpr"][0]["fpr"], theirs["fpr95"]);
        assert_eq!(ours["fpr"][0]["ties"], theirs["fpr95_ties"]);
        let spread = &evaluation["spread"]["results"][index];
        assert_eq!(ours["spread"]["auroc"], spread["auroc"]);
        assert_eq!(ours["fpr"][0]["spread"], spread["fpr95"]);
    }
    assert_eq!(report["skipped"], 1);
    assert_eq!(
        report["averages"][0]["auroc"],
        evaluation["averages"][0]["auroc"]
    );
}

#[test]
fn what_is_wrong_or_unclear_is_an_error_with_the_line() {
    let s = Sandbox::new();
    let mut all = String::new();
    let tables = [
        ("nan", "dataset,msp\nid,0.5\nid,nan\nnoise,0.1\n"),
        ("text", "dataset,msp\nid,0.5\nnoise,\"0,1\"\n"),
        ("empty-cell", "dataset,msp\nid,0.5\nnoise,\n"),
        ("ragged", "dataset,msp\nid,0.5,1\nnoise,0.2\n"),
        ("no-header", "0.5,1\n0.4,0\n"),
        ("no-sets", "msp,name\n0.5,a\n0.4,b\n"),
        ("no-scores", "dataset,a,b\nid,1,2\nnoise,3,4\n"),
        ("unclear", "score,y_true\n0.4,1\n0.3,0\n"),
        ("names", "score,dataset\n0.4,cifar10\n0.3,svhn\n"),
        ("one-set", "score,dataset\n0.4,id\n0.3,id\n"),
        ("flag", "score,is_ood\n0.4,0\n0.3,2\n"),
        ("twice", "score,score,set\n1,2,id\n"),
        ("nothing", ""),
    ];
    for (name, table) in tables {
        let file = format!("{name}.csv");
        s.write(&file, table);
        all += &(failed(&s, &[&file]) + "\n");
    }
    s.write("ok.csv", TABLE);
    s.write("a.npy", npy_f32(&[0.5, f32::NAN]));
    s.write("b.npy", npy_f32(&[0.5]));
    s.write("objects.npy", npy("|O", std::iter::once(vec![0; 8])));
    let header = [&b"PK\x03\x04"[..], &[0; 22], &[5, 0, 0, 0], b"a.npy"].concat();
    s.write("many.npz", &header);
    for arguments in [
        &["ok.csv", "--scores", "mcm"][..],
        &["ok.csv", "--set-column", "split"],
        &["ok.csv", "--id-value", "ID"],
        &["ok.csv", "--repeat", "5", "--subset", "3"],
        &["ok.csv", "--tpr", "95"],
        &["a.npy"],
        &["--id", "a.npy", "--ood", "b.npy"],
        &["--id", "b.npy", "--ood", "objects.npy"],
        &["--id", "b.npy", "--ood", "many.npz"],
        &["--id", "b.npy", "--ood", "missing.npy"],
        &["--id", "b.npy"],
        &["--id", "b.npy", "--ood", "b.npy", "--ood", "b.npy"],
        &["b.npy", "--labels", "a.npy", "--id-value", "0.5"],
        &[],
    ] {
        all += &(failed(&s, arguments) + "\n");
    }
    assert_text("error-metrics", &all);
}
