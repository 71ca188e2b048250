//! Tests of the metrics against the published code (220 score sets), against scikit-learn for
//! metrics that code does not report, and against their definitions.
//!
//! `fixtures/metrics/conventions.json` was computed on the same sets with scikit-learn 1.9:
//! `average_precision_score` on the scores (ID positive) and on the negated scores (OOD positive);
//! `openood` as `fpr[argmax(tpr >= level)]` of `roc_curve(is_ood, -scores)`; `mcm` as the point
//! that minimizes `abs(recall - level)`, going down from the first threshold of full recall;
//! `clipn80` as `numpy.interp(0.8, tpr, fpr)` of `roc_curve(is_id, scores)`.

use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use clipn_ood::metrics::{self, FprConvention, MetricError, RankedScores};

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(clipn_testing::fixture(name)).unwrap()).unwrap()
}

/// A score set in its own precision.
enum Scores {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

fn scores(tensors: &SafeTensors<'_>, name: &str) -> Scores {
    let tensor = tensors.tensor(name).unwrap();
    match tensor.dtype() {
        Dtype::F32 => Scores::F32(
            tensor
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        ),
        Dtype::F64 => Scores::F64(
            tensor
                .data()
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        ),
        other => panic!("{name} is {other:?}"),
    }
}

fn rank(tensors: &SafeTensors<'_>, key: &str) -> Result<RankedScores, MetricError> {
    match (
        scores(tensors, &format!("{key}.id")),
        scores(tensors, &format!("{key}.ood")),
    ) {
        (Scores::F32(id), Scores::F32(ood)) => RankedScores::new(&id, &ood),
        (Scores::F64(id), Scores::F64(ood)) => RankedScores::new(&id, &ood),
        _ => panic!("{key} mixes precisions"),
    }
}

fn close(actual: f64, expected: &Value, what: &str) {
    let expected = expected
        .as_f64()
        .unwrap_or_else(|| panic!("{what}: no expected value"));
    assert!(
        (actual - expected).abs() <= 1e-9,
        "{what}: expected {expected}, got {actual}"
    );
}

fn close_all(actual: &[f64], expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (a, e) in actual.iter().zip(expected) {
        close(*a, e, what);
    }
}

#[test]
fn metrics_agree_with_the_published_code() {
    let bytes = std::fs::read(clipn_testing::fixture("metrics/cases.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let expected = json("metrics/expected.json");
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 220);
    let (mut curves, mut rejected) = (0, 0);
    for case in cases {
        let key = case["key"].as_str().unwrap();
        let what = format!("{key} {}", case["tag"]);
        let ranked = match rank(&tensors, key) {
            Ok(ranked) => ranked,
            Err(MetricError::NotFinite { .. }) => {
                assert!(case["error"].is_string(), "{what}");
                rejected += 1;
                continue;
            }
            // The published code returns NaN for an empty set.
            Err(error) => {
                assert!(
                    matches!(error, MetricError::Empty { .. }) && case["auroc"].is_null(),
                    "{what}"
                );
                rejected += 1;
                continue;
            }
        };
        close(ranked.auroc(), &case["auroc"], &what);
        close(
            ranked.fpr_at_tpr(0.95, FprConvention::Clipn).unwrap(),
            &case["fpr95"],
            &what,
        );
        if case["fpr"].is_array() {
            let roc = ranked.roc();
            close_all(&roc.fpr, &case["fpr"], &what);
            close_all(&roc.tpr, &case["tpr"], &what);
            curves += 1;
        }
    }
    assert_eq!((curves, rejected), (136, 8));
}

#[test]
fn other_conventions_agree_with_their_references() {
    let bytes = std::fs::read(clipn_testing::fixture("metrics/cases.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let expected = json("metrics/conventions.json");
    let cases = expected["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 212);
    for (key, case) in cases {
        let ranked = rank(&tensors, key).unwrap();
        close(
            ranked.aupr_in(),
            &case["aupr_in"],
            &format!("{key} AUPR-in"),
        );
        close(
            ranked.aupr_out(),
            &case["aupr_out"],
            &format!("{key} AUPR-out"),
        );
        for (name, convention, level) in [
            ("mcm95", FprConvention::Mcm, 0.95),
            ("mcm80", FprConvention::Mcm, 0.8),
            ("openood95", FprConvention::Openood, 0.95),
            ("openood80", FprConvention::Openood, 0.8),
            ("clipn80", FprConvention::Clipn, 0.8),
        ] {
            close(
                ranked.fpr_at_tpr(level, convention).unwrap(),
                &case[name],
                &format!("{key} {name}"),
            );
        }
    }
}

/// Probability that an ID score exceeds an OOD score, by comparing all pairs.
fn auroc_by_pairs(id: &[f64], ood: &[f64]) -> f64 {
    let mut wins = 0.0;
    for a in id {
        for b in ood {
            wins += if a > b {
                1.0
            } else {
                0.5 * f64::from(u8::from(a == b))
            };
        }
    }
    wins / (id.len() * ood.len()) as f64
}

/// Average precision with separate counts for each threshold.
fn average_precision_by_definition(positives: &[f64], negatives: &[f64]) -> f64 {
    let mut thresholds = [positives, negatives].concat();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let (mut area, mut previous) = (0.0, 0.0);
    for t in thresholds {
        let accepted = positives.iter().filter(|&&s| s >= t).count() as f64;
        let all = accepted + negatives.iter().filter(|&&s| s >= t).count() as f64;
        let recall = accepted / positives.len() as f64;
        area += (recall - previous) * accepted / all;
        previous = recall;
    }
    area
}

/// Scores on a coarse grid, so that ties are common.
fn tied_scores() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-20_i32..20).prop_map(|v| f64::from(v) / 4.0), 1..60)
}

/// Every ranking without ties that puts equal scores in some order: scores of both sets that are
/// distinct where it matters, an ID image with respect to an OOD image.
fn rankings(id: &[f64], ood: &[f64]) -> Vec<(Vec<f64>, Vec<f64>)> {
    let mut values = [id, ood].concat();
    values.sort_by(f64::total_cmp);
    values.dedup();
    // From the lowest score up, true for an ID image.
    let mut orders: Vec<Vec<bool>> = vec![Vec::new()];
    for value in values {
        let count = |scores: &[f64]| scores.iter().filter(|&&s| s == value).count();
        let mut ties = vec![Vec::new()];
        let (a, b) = (count(id), count(ood));
        for _ in 0..a + b {
            ties = ties
                .into_iter()
                .flat_map(|tie: Vec<bool>| [true, false].map(|next| [&tie[..], &[next]].concat()))
                .filter(|tie| tie.iter().filter(|&&t| t).count() <= a)
                .filter(|tie| tie.iter().filter(|&&t| !t).count() <= b)
                .collect();
        }
        orders = orders
            .iter()
            .flat_map(|order| ties.iter().map(move |tie| [&order[..], tie].concat()))
            .collect();
    }
    let scores = |order: &Vec<bool>, wanted: bool| {
        let ranks = order.iter().enumerate();
        ranks
            .filter(|&(_, &is_id)| is_id == wanted)
            .map(|(rank, _)| rank as f64)
            .collect()
    };
    orders
        .iter()
        .map(|order| (scores(order, true), scores(order, false)))
        .collect()
}

/// Lowest and highest FPR over all rankings, and the convention's own figure.
fn fpr_range_by_rankings(id: &[f64], ood: &[f64], tpr: f64, convention: FprConvention) -> [f64; 2] {
    let figure = metrics::fpr_at_tpr(id, ood, tpr, convention).unwrap();
    let all = rankings(id, ood)
        .into_iter()
        .map(|(id, ood)| metrics::fpr_at_tpr(&id, &ood, tpr, convention).unwrap());
    all.fold([figure; 2], |[low, high], fpr| {
        [fpr.min(low), fpr.max(high)]
    })
}

/// Up to six scores of four values.
fn few_scores() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0_i32..4).prop_map(f64::from), 1..7)
}

#[test]
fn ranges_over_ties_need_a_tie_at_the_threshold() {
    let range = |id: &[f64], ood: &[f64], convention| {
        RankedScores::new(id, ood)
            .unwrap()
            .fpr_range(0.95, convention)
            .unwrap()
    };
    for convention in FprConvention::ALL {
        let apart = range(&[0.9, 0.8, 0.7], &[0.6, 0.75], convention);
        assert_eq!(apart[0], apart[1], "{convention}");
        let equal = range(&[0.5; 20], &[0.5; 20], convention);
        assert_eq!(equal, [0.0, 1.0], "{convention}");
        // Ties far from the threshold do not matter.
        let scores = [0.9, 0.9, 0.7, 0.6, 0.5, 0.2, 0.2];
        let [low, high] = range(&scores[..6], &[0.9, 0.8, 0.7, 0.55, 0.1, 0.1], convention);
        assert!(
            low == high || convention == FprConvention::Openood,
            "{convention}"
        );
    }
    // An FPR at a rate that is not allowed has no range.
    let ranked = RankedScores::new(&[1.0], &[0.0]).unwrap();
    assert!(ranked.fpr_range(1.5, FprConvention::Mcm).is_err());
}

proptest! {
    #[test]
    fn ranges_over_ties_are_those_of_all_rankings(
        id in few_scores(),
        ood in few_scores(),
        tpr in prop_oneof![Just(0.0), Just(1.0), Just(0.5), Just(0.95), 0.0..=1.0_f64],
    ) {
        let ranked = RankedScores::new(&id, &ood).unwrap();
        for convention in FprConvention::ALL {
            prop_assert_eq!(
                ranked.fpr_range(tpr, convention).unwrap(),
                fpr_range_by_rankings(&id, &ood, tpr, convention),
                "{} at {}",
                convention,
                tpr
            );
        }
    }

    #[test]
    fn metrics_agree_with_their_definitions(id in tied_scores(), ood in tied_scores()) {
        let ranked = RankedScores::new(&id, &ood).unwrap();
        prop_assert!((ranked.auroc() - auroc_by_pairs(&id, &ood)).abs() < 1e-12);
        prop_assert!((ranked.aupr_in() - average_precision_by_definition(&id, &ood)).abs() < 1e-12);
        let negated = |scores: &[f64]| scores.iter().map(|s| -s).collect::<Vec<_>>();
        let out = average_precision_by_definition(&negated(&ood), &negated(&id));
        prop_assert!((ranked.aupr_out() - out).abs() < 1e-12);
    }

    #[test]
    fn swapping_the_sets_complements_auroc(id in tied_scores(), ood in tied_scores()) {
        let there = metrics::auroc(&id, &ood).unwrap();
        let back = metrics::auroc(&ood, &id).unwrap();
        prop_assert!((there + back - 1.0).abs() < 1e-12);
    }

    #[test]
    fn metrics_are_invariant_to_monotone_maps(
        id in tied_scores(),
        ood in tied_scores(),
        tpr in 0.0..=1.0_f64,
    ) {
        let map = |scores: &[f64]| scores.iter().map(|s| s.exp() * 3.0 - 7.0).collect::<Vec<_>>();
        let plain = RankedScores::new(&id, &ood).unwrap();
        let mapped = RankedScores::new(&map(&id), &map(&ood)).unwrap();
        prop_assert_eq!(plain.auroc(), mapped.auroc());
        prop_assert_eq!(plain.aupr_in(), mapped.aupr_in());
        prop_assert_eq!(plain.aupr_out(), mapped.aupr_out());
        for convention in FprConvention::ALL {
            prop_assert_eq!(
                plain.fpr_at_tpr(tpr, convention),
                mapped.fpr_at_tpr(tpr, convention)
            );
        }
    }

    #[test]
    fn metrics_stay_in_the_unit_interval(
        id in tied_scores(),
        ood in tied_scores(),
        tpr in 0.0..=1.0_f64,
    ) {
        let ranked = RankedScores::new(&id, &ood).unwrap();
        let unit = 0.0..=1.0 + 1e-12;
        prop_assert!(unit.contains(&ranked.auroc()));
        prop_assert!(unit.contains(&ranked.aupr_in()) && unit.contains(&ranked.aupr_out()));
        for convention in FprConvention::ALL {
            prop_assert!(unit.contains(&ranked.fpr_at_tpr(tpr, convention).unwrap()));
        }
        let roc = ranked.roc();
        prop_assert!(roc.fpr.is_sorted() && roc.tpr.is_sorted());
        prop_assert!(roc.thresholds.windows(2).all(|pair| pair[0] > pair[1]));
        prop_assert_eq!((roc.fpr.last(), roc.tpr.last()), (Some(&1.0), Some(&1.0)));
        let trapezoids: f64 = (1..roc.fpr.len())
            .map(|i| (roc.fpr[i] - roc.fpr[i - 1]) * (roc.tpr[i] + roc.tpr[i - 1]) / 2.0)
            .sum();
        prop_assert!((trapezoids - ranked.auroc()).abs() < 1e-12);
    }

    #[test]
    fn any_floats_never_panic(
        id in prop::collection::vec(any::<f64>(), 0..8),
        ood in prop::collection::vec(any::<f64>(), 0..8),
    ) {
        let are_finite = id.iter().chain(&ood).all(|score| score.is_finite());
        let finite = are_finite && !id.is_empty() && !ood.is_empty();
        prop_assert_eq!(RankedScores::new(&id, &ood).is_ok(), finite);
    }
}

/// Prints the time of all metrics on a large benchmark; run in release mode with `--ignored
/// --nocapture`.
#[test]
#[ignore = "benchmark"]
fn time_of_six_scores() {
    let mut state = 1_u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    let sets: Vec<(Vec<f32>, Vec<f32>)> = (0..6)
        .map(|_| {
            (
                (0..50_000).map(|_| uniform() + 0.2).collect(),
                (0..10_000).map(|_| uniform()).collect(),
            )
        })
        .collect();
    let compute_all = || {
        let mut sum = 0.0;
        for (id, ood) in &sets {
            let ranked = RankedScores::new(id, ood).unwrap();
            sum += ranked.auroc() + ranked.aupr_in() + ranked.aupr_out();
            for convention in FprConvention::ALL {
                sum += ranked.fpr_at_tpr(0.95, convention).unwrap();
            }
        }
        sum
    };
    let best = (0..20)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(compute_all());
            start.elapsed()
        })
        .min();
    println!("6 scores of 50,000 + 10,000 images, every metric, best of 20: {best:?}");
}
