//! AdamW ([Loshchilov and Hutter](https://arxiv.org/abs/1711.05101)), in the order of operations of
//! PyTorch's single-tensor implementation.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use indexmap::IndexMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use clipn_base::simd::vectorized;
use clipn_gpu::{AdamWConstants, AdamWStep};
use clipn_model::{Real, has_weight_decay};

use super::{Moments, OptimizerError, ParameterGradient, ParameterUpdate, global_norm};

/// Number of elements in the part of a parameter that one job steps.
const CHUNK: usize = 1 << 14;

/// AdamW's parameters, except for the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWSettings {
    /// Decay of the running average of the gradient, in [0, 1).
    pub beta1: f64,
    /// Decay of the running average of the squared gradient, in [0, 1).
    pub beta2: f64,
    /// Term added to the root of the averaged square, for numerical stability; above 0.
    pub eps: f64,
    /// Weight decay, at least 0: in a step, decaying parameters shrink by this fraction times the
    /// learning rate.
    pub weight_decay: f64,
    /// Maximum global norm of the gradients, to which larger ones are scaled down; `None` for no
    /// clipping.
    #[serde(default)]
    pub max_gradient_norm: Option<f64>,
}

impl Default for AdamWSettings {
    /// The published values: betas 0.9 and 0.98, eps 1e-6, weight decay 0.2, no clipping.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-6,
            weight_decay: 0.2,
            max_gradient_norm: None,
        }
    }
}

impl AdamWSettings {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`OptimizerError::InvalidSetting`] for the first setting that is out of range.
    pub fn check(&self) -> Result<(), OptimizerError> {
        let beta = "a number of at least 0 and below 1";
        let settings = [
            ("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), beta),
            ("beta2", self.beta2, (0.0..1.0).contains(&self.beta2), beta),
            (
                "eps",
                self.eps,
                self.eps > 0.0 && self.eps.is_finite(),
                "a finite number above 0",
            ),
            (
                "weight decay",
                self.weight_decay,
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "a finite number of at least 0",
            ),
            (
                "maximum gradient norm",
                self.max_gradient_norm.unwrap_or(1.0),
                self.max_gradient_norm.is_none_or(|norm| norm > 0.0),
                "a number above 0",
            ),
        ];
        match settings.into_iter().find(|&(_, _, fits, _)| !fits) {
            Some((what, value, _, range)) => {
                Err(OptimizerError::InvalidSetting { what, value, range })
            }
            None => Ok(()),
        }
    }

    /// Returns the constants of the step number `step`, from 1, at a learning rate.
    pub(crate) fn step(
        &self,
        learning_rate: f64,
        weight_decay: f64,
        step: u64,
        clip: f64,
    ) -> AdamWStep {
        AdamWStep {
            learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay,
            step,
            clip,
        }
    }
}

/// Checks the learning rate of a step.
pub(crate) fn check_learning_rate(lr: f64) -> Result<(), OptimizerError> {
    if lr.is_finite() && lr >= 0.0 {
        return Ok(());
    }
    Err(OptimizerError::InvalidSetting {
        what: "learning rate",
        value: lr,
        range: "a finite number of at least 0",
    })
}

/// AdamW with the moments of every parameter that it has stepped, by name.
#[derive(Debug, Clone)]
pub struct AdamW<T: Real> {
    settings: AdamWSettings,
    moments: IndexMap<String, Moments<T>>,
}

impl<T: Real> AdamW<T> {
    /// Creates an optimizer without moments, as before the first step.
    ///
    /// # Errors
    /// [`OptimizerError::InvalidSetting`] if a setting is out of range.
    pub fn new(settings: AdamWSettings) -> Result<Self, OptimizerError> {
        Self::with_moments(settings, [])
    }

    /// Creates an optimizer with moments from a checkpoint.
    ///
    /// # Errors
    /// [`OptimizerError::InvalidSetting`] if a setting is out of range, [`OptimizerError::DuplicateParameter`] if a
    /// parameter is duplicated.
    pub fn with_moments(
        settings: AdamWSettings,
        moments: impl IntoIterator<Item = (String, Moments<T>)>,
    ) -> Result<Self, OptimizerError> {
        settings.check()?;
        let mut restored = IndexMap::new();
        for (name, moments) in moments {
            if restored.contains_key(&name) {
                return Err(OptimizerError::DuplicateParameter { name });
            }
            restored.insert(name, moments);
        }
        Ok(Self {
            settings,
            moments: restored,
        })
    }

    /// Returns the settings.
    pub fn settings(&self) -> &AdamWSettings {
        &self.settings
    }

    /// Replaces the settings, and keeps the moments.
    ///
    /// # Errors
    /// Same as [`new`](Self::new).
    pub fn with_settings(self, settings: AdamWSettings) -> Result<Self, OptimizerError> {
        settings.check()?;
        Ok(Self { settings, ..self })
    }

    /// Returns the moments of each parameter stepped so far, in the order of their first steps.
    pub fn moments(&self) -> impl ExactSizeIterator<Item = (&str, &Moments<T>)> {
        self.moments
            .iter()
            .map(|(name, moments)| (name.as_str(), moments))
    }

    /// Steps every parameter in `updates` at the learning rate `lr`; other parameters are
    /// unchanged. Returns the global norm of the gradients before clipping, or `None` without
    /// clipping, which alone needs it.
    ///
    /// The result does not depend on the number of threads, nor on whether a gradient is dense or
    /// given by rows.
    ///
    /// # Errors
    /// [`OptimizerError`] if shapes do not match, a parameter is duplicated, `lr` is negative or
    /// not finite, or, with clipping, a gradient is not finite. Nothing has changed then.
    pub fn step<'a>(
        &mut self,
        lr: f64,
        updates: impl IntoIterator<Item = ParameterUpdate<'a, T>>,
    ) -> Result<Option<f64>, OptimizerError> {
        let updates: Vec<ParameterUpdate<'a, T>> = updates.into_iter().collect();
        self.check(lr, &updates)?;
        let norm = match self.settings.max_gradient_norm {
            Some(_) => Some(global_norm(
                updates.iter().map(|u| (u.name, u.shape, u.gradient)),
            )?),
            None => None,
        };
        let clip = match (self.settings.max_gradient_norm, norm) {
            // PyTorch's clip_grad_norm_ adds the same 1e-6.
            (Some(max), Some(norm)) => (max / (norm + 1e-6)).min(1.0),
            _ => 1.0,
        };
        // Take the moments out of the map during the pass, so that threads can write to parts of
        // several parameters at once.
        let mut taken: Vec<Moments<T>> = updates.iter().map(|update| self.take(update)).collect();
        let mut jobs = Vec::new();
        let names: Vec<&str> = updates.iter().map(|update| update.name).collect();
        for (update, moments) in updates.into_iter().zip(&mut taken) {
            moments.load_into_memory();
            moments.step += 1;
            let decay = if has_weight_decay(update.name, update.shape) {
                self.settings.weight_decay
            } else {
                0.0
            };
            let step = self.settings.step(lr, decay, moments.step, clip);
            let constants = Constants::new(step.constants());
            split_into_jobs(update, moments, constants, &mut jobs);
        }
        jobs.into_par_iter().for_each(Job::run);
        for (name, moments) in names.into_iter().zip(taken) {
            self.moments.insert(name.to_owned(), moments);
        }
        Ok(norm)
    }

    /// Returns the moments of these parameters, in their order, for writing; `None` for one that was never
    /// stepped.
    pub(crate) fn moments_mut<'a>(
        &'a mut self,
        names: &[String],
    ) -> Vec<Option<&'a mut Moments<T>>> {
        let mut by_name: HashMap<&str, &mut Moments<T>> = self
            .moments
            .iter_mut()
            .map(|(name, moments)| (name.as_str(), moments))
            .collect();
        let moments = names.iter().map(|name| by_name.remove(name.as_str()));
        moments.collect()
    }

    fn check(&self, lr: f64, updates: &[ParameterUpdate<'_, T>]) -> Result<(), OptimizerError> {
        check_learning_rate(lr)?;
        let mut names = HashSet::new();
        for update in updates {
            if !names.insert(update.name) {
                return Err(OptimizerError::DuplicateParameter {
                    name: update.name.to_owned(),
                });
            }
            update.check(self.moments.get(update.name))?;
            let is_part = matches!(update.gradient, ParameterGradient::Parts { .. });
            if is_part && self.settings.max_gradient_norm.is_some() {
                return Err(OptimizerError::NormOfParts {
                    name: update.name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Takes the moments of a parameter out of the map and keeps its entry in the order.
    fn take(&mut self, update: &ParameterUpdate<'_, T>) -> Moments<T> {
        match self.moments.get_mut(update.name) {
            Some(moments) => std::mem::replace(moments, Moments::zeros(&[0])),
            None => Moments::zeros(update.shape),
        }
    }
}

/// Constants of one step for all elements of a parameter; see [`AdamWConstants`].
#[derive(Debug, Clone, Copy)]
struct Constants<T> {
    decay_factor: T,
    one_minus_beta1: T,
    beta2: T,
    one_minus_beta2: T,
    root_correction: T,
    eps: T,
    minus_step_size: T,
    clip: T,
}

impl<T: Real> Constants<T> {
    fn new(constants: AdamWConstants) -> Self {
        Self {
            decay_factor: T::from_f64(constants.decay_factor),
            one_minus_beta1: T::from_f64(constants.one_minus_beta1),
            beta2: T::from_f64(constants.beta2),
            one_minus_beta2: T::from_f64(constants.one_minus_beta2),
            root_correction: T::from_f64(constants.root_correction),
            eps: T::from_f64(constants.eps),
            minus_step_size: T::from_f64(constants.minus_step_size),
            clip: T::from_f64(constants.clip),
        }
    }

    /// Steps one element: decay, then the averages, then the update.
    #[inline(always)]
    fn element(&self, value: &mut T, first: &mut T, second: &mut T, gradient: T) {
        let gradient = gradient * self.clip;
        *first = *first + self.one_minus_beta1 * (gradient - *first);
        *second = *second * self.beta2 + self.one_minus_beta2 * gradient * gradient;
        let root = second.sqrt() / self.root_correction + self.eps;
        *value = *value * self.decay_factor + self.minus_step_size * *first / root;
    }

    #[inline(always)]
    fn dense(&self, values: &mut [T], first: &mut [T], second: &mut [T], gradient: &[T]) {
        let elements = values.iter_mut().zip(first).zip(second).zip(gradient);
        for (((value, first), second), &gradient) in elements {
            self.element(value, first, second, gradient);
        }
    }

    #[inline(always)]
    fn without_gradient(&self, values: &mut [T], first: &mut [T], second: &mut [T]) {
        for ((value, first), second) in values.iter_mut().zip(first).zip(second) {
            self.element(value, first, second, T::zero());
        }
    }
}

/// A part of a parameter that one thread steps.
struct Job<'a, T> {
    constants: Constants<T>,
    values: &'a mut [T],
    first: &'a mut [T],
    second: &'a mut [T],
    gradient: PartGradient<'a, T>,
}

/// Gradient of the part of a parameter that a [`Job`] steps.
enum PartGradient<'a, T> {
    Dense(&'a [T]),
    /// `reached` has one entry for each row of the part; `first_row` is the index in the table of
    /// the part's first row.
    Rows {
        width: usize,
        first_row: usize,
        ids: &'a [u32],
        values: &'a [T],
        reached: Option<&'a mut [bool]>,
    },
}

/// Splits a parameter into jobs.
fn split_into_jobs<'a, T: Real>(
    update: ParameterUpdate<'a, T>,
    moments: &'a mut Moments<T>,
    constants: Constants<T>,
    jobs: &mut Vec<Job<'a, T>>,
) {
    match update.gradient {
        ParameterGradient::Dense(gradient) => {
            moments.reached = None;
            let all = std::iter::once(0..update.values.len());
            split_ranges(all, update.values, gradient, moments, constants, jobs);
        }
        ParameterGradient::Parts { values, ranges } => {
            moments.reached = None;
            let ranges = ranges.iter().cloned();
            split_ranges(ranges, update.values, values, moments, constants, jobs);
        }
        ParameterGradient::Rows { ids, values } => {
            split_rows(update, ids, values, moments, constants, jobs);
        }
    }
}

/// Splits ascending ranges of a parameter with a dense gradient into jobs.
fn split_ranges<'a, T: Real>(
    ranges: impl Iterator<Item = Range<usize>>,
    mut values: &'a mut [T],
    gradient: &'a [T],
    moments: &'a mut Moments<T>,
    constants: Constants<T>,
    jobs: &mut Vec<Job<'a, T>>,
) {
    let mut first = moments.first.make_mut();
    let mut second = moments.second.make_mut();
    let mut position = 0;
    for range in ranges {
        let take = |rest: &mut &'a mut [T]| {
            let (_, after) = std::mem::take(rest).split_at_mut(range.start - position);
            let (taken, after) = after.split_at_mut(range.len());
            *rest = after;
            taken.chunks_mut(CHUNK)
        };
        let parts = take(&mut values)
            .zip(take(&mut first))
            .zip(take(&mut second))
            .zip(gradient[range.clone()].chunks(CHUNK));
        for (((values, first), second), gradient) in parts {
            jobs.push(Job {
                constants,
                values,
                first,
                second,
                gradient: PartGradient::Dense(gradient),
            });
        }
        position = range.end;
    }
}

/// Splits a table with the gradient of some rows into jobs of whole rows, so that the gradient of a
/// row is in one part.
fn split_rows<'a, T: Real>(
    ParameterUpdate { values, shape, .. }: ParameterUpdate<'a, T>,
    ids: &'a [u32],
    gradients: &'a [T],
    moments: &'a mut Moments<T>,
    constants: Constants<T>,
    jobs: &mut Vec<Job<'a, T>>,
) {
    let width = shape.iter().skip(1).product::<usize>().max(1);
    let rows_per_part = (CHUNK / width).max(1);
    let length = rows_per_part * width;
    let mut reached = moments
        .reached
        .as_mut()
        .map(|reached| reached.chunks_mut(rows_per_part));
    let parts = values
        .chunks_mut(length)
        .zip(moments.first.make_mut().chunks_mut(length))
        .zip(moments.second.make_mut().chunks_mut(length));
    for (index, ((values, first), second)) in parts.enumerate() {
        let first_row = index * rows_per_part;
        let from = ids.partition_point(|&id| (id as usize) < first_row);
        let to = ids.partition_point(|&id| (id as usize) < first_row + rows_per_part);
        let gradient = PartGradient::Rows {
            width,
            first_row,
            ids: &ids[from..to],
            values: &gradients[from * width..to * width],
            reached: reached.as_mut().and_then(Iterator::next),
        };
        jobs.push(Job {
            constants,
            values,
            first,
            second,
            gradient,
        });
    }
}

impl<T: Real> Job<'_, T> {
    fn run(self) {
        vectorized(
            #[inline(always)]
            || self.step_elements(),
        );
    }

    #[inline(always)]
    fn step_elements(self) {
        let Self {
            constants,
            values,
            first,
            second,
            gradient,
        } = self;
        let (width, first_row, ids, gradients, mut reached) = match gradient {
            PartGradient::Dense(gradient) => {
                return constants.dense(values, first, second, gradient);
            }
            PartGradient::Rows {
                width,
                first_row,
                ids,
                values,
                reached,
            } => (width, first_row, ids, values, reached),
        };
        let mut gradient_rows = ids.iter().zip(gradients.chunks(width)).peekable();
        let rows = values
            .chunks_mut(width)
            .zip(first.chunks_mut(width))
            .zip(second.chunks_mut(width));
        for (row, ((values, first), second)) in rows.enumerate() {
            let reached = reached
                .as_deref_mut()
                .and_then(|reached| reached.get_mut(row));
            match gradient_rows.next_if(|&(&id, _)| id as usize == first_row + row) {
                Some((_, gradient)) => {
                    constants.dense(values, first, second, gradient);
                    if let Some(reached) = reached {
                        *reached = true;
                    }
                }
                None if reached.is_none_or(|reached| *reached) => {
                    constants.without_gradient(values, first, second);
                }
                // Zero moments stay zero and add nothing to the value: only decay remains.
                None => values
                    .iter_mut()
                    .for_each(|value| *value = *value * constants.decay_factor),
            }
        }
    }
}
