//! Tests of the guarantees of calibration by simulation over many calibration sets.

use clipn_ood::calibration::{
    Calibration, CalibrationError, CalibrationSample, CalibrationSettings, CalibrationWarning,
    Proportion, ThresholdMethod, benjamini_hochberg, calibrate, check_calibration_set,
};
use clipn_ood::scores::{Ctw, DecisionRule, LogitsRow, NegLabel, NegativeLogits, stable};
use clipn_testing::random::Random;

/// Draws a uniform number from (0, 1).
fn uniform(random: &mut Random) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn uniforms(random: &mut Random, count: usize) -> Vec<f64> {
    (0..count).map(|_| uniform(random)).collect()
}

/// Maps a uniform number to a score distributed like CTW in log space: most are close to 0, with a
/// long tail below. The score of u is the u-quantile.
fn skewed(u: f64) -> f64 {
    -(-u.ln()).powi(3)
}

fn settings(target_tpr: f64, method: ThresholdMethod) -> CalibrationSettings {
    CalibrationSettings::default()
        .with_target_tpr(target_tpr)
        .with_method(method)
}

/// True fraction of the population with uniform scores that a threshold keeps.
fn true_kept_fraction(calibration: &Calibration) -> f64 {
    1.0 - calibration.threshold()
}

#[test]
fn on_average_keeps_the_target_fraction() {
    for (n, target) in [(19, 0.95), (50, 0.9), (100, 0.95), (333, 0.8)] {
        let mut random = Random::new(n as u64);
        let (mut kept, mut inside, rounds) = (0.0, 0, 4000);
        for _ in 0..rounds {
            let calibration = calibrate(
                &uniforms(&mut random, n),
                &[],
                &settings(target, ThresholdMethod::OnAverage),
            )
            .unwrap();
            let truth = true_kept_fraction(&calibration);
            kept += truth / f64::from(rounds);
            let interval = calibration.kept();
            inside += u32::from(interval.lower <= truth && truth <= interval.upper);
        }
        // 1 − k/(n + 1) with k = ⌊(n + 1)(1 − target)⌋, to four standard errors.
        let expected = 1.0 - ((n as f64 + 1.0) * (1.0 - target) + 1e-9).floor() / (n as f64 + 1.0);
        let error = 4.0 * (expected * (1.0 - expected) / n as f64 / f64::from(rounds)).sqrt();
        assert!(
            (kept - expected).abs() < error && expected >= target,
            "{n}: expected {expected}, got {kept}"
        );
        // The 95 % interval has its nominal coverage.
        let coverage = f64::from(inside) / f64::from(rounds);
        assert!((coverage - 0.95).abs() < 0.014, "{n}: {coverage}");
    }
}

#[test]
fn guaranteed_keeps_the_target_with_the_confidence() {
    for (n, confidence) in [(59, 0.95), (120, 0.9), (400, 0.95)] {
        let mut random = Random::new(n as u64);
        let settings = settings(0.95, ThresholdMethod::Guaranteed).with_confidence(confidence);
        let rounds = 4000;
        let successes = (0..rounds)
            .filter(|_| {
                true_kept_fraction(&calibrate(&uniforms(&mut random, n), &[], &settings).unwrap())
                    >= 0.95
            })
            .count() as f64
            / f64::from(rounds);
        assert!(
            successes > confidence - 0.014,
            "{n}: {successes} of {confidence}"
        );
    }
}

#[test]
fn threshold_intervals_contain_the_true_threshold() {
    let mut random = Random::new(3);
    let (mut inside, rounds) = (0, 3000);
    for _ in 0..rounds {
        let calibration = calibrate(
            &uniforms(&mut random, 200),
            &[],
            &settings(0.9, ThresholdMethod::OnAverage),
        )
        .unwrap();
        let [low, high] = calibration.threshold_interval();
        inside += u32::from(low.unwrap() <= 0.1 && 0.1 <= high.unwrap());
    }
    let coverage = f64::from(inside) / f64::from(rounds);
    assert!(coverage > 0.94 && coverage < 0.99, "{coverage}");
}

#[test]
fn p_values_are_uniform_for_exchangeable_scores() {
    let mut random = Random::new(7);
    let rounds = 20_000;
    let mut p_values = Vec::new();
    for _ in 0..rounds {
        let scores: Vec<f64> = uniforms(&mut random, 99).into_iter().map(skewed).collect();
        let calibration = calibrate(&scores, &[], &CalibrationSettings::default()).unwrap();
        p_values.push(calibration.p_value(skewed(uniform(&mut random))));
    }
    for alpha in [0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9] {
        let fraction = p_values.iter().filter(|p| **p <= alpha).count() as f64 / f64::from(rounds);
        // Exact for α that are multiples of 1/(n + 1).
        let error = 4.0 * (alpha * (1.0 - alpha) / f64::from(rounds)).sqrt();
        assert!((fraction - alpha).abs() < error, "{alpha}: {fraction}");
    }
}

#[test]
fn images_are_unknown_if_their_p_value_is_small() {
    let mut random = Random::new(11);
    for n in [19, 40, 137] {
        let scores = uniforms(&mut random, n);
        let calibration =
            calibrate(&scores, &[], &settings(0.95, ThresholdMethod::OnAverage)).unwrap();
        for score in uniforms(&mut random, 500).into_iter().chain(scores) {
            let is_unknown = score < calibration.threshold();
            assert_eq!(
                is_unknown,
                calibration.p_value(score) <= 0.05 + 1e-12,
                "{n}: {score}"
            );
        }
    }
}

/// In batches with a fifth of unknown images, whose scores are lower, the false discovery rate
/// stays below its bound, and most unknown images are found.
#[test]
fn false_discovery_rate_stays_below_its_bound() {
    let mut random = Random::new(13);
    for q in [0.1, 0.2] {
        let (mut false_discovery_rate, mut found) = (0.0, 0.0);
        let rounds = 600;
        for _ in 0..rounds {
            let scores: Vec<f64> = uniforms(&mut random, 500).into_iter().map(skewed).collect();
            let calibration = calibrate(&scores, &[], &CalibrationSettings::default()).unwrap();
            let known = uniforms(&mut random, 160).into_iter().map(skewed);
            let p: Vec<f64> = known
                .chain(
                    uniforms(&mut Random::new(random.next_u64()), 40)
                        .into_iter()
                        .map(|u| skewed(u * 0.004)),
                )
                .map(|score| calibration.p_value(score))
                .collect();
            let selected = benjamini_hochberg(&p, q);
            let wrong = selected[..160].iter().filter(|c| **c).count() as f64;
            let right = selected[160..].iter().filter(|c| **c).count() as f64;
            false_discovery_rate += wrong / (wrong + right).max(1.0) / f64::from(rounds);
            found += right / 40.0 / f64::from(rounds);
        }
        assert!(
            false_discovery_rate <= q * 0.8 + 0.02,
            "q {q}: {false_discovery_rate}"
        );
        assert!(
            found > 0.8,
            "q {q}: found only {found} of the unknown images"
        );
    }
}

/// If ID and OOD scores are indistinguishable, the best threshold still exceeds chance on the
/// images that it was chosen with. The cross-validated accuracy does not.
#[test]
fn the_best_threshold_is_cross_validated() {
    let mut random = Random::new(17);
    let (mut cross_validated, mut in_sample) = (0.0, 0.0);
    let rounds = 300;
    for _ in 0..rounds {
        let (id, ood) = (uniforms(&mut random, 60), uniforms(&mut random, 60));
        let calibration = calibrate(&id, &ood, &settings(0.95, ThresholdMethod::Best)).unwrap();
        let performance = calibration.ood_performance().unwrap();
        cross_validated += performance.balanced_accuracy.unwrap() / f64::from(rounds);
        in_sample +=
            0.5 * (calibration.kept().rate() + performance.rejected.rate()) / f64::from(rounds);
    }
    assert!(
        (cross_validated - 0.5).abs() < 0.03 && in_sample > 0.55,
        "{cross_validated} {in_sample}"
    );
}

#[test]
fn warns_of_contamination_but_not_of_clean_sets() {
    let names = ["cat".to_owned()];
    let mut random = Random::new(19);
    let mut samples = |contamination: f64| -> Vec<CalibrationSample> {
        let mut sample = |_| {
            let is_foreign = uniform(&mut random) < contamination;
            // About 1 % of the clean images are confidently rejected.
            let agreement = if is_foreign {
                0.08
            } else {
                0.1 + 0.9 * uniform(&mut random) - 0.009
            };
            CalibrationSample {
                score: agreement.ln(),
                prediction: 0,
                agreement,
                folder: None,
                fingerprint: None,
            }
        };
        (0..300).map(&mut sample).collect()
    };
    let warns = |samples: &[CalibrationSample]| {
        let warnings = check_calibration_set(samples, &names, &CalibrationSettings::default());
        warnings
            .iter()
            .any(|warning| matches!(warning, CalibrationWarning::ConfidentRejections { .. }))
    };
    let (clean, contaminated): (Vec<bool>, Vec<bool>) = (0..200)
        .map(|_| (warns(&samples(0.0)), warns(&samples(0.1))))
        .unzip();
    let fraction =
        |warned: &[bool]| warned.iter().filter(|w| **w).count() as f64 / warned.len() as f64;
    assert!(
        fraction(&clean) < 0.02 && fraction(&contaminated) > 0.97,
        "{} {}",
        fraction(&clean),
        fraction(&contaminated)
    );
}

#[test]
fn the_rule_keeps_the_counted_images() {
    let mut random = Random::new(23);
    let rows: Vec<[f32; 4]> = (0..60)
        .map(|_| std::array::from_fn(|_| 30.0 * random.signed()))
        .collect();
    let row = |values: &'static [f32; 4]| LogitsRow::new(&values[..2], &values[2..]);
    let rows: Vec<LogitsRow<'static, f32>> = rows
        .into_iter()
        .map(|r| row(Box::leak(Box::new(r))))
        .collect();
    let scores: Vec<f64> = rows.iter().map(|row| stable(&Ctw, *row)).collect();
    let settings = CalibrationSettings::default()
        .with_score(&Ctw)
        .with_target_tpr(0.8);
    let calibration = calibrate(&scores, &[], &settings).unwrap();
    let DecisionRule::Calibrated { score, .. } = calibration.rule() else {
        panic!("{:?}", calibration.rule())
    };
    assert_eq!(score.name(), "ctw");
    let kept = rows
        .iter()
        .filter(|row| calibration.rule().decide(**row).label.is_some())
        .count();
    assert_eq!(kept, calibration.kept().count);
    assert_eq!(kept, 49);
}

/// The calibrated rule and the p-values need the negatives of the row.
#[test]
fn calibration_of_a_score_with_negatives() {
    let mut random = Random::new(29);
    let images: Vec<[f32; 6]> = (0..60)
        .map(|_| std::array::from_fn(|_| 30.0 * random.signed()))
        .collect();
    let rows = || {
        images.iter().map(|values| {
            let negatives = NegativeLogits::new(&values[2..], &[3, 4]);
            LogitsRow::new(&values[..2], &[]).with_negatives(negatives)
        })
    };
    let scores: Vec<f64> = rows().map(|row| stable(&NegLabel, row)).collect();
    let settings = settings(0.8, ThresholdMethod::OnAverage).with_score(&NegLabel);
    let calibration = calibrate(&scores, &[], &settings).unwrap();
    let kept = |row: &LogitsRow<'_, f32>| calibration.rule().decide(*row).label.is_some();
    assert_eq!(rows().filter(kept).count(), calibration.kept().count);
    for (row, score) in rows().zip(&scores) {
        assert_eq!(
            calibration.p_value_for_logits(row),
            calibration.p_value(*score)
        );
        // Without its negatives, no row can be scored.
        let without = row.with_negatives(NegativeLogits::default());
        assert_eq!(calibration.p_value_for_logits(without), 1.0 / 61.0);
        assert_eq!(calibration.rule().decide(without).label, None);
    }
}

#[test]
fn the_recommended_number_of_images_narrows_the_interval() {
    let recommended = |id: &[f64], ood: &[f64], settings: &CalibrationSettings| {
        let calibration = calibrate(id, ood, settings).unwrap();
        calibration
            .warnings()
            .iter()
            .find_map(|warning| match warning {
                CalibrationWarning::FewImages { recommended, .. } => Some(*recommended),
                _ => None,
            })
    };
    // The best threshold keeps 210 of 300 images, for which the interval is 10.5 points wide.
    let id: Vec<f64> = (0..300).map(f64::from).collect();
    let ood: Vec<f64> = (0..90).map(f64::from).collect();
    let best = settings(0.95, ThresholdMethod::Best);
    let calibration = calibrate(&id, &ood, &best).unwrap();
    assert_eq!(calibration.kept().count, 210);
    let count = recommended(&id, &ood, &best).unwrap();
    assert_eq!(count, 1350);
    let width = |count: usize, total: usize| {
        let kept = Proportion::clopper_pearson(count, total, 0.95);
        kept.upper - kept.lower
    };
    assert!(
        width(7 * count / 10, count) <= 0.05 && width(7 * (count - 50) / 10, count - 50) > 0.05
    );
    // All kept: the variance of the observed fraction is 0, but 30 images say little.
    let all_kept = recommended(&id[..30], &[-1.0; 30], &best).unwrap();
    assert!(all_kept > 30, "{all_kept}");
    // A higher confidence takes more images.
    let default = CalibrationSettings::default();
    assert_eq!(recommended(&id[..40], &[], &default), Some(300));
    let certain = default.with_confidence(0.999);
    assert!(recommended(&id[..40], &[], &certain).unwrap() > 700);
}

#[test]
fn warns_of_few_images_and_rejects_invalid_settings() {
    let warnings = |n: usize| {
        let scores: Vec<f64> = (0..n).map(|i| i as f64).collect();
        calibrate(&scores, &[], &CalibrationSettings::default())
            .unwrap()
            .warnings()
            .to_vec()
    };
    assert!(
        matches!(
            warnings(40)[..],
            [CalibrationWarning::FewImages {
                images: 40,
                recommended: 300,
                ..
            }]
        ),
        "{:?}",
        warnings(40)
    );
    assert!(warnings(300).is_empty());
    let fails = |id: &[f64], ood: &[f64], settings: CalibrationSettings| {
        calibrate(id, ood, &settings).unwrap_err()
    };
    let scores: Vec<f64> = (0..30).map(f64::from).collect();
    let default = CalibrationSettings::default();
    assert!(matches!(
        fails(&scores[..10], &[], default),
        CalibrationError::TooFewImages {
            images: 10,
            required: 19,
            ..
        }
    ));
    assert!(matches!(
        fails(&[], &[], default),
        CalibrationError::Metric(_)
    ));
    assert!(matches!(
        fails(&[f64::NAN; 30], &[], default),
        CalibrationError::Metric(_)
    ));
    assert!(matches!(
        fails(&scores, &[f64::INFINITY], default),
        CalibrationError::Metric(_)
    ));
    assert!(matches!(
        fails(&scores, &[], settings(0.95, ThresholdMethod::Best)),
        CalibrationError::MissingOodScores
    ));
    for bad in [0.0, 1.0, -1.0, f64::NAN] {
        let message = fails(&scores, &[], settings(bad, ThresholdMethod::OnAverage)).to_string();
        assert!(message.contains("target true positive rate"), "{message}");
        assert!(matches!(
            fails(&scores, &[], default.with_confidence(bad)),
            CalibrationError::OutOfRange {
                setting: "confidence",
                ..
            }
        ));
    }
    let inseparable = calibrate(&scores, &scores, &default).unwrap();
    assert!(
        inseparable
            .warnings()
            .iter()
            .any(|warning| matches!(warning, CalibrationWarning::PoorSeparation { .. }))
    );
}
