//! Malformed, truncated and unsupported archives, indices and configs. Each gives an error that
//! names the problem, without a panic or much memory.

use std::fs;
use std::path::Path;

use clipn_checkpoint::{Checkpoint, CheckpointError, Tensor, WeightsFormat};
use clipn_model::{ModelConfig, PretrainedWeights};
use clipn_testing::torch_file::{rebuild, script, text};
use clipn_testing::transformers::{clip_model, plain_clip_config, preprocessor};
use clipn_testing::{fixture, torch_file};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Name of a tensor that identifies a `CLIPModel`.
pub(crate) const TRANSFORMERS_TENSOR: &str = "text_model.embeddings.token_embedding.weight";

fn read(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(Path::new("hostile.pt"), bytes)
}

/// Reads all values, so that an invalid range would panic.
fn read_all_values(bytes: Vec<u8>) {
    if let Ok(read) = read(bytes) {
        for (_, tensor) in read.iter() {
            assert_eq!(tensor.to_f32().len(), tensor.len());
            assert_eq!(tensor.bytes().len(), tensor.len() * tensor.dtype().size());
        }
    }
}

pub(crate) fn write_json(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), serde_json::to_vec(value).unwrap()).unwrap();
}

/// Writes a weights file with one number, without syncing.
pub(crate) fn write_one(path: &Path, name: &str) {
    write_one_with(path, name, &json!({}));
}

/// Same as [`write_one`], with metadata.
fn write_one_with(path: &Path, name: &str, metadata: &Value) {
    let tensor = json!({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]});
    let header = json!({"__metadata__": metadata, name: tensor}).to_string();
    fs::write(
        path,
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &[0; 4],
        ]
        .concat(),
    )
    .unwrap();
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values.to_vec()).unwrap()
}

/// Returns the pickle of a module with the attributes `more` and a module `inner` with one tensor
/// `w`.
fn module_pickle(more: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02c__torch__.model\nModel\n)\x81}(".to_vec();
    pickle.extend(more);
    text(&mut pickle, "inner");
    pickle.extend(b"c__torch__.torch.nn.modules.linear.___torch_mangle_3\nLinear\n)\x81}(");
    text(&mut pickle, "w");
    rebuild(&mut pickle, "0", &tensor(&[1.0, 2.0]));
    pickle.extend(b"ubub.");
    pickle
}

fn two_floats() -> Vec<u8> {
    tensor(&[1.0, 2.0]).bytes().to_vec()
}

fn small_script() -> Vec<u8> {
    script(&module_pickle(b""), &[("0", two_floats())])
}

#[test]
fn reads_a_small_archive_and_skips_its_settings() {
    let mut more = Vec::new();
    text(&mut more, "training");
    more.push(0x89);
    text(&mut more, "_is_full_backward_hook");
    more.push(b'N');
    text(&mut more, "sizes");
    more.extend(b"ctorch.jit._pickle\nbuild_intlist\n](K\x01K\x02e\x85R");
    text(&mut more, "typed");
    more.extend(b"ctorch.jit._pickle\nrestore_type_tag\n(]");
    text(&mut more, "List[str]");
    more.extend(b"tR");
    let read = read(script(&module_pickle(&more), &[("0", two_floats())])).unwrap();
    assert_eq!(read.format(), WeightsFormat::TorchScript);
    let names: Vec<&str> = read.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["inner.w"]);
    assert_eq!(read.get("inner.w").unwrap().to_f32()[..], [1.0, 2.0]);
}

#[test]
fn every_truncation_of_an_archive_is_an_error() {
    let whole = small_script();
    for len in 0..whole.len() {
        assert!(
            read(whole[..len].to_vec()).is_err(),
            "accepted after truncation to {len} of {} bytes",
            whole.len()
        );
    }
    // Truncate a real archive at and around every entry, where a reader would stop.
    let real = fs::read(fixture("checkpoint/openai_style_jit.pt")).unwrap();
    let starts = (0..real.len() - 4).filter(|&at| real[at..].starts_with(b"PK"));
    for at in starts.flat_map(|at| [at.saturating_sub(1), at, at + 1, at + 4, at + 30]) {
        let at = at.min(real.len() - 1);
        assert!(
            read(real[..at].to_vec()).is_err(),
            "accepted after truncation to {at} bytes"
        );
    }
}

#[test]
fn every_truncation_of_a_pickle_is_an_error() {
    let pickle = module_pickle(b"");
    for len in 0..pickle.len() {
        let cut = script(&pickle[..len], &[("0", two_floats())]);
        assert!(
            read(cut).is_err(),
            "accepted a pickle truncated to {len} of {} bytes",
            pickle.len()
        );
    }
}

#[test]
fn rejects_missing_and_short_storages() {
    let refused = |storages: &[(&str, Vec<u8>)]| {
        read(script(&module_pickle(b""), storages))
            .expect_err("refused")
            .to_string()
    };
    assert!(refused(&[]).contains("data/0"));
    assert!(
        refused(&[("0", two_floats()[..7].to_vec())])
            .contains("7 bytes for a storage of 2 float32")
    );
}

#[test]
fn rejects_functions_in_archives() {
    for name in [
        "os\nsystem",
        "builtins\neval",
        "torch.jit\nload",
        "torch.jit._pickle\nbuild_tensor_from_id",
    ] {
        let mut more = Vec::new();
        text(&mut more, "x");
        more.extend(format!("c{name}\n").bytes());
        more.extend(b")R");
        let refused =
            read(script(&module_pickle(&more), &[("0", two_floats())])).expect_err("refused");
        assert!(
            matches!(&refused, CheckpointError::DisallowedGlobal { .. }),
            "{refused}"
        );
    }
    // A compiled class outside an archive.
    let plain: Vec<(String, Vec<u8>)> = vec![
        ("a/data.pkl".to_owned(), module_pickle(b"")),
        ("a/data/0".to_owned(), two_floats()),
    ];
    let refused = read(torch_file::zip(&plain)).expect_err("refused");
    assert!(
        matches!(&refused, CheckpointError::DisallowedGlobal { global, .. } if global == "__torch__.model.Model")
    );
}

#[test]
fn rejects_malformed_modules() {
    for (pickle, what) in [
        (&b"\x80\x02N."[..], "not a module"),
        (b"\x80\x02].", "not a module"),
        (b"\x80\x02c__torch__\nM\n)\x81.", "no tensor"),
        (
            b"\x80\x02c__torch__\nM\n)\x81]b.",
            "module attributes are a list",
        ),
        (
            b"\x80\x02c__torch__\nM\nK\x01\x85\x81.",
            "invalid arguments for",
        ),
        (b"\x80\x02c__torch__\nM\n.", "not a module"),
        // A module that contains itself.
        (
            b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.",
            "nested more than",
        ),
    ] {
        let refused = read(script(pickle, &[])).expect_err("refused").to_string();
        assert!(refused.contains(what), "{refused}");
    }
}

#[test]
fn limits_the_expansion_of_shared_modules() {
    // Each module contains the previous one ten times: 10^40 tensors in 2 kB.
    let mut pickle = module_pickle(b"");
    pickle.truncate(pickle.len() - 1);
    pickle.extend(b"q\x000");
    for level in 0..40u8 {
        pickle.extend(b"c__torch__\nM\n)\x81}(");
        for digit in 0..10u8 {
            text(&mut pickle, &digit.to_string());
            pickle.extend([b'h', level]);
        }
        pickle.extend(b"ub");
        pickle.extend([b'q', level + 1, b'0']);
    }
    pickle.extend(b"h\x28.");
    let bomb = read(script(&pickle, &[("0", two_floats())])).expect_err("refused");
    assert!(matches!(bomb, CheckpointError::TooLarge { .. }), "{bomb}");
}

fn sharded(map: &Value) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("part.safetensors");
    write_one(&part, "a");
    write_json(
        folder.path(),
        "model.safetensors.index.json",
        &json!({ "weight_map": map }),
    );
    let error = Checkpoint::open(folder.path())
        .expect_err("refused")
        .to_string();
    (folder, error)
}

#[test]
fn an_index_cannot_refer_to_files_outside_its_directory() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.safetensors");
    write_one(&secret, "a");
    let up = format!(
        "../{}/secret.safetensors",
        outside.path().file_name().unwrap().to_str().unwrap()
    );
    for part in [
        up.as_str(),
        secret.to_str().unwrap(),
        "..",
        ".",
        "",
        "./part.safetensors",
        "x/part.safetensors",
    ] {
        let (_folder, error) = sharded(&json!({ "a": part }));
        assert!(
            error.contains("is not a plain file name in the same directory"),
            "{part:?}: {error}"
        );
    }
}

#[test]
fn rejects_parts_that_are_missing_truncated_or_lack_an_indexed_tensor() {
    assert!(
        sharded(&json!({"a": "gone.safetensors"}))
            .1
            .contains("missing shard gone.safetensors")
    );
    assert!(
        sharded(&json!({"b": "part.safetensors"}))
            .1
            .contains("is not in part.safetensors")
    );
    assert!(sharded(&json!({})).1.contains("lists no tensors"));
    assert!(sharded(&json!([])).1.contains("not valid index JSON"));
    assert!(sharded(&json!({"a": 1})).1.contains("not valid index JSON"));
    let (folder, _) = sharded(&json!({"a": "part.safetensors", "b": "part.safetensors"}));
    let part = folder.path().join("part.safetensors");
    let whole = fs::read(&part).unwrap();
    for len in 0..whole.len() {
        fs::write(&part, &whole[..len]).unwrap();
        assert!(
            Checkpoint::open(folder.path()).is_err(),
            "accepted a part truncated to {len} bytes"
        );
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, format!("{{\"weight_map\": {}", "[".repeat(1 << 20))).unwrap();
    assert!(Checkpoint::open(folder.path()).is_err());
    let whole = fs::read(fixture("models/plain_clip/plain_clip.json")).unwrap();
    fs::write(&index, whole).unwrap();
    assert!(
        Checkpoint::open(folder.path()).is_err(),
        "accepted JSON that is not an index"
    );
}

#[cfg(unix)]
#[test]
fn rejects_a_device_as_a_part_of_an_index() {
    let (folder, _) = sharded(&json!({"a": "device", "b": "device"}));
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("device")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::NotAFile { .. }), "{error}");
}

/// Returns the error for a directory whose config was changed by `edit`.
fn config_error(edit: impl Fn(&mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = plain_clip_config();
    edit(&mut config);
    write_json(folder.path(), "config.json", &config);
    write_one(
        &folder.path().join("model.safetensors"),
        TRANSFORMERS_TENSOR,
    );
    PretrainedWeights::open(folder.path())
        .unwrap()
        .config()
        .expect_err("refused")
        .to_string()
}

#[test]
fn rejects_unsupported_transformers_configs_by_key() {
    for (section, key, value, named) in [
        (
            "text_config",
            "layer_norm_eps",
            json!(1e-6),
            "`text_config.layer_norm_eps` = 1e-6",
        ),
        (
            "vision_config",
            "layer_norm_eps",
            json!(0.0),
            "`vision_config.layer_norm_eps` = 0.0",
        ),
        (
            "text_config",
            "hidden_act",
            json!("gelu_new"),
            "`text_config.hidden_act` = \"gelu_new\"",
        ),
        (
            "vision_config",
            "hidden_act",
            json!("gelu"),
            "`vision_config.hidden_act` = \"gelu, but quick_gelu in text_config",
        ),
        (
            "text_config",
            "eos_token_id",
            json!(7),
            "`text_config.eos_token_id` = 7",
        ),
        (
            "vision_config",
            "num_channels",
            json!(1),
            "`vision_config.num_channels` = 1",
        ),
        (
            "vision_config",
            "num_attention_heads",
            json!(0),
            "num_attention_heads` to be a divisor of hidden_size 128, got 0",
        ),
        (
            "vision_config",
            "num_attention_heads",
            json!(3),
            "num_attention_heads` to be a divisor of hidden_size 128, got 3",
        ),
        (
            "text_config",
            "num_attention_heads",
            json!(3),
            "text_cfg.heads 3",
        ),
        (
            "vision_config",
            "num_hidden_layers",
            json!(1_000_000),
            "at most 1024",
        ),
        (
            "vision_config",
            "hidden_size",
            json!(-1),
            "hidden_size` to be a non-negative integer, got -1",
        ),
        (
            "vision_config",
            "hidden_size",
            json!("wide"),
            "hidden_size` to be a non-negative integer, got \"wide\"",
        ),
        ("text_config", "vocab_size", json!(u64::MAX), "vocab_size"),
        ("text_config", "intermediate_size", json!(0), "mlp_ratio"),
        ("vision_config", "patch_size", json!(0), "patch_size"),
    ] {
        let error = config_error(|config| config[section][key] = value.clone());
        assert!(error.contains(named), "{error}");
    }
    assert!(
        config_error(|config| config["model_type"] = json!("siglip"))
            .contains("`model_type` = \"siglip\"")
    );
    assert!(
        config_error(|config| config["text_config"] = json!([1]))
            .contains("`text_config` to be an object, got [1]")
    );
    assert!(
        config_error(|config| config["projection_dim"] = json!(1.5))
            .contains("`projection_dim` to be a non-negative integer, got 1.5")
    );
    assert!(config_error(|config| *config = json!("text")).contains("expected a JSON object"));
}

#[test]
fn older_dict_sections_take_precedence_and_absent_keys_have_defaults() {
    let folder = tempfile::tempdir().unwrap();
    write_one(
        &folder.path().join("model.safetensors"),
        TRANSFORMERS_TENSOR,
    );
    let read = |config: Value| {
        write_json(folder.path(), "config.json", &config);
        PretrainedWeights::open(folder.path())
            .unwrap()
            .config()
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        read(json!({})),
        ModelConfig::embedded("ViT-B-32-quickgelu").unwrap()
    );
    let large = json!({
        "projection_dim": 768,
        "text_config": {"hidden_size": 1},
        "text_config_dict": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 24, "patch_size": 14},
        "vision_config_dict": null
    });
    assert_eq!(
        read(large),
        ModelConfig::embedded("ViT-L-14-quickgelu").unwrap()
    );
}

#[test]
fn rejects_unsupported_preprocessing_by_key() {
    let folder = tempfile::tempdir().unwrap();
    write_json(folder.path(), "config.json", &plain_clip_config());
    write_one(
        &folder.path().join("model.safetensors"),
        TRANSFORMERS_TENSOR,
    );
    let preprocessing = |edit: &dyn Fn(&mut Value)| {
        let mut config = preprocessor(32);
        edit(&mut config);
        write_json(folder.path(), "preprocessor_config.json", &config);
        PretrainedWeights::open(folder.path())
            .unwrap()
            .preprocessing()
    };
    for (key, value, named) in [
        ("do_resize", json!(false), "`do_resize` = false"),
        ("do_center_crop", json!(false), "`do_center_crop` = false"),
        ("do_normalize", json!(false), "`do_normalize` = false"),
        ("resample", json!(2), "`resample` = 2"),
        ("rescale_factor", json!(1.0), "`rescale_factor` = 1.0"),
        (
            "size",
            json!({"height": 32, "width": 32}),
            "`size` = {\"height\":32",
        ),
        (
            "size",
            json!({"shortest_edge": 40}),
            "got {\"shortest_edge\":40}",
        ),
        ("size", json!(224), "image_size 32, got 224"),
        ("size", Value::Null, "image_size 32, got 224"),
        (
            "crop_size",
            json!({"height": 32, "width": 30}),
            "`crop_size`",
        ),
        (
            "image_mean",
            json!([0.5]),
            "`image_mean` to be a list of three numbers, got [0.5]",
        ),
        (
            "image_std",
            json!([0.5, 0.0, 0.5]),
            "above 0, got [0.5, 0.0, 0.5]",
        ),
        ("image_mean", json!([1e300, 0, 0]), "got [inf"),
    ] {
        let error = preprocessing(&|config| config[key] = value.clone())
            .expect_err("refused")
            .to_string();
        assert!(error.contains(named), "{error}");
    }
    for (key, value) in [("size", json!(32)), ("crop_size", json!(32))] {
        assert!(
            preprocessing(&|config| config[key] = value.clone()).is_ok(),
            "format of older versions"
        );
    }
}

#[test]
fn rejects_unsupported_hub_preprocessing_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let model: Value =
        serde_json::from_slice(&fs::read(fixture("models/plain_clip/plain_clip.json")).unwrap())
            .unwrap();
    write_one(
        &folder.path().join("open_clip_model.safetensors"),
        "logit_scale",
    );
    for (key, value, named) in [
        (
            "interpolation",
            json!("bilinear"),
            "`preprocess_cfg.interpolation` = \"bilinear\"",
        ),
        (
            "resize_mode",
            json!("squash"),
            "`preprocess_cfg.resize_mode` = \"squash\"",
        ),
        ("mode", json!("L"), "`preprocess_cfg.mode` = \"L\""),
        (
            "size",
            json!(224),
            "`preprocess_cfg.size` to be the image tower's image_size 32, got 224",
        ),
        ("size", json!([32, 64]), "image_size 32, got [32,64]"),
        (
            "std",
            json!("one"),
            "`preprocess_cfg.std` to be a list of three numbers, got \"one\"",
        ),
    ] {
        let config = json!({"model_cfg": model, "preprocess_cfg": {key: value}});
        write_json(folder.path(), "open_clip_config.json", &config);
        let error = PretrainedWeights::open(folder.path())
            .unwrap()
            .preprocessing()
            .expect_err("refused")
            .to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn rejects_truncated_and_oversized_configs() {
    let folder = tempfile::tempdir().unwrap();
    write_one(
        &folder.path().join("model.safetensors"),
        TRANSFORMERS_TENSOR,
    );
    let path = folder.path().join("config.json");
    let whole = serde_json::to_vec(&plain_clip_config()).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(
            PretrainedWeights::open(folder.path())
                .unwrap()
                .config()
                .is_err(),
            "accepted after truncation to {len} bytes"
        );
    }
    fs::write(
        &path,
        [
            b"{\"model_type\": \"".to_vec(),
            vec![b'x'; 5 << 20],
            b"\"}".to_vec(),
        ]
        .concat(),
    )
    .unwrap();
    let error = PretrainedWeights::open(folder.path())
        .unwrap()
        .config()
        .unwrap_err()
        .to_string();
    assert!(error.contains("exceeds the limit of 4 MB"), "{error}");
    fs::write(&path, "[".repeat(1 << 20)).unwrap();
    assert!(
        PretrainedWeights::open(folder.path())
            .unwrap()
            .config()
            .is_err()
    );
    fs::write(
        &path,
        [&b"{\"model_type\": \""[..], &vec![b'x'; 1 << 20], b"\"}"].concat(),
    )
    .unwrap();
    let error = PretrainedWeights::open(folder.path())
        .unwrap()
        .config()
        .unwrap_err()
        .to_string();
    assert!(error.len() < 1000, "the message must stay short");
}

#[test]
fn reports_a_missing_tensor_of_a_transformers_model() {
    let plain = Checkpoint::open(fixture("checkpoint/plain_clip.pt")).unwrap();
    let mut tensors = clip_model(&plain);
    tensors.retain(|(name, _)| !name.ends_with("layers.0.self_attn.v_proj.bias"));
    let bytes = torch_file::state_dict(&tensors);
    let error = read(bytes).expect_err("refused");
    assert!(
        matches!(&error, CheckpointError::LayoutMismatch { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("v_proj.bias"), "{error}");
}

/// Returns a strategy for small JSON values with the keys of configs.
fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "model_type",
        "text_config",
        "vision_config",
        "text_config_dict",
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "layer_norm_eps",
        "image_size",
        "patch_size",
        "model_cfg",
        "preprocess_cfg",
        "embed_dim",
        "vision_cfg",
        "text_cfg",
        "width",
        "layers",
        "head_width",
        "mlp_ratio",
        "size",
        "mean",
        "pool_type",
        "norm_kwargs",
        "eos_id",
        "vocab_size",
        "crop_size",
        "image_std",
        "quick_gelu",
        "heads",
        "context_length",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "clip",
            "gelu",
            "quick_gelu",
            "tok",
            "argmax",
            "eos",
            ""
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..8).prop_map(|entries| {
                Value::Object(
                    entries
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn modified_archives_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = small_script();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        read_all_values(bytes);
    }

    #[test]
    fn random_modules_never_panic(
        pickle in prop::collection::vec(prop::sample::select(&b"c__torch__\nM\n)\x81}(b.0N]tlaesduRq\x00h\x01K\x02\x85\x86"[..]), 0..200),
        head in prop::sample::select(vec![&b"\x80\x02"[..], b"\x80\x02c__torch__\nM\n)\x81}(", b"\x80\x02c__torch__\nM\n)\x81q\x00"]),
    ) {
        read_all_values(script(&[head, &pickle].concat(), &[("0", two_floats())]));
    }
}

/// Reads everything that comes with the weights and computes the cost of the architecture.
fn read_everything(pretrained: &PretrainedWeights) {
    if let Ok(Some(config)) = pretrained.config() {
        let found = ModelConfig::from_json(&config.name, "", &config.to_open_clip().to_string());
        assert_eq!(found.unwrap(), config);
        let _ = (
            config.parameter_counts(16),
            config.image_flops(),
            config.text_flops(77),
        );
    }
    let _ = (pretrained.preprocessing(), pretrained.weights(None));
    let _ = pretrained.overridden_preprocessing();
}

// Each case writes files.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_configs_never_panic(value in any_json()) {
        let text = value.to_string();
        let _ = ModelConfig::from_json("any", "any.json", &text);
        let folder = tempfile::tempdir().unwrap();
        for (config, weights, name) in [
            ("config.json", "model.safetensors", TRANSFORMERS_TENSOR),
            ("preprocessor_config.json", "model.safetensors", TRANSFORMERS_TENSOR),
            ("processor_config.json", "model.safetensors", TRANSFORMERS_TENSOR),
            ("open_clip_config.json", "open_clip_model.safetensors", "logit_scale"),
            ("state.json", "model.safetensors", "logit_scale"),
        ] {
            let inside = folder.path().join(config);
            fs::create_dir_all(&inside).unwrap();
            if config.ends_with("processor_config.json") {
                write_json(&inside, "config.json", &plain_clip_config());
            }
            let value = match config {
                "state.json" => json!({ "format": 1, "model": value.clone() }),
                "processor_config.json" => json!({ "image_processor": value.clone() }),
                _ => value.clone(),
            };
            write_json(&inside, config, &value);
            write_one(&inside.join(weights), name);
            read_everything(&PretrainedWeights::open(&inside).unwrap());
        }
        let path = folder.path().join("carried.safetensors");
        write_one_with(&path, "logit_scale", &json!({"open_clip_config": text, "model": text}));
        read_everything(&PretrainedWeights::open(&path).unwrap());
    }

    #[test]
    fn valid_sizes_are_preserved(
        (heads, head_width, hidden) in (1usize..9, 1usize..80, 1usize..5000),
        layers in 1usize..6,
    ) {
        let width = heads * head_width;
        let folder = tempfile::tempdir().unwrap();
        let tower = json!({"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers,
            "intermediate_size": hidden});
        write_json(folder.path(), "config.json", &json!({"text_config": tower, "vision_config": tower}));
        write_one(&folder.path().join("model.safetensors"), TRANSFORMERS_TENSOR);
        let config = PretrainedWeights::open(folder.path()).unwrap().config().unwrap().unwrap();
        let found = (config.vision.width, config.vision.heads, config.vision.mlp_width, config.vision.layers);
        prop_assert_eq!(found, (width, heads, hidden, layers));
        let found = (config.text.width, config.text.heads, config.text.mlp_width, config.text.layers);
        prop_assert_eq!(found, (width, heads, hidden, layers));
        let written = config.to_open_clip().to_string();
        prop_assert_eq!(ModelConfig::from_json(&config.name, "", &written).unwrap(), config);
    }
}
