//! Keys of open_clip's configs: `CLIPVisionCfg`, `CLIPTextCfg` and the arguments of `CLIP` in its
//! `model.py`. Each key is either read, ignored because it changes nothing, or rejected by name.

use serde_json::Value;

use crate::config::ConfigObject;
use crate::error::ModelError;

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Returns whether the arguments of layer norm equal PyTorch's defaults.
fn is_default_norm(value: &Value) -> bool {
    let is_default = |(key, value): (&String, &Value)| match key.as_str() {
        "eps" => value.as_f64().is_some_and(|eps| (eps - 1e-5).abs() < 1e-9),
        "elementwise_affine" | "bias" => value == &Value::Bool(true),
        _ => false,
    };
    value
        .as_object()
        .is_some_and(|map| map.iter().all(is_default))
}

/// Checks the top-level keys. `custom_text` only prefixes the names of the text tower's tensors
/// with `text.`. The initial logit scale is not used: the trained one is in the weights.
pub(crate) fn check_top_keys(config: &ConfigObject) -> Result<(), ModelError> {
    config.check_keys(
        &["embed_dim", "quick_gelu", "vision_cfg", "text_cfg"],
        &[
            "cast_dtype",
            "custom_text",
            "nonscalar_logit_scale",
            "output_dict",
        ],
        &[("init_logit_scale", &|value| {
            let clip = (1.0f64 / 0.07).ln();
            value
                .as_f64()
                .is_some_and(|scale| (scale - clip).abs() < 1e-3)
        })],
    )
}

/// Checks the keys of `vision_cfg`, for a ViT and a ResNet. `patch_dropout` affects training
/// only; the other ignored keys belong to towers that other keys select.
pub(crate) fn check_vision_keys(config: &ConfigObject) -> Result<(), ModelError> {
    config.check_keys(
        &[
            "image_size",
            "layers",
            "width",
            "head_width",
            "mlp_ratio",
            "patch_size",
        ],
        &[
            "patch_dropout",
            "attn_pooler_queries",
            "attn_pooler_heads",
            "timm_model_pretrained",
            "timm_pool",
            "timm_proj",
            "timm_proj_bias",
            "timm_drop",
            "timm_drop_path",
        ],
        &[
            ("pool_type", &|value| value == "tok"),
            ("pos_embed_type", &|value| value == "learnable"),
            ("act_kwargs", &is_empty),
            ("norm_kwargs", &is_default_norm),
        ],
    )
}

/// Checks the keys of `text_cfg`. Pooling at the first `eos_id` equals pooling at the largest
/// id if `eos_id` is the last id of the vocabulary.
pub(crate) fn check_text_keys(config: &ConfigObject, vocab_size: usize) -> Result<(), ModelError> {
    let is_last = |value: &Value| value.as_u64() == Some(vocab_size as u64 - 1);
    let has_last = config.get_or_null("eos_id").is_none_or(is_last);
    config.check_keys(
        &[
            "context_length",
            "vocab_size",
            "width",
            "heads",
            "layers",
            "mlp_ratio",
        ],
        &["hf_model_pretrained", "hf_proj_type", "hf_pooler_type"],
        &[
            ("pool_type", &|value| {
                value == "argmax" || (value == "eos" && has_last)
            }),
            ("eos_id", &is_last),
            ("pad_id", &|value| value.as_u64() == Some(0)),
            ("proj_type", &|value| value == "linear"),
            ("act_kwargs", &is_empty),
            ("norm_kwargs", &is_default_norm),
            ("tokenizer_kwargs", &is_empty),
        ],
    )
}

#[cfg(test)]
mod tests {
    use crate::ModelConfig;

    fn read(top: &str, vision: &str, text: &str) -> Result<ModelConfig, String> {
        let json =
            format!(r#"{{"embed_dim":8{top},"vision_cfg":{{{vision}}},"text_cfg":{{{text}}}}}"#);
        ModelConfig::from_json("test", "test.json", &json).map_err(|error| error.to_string())
    }

    #[test]
    fn accepts_keys_that_match_what_is_computed_anyway() {
        let plain = read("", "", "").unwrap();
        let spelled_out = read(
            r#","quick_gelu":false,"custom_text":true,"init_logit_scale":2.6592,"init_logit_bias":null,
               "nonscalar_logit_scale":true,"output_dict":true,"cast_dtype":"bf16""#,
            r#""image_size":[224,224],"pool_type":"tok","no_ln_pre":false,"attentional_pool":false,
               "attn_pooler_queries":256,"attn_pooler_heads":8,"pos_embed_type":"learnable","final_ln_after_pool":false,
               "output_tokens":false,"ls_init_value":null,"patch_dropout":0.5,"act_kwargs":{},
               "norm_kwargs":{"eps":1e-5},"timm_model_name":null,"timm_pool":"avg","timm_proj":"linear","timm_drop":0.0,
               "qk_norm":false,"block_type":null"#,
            r#""pool_type":"argmax","pad_id":0,"proj_type":"linear","proj_bias":false,"no_causal_mask":false,
               "embed_cls":false,"act_kwargs":null,"norm_kwargs":{},"hf_model_name":null,"hf_proj_type":"mlp",
               "hf_pooler_type":"mean_pooler","hf_model_pretrained":true,"hf_tokenizer_name":null,"tokenizer_kwargs":{}"#,
        );
        assert_eq!(spelled_out.unwrap(), plain);
        let resnet = r#""layers":[1,2,1,1],"image_size":[64,64],"pool_type":"tok","timm_pool":"avg","qk_norm":false"#;
        assert_eq!(
            read("", resnet, "").unwrap(),
            read(
                "",
                r#""layers":[1,2,1,1],"image_size":64,"patch_size":null"#,
                ""
            )
            .unwrap()
        );
        assert_eq!(
            read("", "", r#""pool_type":"eos","eos_id":49407"#).unwrap(),
            plain
        );
        assert_eq!(read("", "", r#""pool_type":"eos""#).unwrap(), plain);
    }

    #[test]
    fn rejects_keys_that_change_the_computation() {
        for (top, vision, text, named) in [
            (r#","multimodal_cfg":{}"#, "", "", "`multimodal_cfg`"),
            (
                r#","init_logit_bias":-10"#,
                "",
                "",
                "`init_logit_bias` = -10",
            ),
            (
                r#","init_logit_scale":1.0"#,
                "",
                "",
                "`init_logit_scale` = 1.0",
            ),
            (
                "",
                r#""pool_type":"avg""#,
                "",
                "`vision_cfg.pool_type` = \"avg\"",
            ),
            (
                "",
                r#""no_ln_pre":true"#,
                "",
                "`vision_cfg.no_ln_pre` = true",
            ),
            (
                "",
                r#""attentional_pool":"parallel""#,
                "",
                "`vision_cfg.attentional_pool`",
            ),
            (
                "",
                r#""pos_embed_type":"sin_cos_2d""#,
                "",
                "`vision_cfg.pos_embed_type`",
            ),
            (
                "",
                r#""final_ln_after_pool":true"#,
                "",
                "`vision_cfg.final_ln_after_pool`",
            ),
            (
                "",
                r#""ls_init_value":0.1"#,
                "",
                "`vision_cfg.ls_init_value` = 0.1",
            ),
            (
                "",
                r#""act_kwargs":{"approximate":"tanh"}"#,
                "",
                "`vision_cfg.act_kwargs`",
            ),
            (
                "",
                r#""norm_kwargs":{"eps":1e-6}"#,
                "",
                "`vision_cfg.norm_kwargs`",
            ),
            (
                "",
                r#""output_tokens":true"#,
                "",
                "`vision_cfg.output_tokens`",
            ),
            ("", r#""qk_norm":true"#, "", "`vision_cfg.qk_norm`"),
            (
                "",
                r#""image_size":[224,336]"#,
                "",
                "`vision_cfg.image_size` = [224,336]",
            ),
            ("", r#""unknown_key":1"#, "", "`vision_cfg.unknown_key` = 1"),
            ("", "", r#""pool_type":"last""#, "`text_cfg.pool_type`"),
            (
                "",
                "",
                r#""pool_type":"eos","eos_id":7"#,
                "`text_cfg.eos_id` = 7",
            ),
            (
                "",
                "",
                r#""no_causal_mask":true"#,
                "`text_cfg.no_causal_mask`",
            ),
            ("", "", r#""pad_id":1"#, "`text_cfg.pad_id` = 1"),
            ("", "", r#""embed_cls":true"#, "`text_cfg.embed_cls`"),
            ("", "", r#""proj_type":"none""#, "`text_cfg.proj_type`"),
            ("", "", r#""proj_bias":true"#, "`text_cfg.proj_bias`"),
            (
                "",
                "",
                r#""hf_tokenizer_name":"t5""#,
                "`text_cfg.hf_tokenizer_name`",
            ),
            (
                "",
                "",
                r#""tokenizer_kwargs":{"clean":"canonicalize"}"#,
                "`text_cfg.tokenizer_kwargs`",
            ),
            (
                "",
                r#""layers":[1,1,1,1],"pool_type":"avg""#,
                "",
                "`vision_cfg.pool_type`",
            ),
            (
                "",
                r#""layers":[1,1,1,1],"timm_model_name":"vit""#,
                "",
                "`vision_cfg.timm_model_name`",
            ),
            (
                "",
                r#""layers":[1,1,1,1],"unknown_key":1"#,
                "",
                "`vision_cfg.unknown_key`",
            ),
            (
                "",
                r#""layers":5000"#,
                "",
                "`vision_cfg.layers` of at most 1024, got 5000",
            ),
        ] {
            let error = read(top, vision, text).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
