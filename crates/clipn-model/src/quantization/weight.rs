/// Largest magnitude of a quantized weight. −128 is not used, so that the range is symmetric.
const MAX_WEIGHT: f32 = 127.0;

/// A weight, `[outputs, inner]`, in 8-bit integers with a scale per output.
///
/// ```
/// use clipn_model::QuantizedWeight;
///
/// let quantized = QuantizedWeight::quantize(&[0.5, -1.27, 0.0, 254.0], 2);
/// assert_eq!(quantized.values, [50, -127, 0, 127]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeight {
    /// `[outputs, inner]`, from −127 to 127.
    pub values: Vec<i8>,
    /// What a quantized value of each output is multiplied by.
    pub scales: Vec<f32>,
    /// Number of inputs.
    pub inner: usize,
}

impl QuantizedWeight {
    /// Quantizes a weight, `[outputs, inner]`.
    ///
    /// A value is w / scale, rounded to the nearest integer, half away from zero; the largest
    /// magnitude of a row becomes 127. Scales have at most 16 significant bits, so that a product
    /// of scale and quantized value is exact in f32, and quantizing the products gives the same
    /// values and scales again. A row with a value that is not finite has the scale NaN.
    pub fn quantize(weight: &[f32], inner: usize) -> Self {
        let mut values = Vec::with_capacity(weight.len());
        let mut scales = Vec::with_capacity(weight.len() / inner.max(1));
        for row in weight.chunks_exact(inner.max(1)) {
            let finite = row.iter().all(|value| value.is_finite());
            let largest = row.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let scale = match finite {
                true => shortened(largest / MAX_WEIGHT),
                false => f32::NAN,
            };
            let quantized = |&value: &f32| match scale > 0.0 {
                true => (value / scale).round() as i8,
                false => 0,
            };
            values.extend(row.iter().map(quantized));
            scales.push(scale);
        }
        Self {
            values,
            scales,
            inner,
        }
    }

    /// Returns the values that are represented: quantized value times scale, which is exact.
    pub fn represented(&self) -> Vec<f32> {
        let rows = self.values.chunks_exact(self.inner.max(1));
        rows.zip(&self.scales)
            .flat_map(|(row, scale)| row.iter().map(move |&value| f32::from(value) * scale))
            .collect()
    }
}

/// Rounds a positive scale up to 16 significant bits. Scales below the normal numbers become zero.
fn shortened(scale: f32) -> f32 {
    const DROPPED: u32 = 24 - 16;
    if scale < f32::MIN_POSITIVE {
        return 0.0;
    }
    let bits = scale.to_bits();
    f32::from_bits((bits + ((1 << DROPPED) - 1)) >> DROPPED << DROPPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight() -> Vec<f32> {
        (0..7 * 13)
            .map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 321.0)
            .collect()
    }

    #[test]
    fn values_are_within_half_a_scale_and_reach_the_largest() {
        let quantized = QuantizedWeight::quantize(&weight(), 13);
        let rows = weight();
        let rows = rows.chunks(13).zip(quantized.values.chunks(13));
        for ((row, values), scale) in rows.zip(&quantized.scales) {
            for (x, &value) in row.iter().zip(values) {
                assert!((x - f32::from(value) * scale).abs() <= 0.500_1 * scale);
            }
            assert!(values.iter().any(|value| value.unsigned_abs() == 127));
        }
    }

    #[test]
    fn quantizing_the_represented_values_changes_nothing() {
        let quantized = QuantizedWeight::quantize(&weight(), 13);
        let represented = quantized.represented();
        assert_eq!(QuantizedWeight::quantize(&represented, 13), quantized);
    }

    #[test]
    fn damaged_rows_have_the_scale_nan_and_rows_of_zeros_zero() {
        let quantized = QuantizedWeight::quantize(&[1.0, f32::NAN, 0.0, 0.0, 3.0, -4.0], 2);
        assert!(quantized.scales[0].is_nan());
        assert_eq!(quantized.scales[1], 0.0);
        assert_eq!(quantized.values[2..], [0, 0, 95, -127]);
    }
}
