#!/usr/bin/env bash
# linfa's AUROC leaves out a part of the area if scores are zero or almost zero: a detector seems worse the surer it is.
#
# Guess: `scores.roc(&labels)?.area_under_curve()` is the AUROC, the probability that a positive has the larger score, where ties count
# half. It depends on the order of the scores only, so any rising function of them gives the same value, and constant scores give 0.5.
#
# What happens: the curve gets its first point, (0, 0), when a score differs from zero by more than 1e-10. If the smallest score does
# not, the curve starts at the end of the first ties, and the triangle below them is lost: half of the product of the shares of both
# classes at zero. Constant zeros give 0. All scores below 1e-10 are taken for equal, too. Adding 0.1 to the scores repairs the first,
# a root of them both. There is no error and no warning.
#
# Versions: linfa 0.8.1, ndarray 0.16.1, any rustc from 1.87 on.
# Who is hurt: users who score by one minus the largest probability, which is exactly 0 in f32 for a sure classifier, by the share of
# neighbors or of votes that say OOD, or class by class by the probabilities at CLIP's scale of 100, where a gap of 0.23 is 1e-10.
#
# Prints what was seen, and exits with 1 if it is otherwise. Needs cargo.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "auroc"
version = "0.1.0"
edition = "2021"

[dependencies]
linfa = "=0.8.1"
ndarray = "=0.16.1"
TOML

cat >"$work/src/main.rs" <<'RS'
use linfa::dataset::Pr;
use linfa::prelude::*;
use ndarray::Array1;

const IMAGES: usize = 2000;

/// Pairs of a positive and a negative in the right order, ties as one half.
fn pairs(scores: &[f32], positive: &[bool]) -> f64 {
    let (mut won, mut all) = (0.0, 0.0);
    for (p, _) in scores.iter().zip(positive).filter(|pair| *pair.1) {
        for (n, _) in scores.iter().zip(positive).filter(|pair| !*pair.1) {
            won += if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
            all += 1.0;
        }
    }
    won / all
}

fn linfa_auroc(scores: &[f32], positive: &[bool], rising: fn(f32) -> f32) -> f64 {
    let scores: Array1<Pr> = scores.iter().map(|&score| Pr::new(rising(score))).collect();
    f64::from(scores.roc(positive).unwrap().area_under_curve())
}

struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normally distributed.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn main() {
    let mut random = Random(1);
    let positive: Vec<bool> = (0..2 * IMAGES).map(|image| image >= IMAGES).collect();

    // The margin between the best and the second logit; OOD images have a smaller one.
    let mut one_minus_msp = |margin: f64| -> Vec<f32> {
        let margins = positive.iter().map(|&ood| (margin + 6.0 * random.normal()) * if ood { 0.6 } else { 1.0 });
        margins.map(|gap| 1.0 - (1.0 / (1.0 + (-gap.abs()).exp())) as f32).collect()
    };
    let (modest, sure, very_sure) = (one_minus_msp(6.0), one_minus_msp(18.0), one_minus_msp(24.0));
    let votes: Vec<f32> = positive
        .iter()
        .map(|&ood| (0..10).filter(|_| random.uniform() < if ood { 0.15 } else { 0.03 }).count() as f32 / 10.0)
        .collect();
    // Probability of one class among 50: positives are the images of this class, partly taken for another one.
    let probability: Vec<f32> = positive
        .iter()
        .map(|&same| {
            let gap = if same { 18.0 } else { 27.0 } + 5.0 * random.normal();
            (1.0 / (1.0 + gap.exp())) as f32
        })
        .collect();
    let zeros = vec![0.0; 2 * IMAGES];

    let mut as_expected = true;
    for (label, scores, shift_helps, loses) in [
        ("1 - MSP, modest classifier", &modest, true, 0.0),
        ("1 - MSP, sure classifier", &sure, true, 0.008),
        ("1 - MSP, very sure classifier", &very_sure, true, 0.08),
        ("share of ten votes for OOD", &votes, true, 0.06),
        ("zeros", &zeros, true, 0.5),
        ("probability of a class", &probability, false, 0.05),
    ] {
        let share = |class: bool, limit: f32| {
            let hits = scores.iter().zip(&positive).filter(|(score, p)| **p == class && **score <= limit).count();
            hits as f64 / IMAGES as f64
        };
        let truth = pairs(scores, &positive);
        let merged: Vec<f32> = scores.iter().map(|&score| if score <= 1e-10 { 0.0 } else { score }).collect();
        let expected = pairs(&merged, &positive) - 0.5 * share(false, 1e-10) * share(true, 1e-10);
        let seen = linfa_auroc(scores, &positive, |score| score);
        let shifted = linfa_auroc(scores, &positive, |score| 0.1 + 0.9 * score);
        let root = linfa_auroc(scores, &positive, |score| 0.1 + 0.9 * score.powf(0.05));
        println!(
            "{label}: scores up to 1e-10: {:.1}% of the negatives, {:.1}% of the positives; AUROC by pairs {truth:.3}, linfa {seen:.3}, \
             after 0.1 + 0.9 x {shifted:.3}, after 0.1 + 0.9 x^0.05 {root:.3}",
            100.0 * share(false, 1e-10),
            100.0 * share(true, 1e-10)
        );
        as_expected &= (seen - expected).abs() < 2e-3 && (root - truth).abs() < 2e-3;
        as_expected &= if loses == 0.0 { (seen - truth).abs() < 2e-3 } else { truth - seen >= loses - 1e-6 };
        as_expected &= ((shifted - truth).abs() < 2e-3) == shift_helps;
    }
    std::process::exit(if as_expected { 0 } else { 1 });
}
RS
CARGO_TARGET_DIR="$work/target" cargo run --quiet --release --manifest-path "$work/Cargo.toml"
