//! Names of devices.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Device that runs towers: `auto`, `cpu`, `gpu`, `gpu:N`, `cuda` or `cuda:N`.
///
/// ```
/// use clipn_model::DeviceSpec;
///
/// assert_eq!("cuda:1".parse(), Ok(DeviceSpec::Cuda(1)));
/// assert_eq!(DeviceSpec::Gpu(0).to_string(), "gpu:0");
/// assert!("tpu".parse::<DeviceSpec>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// The fastest device that is there: CUDA, else a GPU, else the CPU.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// A GPU over Vulkan, Metal or DirectX 12, by index.
    Gpu(usize),
    /// An NVIDIA GPU over CUDA, by index.
    Cuda(usize),
}

/// Error of parsing a device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown device `{name}`; expected auto, cpu, gpu, gpu:N, cuda or cuda:N")]
pub struct ParseDeviceError {
    name: String,
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(index) => write!(f, "gpu:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = ParseDeviceError;

    fn from_str(name: &str) -> Result<Self, ParseDeviceError> {
        let (kind, index) = match name.split_once(':') {
            Some((kind, index)) => (kind, index.parse().ok()),
            None => (name, Some(0)),
        };
        match (kind, index) {
            ("auto", Some(0)) if name == kind => Ok(Self::Auto),
            ("cpu", Some(0)) if name == kind => Ok(Self::Cpu),
            ("gpu", Some(index)) => Ok(Self::Gpu(index)),
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            _ => Err(ParseDeviceError {
                name: name.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_back_as_they_are_printed() {
        for device in [
            DeviceSpec::Auto,
            DeviceSpec::Cpu,
            DeviceSpec::Gpu(3),
            DeviceSpec::Cuda(0),
        ] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("gpu".parse(), Ok(DeviceSpec::Gpu(0)));
    }

    #[test]
    fn other_devices_are_rejected_with_the_known_ones() {
        for name in ["", "tpu", "gpu:", "gpu:x", "cpu:1", "auto:0", "cuda:-1"] {
            let error = name.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{name}`")) && error.contains("cuda:N"),
                "{error}"
            );
        }
    }
}
