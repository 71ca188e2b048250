//! The device that runs the towers.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clipn::engine::{CpuFactory, TextEncoder, VisionEncoder};
use clipn::gpu::DeviceError;
use clipn::model::{
    DeviceSpec, ImageTower, ModelConfig, Precision, TextParams, TextSide, TextTower, TowerFactory,
    VisionParams,
};
#[cfg(any(feature = "gpu", feature = "cuda"))]
use clipn::model::{ModelError, ModelWeights};
use clipn::training::{CpuTowers, Learner, TrainableTowers, TrainingError};
use serde_json::{Value, json};

use crate::common::error::CliError;
use crate::common::messages::detail;
#[cfg(any(feature = "gpu", feature = "cuda"))]
use crate::common::messages::{note, warning};

/// Device of the towers, and the precision in which it computes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DeviceArgs {
    /// Device that runs the towers: auto, cpu, gpu[:N] or cuda[:N]; clipn devices lists them
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Precision of weights and activations: f32, f16 or bf16 [default: bf16 on cuda, else f32;
    /// f32 in training]
    #[arg(long, value_name = "NAME")]
    pub precision: Option<Precision>,
    /// Memory that the GPU may use, in GiB [default: what is free on cuda, else 4]
    #[cfg(any(feature = "gpu", feature = "cuda"))]
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub device_memory: Option<u16>,
    /// Directory in which NVIDIA's libraries are searched first
    #[cfg(feature = "cuda")]
    #[arg(long, value_name = "DIR")]
    pub cuda_libraries: Option<std::path::PathBuf>,
}

/// An opened device.
#[derive(Debug, Clone)]
pub(crate) enum Device {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Arc<clipn::gpu::WgpuDevice>),
    #[cfg(feature = "cuda")]
    Cuda(Arc<clipn::gpu::CudaDevice>),
}

impl DeviceArgs {
    /// Opens the device for inference.
    pub(crate) fn open(&self) -> Result<Device, CliError> {
        let cuda = self.precision.unwrap_or(Precision::Bf16);
        self.open_with(cuda)
    }

    /// Precision for the settings of results: that of the flags, or the default of the device; nothing on
    /// the CPU, which has only one.
    pub(crate) fn recorded_precision(&self) -> Option<Precision> {
        match self.device {
            DeviceSpec::Cpu => None,
            DeviceSpec::Gpu(_) => Some(self.precision.unwrap_or_default()),
            DeviceSpec::Cuda(_) => Some(self.precision.unwrap_or(Precision::Bf16)),
            _ => self
                .open()
                .ok()
                .and_then(|device| (!device.is_cpu()).then(|| device.factory().precision())),
        }
    }

    /// Opens the device for training.
    pub(crate) fn open_for_training(&self) -> Result<Device, CliError> {
        self.open_with(self.precision.unwrap_or_default())
    }

    /// Opens the device; `cuda` is the precision on CUDA.
    fn open_with(&self, cuda: Precision) -> Result<Device, CliError> {
        let device = match self.device {
            DeviceSpec::Cpu => self.cpu(),
            DeviceSpec::Cuda(index) => self.cuda(index, cuda),
            DeviceSpec::Gpu(index) => self.gpu(index),
            _ => self.auto(cuda),
        }?;
        let factory = device.factory();
        let (name, precision) = (factory.device(), factory.precision());
        detail(format_args!("towers on {name} in {precision}"));
        Ok(device)
    }

    fn cpu(&self) -> Result<Device, CliError> {
        match self.precision {
            None | Some(Precision::F32) => Ok(Device::Cpu),
            Some(precision) => Err(CliError::Device(DeviceError::UnsupportedPrecision {
                device: "cpu".to_owned(),
                precision: precision.name(),
            })),
        }
    }

    /// CUDA, else a GPU, else the CPU. Software that only looks like a GPU is not taken.
    fn auto(&self, precision: Precision) -> Result<Device, CliError> {
        #[cfg(feature = "cuda")]
        match self.cuda(0, precision) {
            Ok(device) => return Ok(device),
            Err(error) => detail(format_args!("no cuda:0: {error}")),
        }
        #[cfg(feature = "gpu")]
        if let Some(first) = clipn::gpu::adapters().first()
            && first.kind != clipn::gpu::AdapterKind::Cpu
        {
            return self.gpu(0);
        }
        let _ = precision;
        self.cpu()
    }

    #[cfg(feature = "gpu")]
    fn gpu(&self, index: usize) -> Result<Device, CliError> {
        let mut options = clipn::gpu::WgpuOptions::default()
            .with_precision(self.precision.unwrap_or(Precision::F32));
        if let Some(gib) = self.device_memory {
            options = options.with_memory_bytes(u64::from(gib) << 30);
        }
        let device = clipn::gpu::WgpuDevice::open(index, options)?;
        let adapters = clipn::gpu::adapters();
        let is_software = adapters
            .get(index)
            .is_some_and(|adapter| adapter.kind == clipn::gpu::AdapterKind::Cpu);
        if is_software {
            warning(format_args!(
                "gpu:{index} is software on the CPU, which is much slower than --device cpu"
            ));
        }
        Ok(Device::Gpu(Arc::new(device)))
    }

    #[cfg(not(feature = "gpu"))]
    fn gpu(&self, _: usize) -> Result<Device, CliError> {
        Err(CliError::Device(DeviceError::NotCompiled {
            kind: "gpu",
            feature: "gpu",
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, index: usize, precision: Precision) -> Result<Device, CliError> {
        let mut options = clipn::gpu::CudaOptions::default().with_precision(precision);
        if let Some(gib) = self.device_memory {
            options = options.with_memory_bytes(u64::from(gib) << 30);
        }
        if let Some(directory) = &self.cuda_libraries {
            options = options.with_libraries(directory);
        }
        let device = clipn::gpu::CudaDevice::open(index, options)?;
        Ok(Device::Cuda(Arc::new(device)))
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(&self, _: usize, _: Precision) -> Result<Device, CliError> {
        Err(CliError::Device(DeviceError::NotCompiled {
            kind: "cuda",
            feature: "cuda",
        }))
    }
}

impl Device {
    /// Returns the factory of towers on this device. A ResNet's image tower is on the CPU.
    pub(crate) fn factory(&self) -> Arc<dyn TowerFactory> {
        match self {
            Self::Cpu => Arc::new(CpuFactory),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => {
                let factory = clipn::gpu::DeviceFactory::new(Arc::clone(device));
                Arc::new(WithResNets(factory))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => {
                let factory = clipn::gpu::DeviceFactory::new(Arc::clone(device));
                Arc::new(WithResNets(factory))
            }
        }
    }

    /// Whether towers run on the CPU.
    pub(crate) fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Returns device and precision for the settings of outputs; nothing for the CPU.
    pub(crate) fn describe(&self) -> Option<Value> {
        let factory = self.factory();
        (!self.is_cpu())
            .then(|| json!({ "name": factory.device(), "precision": factory.precision().name() }))
    }

    /// Makes an image tower of given parameters.
    pub(crate) fn image_tower(
        &self,
        config: &ModelConfig,
        params: VisionParams<f32>,
    ) -> Result<Box<dyn ImageTower<f32>>, DeviceError> {
        Ok(match self {
            Self::Cpu => Box::new(VisionEncoder::new(config, params)),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => Box::new(clipn::gpu::DeviceImageTower::new(
                Arc::clone(device),
                config,
                &params,
            )?),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => Box::new(clipn::gpu::DeviceImageTower::new(
                Arc::clone(device),
                config,
                &params,
            )?),
        })
    }

    /// Makes a text tower of given parameters.
    pub(crate) fn text_tower(
        &self,
        config: &ModelConfig,
        params: TextParams<f32>,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, DeviceError> {
        // Only GPUs name the tensors of a side.
        let _ = side;
        Ok(match self {
            Self::Cpu => Box::new(TextEncoder::new(config, params)),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => {
                let device = Arc::clone(device);
                Box::new(clipn::gpu::DeviceTextTower::new(
                    device, config, &params, side,
                )?)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => {
                let device = Arc::clone(device);
                Box::new(clipn::gpu::DeviceTextTower::new(
                    device, config, &params, side,
                )?)
            }
        })
    }

    /// Measures the rate of matrix products, in floating-point operations per second.
    pub(crate) fn peak_gemm_flops(&self, duration: Duration) -> Result<f64, DeviceError> {
        match self {
            Self::Cpu => Ok(clipn::engine::peak_gemm_flops(duration)),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => clipn::gpu::peak_gemm_flops(&**device, duration),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => clipn::gpu::peak_gemm_flops(&**device, duration),
        }
    }

    /// Makes the learner of a training run on this device; not for the CPU.
    pub(crate) fn learner(
        &self,
        config: &ModelConfig,
        towers: &CpuTowers,
        trainable: TrainableTowers,
    ) -> Result<Box<dyn Learner<f32>>, TrainingError> {
        match self {
            Self::Cpu => {
                let host = Arc::new(clipn::gpu::HostDevice::<f32>::new());
                learner(&host, config, towers, trainable)
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => learner(device, config, towers, trainable),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => learner(device, config, towers, trainable),
        }
    }
}

fn learner<D: clipn::gpu::Device<Value = f32>>(
    device: &Arc<D>,
    config: &ModelConfig,
    towers: &CpuTowers,
    trainable: TrainableTowers,
) -> Result<Box<dyn Learner<f32>>, TrainingError> {
    let learner = clipn::training::DeviceLearner::from_towers(device, config, towers, trainable)?;
    Ok(Box::new(learner))
}

/// Towers on a device, but for the image towers of ResNets, which are on the CPU.
#[cfg(any(feature = "gpu", feature = "cuda"))]
#[derive(Debug)]
struct WithResNets<F>(F);

#[cfg(any(feature = "gpu", feature = "cuda"))]
impl<F: TowerFactory> TowerFactory for WithResNets<F> {
    fn device(&self) -> String {
        self.0.device()
    }

    fn precision(&self) -> Precision {
        self.0.precision()
    }

    fn image_tower(&self, weights: &ModelWeights) -> Result<Box<dyn ImageTower<f32>>, ModelError> {
        if weights.config().vision.stages.is_none() {
            return self.0.image_tower(weights);
        }
        note(format_args!(
            "the image tower of {} is a ResNet, which runs on the CPU",
            weights.config().name
        ));
        CpuFactory.image_tower(weights)
    }

    fn text_tower(
        &self,
        weights: &ModelWeights,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, ModelError> {
        self.0.text_tower(weights, side)
    }
}
