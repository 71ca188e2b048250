//! Preprocessing of `transformers` in the form of version 5, `processor_config.json`, and in that of the
//! versions before it.
//!
//! The right values are those of `CLIPImageProcessor.from_pretrained` of transformers 5.24.0 on the same
//! files; 4.57.1 takes `preprocessor_config.json` where both are, and 4.40.2 to 4.55.4 read only that.

use std::fs;
use std::path::Path;

use clipn_image::Preprocessing;
use clipn_model::{
    ConversionTarget, ModelConfig, ModelError, PretrainedWeights, WeightsConversion,
};
use clipn_testing::fixture;
use clipn_testing::transformers::{plain_clip_config, preprocessor};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pretrained_hostile::{TRANSFORMERS_TENSOR, write_json, write_one};

const NEW: &str = "processor_config.json";
const OLD: &str = "preprocessor_config.json";

/// Directory with weights and a config, for images of 32 pixels.
fn directory() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_json(folder.path(), "config.json", &plain_clip_config());
    write_one(
        &folder.path().join("model.safetensors"),
        TRANSFORMERS_TENSOR,
    );
    folder
}

/// An image processor as transformers 5.24.0 saves it.
fn image_processor(mean: f64, std: f64) -> Value {
    json!({
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": true,
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [mean, mean, mean],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [std, std, std],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 32}
    })
}

fn write_new(folder: &Path, image_processor: &Value) {
    let config = json!({"image_processor": image_processor, "processor_class": "CLIPProcessor"});
    write_json(folder, NEW, &config);
}

fn preprocessing(folder: &Path) -> Result<Option<Preprocessing>, ModelError> {
    PretrainedWeights::open(folder).unwrap().preprocessing()
}

fn pixels(mean: f32, std: f32) -> Option<Preprocessing> {
    Some(Preprocessing::clip(32).with_normalization([mean; 3], [std; 3]))
}

#[test]
fn the_form_of_version_5_is_read_and_comes_first() {
    let folder = directory();
    let folder = folder.path();
    let overridden = || {
        let pretrained = PretrainedWeights::open(folder).unwrap();
        pretrained.overridden_preprocessing()
    };
    write_new(folder, &image_processor(0.5, 0.25));
    assert_eq!(preprocessing(folder).unwrap(), pixels(0.5, 0.25));
    assert_eq!(overridden(), None);

    write_json(folder, OLD, &image_processor(0.1, 0.25));
    assert_eq!(preprocessing(folder).unwrap(), pixels(0.5, 0.25));
    assert_eq!(overridden(), Some(folder.join(OLD)));

    // The same values in other words, as in the output of a conversion.
    write_json(folder, OLD, &image_processor(0.5, 0.25));
    assert_eq!(overridden(), None);

    // What cannot be read differs, too.
    fs::write(folder.join(OLD), "{").unwrap();
    assert_eq!(preprocessing(folder).unwrap(), pixels(0.5, 0.25));
    assert_eq!(overridden(), Some(folder.join(OLD)));
}

#[test]
fn a_processor_without_images_leaves_the_older_file() {
    let folder = directory();
    let folder = folder.path();
    write_json(folder, OLD, &image_processor(0.5, 0.25));
    for config in [
        json!({"processor_class": "CLIPProcessor"}),
        json!({"image_processor": null, "processor_class": "CLIPProcessor"}),
    ] {
        write_json(folder, NEW, &config);
        assert_eq!(
            preprocessing(folder).unwrap(),
            pixels(0.5, 0.25),
            "{config}"
        );
    }
    fs::remove_file(folder.join(OLD)).unwrap();
    assert_eq!(preprocessing(folder).unwrap(), None);
    // `null` sides, which version 5 has in its own objects, count as absent.
    let mut nulls = image_processor(0.5, 0.25);
    nulls["size"] =
        json!({"shortest_edge": 32, "longest_edge": null, "height": null, "width": null});
    write_new(folder, &nulls);
    assert_eq!(preprocessing(folder).unwrap(), pixels(0.5, 0.25));
}

#[test]
fn what_is_not_computed_is_rejected_in_both_forms() {
    for (key, value, named) in [
        // A processor that squashes images and resizes with bilinear interpolation.
        ("do_center_crop", json!(false), "do_center_crop` = false"),
        ("resample", json!(2), "resample` = 2 (bilinear)"),
        ("resample", json!(1), "resample` = 1 (Lanczos)"),
        (
            "size",
            json!({"height": 32, "width": 32}),
            "size` = {\"height\":32",
        ),
        (
            "size",
            json!({"shortest_edge": 32, "longest_edge": 64}),
            "size` = {\"longest_edge\":64",
        ),
        ("use_square_size", json!(true), "use_square_size` = true"),
        ("do_pad", json!(true), "do_pad` = true"),
        ("do_rescale", json!(false), "do_rescale` = false"),
        (
            "image_processor_type",
            json!("SiglipImageProcessor"),
            "image_processor_type` = \"SiglipImageProcessor\"",
        ),
        ("crop_size", json!(30), "image_size 32, got 30"),
        ("image_std", json!([0.5, 0.0, 0.5]), "above 0"),
    ] {
        let mut processor = image_processor(0.5, 0.25);
        processor[key] = value;
        let (new, old) = (directory(), directory());
        write_new(new.path(), &processor);
        write_json(old.path(), OLD, &processor);
        for (folder, file, prefix) in [(&new, NEW, "image_processor."), (&old, OLD, "")] {
            let error = preprocessing(folder.path()).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(named), "{error}");
            assert!(
                key == "image_std" || error.contains(&format!("`{prefix}{key}`")),
                "{error}"
            );
            let checked = PretrainedWeights::check_supported_configs(folder.path(), false);
            assert_eq!(checked.unwrap_err().to_string(), error);
        }
    }
    // The names of one processor over time.
    for kind in [
        "CLIPImageProcessorFast",
        "CLIPImageProcessorPil",
        "CLIPFeatureExtractor",
    ] {
        let folder = directory();
        let mut processor = image_processor(0.5, 0.25);
        processor["image_processor_type"] = json!(kind);
        write_new(folder.path(), &processor);
        assert_eq!(
            preprocessing(folder.path()).unwrap(),
            pixels(0.5, 0.25),
            "{kind}"
        );
    }
    let folder = directory();
    let mut oldest = preprocessor(32);
    oldest
        .as_object_mut()
        .unwrap()
        .remove("image_processor_type");
    oldest["feature_extractor_type"] = json!("ViTFeatureExtractor");
    write_json(folder.path(), OLD, &oldest);
    let error = preprocessing(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("`feature_extractor_type` = \"ViTFeatureExtractor\""),
        "{error}"
    );
}

#[test]
fn conversions_keep_the_pixels_and_write_the_forms_of_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let pretrained = PretrainedWeights::open(fixture("checkpoint/plain_clip.pt")).unwrap();
    let model = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
    let whole = folder.path().join("whole");
    WeightsConversion::new(ConversionTarget::Transformers5)
        .run(&pretrained, Some(model), &whole)
        .unwrap();
    assert!(!whole.join(OLD).exists());
    write_new(&whole, &image_processor(0.5, 0.25));

    // What transformers 5 saved, in a file of clipn and back in every form.
    let file = folder.path().join("clip.safetensors");
    let from = PretrainedWeights::open(&whole).unwrap();
    WeightsConversion::new(ConversionTarget::Clipn)
        .run(&from, None, &file)
        .unwrap();
    assert_eq!(preprocessing(&file).unwrap(), pixels(0.5, 0.25));
    let from = PretrainedWeights::open(&file).unwrap();
    for (to, files) in [
        (ConversionTarget::Transformers, &[OLD, NEW][..]),
        (ConversionTarget::Transformers4, &[OLD]),
        (ConversionTarget::Transformers5, &[NEW]),
    ] {
        let out = folder.path().join(to.as_str());
        let converted = WeightsConversion::new(to).run(&from, None, &out).unwrap();
        let written = |name: &str| converted.files.iter().any(|(path, _)| path.ends_with(name));
        for name in [OLD, NEW] {
            assert_eq!(
                out.join(name).exists(),
                files.contains(&name),
                "{to} {name}"
            );
            assert_eq!(written(name), files.contains(&name), "{to} {name}");
        }
        assert_eq!(preprocessing(&out).unwrap(), pixels(0.5, 0.25), "{to}");
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(out.join(name)).unwrap()).unwrap()
        };
        // The objects that transformers 5.24.0 saves, but for the last digits of one number.
        let mut expected = image_processor(0.5, 0.25);
        expected["rescale_factor"] = json!(1.0 / 255.0);
        if files.contains(&OLD) {
            assert_eq!(read(OLD), expected, "{to}");
        }
        if files.contains(&NEW) {
            let whole = json!({"image_processor": expected, "processor_class": "CLIPProcessor"});
            assert_eq!(read(NEW), whole, "{to}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_config_that_is_a_link_to_nowhere_is_an_error() {
    let folder = directory();
    let folder = folder.path();
    write_json(folder, OLD, &image_processor(0.5, 0.25));
    std::os::unix::fs::symlink("../../blobs/gone", folder.join(NEW)).unwrap();
    let error = preprocessing(folder).unwrap_err();
    assert!(
        matches!(&error, ModelError::ReadConfig { path, .. } if path.ends_with(NEW)),
        "{error}"
    );
}
