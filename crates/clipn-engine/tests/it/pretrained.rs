//! Detection of every format of pretrained weights, and their features against the reference.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clipn_checkpoint::{Checkpoint, Dtype, Layout, Tensor, WeightsFormat, write_safetensors};
use clipn_engine::{TextTransformer, image_tower};
use clipn_image::Preprocessing;
use clipn_model::{
    Activation, ImageBatch, ModelConfig, ModelError, ModelWeights, PretrainedKind,
    PretrainedWeights, TensorSpec, TextSide, TextTower,
};
use clipn_testing::figures::{Figures, assert_close};
use clipn_testing::transformers::{clip_model, plain_clip_config, preprocessor};
use clipn_testing::{fixture, test_data, torch_file};
use clipn_text::tokenizer::TokenBatch;
use serde_json::{Value, json};
use tempfile::TempDir;

const F32: f64 = 1e-5;
const OPENAI: &str = "checkpoint/openai_style_jit.pt";

fn plain_clip() -> Checkpoint {
    Checkpoint::open(fixture("checkpoint/plain_clip.pt")).unwrap()
}

fn write_json(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), serde_json::to_vec_pretty(value).unwrap()).unwrap();
}

fn write(path: &Path, tensors: &[(String, Tensor)]) {
    write_safetensors(path, tensors.iter().cloned(), &BTreeMap::new()).unwrap();
}

/// Asserts that image and "yes" features equal those of the published code.
fn assert_features(weights: &ModelWeights, inputs: &str, expected: &str, names: (&str, &str)) {
    let (inputs, expected) = (
        Figures::open(&fixture(inputs)),
        Figures::open(&fixture(expected)),
    );
    let (pixels, shape) = (inputs.f32("images"), inputs.shape("images"));
    let found = image_tower(weights)
        .encode(ImageBatch::new(&pixels, shape[2], shape[3]).unwrap())
        .unwrap();
    assert_close(found.values(), &expected.f32(names.0), F32, names.0);
    let tokens = TokenBatch::new(inputs.ids("tokens"), inputs.shape("tokens")[1]).unwrap();
    let found = TextTransformer::from_weights(weights, TextSide::Yes)
        .encode(&tokens)
        .unwrap();
    assert_close(found.values(), &expected.f32(names.1), F32, names.1);
}

fn assert_plain_clip_features(weights: &ModelWeights) {
    let io = "models/plain_clip/io.safetensors";
    assert_features(weights, io, io, ("image_features", "text_yes"));
}

/// Creates a directory as `transformers` saves it; the caller writes the weights.
fn transformers_folder(config: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_json(folder.path(), "config.json", config);
    folder
}

fn saved_by_transformers() -> TempDir {
    let folder = transformers_folder(&plain_clip_config());
    write(
        &folder.path().join("model.safetensors"),
        &clip_model(&plain_clip()),
    );
    folder
}

#[test]
fn an_openai_archive_produces_the_reference_features() {
    let pretrained = PretrainedWeights::open(fixture(OPENAI)).unwrap();
    assert_eq!(pretrained.kind(), PretrainedKind::OpenAi);
    assert_eq!(pretrained.checkpoint().format(), WeightsFormat::TorchScript);
    let weights = pretrained.weights(None).unwrap();
    let expected = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
    assert_eq!(
        *weights.config(),
        ModelConfig {
            name: "openai_style_jit".to_owned(),
            ..expected
        }
    );
    assert_plain_clip_features(&weights);
    assert_eq!(
        pretrained.preprocessing().unwrap(),
        Some(Preprocessing::clip(32))
    );
}

#[test]
fn an_openai_archive_has_the_exact_tensors_of_its_state_dict() {
    let archive = Checkpoint::open(fixture(OPENAI)).unwrap();
    assert_eq!(
        archive.get("visual.conv1.weight").unwrap().dtype(),
        Dtype::F16
    );
    for (name, tensor) in plain_clip().iter() {
        assert_eq!(
            archive.get(name).unwrap().to_f32(),
            tensor.to_f32(),
            "{name}"
        );
    }
    let Some(expected) = test_data("golden/ckpt/openai_style_jit.expected.safetensors") else {
        return;
    };
    let expected = Checkpoint::open(&expected).unwrap();
    assert_eq!(archive.len(), expected.len());
    for (name, tensor) in expected.iter() {
        assert_eq!(archive.get(name), Some(tensor), "{name}");
    }
}

#[test]
fn detects_the_state_dict_of_an_openai_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    let archive = Checkpoint::open(fixture(OPENAI)).unwrap();
    let tensors: Vec<_> = archive
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    fs::write(&path, torch_file::state_dict(&tensors)).unwrap();
    let pretrained = PretrainedWeights::open(&path).unwrap();
    assert_eq!(pretrained.kind(), PretrainedKind::OpenAi);
    assert_eq!(pretrained.checkpoint().format(), WeightsFormat::TorchZip);
    assert_plain_clip_features(&pretrained.weights(None).unwrap());
}

#[test]
fn rejects_an_openai_archive_whose_sizes_contradict_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Checkpoint::open(fixture(OPENAI)).unwrap();
    let error = |name: &str, tensor: Option<Tensor>| {
        let path = folder.path().join("weights.safetensors");
        let tensors = archive.iter().filter_map(|(key, own)| {
            let replaced = if key == name {
                tensor.clone()
            } else {
                Some(own.clone())
            };
            Some((key.to_owned(), replaced?))
        });
        write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
        PretrainedWeights::open(&path)
            .unwrap()
            .config()
            .unwrap_err()
            .to_string()
    };
    let number = |value| Some(Tensor::from_i64(&[], &[value]).unwrap());
    assert!(
        error("input_resolution", number(224))
            .contains("input_resolution of 32 from the tensors' shapes, got 224")
    );
    assert!(error("vocab_size", number(-1)).contains("vocab_size"));
    let flat = Tensor::from_f32(&[4], vec![0.0; 4]).unwrap();
    assert!(
        error("visual.conv1.weight", Some(flat))
            .contains("4 dimensions for visual.conv1.weight, got shape [4]")
    );
    assert!(error("text_projection", None).contains("missing tensor text_projection"));
    let narrow = Tensor::from_f32(&[12, 32], vec![0.0; 12 * 32]).unwrap();
    assert!(error("positional_embedding", Some(narrow)).contains("text_cfg.heads"));
}

#[test]
fn a_transformers_directory_produces_the_reference_features() {
    let folder = saved_by_transformers();
    write_json(folder.path(), "preprocessor_config.json", &preprocessor(32));
    for given in [
        folder.path().to_owned(),
        folder.path().join("model.safetensors"),
    ] {
        let pretrained = PretrainedWeights::open(&given).unwrap();
        assert_eq!(pretrained.kind(), PretrainedKind::Transformers);
        assert_eq!(pretrained.checkpoint().layout(), Layout::Transformers);
        let weights = pretrained.weights(None).unwrap();
        assert_eq!(weights.config().activation, Activation::QuickGelu);
        assert_plain_clip_features(&weights);
        assert_eq!(
            pretrained.preprocessing().unwrap(),
            Some(Preprocessing::clip(32))
        );
    }
}

#[test]
fn a_transformers_model_with_gelu_produces_the_reference_features() {
    let config = json!({
        "model_type": "clip", "projection_dim": 32,
        "text_config": {
            "hidden_act": "gelu", "hidden_size": 64, "intermediate_size": 256, "max_position_embeddings": 16,
            "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 128, "eos_token_id": 127
        },
        "vision_config": {
            "hidden_act": "gelu", "hidden_size": 64, "image_size": 32, "intermediate_size": 256,
            "num_attention_heads": 2, "num_hidden_layers": 2, "patch_size": 8
        }
    });
    let folder = transformers_folder(&config);
    let from = Checkpoint::open(fixture("models/vit_gelu/model.safetensors")).unwrap();
    write(&folder.path().join("model.safetensors"), &clip_model(&from));
    let weights = PretrainedWeights::open(folder.path())
        .unwrap()
        .weights(None)
        .unwrap();
    assert_features(
        &weights,
        "models/vit_gelu/inputs.safetensors",
        "models/vit_gelu/io_f32.safetensors",
        ("image_features", "text_features_yes"),
    );
}

#[test]
fn pytorch_model_bin_and_shards_produce_the_reference_features() {
    let tensors = clip_model(&plain_clip());
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let names = |part: &[(String, Tensor)], file: &str| {
        part.iter()
            .map(|(name, _)| (name.clone(), Value::from(file)))
            .collect::<Vec<_>>()
    };
    let index = |files: [&str; 2]| {
        let map: serde_json::Map<String, Value> = names(first, files[0])
            .into_iter()
            .chain(names(second, files[1]))
            .collect();
        json!({"metadata": {"total_size": 1}, "weight_map": map})
    };

    let one = transformers_folder(&plain_clip_config());
    fs::write(
        one.path().join("pytorch_model.bin"),
        torch_file::state_dict(&tensors),
    )
    .unwrap();

    let two = transformers_folder(&plain_clip_config());
    let files = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    write(&two.path().join(files[0]), first);
    write(&two.path().join(files[1]), second);
    write_json(two.path(), "model.safetensors.index.json", &index(files));

    let three = transformers_folder(&plain_clip_config());
    let files = [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ];
    fs::write(three.path().join(files[0]), torch_file::state_dict(first)).unwrap();
    fs::write(three.path().join(files[1]), torch_file::state_dict(second)).unwrap();
    write_json(three.path(), "pytorch_model.bin.index.json", &index(files));

    for (folder, kind, parts) in [
        (&one, WeightsFormat::TorchZip, 1),
        (&two, WeightsFormat::Safetensors, 2),
        (&three, WeightsFormat::TorchZip, 2),
    ] {
        let pretrained = PretrainedWeights::open(folder.path()).unwrap();
        let found = (
            pretrained.kind(),
            pretrained.checkpoint().format(),
            pretrained.checkpoint().shard_count(),
        );
        assert_eq!(found, (PretrainedKind::Transformers, kind, parts));
        assert_plain_clip_features(&pretrained.weights(None).unwrap());
    }
    let by_index = Checkpoint::open(two.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(by_index.shard_count(), 2);
}

#[test]
fn an_open_clip_hub_directory_produces_the_reference_features() {
    let model: Value =
        serde_json::from_slice(&fs::read(fixture("models/plain_clip/plain_clip.json")).unwrap())
            .unwrap();
    let own: Vec<_> = plain_clip()
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    let custom_text = own.iter().map(|(name, tensor)| {
        let is_shared = name.starts_with("visual.") || name == "logit_scale";
        (
            if is_shared {
                name.clone()
            } else {
                format!("text.{name}")
            },
            tensor.clone(),
        )
    });
    let custom_text: Vec<_> = custom_text.collect();
    for (tensors, custom, file) in [
        (&own, false, "open_clip_model.safetensors"),
        (&own, false, "open_clip_pytorch_model.bin"),
        (&custom_text, true, "open_clip_model.safetensors"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut model = model.clone();
        model["custom_text"] = Value::from(custom);
        let preprocess = json!({
            "mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.5], "size": [32, 32], "mode": "RGB",
            "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0
        });
        write_json(
            folder.path(),
            "open_clip_config.json",
            &json!({"model_cfg": model, "preprocess_cfg": preprocess}),
        );
        let path = folder.path().join(file);
        match file.ends_with(".bin") {
            true => fs::write(&path, torch_file::state_dict(tensors)).unwrap(),
            false => write(&path, tensors),
        }
        // Hub directories often also contain the model for `transformers`, which has the same
        // features.
        write_json(
            folder.path(),
            "config.json",
            &json!({"model_type": "other"}),
        );
        fs::write(folder.path().join("pytorch_model.bin"), b"not needed").unwrap();
        let pretrained = PretrainedWeights::open(folder.path()).unwrap();
        assert_eq!(pretrained.kind(), PretrainedKind::OpenClipHub, "{file}");
        assert_plain_clip_features(&pretrained.weights(None).unwrap());
        let pixels = pretrained.preprocessing().unwrap().unwrap();
        assert_eq!(
            (pixels.size, pixels.mean, pixels.std),
            (32, [0.5, 0.25, 0.125], [0.5; 3])
        );
        let named = PretrainedWeights::open(&path).unwrap();
        assert_eq!(named.kind(), PretrainedKind::OpenClipHub);
        // The config may belong to other weights than a file of another name.
        let other = folder.path().join("epoch_3.pt");
        fs::copy(&path, &other).unwrap();
        let alone = PretrainedWeights::open(&other).unwrap();
        assert_eq!(alone.kind(), PretrainedKind::TensorsOnly);
        let error = alone.weights(None).unwrap_err().to_string();
        assert!(
            error.contains("unknown architecture")
                && error.contains("open_clip_config.json beside the file")
        );
    }
}

#[test]
fn reads_the_config_of_a_training_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
    let own: Vec<_> = plain_clip()
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    write(&folder.path().join("model.safetensors"), &own);
    write(&folder.path().join("optimizer.safetensors"), &own[..1]);
    write_json(
        folder.path(),
        "state.json",
        &json!({"format": 1, "model": config}),
    );
    let pretrained = PretrainedWeights::open(folder.path()).unwrap();
    assert_eq!(pretrained.kind(), PretrainedKind::TrainingCheckpoint);
    let weights = pretrained.weights(None).unwrap();
    assert_eq!(*weights.config(), config);
    assert_plain_clip_features(&weights);
    let file = PretrainedWeights::open(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(file.config().unwrap(), Some(config.clone()));
    write_json(
        folder.path(),
        "state.json",
        &json!({"state": "of something else"}),
    );
    assert_eq!(
        PretrainedWeights::open(folder.path()).unwrap().kind(),
        PretrainedKind::TensorsOnly
    );
    for (key, value) in [
        ("heads", 0),
        ("heads", 5),
        ("layers", 1 << 20),
        ("width", 1u64 << 40),
        ("patch_size", 0),
    ] {
        let mut broken = serde_json::to_value(&config).unwrap();
        broken["vision"][key] = Value::from(value);
        write_json(
            folder.path(),
            "state.json",
            &json!({"format": 1, "model": broken}),
        );
        let error = PretrainedWeights::open(folder.path())
            .unwrap()
            .config()
            .unwrap_err();
        assert!(matches!(&error, ModelError::BadConfig { .. }), "{error}");
        assert!(
            error.to_string().contains(&format!(
                "vision.{}",
                if value == 5 { "width" } else { key }
            )),
            "{error}"
        );
    }
}

#[test]
fn a_directory_opens_its_only_weights_whatever_their_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        fixture("checkpoint/plain_clip.pt"),
        folder.path().join("weights.data"),
    )
    .unwrap();
    fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    let pretrained = PretrainedWeights::open(folder.path()).unwrap();
    assert_eq!(pretrained.kind(), PretrainedKind::TensorsOnly);
    assert!(matches!(
        pretrained.weights(None),
        Err(ModelError::NoConfig { .. })
    ));
    let config = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
    assert_plain_clip_features(&pretrained.weights(Some(config)).unwrap());
}

#[test]
fn rejects_a_model_that_differs_from_the_weights() {
    let pretrained = PretrainedWeights::open(fixture(OPENAI)).unwrap();
    let config = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
    assert_eq!(pretrained.config_or(Some(config.clone())).unwrap(), config);
    let gelu = ModelConfig {
        activation: Activation::Gelu,
        ..config
    };
    let error = pretrained.weights(Some(gelu)).unwrap_err();
    assert!(matches!(&error, ModelError::ConfigMismatch { model, .. } if model == "plain_clip"));
    assert!(
        error
            .to_string()
            .contains("activation is quickgelu, not gelu"),
        "{error}"
    );
    let other = pretrained
        .weights(Some(ModelConfig::embedded("ViT-B-32").unwrap()))
        .unwrap_err()
        .to_string();
    assert!(other.contains("embed_dim is 48, not 512"), "{other}");
}

#[test]
fn accepts_a_model_with_another_image_size() {
    let pretrained = PretrainedWeights::open(fixture(OPENAI)).unwrap();
    let mut config = pretrained.config().unwrap().unwrap();
    config.vision.image_size *= 2;
    let weights = pretrained.weights(Some(config.clone())).unwrap();
    assert_eq!(weights.config().vision.image_size, config.vision.image_size);
    let grid = config.vision.grid();
    assert_eq!(
        weights.vision_params::<f32>().positional_embedding.len(),
        (1 + grid * grid) * config.vision.width
    );
}

#[test]
fn resolves_a_config_from_weights() {
    let folder = saved_by_transformers();
    let config = ModelConfig::resolve(folder.path().to_str().unwrap()).unwrap();
    assert_eq!((config.vision.heads, config.text.heads), (2, 1));
    assert_eq!(
        ModelConfig::resolve(fixture(OPENAI).to_str().unwrap())
            .unwrap()
            .embed_dim,
        48
    );
    let plain = ModelConfig::resolve(fixture("checkpoint/plain_clip.pt").to_str().unwrap());
    assert!(matches!(plain, Err(ModelError::NoConfig { .. })));
}

/// Returns `rn_tiny` with a text width of one OpenAI head, and the tensors of its plain CLIP.
fn resnet_of_openai() -> (ModelConfig, Vec<(String, Tensor)>) {
    let mut config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
    config.activation = Activation::QuickGelu;
    config.text.width = 64;
    config.text.heads = 1;
    config.text.mlp_width = 256;
    let stored = Checkpoint::open(fixture("models/rn_tiny/model.safetensors")).unwrap();
    let mut named = config.vision.tensors(config.embed_dim);
    named.extend(config.text.tensors(config.embed_dim, TextSide::Yes));
    let with_tensor = |TensorSpec { name, shape }: TensorSpec| {
        let tensor = match stored.get(&name).filter(|_| name.starts_with("visual.")) {
            Some(tensor) => tensor.clone(),
            None => Tensor::from_f32(&shape, vec![0.1; shape.iter().product::<usize>()]).unwrap(),
        };
        (name, tensor)
    };
    let mut tensors: Vec<_> = named.into_iter().map(with_tensor).collect();
    tensors.push((
        "logit_scale".to_owned(),
        Tensor::from_f32(&[], vec![4.6]).unwrap(),
    ));
    for (name, size) in [
        ("visual.bn1.num_batches_tracked", 7),
        ("input_resolution", 64),
        ("context_length", config.text.context_length as i64),
        ("vocab_size", config.text.vocab_size as i64),
    ] {
        tensors.push((name.to_owned(), Tensor::from_i64(&[], &[size]).unwrap()));
    }
    (config, tensors)
}

#[test]
fn infers_the_stages_of_an_openai_resnet_and_produces_the_reference_features() {
    let (config, tensors) = resnet_of_openai();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    fs::write(&path, torch_file::state_dict(&tensors)).unwrap();
    let pretrained = PretrainedWeights::open(&path).unwrap();
    assert_eq!(pretrained.kind(), PretrainedKind::OpenAi);
    let weights = pretrained.weights(None).unwrap();
    assert_eq!(
        *weights.config(),
        ModelConfig {
            name: "weights".to_owned(),
            ..config
        }
    );
    let figures =
        |name: &str| Figures::open(&fixture(&format!("models/rn_tiny/{name}.safetensors")));
    let pixels = figures("inputs").f32("images");
    let found = image_tower(&weights)
        .encode(ImageBatch::new(&pixels, 64, 64).unwrap())
        .unwrap();
    assert_close(
        found.values(),
        &figures("io_f32").f32("image_features"),
        F32,
        "image_features",
    );
}

#[test]
fn resnets_in_hub_directories_and_training_checkpoints_produce_the_reference_features() {
    let config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
    let [hub, training] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let model: Value =
        serde_json::from_slice(&fs::read(fixture("models/rn_tiny/rn_tiny.json")).unwrap()).unwrap();
    write_json(
        hub.path(),
        "open_clip_config.json",
        &json!({"model_cfg": model, "preprocess_cfg": {}}),
    );
    write_json(
        training.path(),
        "state.json",
        &json!({"format": 1, "model": config}),
    );
    for (folder, file, kind) in [
        (
            &hub,
            "open_clip_model.safetensors",
            PretrainedKind::OpenClipHub,
        ),
        (
            &training,
            "model.safetensors",
            PretrainedKind::TrainingCheckpoint,
        ),
    ] {
        fs::copy(
            fixture("models/rn_tiny/model.safetensors"),
            folder.path().join(file),
        )
        .unwrap();
        let pretrained = PretrainedWeights::open(folder.path()).unwrap();
        assert_eq!(pretrained.kind(), kind);
        let weights = pretrained.weights(None).unwrap();
        assert_eq!(weights.config().vision.stages, Some([2, 1, 1, 1]));
        let [inputs, io] =
            ["inputs", "io_f32"].map(|name| format!("models/rn_tiny/{name}.safetensors"));
        assert_features(
            &weights,
            &inputs,
            &io,
            ("image_features", "text_features_yes"),
        );
    }
}

#[test]
fn rejects_a_training_checkpoint_with_invalid_resnet_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
    fs::copy(
        fixture("models/rn_tiny/model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();
    for (key, value, named) in [
        (
            "stages",
            json!([2, 1, 0, 1]),
            "vision.stages from 1 to 1024, got 0",
        ),
        ("stages", json!([2, 1, 1, 1u64 << 40]), "vision.stages"),
        ("stages", json!([2, 1, 1]), "invalid `model`"),
        ("layers", json!(6), "vision.layers 5 for a ResNet"),
        ("patch_size", json!(0), "vision.patch_size 32 for a ResNet"),
        ("mlp_width", json!(32), "vision.mlp_width 0 for a ResNet"),
        (
            "image_size",
            json!(31),
            "vision.image_size of at least 32 for a ResNet, got 31",
        ),
        (
            "width",
            json!(1),
            "vision.width of at least 2 for a ResNet, got 1",
        ),
        ("width", json!(1u64 << 62), "vision.width"),
        ("heads", json!(0), ", got 0"),
        ("heads", json!(3), "vision.heads 3"),
    ] {
        let mut broken = serde_json::to_value(&config).unwrap();
        broken["vision"][key] = value;
        write_json(
            folder.path(),
            "state.json",
            &json!({"format": 1, "model": broken}),
        );
        let error = PretrainedWeights::open(folder.path())
            .unwrap()
            .config()
            .unwrap_err();
        assert!(matches!(&error, ModelError::BadConfig { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn an_openai_archive_with_a_resnet_produces_the_reference_features() {
    let path = fixture("openai_resnet/openai_resnet.pt");
    let pretrained = PretrainedWeights::open(&path).unwrap();
    assert_eq!(pretrained.kind(), PretrainedKind::OpenAi);
    assert_eq!(pretrained.checkpoint().format(), WeightsFormat::TorchScript);
    let weights = pretrained.weights(None).unwrap();
    let expected = ModelConfig::load(fixture("openai_resnet/config.json")).unwrap();
    assert_eq!(
        *weights.config(),
        ModelConfig {
            name: "openai_resnet".to_owned(),
            ..expected
        }
    );
    assert_eq!(weights.config().vision.stages, Some([2, 1, 1, 1]));
    let dtype = |name: &str| pretrained.checkpoint().get(name).unwrap().dtype();
    assert_eq!(
        [
            "visual.layer1.1.conv2.weight",
            "visual.layer2.0.downsample.1.running_var",
            "visual.bn1.num_batches_tracked"
        ]
        .map(dtype),
        [Dtype::F16, Dtype::F32, Dtype::I64]
    );
    let io = "openai_resnet/io.safetensors";
    assert_features(&weights, io, io, ("image_features", "text_features"));
    assert_eq!(
        pretrained.preprocessing().unwrap(),
        Some(Preprocessing::clip(64))
    );
}
