/// Computes e^x in `f32`, rounded from an `f64` result whose relative error is below 1e-11, so that it
/// is the float closest to e^x in all but about one case in 5,000. Overflow is infinite, underflow
/// gradual, and NaN stays NaN.
///
/// It has no branches or library calls, so that the compiler vectorizes loops over it, and no fused
/// operations, so that all SIMD levels give the same bits.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5·2^52 rounds to an integer and leaves it in the low bits of the sum.
    const ROUND: f64 = 6_755_399_441_055_744.0;

    // Comparisons instead of f64::max and f64::min, which would drop NaN. The bounds are beyond the
    // least and the greatest f32.
    let x = f64::from(x);
    let x = if x < -110.0 { -110.0 } else { x };
    let x = if x > 90.0 { 90.0 } else { x };
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let r = x - (rounded - ROUND) * std::f64::consts::LN_2;
    // Taylor series: |r| ≤ ln 2 / 2, so the first omitted term is below 7e-12.
    let series = 1.0 / 362_880.0;
    let series = series * r + 1.0 / 40_320.0;
    let series = series * r + 1.0 / 5_040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    // The shift leaves the integer alone in the bits of the exponent.
    f64::from_bits(series.to_bits().wrapping_add(rounded.to_bits() << 52)) as f32
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn is_the_closest_float_but_for_rare_neighbors() {
        let inputs = (-1_050_000..890_000).map(|i| i as f32 * 1e-4);
        let (mut count, mut neighbors) = (0, 0);
        for x in inputs {
            let closest = f64::from(x).exp() as f32;
            let distance = exp(x).to_bits().abs_diff(closest.to_bits());
            assert!(distance <= 1, "exp({x}) = {} instead of {closest}", exp(x));
            count += 1;
            neighbors += distance;
        }
        assert!(neighbors * 5_000 < count, "{neighbors} of {count}");
    }

    #[test]
    fn extremes_are_those_of_the_library() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(-103.0), f32::from_bits(1));
        assert!(exp(f32::NAN).is_nan());
    }
}
