//! Conversion of little-endian bytes of every element type to numbers. The bytes need no alignment.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::Dtype;

/// Number of f16 values converted at a time: enough for the vectorized conversion, few enough for
/// the stack.
const F16_BLOCK: usize = 1024;

pub(crate) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F16 => halves_to_f32(bytes, f16::ZERO, f16::from_le_bytes),
        Dtype::Bf16 => map_elements(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F32 => map_elements(bytes, f32::from_le_bytes),
        Dtype::F64 => map_elements(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::I64 => map_elements(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => map_elements(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => map_elements(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => map_elements(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 => map_elements(bytes, |[b]| b.into()),
        Dtype::Bool => map_elements(bytes, |[b]| u8::from(b != 0).into()),
    }
}

/// Returns rows of 8-bit integers times a factor each.
pub(crate) fn scaled(integers: &[u8], scales: &[f32]) -> Vec<f32> {
    let row = integers.len() / scales.len().max(1);
    let rows = integers.chunks_exact(row.max(1)).zip(scales);
    rows.flat_map(|(row, scale)| {
        row.iter()
            .map(move |&value| f32::from(value.cast_signed()) * scale)
    })
    .collect()
}

pub(crate) fn to_f64(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F16 => map_elements(bytes, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::Bf16 => map_elements(bytes, |b| bf16::from_le_bytes(b).to_f64()),
        Dtype::F32 => map_elements(bytes, |b| f32::from_le_bytes(b).into()),
        Dtype::F64 => map_elements(bytes, f64::from_le_bytes),
        Dtype::I64 => map_elements(bytes, |b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => map_elements(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::I16 => map_elements(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => map_elements(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 => map_elements(bytes, |[b]| b.into()),
        Dtype::Bool => map_elements(bytes, |[b]| u8::from(b != 0).into()),
    }
}

pub(crate) fn to_i64(dtype: Dtype, bytes: &[u8]) -> Vec<i64> {
    match dtype {
        Dtype::I64 => map_elements(bytes, i64::from_le_bytes),
        Dtype::I32 => map_elements(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::I16 => map_elements(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => map_elements(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 => map_elements(bytes, |[b]| b.into()),
        Dtype::Bool => map_elements(bytes, |[b]| i64::from(b != 0)),
        Dtype::F16 | Dtype::Bf16 | Dtype::F32 | Dtype::F64 => to_f64(dtype, bytes)
            .into_iter()
            .map(|value| value as i64)
            .collect(),
    }
}

fn map_elements<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&element| read(element))
        .collect()
}

/// Converts in slices: `half` uses the CPU's instruction for slices, but not for single values.
fn halves_to_f32<H: Copy>(bytes: &[u8], zero: H, read: fn([u8; 2]) -> H) -> Vec<f32>
where
    [H]: HalfFloatSliceExt,
{
    let elements = bytes.as_chunks().0;
    let mut converted = vec![0.0; elements.len()];
    let mut halves = [zero; F16_BLOCK];
    for (from, to) in elements
        .chunks(F16_BLOCK)
        .zip(converted.chunks_mut(F16_BLOCK))
    {
        for (half, &element) in halves.iter_mut().zip(from) {
            *half = read(element);
        }
        halves[..from.len()].convert_to_f32_slice(to);
    }
    converted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_and_single_f16_values_convert_alike() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let slices = to_f32(Dtype::F16, &bytes);
        for (bits, &value) in (0..=u16::MAX).zip(&slices) {
            let single = f16::from_bits(bits).to_f32_const();
            assert!(
                value == single || (value.is_nan() && single.is_nan()),
                "{bits:#x}: {value} {single}"
            );
        }
    }

    #[test]
    fn integers_and_booleans_become_numbers() {
        assert_eq!(to_f32(Dtype::I16, &(-3i16).to_le_bytes()), [-3.0]);
        assert_eq!(to_f64(Dtype::I8, &[0xff]), [-1.0]);
        assert_eq!(to_f32(Dtype::Bool, &[0, 1, 255]), [0.0, 1.0, 1.0]);
        assert_eq!(to_i64(Dtype::F32, &(-2.9f32).to_le_bytes()), [-2]);
        assert_eq!(to_f32(Dtype::Bf16, &[0x80, 0x3f]), [1.0]);
    }
}
