//! Element types of tensors.

use std::fmt;
use std::str::FromStr;

/// Element type of a stored [`Tensor`](crate::Tensor).
///
/// ```
/// use clipn_checkpoint::Dtype;
///
/// assert_eq!("bf16".parse(), Ok(Dtype::Bf16));
/// assert_eq!((Dtype::F64.to_string(), Dtype::F64.size()), ("f64".to_owned(), 8));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an `f32`.
    Bf16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte, zero for false.
    Bool,
}

impl Dtype {
    /// All element types, largest first within their kind.
    const ALL: [Dtype; 10] = [
        Dtype::F64,
        Dtype::F32,
        Dtype::F16,
        Dtype::Bf16,
        Dtype::I64,
        Dtype::I32,
        Dtype::I16,
        Dtype::I8,
        Dtype::U8,
        Dtype::Bool,
    ];

    /// Returns PyTorch's name, such as `bfloat16`.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            Dtype::F64 => "float64",
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
            Dtype::I64 => "int64",
            Dtype::I32 => "int32",
            Dtype::I16 => "int16",
            Dtype::I8 => "int8",
            Dtype::U8 => "uint8",
            Dtype::Bool => "bool",
        }
    }

    /// Returns the type with PyTorch's name `name`.
    pub(crate) fn from_torch(name: &str) -> Option<Dtype> {
        Dtype::ALL
            .into_iter()
            .find(|dtype| dtype.torch_name() == name)
    }

    /// Returns the size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }

    /// Returns whether the elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F16 | Dtype::Bf16 | Dtype::F32 | Dtype::F64)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
            Dtype::I64 => "i64",
            Dtype::I32 => "i32",
            Dtype::I16 => "i16",
            Dtype::I8 => "i8",
            Dtype::U8 => "u8",
            Dtype::Bool => "bool",
        })
    }
}

impl FromStr for Dtype {
    type Err = ParseDtypeError;

    fn from_str(name: &str) -> Result<Dtype, ParseDtypeError> {
        let found = Dtype::ALL
            .into_iter()
            .find(|dtype| dtype.to_string() == name);
        found.ok_or_else(|| ParseDtypeError::new(name))
    }
}

/// Error of parsing the name of a [`Dtype`] or a [`FloatType`](crate::FloatType).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown element type \"{name}\"")]
pub struct ParseDtypeError {
    name: String,
}

impl ParseDtypeError {
    pub(crate) fn new(name: &str) -> ParseDtypeError {
        ParseDtypeError {
            name: name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in Dtype::ALL {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        let error = "f8".parse::<Dtype>().unwrap_err();
        assert_eq!(error.to_string(), "unknown element type \"f8\"");
    }
}
