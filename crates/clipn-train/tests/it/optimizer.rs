//! AdamW against a published step and its definition; schedules against the published rates.

use std::collections::BTreeSet;

use proptest::prelude::*;

use clipn_model::Real;
use clipn_testing::figures::{Figures, assert_close};
use clipn_testing::fixture;
use clipn_testing::random::Random;
use clipn_train::{
    AdamW, AdamWSettings, Moments, OptimizerError, ParameterGradient, ParameterUpdate, Schedule,
    global_norm, has_weight_decay,
};

fn meta() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture("training/train_meta.json")).unwrap()).unwrap()
}

/// Names in the published parameter groups: those that do not decay, and those that do.
fn groups() -> [Vec<String>; 2] {
    serde_json::from_value(meta()["param_groups"].clone()).unwrap()
}

#[test]
fn learning_rates_match_the_published_ones() {
    let meta = meta();
    let number = |key: &str| meta[key].as_f64().unwrap();
    let schedule = Schedule::Cosine {
        base: number("base_lr"),
        warmup: meta["warmup"].as_u64().unwrap(),
        total: meta["total_steps"].as_u64().unwrap(),
    };
    let published: Vec<f64> = serde_json::from_value(meta["lr_per_step"].clone()).unwrap();
    for (step, rate) in published.iter().enumerate() {
        assert!(
            (schedule.learning_rate(step as u64) / rate - 1.0).abs() < 1e-14,
            "step {step}"
        );
    }
}

#[test]
fn decaying_parameters_match_the_published_groups() {
    let model = Figures::open(&fixture("models/vit_quickgelu/model.safetensors"));
    for (group, decaying) in groups().iter().zip([false, true]) {
        for name in group {
            assert_eq!(
                has_weight_decay(name, &model.shape(name)),
                decaying,
                "{name}"
            );
        }
    }
    assert!(
        !has_weight_decay("logit_scale", &[])
            && !has_weight_decay("visual.layer1.0.bn1.weight", &[4, 4])
    );
}

#[test]
fn a_step_with_published_gradients_gives_the_published_parameters() {
    let model = Figures::open(&fixture("models/vit_quickgelu/model.safetensors"));
    let step = Figures::open(&fixture("training/step1.safetensors"));
    let [not_decaying, decaying] = groups();
    let names: Vec<String> = not_decaying.into_iter().chain(decaying).collect();
    let mut optimizer = AdamW::<f32>::new(AdamWSettings::default()).unwrap();
    let mut params: Vec<_> = names
        .iter()
        .map(|name| (model.shape(name), model.f32(name)))
        .collect();
    let gradients: Vec<_> = names
        .iter()
        .map(|name| step.f32(&format!("grad_step0.{name}")))
        .collect();
    let updates =
        names
            .iter()
            .zip(&mut params)
            .zip(&gradients)
            .map(|((name, (shape, values)), gradient)| ParameterUpdate {
                name,
                shape,
                values,
                gradient: ParameterGradient::Dense(gradient),
            });
    assert_eq!(optimizer.step(3e-4, updates).unwrap(), None);
    for (name, (_, values)) in names.iter().zip(&params) {
        let mut found = values.clone();
        let mut expected = step.f32(&format!("param_after_step1.{name}"));
        if name.ends_with("in_proj_bias") {
            // The third for the keys has only rounding noise as gradient, which AdamW amplifies.
            let third = found.len() / 3;
            found.drain(third..2 * third);
            expected.drain(third..2 * third);
        }
        // Per element, not relative to the largest: every parameter moves by at most the rate.
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(f, e)| (f - e).abs())
            .fold(0.0, f32::max);
        assert!(worst < 3e-4 * 1e-3, "{name}: {worst:e}");
        assert_close(&found, &expected, 1e-6, name);
    }
    let all = names.iter().zip(&params).zip(&gradients);
    let all = all.map(|((name, (shape, _)), g)| {
        (name.as_str(), shape.as_slice(), ParameterGradient::Dense(g))
    });
    let norm = global_norm(all).unwrap();
    assert!(
        (norm / step.f64("grad_norm_step0")[0] - 1.0).abs() < 1e-5,
        "{norm}"
    );
}

/// AdamW as defined by Loshchilov and Hutter, over whole vectors.
struct Naive {
    first: Vec<f64>,
    second: Vec<f64>,
    step: i32,
}

impl Naive {
    fn step(
        &mut self,
        s: &AdamWSettings,
        lr: f64,
        decay: bool,
        values: &mut [f64],
        gradient: &[f64],
    ) {
        self.step += 1;
        for (i, g) in gradient.iter().enumerate() {
            self.first[i] = s.beta1 * self.first[i] + (1.0 - s.beta1) * g;
            self.second[i] = s.beta2 * self.second[i] + (1.0 - s.beta2) * g * g;
            let first = self.first[i] / (1.0 - s.beta1.powi(self.step));
            let second = self.second[i] / (1.0 - s.beta2.powi(self.step));
            let decayed = if decay {
                lr * s.weight_decay * values[i]
            } else {
                0.0
            };
            values[i] -= lr * first / (second.sqrt() + s.eps) + decayed;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn steps_match_the_definition(seed: u64, rows in 1usize..9, width in 1usize..40, steps in 1usize..6, decay: bool) {
        let mut random = Random::new(seed);
        let settings = AdamWSettings { beta1: 0.8, beta2: 0.95, eps: 1e-5, ..Default::default() };
        let mut optimizer = AdamW::<f64>::new(settings).unwrap();
        let mut values: Vec<f64> = random.values(rows * width, 1.0);
        let mut expected = values.clone();
        let zeros = vec![0.0; values.len()];
        let mut naive = Naive { first: zeros.clone(), second: zeros, step: 0 };
        let name = if decay { "w" } else { "ln.w" };
        for step in 0..steps {
            let gradient: Vec<f64> = random.values(rows * width, 2.0);
            let lr = 1e-2 / (step + 1) as f64;
            optimizer.step(lr, [dense(name, &[rows, width], &mut values, &gradient)]).unwrap();
            naive.step(&settings, lr, decay, &mut expected, &gradient);
        }
        // A step rounds values below 1.1 and updates below their learning rate a few times each.
        for (found, expected) in values.iter().zip(&expected) {
            prop_assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        }
    }

    /// Row gradients, dense gradients with zeros, and any number of threads give the same bits in
    /// values and moments, also if a checkpoint is restored in between.
    #[test]
    fn row_gradients_give_the_bits_of_dense_gradients(
        seed: u64, rows in 1usize..700, width in 1usize..70, steps in 1usize..7, clipped: bool, restored_at in 0usize..7,
    ) {
        let mut random = Random::new(seed);
        let settings = AdamWSettings { max_gradient_norm: clipped.then_some(0.5), ..Default::default() };
        let mut start: Vec<f32> = random.values(rows * width, 1.0);
        start[0] = -0.0;
        let mut forms = [(); 2].map(|()| (AdamW::<f32>::new(settings).unwrap(), start.clone()));
        let shape = [rows, width];
        for step in 0..steps {
            let ids: BTreeSet<u32> = (0..random.next_u64() % 9).map(|_| (random.next_u64() % rows as u64) as u32).collect();
            let ids: Vec<u32> = ids.into_iter().collect();
            let values: Vec<f32> = random.values(ids.len() * width, 1.0);
            let mut gradient = vec![0.0; rows * width];
            for (&id, values) in ids.iter().zip(values.chunks(width)) {
                gradient[id as usize * width..][..width].copy_from_slice(values);
            }
            let [(by_rows, a), (by_values, b)] = &mut forms;
            let as_rows = ParameterGradient::Rows { ids: &ids, values: &values };
            let norm = by_rows.step(1e-3, [ParameterUpdate { name: "t", shape: &shape, values: a, gradient: as_rows }]).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let dense_norm = pool.install(|| by_values.step(1e-3, [dense("t", &shape, b, &gradient)]).unwrap());
            prop_assert_eq!(norm.is_some(), clipped);
            prop_assert_eq!(norm.map(f64::to_bits), dense_norm.map(f64::to_bits));
            if step == restored_at {
                let saved: Vec<_> = by_rows.moments().map(|(name, m)| {
                    let m = Moments::new(name, m.shape(), m.step(), m.first().clone(), m.second().clone()).unwrap();
                    (name.to_owned(), m)
                }).collect();
                *by_rows = AdamW::with_moments(settings, saved).unwrap();
            }
        }
        let bits = |(optimizer, values): &(AdamW<f32>, Vec<f32>)| -> Vec<u32> {
            let moments = optimizer.moments().flat_map(|(_, m)| m.first().iter().chain(m.second().iter()));
            values.iter().chain(moments).map(|v| v.to_bits()).collect()
        };
        prop_assert_eq!(bits(&forms[0]), bits(&forms[1]));
    }
}

fn dense<'a, T: Real>(
    name: &'a str,
    shape: &'a [usize],
    values: &'a mut [T],
    gradient: &'a [T],
) -> ParameterUpdate<'a, T> {
    ParameterUpdate {
        name,
        shape,
        values,
        gradient: ParameterGradient::Dense(gradient),
    }
}

/// Two optimizers that each step the ranges of one rank end with the bits of one that steps all.
#[test]
fn ranks_that_step_parts_give_the_bits_of_one() {
    let mut random = Random::new(5);
    let length = 40_000;
    let ranges = [
        vec![0..17, 20_000..39_999],
        vec![17..20_000, 39_999..length],
    ];
    let start: Vec<f32> = random.values(length, 1.0);
    let new = || AdamW::<f32>::new(AdamWSettings::default()).unwrap();
    let (mut whole, mut expected) = (new(), start.clone());
    let mut ranks = [(new(), start.clone()), (new(), start)];
    for _ in 0..3 {
        let gradient: Vec<f32> = random.values(length, 1.0);
        let shape = [length / 2, 2];
        whole
            .step(0.1, [dense("w", &shape, &mut expected, &gradient)])
            .unwrap();
        for ((optimizer, values), ranges) in ranks.iter_mut().zip(&ranges) {
            let before = values.clone();
            let gradient = ParameterGradient::Parts {
                values: &gradient,
                ranges,
            };
            let update = ParameterUpdate {
                name: "w",
                shape: &shape,
                values,
                gradient,
            };
            optimizer.step(0.1, [update]).unwrap();
            for (index, value) in values.iter().enumerate() {
                let is_own = ranges.iter().any(|range| range.contains(&index));
                let right = if is_own {
                    expected[index]
                } else {
                    before[index]
                };
                assert_eq!(value.to_bits(), right.to_bits(), "{index}");
            }
        }
    }
    let moments = |optimizer: &AdamW<f32>| -> [Vec<f32>; 2] {
        let (_, moments) = optimizer.moments().next().unwrap();
        [moments.first().to_vec(), moments.second().to_vec()]
    };
    let expected = moments(&whole);
    for ((optimizer, _), ranges) in ranks.iter().zip(&ranges) {
        for (found, expected) in moments(optimizer).iter().zip(&expected) {
            for range in ranges {
                assert_eq!(found[range.clone()], expected[range.clone()]);
            }
        }
    }
}

#[test]
fn unreached_rows_still_decay() {
    let mut optimizer = AdamW::<f32>::new(AdamWSettings::default()).unwrap();
    let mut values = vec![1.0f32; 6];
    let gradient = ParameterGradient::Rows {
        ids: &[1],
        values: &[0.5, 0.5],
    };
    let name = "token_embedding_no.weight";
    optimizer
        .step(
            0.1,
            [ParameterUpdate {
                name,
                shape: &[3, 2],
                values: &mut values,
                gradient,
            }],
        )
        .unwrap();
    assert_eq!(values[0], 1.0 - 0.1f32 * 0.2);
    assert_eq!(values[0], values[5]);
    assert!((values[2] - (values[0] - 0.1)).abs() < 1e-5, "{values:?}");
}

#[test]
fn clipping_uses_the_norm_over_all_parameters() {
    let settings = AdamWSettings {
        max_gradient_norm: Some(1.0),
        ..Default::default()
    };
    let mut optimizer = AdamW::<f64>::new(settings).unwrap();
    let (mut a, mut b) = ([0.0; 1], [0.0; 2]);
    let updates = [
        dense("a", &[1], &mut a, &[3.0]),
        dense("b", &[2], &mut b, &[0.0, 4.0]),
    ];
    assert_eq!(optimizer.step(0.1, updates).unwrap(), Some(5.0));
    let moments: Vec<f64> = optimizer
        .moments()
        .flat_map(|(_, m)| m.first().to_vec())
        .collect();
    assert_close(&moments, &[0.06, 0.0, 0.08], 1e-6, "clipped moments");
    // A norm below the maximum is not scaled.
    let mut fresh = AdamW::<f64>::new(settings).unwrap();
    assert_eq!(
        fresh.step(0.1, [dense("a", &[1], &mut a, &[0.5])]).unwrap(),
        Some(0.5)
    );
    assert!((fresh.moments().next().unwrap().1.first()[0] - 0.05).abs() < 1e-15);
}

#[test]
fn invalid_updates_are_rejected_and_change_nothing() {
    let settings = AdamWSettings {
        max_gradient_norm: Some(1.0),
        ..Default::default()
    };
    let mut optimizer = AdamW::<f32>::new(settings).unwrap();
    let mut good = [1.0f32; 4];
    optimizer
        .step(0.1, [dense("w", &[2, 2], &mut good, &[0.1; 4])])
        .unwrap();
    let before = good;
    let mut rejected =
        |shape: &[usize], name: &str, lr: f64, gradient: ParameterGradient<'_, f32>| {
            let mut other = [1.0f32; 4];
            let first = dense("w", &[2, 2], &mut good, &[0.1; 4]);
            let second = ParameterUpdate {
                name,
                shape,
                values: &mut other,
                gradient,
            };
            let error = optimizer.step(lr, [first, second]).unwrap_err();
            assert_eq!((good, other), (before, [1.0; 4]), "{error}");
            assert_eq!(optimizer.moments().len(), 1);
            assert_eq!(optimizer.moments().next().unwrap().1.step(), 1);
            error.to_string()
        };
    let four = [0.1f32; 4];
    let rows = |ids: &'static [u32]| ParameterGradient::Rows {
        ids,
        values: &four[..2 * ids.len().min(2)],
    };
    assert!(
        rejected(&[2, 2], "w", 0.1, ParameterGradient::Dense(&four))
            .contains("duplicate parameter w")
    );
    assert!(rejected(&[5], "v", 0.1, ParameterGradient::Dense(&four)).contains("4 values"));
    assert!(
        rejected(&[4], "v", 0.1, ParameterGradient::Dense(&four[..3])).contains("gradient of 3")
    );
    assert!(
        rejected(&[usize::MAX, 3], "v", 0.1, ParameterGradient::Dense(&four))
            .contains("fits `usize`")
    );
    let parts = |ranges| ParameterGradient::Parts {
        values: &four,
        ranges,
    };
    let error = rejected(&[4], "v", 0.1, parts(&[0..2, 1..4]));
    assert_eq!(
        error,
        "parameter v: expected ranges of its gradient between 2 and 4, got 1..4"
    );
    let range = std::slice::from_ref(&(0..5));
    assert!(rejected(&[4], "v", 0.1, parts(range)).contains("between 0 and 4, got 0..5"));
    let range = std::slice::from_ref(&(0..4));
    assert_eq!(
        rejected(&[4], "v", 0.1, parts(range)),
        "parameter v: a gradient in parts has no norm to clip by"
    );
    assert!(rejected(&[4], "v", 0.1, rows(&[0])).contains("fewer than two dimensions"));
    assert!(rejected(&[2, 2], "v", 0.1, rows(&[1, 0])).contains("row 0 follows row 1"));
    assert!(rejected(&[2, 2], "v", 0.1, rows(&[1, 1])).contains("row 1 follows row 1"));
    assert!(rejected(&[2, 2], "v", 0.1, rows(&[0, 2])).contains("row 2 is out of range"));
    assert!(rejected(&[2, 2], "v", 0.1, rows(&[0, 1, 2])).contains("for 3 rows"));
    assert!(
        rejected(
            &[4],
            "v",
            0.1,
            ParameterGradient::Dense(&[0.1, f32::NAN, 0.0, 0.0])
        )
        .contains("of parameter v is not")
    );
    assert!(
        rejected(&[4], "v", f64::NAN, ParameterGradient::Dense(&four))
            .contains("learning rate: expected a finite number of at least 0, got NaN")
    );
    assert!(
        rejected(&[4], "v", -1.0, ParameterGradient::Dense(&four)).contains("at least 0, got -1")
    );
    let mut w = [1.0f32; 4];
    let error = optimizer
        .step(0.1, [dense("w", &[4], &mut w, &four)])
        .unwrap_err();
    assert!(
        error.to_string().contains("moments of shape [2, 2]"),
        "{error}"
    );
}

#[test]
fn rejects_settings_out_of_range() {
    let rejected = |settings: AdamWSettings| AdamW::<f32>::new(settings).unwrap_err().to_string();
    let d = AdamWSettings::default();
    assert!(
        rejected(AdamWSettings { beta1: 1.0, ..d })
            .contains("beta1: expected a number of at least 0 and below 1, got 1")
    );
    assert!(
        rejected(AdamWSettings {
            beta2: f64::NAN,
            ..d
        })
        .contains("below 1, got NaN")
    );
    assert!(
        rejected(AdamWSettings { eps: 0.0, ..d })
            .contains("eps: expected a finite number above 0, got 0")
    );
    assert!(
        rejected(AdamWSettings {
            weight_decay: -1.0,
            ..d
        })
        .contains("weight decay: expected a finite number of at least 0, got -1")
    );
    assert!(
        rejected(AdamWSettings {
            max_gradient_norm: Some(0.0),
            ..d
        })
        .contains("maximum gradient norm: expected a number above 0, got 0")
    );
    let zero = || Moments::<f32>::new("w", &[1], 0, vec![0.0], vec![0.0]).unwrap();
    let twice = AdamW::with_moments(d, [("w".to_owned(), zero()), ("w".to_owned(), zero())]);
    assert!(matches!(
        twice,
        Err(OptimizerError::DuplicateParameter { .. })
    ));
    assert!(Moments::<f32>::new("w", &[2], 0, vec![0.0], vec![0.0]).is_err());
}

#[test]
fn steps_scalars_and_empty_tensors() {
    let mut optimizer = AdamW::<f32>::new(AdamWSettings::default()).unwrap();
    let (mut scalar, mut empty, mut table) = ([2.0f32], [], [0.0f32; 0]);
    let updates = [
        dense("logit_scale", &[], &mut scalar, &[1.0]),
        dense("empty", &[0, 3], &mut empty, &[]),
        ParameterUpdate {
            name: "t",
            shape: &[3, 0],
            values: &mut table,
            gradient: ParameterGradient::Rows {
                ids: &[],
                values: &[],
            },
        },
    ];
    optimizer.step(0.1, updates).unwrap();
    assert!((scalar[0] - 1.9).abs() < 1e-5, "{scalar:?}");
}
