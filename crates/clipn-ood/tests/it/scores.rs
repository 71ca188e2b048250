//! Tests of the scores against the published code in both precisions, and of their properties.

use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

use clipn_ood::metrics::{FprConvention, RankedScores};
use clipn_ood::scores::{
    self, Atd, Ctw, DecisionRule, HandcraftedEnergy, LOGIT_SCALE, LogitsRow, MaxLogit, Mcm, Msp,
    Score, agreement, by_name, predict, softmax_yes,
};

const MODELS: [&str; 2] = ["vit_gelu", "vit_quickgelu"];
const SETS: [&str; 3] = ["id", "oodA", "oodB"];
const PUBLISHED: [&str; 5] = ["MSP", "MaxLogit", "Energy", "CTW", "ATD"];

fn read(name: &str) -> Vec<u8> {
    std::fs::read(clipn_testing::fixture(name)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn f64s(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let data = file.tensor(name).unwrap().data();
    data.chunks_exact(8)
        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Splits `[N, K]` logits into rows.
fn rows<'a, T>(yes: &'a [T], no: &'a [T], classes: usize) -> Vec<LogitsRow<'a, T>> {
    let pairs = yes.chunks_exact(classes).zip(no.chunks_exact(classes));
    pairs
        .map(|(yes, no)| LogitsRow {
            yes,
            no,
            scale: LOGIT_SCALE,
        })
        .collect()
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
    let (lower, higher) = ([80.0, 20.0, 10.0], [95.0, 20.0, 10.0]);
    let no = [0.0, 0.0, 0.0];
    let single = |row: [f64; 3]| row.map(|v| v as f32);
    for score in [by_name("msp").unwrap(), &Ctw, &Atd] {
        let faithful = |yes: [f64; 3]| score.faithful(LogitsRow::new(&single(yes), &single(no)));
        assert_eq!(
            (faithful(lower), faithful(higher)),
            (1.0, 1.0),
            "{}",
            score.name()
        );
        let stable = |yes: [f64; 3]| score.stable(LogitsRow::new(&yes, &no));
        assert!(
            stable(lower) < stable(higher) && stable(higher) < 0.0,
            "{}",
            score.name()
        );
        // At the low end, the probabilities themselves would be 0 in either precision.
        let rejected = |no: f64| score.stable(LogitsRow::new(&[1.0, 1.0], &[no, no]));
        if score.uses_no() {
            assert!(
                rejected(2000.0) < rejected(1000.0) && rejected(1000.0).is_finite(),
                "{}",
                score.name()
            );
        }
    }
}

#[test]
fn stable_atd_is_accurate_in_both_tails() {
    // With one class, ATD is CTW, and u = sigmoid(-d) is known in closed form in both tails.
    for d in [
        -900.0, -300.0, -40.0, -1e-9, 0.0, 1e-9, 0.3, 40.0, 300.0, 700.0,
    ] {
        let row = LogitsRow {
            yes: &[d],
            no: &[0.0],
            scale: LOGIT_SCALE,
        };
        let (atd, ctw) = (Atd.stable(row), Ctw.stable(row));
        assert!(
            (atd - ctw).abs() <= 1e-14 * ctw.abs(),
            "{d}: expected {ctw}, got {atd}"
        );
    }
}

#[test]
fn rows_that_cannot_be_scored_give_nan() {
    let scores: Vec<&dyn Score> = scores::all()
        .iter()
        .copied()
        .chain([&HandcraftedEnergy as &dyn Score])
        .collect();
    for score in scores {
        let name = score.name();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(
                score
                    .faithful(LogitsRow::new(&[1.0, bad], &[0.0, 0.0]))
                    .is_nan(),
                "{name} {bad}"
            );
            let wide = f64::from(bad);
            assert!(
                score
                    .stable(LogitsRow::new(&[1.0, wide], &[0.0, 0.0]))
                    .is_nan(),
                "{name} {bad}"
            );
            let no_is_bad = score.faithful(LogitsRow::new(&[1.0, 2.0], &[bad, 0.0]));
            assert_eq!(no_is_bad.is_nan(), score.uses_no(), "{name} {bad}");
        }
        assert!(score.faithful(LogitsRow::new(&[], &[])).is_nan(), "{name}");
        assert!(score.stable(LogitsRow::new(&[], &[])).is_nan(), "{name}");
        let unpaired = score.stable(LogitsRow::new(&[1.0, 2.0], &[1.0]));
        assert_eq!(unpaired.is_nan(), score.uses_no(), "{name}");
    }
}

/// Generates logits of ordinary magnitude for one to seven classes.
fn logits() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    prop::collection::vec((-30.0..60.0_f64, -30.0..60.0_f64), 1..8)
        .prop_map(|pairs| pairs.into_iter().unzip())
}

/// Generates logits that saturate every probability.
fn extreme_logits() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let value = prop::sample::select(vec![-1e4_f32, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]);
    prop::collection::vec((value.clone(), value), 1..6).prop_map(|pairs| pairs.into_iter().unzip())
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

/// Bound of the rounding error of a faithful score of [`logits`], with u = 2⁻²⁴ and K ≤ 7.
///
/// The difference of two logits is at most 90, so rounding it changes its exponential by at most
/// 90·u relative. The exponential itself, the sums over K and the divisions add at most 2·K + 8 u, and
/// ATD multiplies two such probabilities. Subnormal results add K·2⁻¹⁴⁹. A score in the unit of the
/// logits is off by at most 2·K + 8 u of its largest term: 60, the largest logit.
fn rounding_bound(score: &dyn Score, value: f64) -> f64 {
    let u = f64::powi(2.0, -24);
    if matches!(score.name(), "maxlogit" | "energy") {
        22.0 * u * 60.0
    } else {
        2.0 * (90.0 + 22.0) * u * value.abs() + 7.0 * f64::powi(2.0, -149)
    }
}

proptest! {
    #[test]
    fn faithful_and_stable_scores_agree_in_order(
        (a_yes, a_no) in logits(),
        (b_yes, b_no) in logits(),
    ) {
        // The same f32 logits in both precisions, so that only the arithmetic differs.
        let narrowed = [&a_yes, &a_no, &b_yes, &b_no].map(|v| narrow(v));
        let widened = narrowed.clone().map(|v| v.into_iter().map(f64::from).collect::<Vec<_>>());
        for score in scores::all() {
            let faithful = |yes: usize, no: usize| {
                f64::from(score.faithful(LogitsRow::new(&narrowed[yes], &narrowed[no])))
            };
            let stable = |yes: usize, no: usize| {
                score.stable(LogitsRow::new(&widened[yes], &widened[no]))
            };
            let (fa, fb, sa, sb) = (faithful(0, 1), faithful(2, 3), stable(0, 1), stable(2, 3));
            let (bound_a, bound_b) = (rounding_bound(*score, fa), rounding_bound(*score, fb));
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
    fn probabilities_are_in_the_unit_interval((yes, no) in extreme_logits()) {
        let row = LogitsRow::new(&yes, &no);
        let p = softmax_yes(row);
        prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        prop_assert!(p.iter().chain(&agreement(row)).all(|v| (0.0..=1.0).contains(v)));
        prop_assert_eq!(p[predict(row)], Msp.faithful(row));
        prop_assert_eq!(agreement(row)[predict(row)], Ctw.faithful(row));
        prop_assert_eq!(yes[predict(row)], MaxLogit.faithful(row));
        prop_assert!(yes.iter().position(|v| *v == MaxLogit.faithful(row)) == Some(predict(row)));
        let wide = [&yes, &no].map(|v| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        for score in scores::all() {
            prop_assert!(score.faithful(row).is_finite(), "{}", score.name());
            let stable = score.stable(LogitsRow::new(&wide[0], &wide[1]));
            prop_assert!(stable.is_finite(), "{} {}", score.name(), stable);
        }
    }

    #[test]
    fn probabilities_are_invariant_to_a_common_shift(
        (yes, no) in logits(),
        shift in -50.0..50.0_f64,
    ) {
        let shifted = |v: &[f64]| v.iter().map(|x| x + shift).collect::<Vec<_>>();
        let (moved_yes, moved_no) = (shifted(&yes), shifted(&no));
        for score in scores::all() {
            let here = score.stable(LogitsRow::new(&yes, &no));
            let there = score.stable(LogitsRow::new(&moved_yes, &moved_no));
            let is_logit = matches!(score.name(), "maxlogit" | "energy");
            let moved = if is_logit { here + shift } else { here };
            prop_assert!((there - moved).abs() < 1e-10, "{}: {} {}", score.name(), there, moved);
        }
    }

    #[test]
    fn the_extra_class_rule_follows_its_definition((yes, no) in logits()) {
        let (yes, no) = (narrow(&yes), narrow(&no));
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
