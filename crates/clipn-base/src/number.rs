//! Numbers for people: few digits, but none that rounds away what it says.

/// Formats a number with some decimals. If they would round it to 0, 1 or −1, it has significant digits of
/// its own, or of its difference from 1 or −1: scores saturate there, and thresholds lie between them. There are 1 to 17
/// decimals; more than an f64 has would be zeros.
///
/// ```
/// use clipn_base::number::decimals;
///
/// assert_eq!(decimals(0.25, 4), "0.2500");
/// assert_eq!(decimals(0.000_012, 4), "1.20e-5");
/// assert_eq!(decimals(0.999_99, 3), "1 - 1.0e-5");
/// ```
pub fn decimals(value: f64, digits: usize) -> String {
    let digits = digits.clamp(1, 17);
    let unit = 10.0_f64.powi(-(digits as i32));
    let significant = digits.saturating_sub(2);
    let magnitude = value.abs();
    if magnitude > 0.0 && magnitude < unit {
        return format!("{value:.significant$e}");
    }
    let excess = magnitude - 1.0;
    if excess != 0.0 && excess.abs() < unit / 2.0 {
        let one = 1.0_f64.copysign(value);
        let difference = value - one;
        let sign = if difference < 0.0 { '-' } else { '+' };
        return format!("{one} {sign} {:.significant$e}", difference.abs());
    }
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_near_0_and_1_keep_their_precision() {
        for (value, expected) in [
            (0.0, "0.000"),
            (0.25, "0.250"),
            (0.000_012, "1.2e-5"),
            (0.999_99, "1 - 1.0e-5"),
            (1.0, "1.000"),
            (1.000_3, "1 + 3.0e-4"),
            (-0.000_012, "-1.2e-5"),
            (-0.999_99, "-1 + 1.0e-5"),
            (-1.0, "-1.000"),
            (-1.000_3, "-1 - 3.0e-4"),
            (-12.5, "-12.500"),
            (23.456, "23.456"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(decimals(value, 3), expected, "{value}");
        }
        // More than an f64 has, and none.
        assert_eq!(decimals(1.5, 70_000), decimals(1.5, 17));
        assert_eq!(decimals(0.25, 0), "0.2");
    }
}
