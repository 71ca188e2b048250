//! Time of the scores with many negatives. Run with `--ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use clipn_ood::scores::{LogitsRow, NegativeLogits, stable_each};
use clipn_testing::random::Random;

use crate::case::every_score;

#[test]
#[ignore = "benchmark"]
fn time_of_scores_of_1000_classes_and_10400_negatives() {
    let mut random = Random::new(1);
    let mut logits =
        |count: usize| -> Vec<f32> { (0..count).map(|_| 20.0 + 5.0 * random.signed()).collect() };
    let (yes, no, negatives) = (logits(1000), logits(1000), logits(10_400));
    let ends: Vec<usize> = (1..=100).map(|group| 104 * group).collect();
    let row = LogitsRow::new(&yes, &no).with_negatives(NegativeLogits::new(&negatives, &ends));
    let best = |compute: &dyn Fn() -> f64| {
        let times = (0..200).map(|_| {
            let start = Instant::now();
            black_box(compute());
            start.elapsed()
        });
        times.min().unwrap()
    };
    for score in every_score() {
        let faithful = best(&|| f64::from(score.faithful(black_box(row))));
        let stable = best(&|| stable_each(&[score], black_box(row))[0]);
        println!("{score}: {faithful:?} in f32, {stable:?} in f64, best of 200");
    }
}
