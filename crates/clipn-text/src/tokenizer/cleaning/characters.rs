//! Repairs of single characters: ligatures, character widths, quotes, line breaks, control
//! characters.
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::codepage::windows_1252;

/// Replaces C1 control characters with the Windows-1252 characters of the same bytes, as browsers
/// do.
pub(super) fn fix_c1_controls(text: &str) -> String {
    text.chars()
        .map(|c| {
            if matches!(c, '\u{80}'..='\u{9F}') {
                windows_1252(c as u8)
            } else {
                c
            }
        })
        .collect()
}

/// Applies all repairs of single characters in ftfy's order: C1 controls, ligatures, widths,
/// quotes, line breaks, terminal escapes, control characters, composition (NFC).
pub(super) fn fix_characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in fix_c1_controls(text).chars() {
        match ligature(c) {
            Some(letters) => out.push_str(letters),
            None => push_width(c, &mut out),
        }
    }
    let out: String = out.chars().map(straighten_quote).collect();
    let out = fix_line_breaks(&out);
    let out = remove_terminal_escapes(&out);
    out.chars()
        .filter(|&c| !is_unwanted_control(c))
        .nfc()
        .collect()
}

/// Letters of a Latin ligature, which exists for typographic reasons or for compatibility with old
/// encodings.
fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

/// Appends a character, with full-width and half-width forms replaced by the standard ones.
fn push_width(c: char, out: &mut String) {
    match c {
        '\u{3000}' => out.push(' '),
        '\u{FF01}'..='\u{FFEF}' => out.extend(std::iter::once(c).nfkc()),
        _ => out.push(c),
    }
}

fn straighten_quote(c: char) -> char {
    match c {
        '\u{2BC}' | '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        _ => c,
    }
}

fn fix_line_breaks(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n")
}

/// Removes the escape sequences that color text in a terminal.
fn remove_terminal_escapes(text: &str) -> String {
    static ESCAPES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\x1b\[[\d;]*[a-zA-Z]").expect("the escape pattern is a constant that compiles")
    });
    if !text.contains('\u{1B}') {
        return text.to_owned();
    }
    ESCAPES.replace_all(text, "").into_owned()
}

/// Whether a control character has no effect on text. White space, joiners and directional marks
/// have one.
fn is_unwanted_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}'
            | '\u{B}'
            | '\u{E}'..='\u{1F}'
            | '\u{7F}'
            | '\u{206A}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFC}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_characters() {
        for (text, expected) in [
            ("ﬂuﬃeﬆ", "fluffiest"),
            ("ŉ", "'n"),
            (
                "ＬＯＵＤ　ＮＯＩＳＥＳ Ｕﾀｰﾝ ￥￡",
                "LOUD NOISES Uターン ¥£",
            ),
            ("“a” ‘b’ ‟c‛", "\"a\" 'b' \"c'"),
            ("1\r\n2\r3\u{2028}4\u{2029}5", "1\n2\n3\n4\n5"),
            ("\u{1b}[36;44mblue\u{1b}[0m \u{1b}x", "blue x"),
            ("a\0\u{1F}\u{FEFF}\u{FFFC}b\u{200D}c\t", "ab\u{200D}c\t"),
            ("e\u{301} \u{212B}", "é Å"),
            ("\u{85}\u{93}x\u{94}\u{81}", "…\"x\"\u{81}"),
        ] {
            assert_eq!(fix_characters(text), expected, "{text:?}");
        }
    }
}
