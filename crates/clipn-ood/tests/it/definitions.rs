//! Tests of the scores against their definitions, written out term by term in `f64`.

use clipn_ood::scores::{
    Gen, KlMatching, LogitGap, LogitsRow, NegLabel, NegativeLogits, Score, ScoreError, by_name,
    stable, stable_each,
};
use proptest::prelude::*;

use crate::case::{Case, Kind, ORDINARY};

/// Logits that leave no term of a softmax below 1e-9, so that naive sums are precise.
const MODERATE: Kind = Kind::Within(15.0..35.0);

fn softmax(values: &[f64]) -> Vec<f64> {
    let sum: f64 = values.iter().map(|v| v.exp()).sum();
    values.iter().map(|v| v.exp() / sum).collect()
}

/// Multiplies all logits by a factor.
fn scaled(case: &Case, factor: f64) -> Case {
    let times = |values: &[f64]| values.iter().map(|v| v * factor).collect();
    Case {
        yes: times(&case.yes),
        no: times(&case.no),
        negatives: times(&case.negatives),
        group_ends: case.group_ends.clone(),
    }
}

/// Softmax over the classes and each group of negatives.
fn softmax_per_group(case: &Case) -> Vec<Vec<f64>> {
    let groups = case.row().negatives.groups();
    groups
        .map(|group| softmax(&[&case.yes, group].concat()))
        .collect()
}

fn agreement(case: &Case) -> Vec<f64> {
    let pairs = case.yes.iter().zip(&case.no);
    pairs.map(|(y, n)| y.exp() / (y.exp() + n.exp())).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// `sum_k p_k q_k` over the classes of a softmax that may have further terms.
fn agreed(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p * q).sum()
}

fn maximum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Values of the scores by their definitions.
fn definitions(case: &Case) -> Vec<(&'static str, f64)> {
    let (classes, q) = (case.yes.len(), agreement(case));
    let per_group = softmax_per_group(case);
    let winner = case.yes.iter().position(|v| *v == maximum(&case.yes));
    let winner = winner.unwrap();
    let groups: Vec<&[f64]> = case.row().negatives.groups().collect();
    let against_group = groups.iter().map(|group| {
        let logits = [&[case.yes[winner], case.no[winner]], *group].concat();
        softmax(&logits)[0]
    });
    let cosines = scaled(case, 0.01);
    let of_cosines = softmax(&[&cosines.yes[..], &cosines.negatives].concat());
    let (p_classes, p_negatives) = of_cosines.split_at(classes);
    let at_50 = scaled(case, 0.5);
    let p_at_50 = softmax(&[&at_50.yes[..], &at_50.negatives].concat());
    let mut values = vec![
        (
            "neglabel",
            mean(per_group.iter().map(|p| p[..classes].iter().sum())),
        ),
        ("atd-neg", mean(per_group.iter().map(|p| agreed(p, &q)))),
        ("ctw-neg", mean(against_group)),
        ("cma", maximum(p_classes)),
        ("eoe", maximum(p_classes) - 0.25 * maximum(p_negatives)),
        ("ole", agreed(&p_at_50, &agreement(&at_50))),
    ];
    if classes >= 2 {
        let mut p = softmax(&case.yes);
        p.sort_unstable_by(|a, b| b.total_cmp(a));
        // `1 - p` without cancellation.
        let rest = |k: usize| -> f64 { p[..k].iter().chain(&p[k + 1..]).sum() };
        let terms = (0..classes).map(|k| (p[k] * rest(k)).powf(0.1));
        values.push(("gen", -terms.sum::<f64>()));
        let mut p = softmax(&cosines.yes);
        p.sort_unstable_by(|a, b| b.total_cmp(a));
        values.push(("margin", p[0] - p[1]));
        let mut ranked = cosines.yes;
        ranked.sort_unstable_by(|a, b| b.total_cmp(a));
        // Up to 14 classes, 20 % of them are one runner-up.
        values.push(("logitgap", ranked[0] - ranked[1]));
    }
    values
}

proptest! {
    #[test]
    fn stable_scores_follow_their_definitions(case in Case::strategy(MODERATE)) {
        for (name, expected) in definitions(&case) {
            let score = by_name(name).unwrap();
            let actual = score.from_stable(case.stable(score));
            let close = (actual - expected).abs() <= 1e-12 * expected.abs().max(1e-3);
            prop_assert!(close, "{}: expected {}, got {}", name, expected, actual);
        }
    }

    #[test]
    fn gated_energy_is_energy_plus_the_logarithm_of_atd(case in Case::strategy(ORDINARY)) {
        let stable = |name| case.stable(by_name(name).unwrap());
        let expected = stable("energy") + stable("atd");
        let actual = stable("gated-energy");
        prop_assert!((actual - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{} {}", actual, expected);
    }

    #[test]
    fn stable_scores_are_monotone_with_their_definitions(
        a in Case::strategy(MODERATE),
        b in Case::strategy(MODERATE),
    ) {
        let (a_values, b_values) = (definitions(&a), definitions(&b));
        for ((name, va), (_, vb)) in a_values.into_iter().zip(b_values) {
            let score = by_name(name).unwrap();
            if (va - vb).abs() > 1e-12 * va.abs().max(1.0) {
                let (sa, sb) = (a.stable(score), b.stable(score));
                prop_assert_eq!(va < vb, sa < sb, "{}: {} {} {} {}", name, va, vb, sa, sb);
            }
        }
    }

    #[test]
    fn the_partition_counts_but_not_the_order_of_negatives(case in Case::strategy(ORDINARY)) {
        let mut reversed = case.clone();
        reversed.negatives.reverse();
        let total = case.negatives.len();
        reversed.group_ends = case.group_ends.iter().rev().skip(1).map(|end| total - end).collect();
        reversed.group_ends.push(total);
        for name in ["neglabel", "ctw-neg", "atd-neg", "cma", "eoe", "ole"] {
            let score = by_name(name).unwrap();
            let (here, there) = (case.stable(score), reversed.stable(score));
            let close = (here - there).abs() <= 1e-12 * here.abs();
            prop_assert!(close, "{}: {} {}", name, here, there);
            // Those without groups do not depend on them.
            let one_group = Case { group_ends: vec![total], ..case.clone() };
            if matches!(name, "cma" | "eoe" | "ole") {
                prop_assert_eq!(one_group.stable(score), here, "{}", name);
            }
        }
        // One group weighs more than several.
        let one_group = Case { group_ends: vec![total], ..case.clone() };
        prop_assert!(one_group.stable(&NegLabel) <= case.stable(&NegLabel) + 1e-12);
    }

    #[test]
    fn logitgap_and_gen_follow_their_definitions_for_all_counts(
        yes in prop::collection::vec(10.0..40.0_f64, 2..40),
        count in 1_usize..50,
        gamma in 0.05..3.0_f64,
    ) {
        let row = LogitsRow::new(&yes, &[]);
        let mut ranked = yes.clone();
        ranked.sort_unstable_by(|a, b| b.total_cmp(a));
        let runners_up = &ranked[1..(1 + count).min(yes.len())];
        let gap = (ranked[0] - mean(runners_up.iter().copied())) / 100.0;
        let actual = LogitGap::with_runners_up(count).stable(row);
        prop_assert!((actual - gap).abs() < 1e-13, "expected {}, got {}", gap, actual);
        prop_assert_eq!(LogitGap::with_ranks(count + 1).stable(row), actual);
        let p = softmax(&ranked);
        let rest = |k: usize| -> f64 { p[..k].iter().chain(&p[k + 1..]).sum() };
        let terms = (0..count.min(yes.len())).map(|k| (p[k] * rest(k)).powf(gamma));
        let expected = -terms.sum::<f64>();
        let score = Gen::new(gamma, count);
        let actual = score.from_stable(score.stable(row));
        prop_assert!((actual / expected - 1.0).abs() < 1e-10, "{} {}", expected, actual);
    }
}

#[test]
fn logitgap_takes_a_fifth_of_the_classes() {
    let yes: Vec<f64> = (0..100).map(f64::from).collect();
    let gap = |classes: usize| LogitGap::published().stable(LogitsRow::new(&yes[..classes], &[]));
    // K / 5 ranks: the mean of n runners-up is (n + 1) / 2 below the best.
    for (classes, runners_up) in [(2, 1), (14, 1), (15, 2), (19, 2), (20, 3), (100, 19)] {
        let expected = f64::from(runners_up + 1) / 2.0 / 100.0;
        assert!((gap(classes) - expected).abs() < 1e-15, "{classes}");
    }
}

#[test]
fn several_scores_share_one_widened_row() {
    let negatives = NegativeLogits::new(&[20.0, 18.5, 24.0], &[2, 3]);
    let row = LogitsRow::new(&[25.0, 21.0], &[24.0, 26.0]).with_negatives(negatives);
    let scores = ["neglabel", "msp", "atd-neg", "ole"].map(|name| by_name(name).unwrap());
    let each = scores.map(|score| stable(score, row));
    assert_eq!(stable_each(&scores, row), each);
    assert!(each.iter().all(|value| value.is_finite()));
}

#[test]
fn kl_matching_is_the_divergence_from_the_nearest_mean() {
    // Softmax of ln p is p. Two images of class 0, one of class 1, none of class 2.
    let ln = |p: [f64; 3]| p.map(f64::ln);
    let images = [
        ln([0.8, 0.1, 0.1]),
        ln([0.6, 0.3, 0.1]),
        ln([0.2, 0.7, 0.1]),
    ];
    let score = KlMatching::fit(images.iter().map(|yes| LogitsRow::new(yes, &[]))).unwrap();
    let p = [0.3, 0.6, 0.1];
    let divergence = |d: [f64; 3]| p.iter().zip(d).map(|(p, d)| p * (p / d).ln()).sum::<f64>();
    let expected = -divergence([0.7, 0.2, 0.1]).min(divergence([0.2, 0.7, 0.1]));
    let actual = score.stable(LogitsRow::new(&ln(p), &[]));
    assert!((actual - expected).abs() < 1e-15, "{actual}");
    // The mean itself has a divergence of 0, and so has the one-hot class without images in f32.
    assert!(
        score
            .stable(LogitsRow::new(&ln([0.7, 0.2, 0.1]), &[]))
            .abs()
            < 1e-15
    );
    assert_eq!(score.faithful(LogitsRow::new(&[0.0, 0.0, 200.0], &[])), 0.0);
    let nearest = score.stable(LogitsRow::new(&[0.0, 0.0, 200.0], &[]));
    assert!((nearest - 0.1_f64.ln()).abs() < 1e-12, "{nearest}");
    assert!(score.stable(LogitsRow::new(&[0.0, 0.0], &[])).is_nan());
    assert!(
        score
            .faithful(LogitsRow::new(&[0.0, 0.0, f32::NAN], &[]))
            .is_nan()
    );
}

#[test]
fn kl_matching_names_the_image_that_it_cannot_use() {
    let fit = |images: &[&[f32]]| {
        KlMatching::fit(images.iter().map(|yes| LogitsRow::new(yes, &[]))).map(|_| ())
    };
    assert_eq!(fit(&[]), Err(ScoreError::NoImages));
    assert_eq!(fit(&[&[]]), Err(ScoreError::UnusableRow { index: 0 }));
    assert_eq!(
        fit(&[&[1.0, 2.0], &[1.0, f32::INFINITY]]),
        Err(ScoreError::UnusableRow { index: 1 })
    );
    let error = fit(&[&[1.0, 2.0], &[1.0]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected logits of 2 classes for image 1, got 1"
    );
}
