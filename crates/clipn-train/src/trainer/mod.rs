//! One optimizer step over the towers, and its gradients.

mod batch;
mod buckets;
mod device;
mod ranks;

pub use batch::{ImageInput, MicroBatch, NoTexts, StepReport, TextInput};

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use clipn_model::{
    FeatureMatrix, ImageBatch, NamedTensor, PromptSelection, Real, TensorGradient, TextGradient,
    TextSide, TrainableImageTower, TrainableTextTower, VisionParams, normalize_backward,
    normalize_row,
};

use self::device::Attached;
use self::ranks::{own_ranges, rows_by_id};
use crate::communicator::{Collective, Communicator};
use crate::error::TrainingError;
use crate::learner::LearnerTape;
use crate::objective::{
    FeatureGradients, GradientMask, GradientScaling, LossAndGradients, Objective, PairFeatures,
    clamp_logit_scale, evaluate_over_ranks,
};
use crate::optimizer::{AdamW, ParameterGradient, ParameterUpdate};
use crate::towers::{Towers, TrainableTowers};

/// A trained parameter, for writing, and its gradient.
type Parameter<'a, T> = (NamedTensor<&'a mut [T]>, TensorGradient<'a, T>);

/// Recorded forward pass of a tower of the host or of a learner.
enum Tape<P> {
    Host(P),
    Learner(LearnerTape),
}

/// Features of a micro-batch as a tower returned them, and the tape if it is kept.
struct Encoded<'a, T: Real, P> {
    /// Features before normalization; `None` if they were precomputed.
    raw: Option<FeatureMatrix<T>>,
    normalized: Cow<'a, [T]>,
    tape: Option<Tape<P>>,
}

impl<T: Real, P> Encoded<'_, T, P> {
    /// Features of no input, as on a rank whose samples of a batch are all broken.
    fn empty() -> Self {
        Self {
            raw: None,
            normalized: Cow::Borrowed(&[]),
            tape: None,
        }
    }
}

/// Features of all towers for one micro-batch.
struct EncodedBatch<'a, T: Real, ImageTape, TextTape> {
    image: Encoded<'a, T, ImageTape>,
    yes: Encoded<'a, T, TextTape>,
    no: Encoded<'a, T, TextTape>,
    /// Features of the outliers, which pass through the frozen image tower.
    outliers: Cow<'a, [T]>,
}

/// Takes optimizer steps: encodes all micro-batches, evaluates the loss over the batches of all
/// ranks, backpropagates, steps AdamW and clamps the logit scale.
pub struct Trainer<T: Real, Image: TrainableImageTower<T>, Text: TrainableTextTower<T>, Comm> {
    towers: Towers<T, Image, Text>,
    trainable: TrainableTowers,
    objective: Box<dyn Objective<T>>,
    scaling: GradientScaling,
    optimizer: AdamW<T>,
    communicator: Comm,
    image_gradient: Option<VisionParams<T>>,
    text_gradient: TextGradient<T>,
    /// Reused memory of what ranks exchange.
    bucket: Vec<T>,
    /// Towers on a device, which compute instead of `towers`.
    learner: Option<Attached<T>>,
}

impl<T, Image, Text, Comm> fmt::Debug for Trainer<T, Image, Text, Comm>
where
    T: Real,
    Image: TrainableImageTower<T>,
    Text: TrainableTextTower<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("objective", &self.objective.name())
            .field("trainable", &self.trainable)
            .field("optimizer", self.optimizer.settings())
            .finish_non_exhaustive()
    }
}

impl<T, Image, Text, Comm> Trainer<T, Image, Text, Comm>
where
    T: Real,
    Image: TrainableImageTower<T>,
    Text: TrainableTextTower<T>,
    Comm: Communicator + Collective<T>,
{
    /// Creates a trainer of these towers. An objective that uses "no" trains the "no" tower alone;
    /// any other trains an ordinary CLIP.
    ///
    /// # Errors
    /// [`TrainingError::MissingNoTower`] if the objective uses "no" and there is no "no" tower.
    pub fn new(
        towers: Towers<T, Image, Text>,
        objective: Box<dyn Objective<T>>,
        scaling: GradientScaling,
        optimizer: AdamW<T>,
        communicator: Comm,
    ) -> Result<Self, TrainingError> {
        let trainable = if objective.uses_no() {
            TrainableTowers::NoTower
        } else {
            TrainableTowers::Clip
        };
        let (image_gradient, text_gradient) = match (trainable, &towers.no) {
            (TrainableTowers::NoTower, None) => {
                return Err(TrainingError::MissingNoTower {
                    objective: objective.name(),
                });
            }
            (TrainableTowers::NoTower, Some(no)) => (None, TextGradient::zeros_like(no.params())),
            (TrainableTowers::Clip, _) => (
                Some(towers.image.params().zeros_like()),
                TextGradient::zeros_like(towers.yes.params()),
            ),
        };
        Ok(Self {
            towers,
            trainable,
            objective,
            scaling,
            optimizer,
            communicator,
            image_gradient,
            text_gradient,
            bucket: Vec::new(),
            learner: None,
        })
    }

    /// Returns this rank's endpoint.
    pub fn communicator(&self) -> &Comm {
        &self.communicator
    }

    /// Returns the towers with their current weights.
    pub fn towers(&self) -> &Towers<T, Image, Text> {
        &self.towers
    }

    /// Returns which of the towers' parameters are trained.
    pub fn trainable_towers(&self) -> TrainableTowers {
        self.trainable
    }

    /// Returns the optimizer with its moments.
    pub fn optimizer(&self) -> &AdamW<T> {
        &self.optimizer
    }

    /// Returns the trained text tower and its side.
    fn trained_text(&self) -> (Option<&Text>, TextSide) {
        match self.trainable {
            TrainableTowers::NoTower => (self.towers.no.as_ref(), TextSide::No),
            TrainableTowers::Clip => (Some(&self.towers.yes), TextSide::Yes),
        }
    }

    /// Returns the trained parameters but the logit scale: those of the image tower, if it is trained, then those of
    /// the text tower.
    fn trained_tensors(&self) -> impl Iterator<Item = NamedTensor<&[T]>> {
        let image = match self.trainable {
            TrainableTowers::NoTower => None,
            TrainableTowers::Clip => Some(self.towers.image.params().named_tensors()),
        };
        let (text, side) = self.trained_text();
        let text = text.map(|tower| tower.params().named_tensors(side));
        image
            .into_iter()
            .flatten()
            .chain(text.into_iter().flatten())
    }

    /// Takes one optimizer step over all micro-batches together.
    ///
    /// A single micro-batch keeps its tape from the first pass. Several are first encoded without
    /// keeping tapes, then once more with a tape when the gradient of their features is known; this
    /// gives the same gradient.
    ///
    /// # Errors
    /// [`TrainingError`] if a tower rejects its input, the objective rejects the batch, a loss or a gradient is
    /// not finite, or a setting is out of range: the parameters are then unchanged. If a rank is lost or a device
    /// fails, they may have changed in part, and training resumes from a checkpoint.
    pub fn step(
        &mut self,
        micro_batches: &[MicroBatch<'_, T>],
        lr: f64,
    ) -> Result<StepReport, TrainingError> {
        let keep = micro_batches.len() == 1;
        let encoded = micro_batches
            .iter()
            .map(|micro_batch| {
                Ok(EncodedBatch {
                    image: self.encode_images(&micro_batch.images, keep)?,
                    outliers: match &micro_batch.outliers {
                        Some(outliers) => self.encode_images(outliers, false)?.normalized,
                        None => Cow::Borrowed(&[]),
                    },
                    yes: self.encode_yes(micro_batch, keep)?,
                    no: self.encode_no(micro_batch, keep)?,
                })
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let result = self.evaluate(&encoded)?;
        self.clear_gradients()?;
        let mut first = 0;
        for (micro_batch, encoded) in micro_batches.iter().zip(encoded) {
            let rows = first..first + encoded.image.normalized.len();
            first = rows.end;
            if rows.is_empty() {
                continue;
            }
            self.backward(micro_batch, encoded, &result.gradients, rows)?;
        }
        let mut d_scale = result
            .gradients
            .logit_scale_gradient(self.towers.logit_scale.exp());
        self.reduce(&mut d_scale)?;
        let gradient_norm = self.update(lr, d_scale)?;
        self.gather_parameters()?;
        clamp_logit_scale(&mut self.towers.logit_scale);
        Ok(StepReport {
            total: result.total,
            terms: result.terms,
            gradient_norm,
        })
    }

    fn encode_images<'a>(
        &mut self,
        images: &'a ImageInput<'_, T>,
        keep: bool,
    ) -> Result<Encoded<'a, T, Image::Tape>, TrainingError> {
        let (values, size) = match images {
            ImageInput::Features(known) => {
                return Ok(Encoded {
                    raw: None,
                    normalized: Cow::Borrowed(known),
                    tape: None,
                });
            }
            ImageInput::Pixels { values, .. } if values.is_empty() => return Ok(Encoded::empty()),
            ImageInput::Pixels { values, size } => (values, *size),
        };
        let images = ImageBatch::new(values, size, size)?;
        let records = keep && self.trainable == TrainableTowers::Clip;
        let (raw, tape) = match (&mut self.learner, records) {
            (Some(attached), true) => attached.forward_images(images)?,
            (Some(attached), false) => (attached.learner.image().encode(images)?, None),
            (None, true) => recorded(self.towers.image.forward(images)?),
            (None, false) => (self.towers.image.encode(images)?, None),
        };
        Ok(Encoded {
            normalized: normalized(&raw),
            raw: Some(raw),
            tape,
        })
    }

    fn encode_yes<'a>(
        &mut self,
        micro_batch: &'a MicroBatch<'_, T>,
        keep: bool,
    ) -> Result<Encoded<'a, T, Text::Tape>, TrainingError> {
        let tokens = match &micro_batch.yes {
            TextInput::Features(known) => {
                return Ok(Encoded {
                    raw: None,
                    normalized: Cow::Borrowed(known),
                    tape: None,
                });
            }
            TextInput::Tokens(tokens) if tokens.is_empty() => return Ok(Encoded::empty()),
            TextInput::Tokens(tokens) => tokens,
        };
        let records = keep && self.trainable == TrainableTowers::Clip;
        let prompts = vec![PromptSelection::Mean; tokens.len()];
        let (raw, tape) = match (&mut self.learner, records) {
            (Some(attached), true) => attached.forward_texts(tokens, &prompts)?,
            (Some(attached), false) => (attached.learner.yes().encode(tokens)?, None),
            (None, true) => recorded(self.towers.yes.forward(tokens, &prompts)?),
            (None, false) => (self.towers.yes.encode(tokens)?, None),
        };
        Ok(Encoded {
            normalized: normalized(&raw),
            raw: Some(raw),
            tape,
        })
    }

    fn encode_no(
        &mut self,
        micro_batch: &MicroBatch<'_, T>,
        keep: bool,
    ) -> Result<Encoded<'static, T, Text::Tape>, TrainingError> {
        match (&self.towers.no, &micro_batch.no, self.trainable) {
            (Some(tower), Some(NoTexts { tokens, prompts }), TrainableTowers::NoTower)
                if !tokens.is_empty() =>
            {
                let (raw, tape) = match &mut self.learner {
                    Some(attached) => attached.forward_texts(tokens, prompts)?,
                    None => recorded(tower.forward(tokens, prompts)?),
                };
                Ok(Encoded {
                    normalized: normalized(&raw),
                    raw: Some(raw),
                    tape: tape.filter(|_| keep),
                })
            }
            _ => Ok(Encoded::empty()),
        }
    }

    fn evaluate(
        &self,
        encoded: &[EncodedBatch<'_, T, Image::Tape, Text::Tape>],
    ) -> Result<LossAndGradients<T>, TrainingError> {
        let image = concatenated(encoded.iter().map(|batch| &batch.image.normalized[..]));
        let yes = concatenated(encoded.iter().map(|batch| &batch.yes.normalized[..]));
        let no = concatenated(encoded.iter().map(|batch| &batch.no.normalized[..]));
        let outliers = concatenated(encoded.iter().map(|batch| &batch.outliers[..]));
        let local = PairFeatures {
            dim: self.towers.image.embed_dim(),
            image: &image,
            yes: &yes,
            no: (self.trainable == TrainableTowers::NoTower).then_some(&no[..]),
            outliers: &outliers,
        };
        let trains_clip = self.trainable == TrainableTowers::Clip;
        let mask = GradientMask {
            image: trains_clip,
            yes: trains_clip,
            no: !trains_clip,
            ..GradientMask::all(local.rows())
        };
        let scale = self.towers.logit_scale.exp();
        Ok(evaluate_over_ranks(
            &*self.objective,
            &local,
            scale,
            &mask,
            self.scaling,
            &self.communicator,
        )?)
    }

    fn clear_gradients(&mut self) -> Result<(), TrainingError> {
        if let Some(attached) = &mut self.learner {
            return Ok(attached.learner.clear_gradients()?);
        }
        self.text_gradient.token_embedding.clear();
        let mut dense = self.text_gradient.others.buffers_mut();
        dense.extend(
            self.image_gradient
                .iter_mut()
                .flat_map(VisionParams::buffers_mut),
        );
        dense
            .into_par_iter()
            .for_each(|buffer| buffer.make_mut().fill(T::zero()));
        Ok(())
    }

    /// Adds the gradient of one micro-batch; `rows` is the range of its values in the features of
    /// the batch.
    fn backward(
        &mut self,
        micro_batch: &MicroBatch<'_, T>,
        encoded: EncodedBatch<'_, T, Image::Tape, Text::Tape>,
        gradients: &FeatureGradients<T>,
        rows: Range<usize>,
    ) -> Result<(), TrainingError> {
        let EncodedBatch { image, yes, no, .. } = encoded;
        let (tower, text, d_text) = match self.trainable {
            TrainableTowers::NoTower => (self.towers.no.as_ref(), no, gradients.no.as_ref()),
            TrainableTowers::Clip => (Some(&self.towers.yes), yes, gradients.yes.as_ref()),
        };
        if let (Some(tower), Some(raw), Some(d_text)) = (tower, &text.raw, d_text) {
            let d_raw = normalize_backward(raw, &d_text[rows.clone()])?;
            let mut forward = |tokens, prompts: &[PromptSelection]| match &mut self.learner {
                Some(attached) => Ok(attached.forward_texts(tokens, prompts)?.1),
                None => Ok::<_, TrainingError>(recorded(tower.forward(tokens, prompts)?).1),
            };
            let tape = match (text.tape, self.trainable, &micro_batch.no, &micro_batch.yes) {
                (Some(tape), ..) => Some(tape),
                (None, TrainableTowers::NoTower, Some(NoTexts { tokens, prompts }), _) => {
                    forward(tokens, prompts)?
                }
                (None, TrainableTowers::Clip, _, TextInput::Tokens(tokens)) => {
                    forward(tokens, &vec![PromptSelection::Mean; tokens.len()])?
                }
                _ => return Err(TrainingError::PrecomputedFeatures),
            };
            match (tape, &mut self.learner) {
                (Some(Tape::Host(tape)), _) => {
                    tower.backward(tape, &d_raw, &mut self.text_gradient)?;
                }
                (Some(Tape::Learner(tape)), Some(attached)) => {
                    attached.learner.backward(tape, &d_raw)?;
                }
                _ => {}
            }
        }
        if self.trainable != TrainableTowers::Clip {
            return Ok(());
        }
        if let Some(d_image) = &gradients.image {
            let (Some(raw), ImageInput::Pixels { values, size }) =
                (&image.raw, &micro_batch.images)
            else {
                return Err(TrainingError::PrecomputedFeatures);
            };
            let d_raw = normalize_backward(raw, &d_image[rows])?;
            let images = ImageBatch::new(values, *size, *size)?;
            let tape = match (image.tape, &mut self.learner) {
                (Some(tape), _) => Some(tape),
                (None, Some(attached)) => attached.forward_images(images)?.1,
                (None, None) => recorded(self.towers.image.forward(images)?).1,
            };
            match (tape, &mut self.learner, &mut self.image_gradient) {
                (Some(Tape::Host(tape)), _, Some(gradient)) => {
                    self.towers.image.backward(tape, &d_raw, gradient)?;
                }
                (Some(Tape::Learner(tape)), Some(attached), _) => {
                    attached.learner.backward(tape, &d_raw)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn update(&mut self, lr: f64, d_scale: T) -> Result<Option<f64>, TrainingError> {
        if self.learner.is_some() {
            return self.update_on_device(lr, d_scale);
        }
        let (mut named, logit_scale) = parameters(
            &mut self.towers,
            self.trainable,
            self.image_gradient.as_ref(),
            &self.text_gradient,
        );
        let ranges = own_ranges(&named, &self.optimizer, &self.communicator);
        let mut ranges = ranges.iter().flatten().map(Vec::as_slice);
        let sorted: Vec<(Vec<u32>, Vec<T>)> = named
            .iter()
            .map(|(_, gradient)| sorted_rows(gradient))
            .collect();
        let updates = named
            .iter_mut()
            .zip(&sorted)
            .map(|((tensor, gradient), (ids, rows))| {
                let NamedTensor {
                    name,
                    shape,
                    values,
                } = tensor;
                let gradient = match gradient {
                    TensorGradient::Dense(values) => match ranges.next() {
                        Some(ranges) => ParameterGradient::Parts { values, ranges },
                        None => ParameterGradient::Dense(values),
                    },
                    TensorGradient::Sparse(_) => ParameterGradient::Rows { ids, values: rows },
                };
                ParameterUpdate {
                    name,
                    shape,
                    values,
                    gradient,
                }
            });
        let d_scale = [d_scale];
        let scale = (self.trainable == TrainableTowers::Clip).then(|| ParameterUpdate {
            name: "logit_scale",
            shape: &[],
            values: std::slice::from_mut(logit_scale),
            gradient: ParameterGradient::Dense(&d_scale),
        });
        Ok(self.optimizer.step(lr, updates.chain(scale))?)
    }
}

/// Pairs every trained parameter with its gradient, in a fixed order, but for the logit scale, which is
/// returned apart.
fn parameters<'a, T, Image, Text>(
    towers: &'a mut Towers<T, Image, Text>,
    trainable: TrainableTowers,
    image_gradient: Option<&'a VisionParams<T>>,
    text_gradient: &'a TextGradient<T>,
) -> (Vec<Parameter<'a, T>>, &'a mut T)
where
    T: Real,
    Image: TrainableImageTower<T>,
    Text: TrainableTextTower<T>,
{
    let (text, side) = match (trainable, &mut towers.no) {
        (TrainableTowers::NoTower, Some(no)) => (no.params_mut(), TextSide::No),
        (TrainableTowers::NoTower, None) => (towers.yes.params_mut(), TextSide::No),
        (TrainableTowers::Clip, _) => (towers.yes.params_mut(), TextSide::Yes),
    };
    let mut parameters = match image_gradient {
        Some(gradient) => towers.image.params_mut().zip_gradient(gradient),
        None => Vec::new(),
    };
    parameters.extend(text.zip_gradient(text_gradient, side));
    (parameters, &mut towers.logit_scale)
}

/// Wraps the result of a forward pass on the host.
fn recorded<T: Real, P>(
    (features, tape): (FeatureMatrix<T>, P),
) -> (FeatureMatrix<T>, Option<Tape<P>>) {
    (features, Some(Tape::Host(tape)))
}

/// Returns the rows of a sparse gradient by ascending id, as ids `[R]` and values `[R, width]`;
/// nothing for a dense one.
fn sorted_rows<T: Real>(gradient: &TensorGradient<'_, T>) -> (Vec<u32>, Vec<T>) {
    match gradient {
        TensorGradient::Sparse(rows) => rows_by_id(rows),
        TensorGradient::Dense(_) => (Vec::new(), Vec::new()),
    }
}

fn normalized<T: Real>(raw: &FeatureMatrix<T>) -> Cow<'static, [T]> {
    let mut normalized = raw.values().to_vec();
    normalized
        .chunks_exact_mut(raw.dim())
        .for_each(normalize_row);
    normalized.into()
}

/// Concatenates the features of all micro-batches.
fn concatenated<'a, T: Real>(mut parts: impl Iterator<Item = &'a [T]>) -> Cow<'a, [T]> {
    let mut all = Cow::Borrowed(parts.next().unwrap_or_default());
    for part in parts {
        all.to_mut().extend_from_slice(part);
    }
    all
}
