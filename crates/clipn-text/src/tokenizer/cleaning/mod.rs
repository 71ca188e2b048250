//! Text cleaning of CLIP's tokenizer before it splits a text into words: mojibake repair (ftfy),
//! HTML entities, white space, case.
//!
//! This is a port of ftfy 6.3.1 rather than a dependency on an existing Rust port. The existing
//! port follows an older ftfy, ignores one rule and can slice inside a character.
mod badness;
mod characters;
mod codepage;
mod entities;
mod fix;
mod mojibake;

use std::borrow::Cow;

use entities::unescape;
use fix::fix_text;

/// Cleans a text like the published tokenizer: repairs broken Unicode, decodes HTML entities twice,
/// strips and collapses white space, and converts to lower case by Unicode's rules.
///
/// The repair follows `ftfy.fix_text` 6.3.1 with its defaults (Robyn Speer, "ftfy: fixes text for
/// you", Zenodo, <https://doi.org/10.5281/zenodo.2591652>), and the decoding follows Python's
/// `html.unescape`.
///
/// ```
/// use clipn_text::tokenizer::clean;
///
/// assert_eq!(clean("  A photo of a cafÃ© &amp;amp; more "), "a photo of a café & more");
/// ```
pub fn clean(text: &str) -> String {
    let fixed = if is_plain(text) {
        Cow::Borrowed(text)
    } else {
        let fixed = fix_text(text);
        Cow::Owned(unescape(&unescape(&fixed)).into_owned())
    };
    collapse_white_space(&fixed).to_lowercase()
}

/// Whether neither the repair nor the decoding can change the text: ASCII without `&` and without
/// control characters other than white space. Nearly every prompt and caption is such a text.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | 0x0C | b'\r') && byte != b'&')
}

/// Joins the words of a text by single spaces.
fn collapse_white_space(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_path_agrees_with_the_full_repair() {
        for text in ["", " ", "A b\r\n\tC ", "x<b>y</b> \u{c} z", "~!@#$%^*()_+"] {
            assert!(is_plain(text));
            assert_eq!(
                collapse_white_space(text),
                collapse_white_space(&fix_text(text)),
                "{text:?}"
            );
        }
        for text in ["é", "a&b", "a\u{1b}[1mb", "a\u{7f}b", "a\0b"] {
            assert!(!is_plain(text), "{text:?}");
        }
    }

    #[test]
    fn lower_case_follows_unicode() {
        assert_eq!(clean("ΟΔΟΣ ΟΔΟΣ."), "οδος οδος.");
        assert_eq!(clean("İ"), "i\u{307}");
        assert_eq!(clean("ẞ"), "ß");
    }

    #[test]
    fn entities_are_decoded_through_several_layers() {
        assert_eq!(clean("a &amp;amp;amp;amp; b"), "a & b");
        // A literal `<` means that the text is HTML: the repair then keeps entities, and only the
        // two decodings remain.
        assert_eq!(clean("< &amp;amp;amp; b"), "< &amp; b");
    }
}
