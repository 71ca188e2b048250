use std::sync::Arc;

use clipn_gpu::{
    AdamWStep, Device, DeviceError, DeviceImageTower, DeviceTape, DeviceTextTower, ParameterState,
};
use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, ModelConfig, ModelError, NamedTensor, PromptSelection,
    Real, TextParams, TextSide, TextTower, TrainableImageTower, TrainableTextTower, VisionParams,
};
use clipn_text::tokenizer::TokenBatch;

use crate::learner::{Learner, LearnerState, LearnerTape};
use crate::towers::{CpuImageTower, CpuTowers, TrainableTowers};

/// Frozen image tower of a [`DeviceLearner`].
#[allow(missing_debug_implementations)]
pub enum FrozenImageTower<'a, T: Real> {
    /// A ViT with these parameters, on the device.
    OnDevice(&'a VisionParams<T>),
    /// A tower elsewhere, such as a ResNet on the CPU.
    Elsewhere(Box<dyn ImageTower<T>>),
}

/// The image tower of a [`DeviceLearner`].
enum Image<D: Device> {
    /// On the device.
    Device(Box<DeviceImageTower<D>>),
    /// A frozen tower elsewhere, such as a ResNet on the CPU.
    Frozen(Box<dyn ImageTower<D::Value>>),
}

/// A [`Learner`] on any device of `clipn_gpu`.
pub struct DeviceLearner<D: Device> {
    device: Arc<D>,
    trainable: TrainableTowers,
    image: Image<D>,
    yes: DeviceTextTower<D>,
    /// The "no" tower, if it is trained.
    no: Option<DeviceTextTower<D>>,
}

impl<D: Device> std::fmt::Debug for DeviceLearner<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceLearner")
            .field("device", &self.device)
            .field("trainable", &self.trainable)
            .finish_non_exhaustive()
    }
}

/// Tape of one of the towers.
enum Tape<D: Device> {
    Image(DeviceTape<D>),
    Text(DeviceTape<D>),
}

impl<D: Device> DeviceLearner<D> {
    /// Creates a learner that trains the "no" tower alone.
    ///
    /// # Errors
    /// [`DeviceError`] if the towers do not fit the device.
    pub fn of_no_tower(
        device: &Arc<D>,
        config: &ModelConfig,
        image: FrozenImageTower<'_, D::Value>,
        yes: &TextParams<D::Value>,
        no: &TextParams<D::Value>,
    ) -> Result<Self, DeviceError> {
        let image = match image {
            FrozenImageTower::OnDevice(params) => {
                let tower = DeviceImageTower::new(Arc::clone(device), config, params)?;
                Image::Device(Box::new(tower))
            }
            FrozenImageTower::Elsewhere(frozen) => Image::Frozen(frozen),
        };
        let no = DeviceTextTower::trainable(Arc::clone(device), config, no, TextSide::No)?;
        Ok(Self {
            device: Arc::clone(device),
            trainable: TrainableTowers::NoTower,
            image,
            yes: DeviceTextTower::new(Arc::clone(device), config, yes, TextSide::Yes)?,
            no: Some(no),
        })
    }

    /// Creates a learner that trains the image tower and the "yes" tower, as in ordinary CLIP training.
    ///
    /// # Errors
    /// [`DeviceError`] if the towers do not fit the device.
    pub fn of_clip(
        device: &Arc<D>,
        config: &ModelConfig,
        image: &VisionParams<D::Value>,
        yes: &TextParams<D::Value>,
    ) -> Result<Self, DeviceError> {
        let image = DeviceImageTower::trainable(Arc::clone(device), config, image)?;
        Ok(Self {
            device: Arc::clone(device),
            trainable: TrainableTowers::Clip,
            image: Image::Device(Box::new(image)),
            yes: DeviceTextTower::trainable(Arc::clone(device), config, yes, TextSide::Yes)?,
            no: None,
        })
    }

    /// Returns the trained image tower.
    fn trained_image(&self) -> Option<&DeviceImageTower<D>> {
        match (&self.image, self.trainable) {
            (Image::Device(tower), TrainableTowers::Clip) => Some(tower),
            _ => None,
        }
    }

    /// Returns the trained text tower.
    fn trained_text(&self) -> &DeviceTextTower<D> {
        self.no.as_ref().unwrap_or(&self.yes)
    }
}

impl<D: Device<Value = f32>> DeviceLearner<D> {
    /// Creates a learner of the towers that a run starts with. A ResNet stays on the CPU, frozen.
    ///
    /// # Errors
    /// [`DeviceError`] if the towers do not fit the device.
    pub fn from_towers(
        device: &Arc<D>,
        config: &ModelConfig,
        towers: &CpuTowers,
        trainable: TrainableTowers,
    ) -> Result<Self, DeviceError> {
        let yes = towers.yes.params();
        match (trainable, &towers.no) {
            (TrainableTowers::NoTower, Some(no)) => {
                let image = match &towers.image {
                    CpuImageTower::Vit(tower) => FrozenImageTower::OnDevice(tower.params()),
                    resnet @ CpuImageTower::ResNet(_) => {
                        FrozenImageTower::Elsewhere(Box::new(resnet.clone()))
                    }
                };
                Self::of_no_tower(device, config, image, yes, no.params())
            }
            _ => Self::of_clip(device, config, towers.image.params(), yes),
        }
    }
}

fn state(state: LearnerState) -> ParameterState {
    match state {
        LearnerState::Values => ParameterState::Value,
        LearnerState::Gradients => ParameterState::Gradient,
        LearnerState::FirstMoments => ParameterState::FirstMoment,
        LearnerState::SecondMoments => ParameterState::SecondMoment,
    }
}

/// Error of a pass that the tower does not have.
fn frozen() -> ModelError {
    ModelError::Tower {
        source: "the image tower is frozen".into(),
    }
}

impl<D: Device> Learner<D::Value> for DeviceLearner<D> {
    fn device(&self) -> &str {
        self.device.name()
    }

    fn image(&self) -> &dyn ImageTower<D::Value> {
        match &self.image {
            Image::Device(tower) => &**tower,
            Image::Frozen(tower) => &**tower,
        }
    }

    fn yes(&self) -> &dyn TextTower<D::Value> {
        &self.yes
    }

    fn forward_images(
        &mut self,
        images: ImageBatch<'_, D::Value>,
    ) -> Result<(FeatureMatrix<D::Value>, LearnerTape), ModelError> {
        let tower = self.trained_image().ok_or_else(frozen)?;
        let (features, tape) = tower.forward(images)?;
        Ok((features, LearnerTape(Box::new(Tape::Image(tape)))))
    }

    fn forward_texts(
        &mut self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<(FeatureMatrix<D::Value>, LearnerTape), ModelError> {
        let (features, tape) = self.trained_text().forward(tokens, prompts)?;
        Ok((features, LearnerTape(Box::new(Tape::Text(tape)))))
    }

    fn backward(&mut self, tape: LearnerTape, d_features: &[D::Value]) -> Result<(), ModelError> {
        match tape.0.downcast::<Tape<D>>().map(|tape| *tape) {
            Ok(Tape::Image(tape)) => {
                let tower = self.trained_image().ok_or_else(frozen)?;
                tower.backward(tape, d_features)
            }
            Ok(Tape::Text(tape)) => self.trained_text().backward(tape, d_features),
            Err(_) => Err(ModelError::Tower {
                source: "the tape of another learner".into(),
            }),
        }
    }

    fn clear_gradients(&mut self) -> Result<(), ModelError> {
        if let Some(image) = self.trained_image() {
            image.clear_gradients()?;
        }
        Ok(self.trained_text().clear_gradients()?)
    }

    fn squared_gradients(&mut self) -> Result<Vec<(String, f64)>, ModelError> {
        let mut all = match self.trained_image() {
            Some(image) => image.squared_gradients()?,
            None => Vec::new(),
        };
        all.extend(self.trained_text().squared_gradients()?);
        Ok(all)
    }

    fn step(&mut self, step: &AdamWStep) -> Result<(), ModelError> {
        if let Some(image) = self.trained_image() {
            image.step(step)?;
        }
        Ok(self.trained_text().step(step)?)
    }

    fn read(&self, which: LearnerState) -> Result<Vec<NamedTensor<Vec<D::Value>>>, ModelError> {
        let mut all = match self.trained_image() {
            Some(image) => image.read(state(which))?,
            None => Vec::new(),
        };
        all.extend(self.trained_text().read(state(which))?);
        Ok(all)
    }

    fn write(&mut self, which: LearnerState, values: &[&[D::Value]]) -> Result<(), ModelError> {
        let images = self
            .trained_image()
            .map_or(0, DeviceImageTower::parameter_count);
        let (of_image, of_text) = values.split_at(images.min(values.len()));
        if let Some(image) = self.trained_image() {
            image.write(state(which), of_image)?;
        }
        Ok(self.trained_text().write(state(which), of_text)?)
    }
}
