//! The device that runs the towers, and the precision in which they compute.

use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use clipn::engine::{CpuFactory, TextEncoder, VisionEncoder};
use clipn::gpu::DeviceError;
use clipn::model::{
    DeviceSpec, ImageTower, ModelConfig, ModelError, ModelWeights, Precision, TextParams, TextSide,
    TextTower, TowerFactory, VisionParams,
};
use clipn::training::{CpuTowers, Learner, TrainableTowers, TrainingError};

use crate::common::error::CliError;
use crate::common::messages::detail;
#[cfg(any(feature = "gpu", feature = "cuda"))]
use crate::common::messages::{note, warning};

/// Device of the towers, and the precision in which they compute.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DeviceArgs {
    /// Device that runs the towers: auto, cpu, gpu[:N] or cuda[:N]; clipn devices lists them
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Precision of the towers: f32 or int8 on the CPU; f32, f16 or bf16 on a GPU [default: from the
    /// bundle, else bf16 on cuda, else f32; f32 in training]
    ///
    /// Int8 is about three times as fast as f32, with slightly different scores. `clipn inspect WEIGHTS
    /// --precision int8 --images DIR` compares a precision with f32 on your images.
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

/// An opened device. It makes the towers of weights in their own precision.
#[derive(Debug, Clone)]
pub(crate) struct Device(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    args: DeviceArgs,
    /// Never `auto`.
    spec: DeviceSpec,
    /// Precision without a flag and without a bundle.
    default: Precision,
    /// A GPU is opened once per precision.
    handles: Mutex<Vec<(Precision, Handle)>>,
}

/// A device in one precision.
#[derive(Debug, Clone)]
enum Handle {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Arc<clipn::gpu::WgpuDevice>),
    #[cfg(feature = "cuda")]
    Cuda(Arc<clipn::gpu::CudaDevice>),
}

impl DeviceArgs {
    /// The arguments that name the same device, for another process.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--device".into(), self.device.to_string().into()];
        if let Some(precision) = self.precision {
            arguments.extend(["--precision".into(), precision.to_string().into()]);
        }
        #[cfg(any(feature = "gpu", feature = "cuda"))]
        if let Some(gib) = self.device_memory {
            arguments.extend(["--device-memory".into(), gib.to_string().into()]);
        }
        #[cfg(feature = "cuda")]
        if let Some(libraries) = &self.cuda_libraries {
            arguments.extend(["--cuda-libraries".into(), libraries.into()]);
        }
        arguments
    }

    /// Opens the device for inference.
    pub(crate) fn open(&self) -> Result<Device, CliError> {
        self.open_with(Precision::Bf16)
    }

    /// Opens the device for training.
    pub(crate) fn open_for_training(&self) -> Result<Device, CliError> {
        if self.precision == Some(Precision::Int8) {
            return Err(unsupported("training", Precision::Int8).into());
        }
        self.open_with(Precision::F32)
    }

    /// Opens the device; `cuda` is the default precision on CUDA.
    fn open_with(&self, cuda: Precision) -> Result<Device, CliError> {
        let default_of = |spec| match spec {
            DeviceSpec::Cuda(_) => cuda,
            _ => Precision::F32,
        };
        let open = |spec| {
            let precision = self.precision.unwrap_or(default_of(spec));
            Ok::<_, DeviceError>((spec, precision, self.handle(spec, precision)?))
        };
        let (spec, precision, handle) = match self.device {
            DeviceSpec::Auto => self.auto(open),
            spec => open(spec),
        }?;
        let device = Device(Arc::new(Opened {
            args: self.clone(),
            spec,
            default: default_of(spec),
            handles: Mutex::new(vec![(precision, handle)]),
        }));
        detail(format_args!("towers on {}", device.device()));
        Ok(device)
    }

    /// CUDA, else a GPU, else the CPU. Software that only looks like a GPU is not taken.
    fn auto<T>(
        &self,
        open: impl Fn(DeviceSpec) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        #[cfg(feature = "cuda")]
        match open(DeviceSpec::Cuda(0)) {
            Ok(opened) => return Ok(opened),
            Err(error) => detail(format_args!("no cuda:0: {error}")),
        }
        #[cfg(feature = "gpu")]
        if let Some(first) = clipn::gpu::adapters().first()
            && first.kind != clipn::gpu::AdapterKind::Cpu
        {
            return open(DeviceSpec::Gpu(0));
        }
        open(DeviceSpec::Cpu)
    }

    fn handle(&self, spec: DeviceSpec, precision: Precision) -> Result<Handle, DeviceError> {
        match spec {
            DeviceSpec::Gpu(index) => self.gpu(index, precision),
            DeviceSpec::Cuda(index) => self.cuda(index, precision),
            _ if supports(spec, precision) => Ok(Handle::Cpu),
            _ => Err(unsupported("cpu", precision)),
        }
    }

    #[cfg(feature = "gpu")]
    fn gpu(&self, index: usize, precision: Precision) -> Result<Handle, DeviceError> {
        let mut options = clipn::gpu::WgpuOptions::default().with_precision(precision);
        if let Some(gib) = self.device_memory {
            options = options.with_memory_bytes(u64::from(gib) << 30);
        }
        let device = clipn::gpu::WgpuDevice::open(index, &options)?;
        let adapters = clipn::gpu::adapters();
        let is_software = adapters
            .get(index)
            .is_some_and(|adapter| adapter.kind == clipn::gpu::AdapterKind::Cpu);
        if is_software {
            warning(format_args!(
                "gpu:{index} is software on the CPU, which is much slower than --device cpu"
            ));
        }
        Ok(Handle::Gpu(Arc::new(device)))
    }

    #[cfg(not(feature = "gpu"))]
    fn gpu(&self, _: usize, _: Precision) -> Result<Handle, DeviceError> {
        Err(DeviceError::NotCompiled {
            kind: "gpu",
            feature: "gpu",
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, index: usize, precision: Precision) -> Result<Handle, DeviceError> {
        let mut options = clipn::gpu::CudaOptions::default().with_precision(precision);
        if let Some(gib) = self.device_memory {
            options = options.with_memory_bytes(u64::from(gib) << 30);
        }
        if let Some(directory) = &self.cuda_libraries {
            options = options.with_libraries(directory);
        }
        let device = clipn::gpu::CudaDevice::open(index, &options)?;
        Ok(Handle::Cuda(Arc::new(device)))
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(&self, _: usize, _: Precision) -> Result<Handle, DeviceError> {
        Err(DeviceError::NotCompiled {
            kind: "cuda",
            feature: "cuda",
        })
    }
}

/// Whether a device may compute in a precision; a GPU says when it is opened whether it does.
fn supports(spec: DeviceSpec, precision: Precision) -> bool {
    match spec {
        DeviceSpec::Gpu(_) => matches!(precision, Precision::F32 | Precision::F16),
        DeviceSpec::Cuda(_) => precision != Precision::Int8,
        _ => matches!(precision, Precision::F32 | Precision::Int8),
    }
}

fn unsupported(device: &str, precision: Precision) -> DeviceError {
    DeviceError::UnsupportedPrecision {
        device: device.to_owned(),
        precision: precision.as_str(),
    }
}

impl Device {
    /// Precision of the towers of new weights: that of the flag, else the default of the device.
    pub(crate) fn precision(&self) -> Precision {
        self.0.args.precision.unwrap_or(self.0.default)
    }

    /// Whether the flag names the precision.
    pub(crate) fn has_requested_precision(&self) -> bool {
        self.0.args.precision.is_some()
    }

    /// Precision of the towers of a bundle: that of the flag, else its own if the device has it, else the
    /// default of the device.
    pub(crate) fn precision_of_bundle(&self, own: Precision) -> Precision {
        match self.0.args.precision {
            Some(precision) => precision,
            None if supports(self.0.spec, own) => own,
            None => self.0.default,
        }
    }

    /// Returns the factory of towers on this device. A ResNet's image tower is on the CPU.
    pub(crate) fn factory(&self) -> Arc<dyn TowerFactory> {
        Arc::new(self.clone())
    }

    /// Whether towers run on the CPU.
    pub(crate) fn is_cpu(&self) -> bool {
        self.0.spec == DeviceSpec::Cpu
    }

    /// The device in a precision.
    fn handle(&self, precision: Precision) -> Result<Handle, DeviceError> {
        let mut handles = self
            .0
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handle)) = handles.iter().find(|(own, _)| *own == precision) {
            return Ok(handle.clone());
        }
        let handle = self.0.args.handle(self.0.spec, precision)?;
        handles.push((precision, handle.clone()));
        Ok(handle)
    }

    /// Makes an image tower of given parameters.
    pub(crate) fn image_tower(
        &self,
        config: &ModelConfig,
        params: VisionParams<f32>,
        precision: Precision,
    ) -> Result<Box<dyn ImageTower<f32>>, DeviceError> {
        Ok(match self.handle(precision)? {
            Handle::Cpu => Box::new(VisionEncoder::with_precision(config, params, precision)),
            #[cfg(feature = "gpu")]
            Handle::Gpu(device) => {
                Box::new(clipn::gpu::DeviceImageTower::new(device, config, &params)?)
            }
            #[cfg(feature = "cuda")]
            Handle::Cuda(device) => {
                Box::new(clipn::gpu::DeviceImageTower::new(device, config, &params)?)
            }
        })
    }

    /// Makes a text tower of given parameters.
    pub(crate) fn text_tower(
        &self,
        config: &ModelConfig,
        params: TextParams<f32>,
        side: TextSide,
        precision: Precision,
    ) -> Result<Box<dyn TextTower<f32>>, DeviceError> {
        // Only GPUs name the tensors of a side.
        let _ = side;
        Ok(match self.handle(precision)? {
            Handle::Cpu => Box::new(TextEncoder::with_precision(config, params, precision)),
            #[cfg(feature = "gpu")]
            Handle::Gpu(device) => Box::new(clipn::gpu::DeviceTextTower::new(
                device, config, &params, side,
            )?),
            #[cfg(feature = "cuda")]
            Handle::Cuda(device) => Box::new(clipn::gpu::DeviceTextTower::new(
                device, config, &params, side,
            )?),
        })
    }

    /// Measures the rate of matrix products, in floating-point operations per second.
    pub(crate) fn peak_gemm_flops(&self, duration: Duration) -> Result<f64, DeviceError> {
        match self.handle(self.precision())? {
            Handle::Cpu => Ok(clipn::engine::peak_gemm_flops(duration)),
            #[cfg(feature = "gpu")]
            Handle::Gpu(device) => clipn::gpu::peak_gemm_flops(&*device, duration),
            #[cfg(feature = "cuda")]
            Handle::Cuda(device) => clipn::gpu::peak_gemm_flops(&*device, duration),
        }
    }

    /// Makes the learner of a training run on this device; not for the CPU.
    pub(crate) fn learner(
        &self,
        config: &ModelConfig,
        towers: &CpuTowers,
        trainable: TrainableTowers,
    ) -> Result<Box<dyn Learner<f32>>, TrainingError> {
        match self.handle(self.precision())? {
            Handle::Cpu => {
                let host = Arc::new(clipn::gpu::HostDevice::<f32>::new());
                learner(&host, config, towers, trainable)
            }
            #[cfg(feature = "gpu")]
            Handle::Gpu(device) => learner(&device, config, towers, trainable),
            #[cfg(feature = "cuda")]
            Handle::Cuda(device) => learner(&device, config, towers, trainable),
        }
    }
}

impl fmt::Display for Device {
    /// The device as `--device` names it, such as `cuda:0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.spec.fmt(f)
    }
}

impl TowerFactory for Device {
    fn device(&self) -> String {
        match self.handle(self.precision()) {
            Ok(handle) => handle.factory().device(),
            Err(_) => self.to_string(),
        }
    }

    fn image_tower(&self, weights: &ModelWeights) -> Result<Box<dyn ImageTower<f32>>, ModelError> {
        #[cfg(any(feature = "gpu", feature = "cuda"))]
        if !self.is_cpu() && weights.config().vision.stages.is_some() {
            note(format_args!(
                "the image tower of {} is a ResNet, which runs on the CPU",
                weights.config().name
            ));
            return CpuFactory.image_tower(weights);
        }
        let handle = self.handle(weights.precision())?;
        handle.factory().image_tower(weights)
    }

    fn text_tower(
        &self,
        weights: &ModelWeights,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, ModelError> {
        let handle = self.handle(weights.precision())?;
        handle.factory().text_tower(weights, side)
    }
}

impl Handle {
    fn factory(&self) -> Box<dyn TowerFactory> {
        match self {
            Self::Cpu => Box::new(CpuFactory),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => Box::new(clipn::gpu::DeviceFactory::new(Arc::clone(device))),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => Box::new(clipn::gpu::DeviceFactory::new(Arc::clone(device))),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn device(spec: &str, precision: Option<Precision>, cuda: Precision) -> Device {
        let spec: DeviceSpec = spec.parse().unwrap();
        Device(Arc::new(Opened {
            args: DeviceArgs {
                precision,
                ..DeviceArgs::default()
            },
            spec,
            default: match spec {
                DeviceSpec::Cuda(_) => cuda,
                _ => Precision::F32,
            },
            handles: Mutex::new(Vec::new()),
        }))
    }

    #[test]
    fn a_bundle_keeps_its_precision_where_the_device_has_it() {
        use Precision::{Bf16, F16, F32, Int8};
        for (spec, flag, own, expected) in [
            ("cpu", None, F32, F32),
            ("cpu", None, Int8, Int8),
            ("cpu", None, Bf16, F32),
            ("cpu", Some(Int8), Bf16, Int8),
            ("gpu", None, F16, F16),
            ("gpu", None, Int8, F32),
            ("cuda", None, F32, F32),
            ("cuda", None, F16, F16),
            ("cuda", None, Int8, Bf16),
            ("cuda", Some(F32), Bf16, F32),
        ] {
            let device = device(spec, flag, Bf16);
            assert_eq!(
                device.precision_of_bundle(own),
                expected,
                "{spec} {flag:?} {own}"
            );
        }
    }

    #[test]
    fn the_cpu_refuses_the_formats_of_gpus() {
        for precision in [Precision::F16, Precision::Bf16] {
            let args = DeviceArgs {
                precision: Some(precision),
                ..DeviceArgs::default()
            };
            let error = args.open().unwrap_err().to_string();
            assert_eq!(error, format!("cpu does not compute in {precision}"));
        }
        let int8 = DeviceArgs {
            precision: Some(Precision::Int8),
            ..DeviceArgs::default()
        };
        assert_eq!(int8.open().unwrap().precision(), Precision::Int8);
        assert!(int8.open_for_training().is_err());
    }
}
