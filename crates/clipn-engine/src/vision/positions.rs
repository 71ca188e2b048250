use clipn_model::{CoordinateMapping, PatchGrid, Real, VisionConfig, resize_positional_embedding};

/// Adds the gradients of the class token and of the stored positional embeddings.
///
/// `d_positions`, `[1 + rows·columns, width]`, is the gradient of the positions of a batch with
/// this grid of patches, summed over the images. If the batch used interpolated
/// embeddings, their gradient is propagated back through the interpolation.
pub(crate) fn add_position_gradients<T: Real>(
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
