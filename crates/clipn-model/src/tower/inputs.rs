//! What implementations of the towers share: checks of inputs, and positional embeddings of images of
//! another size.

use std::borrow::Cow;

use clipn_text::tokenizer::TokenBatch;

use crate::config::{TextConfig, VisionConfig};
use crate::error::ModelError;
use crate::params::{CoordinateMapping, PatchGrid, resize_positional_embedding};
use crate::real::Real;
use crate::tower::ImageBatch;

/// Returns the grid of patches of a batch. Pixels beyond the last whole patch are
/// ignored.
///
/// # Errors
/// [`ModelError::ImageTooSmall`] if the images are smaller than one patch.
pub fn patch_grid<T>(
    images: &ImageBatch<'_, T>,
    config: &VisionConfig,
) -> Result<PatchGrid, ModelError> {
    let patch = config.patch_size;
    let grid = PatchGrid {
        rows: images.height() / patch,
        columns: images.width() / patch,
    };
    if grid.is_empty() {
        return Err(ModelError::ImageTooSmall {
            min: patch,
            height: images.height(),
            width: images.width(),
        });
    }
    Ok(grid)
}

/// Returns the positional embeddings for a grid of ViT patches or of the last
/// feature map of a ResNet: the stored ones, or interpolated if the grid has another size.
pub fn positional_embedding_for<'a, T: Real>(
    stored: &'a [T],
    config: &VisionConfig,
    grid: PatchGrid,
) -> Cow<'a, [T]> {
    let own = config.grid();
    if grid == PatchGrid::square(own) {
        Cow::Borrowed(stored)
    } else {
        let width = stored.len() / (1 + own * own);
        Cow::Owned(resize_positional_embedding(
            stored,
            width,
            own,
            grid,
            CoordinateMapping::HalfPixel,
        ))
    }
}

/// Checks that every id is in the vocabulary and no row is longer than the context.
///
/// # Errors
/// [`ModelError::TextTooLong`] for rows that are too long, and [`ModelError::TokenOutOfRange`] for an id
/// outside the vocabulary.
pub fn check_tokens(tokens: &TokenBatch, config: &TextConfig) -> Result<(), ModelError> {
    let length = tokens.context_length();
    if length > config.context_length {
        return Err(ModelError::TextTooLong {
            max: config.context_length,
            found: length,
        });
    }
    for (row, ids) in tokens.rows().enumerate() {
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(ModelError::TokenOutOfRange {
                id,
                row,
                vocab_size: config.vocab_size,
            });
        }
    }
    Ok(())
}

/// Adds the gradients of the class token and of the stored positional embeddings.
///
/// `d_positions`, `[1 + rows·columns, width]`, is the gradient of the positions of a batch with
/// this grid of patches, summed over the images. If the batch used interpolated
/// embeddings, their gradient is propagated back through the interpolation.
pub fn add_positional_embedding_gradient<T: Real>(
    d_class: &mut [T],
    d_stored: &mut [T],
    d_positions: &[T],
    config: &VisionConfig,
    grid: PatchGrid,
) {
    let (own, width) = (config.grid(), config.width);
    add(d_class, d_positions, T::one());
    if grid == PatchGrid::square(own) {
        add(d_stored, d_positions, T::one());
        return;
    }
    // The interpolation is linear: applied to the unit vectors it yields its matrix, [positions,
    // stored].
    let stored = 1 + own * own;
    let mut units = vec![T::zero(); stored * stored];
    units
        .iter_mut()
        .step_by(stored + 1)
        .for_each(|unit| *unit = T::one());
    let matrix =
        resize_positional_embedding(&units, stored, own, grid, CoordinateMapping::HalfPixel);
    for (weights, d) in matrix
        .chunks_exact(stored)
        .zip(d_positions.chunks_exact(width))
    {
        for (&weight, target) in weights.iter().zip(d_stored.chunks_exact_mut(width)) {
            if weight != T::zero() {
                add(target, d, weight);
            }
        }
    }
}

fn add<T: Real>(sum: &mut [T], d: &[T], weight: T) {
    for (sum, &d) in sum.iter_mut().zip(d) {
        *sum = *sum + weight * d;
    }
}
