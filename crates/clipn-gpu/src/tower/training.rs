//! Gradients, moments and the optimizer's step on a device.

use clipn_model::{NamedTensor, Real, has_weight_decay};

use crate::device::Device;
use crate::error::DeviceError;
use crate::memory::IdleWorkspaces;
use crate::op::{AdamWConstants, ElementKind, Op, square_sums};
use crate::tower::image::ImageBatchSize;
use crate::tower::parameters::{self, Parameter, Part};
use crate::tower::pool::Pool;
use crate::tower::text::TextBatchSize;
use crate::tower::{vision, words};

/// Recorded forward pass: the buffers of its batch, which the backward pass reads.
pub struct DeviceTape<D: Device>(pub(crate) Tape<D>);

/// Batches of a recorded pass, in order.
pub(crate) enum Tape<D: Device> {
    Images(Vec<Recorded<D::Value, ImageBatchSize, vision::Workspace<D>>>),
    Texts(Vec<Recorded<words::OwnedText, TextBatchSize, words::Workspace<D>>>),
}

/// Batch of a recorded pass, which one program runs.
pub(crate) struct Recorded<I, S, W> {
    /// Pixels or texts.
    pub(crate) inputs: Vec<I>,
    pub(crate) size: S,
    /// Buffers of the pass; `None` if the memory did not suffice to keep them, so that the backward pass
    /// repeats the forward pass.
    pub(crate) workspace: Option<W>,
}

impl<D: Device> std::fmt::Debug for DeviceTape<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceTape").finish_non_exhaustive()
    }
}

/// Takes buffers from the pool, or builds them, for which other recorded batches give theirs up.
pub(crate) fn take_for_training<I, S: PartialEq + Copy + Send + 'static, W: Send + 'static>(
    (pool, idle): (&Pool<(S, bool), W>, &IdleWorkspaces),
    size: S,
    others: &mut [Recorded<I, S, W>],
    build: impl Fn() -> Result<W, DeviceError>,
) -> Result<W, DeviceError> {
    loop {
        match pool.take(idle, (size, true), &build) {
            Err(DeviceError::OutOfMemory { .. }) if release(others, pool) => {}
            taken => return taken,
        }
    }
}

/// Gives the buffers of one recorded batch to the pool; returns whether there was one.
fn release<I, S: PartialEq + Copy + Send + 'static, W: Send + 'static>(
    recorded: &mut [Recorded<I, S, W>],
    pool: &Pool<(S, bool), W>,
) -> bool {
    let kept = recorded
        .iter_mut()
        .find_map(|batch| Some((batch.size, batch.workspace.take()?)));
    match kept {
        Some((size, workspace)) => {
            pool.put((size, true), workspace);
            true
        }
        None => false,
    }
}

/// Constants of an AdamW step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the running average of the gradient.
    pub beta1: f64,
    /// Decay of the running average of the squared gradient.
    pub beta2: f64,
    /// Term added to the root of the averaged square.
    pub eps: f64,
    /// Weight decay of matrices and embeddings.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// Factor of the gradients.
    pub clip: f64,
}

impl AdamWStep {
    /// Returns the constants of the step, computed in f64 as in PyTorch.
    pub fn constants(&self) -> AdamWConstants {
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        AdamWConstants {
            decay_factor: 1.0 - self.learning_rate * self.weight_decay,
            one_minus_beta1: 1.0 - self.beta1,
            beta2: self.beta2,
            one_minus_beta2: 1.0 - self.beta2,
            root_correction: correction(self.beta2).sqrt(),
            eps: self.eps,
            minus_step_size: -(self.learning_rate / correction(self.beta1)),
            clip: self.clip,
        }
    }
}

/// State of the parameters that is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterState {
    /// Values.
    Value,
    /// Gradients of a trainable tower.
    Gradient,
    /// Running averages of the gradients of a trainable tower.
    FirstMoment,
    /// Running averages of the squared gradients of a trainable tower.
    SecondMoment,
}

impl ParameterState {
    fn of<B>(self, part: &Part<B>) -> Option<&B> {
        let trained = part.trained.as_ref();
        match self {
            Self::Value => Some(&part.value),
            Self::Gradient => trained.map(|trained| &trained.gradient),
            Self::FirstMoment => trained.map(|trained| &trained.first_moment),
            Self::SecondMoment => trained.map(|trained| &trained.second_moment),
        }
    }

    pub(crate) fn read<D: Device>(
        self,
        device: &D,
        parameters: &[Parameter<D::Buffer>],
    ) -> Result<Vec<NamedTensor<Vec<D::Value>>>, DeviceError> {
        let tensor = |parameter: &Parameter<D::Buffer>| {
            Ok(NamedTensor {
                name: parameter.name.clone(),
                shape: parameter.shape.clone(),
                values: parameters::read(device, parameter, |part| self.of(part))?,
            })
        };
        parameters.iter().map(tensor).collect()
    }

    pub(crate) fn write<D: Device>(
        self,
        device: &D,
        parameters: &[Parameter<D::Buffer>],
        values: &[&[D::Value]],
    ) -> Result<(), DeviceError> {
        if values.len() != parameters.len() {
            let problem = format!("{} tensors of {}", values.len(), parameters.len());
            return Err(DeviceError::invalid("writing parameters", problem));
        }
        for (parameter, values) in parameters.iter().zip(values) {
            let len: usize = parameter.shape.iter().product();
            if values.len() != len {
                let problem = format!("{} values for {}", values.len(), parameter.name);
                return Err(DeviceError::invalid("writing parameters", problem));
            }
            if self == Self::Value {
                parameters::check_range(device.precision(), &parameter.name, values)?;
            }
            for part in &parameter.parts {
                let values = &values[part.offset..][..part.len];
                if let Some(buffer) = self.of(part) {
                    device.write(buffer, values)?;
                }
                if let (Self::Value, Some(multiplied)) = (self, &part.multiplied) {
                    device.write(multiplied, values)?;
                }
            }
        }
        Ok(())
    }
}

/// Programs over all parameters of a tower.
pub(crate) struct Training<D: Device> {
    /// Values of [`AdamWConstants`].
    constants: D::Buffer,
    clear: D::Program,
    step: D::Program,
    squares: D::Program,
}

impl<D: Device> std::fmt::Debug for Training<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Training").finish_non_exhaustive()
    }
}

impl<D: Device> Training<D> {
    pub(crate) fn new(
        device: &D,
        parameters: &[Parameter<D::Buffer>],
    ) -> Result<Self, DeviceError> {
        let constants = device.allocate(ElementKind::Full, AdamWConstants::LEN)?;
        let (mut clear, mut step, mut squares) = (Vec::new(), Vec::new(), Vec::new());
        for parameter in parameters {
            let decays = has_weight_decay(&parameter.name, &parameter.shape);
            for part in &parameter.parts {
                let Some(trained) = &part.trained else {
                    continue;
                };
                let (len, gradient) = (part.len, trained.gradient.clone());
                clear.push(Op::Clear {
                    out: gradient.clone(),
                    len,
                });
                squares.push(Op::SumsOfSquares {
                    x: gradient.clone(),
                    out: trained.squares.clone(),
                    len,
                });
                step.push(Op::AdamW {
                    parameter: part.value.clone(),
                    first_moment: trained.first_moment.clone(),
                    second_moment: trained.second_moment.clone(),
                    gradient,
                    constants: constants.clone(),
                    decays,
                    len,
                });
                if let Some(multiplied) = &part.multiplied {
                    step.push(Op::Convert {
                        x: part.value.clone(),
                        out: multiplied.clone(),
                        len,
                    });
                }
            }
        }
        Ok(Self {
            constants,
            clear: device.prepare(clear)?,
            step: device.prepare(step)?,
            squares: device.prepare(squares)?,
        })
    }

    /// Returns the training state of a tower that has one.
    pub(crate) fn of(training: Option<&Self>) -> Result<&Self, DeviceError> {
        training.ok_or_else(|| DeviceError::invalid("training", "the tower is for inference"))
    }

    pub(crate) fn clear(&self, device: &D) -> Result<(), DeviceError> {
        device.run(&self.clear)
    }

    pub(crate) fn step(&self, device: &D, step: &AdamWStep) -> Result<(), DeviceError> {
        let constants = step.constants().to_array();
        let constants = constants.map(D::Value::from_f64);
        device.write(&self.constants, &constants)?;
        device.run(&self.step)
    }

    pub(crate) fn squared_gradients(
        &self,
        device: &D,
        parameters: &[Parameter<D::Buffer>],
    ) -> Result<Vec<(String, f64)>, DeviceError> {
        device.run(&self.squares)?;
        let mut all = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let mut total = 0.0;
            for part in &parameter.parts {
                if let Some(trained) = &part.trained {
                    let values = device.read(&trained.squares, square_sums(part.len))?;
                    total += values.into_iter().map(to_f64).sum::<f64>();
                }
            }
            all.push((parameter.name.clone(), total));
        }
        Ok(all)
    }
}

fn to_f64<T: Real>(value: T) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}
