//! Choices of negatives against those of the authors' code.

use clipn_checkpoint::Checkpoint;
use clipn_detect::negatives::choice::{
    Choice, Grouping, ole_outliers, proportional_groups, published_groups,
};
use clipn_model::{Real, normalize_row};
use clipn_testing::figures::assert_close;
use clipn_testing::fixture;
use clipn_testing::random::Random;
use proptest::prelude::*;
use serde::Deserialize;

const DIM: usize = 64;

/// Description of a golden choice, see the README of the fixtures.
#[derive(Deserialize)]
struct Description {
    class_rows: Vec<Vec<usize>>,
    nouns: Vec<String>,
    noun_rows: Vec<Vec<usize>>,
    adjectives: Vec<String>,
    adjective_rows: Vec<Vec<usize>>,
    chosen: Vec<String>,
    chosen_nouns: usize,
    groups: usize,
}

struct Golden {
    description: Description,
    checkpoint: Checkpoint,
}

impl Golden {
    fn open(name: &str) -> Self {
        let path = |end: &str| fixture(&format!("negatives/{name}.{end}"));
        let json = std::fs::read_to_string(path("json")).unwrap();
        Self {
            description: serde_json::from_str(&json).unwrap(),
            checkpoint: Checkpoint::open(path("safetensors")).unwrap(),
        }
    }

    /// Rows of words: the normalized mean of the features of their texts, which are not normalized.
    fn rows<T: Real>(&self, words: &[Vec<usize>]) -> Vec<T> {
        let embedding = T::load(self.checkpoint.get("text.embedding").unwrap());
        let row = |texts: &Vec<usize>| {
            let mut sum = vec![T::zero(); DIM];
            for &text in texts {
                let values = &embedding[text * DIM..][..DIM];
                sum.iter_mut().zip(values).for_each(|(s, &v)| *s = *s + v);
            }
            normalize_row(&mut sum);
            sum
        };
        words.iter().flat_map(row).collect()
    }

    /// Checks the words, their order and their rows, with the tolerance of the type for the rows.
    fn check<T: Real>(&self, choice: Choice, text: [&str; 2], tolerance: f64) {
        let golden = &self.description;
        let nouns: Vec<T> = self.rows(&golden.noun_rows);
        let adjectives = self.rows(&golden.adjective_rows);
        let classes = self.rows(&golden.class_rows);
        let chosen = choice.choose(&nouns, &adjectives, &classes, DIM).unwrap();
        let fill = |template: &str, word: &str| template.replace("{}", word);
        let found: Vec<String> = chosen
            .nouns
            .iter()
            .map(|&noun| fill(text[0], &golden.nouns[noun]))
            .chain(
                chosen
                    .adjectives
                    .iter()
                    .map(|&a| fill(text[1], &golden.adjectives[a])),
            )
            .collect();
        assert_eq!(chosen.nouns.len(), golden.chosen_nouns);
        assert_eq!(found, golden.chosen);
        let rows = chosen
            .nouns
            .iter()
            .map(|&noun| &nouns[noun * DIM..][..DIM])
            .chain(
                chosen
                    .adjectives
                    .iter()
                    .map(|&a| &adjectives[a * DIM..][..DIM]),
            );
        let features = self.checkpoint.get("neg.features").unwrap();
        let kept = features.shape()[1];
        assert_eq!(features.shape()[0], golden.chosen.len());
        for (row, expected) in rows.zip(features.to_f64().chunks_exact(kept)) {
            for (found, expected) in row.iter().zip(expected) {
                let found = found.to_f64().unwrap();
                assert!((found - expected).abs() < tolerance, "{found} {expected}");
            }
        }
    }
}

#[test]
fn neglabel_chooses_the_published_words() {
    let golden = Golden::open("neglabel");
    let choice = Choice::neglabel().with_fraction(0.5);
    let texts = ["the nice {}", "This is a {} photo"];
    golden.check::<f64>(choice, texts, 1e-12);
    golden.check::<f32>(choice, texts, 1e-6);
}

#[test]
fn csp_chooses_the_published_words() {
    let golden = Golden::open("csp");
    let choice = Choice::csp().with_fraction(0.5);
    golden.check::<f64>(choice, ["{}", "{}"], 1e-12);
    golden.check::<f32>(choice, ["{}", "{}"], 1e-6);
}

#[test]
fn only_csp_puts_words_that_are_classes_last() {
    // 40 orthogonal classes; the first noun is one of them, the second is between all.
    let (count, mean) = (40, 1.0 / 40f64.sqrt());
    let mut classes = vec![0.0; count * count];
    (0..count).for_each(|class| classes[class * (count + 1)] = 1.0);
    let nouns = [&classes[..count], &vec![mean; count]].concat();
    let order = |choice: Choice| {
        let all = choice.with_fraction(1.0);
        all.choose(&nouns, &[], &classes, count).unwrap().nouns
    };
    // The quantile ignores the nearest class.
    assert_eq!(order(Choice::neglabel()), [0, 1]);
    assert_eq!(order(Choice::csp()), [1, 0]);
}

#[test]
fn published_permutations_keep_every_column_that_is_left() {
    for (name, dropped) in [("neglabel", 2), ("csp", 3)] {
        let golden = Golden::open(name);
        let groups = golden.description.groups;
        let permutation = golden.checkpoint.get("perm").unwrap().to_i64();
        let permutation: Vec<usize> = permutation.into_iter().map(|i| i as usize).collect();
        let count = golden.description.chosen.len();
        let found = published_groups(count, groups, Some(&permutation)).unwrap();
        assert_eq!(
            (found.order.len(), &found.order),
            (count - dropped, &permutation)
        );
        assert!(
            found
                .ends
                .iter()
                .enumerate()
                .all(|(g, end)| *end == (g + 1) * (count / groups))
        );
        // A drawn permutation has the same groups of other columns.
        let drawn = Grouping::Published { groups, seed: 1 }
            .apply(count, 12)
            .unwrap();
        assert_eq!(drawn.ends, found.ends);
        assert_ne!(drawn.order, found.order);
    }
}

proptest! {
    #[test]
    fn the_order_of_candidates_does_not_matter(n in 1usize..80, k in 1usize..30, seed: u64) {
        let dim = 7;
        let mut random = Random::new(seed);
        let mut unit = |count: usize| -> Vec<f64> {
            let mut rows = random.values(count * dim, 1.0);
            rows.chunks_exact_mut(dim).for_each(normalize_row);
            rows
        };
        let (nouns, classes) = (unit(n), unit(k));
        let choice = Choice::neglabel().with_fraction(0.4);
        let chosen = choice.choose(&nouns, &[], &classes, dim).unwrap().nouns;
        prop_assert_eq!(chosen.len(), (0.4 * n as f64).floor() as usize);
        let order = proportional_groups(n, 1, 1.0, seed).unwrap().order;
        let shuffled: Vec<f64> = order.iter().flat_map(|&i| &nouns[i * dim..][..dim]).copied().collect();
        let again = choice.choose(&shuffled, &[], &classes, dim).unwrap().nouns;
        // Random similarities have no ties.
        prop_assert_eq!(again.into_iter().map(|i| order[i]).collect::<Vec<_>>(), chosen);
    }
}

#[test]
fn ties_keep_their_order() {
    let nouns = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0];
    let choice = Choice::neglabel().with_fraction(1.0);
    let chosen = choice.choose(&nouns, &[], &[1.0, 0.0], 2).unwrap();
    assert_eq!(chosen.nouns, [1, 3, 0, 2]);
}

#[test]
fn short_lists_are_kept_whole_by_default() {
    let nouns: Vec<f32> = Random::new(1).values(20 * 2, 1.0);
    let count = |choice: Choice| {
        choice
            .choose(&nouns, &[], &[1.0, 0.0], 2)
            .unwrap()
            .nouns
            .len()
    };
    assert_eq!(
        (count(Choice::default()), count(Choice::neglabel())),
        (20, 3)
    );
    assert_eq!(count(Choice::neglabel().with_min_count(7)), 7);
}

#[test]
fn rejects_invalid_settings_and_rows() {
    let choose = |choice: Choice, nouns: &[f64], classes: &[f64]| {
        choice
            .choose(nouns, &[], classes, 2)
            .unwrap_err()
            .to_string()
    };
    let neglabel = Choice::neglabel();
    assert_eq!(
        choose(neglabel.with_fraction(0.0), &[], &[1.0, 0.0]),
        "the fraction of the candidates must be in (0, 1], got 0"
    );
    assert_eq!(
        choose(neglabel.with_quantile(1.5), &[], &[1.0, 0.0]),
        "the quantile must be in [0, 1], got 1.5"
    );
    assert_eq!(choose(neglabel, &[1.0, 0.0], &[]), "no classes");
    assert_eq!(
        choose(neglabel, &[1.0, 0.0, 0.5], &[1.0, 0.0]),
        "expected 1 rows of dimension 2 for the nouns, got 3 values"
    );
    assert_eq!(
        choose(neglabel, &[1.0, 0.0, f64::NAN, 0.0], &[1.0, 0.0]),
        "similarities of noun 1 are NaN or infinite"
    );
}

#[test]
fn ole_keeps_the_outliers_of_the_published_code() {
    let file = Checkpoint::open(fixture("scores/authors/agents.safetensors")).unwrap();
    let values = |name: &str| f64::load(file.get(name).unwrap()).to_vec();
    let dim = DIM;
    let texts = values("text.features");
    let (classes, candidates) = texts.split_at(12 * dim);
    for quantile in ["0.1", "0.5", "1"] {
        let at = quantile.parse().unwrap();
        let outliers = ole_outliers(candidates, classes, dim, at).unwrap();
        let threshold = values(&format!("ole.threshold.q{quantile}"))[0];
        assert!((outliers.threshold - threshold).abs() < 1e-9, "{quantile}");
        let rows = outliers.indices.iter();
        let found: Vec<f64> = rows
            .flat_map(|row| &candidates[row * dim..][..dim])
            .copied()
            .collect();
        assert_close(
            &found,
            &values(&format!("ole.refined.q{quantile}")),
            1e-9,
            quantile,
        );
    }
    assert!(ole_outliers(candidates, classes, dim, 1.5).is_err());
    assert!(ole_outliers(candidates, &[], dim, 0.5).is_err());
    assert!(ole_outliers(&candidates[1..], classes, dim, 0.5).is_err());
}
