//! Floating-point operations of the published computation: two for each multiplication and addition of its matrix
//! products, over all positions, whatever is really computed.

use clipn::model::ModelConfig;
use clipn::model::names;

/// Backward takes one product for the inputs and one for the weights where forward takes one.
const FORWARD_AND_BACKWARD: f64 = 3.0;

/// Whether the image tower is a ViT, the kind whose operations are counted and whose weights can be made up.
pub fn is_vit(config: &ModelConfig) -> bool {
    let class_token = |(name, _): &names::Named| name == "visual.class_embedding";
    names::vision(&config.vision, config.embed_dim).iter().any(class_token)
}

/// The image tower on one image; `None` where it is no ViT.
pub fn image(config: &ModelConfig) -> Option<f64> {
    let v = &config.vision;
    let patches = (v.grid() * v.grid()) as f64;
    let (patch, width) = (v.patch_size as f64, v.width as f64);
    let embedding = 2.0 * patches * 3.0 * patch * patch * width;
    let head = 2.0 * width * config.embed_dim as f64;
    is_vit(config)
        .then(|| embedding + v.layers as f64 * block(patches + 1.0, width, v.mlp_width as f64) + head)
}

/// A text tower on one text of `length` positions.
pub fn text(config: &ModelConfig, length: usize) -> f64 {
    let t = &config.text;
    let width = t.width as f64;
    t.layers as f64 * block(length as f64, width, t.mlp_width as f64) + 2.0 * width * config.embed_dim as f64
}

/// The forward and the backward pass of a text tower on one text of `length` positions.
pub fn text_training(config: &ModelConfig, length: usize) -> f64 {
    FORWARD_AND_BACKWARD * text(config, length)
}

/// A block on a sequence: qkv, output and hidden layer, then queries by keys and weights by values.
fn block(positions: f64, width: f64, hidden: f64) -> f64 {
    2.0 * positions * (4.0 * width * width + 2.0 * width * hidden) + 4.0 * positions * positions * width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_published_models() {
        let giga = |flops: f64| (flops / 1e7).round() / 100.0;
        let config = |name| ModelConfig::named(name).unwrap();
        // open_clip's own count (`docs/model_profile.csv`): 14.78 and 41.09 GFLOPs for image and text together.
        let (image_b32, image_b16) =
            (image(&config("ViT-B-32")).unwrap(), image(&config("ViT-B-16")).unwrap());
        let text = text(&config("ViT-B-32"), 77);
        assert_eq!((giga(image_b32), giga(image_b16), giga(text)), (8.82, 35.13, 5.96));
        assert_eq!((giga(image_b32 + text), giga(image_b16 + text)), (14.78, 41.09));
    }
}
