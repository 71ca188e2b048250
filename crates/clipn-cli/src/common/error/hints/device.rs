//! Advice for errors of devices.

use std::error::Error;

use clipn::gpu::DeviceError;
use clipn::training::TrainingError;

/// Advice in the program's words.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(TrainingError::StepsDiffer { .. }) = error.downcast_ref() {
        return Some("resume with --device cpu");
    }
    Some(match error.downcast_ref::<DeviceError>()? {
        DeviceError::NotCompiled {
            feature: "cuda", ..
        } => "give --device cpu, or build clipn with `--features cuda`",
        DeviceError::NotCompiled { .. } => {
            "give --device cpu, or build clipn with `--features gpu`"
        }
        DeviceError::NotFound { .. } => "`clipn devices` lists the devices",
        DeviceError::MissingLibraries { .. } => {
            "install them, or name their directory with --cuda-libraries"
        }
        DeviceError::UnsupportedPrecision { .. } => "leave --precision out, or give f32",
        DeviceError::WeightRange { .. } => "give --precision f32",
        DeviceError::OutOfMemory { .. } => {
            "lower --batch-size, or raise --device-memory if the GPU has more"
        }
        DeviceError::UnsupportedShape { .. } | DeviceError::UnsupportedResNet { .. } => {
            "give --device cpu"
        }
        DeviceError::Lost { .. } => "run the command again; training resumes with --resume latest",
        _ => return None,
    })
}
