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

/// Parses a number of bytes: digits, or a number with a unit such as 500kB, 32MiB or 1.5GB.
#[cfg(any(feature = "serve", test))]
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, f64); 10] = [
        ("", 1.0),
        ("b", 1.0),
        ("k", 1024.0),
        ("m", 1048576.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("kib", 1024.0),
        ("mib", 1048576.0),
        ("gib", 1073741824.0),
    ];
    let expected = || format!("expected a number of bytes such as 33554432 or 32MiB, got {text}");
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse() {
        return Ok(number);
    }
    let split = trimmed
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(expected)?;
    let (number, unit) = trimmed.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    let unit = unit.to_ascii_lowercase();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(expected)?;
    let bytes = (number * factor).round();
    if (0.0..=9e15).contains(&bytes) {
        Ok(bytes as usize)
    } else {
        Err(expected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_bytes_with_units() {
        let parsed = [
            "7", "32MiB", "32 mib", "1.5GB", "500kB", "2KiB", "1GiB", "64M", "10B",
        ]
        .map(|text| parse_bytes(text).unwrap());
        assert_eq!(
            parsed,
            [
                7,
                32 << 20,
                32 << 20,
                1_500_000_000,
                500_000,
                2048,
                1 << 30,
                64 << 20,
                10
            ]
        );
        for wrong in ["", "MiB", "1XB", "-1MiB", "1e400B", "32 32", "1 Mi B"] {
            let error = parse_bytes(wrong).unwrap_err();
            assert!(error.contains("such as 33554432 or 32MiB"), "{error}");
        }
    }

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
