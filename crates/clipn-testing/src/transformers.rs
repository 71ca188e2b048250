//! Converts weights of open_clip to the layout of `transformers`. The rules are independent of the
//! reader, because its tests compare with them.
#![allow(clippy::unwrap_used)]

use clipn_checkpoint::{Checkpoint, Tensor};
use serde_json::{Value, json};

/// Converts the tensors of a CLIP to the names of `CLIPModel`.
pub fn clip_model(from: &Checkpoint) -> Vec<(String, Tensor)> {
    let mut all = Vec::new();
    for (name, tensor) in from.iter().filter(|(name, _)| !name.contains("_no")) {
        let towers = [
            ("visual.transformer.resblocks.", "vision_model"),
            ("transformer.resblocks.", "text_model"),
        ];
        let tower = towers
            .iter()
            .find_map(|(prefix, tower)| Some((name.strip_prefix(prefix)?, tower)));
        match tower {
            Some((rest, tower)) => {
                let (layer, part) = rest.split_once('.').unwrap();
                block(
                    &mut all,
                    &format!("{tower}.encoder.layers.{layer}"),
                    part,
                    tensor,
                );
            }
            None => all.push(outside(name, tensor)),
        }
    }
    all
}

fn block(all: &mut Vec<(String, Tensor)>, layer: &str, part: &str, tensor: &Tensor) {
    if let Some(kind) = part.strip_prefix("attn.in_proj_") {
        let third = tensor.bytes().len() / 3;
        let mut shape = tensor.shape().to_vec();
        shape[0] /= 3;
        for (i, letter) in ["q", "k", "v"].into_iter().enumerate() {
            let bytes = tensor.bytes()[i * third..(i + 1) * third].to_vec();
            let one = Tensor::from_bytes(tensor.dtype(), &shape, bytes).unwrap();
            all.push((format!("{layer}.self_attn.{letter}_proj.{kind}"), one));
        }
        return;
    }
    let part = part
        .replace("attn.", "self_attn.")
        .replace("ln_1", "layer_norm1")
        .replace("ln_2", "layer_norm2")
        .replace("c_fc", "fc1")
        .replace("c_proj", "fc2");
    all.push((format!("{layer}.{part}"), tensor.clone()));
}

fn outside(name: &str, tensor: &Tensor) -> (String, Tensor) {
    let renamed = match name {
        "token_embedding.weight" => "text_model.embeddings.token_embedding.weight",
        "positional_embedding" => "text_model.embeddings.position_embedding.weight",
        "ln_final.weight" => "text_model.final_layer_norm.weight",
        "ln_final.bias" => "text_model.final_layer_norm.bias",
        "visual.class_embedding" => "vision_model.embeddings.class_embedding",
        "visual.positional_embedding" => "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight" => "vision_model.embeddings.patch_embedding.weight",
        "visual.ln_pre.weight" => "vision_model.pre_layrnorm.weight",
        "visual.ln_pre.bias" => "vision_model.pre_layrnorm.bias",
        "visual.ln_post.weight" => "vision_model.post_layernorm.weight",
        "visual.ln_post.bias" => "vision_model.post_layernorm.bias",
        "visual.proj" => return ("visual_projection.weight".to_owned(), transpose(tensor)),
        "text_projection" => return ("text_projection.weight".to_owned(), transpose(tensor)),
        other => other,
    };
    (renamed.to_owned(), tensor.clone())
}

fn transpose(tensor: &Tensor) -> Tensor {
    let values = tensor.to_f32();
    let (rows, columns) = (tensor.shape()[0], tensor.shape()[1]);
    let transposed: Vec<f32> = (0..rows * columns)
        .map(|i| values[(i % rows) * columns + i / rows])
        .collect();
    Tensor::from_f32(&[columns, rows], transposed).unwrap()
}

/// `config.json` of the model in `fixtures/models/plain_clip`.
pub fn plain_clip_config() -> Value {
    json!({
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": 48,
        "logit_scale_init_value": 2.6592,
        "torch_dtype": "float32",
        "transformers_version": "4.40.0",
        "text_config": {
            "hidden_act": "quick_gelu", "hidden_size": 64, "intermediate_size": 256, "layer_norm_eps": 1e-5,
            "max_position_embeddings": 12, "num_attention_heads": 1, "num_hidden_layers": 1, "vocab_size": 100,
            "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1, "projection_dim": 48, "dropout": 0.0
        },
        "text_config_dict": null,
        "vision_config": {
            "hidden_act": "quick_gelu", "hidden_size": 128, "image_size": 32, "intermediate_size": 512,
            "layer_norm_eps": 1e-5, "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 2,
            "patch_size": 16, "projection_dim": 48
        }
    })
}

/// `preprocessor_config.json` of a model for images of `size` × `size` pixels.
pub fn preprocessor(size: usize) -> Value {
    json!({
        "crop_size": {"height": size, "width": size},
        "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3, "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": size}
    })
}
