//! All metrics of one score for 50,000 in-distribution images (as many as ImageNet's validation
//! set) and 10,000 out-of-distribution images: `cargo bench -p clipn --bench metrics`. Items are
//! images.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::metrics::{FprConvention, RankedScores};
use common::random::Random;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Scores between 0 and 1; with a large `steepness`, many are 1 and tie.
fn scores(count: usize, shift: f32, steepness: f32) -> Vec<f32> {
    let mut random = Random::new(count as u64);
    (0..count)
        .map(|_| 1.0 / (1.0 + (-steepness * (random.signed() + shift)).exp()))
        .collect()
}

#[divan::bench(args = [1.0, 40.0])]
fn all_metrics_50k_10k(bencher: Bencher<'_, '_>, steepness: f32) {
    let (id, ood) = (
        scores(50_000, 0.3, steepness),
        scores(10_000, -0.3, steepness),
    );
    bencher.counter(ItemsCount::new(60_000usize)).bench(|| {
        let ranked = RankedScores::new(&id, &ood).unwrap();
        let fpr = FprConvention::ALL.map(|convention| ranked.fpr_at_tpr(0.95, convention).unwrap());
        (ranked.auroc(), ranked.aupr_in(), ranked.aupr_out(), fpr)
    });
}
