//! Numbers as people read them.

/// Formats a number with commas between thousands.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats bytes in the largest decimal unit (kB, MB, GB) that gives at least 1.
pub(crate) fn bytes(number: u64) -> String {
    let number = number as f64;
    match number {
        n if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.2} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.2} kB", n / 1e3),
        n => format!("{n} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_thousands_and_decimal_units() {
        assert_eq!(
            [0, 12, 123, 1234, 151_277_313].map(thousands),
            ["0", "12", "123", "1,234", "151,277,313"]
        );
        assert_eq!(
            [7, 1234, 3_558_730, 861_345_000, 4_000_000_000].map(bytes),
            ["7 bytes", "1.23 kB", "3.56 MB", "861.35 MB", "4.00 GB"]
        );
    }
}
