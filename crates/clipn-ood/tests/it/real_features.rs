//! Scores of real images: CIFAR-10 in the features of OpenAI's ViT-B/32, with names of ImageNet.

use clipn_ood::metrics::RankedScores;
use clipn_ood::scores::{Gen, LogitsRow, NegativeLogits, Score, by_name, stable};
use safetensors::SafeTensors;

use crate::tensors::{f32s, indices};

const WIDTH: usize = 512;
/// ImageNet's classes 0 to 397 are animals.
const ANIMALS: usize = 398;

/// ImageNet's animal names as classes and its other 602 names as negatives: CIFAR-10's six kinds of
/// animals are in-distribution and its four kinds of vehicles out-of-distribution.
///
/// The negatives separate them nearly perfectly. Of the scores of the classes alone, MaxLogit comes
/// closest: a vehicle resembles no animal. GEN on cosines ranks most of them in reverse.
#[test]
fn negatives_separate_animals_from_vehicles() {
    let path = "data/clip-vitb32-features.safetensors";
    let Some(path) = clipn_testing::test_data(path) else {
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let normalized = |name: &str| -> Vec<f32> {
        let mut values = f32s(&file, name);
        for row in values.chunks_exact_mut(WIDTH) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= norm);
        }
        values
    };
    let (images, texts) = (normalized("cifar10_image"), normalized("imagenet_text_a"));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let logits: Vec<Vec<f32>> = images
        .chunks_exact(WIDTH)
        .map(|image| {
            let texts = texts.chunks_exact(WIDTH);
            texts.map(|text| 100.0 * dot(image, text)).collect()
        })
        .collect();
    // Groups of about as many negatives as classes.
    let ends = [301, 602];
    // CIFAR-10: airplane 0, automobile 1, ship 8, truck 9.
    let labels = indices(&file, "cifar10_label");
    let auroc = |score: &dyn Score| {
        let (mut id, mut ood) = (Vec::new(), Vec::new());
        for (logits, label) in logits.iter().zip(&labels) {
            let (yes, negatives) = logits.split_at(ANIMALS);
            let negatives = NegativeLogits::new(negatives, &ends);
            let value = stable(score, LogitsRow::new(yes, &[]).with_negatives(negatives));
            let set = if (2..=7).contains(label) {
                &mut id
            } else {
                &mut ood
            };
            set.push(value);
        }
        RankedScores::new(&id, &ood).unwrap().auroc()
    };
    let named = |name| auroc(by_name(name).unwrap());
    let values = ["neglabel", "maxlogit", "gen", "mcm", "logitgap", "msp"].map(named);
    let on_cosines = auroc(&Gen::published().on_cosines());
    eprintln!("AUROC {values:.3?}, GEN on cosines {on_cosines:.3}");
    let [neglabel, maxlogit, msp] = [values[0], values[1], values[5]];
    assert!(neglabel > 0.97 && maxlogit > 0.92, "{values:?}");
    for value in &values[2..5] {
        assert!(*value > msp + 0.01 && *value < 0.8, "{values:?}");
    }
    assert!(on_cosines < 0.4, "{on_cosines}");
}
