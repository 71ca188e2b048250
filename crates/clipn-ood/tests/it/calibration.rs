//! Calibration holds what it promises: simulated over many sets of pictures.

use clipn_ood::calibration::{
    Calibration, CalibrationError, Choice, Looked, Settings, Warning, benjamini_hochberg,
    calibrate, examine,
};
use clipn_ood::scores::{Ctw, LogitsRow, Rule, stable};
use clipn_testing::random::Random;

/// A uniform number in (0, 1).
fn uniform(random: &mut Random) -> f64 {
    ((random.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn uniforms(random: &mut Random, count: usize) -> Vec<f64> {
    (0..count).map(|_| uniform(random)).collect()
}

/// Scores as CTW has them in log space: most next to 0, a long tail below. Of a uniform u the share u lies below.
fn skewed(u: f64) -> f64 {
    -(-u.ln()).powi(3)
}

fn settings(target_tpr: f64, choice: Choice) -> Settings {
    Settings {
        target_tpr,
        choice,
        ..Settings::default()
    }
}

/// What a threshold on uniform scores keeps of all pictures there are.
fn truly_kept(calibration: &Calibration) -> f64 {
    1.0 - calibration.threshold()
}

#[test]
fn on_average_the_wanted_share_is_kept() {
    for (n, target) in [(19, 0.95), (50, 0.9), (100, 0.95), (333, 0.8)] {
        let mut random = Random::new(n as u64);
        let (mut kept, mut inside, rounds) = (0.0, 0, 4000);
        for _ in 0..rounds {
            let calibration = calibrate(
                &uniforms(&mut random, n),
                &[],
                &settings(target, Choice::OnAverage),
            )
            .unwrap();
            let truth = truly_kept(&calibration);
            kept += truth / f64::from(rounds);
            let share = calibration.kept();
            inside += u32::from(share.lower <= truth && truth <= share.upper);
        }
        // 1 − k/(n + 1) with k = ⌊(n + 1)(1 − target)⌋, to four standard errors.
        let expected = 1.0 - ((n as f64 + 1.0) * (1.0 - target) + 1e-9).floor() / (n as f64 + 1.0);
        let error = 4.0 * (expected * (1.0 - expected) / n as f64 / f64::from(rounds)).sqrt();
        assert!(
            (kept - expected).abs() < error && expected >= target,
            "{n}: {kept} is not {expected}"
        );
        // The interval of 95 % holds the truth as often as it says.
        let share = f64::from(inside) / f64::from(rounds);
        assert!((share - 0.95).abs() < 0.014, "{n}: {share}");
    }
}

#[test]
fn a_guarantee_is_kept_as_often_as_it_says() {
    for (n, confidence) in [(59, 0.95), (120, 0.9), (400, 0.95)] {
        let mut random = Random::new(n as u64);
        let settings = Settings {
            confidence,
            ..settings(0.95, Choice::Guaranteed)
        };
        let rounds = 4000;
        let held = (0..rounds)
            .filter(|_| {
                truly_kept(&calibrate(&uniforms(&mut random, n), &[], &settings).unwrap()) >= 0.95
            })
            .count() as f64
            / f64::from(rounds);
        assert!(held > confidence - 0.014, "{n}: {held} of {confidence}");
    }
}

#[test]
fn the_bounds_hold_the_true_threshold() {
    let mut random = Random::new(3);
    let (mut inside, rounds) = (0, 3000);
    for _ in 0..rounds {
        let calibration = calibrate(
            &uniforms(&mut random, 200),
            &[],
            &settings(0.9, Choice::OnAverage),
        )
        .unwrap();
        let [low, high] = calibration.threshold_bounds();
        inside += u32::from(low.unwrap() <= 0.1 && 0.1 <= high.unwrap());
    }
    let share = f64::from(inside) / f64::from(rounds);
    assert!(share > 0.94 && share < 0.99, "{share}");
}

#[test]
fn p_values_are_small_no_more_often_than_they_say() {
    let mut random = Random::new(7);
    let rounds = 20_000;
    let mut p_values = Vec::new();
    for _ in 0..rounds {
        let scores: Vec<f64> = uniforms(&mut random, 99).into_iter().map(skewed).collect();
        let calibration = calibrate(&scores, &[], &Settings::default()).unwrap();
        p_values.push(calibration.p_value(skewed(uniform(&mut random))));
    }
    for alpha in [0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9] {
        let share = p_values.iter().filter(|p| **p <= alpha).count() as f64 / f64::from(rounds);
        // Exactly α for the multiples of 1/(n + 1).
        let error = 4.0 * (alpha * (1.0 - alpha) / f64::from(rounds)).sqrt();
        assert!((share - alpha).abs() < error, "{alpha}: {share}");
    }
}

#[test]
fn unknown_is_what_has_a_small_p_value() {
    let mut random = Random::new(11);
    for n in [19, 40, 137] {
        let scores = uniforms(&mut random, n);
        let calibration = calibrate(&scores, &[], &settings(0.95, Choice::OnAverage)).unwrap();
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

/// Batches in which a fifth is unknown, whose scores are lower: of what is called unknown no more than the promised share is
/// not, and most of the unknown is found.
#[test]
fn false_discoveries_stay_below_their_bound() {
    let mut random = Random::new(13);
    for q in [0.1, 0.2] {
        let (mut false_share, mut found) = (0.0, 0.0);
        let rounds = 600;
        for _ in 0..rounds {
            let scores: Vec<f64> = uniforms(&mut random, 500).into_iter().map(skewed).collect();
            let calibration = calibrate(&scores, &[], &Settings::default()).unwrap();
            let known = uniforms(&mut random, 160).into_iter().map(skewed);
            let p: Vec<f64> = known
                .chain(
                    uniforms(&mut Random::new(random.next()), 40)
                        .into_iter()
                        .map(|u| skewed(u * 0.004)),
                )
                .map(|score| calibration.p_value(score))
                .collect();
            let called = benjamini_hochberg(&p, q);
            let wrong = called[..160].iter().filter(|c| **c).count() as f64;
            let right = called[160..].iter().filter(|c| **c).count() as f64;
            false_share += wrong / (wrong + right).max(1.0) / f64::from(rounds);
            found += right / 40.0 / f64::from(rounds);
        }
        assert!(false_share <= q * 0.8 + 0.02, "q {q}: {false_share}");
        assert!(found > 0.8, "q {q}: only {found} of the unknown were found");
    }
}

/// With nothing to tell them apart the threshold that looks best does better than guessing on its own pictures, and the
/// figure that is told does not.
#[test]
fn the_best_threshold_is_not_measured_on_its_own_pictures() {
    let mut random = Random::new(17);
    let (mut told, mut flattering) = (0.0, 0.0);
    let rounds = 300;
    for _ in 0..rounds {
        let (id, ood) = (uniforms(&mut random, 60), uniforms(&mut random, 60));
        let calibration = calibrate(&id, &ood, &settings(0.95, Choice::Best)).unwrap();
        let unknown = calibration.unknown().unwrap();
        told += unknown.balanced_accuracy.unwrap() / f64::from(rounds);
        flattering +=
            0.5 * (calibration.kept().rate() + unknown.rejected.rate()) / f64::from(rounds);
    }
    assert!(
        (told - 0.5).abs() < 0.03 && flattering > 0.55,
        "{told} {flattering}"
    );
}

#[test]
fn contamination_is_told_and_clean_sets_are_left_in_peace() {
    let names = ["cat".to_owned()];
    let mut random = Random::new(19);
    let mut looked = |contaminated: f64| -> Vec<Looked> {
        let mut picture = |_| {
            let is_stranger = uniform(&mut random) < contaminated;
            // A hundredth of the clean pictures have a sure "no".
            let q = if is_stranger {
                0.08
            } else {
                0.1 + 0.9 * uniform(&mut random) - 0.009
            };
            Looked {
                score: q.ln(),
                prediction: 0,
                q,
                folder: None,
            }
        };
        (0..300).map(&mut picture).collect()
    };
    let warns = |pictures: &[Looked]| {
        let told = examine(pictures, &names, &Settings::default());
        told.iter()
            .any(|warning| matches!(warning, Warning::SureNo { .. }))
    };
    let (clean, contaminated): (Vec<bool>, Vec<bool>) = (0..200)
        .map(|_| (warns(&looked(0.0)), warns(&looked(0.1))))
        .unzip();
    let share =
        |warned: &[bool]| warned.iter().filter(|w| **w).count() as f64 / warned.len() as f64;
    assert!(
        share(&clean) < 0.02 && share(&contaminated) > 0.97,
        "{} {}",
        share(&clean),
        share(&contaminated)
    );
}

#[test]
fn the_rule_keeps_what_was_counted() {
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
    let settings = Settings {
        score: &Ctw,
        target_tpr: 0.8,
        ..Settings::default()
    };
    let calibration = calibrate(&scores, &[], &settings).unwrap();
    let Rule::Calibrated { score, .. } = calibration.rule() else {
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

#[test]
fn few_pictures_and_bad_settings_are_told() {
    let warnings = |n: usize| {
        let scores: Vec<f64> = (0..n).map(|i| i as f64).collect();
        calibrate(&scores, &[], &Settings::default())
            .unwrap()
            .warnings()
            .to_vec()
    };
    assert!(
        matches!(
            warnings(40)[..],
            [Warning::Few {
                n: 40,
                advised: 300,
                ..
            }]
        ),
        "{:?}",
        warnings(40)
    );
    assert!(warnings(300).is_empty());
    let fails =
        |id: &[f64], ood: &[f64], settings: Settings| calibrate(id, ood, &settings).unwrap_err();
    let scores: Vec<f64> = (0..30).map(f64::from).collect();
    let default = Settings::default();
    assert!(matches!(
        fails(&scores[..10], &[], default),
        CalibrationError::TooFew {
            n: 10,
            needed: 19,
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
        fails(&scores, &[], settings(0.95, Choice::Best)),
        CalibrationError::NoUnknown
    ));
    for bad in [0.0, 1.0, -1.0, f64::NAN] {
        let told = fails(&scores, &[], settings(bad, Choice::OnAverage)).to_string();
        assert!(told.contains("share of pictures to keep"), "{told}");
        assert!(matches!(
            fails(
                &scores,
                &[],
                Settings {
                    confidence: bad,
                    ..default
                }
            ),
            CalibrationError::Share {
                what: "confidence",
                ..
            }
        ));
    }
    let blind = calibrate(&scores, &scores, &default).unwrap();
    assert!(
        blind
            .warnings()
            .iter()
            .any(|warning| matches!(warning, Warning::Blind { .. }))
    );
}
