//! A trainer whose towers are on a device.

use clipn_base::count::count;
use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, NamedTensor, PromptSelection, Real, TextTower,
    TrainableImageTower, TrainableTextTower,
};
use clipn_text::tokenizer::TokenBatch;

use super::buckets::in_buckets;
use super::{Tape, Trainer};
use crate::communicator::{Collective, Communicator};
use crate::error::TrainingError;
use crate::learner::{Learner, LearnerState};
use crate::optimizer::{
    AdamW, Moments, OptimizerError, ParameterGradient, ParameterUpdate, check_learning_rate,
};
use crate::towers::TrainableTowers;

/// Name of the one trained parameter that stays on the host.
const LOGIT_SCALE: &str = "logit_scale";

/// A learner and the steps that its moments have.
#[derive(Debug)]
pub(super) struct Attached<T: Real> {
    pub(super) learner: Box<dyn Learner<T>>,
    steps: u64,
    /// Whether the towers and the optimizer of the host have the learner's values.
    is_synchronized: bool,
}

/// Features and, for a tower that is trained, the recorded pass.
type Recorded<T, P> = Result<(FeatureMatrix<T>, Option<Tape<P>>), TrainingError>;

impl<T: Real> Attached<T> {
    pub(super) fn forward_images<P>(&mut self, images: ImageBatch<'_, T>) -> Recorded<T, P> {
        let (features, tape) = self.learner.forward_images(images)?;
        Ok((features, Some(Tape::Learner(tape))))
    }

    pub(super) fn forward_texts<P>(
        &mut self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Recorded<T, P> {
        let (features, tape) = self.learner.forward_texts(tokens, prompts)?;
        Ok((features, Some(Tape::Learner(tape))))
    }
}

impl<T, Image, Text, Comm> Trainer<T, Image, Text, Comm>
where
    T: Real,
    Image: TrainableImageTower<T>,
    Text: TrainableTextTower<T>,
    Comm: Communicator + Collective<T>,
{
    /// Moves the computation to a learner: its towers take the trained parameters and moments of this
    /// trainer, and every later step runs there. [`Trainer::synchronize`] copies them back.
    ///
    /// # Errors
    /// [`TrainingError::LearnerMismatch`] if the learner's parameters differ in name or shape, other variants if the
    /// moments of parameters have different numbers of steps, or the device fails.
    pub fn attach(&mut self, mut learner: Box<dyn Learner<T>>) -> Result<(), TrainingError> {
        let tensors: Vec<_> = self.trained_tensors().collect();
        let of_learner = learner.read(LearnerState::Values)?;
        let mut pairs = tensors.iter().zip(&of_learner);
        let differs = |(own, other): &(&NamedTensor<&[T]>, &NamedTensor<Vec<T>>)| {
            own.name != other.name || own.shape != other.shape
        };
        let other = match pairs.find(differs) {
            Some((_, other)) => Some(format!("{} {:?}", other.name, other.shape)),
            None if tensors.len() == of_learner.len() => None,
            None => Some(count(of_learner.len(), "parameter").to_string()),
        };
        if let Some(found) = other {
            let device = learner.device().to_owned();
            return Err(TrainingError::LearnerMismatch { device, found });
        }
        let values: Vec<&[T]> = tensors.iter().map(|tensor| tensor.values).collect();
        learner.write(LearnerState::Values, &values)?;
        let mut steps = None;
        let mut first = Vec::with_capacity(tensors.len());
        let mut second = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let own = self
                .optimizer
                .moments()
                .find(|(name, _)| *name == tensor.name)
                .map(|(_, moments)| moments);
            let own_steps = own.map_or(0, Moments::step);
            if *steps.get_or_insert(own_steps) != own_steps {
                return Err(TrainingError::StepsDiffer {
                    name: tensor.name.clone(),
                    expected: steps.unwrap_or_default(),
                    found: own_steps,
                });
            }
            let zeros = || vec![T::zero(); tensor.values.len()];
            first.push(own.map_or_else(zeros, |moments| moments.first().to_vec()));
            second.push(own.map_or_else(zeros, |moments| moments.second().to_vec()));
        }
        let steps = steps.unwrap_or_default();
        if steps > 0 {
            learner.write(LearnerState::FirstMoments, &slices(&first))?;
            learner.write(LearnerState::SecondMoments, &slices(&second))?;
        }
        self.learner = Some(Attached {
            learner,
            steps,
            is_synchronized: true,
        });
        Ok(())
    }

    /// Returns the name of the learner's device; `None` on the host.
    pub fn device(&self) -> Option<&str> {
        self.learner
            .as_ref()
            .map(|attached| attached.learner.device())
    }

    /// Returns the image tower that computes.
    pub fn image(&self) -> &dyn ImageTower<T> {
        match &self.learner {
            Some(attached) => attached.learner.image(),
            None => &self.towers.image,
        }
    }

    /// Returns the "yes" tower that computes.
    pub fn yes(&self) -> &dyn TextTower<T> {
        match &self.learner {
            Some(attached) => attached.learner.yes(),
            None => &self.towers.yes,
        }
    }

    /// Copies parameters and moments of a learner to the towers and the optimizer of this trainer, as for
    /// a checkpoint. Without a learner, they are there already.
    ///
    /// # Errors
    /// [`TrainingError`] if the device fails.
    pub fn synchronize(&mut self) -> Result<(), TrainingError> {
        let Some(attached) = self.learner.take() else {
            return Ok(());
        };
        let copied = match attached.is_synchronized {
            true => Ok(()),
            false => self.copy_from(&attached),
        };
        let is_synchronized = copied.is_ok();
        self.learner = Some(Attached {
            is_synchronized,
            ..attached
        });
        copied
    }

    fn copy_from(&mut self, attached: &Attached<T>) -> Result<(), TrainingError> {
        let values = attached.learner.read(LearnerState::Values)?;
        let first = attached.learner.read(LearnerState::FirstMoments)?;
        let second = attached.learner.read(LearnerState::SecondMoments)?;
        let (_, side) = self.trained_text();
        let image = match self.trainable {
            TrainableTowers::NoTower => Vec::new(),
            TrainableTowers::Clip => self.towers.image.params_mut().named_tensors_mut(),
        };
        let text = match (self.trainable, &mut self.towers.no) {
            (TrainableTowers::NoTower, Some(no)) => no.params_mut(),
            _ => self.towers.yes.params_mut(),
        };
        let own = image.into_iter().chain(text.named_tensors_mut(side));
        for (own, read) in own.zip(&values) {
            own.values.copy_from_slice(&read.values);
        }
        let scale = self
            .optimizer
            .moments()
            .find(|(name, _)| *name == LOGIT_SCALE)
            .map(|(name, moments)| (name.to_owned(), moments.clone()));
        let moments = |(first, second): (NamedTensor<Vec<T>>, NamedTensor<Vec<T>>)| {
            let moments = Moments::new(
                &first.name,
                &first.shape,
                attached.steps,
                first.values,
                second.values,
            )?;
            Ok::<_, OptimizerError>((first.name, moments))
        };
        let all = first.into_iter().zip(second).map(moments);
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let settings = *self.optimizer.settings();
        self.optimizer = AdamW::with_moments(settings, all.into_iter().chain(scale))?;
        Ok(())
    }

    /// Steps the parameters on the device, and the logit scale here.
    pub(super) fn update_on_device(
        &mut self,
        lr: f64,
        d_scale: T,
    ) -> Result<Option<f64>, TrainingError> {
        let Some(attached) = &mut self.learner else {
            return Ok(None);
        };
        check_learning_rate(lr)?;
        let trains_scale = self.trainable == TrainableTowers::Clip;
        let settings = *self.optimizer.settings();
        let (mut clip, mut norm) = (1.0, None);
        if let Some(max) = settings.max_gradient_norm {
            let mut squares = attached.learner.squared_gradients()?;
            if trains_scale {
                let d_scale = d_scale.to_f64().unwrap_or(f64::NAN);
                squares.push((LOGIT_SCALE.to_owned(), d_scale * d_scale));
            }
            if let Some((name, _)) = squares.iter().find(|(_, sum)| !sum.is_finite()) {
                let name = name.clone();
                return Err(OptimizerError::NotFinite { name }.into());
            }
            let total = squares.iter().map(|(_, sum)| sum).sum::<f64>().sqrt();
            // PyTorch's clip_grad_norm_ adds the same 1e-6.
            clip = (max / (total + 1e-6)).min(1.0);
            norm = Some(total);
        }
        if trains_scale {
            let gradient = [d_scale * T::from_f64(clip)];
            let update = ParameterUpdate {
                name: LOGIT_SCALE,
                shape: &[],
                values: std::slice::from_mut(&mut self.towers.logit_scale),
                gradient: ParameterGradient::Dense(&gradient),
            };
            self.optimizer.step(lr, [update])?;
        }
        let step = settings.step(lr, settings.weight_decay, attached.steps + 1, clip);
        attached.learner.step(&step)?;
        attached.steps += 1;
        attached.is_synchronized = false;
        Ok(norm)
    }

    /// Sums the gradients over all ranks, through the host.
    pub(super) fn reduce_on_device(&mut self, d_scale: &mut T) -> Result<(), TrainingError> {
        let Some(attached) = &mut self.learner else {
            return Ok(());
        };
        let mut gradients = attached.learner.read(LearnerState::Gradients)?;
        let communicator = &self.communicator;
        let tensors = gradients.iter_mut().map(|tensor| &mut tensor.values[..]);
        in_buckets(
            tensors.chain([std::slice::from_mut(d_scale)]).collect(),
            &mut self.bucket,
            communicator.world_size(),
            |bucket| communicator.all_reduce_sum(bucket),
        )?;
        let sums: Vec<&[T]> = gradients.iter().map(|tensor| &tensor.values[..]).collect();
        Ok(attached.learner.write(LearnerState::Gradients, &sums)?)
    }
}

fn slices<T>(values: &[Vec<T>]) -> Vec<&[T]> {
    values.iter().map(Vec::as_slice).collect()
}
