//! Objectives against the published losses, their definition in f64, and finite differences; and
//! their evaluation over ranks.

use std::thread;

use proptest::prelude::*;

use clipn_model::Real;
use clipn_testing::figures::{Figures, assert_close, relative_to_max};
use clipn_testing::fixture;
use clipn_testing::random::Random;
use clipn_text::prompts::PromptVariant;
use clipn_train::{
    Clip, Clipn, Collective, Communicator, CommunicatorError, GradientMask, GradientScaling,
    InProcess, LossAndGradients, LossWeights, Objective, ObjectiveError, PairFeatures,
    SingleProcess, TsoForm, evaluate_over_ranks,
};

/// Owned features of a batch.
struct Batch<T> {
    dim: usize,
    image: Vec<T>,
    yes: Vec<T>,
    no: Vec<T>,
    /// Two outliers for each pair.
    outliers: Vec<T>,
}

impl<T: Real> Batch<T> {
    /// Random rows of unit length; for f32, those of f64 rounded.
    fn random(rows: usize, dim: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut unit = |rows: usize| {
            let mut values: Vec<f64> = random.values(rows * dim, 1.0);
            for row in values.chunks_mut(dim) {
                let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                row.iter_mut().for_each(|v| *v /= length);
            }
            values
                .into_iter()
                .map(|v| T::from_f64(f64::from(v as f32)))
                .collect()
        };
        Self {
            dim,
            image: unit(rows),
            yes: unit(rows),
            no: unit(rows),
            outliers: unit(2 * rows),
        }
    }

    fn rows(&self) -> usize {
        self.image.len() / self.dim
    }

    fn features(&self) -> PairFeatures<'_, T> {
        PairFeatures {
            dim: self.dim,
            image: &self.image,
            yes: &self.yes,
            no: Some(&self.no),
            outliers: &self.outliers,
        }
    }

    /// Rows of the batch, as one rank has them.
    fn part(&self, rows: std::ops::Range<usize>) -> Self {
        let slice = |values: &[T]| {
            let each = values.len() / self.rows();
            values[rows.start * each..rows.end * each].to_vec()
        };
        Self {
            dim: self.dim,
            image: slice(&self.image),
            yes: slice(&self.yes),
            no: slice(&self.no),
            outliers: slice(&self.outliers),
        }
    }
}

fn evaluate<T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<T>,
    scale: T,
) -> LossAndGradients<T> {
    objective
        .evaluate(&batch.features(), scale, &GradientMask::all(batch.rows()))
        .unwrap()
}

fn losses<T>(outcome: &LossAndGradients<T>) -> [f64; 4] {
    ["yes", "no", "tso"]
        .map(|name| outcome.term(name).unwrap())
        .into_iter()
        .chain([outcome.total])
        .collect::<Vec<_>>()[..]
        .try_into()
        .unwrap()
}

fn golden<T: Real>(figures: &Figures, case: &str) -> (Batch<T>, T) {
    let get = |what: &str| T::load(figures.tensor(&format!("{case}.{what}"))).to_vec();
    let dim = figures.shape(&format!("{case}.image"))[1];
    (
        Batch {
            dim,
            image: get("image"),
            yes: get("yes"),
            no: get("no"),
            outliers: Vec::new(),
        },
        get("scale")[0],
    )
}

/// Checks one published case; `tolerance` is relative to the largest magnitude.
fn check_case<T: Real + Into<f64>>(
    figures: &Figures,
    case: &str,
    mode: &str,
    precision: &str,
    tolerance: f64,
) {
    let (batch, stored) = golden::<T>(figures, case);
    // CLIP's initial scale: the f64 values have it in full, the file in f32.
    let scale = if case == "n8_s14" {
        T::from_f64(1.0 / 0.07)
    } else {
        stored
    };
    let tso = if mode == "L2" {
        TsoForm::L2
    } else {
        TsoForm::Cosine
    };
    let outcome = evaluate(
        &Clipn {
            tso,
            ..Clipn::default()
        },
        &batch,
        scale,
    );
    let expected = |what: &str| figures.f64(&format!("{case}.{mode}.{precision}.{what}"));
    let check = |found: &[f64], what: &str| {
        assert_close(
            found,
            &expected(what),
            tolerance,
            &format!("{case} {mode} {precision} {what}"),
        );
    };
    check(&losses(&outcome), "losses");
    let values = |gradient: &Option<Vec<T>>| -> Vec<f64> {
        gradient.iter().flatten().map(|&v| v.into()).collect()
    };
    check(&values(&outcome.gradients.image), "d_image");
    check(&values(&outcome.gradients.yes), "d_yes");
    check(&values(&outcome.gradients.no), "d_no");
    check(&[outcome.gradients.scale.into()], "d_scale");
}

#[test]
fn clipn_matches_the_published_losses_and_gradients() {
    let figures = Figures::open(&fixture("training/loss.safetensors"));
    for mode in ["L2", "cosine"] {
        for case in ["n8_s14", "n8_s100", "n5_corr", "n2_s50", "n6_samepair"] {
            check_case::<f64>(&figures, case, mode, "f64", 1e-10);
            // With equal texts, L2's distance is a difference of rounding errors in f32.
            if (case, mode) != ("n6_samepair", "L2") {
                check_case::<f32>(&figures, case, mode, "f32", 1e-5);
            }
        }
    }
}

#[test]
fn losses_are_finite_and_exact_if_the_published_f32_overflows() {
    let figures = Figures::open(&fixture("training/loss.safetensors"));
    let published = figures.f32("n4_extreme.L2.f32.losses");
    assert!(
        published.iter().any(|v| !v.is_finite()),
        "the case is no longer extreme: {published:?}"
    );
    let (batch, scale) = golden::<f32>(&figures, "n4_extreme");
    let (exact, exact_scale) = golden::<f64>(&figures, "n4_extreme");
    let found = evaluate(&Clipn::default(), &batch, scale);
    let expected = evaluate(&Clipn::default(), &exact, exact_scale);
    assert_close(&losses(&found), &losses(&expected), 1e-6, "losses");
    let wide: Vec<f64> = found
        .gradients
        .no
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    assert_close(&wide, &expected.gradients.no.unwrap(), 1e-5, "d_no");
}

#[test]
fn hand_crafted_variant_matches_the_published_losses() {
    let figures = Figures::open(&fixture("training/handcrafted.safetensors"));
    let get = |what: &str| figures.f32(&format!("{what}_norm"));
    let batch = Batch {
        dim: 512,
        image: get("image"),
        yes: get("yes"),
        no: get("no"),
        outliers: Vec::new(),
    };
    let objective = Clipn {
        variant: PromptVariant::HandCrafted,
        ..Clipn::default()
    };
    let outcome = evaluate(&objective, &batch, figures.f32("scale")[0]);
    assert_close(&losses(&outcome), &figures.f64("losses"), 1e-5, "losses");
}

#[test]
fn losses_of_a_training_step_match_the_published_ones() {
    let figures = Figures::open(&fixture("training/step1.safetensors"));
    let dim = figures.shape("image_features_norm_step0")[1];
    let get = |name: &str| figures.f32(&format!("{name}_norm_step0"));
    let batch = Batch {
        dim,
        image: get("image_features"),
        yes: get("text_yes"),
        no: get("text_no"),
        outliers: Vec::new(),
    };
    let outcome = evaluate(
        &Clipn::default(),
        &batch,
        figures.f32("logit_scale_exp_step0")[0],
    );
    assert_close(
        &losses(&outcome),
        &figures.f64("losses_step0"),
        1e-5,
        "losses",
    );
}

/// CLIPN's losses as in the paper: softmax over the two logits of a pair, then a logarithm.
fn naive_clipn(batch: &Batch<f64>, scale: f64, objective: &Clipn) -> [f64; 4] {
    let &Clipn {
        tso,
        weights,
        no_scale,
        ..
    } = objective;
    let (n, dim) = (batch.rows(), batch.dim);
    let dot = |a: &[f64], i: usize, b: &[f64], j: usize| {
        (0..dim)
            .map(|k| a[i * dim + k] * b[j * dim + k])
            .sum::<f64>()
    };
    // 1 − p_no is the probability of "yes"; computed as a difference, it would lose digits.
    let probability = |i: usize, j: usize, of_yes: bool| {
        let y = (scale * dot(&batch.image, i, &batch.yes, j)).exp();
        let z = (no_scale * scale * dot(&batch.image, i, &batch.no, j)).exp();
        if of_yes { y / (y + z) } else { z / (y + z) }
    };
    let yes = -(0..n).map(|i| probability(i, i, true).ln()).sum::<f64>() / n as f64;
    let pairs = (0..n * n)
        .map(|at| (at / n, at % n))
        .filter(|(i, j)| i != j);
    let no = -pairs
        .map(|(i, j)| probability(i, j, false).ln())
        .sum::<f64>()
        / (n * n - n) as f64;
    let tso_term = |i| {
        let cosine = dot(&batch.yes, i, &batch.no, i);
        match tso {
            TsoForm::L2 => 2.0 - (2.0 - 2.0 * cosine + 1e-4).sqrt(),
            TsoForm::Cosine => cosine + 1.0,
        }
    };
    let tso = (0..n).map(tso_term).sum::<f64>() / n as f64;
    let outliers = if weights.outlier == 0.0 {
        0.0
    } else {
        let [inlier, outlier] = naive_outlier_terms(batch, scale, no_scale);
        weights.outlier * (inlier + outlier)
    };
    [
        yes,
        no,
        tso,
        weights.yes * yes + weights.no * no + weights.tso * tso + outliers,
    ]
}

/// L_inlier and L_outlier from probabilities.
fn naive_outlier_terms(batch: &Batch<f64>, scale: f64, no_scale: f64) -> [f64; 2] {
    let mean = |images: &[f64], of_yes: bool| {
        let rows = images.chunks(batch.dim).map(|image| {
            let logits = |texts: &[f64], scale: f64| -> Vec<f64> {
                let dot = |text: &[f64]| image.iter().zip(text).map(|(a, b)| a * b).sum::<f64>();
                texts
                    .chunks(batch.dim)
                    .map(|text| (scale * dot(text)).exp())
                    .collect()
            };
            let (y, z) = (
                logits(&batch.yes, scale),
                logits(&batch.no, no_scale * scale),
            );
            let total: f64 = y.iter().sum();
            y.iter()
                .zip(&z)
                .map(|(y, z)| -y / total * (if of_yes { y } else { z } / (y + z)).ln())
                .sum::<f64>()
        });
        rows.sum::<f64>() / (images.len() / batch.dim) as f64
    };
    [mean(&batch.image, true), mean(&batch.outliers, false)]
}

fn naive_clip(batch: &Batch<f64>, scale: f64) -> f64 {
    let (n, dim) = (batch.rows(), batch.dim);
    let x = |i: usize, j: usize| {
        scale
            * (0..dim)
                .map(|k| batch.image[i * dim + k] * batch.yes[j * dim + k])
                .sum::<f64>()
    };
    let log_probability = |i: usize| {
        let row: f64 = (0..n).map(|j| x(i, j).exp()).sum();
        let column: f64 = (0..n).map(|j| x(j, i).exp()).sum();
        0.5 * ((x(i, i).exp() / row).ln() + (x(i, i).exp() / column).ln())
    };
    -(0..n).map(log_probability).sum::<f64>() / n as f64
}

/// One of a batch's three features.
type Select = fn(&mut Batch<f64>) -> &mut Vec<f64>;

/// Central difference of a function at 0, and a bound on its error.
///
/// The truncation error for a step h is h²·f‴/6, so the differences for h and 2h differ by three
/// times that of the first. `rounding` bounds the rounding error of the function.
fn central_difference(mut f: impl FnMut(f64) -> f64, rounding: f64) -> (f64, f64) {
    const STEP: f64 = 1e-5;
    let mut difference = |step: f64| (f(step) - f(-step)) / (2.0 * step);
    let (near, far) = (difference(STEP), difference(2.0 * STEP));
    (near, (far - near).abs() + rounding / STEP)
}

/// Checks the gradients against central differences of the total for every input.
fn check_gradients(objective: &dyn Objective<f64>, batch: &mut Batch<f64>, scale: f64) {
    let LossAndGradients {
        gradients,
        total: at_zero,
        ..
    } = evaluate(objective, batch, scale);
    let total = |batch: &Batch<f64>, scale| evaluate(objective, batch, scale).total;
    // About ten roundings of logits and losses. The root in TSO amplifies them by up to 100, the
    // reciprocal of its smallest value.
    let rounding = 1024.0 * f64::EPSILON * (1.0 + scale + at_zero.abs());
    let select: [Select; 3] = [|b| &mut b.image, |b| &mut b.yes, |b| &mut b.no];
    let found = [gradients.image, gradients.yes, gradients.no];
    for (select, found) in select
        .into_iter()
        .zip(found)
        .filter_map(|(s, f)| Some((s, f?)))
    {
        for (at, found) in found.into_iter().enumerate() {
            let original = select(batch)[at];
            let (expected, tolerance) = central_difference(
                |offset| {
                    select(batch)[at] = original + offset;
                    total(batch, scale)
                },
                rounding,
            );
            select(batch)[at] = original;
            assert!(
                (found - expected).abs() <= tolerance,
                "{found} {expected}, tolerance {tolerance:e}"
            );
        }
    }
    let (slope, tolerance) = central_difference(|offset| total(batch, scale + offset), rounding);
    assert!(
        (gradients.scale - slope).abs() <= tolerance,
        "{} {slope}, tolerance {tolerance:e}",
        gradients.scale
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn clipn_matches_its_definition(
        rows in 2usize..9, dim in 2usize..20, seed: u64, scale in 0.5f64..30.0, cosine: bool,
        weights in (0.0f64..2.0, 0.0f64..2.0, 0.0f64..2.0, prop_oneof![Just(0.0), 0.1f64..2.0]),
        no_scale in prop_oneof![Just(1.0), 0.3f64..4.0],
    ) {
        let tso = if cosine { TsoForm::Cosine } else { TsoForm::L2 };
        let weights = LossWeights { yes: weights.0, no: weights.1, tso: weights.2, outlier: weights.3 };
        let objective = Clipn { tso, weights, no_scale, ..Clipn::default() };
        let mut batch = Batch::<f64>::random(rows, dim, seed);
        let expected = naive_clipn(&batch, scale, &objective);
        // The rounding of a logit is below 4·30·20·2⁻⁵³; the root in TSO amplifies roundings by up to 100.
        for (found, expected) in losses(&evaluate(&objective, &batch, scale)).into_iter().zip(expected) {
            prop_assert!((found - expected).abs() < 1e-11, "{found} {expected}");
        }
        check_gradients(&objective, &mut batch, scale);
    }

    #[test]
    fn clip_matches_its_definition(rows in 2usize..9, dim in 2usize..20, seed: u64, scale in 0.5f64..30.0) {
        let mut batch = Batch::<f64>::random(rows, dim, seed);
        let found = evaluate(&Clip, &batch, scale);
        // The loss is at most 60, and the rounding of a logit is below 30·20·2⁻⁵³.
        prop_assert!((found.total - naive_clip(&batch, scale)).abs() < 1e-11);
        prop_assert_eq!(found.gradients.no, None);
        check_gradients(&Clip, &mut batch, scale);
    }

    #[test]
    fn logits_of_10_000_give_finite_values(rows in 2usize..6, seed: u64, sign: bool) {
        let batch = Batch::<f32>::random(rows, 24, seed);
        let mut same = Batch::<f32>::random(rows, 24, seed);
        same.yes = same.image.clone();
        same.no = same.image.iter().map(|&v| if sign { v } else { -v }).collect();
        for batch in [batch, same] {
            for objective in [&Clipn::default() as &dyn Objective<f32>, &Clip] {
                let LossAndGradients { total, gradients, .. } = evaluate(objective, &batch, 1e4);
                // Only TSO can be negative, at least 2 − √4.0001 for rows of unit length.
                prop_assert!(total.is_finite() && total > -1e-4 && gradients.scale.is_finite());
                for gradient in [gradients.image, gradients.yes, gradients.no].into_iter().flatten() {
                    prop_assert!(gradient.iter().all(|v| v.is_finite()));
                }
            }
        }
    }

    /// Ranks with batches of different sizes get the loss of the whole batch and the whole gradient
    /// of their rows.
    #[test]
    fn ranks_together_equal_one_batch(sizes in proptest::collection::vec(1usize..4, 2..5), seed: u64, clip: bool) {
        let weights = LossWeights { outlier: 1.5, ..LossWeights::default() };
        let objective: &dyn Objective<f64> = if clip { &Clip } else { &Clipn { weights, ..Clipn::default() } };
        let rows: usize = sizes.iter().sum();
        let whole = Batch::<f64>::random(rows, 7, seed);
        let expected = evaluate(objective, &whole, 9.0);
        let mut first = 0;
        let parts: Vec<_> = sizes.iter().map(|&size| { first += size; whole.part(first - size..first) }).collect();
        let world = sizes.len() as f64;
        for (scaling, factor) in [(GradientScaling::True, 1.0), (GradientScaling::Published, world)] {
            let outcomes = over_ranks(objective, &parts, 9.0, scaling);
            let concatenated = |pick: fn(&LossAndGradients<f64>) -> Option<&Vec<f64>>| -> Vec<f64> {
                outcomes.iter().filter_map(pick).flatten().map(|v| v * factor).collect()
            };
            for outcome in &outcomes {
                prop_assert_eq!(outcome.total.to_bits(), expected.total.to_bits());
            }
            let pairs = [
                (concatenated(|o| o.gradients.image.as_ref()), &expected.gradients.image),
                (concatenated(|o| o.gradients.yes.as_ref()), &expected.gradients.yes),
                (concatenated(|o| o.gradients.no.as_ref()), &expected.gradients.no),
            ];
            for (found, expected) in pairs {
                // Scaling by the number of ranks and back is rounded twice.
                assert_close(&found, &expected.clone().unwrap_or_default(), 4.0 * f64::EPSILON, "concatenated");
            }
            let scale: f64 = outcomes.iter().map(|o| o.gradients.scale).sum();
            // Every rank has the same gradient, divided by the number of ranks.
            let expected = expected.gradients.scale;
            prop_assert!((scale - expected).abs() <= 8.0 * f64::EPSILON * expected.abs(), "{scale}");
        }
    }
}

/// Evaluates on threads as ranks; returns the outcome of every rank.
fn over_ranks<T: Real>(
    objective: &dyn Objective<T>,
    parts: &[Batch<T>],
    scale: T,
    scaling: GradientScaling,
) -> Vec<LossAndGradients<T>>
where
    InProcess: Collective<T>,
{
    thread::scope(|scope| {
        let ranks: Vec<_> = InProcess::world(parts.len())
            .into_iter()
            .zip(parts)
            .map(|(rank, part)| {
                scope.spawn(move || {
                    let mask = GradientMask::all(part.rows());
                    evaluate_over_ranks(objective, &part.features(), scale, &mask, scaling, &rank)
                        .unwrap()
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn two_ranks_match_the_published_two_processes() {
    let figures = Figures::open(&fixture("training/ddp.safetensors"));
    let scale = figures.f32("logit_scale")[0].exp();
    // The published gradients of a parameter in its two modes differ by the number of ranks, as
    // ours do.
    let d_default = figures.f32("default.grad.ln_final_no.bias");
    let d_gathered: Vec<f32> = figures
        .f32("gather_with_grad.grad.ln_final_no.bias")
        .iter()
        .map(|v| v / 2.0)
        .collect();
    assert!(relative_to_max(&d_default, &d_gathered) < 1e-5);
    for (mode, scaling) in [
        ("default", GradientScaling::Published),
        ("gather_with_grad", GradientScaling::True),
    ] {
        let part = |rank: usize| {
            let name = |what: &str| format!("{mode}.rank{rank}.{what}_norm");
            let get = |what: &str| figures.f32(&name(what));
            Batch {
                dim: figures.shape(&name("image"))[1],
                image: get("image"),
                yes: get("yes"),
                no: get("no"),
                outliers: Vec::new(),
            }
        };
        let parts = [part(0), part(1)];
        let outcomes = over_ranks(&Clipn::default(), &parts, scale, scaling);
        let wide = |a: &[f32], b: &[f32]| {
            a.iter()
                .chain(b)
                .map(|&v| f64::from(v))
                .collect::<Vec<f64>>()
        };
        let whole = Batch {
            dim: parts[0].dim,
            image: wide(&parts[0].image, &parts[1].image),
            yes: wide(&parts[0].yes, &parts[1].yes),
            no: wide(&parts[0].no, &parts[1].no),
            outliers: Vec::new(),
        };
        let reference = evaluate(&Clipn::default(), &whole, f64::from(scale));
        let factor = if scaling == GradientScaling::Published {
            0.5
        } else {
            1.0
        };
        for (rank, outcome) in outcomes.iter().enumerate() {
            let expected = figures.f64(&format!("{mode}.rank{rank}.losses"));
            assert_close(&losses(outcome), &expected, 1e-5, "losses");
            assert_eq!(
                losses(outcome).map(f64::to_bits),
                losses(&outcomes[0]).map(f64::to_bits)
            );
            let half = whole.no.len() / 2;
            let rows = &reference.gradients.no.as_ref().unwrap()[rank * half..][..half];
            let rows: Vec<f64> = rows.iter().map(|v| v * factor).collect();
            let found: Vec<f64> = outcome
                .gradients
                .no
                .iter()
                .flatten()
                .map(|&v| f64::from(v))
                .collect();
            assert_close(&found, &rows, 1e-5, "d_no");
        }
    }
}

#[test]
fn one_rank_equals_plain_evaluation_through_a_trait_object() {
    let batch = Batch::<f32>::random(5, 16, 3);
    let single: &dyn Communicator = &SingleProcess;
    let mask = GradientMask::no_only(0);
    let objective = Clipn::default();
    for scaling in [GradientScaling::True, GradientScaling::Published] {
        let found =
            evaluate_over_ranks(&objective, &batch.features(), 14.0, &mask, scaling, single)
                .unwrap();
        let expected = evaluate(&objective, &batch, 14.0);
        assert_eq!(found.gradients.no, expected.gradients.no);
        assert_eq!(
            (found.total, found.gradients.image, found.gradients.yes),
            (expected.total, None, None)
        );
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let batch = Batch::<f32>::random(37, 65, 8);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            (
                evaluate(&Clipn::default(), &batch, 20.0),
                evaluate(&Clip, &batch, 20.0),
            )
        })
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn rejects_invalid_batches() {
    let batch = Batch::<f32>::random(3, 4, 1);
    let objective = Clipn::default();
    let fail = |features: PairFeatures<'_, f32>, scale: f32, mask: &GradientMask| {
        objective
            .evaluate(&features, scale, mask)
            .unwrap_err()
            .to_string()
    };
    let all = GradientMask::all(3);
    let one = batch.part(0..1);
    assert!(fail(one.features(), 1.0, &GradientMask::all(1)).contains("at least 2 pairs"));
    let error = Clip
        .evaluate(&one.features(), 1.0, &GradientMask::all(1))
        .unwrap_err();
    assert!(matches!(error, ObjectiveError::BatchTooSmall { rows: 1 }));
    let short = PairFeatures {
        yes: &batch.yes[..8],
        ..batch.features()
    };
    assert!(
        fail(short, 1.0, &all).contains("`yes` features: expected 12, as for images, got 8 values")
    );
    assert!(
        fail(
            PairFeatures {
                dim: 5,
                ..batch.features()
            },
            1.0,
            &all
        )
        .contains("multiple of the dimension 5")
    );
    assert!(
        fail(
            PairFeatures {
                dim: 0,
                ..batch.features()
            },
            1.0,
            &all
        )
        .contains("`image` features")
    );
    assert!(
        fail(
            PairFeatures {
                no: None,
                ..batch.features()
            },
            1.0,
            &all
        )
        .contains("\"no\" tower")
    );
    let outliers = |outliers| {
        let weights = LossWeights {
            outlier: 1.0,
            ..LossWeights::default()
        };
        let features = PairFeatures {
            outliers,
            ..batch.features()
        };
        Clipn {
            weights,
            ..Clipn::default()
        }
        .evaluate(&features, 1.0, &all)
        .map(|_| ())
        .map_err(|error| error.to_string())
    };
    assert_eq!(outliers(&batch.outliers), Ok(()));
    assert!(
        outliers(&[])
            .unwrap_err()
            .contains("features of outliers, got none")
    );
    assert!(
        outliers(&[0.5; 5])
            .unwrap_err()
            .contains("`outlier` features")
    );
    assert!(
        outliers(&[f32::NAN; 4])
            .unwrap_err()
            .contains("`outlier` features of row 0")
    );
    assert!(
        fail(batch.features(), 1.0, &GradientMask::all(4))
            .contains("rows 0..4 are out of range for a batch of 3")
    );
    assert!(fail(batch.features(), f32::NAN, &all).contains("logit scale is NaN"));
    let mut bad = batch.no.clone();
    bad[5] = f32::INFINITY;
    assert!(
        fail(
            PairFeatures {
                no: Some(&bad),
                ..batch.features()
            },
            1.0,
            &all
        )
        .contains("`no` features of row 1")
    );
}

/// Runs `work` on threads as ranks.
fn on_ranks<R: Send>(count: usize, work: impl Fn(InProcess) -> R + Sync) -> Vec<thread::Result<R>> {
    let work = &work;
    thread::scope(|scope| {
        let ranks: Vec<_> = InProcess::world(count)
            .into_iter()
            .map(|rank| scope.spawn(move || work(rank)))
            .collect();
        ranks.into_iter().map(|rank| rank.join()).collect()
    })
}

#[test]
fn sums_have_the_same_bits_on_every_rank_and_in_every_run() {
    let run = || {
        let sums = on_ranks(4, |rank| {
            let mut random = Random::new(rank.rank() as u64);
            let mut sums = Vec::new();
            for length in [1, 1000, 3] {
                let mut values: Vec<f32> = random.values(length, 1.0);
                rank.all_reduce_sum(&mut values).unwrap();
                sums.extend(values);
            }
            let mut count = [rank.rank() as f64];
            rank.all_reduce_sum(&mut count).unwrap();
            assert_eq!(count, [6.0]);
            let mut root = [rank.rank() as f64];
            rank.broadcast(2, &mut root).unwrap();
            assert_eq!(root, [2.0]);
            let own = vec![rank.rank() as f32; rank.rank()];
            let gathered = rank.all_gather(&own).unwrap();
            assert_eq!(
                (gathered.values(), gathered.lengths()),
                (&[1.0, 2.0, 2.0, 3.0, 3.0, 3.0][..], &[0, 1, 2, 3][..])
            );
            sums.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        });
        sums.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let first = run();
    assert!(first.iter().all(|bits| bits == &first[0]));
    assert_eq!(first, run());
}

#[test]
fn a_lost_rank_fails_the_others_instead_of_hanging_them() {
    for by_panic in [true, false] {
        let results = on_ranks(3, |rank| {
            let mut values = [1.0f32];
            rank.all_reduce_sum(&mut values).unwrap();
            if rank.rank() == 1 {
                assert!(!by_panic, "rank 1 dies on purpose");
                return Ok(());
            }
            let result = rank.all_reduce_sum(&mut values);
            assert_eq!(values, [3.0], "values change on an error");
            result
        });
        for rank in [0, 2] {
            let error = results[rank].as_ref().unwrap().as_ref().unwrap_err();
            assert!(
                matches!(error, CommunicatorError::RankLost { world_size: 3, .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn reports_mismatched_operations_of_ranks() {
    let results = on_ranks(2, |rank| {
        let mut values = vec![0.0f32; 2 + rank.rank()];
        rank.all_reduce_sum(&mut values).unwrap_err().to_string()
    });
    for error in results {
        let error = error.unwrap();
        assert!(
            error.contains("got all_reduce_sum") && error.contains("of 3 values"),
            "{error}"
        );
    }
    let mut value = [0.0f32];
    assert!(SingleProcess.broadcast(1, &mut value).is_err());
    let results = on_ranks(2, |rank| rank.broadcast(2, &mut [0.0f64]).unwrap_err());
    assert_eq!(
        results[0].as_ref().unwrap(),
        &CommunicatorError::InvalidRoot { rank: 2, last: 1 }
    );
}
