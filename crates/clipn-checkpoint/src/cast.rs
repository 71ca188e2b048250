//! Conversion between floating-point element types, rounding to nearest with ties to even.

use std::fmt;
use std::str::FromStr;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::{Dtype, ParseDtypeError, convert};

/// Floating-point type to store elements in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FloatType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision, up to 65504.
    F16,
    /// bfloat16: the range of `f32`, eight bits of precision.
    Bf16,
}

impl FloatType {
    /// Returns the [`Dtype`] of tensors stored in this type.
    pub fn dtype(self) -> Dtype {
        match self {
            FloatType::F32 => Dtype::F32,
            FloatType::F16 => Dtype::F16,
            FloatType::Bf16 => Dtype::Bf16,
        }
    }

    /// Returns the largest finite value.
    pub(crate) fn max_value(self) -> f64 {
        match self {
            FloatType::F32 => f32::MAX.into(),
            FloatType::F16 => f16::MAX.into(),
            FloatType::Bf16 => bf16::MAX.into(),
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}

impl FromStr for FloatType {
    type Err = ParseDtypeError;

    fn from_str(name: &str) -> Result<FloatType, ParseDtypeError> {
        match name {
            "f32" => Ok(FloatType::F32),
            "f16" => Ok(FloatType::F16),
            "bf16" => Ok(FloatType::Bf16),
            _ => Err(ParseDtypeError::new(name)),
        }
    }
}

/// A finite value that would become infinite in the target type.
#[derive(Debug, PartialEq)]
pub(crate) struct Overflow(pub(crate) f64);

/// Converts little-endian `bytes` of elements of the floating-point type `from` to those of `to`.
pub(crate) fn cast(from: Dtype, bytes: &[u8], to: FloatType) -> Result<Vec<u8>, Overflow> {
    let wide = match (from, to) {
        (Dtype::F64, FloatType::F16 | FloatType::Bf16) => convert::to_f64(from, bytes)
            .into_iter()
            .map(round_to_odd)
            .collect(),
        _ => convert::to_f32(from, bytes),
    };
    let overflows = |index: usize| {
        let size = from.size();
        let value = convert::to_f64(from, &bytes[index * size..][..size]);
        value
            .first()
            .copied()
            .filter(|value| value.is_finite())
            .map(Overflow)
    };
    match to {
        FloatType::F32 => to_bytes(&wide, |v| v.is_infinite(), overflows, f32::to_le_bytes),
        FloatType::F16 => {
            let mut narrow = vec![f16::ZERO; wide.len()];
            narrow.convert_from_f32_slice(&wide);
            to_bytes(&narrow, |v| v.is_infinite(), overflows, f16::to_le_bytes)
        }
        FloatType::Bf16 => {
            let mut narrow = vec![bf16::ZERO; wide.len()];
            narrow.convert_from_f32_slice(&wide);
            to_bytes(&narrow, |v| v.is_infinite(), overflows, bf16::to_le_bytes)
        }
    }
}

/// Returns the bytes of `values`; an infinite value is an error if the source element is finite.
fn to_bytes<T: Copy, const N: usize>(
    values: &[T],
    is_infinite: fn(T) -> bool,
    overflow: impl Fn(usize) -> Option<Overflow>,
    to_le_bytes: fn(T) -> [u8; N],
) -> Result<Vec<u8>, Overflow> {
    let infinite = values
        .iter()
        .enumerate()
        .filter(|(_, value)| is_infinite(**value));
    if let Some(overflow) = infinite.filter_map(|(index, _)| overflow(index)).next() {
        return Err(overflow);
    }
    Ok(values
        .iter()
        .flat_map(|&value| to_le_bytes(value))
        .collect())
}

/// Rounds to odd: truncates to an `f32` and sets the last bit if the result is inexact. Rounding
/// that to a narrower type gives the same as rounding the value directly (Boldo and Melquiond,
/// "Emulation of a FMA and correctly rounded sums", 2008). Rounding to nearest twice does not.
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || value.is_nan() {
        return nearest;
    }
    let rounded_away_from_zero = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(rounded_away_from_zero)) | 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn halves(from: Dtype, bytes: &[u8]) -> Vec<f16> {
        let cast = cast(from, bytes, FloatType::F16).unwrap();
        cast.as_chunks()
            .0
            .iter()
            .map(|&b| f16::from_le_bytes(b))
            .collect()
    }

    #[test]
    fn ties_go_to_even() {
        // f16 values between 2048 and 4096 are 2 apart, bf16 values between 256 and 512 too.
        assert_eq!(
            halves(Dtype::F32, &f32s(&[2049.0, 2051.0, 2049.5, -2049.0])),
            [2048.0, 2052.0, 2050.0, -2048.0].map(f16::from_f32)
        );
        let cast = cast(Dtype::F32, &f32s(&[257.0, 259.0, 257.5]), FloatType::Bf16).unwrap();
        assert_eq!(
            cast,
            [256.0, 260.0, 258.0]
                .map(|v| bf16::from_f32(v).to_le_bytes())
                .concat()
        );
    }

    #[test]
    fn f16_round_trips_through_wider_types() {
        let all: Vec<f16> = (0..=u16::MAX)
            .map(f16::from_bits)
            .filter(|v| !v.is_nan())
            .collect();
        let bytes: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        let wide = cast(Dtype::F16, &bytes, FloatType::F32).unwrap();
        assert_eq!(cast(Dtype::F32, &wide, FloatType::F16).unwrap(), bytes);
        let doubles: Vec<u8> = all.iter().flat_map(|v| v.to_f64().to_le_bytes()).collect();
        assert_eq!(cast(Dtype::F64, &doubles, FloatType::F16).unwrap(), bytes);
    }

    #[test]
    fn doubles_are_rounded_once() {
        // Just above the midpoint of 2048 and 2050; as an f32 it would be the midpoint.
        let above = 2049.0 + 2f64.powi(-40);
        let below = 2051.0 - 2f64.powi(-40);
        let bytes = [
            above.to_le_bytes(),
            below.to_le_bytes(),
            (-above).to_le_bytes(),
        ]
        .concat();
        assert_eq!(
            halves(Dtype::F64, &bytes),
            [2050.0, 2050.0, -2050.0].map(f16::from_f32)
        );
        let tiny = 1e-300f64.to_le_bytes();
        assert_eq!(halves(Dtype::F64, &tiny), [f16::ZERO]);
    }

    /// Whether no neighbor of `bits` is nearer to `value`, or as near and even.
    fn is_nearest(value: f64, bits: u16, to_f64: fn(u16) -> f64) -> bool {
        let distance = |bits: u16| (to_f64(bits) - value).abs();
        let neighbors = [bits.wrapping_sub(1), bits.wrapping_add(1)];
        neighbors
            .into_iter()
            .filter(|&n| to_f64(n).is_finite())
            .all(|neighbor| {
                distance(neighbor) > distance(bits)
                    || (distance(neighbor) == distance(bits) && bits.is_multiple_of(2))
                    || to_f64(neighbor) == to_f64(bits)
            })
    }

    proptest! {
        #[test]
        fn doubles_round_to_the_nearest(
            mantissa in -1.0f64..1.0,
            exponent in -160i32..127,
            tie in 0u64..4,
        ) {
            // Often near the midpoint of two values, where double rounding goes wrong.
            let value = mantissa * 2f64.powi(exponent);
            let near_midpoint = (value.to_bits() & (u64::MAX << 40)) | (tie % 3);
            let value = if tie > 1 { f64::from_bits(near_midpoint) } else { value };
            for (to, to_f64) in [
                (FloatType::F16, (|bits| f16::from_bits(bits).to_f64()) as fn(u16) -> f64),
                (FloatType::Bf16, |bits| bf16::from_bits(bits).to_f64()),
            ] {
                match cast(Dtype::F64, &value.to_le_bytes(), to) {
                    Ok(bytes) => {
                        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
                        prop_assert!(
                            is_nearest(value, bits, to_f64),
                            "{value:e} became {:e} in {to}", to_f64(bits)
                        );
                    }
                    Err(Overflow(found)) => {
                        prop_assert_eq!(found, value);
                        prop_assert!(value.abs() > to.max_value());
                    }
                }
            }
        }
    }

    #[test]
    fn values_beyond_the_maximum_are_an_overflow() {
        // 65520 is the midpoint of the largest f16 and what would be the next value.
        assert_eq!(halves(Dtype::F32, &f32s(&[65519.0])), [f16::MAX]);
        let cast_to = |value: f32, to| cast(Dtype::F32, &f32s(&[1.0, value]), to);
        assert_eq!(cast_to(-65520.0, FloatType::F16), Err(Overflow(-65520.0)));
        assert_eq!(
            cast_to(f32::MAX, FloatType::Bf16),
            Err(Overflow(f32::MAX.into()))
        );
        assert_eq!(
            cast(Dtype::F64, &1e39f64.to_le_bytes(), FloatType::F32),
            Err(Overflow(1e39))
        );
        assert_eq!(
            cast(Dtype::F64, &1e39f64.to_le_bytes(), FloatType::F16),
            Err(Overflow(1e39))
        );
        let kept = cast(
            Dtype::F32,
            &f32s(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
            FloatType::F16,
        );
        let kept: Vec<f16> = kept
            .unwrap()
            .as_chunks()
            .0
            .iter()
            .map(|&b| f16::from_le_bytes(b))
            .collect();
        assert_eq!(kept[..2], [f16::INFINITY, f16::NEG_INFINITY]);
        assert!(kept[2].is_nan());
    }
}
