//! What the ranks of a trainer exchange: gradients after every step, parameters at the start.

use std::ops::Range;

use clipn_model::{
    NamedTensor, Real, SparseGradient, TensorGradient, TextSide, TrainableImageTower,
    TrainableTextTower,
};

use super::buckets::{in_buckets, shares_of};
use super::{Parameter, Trainer, parameters};
use crate::communicator::{Collective, Communicator, CommunicatorError};
use crate::error::TrainingError;
use crate::optimizer::AdamW;

impl<T, Image, Text, Comm> Trainer<T, Image, Text, Comm>
where
    T: Real,
    Image: TrainableImageTower<T>,
    Text: TrainableTextTower<T>,
    Comm: Communicator + Collective<T>,
{
    /// Replaces the trained parameters and the logit scale by those of rank 0. Ranks that read the
    /// same files have the same parameters already; this makes it sure.
    ///
    /// # Errors
    /// [`TrainingError::Communicator`] if a rank is lost.
    pub fn broadcast_parameters(&mut self) -> Result<(), TrainingError> {
        if self.communicator.world_size() == 1 {
            return Ok(());
        }
        let communicator = &self.communicator;
        let (parameters, logit_scale) = parameters(
            &mut self.towers,
            self.trainable,
            self.image_gradient.as_ref(),
            &self.text_gradient,
        );
        let tensors = parameters.into_iter().map(|(tensor, _)| tensor.values);
        in_buckets(
            tensors.chain([std::slice::from_mut(logit_scale)]).collect(),
            &mut self.bucket,
            communicator.world_size(),
            |bucket| communicator.broadcast(0, bucket),
        )?;
        Ok(())
    }

    /// Returns a checksum of everything that training changes: the trained parameters, the logit scale
    /// and the optimizer's moments.
    pub(crate) fn digest(&self) -> u32 {
        let mut digest = crc32fast::Hasher::new();
        let mut add = |values: &[T]| digest.update(bytemuck::cast_slice(values));
        for tensor in self.trained_tensors() {
            add(tensor.values);
        }
        add(&[self.towers.logit_scale]);
        for (_, moments) in self.optimizer.moments() {
            add(moments.first());
            add(moments.second());
        }
        digest.finalize()
    }

    /// Sums the gradients over all ranks. If ranks divide the update among them, each gets the sums of
    /// its shares alone.
    pub(super) fn reduce(&mut self, d_scale: &mut T) -> Result<(), TrainingError> {
        if self.communicator.world_size() == 1 {
            return Ok(());
        }
        if self.learner.is_some() {
            return self.reduce_on_device(d_scale);
        }
        self.reduce_token_rows()?;
        let communicator = &self.communicator;
        communicator.all_reduce_sum(std::slice::from_mut(d_scale))?;
        let image = self
            .image_gradient
            .iter_mut()
            .flat_map(|gradient| gradient.named_tensors_mut());
        let text = self
            .text_gradient
            .others
            .named_tensors_mut(TextSide::Yes)
            .into_iter();
        let tensors = image.chain(text).map(|gradient| gradient.values);
        let divides = divides_update(&self.optimizer, communicator);
        in_buckets(
            tensors.collect(),
            &mut self.bucket,
            communicator.world_size(),
            |bucket| match divides {
                true => communicator.reduce_scatter_sum(bucket),
                false => communicator.all_reduce_sum(bucket),
            },
        )?;
        Ok(())
    }

    /// Gets the parameters that other ranks have updated.
    pub(super) fn gather_parameters(&mut self) -> Result<(), TrainingError> {
        let communicator = &self.communicator;
        if self.learner.is_some() || !divides_update(&self.optimizer, communicator) {
            return Ok(());
        }
        let (parameters, _) = parameters(
            &mut self.towers,
            self.trainable,
            self.image_gradient.as_ref(),
            &self.text_gradient,
        );
        let dense = parameters.into_iter().filter_map(dense_values);
        let tensors = dense.map(|parameter| parameter.values).collect();
        gather_shares(tensors, &mut self.bucket, communicator)?;
        Ok(())
    }

    /// Gets the optimizer's moments of the parameters that other ranks update. A rank keeps those of its
    /// own up to date, which is all that training needs; a checkpoint needs all of them.
    ///
    /// # Errors
    /// [`TrainingError::Communicator`] if a rank is lost.
    pub fn gather_moments(&mut self) -> Result<(), TrainingError> {
        let communicator = &self.communicator;
        if self.learner.is_some() || !divides_update(&self.optimizer, communicator) {
            return Ok(());
        }
        let (parameters, _) = parameters(
            &mut self.towers,
            self.trainable,
            self.image_gradient.as_ref(),
            &self.text_gradient,
        );
        let names: Vec<String> = parameters
            .into_iter()
            .filter_map(dense_values)
            .map(|parameter| parameter.name)
            .collect();
        let moments = self.optimizer.moments_mut(&names).into_iter().flatten();
        let (first, second) = moments
            .map(|moments| moments.averages_mut())
            .map(|[first, second]| (first, second))
            .unzip();
        for averages in [first, second] {
            gather_shares(averages, &mut self.bucket, communicator)?;
        }
        Ok(())
    }

    /// Sums the gradient of the token table: every rank gets the rows of all, by id, and adds them in
    /// rank order. A batch touches some hundred of the table's 49,408 rows.
    fn reduce_token_rows(&mut self) -> Result<(), TrainingError> {
        let own = &self.text_gradient.token_embedding;
        let width = own.width();
        let (ids, values) = rows_by_id(own);
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let ids = self.communicator.all_gather_bytes(&ids)?;
        let (values, _) = self.communicator.all_gather(&values)?.into_parts();
        let ids = ids.iter().flat_map(|ids| ids.as_chunks().0);
        let mut rows = SparseGradient::new(width);
        for (id, row) in ids.zip(values.chunks_exact(width.max(1))) {
            rows.add(u32::from_le_bytes(*id), row);
        }
        self.text_gradient.token_embedding = rows;
        Ok(())
    }
}

/// Whether each rank updates a share of the parameters, which the others get from it, in place of all of
/// them. Not if gradients are clipped: a rank would need the norm of all gradients first. A learner, too,
/// updates all.
fn divides_update<T: Real>(optimizer: &AdamW<T>, communicator: &impl Communicator) -> bool {
    communicator.world_size() > 1 && optimizer.settings().max_gradient_norm.is_none()
}

/// Returns the ranges that this rank updates in each parameter with a dense gradient; `None` if it updates
/// all of them.
pub(super) fn own_ranges<T: Real>(
    parameters: &[Parameter<'_, T>],
    optimizer: &AdamW<T>,
    communicator: &impl Communicator,
) -> Option<Vec<Vec<Range<usize>>>> {
    if !divides_update(optimizer, communicator) {
        return None;
    }
    let dense = parameters
        .iter()
        .filter(|(_, gradient)| matches!(gradient, TensorGradient::Dense(_)));
    let lengths: Vec<usize> = dense.map(|(tensor, _)| tensor.values.len()).collect();
    Some(shares_of(
        &lengths,
        communicator.rank(),
        communicator.world_size(),
    ))
}

/// Returns a parameter if its gradient is dense.
fn dense_values<'a, T>(
    (parameter, gradient): Parameter<'a, T>,
) -> Option<NamedTensor<&'a mut [T]>> {
    match gradient {
        TensorGradient::Dense(_) => Some(parameter),
        TensorGradient::Sparse(_) => None,
    }
}

/// Gets what other ranks have in their shares of tensors.
fn gather_shares<T: Real>(
    tensors: Vec<&mut [T]>,
    bucket: &mut Vec<T>,
    communicator: &(impl Communicator + Collective<T>),
) -> Result<(), CommunicatorError> {
    in_buckets(tensors, bucket, communicator.world_size(), |bucket| {
        communicator.all_gather_shares(bucket)
    })
}

/// Returns the rows of a sparse gradient by ascending id, as ids `[R]` and values `[R, width]`.
pub(super) fn rows_by_id<T: Real>(rows: &SparseGradient<T>) -> (Vec<u32>, Vec<T>) {
    let mut ids = Vec::with_capacity(rows.len());
    let mut values = Vec::with_capacity(rows.values().len());
    for (id, row) in rows.iter() {
        ids.push(id);
        values.extend_from_slice(row);
    }
    (ids, values)
}
