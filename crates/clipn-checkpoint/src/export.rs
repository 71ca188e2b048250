//! Conversion of CLIP tensors to the names of `transformers`' `CLIPModel`: the inverse of
//! [`layout`](crate::layout).

use std::ops::Range;

use crate::layout::{BLOCK_NAMES, BLOCK_PREFIXES, TOP_LEVEL_NAMES};
use crate::{CheckpointError, Tensor};

/// Query, key and value projections, in the order in which open_clip concatenates them.
const PROJECTIONS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Converts an open_clip tensor to those of `CLIPModel`: one, or three for a fused query-key-value
/// tensor. Names without a counterpart are kept. The thirds of a fused tensor are views. The two
/// projection matrices, which `CLIPModel` stores transposed, are copied.
///
/// # Errors
/// [`CheckpointError::ShapeMismatch`] if a fused tensor does not divide into three, or a projection
/// is not a matrix.
pub fn to_transformers(
    name: &str,
    tensor: &Tensor,
) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    let bad = || CheckpointError::ShapeMismatch {
        shape: tensor.shape().to_vec(),
        elements: tensor.len(),
    };
    let projection = match name {
        "visual.proj" => Some("visual_projection.weight"),
        "text_projection" => Some("text_projection.weight"),
        _ => None,
    };
    if let Some(projection) = projection {
        return Ok(vec![(
            projection.to_owned(),
            tensor.transposed().ok_or_else(bad)?,
        )]);
    }
    if let Some((to, _)) = TOP_LEVEL_NAMES.iter().find(|(_, own)| *own == name) {
        return Ok(vec![((*to).to_owned(), tensor.clone())]);
    }
    let Some((layer, part)) = BLOCK_PREFIXES.iter().find_map(|(to, own)| {
        let (number, part) = name.strip_prefix(own)?.split_once('.')?;
        Some((format!("{to}{number}"), part))
    }) else {
        return Ok(vec![(name.to_owned(), tensor.clone())]);
    };
    if let Some(kind) = part.strip_prefix("attn.in_proj_") {
        let rows = tensor
            .shape()
            .first()
            .copied()
            .filter(|rows| rows.is_multiple_of(3))
            .ok_or_else(bad)?
            / 3;
        let third_rows = |index: usize| -> Range<usize> { index * rows..(index + 1) * rows };
        let split = PROJECTIONS.iter().enumerate().map(|(index, part)| {
            let tensor = tensor.rows(third_rows(index)).ok_or_else(bad)?;
            Ok((format!("{layer}.self_attn.{part}.{kind}"), tensor))
        });
        return split.collect();
    }
    let renamed = BLOCK_NAMES.iter().find_map(|(to, own)| {
        let kind = part.strip_prefix(own)?.strip_prefix('.')?;
        Some(format!("{layer}.{to}.{kind}"))
    });
    Ok(vec![(
        renamed.unwrap_or_else(|| name.to_owned()),
        tensor.clone(),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

    fn tensor(shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        let bytes = (0..len).flat_map(|v| (v as f32).to_le_bytes()).collect();
        Tensor::from_bytes(Dtype::F32, shape, bytes).unwrap()
    }

    fn names(name: &str, shape: &[usize]) -> Vec<String> {
        to_transformers(name, &tensor(shape))
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn splits_fused_projections_without_a_copy() {
        let fused = tensor(&[6, 2]);
        let split =
            to_transformers("visual.transformer.resblocks.7.attn.in_proj_weight", &fused).unwrap();
        let names: Vec<&str> = split.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["q", "k", "v"]
                .map(|part| format!("vision_model.encoder.layers.7.self_attn.{part}_proj.weight"))
        );
        for (at, (_, part)) in split.iter().enumerate() {
            assert_eq!(part.shape(), [2, 2]);
            assert_eq!(part.bytes().as_ptr(), fused.bytes()[at * 16..].as_ptr());
        }
        assert!(
            to_transformers("transformer.resblocks.0.attn.in_proj_bias", &tensor(&[4])).is_err()
        );
        assert!(
            to_transformers("transformer.resblocks.0.attn.in_proj_bias", &tensor(&[])).is_err()
        );
    }

    #[test]
    fn renames_tensors_inside_and_outside_of_blocks() {
        let in_block =
            |part: &str| names(&format!("transformer.resblocks.0.{part}"), &[2])[0].clone();
        assert_eq!(
            in_block("mlp.c_fc.weight"),
            "text_model.encoder.layers.0.mlp.fc1.weight"
        );
        assert_eq!(
            in_block("mlp.c_proj.bias"),
            "text_model.encoder.layers.0.mlp.fc2.bias"
        );
        assert_eq!(
            in_block("ln_2.bias"),
            "text_model.encoder.layers.0.layer_norm2.bias"
        );
        assert_eq!(
            in_block("attn.out_proj.bias"),
            "text_model.encoder.layers.0.self_attn.out_proj.bias"
        );
        assert_eq!(
            in_block("a.future.part"),
            "transformer.resblocks.0.a.future.part"
        );
        assert_eq!(
            names("visual.ln_pre.bias", &[2]),
            ["vision_model.pre_layrnorm.bias"]
        );
        assert_eq!(names("logit_scale", &[]), ["logit_scale"]);
        let (name, transposed) = to_transformers("text_projection", &tensor(&[2, 3]))
            .unwrap()
            .remove(0);
        assert_eq!(name, "text_projection.weight");
        assert_eq!(
            (transposed.shape(), &transposed.to_f32()[..]),
            (&[3, 2][..], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..])
        );
        assert!(to_transformers("visual.proj", &tensor(&[2])).is_err());
    }
}
