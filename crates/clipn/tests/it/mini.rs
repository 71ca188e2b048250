//! The built-in model.

use clipn::checkpoint::Dtype;
use clipn::engine::{TextEncoder, image_tower};
use clipn::model::{
    ImageBatch, LogitScale, NoSideOrigin, PretrainedKind, PretrainedWeights, TextSide, TextTower,
};
use clipn::prompts::TemplateSet;
use clipn::tokenizer::Tokenizer;

#[test]
fn is_complete_and_small() {
    let mini = PretrainedWeights::mini().unwrap();
    assert_eq!(mini.kind(), PretrainedKind::EmbeddedConfig);
    assert!(
        mini.checkpoint()
            .iter()
            .all(|(_, tensor)| tensor.dtype() == Dtype::F16)
    );
    let bytes: usize = mini
        .checkpoint()
        .iter()
        .map(|(_, tensor)| tensor.bytes().len())
        .sum();
    assert!(bytes < 20_000_000, "{bytes} bytes");
    let weights = mini.weights(None).unwrap();
    assert_eq!(
        (weights.no_side_origin(), weights.no_prompts()),
        (NoSideOrigin::Stored, 16)
    );
    assert_eq!(
        mini.preprocessing().unwrap().unwrap().size,
        weights.config().vision.image_size
    );
    let notes = mini.metadata();
    assert_eq!(notes.logit_scale, Some(LogitScale::Trained));
    TemplateSet::built_in(&notes.templates.unwrap()).unwrap();
}

#[test]
fn records_its_training_vocabulary() {
    let weights = PretrainedWeights::mini().unwrap().weights(None).unwrap();
    let words = weights.training_vocabulary().unwrap();
    assert!((200..400).contains(&words.len()), "{}", words.len());
    assert!(words.unknown_words("school bus goldfish pizza").is_empty());
    assert_eq!(
        words.unknown_words("zeppelin over a lakeside"),
        ["zeppelin", "over"]
    );
}

#[test]
fn towers_return_finite_features() {
    let weights = PretrainedWeights::mini().unwrap().weights(None).unwrap();
    let size = weights.config().vision.image_size;
    let pixels: Vec<f32> = (0..3 * size * size)
        .map(|i| (i % 17) as f32 / 9.0 - 1.0)
        .collect();
    let image = image_tower(&weights)
        .encode(ImageBatch::new(&pixels, size, size).unwrap())
        .unwrap();
    assert!(image.values().iter().all(|v| v.is_finite()));
    let tokens = Tokenizer::clip().tokenize_batch(
        &["a photo of a pizza."],
        weights.config().text.context_length,
    );
    let [yes, no] = [TextSide::Yes, TextSide::No].map(|side| {
        let mut features = TextEncoder::from_weights(&weights, side)
            .encode(&tokens)
            .unwrap();
        features.normalize();
        features.values().to_vec()
    });
    // The two text towers give different features.
    let cosine: f32 = yes.iter().zip(&no).map(|(a, b)| a * b).sum();
    assert!(cosine < 0.9, "{cosine}");
}
