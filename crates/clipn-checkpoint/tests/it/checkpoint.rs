//! Real weights files of every format, compared with reason PyTorch reads from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clipn_base::progress::NoProgress;
use clipn_checkpoint::{
    Checkpoint, CheckpointError, Dtype, FloatType, Tensor, TensorEntry, Value, WeightsFormat,
    write_safetensors, write_safetensors_with_progress,
};
use clipn_testing::{fixture, test_data};

const FORMATS: [(&str, WeightsFormat); 4] = [
    ("formats_zip.pt", WeightsFormat::TorchZip),
    ("formats_zip_proto4.pt", WeightsFormat::TorchZip),
    ("formats_legacy.pt", WeightsFormat::TorchLegacy),
    ("formats_legacy_proto4.pt", WeightsFormat::TorchLegacy),
];

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixture("checkpoint").join(name)).expect("a fixture that opens")
}

fn error(path: &Path) -> CheckpointError {
    Checkpoint::open(path).expect_err("the file should be rejected")
}

#[test]
fn every_pt_format_has_the_expected_tensors_bit_for_bit() {
    let expected = open("formats.expected.safetensors");
    assert_eq!(expected.format(), WeightsFormat::Safetensors);
    assert_eq!(expected.len(), 15);
    for (name, kind) in FORMATS {
        let read = open(name);
        assert_eq!(read.format(), kind, "{name}");
        assert_eq!(read.len(), expected.len(), "{name}");
        for (key, tensor) in expected.iter() {
            assert_eq!(read.get(key), Some(tensor), "{name}: {key}");
        }
        let first: Vec<&str> = read.iter().map(|(key, _)| key).take(3).collect();
        assert_eq!(first, ["f32", "f16", "bf16"], "{name}: file order");
    }
}

#[test]
fn scalars_and_empty_tensors_keep_their_shape() {
    for (name, _) in FORMATS {
        let read = open(name);
        let scalar = read.get("scalar").unwrap();
        assert_eq!((scalar.shape(), scalar.len()), (&[][..], 1));
        let empty = read.get("empty").unwrap();
        assert_eq!(
            (empty.shape(), empty.len(), empty.is_empty()),
            (&[0, 4][..], 0, true)
        );
    }
}

#[test]
fn values_beside_the_weights_become_metadata() {
    for (name, _) in FORMATS {
        let read = open(name);
        let metadata = read.metadata();
        assert_eq!(metadata["epoch"], "3");
        assert_eq!(metadata["name"], "formats ü");
        assert_eq!(metadata["big"], "1099511627776");
        assert_eq!(metadata["neg"], "-5");
        assert_eq!(metadata["nested"], "a list of 3");
        assert_eq!(
            metadata["optimizer"],
            "a dictionary of 2: state, param_groups"
        );
        let nested = read.object().and_then(|v| v.get("nested")).unwrap();
        assert_eq!(nested.get_index(0), Some(&Value::Int(1)), "{name}");
    }
}

#[test]
fn f32_tensors_of_a_zip_borrow_the_mapped_file() {
    let read = open("formats_zip.pt");
    let f32s = read.get("f32").unwrap().to_f32();
    assert!(f32s.is_mapped());
    assert!(
        read.get("shared_b").unwrap().to_f32().is_mapped(),
        "a contiguous part of a shared storage"
    );
    assert!(!read.get("view_transposed").unwrap().to_f32().is_mapped());
    assert!(read.get("f64").unwrap().to_f64().is_mapped());
    let f16 = read.get("f16").unwrap();
    assert_eq!(f16.dtype(), Dtype::F16);
    assert!(!f16.to_f32().is_mapped());
    let shared = read.get("shared_a").unwrap().to_f32();
    let transposed = read.get("view_transposed").unwrap().to_f32();
    assert_eq!(
        shared[1], transposed[6],
        "element (0, 1) is element (1, 0) of the transpose"
    );
}

#[test]
fn buffers_outlive_the_checkpoint_and_are_copied_on_write() {
    let mut buffer = open("formats_zip.pt").get("f32").unwrap().to_f32();
    let before = buffer.to_vec();
    buffer.make_mut()[0] = 77.0;
    assert!(!buffer.is_mapped());
    assert_eq!(buffer[0], 77.0);
    assert_eq!(
        open("formats_zip.pt").get("f32").unwrap().to_f32()[..],
        before[..],
        "the file is untouched"
    );
}

#[test]
fn reads_a_top_level_state_dict() {
    let read = open("plain_clip.pt");
    let listed: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("checkpoint/plain_clip_download.json")).unwrap())
            .unwrap();
    let mut names: Vec<String> = read.iter().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    let plain = listed["keys_after"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|key| key.as_str());
    let plain: Vec<&str> = plain.filter(|key| !key.contains("_no")).collect();
    assert_eq!(names, plain);
    assert!(read.iter().all(|(_, tensor)| tensor.dtype() == Dtype::F16));
    assert!(!read.has_module_prefix());
}

#[test]
fn rejects_objects_that_are_not_weights_by_name() {
    let namespace = error(&fixture("checkpoint/with_namespace.pt"));
    assert!(
        matches!(&namespace, CheckpointError::DisallowedGlobal { global, .. } if global == "argparse.Namespace")
    );
    let text = namespace.to_string();
    assert!(
        text.contains("nothing in a weights file is ever executed"),
        "{text}"
    );
    let module = error(&fixture("checkpoint/vit_classifier_pickle.pkl"));
    assert!(
        matches!(&module, CheckpointError::DisallowedGlobal { global, .. } if global.contains("ViT_Classifier")),
        "{module}"
    );
}

#[test]
fn a_distributed_checkpoint_equals_its_safetensors() {
    let folder = "golden/models/clipn-tiny-realvocab";
    let Some(folder) = test_data(folder) else {
        return;
    };
    let saved = Checkpoint::open(folder.join("run/checkpoints/epoch_10.pt")).unwrap();
    let expected = Checkpoint::open(folder.join("model_fp16.safetensors")).unwrap();
    assert!(saved.has_module_prefix());
    assert_eq!(saved.stripped_prefix(), "module.");
    assert_eq!(saved.len(), expected.len());
    for (name, tensor) in expected.iter() {
        assert_eq!(saved.get(name), Some(tensor), "{name}");
    }
    assert_eq!(saved.metadata()["epoch"], "10");
}

#[test]
fn a_legacy_resnet_equals_its_safetensors() {
    let (Some(legacy), Some(model)) = (
        test_data("golden/ckpt/rn_tiny_legacy.pt"),
        test_data("golden/models/rn_tiny/model.safetensors"),
    ) else {
        return;
    };
    let (legacy, model) = (
        Checkpoint::open(&legacy).unwrap(),
        Checkpoint::open(&model).unwrap(),
    );
    assert_eq!(legacy.format(), WeightsFormat::TorchLegacy);
    assert_eq!(legacy.len(), model.len());
    for (name, tensor) in model.iter() {
        assert_eq!(legacy.get(name), Some(tensor), "{name}");
    }
}

#[test]
fn reads_the_optimizer_state() {
    let Some(path) = test_data("golden/models/vit_gelu/checkpoint_after3.pt") else {
        return;
    };
    let saved = Checkpoint::open(&path).unwrap();
    let optimizer = saved
        .object()
        .and_then(|object| object.get("optimizer"))
        .unwrap();
    let groups = optimizer.get("param_groups").unwrap();
    assert_eq!(groups.as_sequence().unwrap().len(), 2);
    let lr = groups
        .get_index(0)
        .and_then(|group| group.get("lr"))
        .and_then(Value::as_f64)
        .unwrap();
    assert!(
        lr > 0.0 && lr < 1.0,
        "a numpy scalar read as a number: {lr}"
    );
    let first = optimizer.get("state").unwrap();
    let (_, entry) = first.as_dict().unwrap().first().unwrap();
    let moment = entry.get("exp_avg").and_then(Value::as_tensor).unwrap();
    assert_eq!(
        moment.shape(),
        entry
            .get("exp_avg_sq")
            .and_then(Value::as_tensor)
            .unwrap()
            .shape()
    );
    assert!(moment.to_f32().is_mapped());
    assert_eq!(
        entry
            .get("step")
            .and_then(Value::as_tensor)
            .unwrap()
            .to_f32()[..],
        [3.0]
    );
}

#[test]
fn strips_the_prefix_of_distributed_checkpoints() {
    let listed: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("checkpoint/checkpoint_keys.json")).unwrap())
            .unwrap();
    let keys: Vec<&str> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|key| key.as_str())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ddp.safetensors");
    let tensors = keys
        .iter()
        .map(|key| ((*key).to_owned(), Tensor::from_f32(&[], vec![0.0]).unwrap()));
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    let read = Checkpoint::open(&path).unwrap();
    let names: Vec<&str> = read.iter().map(|(name, _)| name).collect();
    let expected: Vec<&str> = keys
        .iter()
        .map(|key| key.strip_prefix("module.").unwrap())
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn integers_with_factors_are_written_and_read_as_their_products() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("int8.safetensors");
    let integers = Tensor::from_bytes(Dtype::I8, &[2, 3], vec![1, 255, 127, 0, 2, 129]).unwrap();
    let tensor = Tensor::from_scaled_integers(integers, vec![0.5, 0.25]).unwrap();
    let other = Tensor::from_f32(&[1], vec![7.0]).unwrap();
    let tensors = [("w".to_owned(), tensor.clone()), ("b".to_owned(), other)];
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    let read = Checkpoint::open(&path).unwrap();
    assert_eq!(
        read.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["b", "w"]
    );
    let found = read.get("w").unwrap();
    assert_eq!(found.row_scales(), Some(&[0.5, 0.25][..]));
    assert_eq!((found.dtype(), found.shape()), (Dtype::F32, &[2, 3][..]));
    let products = [0.5, -0.5, 63.5, 0.0, 0.5, -31.75];
    assert_eq!(found.to_f32()[..], products);
    assert_eq!(found.to_f64()[..], products.map(f64::from));
    assert_eq!(
        found,
        &Tensor::from_f32(&[2, 3], products.to_vec()).unwrap()
    );
    assert_eq!(found.reshaped(&[6]).unwrap().to_f32()[..], products);

    // A cast writes the products.
    let cast = TensorEntry {
        name: "w".to_owned(),
        tensor,
        cast_to: Some(FloatType::F16),
    };
    write_safetensors_with_progress(&path, [cast], &BTreeMap::new(), &NoProgress).unwrap();
    let read = Checkpoint::open(&path).unwrap();
    let found = read.get("w").unwrap();
    assert_eq!((found.dtype(), found.row_scales()), (Dtype::F16, None));
    assert_eq!(found.to_f32()[..], products);
}

#[test]
fn factors_of_another_number_are_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("int8.safetensors");
    let integers = Tensor::from_bytes(Dtype::I8, &[2, 3], vec![1; 6]).unwrap();
    assert!(Tensor::from_scaled_integers(integers, vec![0.5]).is_err());
    // As another program would write them.
    let header = br#"{"w.scale":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"w":{"dtype":"I8","shape":[2,3],"data_offsets":[12,18]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend([0.5f32; 3].map(f32::to_le_bytes).as_flattened());
    file.extend([1; 6]);
    fs::write(&path, file).unwrap();
    let error = error(&path);
    assert!(
        matches!(error, CheckpointError::InvalidScales { rows: 2, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("expected 2 values of type f32"),
        "{error}"
    );
}

/// A reader joins 8-bit integers with the tensor that has the name of their factors.
#[test]
fn tensors_that_would_be_joined_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let integers = Tensor::from_bytes(Dtype::I8, &[2, 2], vec![1; 4]).unwrap();
    let factors = Tensor::from_bytes(Dtype::F32, &[2], vec![0; 8]).unwrap();
    let write = |other: &str| {
        let tensors = [
            ("w".to_owned(), integers.clone()),
            (other.to_owned(), factors.clone()),
        ];
        write_safetensors(&path, tensors, &Default::default())
    };
    let error = write("w.scale").unwrap_err();
    assert!(
        matches!(error, CheckpointError::InvalidTensors { .. }),
        "{error}"
    );
    assert!(!path.exists());
    write("w.scales").unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().len(), 2);
}
