//! The pipeline from pixels to the published table: tower, classifier, scores and metrics.

use clipn_detect::classifier::{Classifier, Logits};
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{ImageBatch, ImageTower, TextSide, TextTower};
use clipn_ood::metrics::{FprConvention, RankedScores, accuracy};
use clipn_ood::scores::{by_name, predict};
use clipn_testing::figures::{Figures, assert_close, weights};
use clipn_testing::fixture;
use clipn_text::tokenizer::TokenBatch;
use serde_json::Value;

struct Model {
    tower: VisionTransformer,
    classifier: Classifier,
    inputs: Figures,
}

impl Model {
    fn open(name: &str) -> Self {
        let weights = weights(name);
        let inputs = Figures::open(&fixture(&format!("models/{name}/score_inputs.safetensors")));
        let tokens =
            TokenBatch::new(inputs.ids("class_tokens"), inputs.shape("class_tokens")[1]).unwrap();
        let side = |side| {
            let mut features = TextTransformer::from_weights(&weights, side)
                .encode(&tokens)
                .unwrap();
            features.normalize();
            features.values().to_vec()
        };
        let names = (0..tokens.len()).map(|class| class.to_string()).collect();
        let classifier = Classifier::new(names, side(TextSide::Yes), side(TextSide::No)).unwrap();
        Self {
            tower: VisionTransformer::from_weights(&weights),
            classifier,
            inputs,
        }
    }

    fn logits(&self, set: &str) -> Logits {
        let name = format!("{set}.images");
        let (pixels, shape) = (self.inputs.f32(&name), self.inputs.shape(&name));
        let mut features = self
            .tower
            .encode(ImageBatch::new(&pixels, shape[2], shape[3]).unwrap())
            .unwrap();
        features.normalize();
        self.classifier.logits(&features).unwrap()
    }
}

#[test]
fn pixels_produce_the_reference_table() {
    for name in ["vit_gelu", "vit_quickgelu"] {
        let model = Model::open(name);
        let expected = Figures::open(&fixture(&format!("scores/{name}/scores_f32.safetensors")));
        let table = std::fs::read(fixture(&format!("scores/{name}/metrics_f32.json"))).unwrap();
        let table: Value = serde_json::from_slice(&table).unwrap();

        let id = model.logits("id");
        assert_close(id.yes(), &expected.f32("id.logits_yes"), 1e-5, "id yes");
        assert_close(id.no(), &expected.f32("id.logits_no"), 1e-5, "id no");
        let predictions: Vec<usize> = id.rows().map(predict).collect();
        let labels: Vec<usize> = model
            .inputs
            .ids("id.labels")
            .into_iter()
            .map(|l| l as usize)
            .collect();
        let found = accuracy(&predictions, &labels).unwrap();
        assert!(
            (found - table["accuracy"].as_f64().unwrap()).abs() < 1e-6,
            "{name}: accuracy {found}"
        );

        for row in table["rows"].as_array().unwrap() {
            let score = by_name(row["method"].as_str().unwrap()).unwrap();
            let values = |logits: &Logits| {
                logits
                    .rows()
                    .map(|r| score.faithful(r))
                    .collect::<Vec<f32>>()
            };
            let ood = model.logits(row["dataset"].as_str().unwrap());
            let ranked = RankedScores::new(&values(&id), &values(&ood)).unwrap();
            let fpr95 = ranked.fpr_at_tpr(0.95, FprConvention::Clipn).unwrap();
            for (found, figure) in [(ranked.auroc(), "auroc"), (fpr95, "fpr95")] {
                let expected = row[figure].as_f64().unwrap();
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{name}: {figure} of {row}: {found}"
                );
            }
        }
    }
}
