//! HTML escaping and number formatting.

use clipn_base::count::noun;
use html_escape::encode_safe;

/// Escapes text for any element or quoted attribute of the page. Control characters and characters
/// that change the text direction are shown as `�`.
pub(super) fn escape(raw: impl AsRef<str>) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown: String = raw
        .as_ref()
        .chars()
        .map(|c| if hidden(c) { '\u{fffd}' } else { c })
        .collect();
    encode_safe(&shown).into_owned()
}

/// Formats a fraction as per cent with two decimals, as in the published tables.
pub(super) fn format_percent(fraction: f64) -> String {
    format!("{:.2}", 100.0 * fraction)
}

/// Formats a score with about four significant digits.
pub(super) fn format_score(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (0.001..10_000.0).contains(&size) {
        let decimals = if size >= 100.0 {
            1
        } else if size >= 10.0 {
            2
        } else {
            3
        };
        format!("{value:.decimals$}").replace('-', "\u{2212}")
    } else {
        format!("{value:.2e}").replace('-', "\u{2212}")
    }
}

/// Formats a count with narrow no-break spaces between thousands.
pub(super) fn format_count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Formats a number of images: `1 image`, `2 images`.
pub(super) fn format_images(value: usize) -> String {
    format!("{} {}", format_count(value), noun(&value, "image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_and_control_characters() {
        let escaped = escape("<script>\"x\" & 'y'</script>\u{202e}\n");
        assert!(
            !escaped.contains(['<', '>', '"', '\'', '\u{202e}', '\n']),
            "{escaped}"
        );
        assert!(
            escaped.starts_with("&lt;script&gt;&quot;x&quot; &amp; "),
            "{escaped}"
        );
        assert_eq!(escape("Grüße, 猫"), "Grüße, 猫");
    }

    #[test]
    fn formats_numbers_briefly() {
        for (value, shown) in [
            (0.0, "0.000"),
            (0.5, "0.500"),
            (-12.345, "\u{2212}12.35"),
            (1234.5, "1234.5"),
            (1e-7, "1.00e\u{2212}7"),
            (12_345.0, "1.23e4"),
        ] {
            assert_eq!(format_score(value), shown);
        }
        assert_eq!(
            (
                format_count(999),
                format_count(1000),
                format_count(1_234_567)
            )
                .1,
            "1\u{202f}000"
        );
        assert_eq!(format_count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (format_images(1), format_images(2)),
            ("1 image".to_owned(), "2 images".to_owned())
        );
    }
}
