//! The ViT image tower on a device.

use std::sync::Arc;

use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, ModelConfig, ModelError, ModelWeights, NamedTensor,
    PatchGrid, Precision, VisionParams, check_length, patch_grid, positional_embedding_for,
};

use crate::device::{Device, MemoryPlan, OnDevice, PlannedBuffer, Planner, check_plan};
use crate::error::DeviceError;
use crate::tower::graph::Graph;
use crate::tower::image::{ImageBatchSize, build, role};
use crate::tower::parameters::{self, Parameter, ParameterSettings};
use crate::tower::pool::{Calls, Pool};
use crate::tower::training::{
    AdamWStep, DeviceTape, ParameterState, Recorded, Tape, Training, take_for_training,
};

/// Maximum number of images of one program.
const MAX_BATCH: usize = 1024;

/// Memory that is left for small buffers, in bytes.
const SLACK: u64 = 1 << 12;

/// CLIP's ViT image tower on a device, for inference, or for training with
/// [`DeviceImageTower::trainable`].
///
/// Batches are cut and padded to a few sizes, for which programs are prepared once. Several calls can be
/// under way at a time; each has buffers of its own.
#[derive(Debug)]
pub struct DeviceImageTower<D: Device> {
    device: Arc<D>,
    config: ModelConfig,
    parameters: Vec<Parameter<D::Buffer>>,
    /// Positional embeddings as stored, to be interpolated for images of another size, which a trainable tower refuses.
    stored_positions: Vec<D::Value>,
    training: Option<Training<D>>,
    max_batch: usize,
    pool: Pool<(ImageBatchSize, bool), Workspace<D>>,
    calls: Calls,
}

/// Buffers and programs of a batch.
pub(crate) struct Workspace<D: Device> {
    /// Number of values of an image.
    image_len: usize,
    pixels: D::Buffer,
    features: D::Buffer,
    forward: D::Program,
    training: Option<(D::Buffer, D::Program)>,
}

impl<D: Device> std::fmt::Debug for Workspace<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

impl<D: Device> DeviceImageTower<D> {
    /// Creates a tower for inference.
    ///
    /// # Errors
    /// [`DeviceError::UnsupportedResNet`] if the config is not a ViT's, [`DeviceError::UnsupportedShape`]
    /// for wide heads, [`DeviceError::OutOfMemory`] if the weights and one image do not fit,
    /// [`DeviceError::WeightRange`] for weights that the precision cannot represent.
    pub fn new(
        device: Arc<D>,
        config: &ModelConfig,
        params: &VisionParams<D::Value>,
    ) -> Result<Self, DeviceError> {
        Self::with_training(device, config, params, false)
    }

    /// Creates a tower whose parameters, gradients and moments are on the device, to be trained.
    ///
    /// # Errors
    /// Same as [`DeviceImageTower::new`].
    pub fn trainable(
        device: Arc<D>,
        config: &ModelConfig,
        params: &VisionParams<D::Value>,
    ) -> Result<Self, DeviceError> {
        Self::with_training(device, config, params, true)
    }

    /// Creates the tower of loaded weights, for inference.
    ///
    /// # Errors
    /// Same as [`DeviceImageTower::new`].
    pub fn from_weights(device: Arc<D>, weights: &ModelWeights) -> Result<Self, DeviceError> {
        check_vit(weights.config())?;
        Self::new(device, weights.config(), &weights.vision_params())
    }

    fn with_training(
        device: Arc<D>,
        config: &ModelConfig,
        params: &VisionParams<D::Value>,
        is_trained: bool,
    ) -> Result<Self, DeviceError> {
        check_vit(config)?;
        check_heads(&*device, config.vision.width, config.vision.heads)?;
        let named = params.named_tensors();
        let settings = ParameterSettings {
            is_trained,
            is_narrow: device.is_narrow(),
            max_table_bytes: device.limits().max_table_bytes,
        };
        let mut planner = Planner::new(device.precision());
        let planned = parameters::allocate(&named, role, settings, &mut planner)?;
        check_plan(&*device, "the image tower's weights", planner.plan)?;
        let max_batch = max_batch(&*device, config, &planned, planner.plan, is_trained)?;
        let parameters = parameters::allocate(&named, role, settings, &mut OnDevice(&*device))?;
        parameters::write(&*device, &parameters, &named)?;
        let training = match is_trained {
            true => Some(Training::new(&*device, &parameters)?),
            false => None,
        };
        Ok(Self {
            stored_positions: params.positional_embedding.to_vec(),
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

    /// Returns the maximum number of images of one program, which is also the preferred batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Checks that images in training have the model's size: the gradient of interpolated positions is not
    /// computed.
    fn check_own_grid(&self, images: &ImageBatch<'_, D::Value>) -> Result<(), ModelError> {
        let grid = patch_grid(images, &self.config.vision)?;
        let own = self.config.vision.grid();
        if grid == PatchGrid::square(own) {
            return Ok(());
        }
        Err(DeviceError::UnsupportedShape {
            what: "number of patches of an image in training",
            max: own * own,
            found: grid.len(),
        }
        .into())
    }

    /// Returns the number of parameters, each with a name and a shape.
    pub fn parameter_count(&self) -> usize {
        self.parameters.len()
    }

    fn take(&self, size: ImageBatchSize, trained: bool) -> Result<Workspace<D>, DeviceError> {
        let idle = self.device.idle_workspaces();
        self.pool
            .take(idle, (size, trained), || self.workspace(size, trained))
    }

    fn workspace(&self, size: ImageBatchSize, trained: bool) -> Result<Workspace<D>, DeviceError> {
        let device = &*self.device;
        let grid = grid(&self.config, size);
        let is_own = grid == PatchGrid::square(self.config.vision.grid());
        let plan = plan(
            device,
            &self.config,
            &self.parameters_planned(),
            size,
            trained,
        )?;
        check_plan(device, &format!("a batch of {} images", size.images), plan)?;
        let graph = build(
            Graph::new(&mut OnDevice(device), device.is_narrow()),
            &self.config,
            &self.parameters,
            size,
            (is_own, trained),
        )?;
        if !is_own {
            let positions =
                positional_embedding_for(&self.stored_positions, &self.config.vision, grid);
            device.write(&graph.positions, &positions)?;
        }
        let row = |image| image * (1 + grid.len()) as u32;
        let rows: Vec<u32> = (0..size.images as u32).map(row).collect();
        device.write_indices(&graph.rows, &rows)?;
        let training = match graph.training {
            Some(training) => Some((training.d_features, device.prepare(training.backward)?)),
            None => None,
        };
        Ok(Workspace {
            image_len: 3 * size.height * size.width,
            pixels: graph.pixels,
            features: graph.features,
            forward: device.prepare(graph.forward)?,
            training,
        })
    }

    /// Shapes of the parameters, to plan a program.
    fn parameters_planned(&self) -> Vec<Parameter<PlannedBuffer>> {
        parameters::planned(&self.parameters)
    }

    /// Runs one program over images of at most [`DeviceImageTower::max_batch`].
    fn encode_batch(&self, images: ImageBatch<'_, D::Value>) -> Result<Vec<D::Value>, DeviceError> {
        let size = ImageBatchSize {
            images: images.len().next_power_of_two().min(self.max_batch),
            height: images.height(),
            width: images.width(),
        };
        let _call = self.calls.begin();
        let workspace = self.take(size, false)?;
        let features = self.run(&workspace, images.pixels())?;
        self.pool.put((size, false), workspace);
        Ok(features)
    }

    /// Same as [`ImageTower::encode`], but records the pass for [`DeviceImageTower::backward`].
    ///
    /// # Errors
    /// Same as [`ImageTower::encode`]; [`DeviceError::UnsupportedShape`] for images of another size than
    /// the model's, [`DeviceError::InvalidOperation`] if the tower is not trainable.
    pub fn forward(
        &self,
        images: ImageBatch<'_, D::Value>,
    ) -> Result<(FeatureMatrix<D::Value>, DeviceTape<D>), ModelError> {
        if self.training.is_none() {
            return Err(DeviceError::invalid("training", "the tower is for inference").into());
        }
        self.check_own_grid(&images)?;
        let mut values = Vec::with_capacity(images.len() * self.config.embed_dim);
        let mut recorded = Vec::new();
        let idle = self.device.idle_workspaces();
        for pixels in images.pixels().chunks(self.max_batch * images.image_len()) {
            let batch = ImageBatch::new(pixels, images.height(), images.width())?;
            let size = ImageBatchSize {
                images: batch.len(),
                height: batch.height(),
                width: batch.width(),
            };
            // The last batch keeps its buffers in any case, and others while there is memory.
            let workspace = take_for_training((&self.pool, idle), size, &mut recorded, || {
                self.workspace(size, true)
            })?;
            values.extend(self.run(&workspace, pixels)?);
            recorded.push(Recorded {
                inputs: pixels.to_vec(),
                size,
                workspace: Some(workspace),
            });
        }
        let features = FeatureMatrix::new(values, self.config.embed_dim);
        Ok((features, DeviceTape(Tape::Images(recorded))))
    }

    /// Runs the forward program of a workspace, and reads the features of the images.
    fn run(
        &self,
        workspace: &Workspace<D>,
        pixels: &[D::Value],
    ) -> Result<Vec<D::Value>, DeviceError> {
        self.device.write(&workspace.pixels, pixels)?;
        self.device.run(&workspace.forward)?;
        let images = pixels.len() / workspace.image_len;
        self.device
            .read(&workspace.features, images * self.config.embed_dim)
    }

    /// Adds the gradients of the parameters, which stay on the device, given that of the features,
    /// `[N, D]`.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if there are more or fewer values, [`ModelError::Tower`] if the device
    /// fails.
    pub fn backward(&self, tape: DeviceTape<D>, d_features: &[D::Value]) -> Result<(), ModelError> {
        let DeviceTape(Tape::Images(mut recorded)) = tape else {
            return Err(DeviceError::invalid("training", "the tape of another tower").into());
        };
        let dim = self.config.embed_dim;
        let images: usize = recorded.iter().map(|batch| batch.size.images).sum();
        check_length("the feature gradient", d_features.len(), images * dim)?;
        let mut rest = d_features;
        let idle = self.device.idle_workspaces();
        while !recorded.is_empty() {
            let batch = recorded.remove(0);
            let (d_features, others) = rest.split_at(batch.size.images * dim);
            rest = others;
            let workspace = match batch.workspace {
                Some(workspace) => workspace,
                None => {
                    let build = || self.workspace(batch.size, true);
                    let workspace =
                        take_for_training((&self.pool, idle), batch.size, &mut recorded, build)?;
                    self.run(&workspace, &batch.inputs)?;
                    workspace
                }
            };
            if let Some((buffer, program)) = &workspace.training {
                self.device.write(buffer, d_features)?;
                self.device.run(program)?;
            }
            self.pool.put((batch.size, true), workspace);
        }
        Ok(())
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
    /// [`VisionParams::named_tensors`].
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
    /// [`VisionParams::named_tensors`].
    ///
    /// # Errors
    /// [`DeviceError`] if a length differs, the device fails or the tower is not trainable;
    /// [`DeviceError::WeightRange`] for values that the precision cannot represent.
    pub fn write(&self, state: ParameterState, values: &[&[D::Value]]) -> Result<(), DeviceError> {
        Training::of(self.training.as_ref())?;
        state.write(&*self.device, &self.parameters, values)
    }
}

impl<D: Device> ImageTower<D::Value> for DeviceImageTower<D> {
    fn embed_dim(&self) -> usize {
        self.config.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.vision.image_size
    }

    fn precision(&self) -> Precision {
        self.device.precision()
    }

    fn preferred_batch(&self) -> Option<usize> {
        Some(self.max_batch)
    }

    fn encode(
        &self,
        images: ImageBatch<'_, D::Value>,
    ) -> Result<FeatureMatrix<D::Value>, ModelError> {
        match self.training {
            Some(_) => self.check_own_grid(&images)?,
            None => drop(patch_grid(&images, &self.config.vision)?),
        }
        let each = images.image_len();
        let mut values = Vec::with_capacity(images.len() * self.config.embed_dim);
        for pixels in images.pixels().chunks(self.max_batch * each) {
            let batch = ImageBatch::new(pixels, images.height(), images.width())?;
            values.extend(self.encode_batch(batch)?);
        }
        Ok(FeatureMatrix::new(values, self.config.embed_dim))
    }
}

/// Checks that the image tower is a ViT.
pub(crate) fn check_vit(config: &ModelConfig) -> Result<(), DeviceError> {
    match config.vision.stages {
        Some(_) => Err(DeviceError::UnsupportedResNet {
            model: config.name.clone(),
        }),
        None => Ok(()),
    }
}

/// Checks the width of attention heads against the limits of a device.
pub(crate) fn check_heads<D: Device>(
    device: &D,
    width: usize,
    heads: usize,
) -> Result<(), DeviceError> {
    let (max, found) = (device.limits().max_head_width, width / heads.max(1));
    if found > max {
        return Err(DeviceError::UnsupportedShape {
            what: "width of an attention head",
            max,
            found,
        });
    }
    Ok(())
}

fn grid(config: &ModelConfig, size: ImageBatchSize) -> PatchGrid {
    PatchGrid {
        rows: size.height / config.vision.patch_size,
        columns: size.width / config.vision.patch_size,
    }
}

/// Returns the memory of a batch.
fn plan<D: Device>(
    device: &D,
    config: &ModelConfig,
    parameters: &[Parameter<PlannedBuffer>],
    size: ImageBatchSize,
    trained: bool,
) -> Result<MemoryPlan, DeviceError> {
    let mut planner = Planner::new(device.precision());
    let is_own = grid(config, size) == PatchGrid::square(config.vision.grid());
    let graph = Graph::new(&mut planner, device.is_narrow());
    build(graph, config, parameters, size, (is_own, trained))?;
    Ok(planner.plan)
}

/// Returns the largest batch that keeps the device busy and, twice, fits its memory beside the weights.
fn max_batch<D: Device>(
    device: &D,
    config: &ModelConfig,
    parameters: &[Parameter<PlannedBuffer>],
    weights: MemoryPlan,
    trained: bool,
) -> Result<usize, DeviceError> {
    let side = config.vision.image_size;
    let positions = 1 + config.vision.grid() * config.vision.grid();
    let preferred = device.limits().preferred_rows / positions;
    let mut images = preferred.clamp(1, MAX_BATCH).next_power_of_two();
    loop {
        let size = ImageBatchSize {
            images,
            height: side,
            width: side,
        };
        let batch = plan(device, config, parameters, size, trained)?;
        let both = MemoryPlan {
            total: weights.total + SLACK + if images > 1 { 2 } else { 1 } * batch.total,
            largest: weights.largest.max(batch.largest),
        };
        match check_plan(device, "the image tower with one image", both) {
            Ok(()) => return Ok(images),
            Err(error) if images == 1 => return Err(error),
            Err(_) => images /= 2,
        }
    }
}
