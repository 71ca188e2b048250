/// Computes e^x in f32 within 2 units in the last place for x in [−87.3, 88.3], clamping other x
/// and propagating NaN.
///
/// It has no branches or library calls, so that the compiler vectorizes loops over it.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5·2^23 rounds to an integer and leaves it in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 split in two (Cody–Waite): the high part has enough trailing zeros that its product with
    // an integer is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    // Comparisons instead of f32::max and f32::min, which would drop NaN.
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.3 { 88.3 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    // Taylor series: |r| ≤ ln 2 / 2, so the first omitted term is below 6e-9.
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    let exponent = rounded
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    series * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn is_within_a_few_units_in_the_last_place() {
        let worst = (-872_000..883_000)
            .map(|i| i as f32 * 1e-4)
            .map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 2.5e-7, "{worst:e}");
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays_nan() {
        assert!(exp(-1e9) < 1.3e-38 && exp(1e9).is_finite() && exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }
}
