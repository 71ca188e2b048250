//! Measures the size of a group of negatives with features of OpenAI's ViT-B/32:
//!
//! ```text
//! cargo run --release -p clipn-detect --example negatives_ratio_clip -- FEATURES.safetensors
//! ```
//!
//! The file has text features of ImageNet's 1,000 names, and CIFAR-10's test images with labels. Images
//! of five CIFAR-10 classes are known, those of the other five unknown. The classifier has the ImageNet
//! names of the known ones, and random other names that are in no CIFAR-10 class. All names left are
//! candidates for negatives.

use std::ops::RangeInclusive;

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_checkpoint::Checkpoint;
use clipn_detect::negatives::choice::{Choice, Grouping};
use clipn_engine::PackedRows;
use clipn_model::normalize_row;

type Error = Box<dyn std::error::Error>;

/// ImageNet's classes that show a class of CIFAR-10, by CIFAR-10's label.
const NAMES: [&[RangeInclusive<usize>]; 10] = [
    &[404..=404, 895..=895],
    &[
        436..=436,
        468..=468,
        511..=511,
        609..=609,
        656..=656,
        661..=661,
        751..=751,
        817..=817,
    ],
    &[7..=24, 80..=100, 127..=146],
    &[281..=293],
    &[350..=353],
    &[151..=268],
    &[30..=32],
    &[339..=340],
    &[403..=403, 510..=510, 628..=628, 724..=724, 914..=914],
    &[
        555..=555,
        569..=569,
        675..=675,
        717..=717,
        734..=734,
        864..=864,
        867..=867,
    ],
];
/// Airplane, cat, frog, ship, truck.
const KNOWN: [usize; 5] = [0, 3, 6, 8, 9];
const RATIOS: [(&str, Option<f64>); 7] = [
    ("0.1", Some(0.1)),
    ("0.25", Some(0.25)),
    ("0.5", Some(0.5)),
    ("1", Some(1.0)),
    ("1.5", Some(1.5)),
    ("2", Some(2.0)),
    ("default", None),
];
const SCALE: f64 = 100.0;
const DRAWS: u64 = 5;

fn main() -> Result<(), Error> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: negatives_ratio_clip FEATURES")?;
    let checkpoint = Checkpoint::open(path)?;
    let rows = |name: &str| -> Result<Vec<f32>, Error> {
        let tensor = checkpoint.get(name).ok_or_else(|| format!("no {name}"))?;
        let dim = tensor.shape().last().copied().unwrap_or(1);
        let mut values = tensor.to_f32().into_vec();
        values.chunks_exact_mut(dim).for_each(normalize_row);
        Ok(values)
    };
    let (texts, images) = (rows("imagenet_text_a")?, rows("cifar10_image")?);
    let labels = checkpoint.get("cifar10_label").ok_or("no labels")?.to_i64();
    println!(
        "| classes | choice | ratio | groups | negatives | known kept | unknown rejected | mean |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let row = |count: usize, label: &str, listed: bool, choice: Choice, grouping: Option<f64>| {
        let (mut sums, mut shape) = ([0.0; 2], String::new());
        for seed in 0..DRAWS {
            let mut draw = Draw::new(count, seed, &texts);
            if listed {
                draw.keep_list(&texts);
            }
            let grouping = match grouping {
                Some(ratio) if ratio.is_infinite() => Grouping::Single,
                ratio => Grouping::Proportional { ratio, seed },
            };
            let groups = draw.negatives(choice, grouping)?;
            shape = format!("{} | {}", groups.ends.len(), groups.order.len());
            let kept = draw.kept(&images, &groups)?;
            for (sum, known) in sums.iter_mut().zip([true, false]) {
                let right: Vec<f64> = kept
                    .iter()
                    .zip(&labels)
                    .filter(|(_, label)| KNOWN.contains(&(**label as usize)) == known)
                    .map(|(kept, _)| f64::from(u8::from(*kept == known)))
                    .collect();
                *sum += 100.0 * right.iter().sum::<f64>() / right.len() as f64 / DRAWS as f64;
            }
        }
        let ([kept, rejected], mean) = (sums, sums.iter().sum::<f64>() / 2.0);
        println!("| {count} | {label} | {shape} | {kept:.0} % | {rejected:.0} % | {mean:.0} % |");
        Ok::<(), Error>(())
    };
    for count in [5, 10, 40, 150, 300] {
        for (name, fraction) in [("all", 1.0), ("15 %", 0.15)] {
            for (label, ratio) in RATIOS {
                let choice = Choice::neglabel().with_fraction(fraction);
                row(count, &format!("{name} | {label}"), false, choice, ratio)?;
            }
        }
    }
    println!("\nA list: the five unknown classes and 20 other names\n");
    println!(
        "| classes | choice | ratio | groups | negatives | known kept | unknown rejected | mean |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for count in [5, 10, 40] {
        let all = Choice::neglabel().with_fraction(1.0);
        row(count, "list | default", true, all, None)?;
        row(count, "list | one group", true, all, Some(f64::INFINITY))?;
    }
    Ok(())
}

/// Negatives by the index of a candidate.
struct Groups {
    order: Vec<usize>,
    ends: Vec<usize>,
}

/// A draw of classes and candidates.
struct Draw {
    classes: Vec<f32>,
    candidates: Vec<f32>,
    class_count: usize,
}

impl Draw {
    fn new(count: usize, seed: u64, texts: &[f32]) -> Self {
        let indices = |label: usize| NAMES[label].iter().cloned().flatten();
        let row = |index: usize| &texts[index * 512..][..512];
        // One row per known class: the mean of its names.
        let mut classes = Vec::new();
        for label in KNOWN {
            let mut mean = vec![0.0; 512];
            for index in indices(label) {
                mean.iter_mut()
                    .zip(row(index))
                    .for_each(|(sum, v)| *sum += v);
            }
            normalize_row(&mut mean);
            classes.extend(mean);
        }
        let is_in =
            |labels: &[usize], index| labels.iter().any(|&l| indices(l).any(|i| i == index));
        let all: Vec<usize> = (0..10).collect();
        let mut others: Vec<usize> = (0..1000).filter(|&index| !is_in(&all, index)).collect();
        Xoshiro256::new(seed).shuffle(&mut others);
        let (more, rest) = others.split_at(count - KNOWN.len());
        classes.extend(more.iter().flat_map(|&index| row(index)));
        let unknown = (0..1000).filter(|&index| is_in(&all, index) && !is_in(&KNOWN, index));
        let candidates = rest.iter().copied().chain(unknown);
        Self {
            candidates: candidates.flat_map(row).copied().collect(),
            classes,
            class_count: count,
        }
    }

    /// Replaces the candidates: a row for each unknown class, the mean of its names, and 20 other
    /// names.
    fn keep_list(&mut self, texts: &[f32]) {
        self.candidates.truncate(20 * 512);
        for label in (0..10).filter(|label| !KNOWN.contains(label)) {
            let mut mean = vec![0.0; 512];
            for index in NAMES[label].iter().cloned().flatten() {
                let row = &texts[index * 512..][..512];
                mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
            }
            normalize_row(&mut mean);
            self.candidates.extend(mean);
        }
    }

    fn negatives(&self, choice: Choice, grouping: Grouping) -> Result<Groups, Error> {
        let chosen = choice
            .choose(&self.candidates, &[], &self.classes, 512)?
            .nouns;
        let groups = grouping.apply(chosen.len(), self.class_count)?;
        Ok(Groups {
            order: groups.order.iter().map(|&index| chosen[index]).collect(),
            ends: groups.ends,
        })
    }

    /// Whether the score of each image is at least 0.5.
    fn kept(&self, images: &[f32], groups: &Groups) -> Result<Vec<bool>, Error> {
        let weights = |rows: &[f32]| -> Result<Vec<f64>, Error> {
            let packed = PackedRows::new(rows, 512)?;
            let mut logits = vec![0.0; images.len() / 512 * packed.len()];
            packed.products(images, SCALE, &mut logits)?;
            Ok(logits.iter().map(|&logit| f64::from(logit).exp()).collect())
        };
        let rows: Vec<f32> = groups
            .order
            .iter()
            .flat_map(|&index| &self.candidates[index * 512..][..512])
            .copied()
            .collect();
        let (classes, words) = (weights(&self.classes)?, weights(&rows)?);
        let kept = |(classes, words): (&[f64], &[f64])| {
            let known: f64 = classes.iter().sum();
            let (mut start, mut score) = (0, 0.0);
            for &end in &groups.ends {
                let group: f64 = words[start..end].iter().sum();
                score += known / (known + group) / groups.ends.len() as f64;
                start = end;
            }
            score >= 0.5
        };
        let rows = classes.chunks_exact(self.class_count);
        Ok(rows
            .zip(words.chunks_exact(groups.order.len()))
            .map(kept)
            .collect())
    }
}
