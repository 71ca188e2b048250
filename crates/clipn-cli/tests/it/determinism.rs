//! What docs/parity.md guarantees: scores do not depend on the batch, the order, the other images or
//! the number of threads, and SIMD levels agree within rounding.

use std::collections::BTreeMap;

use clipn::simd::SimdLevel;

use crate::common::{MODEL, Sandbox, text};
use crate::resnet;

/// Scores of each image by its set and path, as printed: the shortest text of the exact number.
type Rows = BTreeMap<(String, String), Vec<String>>;

const SETS: [&str; 6] = [
    "--id",
    "id",
    "--ood",
    "noise=noise",
    "--ood",
    "stripes=stripes",
];

/// The arguments that name a ResNet without negatives.
fn plain_resnet() -> Vec<&'static str> {
    [&resnet::MODEL[..], &["--negatives", "none"]].concat()
}

/// Evaluates and returns the rows of `scores.csv`.
fn rows(s: &Sandbox, model: &[&str], variables: &[(&str, &str)], more: &[&str]) -> Rows {
    let fixed = ["--templates", "simple", "--output", "out", "--force"];
    let arguments = [&["eval"], model, &fixed, more].concat();
    let mut command = s.command("http://127.0.0.1:1", &arguments);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    let lines = table.lines().skip(1).map(|line| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let parts: Vec<&str> = cells[1].split('/').collect();
        let key = (cells[0].clone(), parts[parts.len() - 2..].join("/"));
        (key, cells[4..].to_vec())
    });
    let rows: Rows = lines.collect();
    assert_eq!(rows.len(), table.lines().count() - 1);
    rows
}

fn check_equal_to_the_bit(s: &Sandbox, model: &[&str]) {
    let run = |variables: &[(&str, &str)], more: &[&str]| {
        rows(s, model, variables, &[&SETS, more].concat())
    };
    let reference = run(&[], &[]);
    assert_eq!(reference.len(), 22);
    for batch_size in ["1", "2", "3", "5", "64"] {
        for threads in ["1", "2"] {
            let found = run(
                &[("RAYON_NUM_THREADS", threads)],
                &["--batch-size", batch_size, "--workers", threads],
            );
            assert_eq!(
                found, reference,
                "batches of {batch_size}, {threads} threads"
            );
        }
    }
    // Other neighbors and another order: one set alone, from its end, in pairs.
    for (order, batch_size) in [
        (["4", "3", "2", "1", "0"], "2"),
        (["2", "0", "4", "1", "3"], "3"),
    ] {
        let list: String = order.map(|image| format!("noise/{image}.bmp\n")).concat();
        s.write("list.txt", list);
        let more = [
            "--id",
            "id",
            "--ood",
            "noise=list.txt",
            "--batch-size",
            batch_size,
        ];
        let found = rows(s, model, &[], &more);
        assert_eq!(found.len(), 17);
        for (key, scores) in found {
            assert_eq!(scores, reference[&key], "{key:?} in the order {order:?}");
        }
    }
}

#[test]
fn scores_of_a_vit_are_equal_to_the_bit() {
    check_equal_to_the_bit(&Sandbox::new(), &MODEL);
}

#[test]
fn scores_of_a_resnet_are_equal_to_the_bit() {
    check_equal_to_the_bit(&resnet::sandbox(), &plain_resnet());
}

#[cfg(feature = "mini")]
#[test]
fn scores_of_the_built_in_model_are_equal_to_the_bit() {
    check_equal_to_the_bit(&Sandbox::new(), &["--classes", "goldfish,school bus,pizza"]);
}

/// Largest difference of a score over the images, relative to the largest magnitude of that score or
/// to 1, whichever is larger.
fn difference(a: &Rows, b: &Rows) -> f64 {
    let columns = |rows: &Rows| -> Vec<Vec<f64>> {
        let parse = |cells: &Vec<String>| cells.iter().map_while(|c| c.parse().ok()).collect();
        rows.values().map(parse).collect()
    };
    let (a, b) = (columns(a), columns(b));
    let scores = a[0].len();
    assert!(scores >= 7, "{scores}");
    let of_score = |score: usize| {
        let size = a.iter().map(|row| row[score].abs()).fold(1.0, f64::max);
        let pairs = a.iter().zip(&b).map(|(a, b)| (a[score] - b[score]).abs());
        pairs.fold(0.0, f64::max) / size
    };
    (0..scores).map(of_score).fold(0.0, f64::max)
}

fn check_levels(s: &Sandbox, model: &[&str]) {
    let at = |level: SimdLevel| rows(s, model, &[("CLIPN_SIMD", level.as_str())], &SETS);
    let levels = SimdLevel::available();
    let reference = at(levels[0]);
    for &level in &levels[1..] {
        let found = difference(&reference, &at(level));
        println!(
            "{model:?}: {level} differs from {} by {found:.1e}",
            levels[0]
        );
        assert!(found <= 3e-6, "{level}: {found}");
    }
}

#[test]
fn simd_levels_agree_within_3e_6() {
    check_levels(&Sandbox::new(), &MODEL);
    check_levels(&resnet::sandbox(), &plain_resnet());
}

#[cfg(feature = "mini")]
#[test]
fn simd_levels_agree_for_the_built_in_model() {
    check_levels(&Sandbox::new(), &["--classes", "goldfish,school bus,pizza"]);
}
