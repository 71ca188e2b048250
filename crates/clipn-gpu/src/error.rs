use clipn_model::ModelError;
use thiserror::Error;

/// Error of a device.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The requested device does not exist.
    #[error("no device {requested}: {reason}")]
    NotFound {
        /// The device as it was requested.
        requested: String,
        /// Reason, such as the devices that exist.
        reason: String,
    },
    /// This build has no support for the kind of device.
    #[error("this build has no support for {kind} devices")]
    NotCompiled {
        /// Kind of device.
        kind: &'static str,
        /// Feature of the crate that adds it.
        feature: &'static str,
    },
    /// Libraries that the device needs cannot be opened.
    #[error("missing libraries of {device}: {}", missing.join("; "))]
    MissingLibraries {
        /// Kind of device.
        device: &'static str,
        /// Each library with the names that were tried and the package that has it.
        missing: Vec<String>,
    },
    /// The device lacks a precision.
    #[error("{device} does not compute in {precision}")]
    UnsupportedPrecision {
        /// Name of the device.
        device: String,
        /// The requested precision.
        precision: &'static str,
    },
    /// The device does not support a shape of a tower.
    #[error("unsupported {what}: expected at most {max}, got {found}")]
    UnsupportedShape {
        /// The size.
        what: &'static str,
        /// The largest supported one.
        max: usize,
        /// The size of the tower or the batch.
        found: usize,
    },
    /// The image tower is a ResNet, which runs on the CPU only.
    #[error("the image tower of the model `{model}` is a ResNet, which runs on the CPU only")]
    UnsupportedResNet {
        /// Name of the model.
        model: String,
    },
    /// A weight cannot be stored in the precision of the device.
    #[error("weight {name} has the value {value:e}, which {precision} cannot represent")]
    WeightRange {
        /// Name of the weight.
        name: String,
        /// The value.
        value: f64,
        /// The precision.
        precision: &'static str,
    },
    /// The device has not enough memory. Nothing was allocated.
    #[error("{what} needs {needed} MiB on {device}, which has {available} MiB left")]
    OutOfMemory {
        /// Purpose of the memory.
        what: String,
        /// Name of the device.
        device: String,
        /// Needed memory in MiB, rounded up.
        needed: u64,
        /// Memory left in MiB, rounded down.
        available: u64,
    },
    /// The device was lost, for example because its driver was reset. A new device must be opened.
    #[error("device {device} was lost: {reason}")]
    Lost {
        /// Name of the device.
        device: String,
        /// Reason that the driver gave.
        reason: String,
    },
    /// An operation has operands that do not fit together, which is a defect of a tower.
    #[error("invalid operands of {operation}: {problem}")]
    InvalidOperation {
        /// Name of the operation.
        operation: &'static str,
        /// Operand and size.
        problem: String,
    },
    /// A library of the device failed.
    #[error("{call} failed on {device}: {message}")]
    Backend {
        /// Name of the device.
        device: String,
        /// The call.
        call: &'static str,
        /// Message of the library.
        message: String,
    },
}

impl DeviceError {
    /// Returns what a Rust program can do about the error, if there is something to advise.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotCompiled { feature, .. } => match *feature {
                "cuda" => "enable the feature `cuda`",
                _ => "enable the feature `gpu`",
            },
            Self::UnsupportedPrecision { .. } => "use Precision::F32",
            Self::WeightRange { .. } => "use Precision::F32 or Precision::Bf16",
            Self::OutOfMemory { .. } => "use smaller batches",
            Self::Lost { .. } => "open the device again",
            Self::UnsupportedResNet { .. } => "use the towers of clipn_engine",
            _ => return None,
        })
    }

    pub(crate) fn invalid(operation: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidOperation {
            operation,
            problem: problem.into(),
        }
    }
}

impl From<DeviceError> for ModelError {
    fn from(error: DeviceError) -> Self {
        Self::Tower {
            source: Box::new(error),
        }
    }
}
