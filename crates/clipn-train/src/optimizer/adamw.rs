//! One step of AdamW (Loshchilov and Hutter), in the order of operations of PyTorch's single-tensor form.

use indexmap::IndexMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Gradient, Moments, OptimizerError, Update, global_norm};
use clipn_model::Real;
use crate::vectorised;

/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// What AdamW is told beside the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWSettings {
    /// Decay of the running average of the gradient.
    pub beta1: f64,
    /// Decay of the running average of its square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Share of the learning rate by which parameters that decay shrink in a step.
    pub weight_decay: f64,
    /// Gradients of a larger global norm are scaled down to it; `None` for no clipping.
    #[serde(default)]
    pub max_gradient_norm: Option<f64>,
}

impl Default for AdamWSettings {
    /// As published: betas 0.9 and 0.98, eps 1e-6, weight decay 0.2, no clipping.
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
    /// Says whether the settings make sense.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] names the first that does not.
    pub fn check(&self) -> Result<(), OptimizerError> {
        let beta = "a number from 0 up to but not 1";
        let settings = [
            ("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), beta),
            ("beta2", self.beta2, (0.0..1.0).contains(&self.beta2), beta),
            (
                "eps",
                self.eps,
                self.eps > 0.0 && self.eps.is_finite(),
                "a small number above 0",
            ),
            (
                "weight decay",
                self.weight_decay,
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "a finite number from 0",
            ),
            (
                "largest gradient norm",
                self.max_gradient_norm.unwrap_or(1.0),
                self.max_gradient_norm.is_none_or(|norm| norm > 0.0),
                "a number above 0",
            ),
        ];
        match settings.into_iter().find(|&(_, _, fits, _)| !fits) {
            Some((what, value, _, range)) => Err(OptimizerError::Setting { what, value, range }),
            None => Ok(()),
        }
    }
}

/// Whether a parameter decays, as published: not with fewer than two dimensions, and not where the name holds `bn`,
/// `ln`, `bias` or `logit_scale`.
pub fn decays(name: &str, shape: &[usize]) -> bool {
    shape.len() >= 2
        && !["bn", "ln", "bias", "logit_scale"]
            .iter()
            .any(|part| name.contains(part))
}

/// AdamW with the moments of every parameter it has stepped, by name.
#[derive(Debug, Clone)]
pub struct AdamW<T: Real> {
    settings: AdamWSettings,
    moments: IndexMap<String, Moments<T>>,
}

impl<T: Real> AdamW<T> {
    /// Before the first step.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn new(settings: AdamWSettings) -> Result<Self, OptimizerError> {
        Self::restore(settings, [])
    }

    /// With moments from a checkpoint.
    ///
    /// # Errors
    /// Settings that make no sense, and a name that stands twice.
    pub fn restore(
        settings: AdamWSettings,
        moments: impl IntoIterator<Item = (String, Moments<T>)>,
    ) -> Result<Self, OptimizerError> {
        settings.check()?;
        let mut restored = IndexMap::new();
        for (name, moments) in moments {
            if restored.contains_key(&name) {
                return Err(OptimizerError::Twice { name });
            }
            restored.insert(name, moments);
        }
        Ok(Self {
            settings,
            moments: restored,
        })
    }

    /// The settings.
    pub fn settings(&self) -> &AdamWSettings {
        &self.settings
    }

    /// The moments of each parameter stepped so far, in the order of their first steps.
    pub fn moments(&self) -> impl ExactSizeIterator<Item = (&str, &Moments<T>)> {
        self.moments
            .iter()
            .map(|(name, moments)| (name.as_str(), moments))
    }

    /// Steps every parameter given, at the learning rate `lr`; parameters not given stay as they are. Returns the
    /// gradients' global norm before clipping where there is clipping, which alone needs it.
    ///
    /// The result does not depend on the number of threads, nor on whether a gradient is dense or of rows.
    ///
    /// # Errors
    /// Shapes that do not fit, a name given twice, a rate that is negative or no number, and with clipping a gradient that
    /// is not finite. Nothing has changed then.
    pub fn step<'a>(
        &mut self,
        lr: f64,
        updates: impl IntoIterator<Item = Update<'a, T>>,
    ) -> Result<Option<f64>, OptimizerError> {
        let updates: Vec<Update<'a, T>> = updates.into_iter().collect();
        self.check(lr, &updates)?;
        let norm = match self.settings.max_gradient_norm {
            Some(_) => Some(global_norm(
                updates.iter().map(|u| (u.name, u.shape, u.gradient)),
            )?),
            None => None,
        };
        let clip = match (self.settings.max_gradient_norm, norm) {
            // PyTorch's clip_grad_norm_ adds the same 1e-6.
            (Some(largest), Some(norm)) => (largest / (norm + 1e-6)).min(1.0),
            _ => 1.0,
        };
        // Moments leave the map for the pass, so that every thread can write its part of several.
        let mut taken: Vec<Moments<T>> = updates.iter().map(|update| self.take(update)).collect();
        let mut jobs = Vec::new();
        let names: Vec<&str> = updates.iter().map(|update| update.name).collect();
        for (update, moments) in updates.into_iter().zip(&mut taken) {
            moments.own();
            moments.step += 1;
            let decay = if decays(update.name, update.shape) {
                self.settings.weight_decay
            } else {
                0.0
            };
            let constants = Constants::new(&self.settings, lr, decay, moments.step, clip);
            cut(update, moments, constants, &mut jobs);
        }
        jobs.into_par_iter().for_each(Job::run);
        for (name, moments) in names.into_iter().zip(taken) {
            self.moments.insert(name.to_owned(), moments);
        }
        Ok(norm)
    }

    fn check(&self, lr: f64, updates: &[Update<'_, T>]) -> Result<(), OptimizerError> {
        if !(lr.is_finite() && lr >= 0.0) {
            let range = "a finite number from 0";
            return Err(OptimizerError::Setting {
                what: "learning rate",
                value: lr,
                range,
            });
        }
        let mut names = std::collections::HashSet::new();
        for update in updates {
            if !names.insert(update.name) {
                return Err(OptimizerError::Twice {
                    name: update.name.to_owned(),
                });
            }
            update.check(self.moments.get(update.name))?;
        }
        Ok(())
    }

    /// The moments of a parameter, leaving its place in the order.
    fn take(&mut self, update: &Update<'_, T>) -> Moments<T> {
        match self.moments.get_mut(update.name) {
            Some(moments) => std::mem::replace(moments, Moments::zero(&[0])),
            None => Moments::zero(update.shape),
        }
    }
}

/// The numbers of one step that all elements of a parameter share, computed in f64 as PyTorch does.
#[derive(Debug, Clone, Copy)]
struct Constants<T> {
    /// 1 − lr·weight decay.
    keep: T,
    /// 1 − beta1.
    first_share: T,
    beta2: T,
    /// 1 − beta2.
    second_share: T,
    /// The root of the second bias correction.
    root_correction: T,
    eps: T,
    /// −lr over the first bias correction.
    minus_rate: T,
    /// By which gradients are scaled.
    clip: T,
}

impl<T: Real> Constants<T> {
    fn new(settings: &AdamWSettings, lr: f64, weight_decay: f64, step: u64, clip: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            keep: T::of(1.0 - lr * weight_decay),
            first_share: T::of(1.0 - settings.beta1),
            beta2: T::of(settings.beta2),
            second_share: T::of(1.0 - settings.beta2),
            root_correction: T::of(correction(settings.beta2).sqrt()),
            eps: T::of(settings.eps),
            minus_rate: T::of(-(lr / correction(settings.beta1))),
            clip: T::of(clip),
        }
    }

    /// Decay, then the averages, then the move.
    #[inline(always)]
    fn element(&self, value: &mut T, first: &mut T, second: &mut T, gradient: T) {
        let gradient = gradient * self.clip;
        *first = *first + self.first_share * (gradient - *first);
        *second = *second * self.beta2 + self.second_share * gradient * gradient;
        let root = second.sqrt() / self.root_correction + self.eps;
        *value = *value * self.keep + self.minus_rate * *first / root;
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
    gradient: Part<'a, T>,
}

/// The gradient of such a part.
enum Part<'a, T> {
    Dense(&'a [T]),
    /// `reached` has an entry a row of the part, the first of which is `first_row` of the table.
    Rows {
        width: usize,
        first_row: usize,
        ids: &'a [u32],
        values: &'a [T],
        reached: Option<&'a mut [bool]>,
    },
}

/// Cuts a parameter into jobs.
fn cut<'a, T: Real>(
    Update {
        values,
        gradient,
        shape,
        ..
    }: Update<'a, T>,
    moments: &'a mut Moments<T>,
    constants: Constants<T>,
    jobs: &mut Vec<Job<'a, T>>,
) {
    let width = shape.iter().skip(1).product::<usize>().max(1);
    if matches!(gradient, Gradient::Dense(_)) {
        moments.reached = None;
    }
    // Whole rows, so that a row's gradient is in one part.
    let rows_a_part = (CHUNK / width).max(1);
    let length = match gradient {
        Gradient::Dense(_) => CHUNK,
        Gradient::Rows { .. } => rows_a_part * width,
    };
    let mut reached = moments
        .reached
        .as_mut()
        .map(|reached| reached.chunks_mut(rows_a_part));
    let parts = values
        .chunks_mut(length)
        .zip(moments.first.make_mut().chunks_mut(length))
        .zip(moments.second.make_mut().chunks_mut(length));
    for (index, ((values, first), second)) in parts.enumerate() {
        let gradient = match gradient {
            Gradient::Dense(gradient) => Part::Dense(&gradient[index * length..][..values.len()]),
            Gradient::Rows {
                ids,
                values: gradients,
            } => {
                let first_row = index * rows_a_part;
                let from = ids.partition_point(|&id| (id as usize) < first_row);
                let to = ids.partition_point(|&id| (id as usize) < first_row + rows_a_part);
                Part::Rows {
                    width,
                    first_row,
                    ids: &ids[from..to],
                    values: &gradients[from * width..to * width],
                    reached: reached.as_mut().and_then(Iterator::next),
                }
            }
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
        vectorised(
            #[inline(always)]
            || self.run_here(),
        );
    }

    #[inline(always)]
    fn run_here(self) {
        let Self {
            constants,
            values,
            first,
            second,
            gradient,
        } = self;
        let (width, first_row, ids, gradients, mut reached) = match gradient {
            Part::Dense(gradient) => return constants.dense(values, first, second, gradient),
            Part::Rows {
                width,
                first_row,
                ids,
                values,
                reached,
            } => (width, first_row, ids, values, reached),
        };
        let mut given = ids.iter().zip(gradients.chunks(width)).peekable();
        let rows = values
            .chunks_mut(width)
            .zip(first.chunks_mut(width))
            .zip(second.chunks_mut(width));
        for (row, ((values, first), second)) in rows.enumerate() {
            let reached = reached
                .as_deref_mut()
                .and_then(|reached| reached.get_mut(row));
            match given.next_if(|&(&id, _)| id as usize == first_row + row) {
                Some((_, gradient)) => {
                    constants.dense(values, first, second, gradient);
                    if let Some(reached) = reached {
                        *reached = true;
                    }
                }
                None if reached.is_none_or(|reached| *reached) => {
                    constants.without_gradient(values, first, second);
                }
                // Zero moments stay zero and move nothing: what is left is decay.
                None => values
                    .iter_mut()
                    .for_each(|value| *value = *value * constants.keep),
            }
        }
    }
}
