//! Weights of the matrix products in 8-bit integers.

use std::collections::HashMap;

use clipn_checkpoint::{CheckpointError, Dtype, Tensor};

use crate::config::TextSide;
use crate::error::ModelError;
use crate::params::NamedTensor;
use crate::precision::Precision;
use crate::quantization::QuantizedWeight;
use crate::weights::{ModelWeights, NoSideOrigin};

/// Ends of the names of weights in a transformer block.
const BLOCK_WEIGHTS: [&str; 4] = [
    "attn.in_proj_weight",
    "attn.out_proj.weight",
    "mlp.c_fc.weight",
    "mlp.c_proj.weight",
];
/// Part of the name of every parameter of a transformer block.
const BLOCK: &str = ".resblocks.";
const PATCH_EMBEDDING: &str = "visual.conv1.weight";
const TOKEN_EMBEDDING: &str = "token_embedding";

/// Replaces the weights of the transformer blocks and the patch and token embeddings by 8-bit
/// integers with factors, after balancing the blocks. The towers compute the same from them as from
/// the original weights with [`Precision::Int8`].
///
/// # Errors
/// [`ModelError::UnsupportedPrecision`] for a ResNet.
pub(super) fn quantized(
    weights: &ModelWeights,
    tensors: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>, ModelError> {
    if weights.is_quantized() {
        return Ok(tensors);
    }
    let precision = Precision::Int8;
    weights.clone().with_precision(precision)?;
    let mut balanced = balanced_blocks(weights)?;
    let replace = |(name, tensor): (String, Tensor)| {
        if let Some(block) = balanced.remove(&name) {
            return Ok((name, block));
        }
        let is_weight = name == PATCH_EMBEDDING || name.starts_with(TOKEN_EMBEDDING);
        let tensor = match is_weight {
            true => quantized_tensor(tensor.shape(), &tensor.to_f32())?,
            false => tensor,
        };
        Ok((name, tensor))
    };
    tensors.into_iter().map(replace).collect()
}

/// Returns the parameters of all transformer blocks by name, balanced, with quantized weights.
fn balanced_blocks(weights: &ModelWeights) -> Result<HashMap<String, Tensor>, CheckpointError> {
    let mut all = HashMap::new();
    let mut vision = weights.vision_params::<f32>();
    for block in &mut vision.blocks {
        *block = block.balanced();
    }
    add_blocks(&mut all, vision.named_tensors())?;
    drop(vision);
    let sides: &[TextSide] = match weights.no_side_origin() {
        NoSideOrigin::Stored => &[TextSide::Yes, TextSide::No],
        NoSideOrigin::CopiedFromYes => &[TextSide::Yes],
    };
    for &side in sides {
        let mut text = weights.text_params::<f32>(side);
        for block in &mut text.blocks {
            *block = block.balanced();
        }
        add_blocks(&mut all, text.named_tensors(side))?;
    }
    Ok(all)
}

fn add_blocks(
    all: &mut HashMap<String, Tensor>,
    named: Vec<NamedTensor<&[f32]>>,
) -> Result<(), CheckpointError> {
    for NamedTensor {
        name,
        shape,
        values,
    } in named
    {
        if !name.contains(BLOCK) {
            continue;
        }
        let tensor = match BLOCK_WEIGHTS.iter().any(|end| name.ends_with(end)) {
            true => quantized_tensor(&shape, values)?,
            false => Tensor::from_f32(&shape, values.to_vec())?,
        };
        all.insert(name, tensor);
    }
    Ok(())
}

fn quantized_tensor(shape: &[usize], values: &[f32]) -> Result<Tensor, CheckpointError> {
    let rows = shape.first().copied().unwrap_or(1);
    let quantized = QuantizedWeight::quantize(values, values.len() / rows.max(1));
    let bytes = quantized.values.into_iter().map(i8::cast_unsigned);
    let integers = Tensor::from_bytes(Dtype::I8, shape, bytes.collect())?;
    Tensor::from_scaled_integers(integers, quantized.scales)
}
