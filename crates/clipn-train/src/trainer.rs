use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::{
    AdamW, Collective, Communicator, Features as Pairs, Gradient, GradientMask, GradientScaling,
    Objective, Outcome, Towers, TrainableTowers, TrainingError, Update, clamp_logit_scale,
    evaluate_over_ranks,
};
use clipn_model::{
    FeatureMatrix, ImageBatch, NamedTensor, PromptSelection, Real, TextSide, SparseGradient, TensorGradient,
    TextGradient, TrainableImageTower, TrainableTextTower, VisionParams, normalize_backward,
    normalize_row,
};
use clipn_text::tokenizer::TokenBatch;

/// Images of a micro-batch.
#[derive(Debug, Clone)]
pub enum ImageInput<'a, T: Real> {
    /// Normalized pixels of square images, `[N, 3, S, S]`.
    Pixels {
        /// Pixel values, row-major.
        values: Cow<'a, [T]>,
        /// Side S in pixels.
        size: usize,
    },
    /// Precomputed normalized features of a frozen tower, `[N, D]`.
    Features(Vec<T>),
}

/// "Yes" texts of a micro-batch.
#[derive(Debug, Clone)]
pub enum TextInput<T> {
    /// Token ids, `[N, L]`.
    Tokens(TokenBatch),
    /// Precomputed normalized features of a frozen tower, `[N, D]`.
    Features(Vec<T>),
}

/// A micro-batch: a part of a batch that fits in memory. The loss is computed over all
/// micro-batches together.
#[derive(Debug, Clone)]
pub struct MicroBatch<'a, T: Real> {
    /// Images.
    pub images: ImageInput<'a, T>,
    /// Input of the "yes" tower.
    pub yes: TextInput<T>,
    /// Input of the "no" tower, with the prompt of each text; `None` if there is no such tower.
    pub no: Option<(TokenBatch, Vec<PromptSelection>)>,
}

/// Losses of one optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Total loss, which is minimized.
    pub total: f64,
    /// Terms of the loss by name, before weighting.
    pub parts: Vec<(&'static str, f64)>,
    /// Global norm of the gradient before clipping; `None` if there is no clipping.
    pub gradient_norm: Option<f64>,
}

/// Features of a micro-batch as a tower returned them, and the tape if it is kept.
struct Encoded<'a, T: Real, P> {
    /// Features before normalization; `None` if they were precomputed.
    raw: Option<FeatureMatrix<T>>,
    normalized: Cow<'a, [T]>,
    tape: Option<P>,
}

/// Takes optimizer steps: encodes all micro-batches, evaluates the loss over the batches of all
/// ranks, backpropagates, steps AdamW and clamps the logit scale.
pub struct Trainer<T: Real, I: TrainableImageTower<T>, X: TrainableTextTower<T>, C> {
    towers: Towers<T, I, X>,
    learns: TrainableTowers,
    objective: Box<dyn Objective<T>>,
    scaling: GradientScaling,
    optimizer: AdamW<T>,
    communicator: C,
    image_gradient: Option<VisionParams<T>>,
    text_gradient: TextGradient<T>,
}

impl<T, I, X, C> Trainer<T, I, X, C>
where
    T: Real,
    I: TrainableImageTower<T>,
    X: TrainableTextTower<T>,
    C: Communicator + Collective<T>,
{
    /// Creates a trainer of these towers. An objective that uses "no" trains the "no" tower alone;
    /// any other trains an ordinary CLIP.
    ///
    /// # Errors
    /// [`TrainingError::MissingNoTower`] if the objective uses "no" and there is no "no" tower.
    pub fn new(
        towers: Towers<T, I, X>,
        objective: Box<dyn Objective<T>>,
        scaling: GradientScaling,
        optimizer: AdamW<T>,
        communicator: C,
    ) -> Result<Self, TrainingError> {
        let learns = if objective.uses_no() {
            TrainableTowers::No
        } else {
            TrainableTowers::Clip
        };
        let (image_gradient, text_gradient) = match (learns, &towers.no) {
            (TrainableTowers::No, None) => {
                return Err(TrainingError::MissingNoTower {
                    objective: objective.name(),
                });
            }
            (TrainableTowers::No, Some(no)) => (None, TextGradient::zeros_like(no.params())),
            (TrainableTowers::Clip, _) => (
                Some(towers.image.params().zeros_like()),
                TextGradient::zeros_like(towers.yes.params()),
            ),
        };
        Ok(Self {
            towers,
            learns,
            objective,
            scaling,
            optimizer,
            communicator,
            image_gradient,
            text_gradient,
        })
    }

    /// Returns the towers with their current weights.
    pub fn towers(&self) -> &Towers<T, I, X> {
        &self.towers
    }

    /// Returns which of the towers' parameters are trained.
    pub fn learns(&self) -> TrainableTowers {
        self.learns
    }

    /// Returns the optimizer with its moments.
    pub fn optimizer(&self) -> &AdamW<T> {
        &self.optimizer
    }

    /// Returns the trained text tower and its side.
    fn trained_text(&self) -> (Option<&X>, TextSide) {
        match self.learns {
            TrainableTowers::No => (self.towers.no.as_ref(), TextSide::No),
            TrainableTowers::Clip => (Some(&self.towers.yes), TextSide::Yes),
        }
    }

    /// Takes one optimizer step over all micro-batches together.
    ///
    /// A single micro-batch keeps its tape from the first pass. Several are first encoded without
    /// keeping tapes, then once more with a tape when the gradient of their features is known; this
    /// gives the same gradient.
    ///
    /// # Errors
    /// [`TrainingError`] if a tower rejects its input, the objective rejects the batch, a loss is
    /// not finite, or a rank is lost. The parameters are then unchanged.
    pub fn step(
        &mut self,
        parts: &[MicroBatch<'_, T>],
        lr: f64,
    ) -> Result<StepReport, TrainingError> {
        let keep = parts.len() == 1;
        let mut images = Vec::with_capacity(parts.len());
        let mut yes = Vec::with_capacity(parts.len());
        let mut no = Vec::with_capacity(parts.len());
        for part in parts {
            images.push(self.encode_images(part, keep)?);
            yes.push(self.encode_yes(part, keep)?);
            no.push(self.encode_no(part, keep)?);
        }
        let outcome = self.evaluate(&images, &yes, &no)?;
        self.clear_gradients();
        let mut first = 0;
        for ((part, image), (yes, no)) in parts.iter().zip(images).zip(yes.into_iter().zip(no)) {
            let rows = first..first + image.normalized.len();
            first = rows.end;
            self.backward(part, image, yes, no, &outcome, rows)?;
        }
        let mut d_scale = outcome.gradients.logit_scale(self.towers.logit_scale.exp());
        self.reduce(&mut d_scale)?;
        let gradient_norm = self.update(lr, d_scale)?;
        clamp_logit_scale(&mut self.towers.logit_scale);
        Ok(StepReport {
            total: outcome.total,
            parts: outcome.parts,
            gradient_norm,
        })
    }

    fn encode_images<'a>(
        &self,
        part: &'a MicroBatch<'_, T>,
        keep: bool,
    ) -> Result<Encoded<'a, T, I::Tape>, TrainingError> {
        let (values, size) = match &part.images {
            ImageInput::Features(known) => {
                return Ok(Encoded {
                    raw: None,
                    normalized: Cow::Borrowed(known),
                    tape: None,
                });
            }
            ImageInput::Pixels { values, size } => (values, *size),
        };
        let images = ImageBatch::new(values, size, size)?;
        let (raw, tape) = if keep && self.learns == TrainableTowers::Clip {
            let (raw, tape) = self.towers.image.forward(images)?;
            (raw, Some(tape))
        } else {
            (self.towers.image.encode(images)?, None)
        };
        Ok(Encoded {
            normalized: normalized(&raw),
            raw: Some(raw),
            tape,
        })
    }

    fn encode_yes<'a>(
        &self,
        part: &'a MicroBatch<'_, T>,
        keep: bool,
    ) -> Result<Encoded<'a, T, X::Tape>, TrainingError> {
        let tokens = match &part.yes {
            TextInput::Features(known) => {
                return Ok(Encoded {
                    raw: None,
                    normalized: Cow::Borrowed(known),
                    tape: None,
                });
            }
            TextInput::Tokens(tokens) => tokens,
        };
        let (raw, tape) = if keep && self.learns == TrainableTowers::Clip {
            let (raw, tape) = self
                .towers
                .yes
                .forward(tokens, &vec![PromptSelection::Mean; tokens.len()])?;
            (raw, Some(tape))
        } else {
            (self.towers.yes.encode(tokens)?, None)
        };
        Ok(Encoded {
            normalized: normalized(&raw),
            raw: Some(raw),
            tape,
        })
    }

    fn encode_no(
        &self,
        part: &MicroBatch<'_, T>,
        keep: bool,
    ) -> Result<Encoded<'static, T, X::Tape>, TrainingError> {
        match (&self.towers.no, &part.no, self.learns) {
            (Some(tower), Some((tokens, prompts)), TrainableTowers::No) => {
                let (raw, tape) = tower.forward(tokens, prompts)?;
                Ok(Encoded {
                    normalized: normalized(&raw),
                    raw: Some(raw),
                    tape: keep.then_some(tape),
                })
            }
            _ => Ok(Encoded {
                raw: None,
                normalized: Cow::Borrowed(&[]),
                tape: None,
            }),
        }
    }

    fn evaluate(
        &self,
        images: &[Encoded<'_, T, I::Tape>],
        yes: &[Encoded<'_, T, X::Tape>],
        no: &[Encoded<'_, T, X::Tape>],
    ) -> Result<Outcome<T>, TrainingError> {
        let (image, yes, no) = (concatenated(images), concatenated(yes), concatenated(no));
        let local = Pairs {
            dim: self.towers.image.embed_dim(),
            image: &image,
            yes: &yes,
            no: (self.learns == TrainableTowers::No).then_some(&no[..]),
        };
        let learns_clip = self.learns == TrainableTowers::Clip;
        let wanted = GradientMask {
            image: learns_clip,
            yes: learns_clip,
            no: !learns_clip,
            ..GradientMask::all(local.rows())
        };
        let scale = self.towers.logit_scale.exp();
        Ok(evaluate_over_ranks(
            &*self.objective,
            &local,
            scale,
            &wanted,
            self.scaling,
            &self.communicator,
        )?)
    }

    fn clear_gradients(&mut self) {
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
    }

    /// Adds the gradient of one micro-batch; `rows` is the range of its values in the features of
    /// the batch.
    fn backward(
        &mut self,
        part: &MicroBatch<'_, T>,
        image: Encoded<'_, T, I::Tape>,
        yes: Encoded<'_, T, X::Tape>,
        no: Encoded<'_, T, X::Tape>,
        outcome: &Outcome<T>,
        rows: Range<usize>,
    ) -> Result<(), TrainingError> {
        let gradients = &outcome.gradients;
        let (tower, text, d_text) = match self.learns {
            TrainableTowers::No => (self.towers.no.as_ref(), no, gradients.no.as_ref()),
            TrainableTowers::Clip => (Some(&self.towers.yes), yes, gradients.yes.as_ref()),
        };
        if let (Some(tower), Some(raw), Some(d_text)) = (tower, &text.raw, d_text) {
            let d_raw = normalize_backward(raw, &d_text[rows.clone()])?;
            let tape = match (text.tape, self.learns, &part.no, &part.yes) {
                (Some(tape), ..) => tape,
                (None, TrainableTowers::No, Some((tokens, prompts)), _) => {
                    tower.forward(tokens, prompts)?.1
                }
                (None, TrainableTowers::Clip, _, TextInput::Tokens(tokens)) => {
                    tower
                        .forward(tokens, &vec![PromptSelection::Mean; tokens.len()])?
                        .1
                }
                _ => return Err(TrainingError::PrecomputedFeatures),
            };
            tower.backward(tape, &d_raw, &mut self.text_gradient)?;
        }
        if let (Some(gradient), Some(d_image)) = (&mut self.image_gradient, &gradients.image) {
            let (Some(raw), ImageInput::Pixels { values, size }) = (&image.raw, &part.images)
            else {
                return Err(TrainingError::PrecomputedFeatures);
            };
            let d_raw = normalize_backward(raw, &d_image[rows])?;
            let tape = match image.tape {
                Some(tape) => tape,
                None => {
                    self.towers
                        .image
                        .forward(ImageBatch::new(values, *size, *size)?)?
                        .1
                }
            };
            self.towers.image.backward(tape, &d_raw, gradient)?;
        }
        Ok(())
    }

    /// Sums the gradients over all ranks.
    fn reduce(&mut self, d_scale: &mut T) -> Result<(), TrainingError> {
        if self.communicator.world_size() == 1 {
            return Ok(());
        }
        let vocab_size = match self.trained_text().0 {
            Some(tower) => {
                tower.params().token_embedding.len() / self.text_gradient.token_embedding.width().max(1)
            }
            None => 0,
        };
        // Ranks touch different rows of the token table, so it is summed as a dense table.
        let width = self.text_gradient.token_embedding.width();
        let mut tokens = self.text_gradient.token_embedding.to_dense(vocab_size);
        self.communicator.all_reduce_sum(&mut tokens)?;
        let mut rows = SparseGradient::new(width);
        for (id, row) in tokens.chunks_exact(width.max(1)).enumerate() {
            if row.iter().any(|v| !v.is_zero()) {
                rows.add(id as u32, row);
            }
        }
        self.text_gradient.token_embedding = rows;
        let image = self
            .image_gradient
            .iter_mut()
            .flat_map(|gradient| gradient.named_tensors_mut());
        let text = self.text_gradient.others.named_tensors_mut(TextSide::Yes).into_iter();
        for gradient in image.chain(text) {
            self.communicator.all_reduce_sum(gradient.values)?;
        }
        self.communicator
            .all_reduce_sum(std::slice::from_mut(d_scale))?;
        Ok(())
    }

    fn update(&mut self, lr: f64, d_scale: T) -> Result<Option<f64>, TrainingError> {
        let (_, side) = self.trained_text();
        let Towers {
            image,
            yes,
            no,
            logit_scale,
        } = &mut self.towers;
        let text = match (self.learns, no) {
            (TrainableTowers::No, Some(no)) => no.params_mut(),
            _ => yes.params_mut(),
        };
        let mut named = match &self.image_gradient {
            Some(gradient) => image.params_mut().zip_gradient(gradient),
            None => Vec::new(),
        };
        named.extend(text.zip_gradient(&self.text_gradient, side));
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
                    TensorGradient::Dense(values) => Gradient::Dense(values),
                    TensorGradient::Sparse(_) => Gradient::Rows { ids, values: rows },
                };
                Update {
                    name,
                    shape,
                    values,
                    gradient,
                }
            });
        let d_scale = [d_scale];
        let scale = (self.learns == TrainableTowers::Clip).then(|| Update {
            name: "logit_scale",
            shape: &[],
            values: std::slice::from_mut(logit_scale),
            gradient: Gradient::Dense(&d_scale),
        });
        Ok(self.optimizer.step(lr, updates.chain(scale))?)
    }
}

/// Returns the rows of a sparse gradient by ascending id, as ids `[R]` and values `[R, width]`;
/// nothing for a dense one.
fn sorted_rows<T: Real>(gradient: &TensorGradient<'_, T>) -> (Vec<u32>, Vec<T>) {
    let TensorGradient::Sparse(rows) = gradient else {
        return (Vec::new(), Vec::new());
    };
    let mut ids = Vec::with_capacity(rows.len());
    let mut values = Vec::with_capacity(rows.values().len());
    for (id, row) in rows.iter() {
        ids.push(id);
        values.extend_from_slice(row);
    }
    (ids, values)
}

fn normalized<T: Real>(raw: &FeatureMatrix<T>) -> Cow<'static, [T]> {
    let mut normalized = raw.values().to_vec();
    normalized
        .chunks_exact_mut(raw.dim())
        .for_each(normalize_row);
    normalized.into()
}

/// Concatenates the features of all micro-batches.
fn concatenated<'a, T: Real, P>(parts: &'a [Encoded<'_, T, P>]) -> Cow<'a, [T]> {
    match parts {
        [one] => Cow::Borrowed(&one.normalized),
        several => several
            .iter()
            .flat_map(|part| &part.normalized[..])
            .copied()
            .collect(),
    }
}
