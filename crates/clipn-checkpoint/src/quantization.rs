//! Recognition of quantized weights by the tensors that quantizers store beside them. The integers
//! alone would be taken for weights.

use std::path::Path;

use indexmap::IndexMap;

use crate::error::escape_for_display;
use crate::{CheckpointError, Dtype, Tensor};

/// What a quantizer adds to the name of a module or of its weight.
struct Marker {
    /// Part of a name. `.weight` stands in its place, and in that of what follows, in the message.
    part: &'static str,
    method: &'static str,
    hint: &'static str,
}

const TRANSFORMERS: &str = "use the weights that were quantized, or load these with transformers and \
    save what `model.dequantize()` returns";

/// Names as written by bitsandbytes 0.50, torchao 0.18, PyTorch 2.15, GPTQ, AWQ and
/// compressed-tensors.
const MARKERS: [Marker; 6] = [
    Marker {
        part: ".SCB",
        method: "bitsandbytes (8 bits)",
        hint: TRANSFORMERS,
    },
    Marker {
        part: ".weight.quant_state.bitsandbytes__",
        method: "bitsandbytes (4 bits)",
        hint: TRANSFORMERS,
    },
    Marker {
        part: "._weight_qdata",
        method: "torchao",
        hint: "use the weights that were quantized, or call `dequantize()` on each tensor in Python \
               and save the results",
    },
    Marker {
        part: "._packed_params",
        method: "torch.ao",
        hint: "use the weights that were quantized",
    },
    Marker {
        part: ".qweight",
        method: "GPTQ or AWQ",
        hint: TRANSFORMERS,
    },
    Marker {
        part: ".weight_packed",
        method: "compressed-tensors",
        hint: TRANSFORMERS,
    },
];

/// Returns an error if a quantizer wrote the weights.
pub(crate) fn check(
    path: &Path,
    tensors: &IndexMap<String, Tensor>,
) -> Result<(), CheckpointError> {
    for name in tensors.keys() {
        for marker in &MARKERS {
            let Some((module, rest)) = name.split_once(marker.part) else {
                continue;
            };
            if rest.is_empty() || marker.part.ends_with("__") || rest.starts_with('.') {
                return Err(CheckpointError::QuantizedWeights {
                    path: path.to_owned(),
                    method: marker.method,
                    tensor: escape_for_display(&format!("{module}.weight")),
                    hint: marker.hint,
                });
            }
        }
    }
    Ok(())
}

/// Joins the integers that clipn writes with the factors beside them: a tensor of type `I8` and one
/// with `.scale` added to its name, of type `F32` with a value per index of the first dimension.
///
/// # Errors
/// [`CheckpointError::InvalidScales`] if there are factors of another type or number.
pub(crate) fn with_scales(
    path: &Path,
    mut tensors: IndexMap<String, Tensor>,
) -> Result<IndexMap<String, Tensor>, CheckpointError> {
    let scaled: Vec<String> = tensors
        .iter()
        .filter(|(name, tensor)| {
            tensor.dtype() == Dtype::I8 && tensors.contains_key(&scales_name(name))
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in scaled {
        let Some(scales) = tensors.shift_remove(&scales_name(&name)) else {
            continue;
        };
        let Some(tensor) = tensors.get_mut(&name) else {
            continue;
        };
        let rows = tensor.shape().first().copied().unwrap_or_default();
        if scales.dtype() != Dtype::F32 || scales.shape() != [rows] || tensor.shape().is_empty() {
            return Err(CheckpointError::InvalidScales {
                path: path.to_owned(),
                tensor: escape_for_display(&name),
                rows,
                found: format!("{scales:?}"),
            });
        }
        *tensor = Tensor::from_scaled_integers(tensor.clone(), scales.to_f32())?;
    }
    Ok(tensors)
}

/// Returns the name of the factors of a tensor of 8-bit integers.
pub(crate) fn scales_name(name: &str) -> String {
    format!("{name}.scale")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_quantizers_are_recognized() {
        let method = |name: &str| {
            let tensor = Tensor::from_f32(&[1], vec![0.0]).unwrap();
            let tensors = IndexMap::from([(name.to_owned(), tensor)]);
            match check(Path::new("f"), &tensors) {
                Err(CheckpointError::QuantizedWeights { method, tensor, .. }) => {
                    assert_eq!(tensor, "a.fc1.weight", "{name}");
                    Some(method)
                }
                Err(other) => panic!("{other}"),
                Ok(()) => None,
            }
        };
        // As saved by transformers 5.24.0 with bitsandbytes 0.50.2, by torchao 0.18.0 and by
        // `quantize_dynamic` of PyTorch 2.15.0.
        for (name, expected) in [
            ("a.fc1.SCB", "bitsandbytes (8 bits)"),
            (
                "a.fc1.weight.quant_state.bitsandbytes__nf4",
                "bitsandbytes (4 bits)",
            ),
            (
                "a.fc1.weight.quant_state.bitsandbytes__fp4",
                "bitsandbytes (4 bits)",
            ),
            ("a.fc1._weight_qdata", "torchao"),
            ("a.fc1._packed_params._packed_params", "torch.ao"),
            ("a.fc1.qweight", "GPTQ or AWQ"),
        ] {
            assert_eq!(method(name), Some(expected), "{name}");
        }
        for plain in ["a.fc1.weight", "a.fc1.bias", "a.SCBx", "a.qweights"] {
            assert_eq!(method(plain), None, "{plain}");
        }
    }
}
