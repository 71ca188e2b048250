//! Metrics beside those of other packages, on the same scores.
//!
//! `fixtures/metrics/packages.json` is the output of `scripts/metrics_of_packages.py` with scikit-learn
//! 1.9.1, torchmetrics 1.9.0 on PyTorch 2.15.0, ood-metrics 1.1.2, pytorch-ood 0.4.0, and OpenOOD's
//! evaluator at commit 3c35632e. Where the figures are equal, the tolerance is the rounding of sums of
//! fractions; torchmetrics computes in f32.
//!
//! `fixtures/metrics/programs.json` has figures of the programs themselves: OpenOOD at commit 3c35632e, and
//! MCM's at ea7130f8, which NegLabel, CSP and most programs for CLIP share.

use serde_json::Value;

use clipn_ood::metrics::{FprConvention, RankedScores};

/// Tolerance of figures in f64, and of torchmetrics' in f32.
const F64: f64 = 1e-12;
const F32: f64 = 1e-6;

struct Case {
    name: String,
    ranked: RankedScores,
    figures: Value,
}

impl Case {
    /// A figure of a package, by its path in the file.
    fn figure(&self, path: &str) -> f64 {
        let figure = self.figures.pointer(path).and_then(Value::as_f64);
        figure.unwrap_or_else(|| panic!("{}: no {path}", self.name))
    }

    fn fpr95(&self, convention: FprConvention) -> f64 {
        self.ranked.fpr_at_tpr(0.95, convention).unwrap()
    }

    #[track_caller]
    fn close(&self, ours: f64, path: &str, tolerance: f64) {
        let theirs = self.figure(path);
        assert!(
            (ours - theirs).abs() <= tolerance,
            "{} {path}: ours {ours}, theirs {theirs}",
            self.name
        );
    }

    /// Average precision and the trapezoid, with ID and with OOD positive.
    fn areas(&self) -> ([f64; 2], [f64; 2]) {
        let ranked = &self.ranked;
        (
            [ranked.aupr_in(), ranked.aupr_out()],
            [ranked.aupr_in_trapezoid(), ranked.aupr_out_trapezoid()],
        )
    }

    fn trapezoid_exceeds_average_precision(&self) -> f64 {
        self.ranked.aupr_in_trapezoid() - self.ranked.aupr_in()
    }
}

fn cases() -> Vec<Case> {
    let path = clipn_testing::fixture("metrics/packages.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = file["cases"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, case)| {
            let scores = |set: &str| -> Vec<f64> {
                let values = case[set].as_array().unwrap().iter();
                values.map(|value| value.as_f64().unwrap()).collect()
            };
            Case {
                name: name.clone(),
                ranked: RankedScores::new(&scores("id"), &scores("ood")).unwrap(),
                figures: case["figures"].clone(),
            }
        });
    let cases: Vec<Case> = cases.collect();
    assert_eq!(cases.len(), 8);
    cases
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

#[test]
fn auroc_equals_that_of_every_package() {
    for case in cases() {
        for package in ["scikit-learn", "ood-metrics", "pytorch-ood", "openood"] {
            case.close(case.ranked.auroc(), &format!("/{package}/auroc"), F64);
        }
    }
}

#[test]
fn both_areas_under_the_precision_recall_curve_equal_those_of_the_packages() {
    for case in cases() {
        let (precision, trapezoid) = case.areas();
        for (index, side) in ["in", "out"].into_iter().enumerate() {
            let path = |package: &str, suffix: &str| format!("/{package}/aupr_{side}{suffix}");
            case.close(precision[index], &path("scikit-learn", ""), F64);
            case.close(trapezoid[index], &path("scikit-learn", "_trapezoid"), F64);
            // All the others take the trapezoid.
            for package in ["ood-metrics", "pytorch-ood", "openood"] {
                case.close(trapezoid[index], &path(package, ""), F64);
            }
        }
        assert!(
            case.trapezoid_exceeds_average_precision().abs() > 1e-3,
            "{}",
            case.name
        );
    }
    // A score that says nothing has the fraction of positives as its precision everywhere: 8 of 20. The
    // trapezoid runs from there to precision 1 at recall 0.
    let constant = case("constant");
    assert_eq!(constant.ranked.aupr_in(), 0.4);
    assert!((constant.trapezoid_exceeds_average_precision() - 0.3).abs() < F64);
}

#[test]
fn fpr95_equals_the_package_of_its_convention() {
    for case in cases() {
        case.close(case.fpr95(FprConvention::Clipn), "/ood-metrics/fpr95", F64);
        case.close(case.fpr95(FprConvention::Openood), "/openood/fpr95", F64);
        if case.name != "collinear" {
            case.close(
                case.fpr95(FprConvention::Openood),
                "/pytorch-ood/fpr95",
                F64,
            );
        }
        // Each figure is inside of the range over ties.
        for convention in FprConvention::ALL {
            let [low, high] = case.ranked.fpr_range(0.95, convention).unwrap();
            let fpr = case.fpr95(convention);
            assert!(low <= fpr && fpr <= high, "{} {convention}", case.name);
        }
    }
}

#[test]
fn dropped_points_separate_openood_and_pytorch_ood() {
    // scikit-learn drops all points of a straight curve but the ends, so that the first TPR of at
    // least 0.95 is 1. pytorch-ood keeps all points.
    let collinear = case("collinear");
    assert_eq!(collinear.fpr95(FprConvention::Openood), 1.0);
    collinear.close(0.95, "/pytorch-ood/fpr95", F64);
    let range = collinear
        .ranked
        .fpr_range(0.95, FprConvention::Openood)
        .unwrap();
    assert_eq!(range, [0.925, 1.0]);
}

#[test]
fn interpolation_hides_how_wide_a_tie_is() {
    // The last 10 % of the ID scores tie with half of the OOD scores: 0 to 50 % of them are accepted
    // when 95 % of the ID scores are. Interpolation gives the middle, a threshold one of the ends.
    let tie = case("tie_at_95");
    assert!((tie.fpr95(FprConvention::Clipn) - 0.25).abs() < F64);
    for convention in [FprConvention::Clipn, FprConvention::Mcm] {
        let range = tie.ranked.fpr_range(0.95, convention).unwrap();
        assert_eq!(range, [0.0, 0.5], "{convention}");
    }
}

#[test]
fn torchmetrics_agrees_inside_of_the_unit_interval_only() {
    for case in cases() {
        let inside = !["logits", "margins"].contains(&case.name.as_str());
        for batches in ["one_batch", "batches_of_10"] {
            if inside {
                let path = |metric: &str| format!("/torchmetrics/{batches}/{metric}");
                case.close(case.ranked.auroc(), &path("auroc"), F32);
                case.close(case.ranked.aupr_in(), &path("aupr_in"), F32);
            }
        }
    }
    // The sigmoid of logits around 20 is 1 in f32: torchmetrics' AUROC is that of chance.
    let logits = case("logits");
    logits.close(0.5, "/torchmetrics/one_batch/auroc", F32);
    assert!((logits.ranked.auroc() - 0.775).abs() < F64);
    // The sigmoid is applied to the batches that leave [0, 1]: their scores are compared with those of
    // other batches, which have none.
    let margins = case("margins");
    margins.close(margins.ranked.auroc(), "/torchmetrics/one_batch/auroc", F32);
    let difference = margins.ranked.auroc() - margins.figure("/torchmetrics/batches_of_10/auroc");
    assert!((0.04..0.05).contains(&difference), "{difference}");
    let difference =
        margins.ranked.aupr_in() - margins.figure("/torchmetrics/batches_of_10/aupr_in");
    assert!((0.15..0.16).contains(&difference), "{difference}");
}

#[test]
fn metrics_equal_those_of_the_programs_of_openood_and_mcm() {
    let path = clipn_testing::fixture("metrics/programs.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = file.as_object().unwrap();
    assert_eq!(cases.len(), 5);
    for (name, case) in cases {
        let scores: [Vec<f64>; 2] =
            ["id", "ood"].map(|set| serde_json::from_value(case[set].clone()).unwrap());
        let ranked = RankedScores::new(&scores[0], &scores[1]).unwrap();
        let figures = |convention: FprConvention, aupr: [f64; 2]| {
            let fpr = ranked.fpr_at_tpr(0.95, convention).unwrap();
            [
                ("auroc", ranked.auroc()),
                ("aupr_in", aupr[0]),
                ("aupr_out", aupr[1]),
                ("fpr95", fpr),
            ]
        };
        let trapezoid = [ranked.aupr_in_trapezoid(), ranked.aupr_out_trapezoid()];
        let precision = [ranked.aupr_in(), ranked.aupr_out()];
        for (program, ours) in [
            ("openood", figures(FprConvention::Openood, trapezoid)),
            ("mcm_neglabel", figures(FprConvention::Mcm, precision)),
        ] {
            for (metric, value) in ours {
                let theirs = case[program][metric].as_f64().unwrap();
                assert!(
                    (value - theirs).abs() <= F64,
                    "{name}, {metric} of {program}: ours {value}, theirs {theirs}"
                );
            }
        }
    }
}
