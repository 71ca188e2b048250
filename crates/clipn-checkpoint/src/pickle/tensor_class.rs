//! Tensor classes whose elements a pickle does not describe, with advice on each.

/// A tensor that cannot be read, by its class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorClass {
    /// Module and name of the class, or of the function that rebuilds the tensor.
    pub(crate) name: String,
    /// What to do in the program that saved it.
    pub(crate) advice: &'static str,
}

/// Modules of classes of tensors that are split over processes.
const DISTRIBUTED: [&str; 2] = [
    "torch.distributed.tensor",
    // PyTorch before 2.5.
    "torch.distributed._tensor",
];

/// Packages whose tensors are quantized.
const QUANTIZED: [&str; 6] = [
    "torchao",
    "bitsandbytes",
    "optimum.quanto",
    "quanto",
    "hqq",
    "transformer_engine",
];

const WHOLE: &str = "each rank saved only its part: call `full_tensor()` on every value of the state \
    dict, on all ranks, and save what rank 0 gets; or save a directory with \
    `torch.distributed.checkpoint.save`";
const FSDP1: &str = "each rank saved only its part: save the whole state dict, \
    `FSDP.set_state_dict_type(model, StateDictType.FULL_STATE_DICT)`";
const DEQUANTIZE: &str = "the values are quantized: call `dequantize()` on each before it is saved, or \
    save the weights that were quantized";
const DENSE: &str = "call `to_dense()` on it before it is saved";
const META: &str = "it is on the device `meta` and has no elements: load the weights before they are \
    saved";
const PLAIN: &str =
    "convert each value of the state dict to a plain `torch.Tensor` before it is saved";

impl TensorClass {
    /// Returns the class of a tensor that `module.name`, which is not on the allow list, rebuilds by
    /// itself.
    pub(crate) fn of_function(module: &str, name: &str) -> Option<TensorClass> {
        let advice = match (module, name) {
            ("torch._utils", "_rebuild_qtensor") => DEQUANTIZE,
            ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => DENSE,
            ("torch._utils", "_rebuild_meta_tensor_no_storage") => META,
            ("torch._utils", "_rebuild_nested_tensor") => PLAIN,
            ("torch.distributed._shard.sharded_tensor.api", "ShardedTensor") => FSDP1,
            _ => return None,
        };
        Some(TensorClass {
            name: format!("{module}.{name}"),
            advice,
        })
    }

    /// Returns the class `module.name`, to which a tensor is rebuilt.
    pub(crate) fn new(module: &str, name: &str) -> TensorClass {
        let is_in = |package: &&str| {
            module
                .strip_prefix(*package)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let advice = if DISTRIBUTED.iter().any(is_in) {
            WHOLE
        } else if QUANTIZED.iter().any(is_in) {
            DEQUANTIZE
        } else {
            PLAIN
        };
        TensorClass {
            name: format!("{module}.{name}"),
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advises_by_the_package_of_the_class() {
        let advice = |module: &str| TensorClass::new(module, "X").advice;
        assert_eq!(advice("torch.distributed.tensor"), WHOLE);
        assert_eq!(advice("torch.distributed._tensor.api"), WHOLE);
        assert_eq!(advice("torchao.quantization.quantize_"), DEQUANTIZE);
        assert_eq!(advice("torchaox"), PLAIN);
        assert_eq!(
            TensorClass::of_function("torch._utils", "_rebuild_tensor_v2"),
            None
        );
    }
}
