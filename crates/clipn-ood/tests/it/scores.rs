//! Tests of the scores against CLIPN's published code in both precisions, and of the properties of
//! all scores.

use clipn_ood::metrics::{FprConvention, RankedScores};
use clipn_ood::scores::{
    Atd, Ctw, DecisionRule, LogitsRow, MaxLogit, Mcm, Msp, Score, agreement, by_name, predict,
    softmax_yes,
};
use proptest::prelude::*;
use safetensors::SafeTensors;

use crate::case::{Case, EXTREME, ORDINARY, every_score};
use crate::tensors::{f32s, f64s, json, read};

const MODELS: [&str; 2] = ["vit_gelu", "vit_quickgelu"];
const SETS: [&str; 3] = ["id", "oodA", "oodB"];
const PUBLISHED: [&str; 5] = ["MSP", "MaxLogit", "Energy", "CTW", "ATD"];

/// Splits `[N, K]` logits into rows.
fn rows<'a, T>(yes: &'a [T], no: &'a [T], classes: usize) -> Vec<LogitsRow<'a, T>> {
    let pairs = yes.chunks_exact(classes).zip(no.chunks_exact(classes));
    pairs.map(|(yes, no)| LogitsRow::new(yes, no)).collect()
}

fn close_f32(actual: &[f32], expected: &[f32], probability: bool, what: &str) {
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let tolerance = if probability { 1e-6 } else { 1e-5 * largest };
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= tolerance, "{what}: expected {e}, got {a}");
    }
}

#[test]
fn f32_scores_agree_with_the_published_code() {
    for model in MODELS {
        let bytes = read(&format!("scores/{model}/scores_f32.safetensors"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for set in SETS {
            let (yes, no) = (
                f32s(&file, &format!("{set}.logits_yes")),
                f32s(&file, &format!("{set}.logits_no")),
            );
            for title in PUBLISHED {
                let score = by_name(title).unwrap();
                assert_eq!(score.display_name(), title);
                let actual: Vec<f32> = rows(&yes, &no, 12)
                    .into_iter()
                    .map(|row| score.faithful(row))
                    .collect();
                let expected = f32s(&file, &format!("{set}.{title}"));
                let probability = !matches!(title, "MaxLogit" | "Energy");
                close_f32(
                    &actual,
                    &expected,
                    probability,
                    &format!("{model} {set} {title}"),
                );
            }
        }
    }
}

#[test]
fn f64_scores_agree_with_the_published_code() {
    for model in MODELS {
        let bytes = read(&format!("scores/{model}/scores_f64.safetensors"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for set in SETS {
            let (yes, no) = (
                f64s(&file, &format!("{set}.logits_yes")),
                f64s(&file, &format!("{set}.logits_no")),
            );
            for title in PUBLISHED {
                let score = by_name(title).unwrap();
                let expected = f64s(&file, &format!("{set}.{title}"));
                for (row, expected) in rows(&yes, &no, 12).into_iter().zip(expected) {
                    let actual = score.from_stable(score.stable(row));
                    let error = (actual - expected).abs() / expected.abs();
                    assert!(
                        error <= 1e-12,
                        "{model} {set} {title}: expected {expected}, got {actual}"
                    );
                }
            }
        }
    }
}

#[test]
fn metrics_of_our_scores_agree_with_the_published_code() {
    for model in MODELS {
        let bytes = read(&format!("scores/{model}/scores_f32.safetensors"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let scored = |set: &str, score: &dyn Score| -> Vec<f32> {
            let (yes, no) = (
                f32s(&file, &format!("{set}.logits_yes")),
                f32s(&file, &format!("{set}.logits_no")),
            );
            rows(&yes, &no, 12)
                .into_iter()
                .map(|row| score.faithful(row))
                .collect()
        };
        let expected = json(&format!("scores/{model}/metrics_f32.json"));
        let table = expected["rows"].as_array().unwrap();
        assert_eq!(table.len(), 10);
        for row in table {
            let score = by_name(row["method"].as_str().unwrap()).unwrap();
            let ranked = RankedScores::new(
                &scored("id", score),
                &scored(row["dataset"].as_str().unwrap(), score),
            )
            .unwrap();
            let what = format!("{model} {row}");
            assert!(
                (ranked.auroc() - row["auroc"].as_f64().unwrap()).abs() < 1e-9,
                "{what}"
            );
            let fpr = ranked.fpr_at_tpr(0.95, FprConvention::Clipn).unwrap();
            assert!(
                (fpr - row["fpr95"].as_f64().unwrap()).abs() < 1e-9,
                "{what}"
            );
        }
    }
}

#[test]
fn handcrafted_scores_agree_with_the_published_code() {
    let bytes = read("scores/handcrafted/scores.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (fc_yes, fc_no) = (f32s(&file, "fc_yes"), f32s(&file, "fc_no"));
    // The classifiers in the file are normalized, but the features are not.
    let logits = |features: &[f32], weights: &[f32]| -> Vec<f32> {
        let dot = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>()
        };
        let cosine = |f, w| dot(f, w) / dot(f, f).sqrt();
        let each = |f| {
            weights
                .chunks_exact(512)
                .map(move |w| (100.0 * cosine(f, w)) as f32)
        };
        features.chunks_exact(512).flat_map(each).collect()
    };
    let mut ours = Vec::new();
    for set in ["id", "ood"] {
        let features = f32s(&file, &format!("{set}.features"));
        let (yes, no) = (logits(&features, &fc_yes), logits(&features, &fc_no));
        for (name, title) in [
            ("msp", "MSP"),
            ("maxlogit", "MaxLogit"),
            ("energy-handcrafted", "Energy"),
            ("YN", "YN"),
            ("C+1", "C+1"),
        ] {
            let score = by_name(name).unwrap();
            let actual: Vec<f32> = rows(&yes, &no, 12)
                .into_iter()
                .map(|row| score.faithful(row))
                .collect();
            let expected = f32s(&file, &format!("{set}.{title}"));
            // The logits themselves are summed in another order here, hence 1e-5 of the maximum for
            // every score.
            let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (a, e) in actual.iter().zip(&expected) {
                assert!(
                    (a - e).abs() <= 1e-5 * largest,
                    "{set} {title}: expected {e}, got {a}"
                );
            }
            ours.push((set, title, actual));
        }
    }
    let expected = json("scores/handcrafted/metrics.json");
    for row in expected["rows"].as_array().unwrap() {
        let find = |set| {
            &ours
                .iter()
                .find(|(s, title, _)| *s == set && row[1] == *title)
                .unwrap()
                .2
        };
        let ranked = RankedScores::new(find("id"), find("ood")).unwrap();
        assert!(
            (ranked.auroc() - row[3].as_f64().unwrap()).abs() < 1e-9,
            "{row}"
        );
        let fpr = ranked.fpr_at_tpr(0.95, FprConvention::Clipn).unwrap();
        assert!((fpr - row[4].as_f64().unwrap()).abs() < 1e-9, "{row}");
    }
}

#[test]
fn mcm_is_the_softmax_of_the_cosines() {
    // Cosines 0.3, 0.2 and 0.1: exp(0.3) / (exp(0.3) + exp(0.2) + exp(0.1)).
    let expected = 1.0 / (1.0 + (-0.1_f64).exp() + (-0.2_f64).exp());
    let faithful = Mcm.faithful(LogitsRow::new(&[20.0, 30.0, 10.0], &[]));
    assert!((f64::from(faithful) - expected).abs() < 1e-6);
    let stable = Mcm.stable(LogitsRow::new(&[20.0, 30.0, 10.0], &[]));
    assert!((Mcm.from_stable(stable) - expected).abs() < 1e-15);
    // The score does not depend on the factor of the logits.
    let rescaled = LogitsRow::new(&[3.0, 4.5, 1.5], &[]).with_scale(15.0);
    assert!((Mcm.from_stable(Mcm.stable(rescaled)) - expected).abs() < 1e-15);
    let rescaled = LogitsRow::new(&[3.0, 4.5, 1.5], &[]).with_scale(15.0);
    assert!((f64::from(Mcm.faithful(rescaled)) - expected).abs() < 1e-6);
}

#[test]
fn stable_scores_separate_saturated_ones() {
    let case = |yes: [f64; 3], no: f64, negative: f64| Case {
        yes: yes.to_vec(),
        no: vec![no; 3],
        negatives: vec![negative; 4],
        group_ends: vec![1, 4],
    };
    let (lower, higher) = ([80.0, 20.0, 10.0], [95.0, 20.0, 10.0]);
    for name in ["msp", "ctw", "atd", "neglabel", "ctw-neg", "atd-neg"] {
        let score = by_name(name).unwrap();
        let faithful = |yes| case(yes, 0.0, 0.0).faithful(score);
        assert_eq!((faithful(lower), faithful(higher)), (1.0, 1.0), "{name}");
        let stable = |yes| case(yes, 0.0, 0.0).stable(score);
        assert!(
            stable(lower) < stable(higher) && stable(higher) < 0.0,
            "{name}"
        );
        // At the low end, the probabilities themselves would be 0 in either precision.
        let rejected = |no: f64, negative: f64| case([1.0; 3], no, negative).stable(score);
        if score.uses_no() {
            let (lower, higher) = (rejected(2000.0, 0.0), rejected(1000.0, 0.0));
            assert!(lower < higher && higher.is_finite(), "{name}");
        }
        if score.uses_negatives() {
            let (lower, higher) = (rejected(0.0, 2000.0), rejected(0.0, 1000.0));
            assert!(lower < higher && higher.is_finite(), "{name}");
        }
    }
    // GEN is close to 0 instead, and in f32 loses the term of the best class.
    let score = by_name("gen").unwrap();
    let (lower, higher) = (case(lower, 0.0, 0.0), case(higher, 0.0, 0.0));
    assert!(lower.stable(score) < higher.stable(score));
    let exact = score.from_stable(lower.stable(score));
    assert!(f64::from(lower.faithful(score)) > exact + 1e-3);
    assert_eq!(score.to_stable(0.5), f64::INFINITY);
    assert!(score.to_stable(f64::NAN).is_nan());
}

#[test]
fn stable_atd_is_accurate_in_both_tails() {
    // With one class, ATD is CTW, and u = sigmoid(-d) is known in closed form in both tails.
    for d in [
        -900.0, -300.0, -40.0, -1e-9, 0.0, 1e-9, 0.3, 40.0, 300.0, 700.0,
    ] {
        let yes = [d];
        let row = LogitsRow::new(&yes, &[0.0]);
        let (atd, ctw) = (Atd.stable(row), Ctw.stable(row));
        assert!(
            (atd - ctw).abs() <= 1e-14 * ctw.abs(),
            "{d}: expected {ctw}, got {atd}"
        );
    }
}

#[test]
fn rows_that_cannot_be_scored_give_nan() {
    let good = Case {
        yes: vec![1.0, 2.0],
        no: vec![0.0, 0.0],
        negatives: vec![0.5, 1.5],
        group_ends: vec![1, 2],
    };
    let is_nan = |case: &Case, score: &dyn Score| {
        let (faithful, stable) = (case.faithful(score), case.stable(score));
        assert_eq!(faithful.is_nan(), stable.is_nan(), "{score}");
        faithful.is_nan()
    };
    for score in every_score() {
        assert!(!is_nan(&good, score), "{score}");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut case = good.clone();
            case.yes[1] = bad;
            assert!(is_nan(&case, score), "{score} {bad}");
            let mut case = good.clone();
            case.no[0] = bad;
            assert_eq!(is_nan(&case, score), score.uses_no(), "{score} {bad}");
            let mut case = good.clone();
            case.negatives[1] = bad;
            let uses_negatives = score.uses_negatives();
            assert_eq!(is_nan(&case, score), uses_negatives, "{score} {bad}");
        }
        let mut empty = good.clone();
        (empty.yes, empty.no) = (vec![], vec![]);
        assert!(is_nan(&empty, score), "{score}");
        let mut unpaired = good.clone();
        unpaired.no.pop();
        assert_eq!(is_nan(&unpaired, score), score.uses_no(), "{score}");
        let mut without_negatives = good.clone();
        (without_negatives.negatives, without_negatives.group_ends) = (vec![], vec![]);
        let uses_negatives = score.uses_negatives();
        assert_eq!(is_nan(&without_negatives, score), uses_negatives, "{score}");
        for group_ends in [vec![], vec![1], vec![3], vec![2, 2], vec![0, 2], vec![2, 1]] {
            let case = Case {
                group_ends,
                ..good.clone()
            };
            assert_eq!(is_nan(&case, score), uses_negatives, "{score} {case:?}");
        }
    }
}

#[test]
fn scores_that_need_two_classes_are_constant_or_nan_for_one() {
    let one = |yes: f64| Case {
        yes: vec![yes],
        no: vec![1.0],
        negatives: vec![2.0],
        group_ends: vec![1],
    };
    for score in every_score() {
        let (a, b) = (one(3.0).stable(score), one(4.0).stable(score));
        let is_constant = a.is_nan() || a == b;
        assert_eq!(is_constant, score.min_classes() == 2, "{score}: {a} {b}");
    }
}

/// Bound of the rounding error of a faithful score of [`ORDINARY`] logits, with u = 2⁻²⁴, K ≤ 7 and
/// M ≤ 9.
///
/// The difference of two logits is at most 90, so rounding it changes its exponential by at most
/// 90·u relative. The exponential itself, the sums over K + M and the divisions add at most
/// 2·(K + M) + 8 u, and `atd-neg` and `ole` multiply three such probabilities. Subnormal results add
/// K·2⁻¹⁴⁹. A score in the unit of the logits is off by at most 2·K + 8 u of its largest term: 60,
/// the largest logit. Differences of probabilities or cosines are off by as much as the terms, which
/// are at most 1. In GEN, the error e of a probability close to 1 changes the term by at most eᵞ,
/// because the power is concave, and the other terms by γ·e relative.
fn rounding_bound(score: &dyn Score, value: f64) -> f64 {
    let u = f64::powi(2.0, -24);
    let relative = (90.0 + 40.0) * u;
    match score.name() {
        "maxlogit" | "energy" => 22.0 * u * 60.0,
        // Its terms may be twice the largest logit below 0.
        "gated-energy" => 22.0 * u * 2.0 * 60.0,
        // The factor of 100 applies to the logits and to the result.
        "energy-handcrafted" => 22.0 * u * 6100.0,
        "margin" | "logitgap" | "eoe" => 2.0 * relative,
        "gen" => (2.0 * relative).powf(0.1) + relative * value.abs(),
        _ => 3.0 * relative * value.abs() + 7.0 * f64::powi(2.0, -149),
    }
}

proptest! {
    #[test]
    fn faithful_and_stable_scores_agree_in_order(
        a in Case::strategy(ORDINARY),
        b in Case::strategy(ORDINARY),
    ) {
        for score in every_score() {
            let is_too_small = |case: &Case| case.yes.len() < score.min_classes();
            if is_too_small(&a) || is_too_small(&b) {
                continue;
            }
            let faithful = |case: &Case| f64::from(case.faithful(score));
            let (fa, fb, sa, sb) = (faithful(&a), faithful(&b), a.stable(score), b.stable(score));
            let (bound_a, bound_b) = (rounding_bound(score, fa), rounding_bound(score, fb));
            if (fa - fb).abs() > bound_a + bound_b {
                prop_assert_eq!(fa < fb, sa < sb, "{}: {} {} {} {}", score, fa, fb, sa, sb);
            }
            let back = score.from_stable(sa);
            prop_assert!((back - fa).abs() <= bound_a, "{}: {} {}", score, back, fa);
            // Below, the probability is subnormal.
            if sa > -700.0 {
                let there = score.to_stable(back);
                let close = (there - sa).abs() <= 1e-12 * sa.abs().max(1.0);
                prop_assert!(close, "{}: {} {}", score, there, sa);
            }
        }
    }

    #[test]
    fn probabilities_are_in_the_unit_interval(case in Case::strategy(EXTREME)) {
        let (yes, no) = (case.narrow(&case.yes), case.narrow(&case.no));
        let row = LogitsRow::new(&yes, &no);
        let p = softmax_yes(row);
        prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        prop_assert!(p.iter().chain(&agreement(row)).all(|v| (0.0..=1.0).contains(v)));
        prop_assert_eq!(p[predict(row)], Msp.faithful(row));
        prop_assert_eq!(agreement(row)[predict(row)], Ctw.faithful(row));
        prop_assert_eq!(yes[predict(row)], MaxLogit.faithful(row));
        prop_assert!(yes.iter().position(|v| *v == MaxLogit.faithful(row)) == Some(predict(row)));
        for score in every_score() {
            if yes.len() < score.min_classes() {
                continue;
            }
            let (faithful, stable) = (case.faithful(score), case.stable(score));
            prop_assert!(faithful.is_finite(), "{} {}", score, faithful);
            prop_assert!(stable.is_finite(), "{} {}", score, stable);
            let is_probability = !matches!(
                score.name(),
                "maxlogit"
                    | "energy"
                    | "gated-energy"
                    | "energy-handcrafted"
                    | "gen"
                    | "logitgap"
                    | "eoe"
            );
            if is_probability {
                prop_assert!((0.0..=1.0 + 1e-6).contains(&faithful), "{} {}", score, faithful);
                prop_assert!(score.from_stable(stable) <= 1.0 + 1e-15, "{} {}", score, stable);
            }
        }
    }

    #[test]
    fn probabilities_are_invariant_to_a_common_shift(
        case in Case::strategy(ORDINARY),
        shift in -50.0..50.0_f64,
    ) {
        let shifted = |v: &[f64]| v.iter().map(|x| x + shift).collect::<Vec<_>>();
        let moved = Case {
            yes: shifted(&case.yes),
            no: shifted(&case.no),
            negatives: shifted(&case.negatives),
            group_ends: case.group_ends.clone(),
        };
        for score in every_score() {
            if case.yes.len() < score.min_classes() {
                continue;
            }
            let (here, there) = (case.stable(score), moved.stable(score));
            let expected = match score.name() {
                "maxlogit" | "energy" | "gated-energy" => here + shift,
                "energy-handcrafted" => here + 100.0 * shift,
                _ => here,
            };
            let close = (there - expected).abs() <= 1e-10 * expected.abs().max(1.0);
            prop_assert!(close, "{}: {} {}", score, there, expected);
        }
    }

    #[test]
    fn the_extra_class_rule_follows_its_definition(case in Case::strategy(ORDINARY)) {
        let (yes, no) = (case.narrow(&case.yes), case.narrow(&case.no));
        let row = LogitsRow::new(&yes, &no);
        let joint_probabilities: Vec<f64> = softmax_yes(row)
            .iter()
            .zip(agreement(row))
            .map(|(p, q)| f64::from(*p) * f64::from(q))
            .collect();
        let extra = 1.0 - joint_probabilities.iter().sum::<f64>();
        let best = joint_probabilities.iter().copied().fold(0.0, f64::max);
        let decision = DecisionRule::AtdExtraClass.decide(row);
        if (extra - best).abs() > 1e-5 {
            prop_assert_eq!(decision.label.is_none(), extra > best);
        }
        prop_assert_eq!(decision.label.is_none(), decision.score < decision.threshold);
        prop_assert!(decision.label.is_none_or(|label| label == predict(row)));
    }
}
