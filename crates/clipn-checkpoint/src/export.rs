//! A CLIP under the names of `transformers`' `CLIPModel`: the way back from [`layout`](super::layout).

use std::ops::Range;

use super::layout::{BLOCK, TOWERS, WHOLE};
use super::{CheckpointError, Tensor};

/// Queries, keys and values, in the order in which open_clip joins them.
const PARTS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// A tensor of open_clip's, as `CLIPModel` has it: one tensor, or three of a joined one. A name that it has no place for
/// stays. Joined tensors become views of their thirds; the two projections, which are stored the other way round there,
/// are copied.
///
/// # Errors
/// [`CheckpointError::Unwritable`] for shapes that no CLIP has.
pub fn to_transformers(
    name: &str,
    tensor: &Tensor,
) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    let bad = || CheckpointError::Shape {
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
    if let Some((to, _)) = WHOLE.iter().find(|(_, own)| *own == name) {
        return Ok(vec![((*to).to_owned(), tensor.clone())]);
    }
    let Some((layer, part)) = TOWERS.iter().find_map(|(to, own)| {
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
        let third = |at: usize| -> Range<usize> { at * rows..(at + 1) * rows };
        let named = PARTS.iter().enumerate().map(|(at, part)| {
            let tensor = tensor.rows(third(at)).ok_or_else(bad)?;
            Ok((format!("{layer}.self_attn.{part}.{kind}"), tensor))
        });
        return named.collect();
    }
    let renamed = BLOCK.iter().find_map(|(to, own)| {
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
    fn joined_tensors_are_taken_apart_without_a_copy() {
        let joined = tensor(&[6, 2]);
        let apart = to_transformers(
            "visual.transformer.resblocks.7.attn.in_proj_weight",
            &joined,
        )
        .unwrap();
        let names: Vec<&str> = apart.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["q", "k", "v"]
                .map(|part| format!("vision_model.encoder.layers.7.self_attn.{part}_proj.weight"))
        );
        for (at, (_, part)) in apart.iter().enumerate() {
            assert_eq!(part.shape(), [2, 2]);
            assert_eq!(part.bytes().as_ptr(), joined.bytes()[at * 16..].as_ptr());
        }
        assert!(
            to_transformers("transformer.resblocks.0.attn.in_proj_bias", &tensor(&[4])).is_err()
        );
        assert!(
            to_transformers("transformer.resblocks.0.attn.in_proj_bias", &tensor(&[])).is_err()
        );
    }

    #[test]
    fn parts_of_a_block_and_what_stands_outside_are_renamed() {
        let of_block =
            |part: &str| names(&format!("transformer.resblocks.0.{part}"), &[2])[0].clone();
        assert_eq!(
            of_block("mlp.c_fc.weight"),
            "text_model.encoder.layers.0.mlp.fc1.weight"
        );
        assert_eq!(
            of_block("mlp.c_proj.bias"),
            "text_model.encoder.layers.0.mlp.fc2.bias"
        );
        assert_eq!(
            of_block("ln_2.bias"),
            "text_model.encoder.layers.0.layer_norm2.bias"
        );
        assert_eq!(
            of_block("attn.out_proj.bias"),
            "text_model.encoder.layers.0.self_attn.out_proj.bias"
        );
        assert_eq!(
            of_block("a.part.of.tomorrow"),
            "transformer.resblocks.0.a.part.of.tomorrow"
        );
        assert_eq!(
            names("visual.ln_pre.bias", &[2]),
            ["vision_model.pre_layrnorm.bias"]
        );
        assert_eq!(names("logit_scale", &[]), ["logit_scale"]);
        let (name, turned) = to_transformers("text_projection", &tensor(&[2, 3]))
            .unwrap()
            .remove(0);
        assert_eq!(name, "text_projection.weight");
        assert_eq!(
            (turned.shape(), &turned.to_f32()[..]),
            (&[3, 2][..], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..])
        );
        assert!(to_transformers("visual.proj", &tensor(&[2])).is_err());
    }
}
