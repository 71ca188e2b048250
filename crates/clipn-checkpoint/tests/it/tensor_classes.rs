//! Tensors that are no plain ones, as PyTorch 2.15.0 and torchao 0.18.0 wrote them
//! (`fixtures/cases/weights/README.md`).

use std::path::{Path, PathBuf};

use clipn_checkpoint::{Checkpoint, CheckpointError};
use clipn_testing::{fixture, test_data};

fn file(name: &str) -> PathBuf {
    fixture("cases/weights/torch").join(name)
}

/// Returns tensor, class and advice of the refusal.
fn refusal(path: &Path) -> (Option<String>, String, &'static str) {
    match Checkpoint::open_model(path, None) {
        Err(CheckpointError::UnsupportedTensorClass {
            tensor,
            class,
            hint,
            ..
        }) => (tensor, class, hint),
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn tensors_of_other_classes_are_refused_by_name_with_advice() {
    for (name, tensor, class, advice) in [
        (
            "dtensor.pt",
            "visual.proj",
            "torch.distributed.tensor.DTensor",
            "`full_tensor()`",
        ),
        (
            "sharded-tensor.pt",
            "w",
            "torch.distributed._shard.sharded_tensor.api.ShardedTensor",
            "FULL_STATE_DICT",
        ),
        (
            "torchao.pt",
            "0.weight",
            "torchao.quantization.Int8Tensor",
            "`dequantize()`",
        ),
        (
            "quantized.pt",
            "w",
            "torch._utils._rebuild_qtensor",
            "`dequantize()`",
        ),
        (
            "sparse.pt",
            "w",
            "torch._utils._rebuild_sparse_tensor",
            "`to_dense()`",
        ),
        (
            "meta.pt",
            "w",
            "torch._utils._rebuild_meta_tensor_no_storage",
            "no elements",
        ),
        ("subclass.pt", "w", "__main__.Mine", "plain `torch.Tensor`"),
    ] {
        let (found, found_class, hint) = refusal(&file(name));
        assert_eq!(found.as_deref(), Some(tensor), "{name}");
        assert_eq!(found_class, class, "{name}");
        assert!(hint.contains(advice), "{name}: {hint}");
    }
    let error = Checkpoint::open(file("dtensor.pt")).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "unsupported tensor class torch.distributed.tensor.DTensor of tensor visual.proj in "
        ),
        "{error}"
    );
}

#[test]
fn a_state_dict_of_fsdp_is_refused_by_its_class() {
    let Some(path) = test_data("cases/formats/weights/fsdp2-dtensor.pt") else {
        return;
    };
    let (tensor, class, _) = refusal(&path);
    assert_eq!(tensor.as_deref(), Some("positional_embedding"));
    assert_eq!(class, "torch.distributed.tensor.DTensor");
}

#[test]
fn python_attributes_of_a_tensor_are_dropped() {
    let read = Checkpoint::open(file("attribute.pt")).unwrap();
    assert_eq!(read.get("w").unwrap().to_f32()[..], [0.0, 1.0, 2.0]);
    assert_eq!(read.get("v").unwrap().to_f32()[..], [1.0, 1.0]);
}
