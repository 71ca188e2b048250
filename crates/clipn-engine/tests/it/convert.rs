//! Round trips of weights through every input and output format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clipn_checkpoint::{Checkpoint, Dtype, FloatType, Layout, Tensor, write_safetensors};
use clipn_engine::{TextTransformer, image_tower};
use clipn_image::Preprocessing;
use clipn_model::{
    ConversionSummary, ConversionTarget, ConvertError, ImageBatch, ModelConfig, OmittedPart,
    ParameterCounts, PretrainedKind, PretrainedWeights, TextSide, TextTower, WeightsConversion,
};
use clipn_testing::figures::{Figures, assert_close};
use clipn_testing::transformers::{clip_model, plain_clip_config, preprocessor};
use clipn_testing::{fixture, test_data, torch_file};
use clipn_text::tokenizer::TokenBatch;
use half::{bf16, f16};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Tensors of OpenAI's archives that are not parameters.
const SIZES: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// Weights to convert: their path, and the architecture if they have no config.
struct Source {
    path: PathBuf,
    model: Option<ModelConfig>,
}

impl Source {
    fn file(path: PathBuf, model: Option<&str>) -> Self {
        let load =
            |name: &str| ModelConfig::load(fixture(&format!("models/{name}/{name}.json"))).unwrap();
        Self {
            path,
            model: model.map(load),
        }
    }

    fn open(&self) -> PretrainedWeights {
        PretrainedWeights::open(&self.path).unwrap()
    }

    fn config(&self) -> ModelConfig {
        self.open().config_or(self.model.clone()).unwrap()
    }

    fn convert(&self, to: ConversionTarget, out: &Path) -> Result<ConversionSummary, ConvertError> {
        self.convert_as(to, None, out)
    }

    fn convert_as(
        &self,
        to: ConversionTarget,
        float: Option<FloatType>,
        out: &Path,
    ) -> Result<ConversionSummary, ConvertError> {
        WeightsConversion {
            float,
            ..WeightsConversion::new(to)
        }
        .run(&self.open(), self.model.clone(), out)
    }
}

fn plain_clip() -> Source {
    Source::file(fixture("checkpoint/plain_clip.pt"), Some("plain_clip"))
}

fn write_json(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), serde_json::to_vec(value).unwrap()).unwrap();
}

fn write(path: &Path, tensors: &[(String, Tensor)]) {
    write_safetensors(path, tensors.iter().cloned(), &BTreeMap::new()).unwrap();
}

/// Creates directories of other programs and of a training run, and the state dict of an archive,
/// independently of the library's own writers.
fn folders(root: &Path) -> Vec<Source> {
    let clip = plain_clip().open();
    let own: Vec<_> = clip
        .checkpoint()
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    let renamed_for_transformers = clip_model(clip.checkpoint());
    let make = |name: &str| {
        let folder = root.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let whole = make("transformers");
    write_json(&whole, "config.json", &plain_clip_config());
    write_json(&whole, "preprocessor_config.json", &preprocessor(32));
    write(&whole.join("model.safetensors"), &renamed_for_transformers);

    let parts = make("transformers-parts");
    write_json(&parts, "config.json", &plain_clip_config());
    let (first, second) = renamed_for_transformers.split_at(renamed_for_transformers.len() / 2);
    let files = [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ];
    let mut map = serde_json::Map::new();
    for (tensors, file) in [first, second].into_iter().zip(files) {
        fs::write(parts.join(file), torch_file::state_dict(tensors)).unwrap();
        map.extend(
            tensors
                .iter()
                .map(|(name, _)| (name.clone(), Value::from(file))),
        );
    }
    write_json(
        &parts,
        "pytorch_model.bin.index.json",
        &json!({ "weight_map": map }),
    );

    let model: Value =
        serde_json::from_slice(&fs::read(fixture("models/plain_clip/plain_clip.json")).unwrap())
            .unwrap();
    let hub = make("hub");
    let mean = json!({ "mean": [0.5, 0.25, 0.1], "std": [0.5, 0.3, 0.7] });
    write_json(
        &hub,
        "open_clip_config.json",
        &json!({ "model_cfg": model, "preprocess_cfg": mean }),
    );
    fs::write(
        hub.join("open_clip_pytorch_model.bin"),
        torch_file::state_dict(&own),
    )
    .unwrap();

    let custom_text = make("hub-custom-text");
    let mut custom = model;
    custom["custom_text"] = true.into();
    write_json(
        &custom_text,
        "open_clip_config.json",
        &json!({ "model_cfg": custom }),
    );
    let renamed: Vec<_> = own
        .iter()
        .map(|(name, tensor)| {
            let outside = name.starts_with("visual.") || name == "logit_scale";
            (
                if outside {
                    name.clone()
                } else {
                    format!("text.{name}")
                },
                tensor.clone(),
            )
        })
        .collect();
    write(&custom_text.join("open_clip_model.safetensors"), &renamed);

    let training = make("epoch-3");
    let config = ModelConfig::load(fixture("models/vit_gelu/vit_gelu.json")).unwrap();
    write_json(
        &training,
        "state.json",
        &json!({ "format": 1, "model": config }),
    );
    fs::copy(
        fixture("models/vit_gelu/model.safetensors"),
        training.join("model.safetensors"),
    )
    .unwrap();

    let archive = Checkpoint::open(fixture("checkpoint/openai_style_jit.pt")).unwrap();
    let tensors: Vec<_> = archive
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    let openai = root.join("state-dict.pt");
    fs::write(&openai, torch_file::state_dict(&tensors)).unwrap();

    let folders = [whole, parts, hub, custom_text, training, openai];
    folders
        .into_iter()
        .map(|path| Source { path, model: None })
        .collect()
}

/// Weights of every format: those of the repository, of the optional test data, and directories
/// created in `root`.
fn sources(root: &Path) -> Vec<Source> {
    let mut sources = vec![
        plain_clip(),
        Source::file(fixture("checkpoint/openai_style_jit.pt"), None),
        Source::file(fixture("openai_resnet/openai_resnet.pt"), None),
        Source::file(
            fixture("models/clipn-tiny-realvocab/model_fp16.safetensors"),
            Some("clipn-tiny-realvocab"),
        ),
    ];
    for name in ["vit_gelu", "vit_quickgelu", "rn_tiny"] {
        sources.push(Source::file(
            fixture(&format!("models/{name}/model.safetensors")),
            Some(name),
        ));
    }
    for (path, model) in [
        ("golden/ckpt/rn_tiny_legacy.pt", "rn_tiny"),
        ("golden/models/vit_gelu/checkpoint_after3.pt", "vit_gelu"),
        (
            "golden/models/vit_quickgelu/checkpoint_after3.pt",
            "vit_quickgelu",
        ),
        (
            "golden/models/clipn-tiny-realvocab/run/checkpoints/epoch_10.pt",
            "clipn-tiny-realvocab",
        ),
    ] {
        sources.extend(test_data(path).map(|path| Source::file(path, Some(model))));
    }
    sources.extend(folders(root));
    sources
}

fn is_resnet(config: &ModelConfig) -> bool {
    config.vision.stages.is_some()
}

/// Asserts that `found` has exactly the tensors of `expected` for which `is_kept` holds.
#[track_caller]
fn assert_same(
    found: &Checkpoint,
    expected: &Checkpoint,
    is_kept: impl Fn(&str) -> bool,
    what: &Path,
) {
    let kept: Vec<_> = expected.iter().filter(|(name, _)| is_kept(name)).collect();
    assert_eq!(found.len(), kept.len(), "{}", what.display());
    for (name, tensor) in kept {
        assert_eq!(found.get(name), Some(tensor), "{}: {name}", what.display());
    }
}

#[test]
fn converts_every_format_to_a_file_with_its_config_and_all_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(folder.path());
    for (index, source) in sources.iter().enumerate() {
        let out = folder.path().join(format!("{index}.safetensors"));
        let converted = source.convert(ConversionTarget::Clipn, &out).unwrap();
        let (from, back) = (source.open(), PretrainedWeights::open(&out).unwrap());
        assert_eq!(back.kind(), PretrainedKind::EmbeddedConfig);
        assert_eq!(
            back.config().unwrap(),
            Some(source.config()),
            "{}",
            source.path.display()
        );
        let pixels = Preprocessing::clip(source.config().vision.image_size);
        assert_eq!(
            back.preprocessing().unwrap(),
            Some(from.preprocessing().unwrap().unwrap_or(pixels))
        );
        assert_same(
            back.checkpoint(),
            from.checkpoint(),
            |name| !SIZES.contains(&name),
            &source.path,
        );
        let (before, after) = (
            from.weights(source.model.clone()).unwrap(),
            back.weights(None).unwrap(),
        );
        assert_eq!(before.no_side_origin(), after.no_side_origin());
        assert_eq!(before.no_prompts(), after.no_prompts());
        assert_eq!(
            converted.files,
            [(out.clone(), fs::metadata(&out).unwrap().len())]
        );
        assert_eq!(converted.tensors, back.checkpoint().len());
        let epoch = |pretrained: &PretrainedWeights| {
            pretrained
                .checkpoint()
                .metadata()
                .get("epoch")
                .map(str::to_owned)
        };
        assert_eq!(epoch(&back), epoch(&from));
        // Converting the output again gives the same file.
        let again = folder.path().join("again.safetensors");
        Source {
            path: out.clone(),
            model: None,
        }
        .convert(ConversionTarget::Clipn, &again)
        .unwrap();
        assert!(
            fs::read(&again).unwrap() == fs::read(&out).unwrap(),
            "{}",
            source.path.display()
        );
        fs::remove_file(&again).unwrap();
    }
}

/// Asserts that the directory `out` has the given format and the CLIP part of the source.
#[track_caller]
fn assert_has_clip_part(source: &Source, out: &Path, kind: PretrainedKind) {
    let (from, back) = (source.open(), PretrainedWeights::open(out).unwrap());
    assert_eq!(back.kind(), kind);
    let name = out.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(
        back.config().unwrap(),
        Some(ModelConfig {
            name,
            ..source.config()
        })
    );
    let pixels = Preprocessing::clip(source.config().vision.image_size);
    assert_eq!(
        back.preprocessing().unwrap(),
        Some(from.preprocessing().unwrap().unwrap_or(pixels))
    );
    let is_clip_part = |name: &str| !name.contains("_no") && !SIZES.contains(&name);
    assert_same(
        back.checkpoint(),
        from.checkpoint(),
        is_clip_part,
        &source.path,
    );
    back.weights(None).unwrap();
}

#[test]
fn converts_every_format_to_a_hub_directory_with_the_clip_part() {
    let folder = tempfile::tempdir().unwrap();
    for (index, source) in sources(folder.path()).iter().enumerate() {
        let out = folder.path().join(index.to_string());
        let converted = source.convert(ConversionTarget::OpenClip, &out).unwrap();
        assert_has_clip_part(source, &out, PretrainedKind::OpenClipHub);
        let reports_no_side = converted
            .omitted
            .iter()
            .any(|left| matches!(left, OmittedPart::NoTextTower { .. }));
        assert_eq!(
            reports_no_side,
            source
                .open()
                .checkpoint()
                .iter()
                .any(|(name, _)| name.contains("_no"))
        );
        assert!(converted.parameters.no == 0 && converted.files.len() == 2);
    }
}

#[test]
fn converts_every_vit_to_a_clip_model_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    for (index, source) in sources(folder.path()).iter().enumerate() {
        let out = folder.path().join(index.to_string());
        let converted = source.convert(ConversionTarget::Transformers, &out);
        if is_resnet(&source.config()) {
            let error = converted.unwrap_err();
            assert!(
                matches!(&error, ConvertError::ResNetUnsupported { model } if *model == source.config().name)
            );
            assert!(!out.exists());
            continue;
        }
        assert_has_clip_part(source, &out, PretrainedKind::Transformers);
        assert_eq!(converted.unwrap().files.len(), 4);
    }
}

/// Returns the tensors of a safetensors file under their stored names.
fn stored(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor =
        |view: safetensors::tensor::TensorView<'_>| (view.shape().to_vec(), view.data().to_vec());
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, tensor(view)))
        .collect()
}

#[test]
fn a_round_trip_from_transformers_preserves_the_file_content() {
    let folder = tempfile::tempdir().unwrap();
    let sources = folders(folder.path());
    let own = stored(&sources[0].path.join("model.safetensors"));
    for (index, source) in sources[..2].iter().enumerate() {
        let (forward, back) = (
            folder.path().join(format!("{index}.safetensors")),
            format!("{index}-back"),
        );
        source.convert(ConversionTarget::Clipn, &forward).unwrap();
        assert_eq!(
            Checkpoint::open(&forward).unwrap().layout(),
            Layout::OpenClip
        );
        let back = folder.path().join(back);
        Source {
            path: forward,
            model: None,
        }
        .convert(ConversionTarget::Transformers, &back)
        .unwrap();
        assert!(stored(&back.join("model.safetensors")) == own);
    }
    let config: Value =
        serde_json::from_slice(&fs::read(folder.path().join("0-back/config.json")).unwrap())
            .unwrap();
    for key in [
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
    ] {
        assert_eq!(
            config["vision_config"][key],
            plain_clip_config()["vision_config"][key],
            "{key}"
        );
        assert_eq!(
            config["text_config"][key],
            plain_clip_config()["text_config"][key],
            "{key}"
        );
    }
    assert_eq!(config["torch_dtype"], "float32");
}

#[test]
fn converted_weights_produce_the_reference_features() {
    let folder = tempfile::tempdir().unwrap();
    let io = "models/plain_clip/io.safetensors";
    let resnet_io = "openai_resnet/io.safetensors";
    let openai = Source::file(fixture("checkpoint/openai_style_jit.pt"), None);
    let resnet = Source::file(fixture("openai_resnet/openai_resnet.pt"), None);
    for (source, to, io, text) in [
        (&openai, ConversionTarget::Clipn, io, "text_yes"),
        (&openai, ConversionTarget::OpenClip, io, "text_yes"),
        (&openai, ConversionTarget::Transformers, io, "text_yes"),
        (&resnet, ConversionTarget::Clipn, resnet_io, "text_features"),
        (
            &resnet,
            ConversionTarget::OpenClip,
            resnet_io,
            "text_features",
        ),
    ] {
        let out = folder.path().join(format!("{}-{text}", to.as_str()));
        source.convert(to, &out).unwrap();
        let weights = PretrainedWeights::open(&out)
            .unwrap()
            .weights(None)
            .unwrap();
        let figures = Figures::open(&fixture(io));
        let (pixels, shape) = (figures.f32("images"), figures.shape("images"));
        let found = image_tower(&weights)
            .encode(ImageBatch::new(&pixels, shape[2], shape[3]).unwrap())
            .unwrap();
        assert_close(
            found.values(),
            &figures.f32("image_features"),
            1e-5,
            to.as_str(),
        );
        let tokens = TokenBatch::new(figures.ids("tokens"), figures.shape("tokens")[1]).unwrap();
        let found = TextTransformer::from_weights(&weights, TextSide::Yes)
            .encode(&tokens)
            .unwrap();
        assert_close(found.values(), &figures.f32(text), 1e-5, to.as_str());
    }
}

#[test]
fn rounds_floats_to_nearest_and_keeps_integer_types() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::file(fixture("models/rn_tiny/model.safetensors"), Some("rn_tiny"));
    let from = source.open();
    for (float, round) in [
        (FloatType::F32, (|v| v) as fn(f32) -> f32),
        (FloatType::F16, |v| f16::from_f32_const(v).to_f32_const()),
        (FloatType::Bf16, |v| bf16::from_f32_const(v).to_f32_const()),
    ] {
        let out = folder.path().join(format!("{float}.safetensors"));
        let converted = source
            .convert_as(ConversionTarget::Clipn, Some(float), &out)
            .unwrap();
        let back = Checkpoint::open(&out).unwrap();
        for (name, tensor) in from.checkpoint().iter() {
            let found = back.get(name).unwrap();
            if tensor.dtype() == Dtype::I64 {
                assert_eq!(found, tensor, "{name}");
                continue;
            }
            assert_eq!(
                (found.dtype(), found.shape()),
                (float.dtype(), tensor.shape()),
                "{name}"
            );
            let rounded: Vec<f32> = tensor.to_f32().iter().map(|&v| round(v)).collect();
            assert_eq!(found.to_f32()[..], rounded[..], "{name}");
        }
        assert_eq!(
            converted.dtypes[&float.to_string()] + converted.dtypes["i64"],
            converted.tensors
        );
    }
    // f16 to f32 and back is lossless.
    let clip = plain_clip();
    let (wide, back) = (
        folder.path().join("wide.safetensors"),
        folder.path().join("back.safetensors"),
    );
    clip.convert_as(ConversionTarget::Clipn, Some(FloatType::F32), &wide)
        .unwrap();
    Source {
        path: wide,
        model: None,
    }
    .convert_as(ConversionTarget::Clipn, Some(FloatType::F16), &back)
    .unwrap();
    assert_same(
        &Checkpoint::open(&back).unwrap(),
        clip.open().checkpoint(),
        |_| true,
        &back,
    );
}

/// Returns the small CLIP with one tensor replaced, in a temporary directory.
fn with_replaced_tensor(name: &str, tensor: &Tensor) -> (TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let clip = plain_clip().open();
    let tensors: Vec<_> = clip
        .checkpoint()
        .iter()
        .map(|(own, kept)| {
            (
                own.to_owned(),
                if own == name {
                    tensor.clone()
                } else {
                    kept.clone()
                },
            )
        })
        .collect();
    let path = folder.path().join("with_replaced_tensor.safetensors");
    write(&path, &tensors);
    let source = Source {
        path,
        model: plain_clip().model,
    };
    (folder, source)
}

#[test]
fn reports_values_out_of_range_and_leaves_no_output() {
    let mut values = vec![0.5; 48 * 128];
    values[700] = -70000.0;
    let (folder, source) = with_replaced_tensor(
        "visual.proj",
        &Tensor::from_f32(&[128, 48], values).unwrap(),
    );
    for (to, name) in [
        (ConversionTarget::Clipn, "visual.proj"),
        (ConversionTarget::OpenClip, "visual.proj"),
        (ConversionTarget::Transformers, "visual_projection.weight"),
    ] {
        let out = folder.path().join("out");
        let error = source
            .convert_as(to, Some(FloatType::F16), &out)
            .unwrap_err()
            .to_string();
        let parts = [
            name,
            "-70000",
            "exceeds the f16 maximum of 65504",
            "out: value",
        ];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "only the source is left"
        );
        source.convert_as(to, Some(FloatType::Bf16), &out).unwrap();
        if to.is_directory() {
            fs::remove_dir_all(&out).unwrap();
        } else {
            fs::remove_file(&out).unwrap();
        }
    }
}

#[test]
fn a_logit_scale_of_shape_one_becomes_a_scalar_for_other_programs() {
    let scale = Tensor::from_f32(&[1], vec![2.5]).unwrap();
    let (folder, source) = with_replaced_tensor("logit_scale", &scale);
    for (to, shape) in [
        (ConversionTarget::Clipn, &[1][..]),
        (ConversionTarget::OpenClip, &[]),
        (ConversionTarget::Transformers, &[]),
    ] {
        let out = folder.path().join(to.as_str());
        source.convert(to, &out).unwrap();
        let back = Checkpoint::open(&out).unwrap();
        let found = back.get("logit_scale").unwrap();
        assert_eq!((found.shape(), &found.to_f32()[..]), (shape, &[2.5][..]));
    }
}

#[test]
fn only_clipn_files_keep_positions_of_another_image_size() {
    let mut model = plain_clip().model.unwrap();
    model.vision.image_size = 48;
    let source = Source {
        model: Some(model),
        ..plain_clip()
    };
    let folder = tempfile::tempdir().unwrap();
    for to in [ConversionTarget::OpenClip, ConversionTarget::Transformers] {
        let error = source.convert(to, &folder.path().join("out")).unwrap_err();
        assert!(
            matches!(
                &error,
                ConvertError::PositionCount {
                    stored: 5,
                    expected: 10,
                    ..
                }
            ) && error.to_string().contains("visual.positional_embedding"),
            "{error}"
        );
    }
    let out = folder.path().join("out.safetensors");
    source.convert(ConversionTarget::Clipn, &out).unwrap();
    let back = PretrainedWeights::open(&out).unwrap();
    assert_same(
        back.checkpoint(),
        source.open().checkpoint(),
        |_| true,
        &out,
    );
    assert_eq!(
        back.weights(None)
            .unwrap()
            .vision_params::<f32>()
            .positional_embedding
            .len(),
        10 * 128
    );
}

#[test]
fn omits_the_attention_mask_of_older_versions() {
    let folder = tempfile::tempdir().unwrap();
    let clip = plain_clip().open();
    let mut tensors: Vec<_> = clip
        .checkpoint()
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    tensors.push((
        "attn_mask".to_owned(),
        Tensor::from_f32(&[12, 12], vec![0.0; 144]).unwrap(),
    ));
    let path = folder.path().join("masked.safetensors");
    write(&path, &tensors);
    let out = folder.path().join("out.safetensors");
    let converted = Source {
        path,
        ..plain_clip()
    }
    .convert(ConversionTarget::Clipn, &out)
    .unwrap();
    assert_eq!(
        converted.omitted,
        [OmittedPart::Settings {
            names: vec!["attn_mask".to_owned()]
        }]
    );
    assert_eq!(Checkpoint::open(&out).unwrap().len(), tensors.len() - 1);
}

#[test]
fn rejects_weights_without_an_architecture_and_other_models() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let error = |source: Source| {
        let error = source
            .convert(ConversionTarget::Clipn, &out)
            .unwrap_err()
            .to_string();
        assert!(!out.exists());
        error
    };
    assert!(
        error(Source {
            model: None,
            ..plain_clip()
        })
        .contains("unknown architecture")
    );
    for name in ["formats_zip.pt", "formats_legacy.pt"] {
        let path = fixture("checkpoint").join(name);
        assert!(
            error(Source {
                path: path.clone(),
                model: None
            })
            .contains("unknown architecture")
        );
        let mismatch = error(Source {
            path,
            model: plain_clip().model,
        });
        assert!(
            mismatch.contains("do not fit the model `plain_clip`"),
            "{mismatch}"
        );
    }
    let other = error(Source::file(
        fixture("checkpoint/plain_clip.pt"),
        Some("vit_gelu"),
    ));
    assert!(other.contains("with a wrong shape"), "{other}");
}

#[test]
fn a_config_in_metadata_is_validated_like_any_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("carried.safetensors");
    let clip = plain_clip().open();
    let tensors = || {
        clip.checkpoint()
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
    };
    let opened = |config: &str| {
        let texts = [("open_clip_config", config), ("model", "x\u{1b}[2J")];
        let metadata = texts
            .map(|(key, text)| (key.to_owned(), text.to_owned()))
            .into();
        write_safetensors(&path, tensors(), &metadata).unwrap();
        PretrainedWeights::open(&path).unwrap()
    };
    let good = plain_clip().model.unwrap().to_open_clip();
    let carried = |value: &Value| json!({ "model_cfg": value }).to_string();
    let pretrained = opened(&carried(&good));
    assert_eq!(pretrained.preprocessing().unwrap(), None);
    assert_eq!(pretrained.config().unwrap().unwrap().name, "x\\u{1b}[2J");
    assert_eq!(
        pretrained
            .weights(plain_clip().model)
            .unwrap()
            .config()
            .name,
        "plain_clip"
    );
    let gelu = ModelConfig {
        activation: clipn_model::Activation::Gelu,
        ..plain_clip().model.unwrap()
    };
    let error = pretrained.weights(Some(gelu)).unwrap_err().to_string();
    assert!(
        error.contains("activation is quickgelu, not gelu"),
        "{error}"
    );
    let mut timm = good.clone();
    timm["vision_cfg"]["timm_model_name"] = "x".into();
    let mut layers = good.clone();
    layers["text_cfg"]["layers"] = 99_999.into();
    let pixels = json!({ "model_cfg": good, "preprocess_cfg": { "interpolation": "nearest" } });
    for (config, named) in [
        ("", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{\"model_cfg\": 3}", "expected a JSON object"),
        (&carried(&timm), "timm"),
        (&carried(&layers), "text_cfg.layers"),
        (
            &pixels.to_string(),
            "`preprocess_cfg.interpolation` = \"nearest\"",
        ),
        (&"[".repeat(100_000), "not valid JSON"),
    ] {
        let pretrained = opened(config);
        let error = pretrained.preprocessing().unwrap_err().to_string();
        assert!(
            error.contains("in the metadata of") && error.contains("carried.safetensors"),
            "{error}"
        );
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn parameter_counts_of_a_config_equal_the_sizes_of_its_tensors() {
    for name in [
        "vit_gelu",
        "vit_quickgelu",
        "rn_tiny",
        "clipn-tiny-realvocab",
    ] {
        let file = if name == "clipn-tiny-realvocab" {
            "model_fp16"
        } else {
            "model"
        };
        let path = fixture(&format!("models/{name}/{file}.safetensors"));
        let source = Source::file(path, Some(name));
        let weights = source.open().weights(source.model.clone()).unwrap();
        let pretrained = source.open();
        let tensors = pretrained.checkpoint();
        let sum = |keep: &dyn Fn(&str) -> bool| -> usize {
            tensors
                .iter()
                .filter(|(name, _)| keep(name))
                .map(|(_, tensor)| tensor.len())
                .sum()
        };
        let is_count = |name: &str| name.ends_with("num_batches_tracked");
        let found = weights.config().parameter_counts(weights.no_prompts());
        assert_eq!(
            found.clipn() + found.statistics,
            sum(&|name| !is_count(name)),
            "{name}"
        );
        assert_eq!(found.no, sum(&|name| name.contains("_no")), "{name}");
        let is_image = |name: &str| name.starts_with("visual.") && !name.contains("running_");
        assert_eq!(
            found.image,
            sum(&|name| is_image(name) && !is_count(name)),
            "{name}"
        );
        let counted = ParameterCounts::from_tensors(
            tensors.iter().map(|(name, tensor)| (name, tensor.len())),
        );
        let counts = sum(&is_count);
        assert_eq!(
            counted,
            ParameterCounts {
                statistics: found.statistics + counts,
                ..found
            },
            "{name}"
        );
        let expected = weights.config().tensors();
        assert_eq!(
            expected.len() + 1,
            tensors.iter().filter(|(name, _)| !is_count(name)).count()
        );
    }
}
