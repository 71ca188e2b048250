//! Names of devices and of their precisions.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::error::UnknownName;

/// Number format in which a device stores weights and activations. Sums, norms, softmax, features,
/// gradients of parameters and the optimizer's state are in f32 at every precision.
///
/// ```
/// use clipn_model::Precision;
///
/// assert_eq!("bf16".parse(), Ok(Precision::Bf16));
/// assert_eq!(Precision::Bf16.bytes(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// IEEE half precision: 11 significant bits, values up to 65,504.
    F16,
    /// bfloat16: 8 significant bits, the range of f32.
    Bf16,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Returns the name: `f32`, `f16` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Returns the size of a value in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Returns the largest finite value.
    pub fn max_value(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::MAX),
            Self::F16 => 65_504.0,
            Self::Bf16 => f64::from(f32::from_bits(0x7f7f_0000)),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| UnknownName::new("precision", name, "f32, f16 or bf16"))
    }
}

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

    #[test]
    fn the_largest_values_are_those_of_the_formats() {
        assert_eq!(Precision::Bf16.max_value(), 3.389_531_389_251_535_5e38);
        assert_eq!(Precision::F16.max_value(), 65_504.0);
    }
}
