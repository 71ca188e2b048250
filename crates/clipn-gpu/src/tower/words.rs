//! The text towers on a device.

use std::sync::Arc;

use clipn_model::{
    FeatureMatrix, ModelConfig, ModelError, ModelWeights, NamedTensor, PromptSelection, TextParams,
    TextSide, TextTower, check_length, check_tokens,
};
use clipn_text::tokenizer::{TokenBatch, end_of_text_position};

use crate::device::{Device, MemoryPlan, OnDevice, PlannedBuffer, Planner, check_plan};
use crate::error::DeviceError;
use crate::op::{MEAN_PROMPT, NO_PROMPT, SCALED_ROW};
use crate::tower::graph::Graph;
use crate::tower::parameters::{self, Parameter, ParameterSettings};
use crate::tower::pool::{Calls, Pool};
use crate::tower::text::{TextBatchSize, TextParameters, build, role};
use crate::tower::training::{
    AdamWStep, DeviceTape, ParameterState, Recorded, Tape, Training, take_for_training,
};
use crate::tower::vision::check_heads;

/// Maximum number of texts of one program.
const MAX_BATCH: usize = 1024;

/// Memory that is left for small buffers, in bytes.
const SLACK: u64 = 1 << 12;

/// Lengths are rounded up to a multiple of this, so that few programs are prepared.
const LENGTH_STEP: usize = 8;

/// CLIPN's text tower, "yes" or "no", on a device, for inference, or for training with
/// [`DeviceTextTower::trainable`].
///
/// Texts are sorted by length and cut at the longest of their batch: attention is causal, so that
/// positions after the end of a text do not change its features.
#[derive(Debug)]
pub struct DeviceTextTower<D: Device> {
    device: Arc<D>,
    config: ModelConfig,
    parameters: Vec<Parameter<D::Buffer>>,
    training: Option<Training<D>>,
    max_batch: usize,
    pool: Pool<(TextBatchSize, bool), Workspace<D>>,
    calls: Calls,
}

/// Buffers and programs of a batch.
pub(crate) struct Workspace<D: Device> {
    ids: D::Buffer,
    rows: D::Buffer,
    features: D::Buffer,
    forward: D::Program,
    training: Option<TrainingWorkspace<D>>,
}

struct TrainingWorkspace<D: Device> {
    d_features: D::Buffer,
    token_lists: D::Buffer,
    prompt_lists: D::Buffer,
    backward: D::Program,
}

impl<D: Device> std::fmt::Debug for Workspace<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

/// A text up to its end, with its prompt.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    ids: &'a [u32],
    prompt: u32,
}

/// A text of a recorded pass.
#[derive(Debug)]
pub(crate) struct OwnedText {
    ids: Vec<u32>,
    prompt: u32,
}

impl OwnedText {
    fn borrowed(&self) -> Text<'_> {
        Text {
            ids: &self.ids,
            prompt: self.prompt,
        }
    }
}

impl<D: Device> DeviceTextTower<D> {
    /// Creates a tower for inference.
    ///
    /// # Errors
    /// [`DeviceError::UnsupportedShape`] for wide heads, [`DeviceError::OutOfMemory`] if the weights and
    /// one text do not fit, [`DeviceError::WeightRange`] for weights that the precision cannot
    /// represent.
    pub fn new(
        device: Arc<D>,
        config: &ModelConfig,
        params: &TextParams<D::Value>,
        side: TextSide,
    ) -> Result<Self, DeviceError> {
        Self::with_training(device, config, params, side, false)
    }

    /// Creates a tower whose parameters, gradients and moments are on the device, to be trained.
    ///
    /// # Errors
    /// Same as [`DeviceTextTower::new`].
    pub fn trainable(
        device: Arc<D>,
        config: &ModelConfig,
        params: &TextParams<D::Value>,
        side: TextSide,
    ) -> Result<Self, DeviceError> {
        Self::with_training(device, config, params, side, true)
    }

    /// Creates the tower of one side of loaded weights, for inference.
    ///
    /// # Errors
    /// Same as [`DeviceTextTower::new`].
    pub fn from_weights(
        device: Arc<D>,
        weights: &ModelWeights,
        side: TextSide,
    ) -> Result<Self, DeviceError> {
        Self::new(device, weights.config(), &weights.text_params(side), side)
    }

    fn with_training(
        device: Arc<D>,
        config: &ModelConfig,
        params: &TextParams<D::Value>,
        side: TextSide,
        is_trained: bool,
    ) -> Result<Self, DeviceError> {
        check_heads(&*device, config.text.width, config.text.heads)?;
        let named = params.named_tensors(side);
        let layers = config.text.layers;
        let settings = ParameterSettings {
            is_trained,
            is_narrow: device.is_narrow(),
            max_table_bytes: device.limits().max_table_bytes,
        };
        let role = |index| role(index, layers);
        let mut planner = Planner::new(device.precision());
        let planned = parameters::allocate(&named, role, settings, &mut planner)?;
        check_plan(&*device, "the text tower's weights", planner.plan)?;
        let max_batch = max_batch(&*device, config, &planned, planner.plan, is_trained)?;
        let parameters = parameters::allocate(&named, role, settings, &mut OnDevice(&*device))?;
        parameters::write(&*device, &parameters, &named)?;
        let training = match is_trained {
            true => Some(Training::new(&*device, &parameters)?),
            false => None,
        };
        Ok(Self {
            config: config.clone(),
            parameters,
            training,
            max_batch,
            pool: Pool::new(device.idle_workspaces()),
            calls: Calls::default(),
            device,
        })
    }

    /// Returns the device.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// Returns the maximum number of texts of one program.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn prompt_count(&self) -> usize {
        let layers = self.config.text.layers;
        TextParameters {
            all: &self.parameters,
            layers,
        }
        .prompt_count()
    }

    /// Returns how a device selects a prompt.
    fn prompt(&self, prompt: PromptSelection) -> Result<u32, ModelError> {
        let count = self.prompt_count();
        match prompt {
            PromptSelection::Mean if count == 0 => Ok(NO_PROMPT),
            PromptSelection::Mean => Ok(MEAN_PROMPT),
            PromptSelection::Index(index) if index < count => Ok(index as u32),
            PromptSelection::Index(index) => Err(ModelError::PromptOutOfRange { index, count }),
        }
    }

    fn workspace(&self, size: TextBatchSize, trained: bool) -> Result<Workspace<D>, DeviceError> {
        let device = &*self.device;
        let planned = parameters::planned(&self.parameters);
        let plan = plan(device, &self.config, &planned, size, trained)?;
        check_plan(device, &format!("a batch of {} texts", size.texts), plan)?;
        let graph = build(
            Graph::new(&mut OnDevice(device), device.is_narrow()),
            &self.config,
            &self.parameters,
            size,
            trained,
        )?;
        let training = match graph.training {
            Some(training) => Some(TrainingWorkspace {
                d_features: training.graph.d_features,
                token_lists: training.token_lists,
                prompt_lists: training.prompt_lists,
                backward: device.prepare(training.graph.backward)?,
            }),
            None => None,
        };
        Ok(Workspace {
            ids: graph.ids,
            rows: graph.rows,
            features: graph.features,
            forward: device.prepare(graph.forward)?,
            training,
        })
    }

    /// Runs the forward program of a workspace, and reads the features of the texts.
    fn run(
        &self,
        workspace: &Workspace<D>,
        size: TextBatchSize,
        texts: &[Text<'_>],
    ) -> Result<Vec<D::Value>, DeviceError> {
        let mut ids = vec![0; size.texts * (size.length + 1)];
        let mut rows = vec![0; size.texts];
        let (tokens, prompts) = ids.split_at_mut(size.texts * size.length);
        prompts.fill(NO_PROMPT);
        for (index, text) in texts.iter().enumerate() {
            tokens[index * size.length..][..text.ids.len()].copy_from_slice(text.ids);
            prompts[index] = text.prompt;
            rows[index] = (index * size.length + text.ids.len() - 1) as u32;
        }
        self.device.write_indices(&workspace.ids, &ids)?;
        self.device.write_indices(&workspace.rows, &rows)?;
        self.device.run(&workspace.forward)?;
        let len = texts.len() * self.config.embed_dim;
        self.device.read(&workspace.features, len)
    }

    /// Returns the size of a program for some texts.
    fn size(&self, texts: usize, longest: usize) -> TextBatchSize {
        let length = longest.next_multiple_of(LENGTH_STEP);
        TextBatchSize {
            texts,
            length: length.min(self.config.text.context_length),
        }
    }

    /// Same as [`TextTower::encode_with`] with one prompt for each text, `[N]`, but records the pass for
    /// [`DeviceTextTower::backward`].
    ///
    /// # Errors
    /// Same as [`TextTower::encode_with`]; [`ModelError::PromptCount`] if the number of prompts differs,
    /// [`DeviceError::InvalidOperation`] if the tower is not trainable.
    pub fn forward(
        &self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<(FeatureMatrix<D::Value>, DeviceTape<D>), ModelError> {
        Training::of(self.training.as_ref())?;
        check_tokens(tokens, &self.config.text)?;
        if prompts.len() != tokens.len() {
            return Err(ModelError::PromptCount {
                texts: tokens.len(),
                prompts: prompts.len(),
            });
        }
        let texts = self.texts(tokens, prompts.iter().copied())?;
        let mut values = Vec::with_capacity(texts.len() * self.config.embed_dim);
        let mut recorded = Vec::new();
        let idle = self.device.idle_workspaces();
        for texts in texts.chunks(self.max_batch) {
            let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(1);
            let size = self.size(texts.len(), longest);
            // The last batch keeps its buffers in any case, and others while there is memory.
            let workspace = take_for_training((&self.pool, idle), size, &mut recorded, || {
                self.workspace(size, true)
            })?;
            values.extend(self.run(&workspace, size, texts)?);
            let owned = |text: &Text<'_>| OwnedText {
                ids: text.ids.to_vec(),
                prompt: text.prompt,
            };
            recorded.push(Recorded {
                inputs: texts.iter().map(owned).collect(),
                size,
                workspace: Some(workspace),
            });
        }
        let features = FeatureMatrix::new(values, self.config.embed_dim);
        Ok((features, DeviceTape(Tape::Texts(recorded))))
    }

    fn take(&self, size: TextBatchSize, trained: bool) -> Result<Workspace<D>, DeviceError> {
        let idle = self.device.idle_workspaces();
        self.pool
            .take(idle, (size, trained), || self.workspace(size, trained))
    }

    fn texts<'a>(
        &self,
        tokens: &'a TokenBatch,
        prompts: impl Iterator<Item = PromptSelection>,
    ) -> Result<Vec<Text<'a>>, ModelError> {
        let text = |(ids, prompt): (&'a [u32], PromptSelection)| {
            Ok(Text {
                ids: &ids[..=end_of_text_position(ids)],
                prompt: self.prompt(prompt)?,
            })
        };
        tokens.rows().zip(prompts).map(text).collect()
    }

    /// Adds the gradients of the parameters, which stay on the device, given that of the features,
    /// `[N, D]`.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if there are more or fewer values, [`ModelError::Tower`] if the device
    /// fails.
    pub fn backward(&self, tape: DeviceTape<D>, d_features: &[D::Value]) -> Result<(), ModelError> {
        let DeviceTape(Tape::Texts(mut recorded)) = tape else {
            return Err(DeviceError::invalid("training", "the tape of another tower").into());
        };
        let dim = self.config.embed_dim;
        let texts: usize = recorded.iter().map(|batch| batch.inputs.len()).sum();
        check_length("the feature gradient", d_features.len(), texts * dim)?;
        let mut rest = d_features;
        let idle = self.device.idle_workspaces();
        while !recorded.is_empty() {
            let batch = recorded.remove(0);
            let (d_features, others) = rest.split_at(batch.inputs.len() * dim);
            rest = others;
            let texts: Vec<Text<'_>> = batch.inputs.iter().map(OwnedText::borrowed).collect();
            let workspace = match batch.workspace {
                Some(workspace) => workspace,
                None => {
                    let build = || self.workspace(batch.size, true);
                    let workspace =
                        take_for_training((&self.pool, idle), batch.size, &mut recorded, build)?;
                    self.run(&workspace, batch.size, &texts)?;
                    workspace
                }
            };
            self.run_backward(&workspace, batch.size, &texts, d_features)?;
            self.pool.put((batch.size, true), workspace);
        }
        Ok(())
    }

    fn run_backward(
        &self,
        workspace: &Workspace<D>,
        size: TextBatchSize,
        texts: &[Text<'_>],
        d_features: &[D::Value],
    ) -> Result<(), DeviceError> {
        let Some(training) = &workspace.training else {
            return Ok(());
        };
        let tokens = token_lists(texts, size.length);
        let prompts = prompt_lists(texts, self.prompt_count());
        self.device.write_indices(&training.token_lists, &tokens)?;
        self.device
            .write_indices(&training.prompt_lists, &prompts)?;
        self.device.write(&training.d_features, d_features)?;
        self.device.run(&training.backward)
    }

    /// Sets the gradients to zero.
    ///
    /// # Errors
    /// [`DeviceError`] if the device fails or the tower is not trainable.
    pub fn clear_gradients(&self) -> Result<(), DeviceError> {
        Training::of(self.training.as_ref())?.clear(&*self.device)
    }

    /// Steps the parameters by AdamW.
    ///
    /// # Errors
    /// [`DeviceError`] if the device fails or the tower is not trainable.
    pub fn step(&self, step: &AdamWStep) -> Result<(), DeviceError> {
        Training::of(self.training.as_ref())?.step(&*self.device, step)
    }

    /// Returns the sum of the squared gradients of each parameter, by open_clip's name.
    ///
    /// # Errors
    /// [`DeviceError`] if the device fails or the tower is not trainable.
    pub fn squared_gradients(&self) -> Result<Vec<(String, f64)>, DeviceError> {
        let training = Training::of(self.training.as_ref())?;
        training.squared_gradients(&*self.device, &self.parameters)
    }

    /// Reads values, gradients or moments of every parameter, in the order of
    /// [`TextParams::named_tensors`].
    ///
    /// # Errors
    /// [`DeviceError`] if the device fails, or a tower for inference has no gradients and moments.
    pub fn read(
        &self,
        state: ParameterState,
    ) -> Result<Vec<NamedTensor<Vec<D::Value>>>, DeviceError> {
        if state != ParameterState::Value {
            Training::of(self.training.as_ref())?;
        }
        state.read(&*self.device, &self.parameters)
    }

    /// Writes values, gradients or moments of every parameter, in the order of
    /// [`TextParams::named_tensors`].
    ///
    /// # Errors
    /// [`DeviceError`] if a length differs, the device fails or the tower is not trainable;
    /// [`DeviceError::WeightRange`] for values that the precision cannot represent.
    pub fn write(&self, state: ParameterState, values: &[&[D::Value]]) -> Result<(), DeviceError> {
        Training::of(self.training.as_ref())?;
        state.write(&*self.device, &self.parameters, values)
    }
}

impl<D: Device> TextTower<D::Value> for DeviceTextTower<D> {
    fn embed_dim(&self) -> usize {
        self.config.embed_dim
    }

    fn context_length(&self) -> usize {
        self.config.text.context_length
    }

    fn encode_with(
        &self,
        tokens: &TokenBatch,
        prompt: PromptSelection,
    ) -> Result<FeatureMatrix<D::Value>, ModelError> {
        check_tokens(tokens, &self.config.text)?;
        let texts = self.texts(tokens, std::iter::repeat(prompt))?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| texts[text].ids.len());
        let dim = self.config.embed_dim;
        let mut values = vec![<D::Value as clipn_model::Real>::from_f64(0.0); texts.len() * dim];
        for indices in order.chunks(self.max_batch) {
            let batch: Vec<Text<'_>> = indices.iter().map(|&text| texts[text]).collect();
            let longest = batch.last().map_or(1, |text| text.ids.len());
            let capacity = batch.len().next_power_of_two().min(self.max_batch);
            let size = self.size(capacity, longest);
            let _call = self.calls.begin();
            let workspace = self.take(size, false)?;
            let features = self.run(&workspace, size, &batch)?;
            self.pool.put((size, false), workspace);
            for (&text, row) in indices.iter().zip(features.chunks_exact(dim)) {
                values[text * dim..][..dim].copy_from_slice(row);
            }
        }
        Ok(FeatureMatrix::new(values, dim))
    }
}

/// Returns lists of rows for each target: their number, starts, targets, rows.
fn joined_lists(lists: &[(u32, Vec<u32>)]) -> Vec<u32> {
    let mut joined = vec![lists.len() as u32, 0];
    let mut end = 0;
    for (_, rows) in lists {
        end += rows.len() as u32;
        joined.push(end);
    }
    joined.extend(lists.iter().map(|(target, _)| target));
    joined.extend(lists.iter().flat_map(|(_, rows)| rows));
    joined
}

/// Lists the positions of each token that occurs, in texts of `length` positions. Positions after the
/// end of a text have no gradient.
fn token_lists(texts: &[Text<'_>], length: usize) -> Vec<u32> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let row = |(at, &id): (usize, &u32)| (id, (index * length + at) as u32);
        pairs.extend(text.ids.iter().enumerate().map(row));
    }
    pairs.sort_unstable();
    let mut lists: Vec<(u32, Vec<u32>)> = Vec::new();
    for (id, row) in pairs {
        match lists.last_mut() {
            Some((last, rows)) if *last == id => rows.push(row),
            _ => lists.push((id, vec![row])),
        }
    }
    joined_lists(&lists)
}

/// Lists the texts of each prompt; a text with the mean prompt is a scaled row of all.
fn prompt_lists(texts: &[Text<'_>], count: usize) -> Vec<u32> {
    let of_prompt = |prompt: u32| {
        let rows = texts.iter().enumerate();
        let rows = rows.filter_map(|(row, text)| match text.prompt {
            MEAN_PROMPT => Some(row as u32 | SCALED_ROW),
            own if own == prompt => Some(row as u32),
            _ => None,
        });
        (prompt, rows.collect())
    };
    joined_lists(&(0..count as u32).map(of_prompt).collect::<Vec<_>>())
}

fn plan<D: Device>(
    device: &D,
    config: &ModelConfig,
    parameters: &[Parameter<PlannedBuffer>],
    size: TextBatchSize,
    trained: bool,
) -> Result<MemoryPlan, DeviceError> {
    let mut planner = Planner::new(device.precision());
    let graph = Graph::new(&mut planner, device.is_narrow());
    build(graph, config, parameters, size, trained)?;
    Ok(planner.plan)
}

/// Returns the largest batch of texts of full length that keeps the device busy and, twice, fits its memory
/// beside the weights.
fn max_batch<D: Device>(
    device: &D,
    config: &ModelConfig,
    parameters: &[Parameter<PlannedBuffer>],
    weights: MemoryPlan,
    trained: bool,
) -> Result<usize, DeviceError> {
    let length = config.text.context_length;
    let preferred = device.limits().preferred_rows / length.max(1);
    let mut texts = preferred.clamp(1, MAX_BATCH).next_power_of_two();
    loop {
        let batch = plan(
            device,
            config,
            parameters,
            TextBatchSize { texts, length },
            trained,
        )?;
        let both = MemoryPlan {
            total: weights.total + SLACK + if texts > 1 { 2 } else { 1 } * batch.total,
            largest: weights.largest.max(batch.largest),
        };
        match check_plan(device, "the text tower with one text", both) {
            Ok(()) => return Ok(texts),
            Err(error) if texts == 1 => return Err(error),
            Err(_) => texts /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ids: &[u32], prompt: u32) -> Text<'_> {
        Text { ids, prompt }
    }

    #[test]
    fn lists_name_the_positions_of_each_token() {
        let lists = token_lists(&[text(&[9, 4, 9], 0), text(&[4], 0)], 8);
        // Two tokens; starts; tokens; the rows of 4, then those of 9.
        assert_eq!(lists, [2, 0, 2, 4, 4, 9, 1, 8, 0, 2]);
    }

    #[test]
    fn the_mean_prompt_is_in_the_list_of_every_prompt() {
        let texts = [1, MEAN_PROMPT, NO_PROMPT].map(|prompt| text(&[3], prompt));
        let lists = prompt_lists(&texts, 2);
        let scaled = 1 | SCALED_ROW;
        assert_eq!(lists, [2, 0, 1, 3, 0, 1, scaled, 0, scaled]);
    }
}
