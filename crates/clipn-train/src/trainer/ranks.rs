//! What the ranks of a trainer exchange: gradients after every step, parameters at the start.

use clipn_model::{Real, SparseGradient, TextSide, TrainableImageTower, TrainableTextTower};

use super::Trainer;
use crate::communicator::{Collective, Communicator};
use crate::error::TrainingError;
use crate::towers::{Towers, TrainableTowers};

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
        let mut flat = std::mem::take(&mut self.flat);
        flat.clear();
        for tensor in self.trained_tensors_mut() {
            flat.extend_from_slice(tensor);
        }
        self.communicator.broadcast(0, &mut flat)?;
        let mut rest = &flat[..];
        for tensor in self.trained_tensors_mut() {
            let (of_root, others) = rest.split_at(tensor.len());
            tensor.copy_from_slice(of_root);
            rest = others;
        }
        self.flat = flat;
        Ok(())
    }

    /// Returns a checksum of everything that training changes: the trained parameters, the logit scale
    /// and the optimizer's moments.
    pub(crate) fn digest(&self) -> u32 {
        let mut digest = crc32fast::Hasher::new();
        let mut add = |values: &[T]| digest.update(bytemuck::cast_slice(values));
        let image = match self.trainable {
            TrainableTowers::NoTower => None,
            TrainableTowers::Clip => Some(self.towers.image.params().named_tensors()),
        };
        let text = self.trained_text().0.map(TrainableTextTower::params);
        let text = text.map(|params| params.named_tensors(TextSide::Yes));
        for tensor in image
            .into_iter()
            .flatten()
            .chain(text.into_iter().flatten())
        {
            add(tensor.values);
        }
        add(&[self.towers.logit_scale]);
        for (_, moments) in self.optimizer.moments() {
            add(moments.first());
            add(moments.second());
        }
        digest.finalize()
    }

    /// Returns the values of every trained parameter, in a fixed order.
    fn trained_tensors_mut(&mut self) -> Vec<&mut [T]> {
        let Towers {
            image,
            yes,
            no,
            logit_scale,
        } = &mut self.towers;
        let (image, text) = match (self.trainable, no) {
            (TrainableTowers::NoTower, Some(no)) => (None, no),
            _ => (Some(image), yes),
        };
        let image = image.map(|image| image.params_mut().named_tensors_mut());
        let text = text.params_mut().named_tensors_mut(TextSide::Yes);
        let tensors = image.into_iter().flatten().chain(text);
        tensors
            .map(|tensor| tensor.values)
            .chain([std::slice::from_mut(logit_scale)])
            .collect()
    }

    /// Sums the gradients over all ranks.
    pub(super) fn reduce(&mut self, d_scale: &mut T) -> Result<(), TrainingError> {
        if self.communicator.world_size() == 1 {
            return Ok(());
        }
        if self.learner.is_some() {
            return self.reduce_on_device(d_scale);
        }
        self.reduce_token_rows()?;
        // One buffer: a call for each of some hundred tensors would cost a round trip each.
        let image = self
            .image_gradient
            .iter_mut()
            .flat_map(|gradient| gradient.named_tensors_mut());
        let text = self
            .text_gradient
            .others
            .named_tensors_mut(TextSide::Yes)
            .into_iter();
        let mut tensors: Vec<&mut [T]> = image
            .chain(text)
            .map(|gradient| gradient.values)
            .chain([std::slice::from_mut(d_scale)])
            .collect();
        self.flat.clear();
        for tensor in &tensors {
            self.flat.extend_from_slice(tensor);
        }
        self.communicator.all_reduce_sum(&mut self.flat)?;
        let mut rest = &self.flat[..];
        for tensor in &mut tensors {
            let (sums, others) = rest.split_at(tensor.len());
            tensor.copy_from_slice(sums);
            rest = others;
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
