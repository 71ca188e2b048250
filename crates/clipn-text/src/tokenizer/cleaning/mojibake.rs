//! Repairs mojibake, UTF-8 that was decoded as a single-byte encoding (`ftfy.fix_encoding`).
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::badness::is_bad;
use super::characters::fix_c1_controls;
use super::codepage::{CODE_PAGES, CodePageKind, is_unassigned_in_windows_1252, windows_1252};

/// Maximum number of layers removed from one text; mojibake gets shorter with each.
const MAX_LAYERS: usize = 64;

/// Repairs mojibake layer by layer while [`is_bad`] detects any.
pub(super) fn fix_encoding(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..MAX_LAYERS {
        match fix_one_layer(&text) {
            Some(fixed) if fixed != text => text = fixed,
            _ => break,
        }
    }
    text
}

/// Removes one layer of mojibake; `None` if [`is_bad`] detects none.
fn fix_one_layer(text: &str) -> Option<String> {
    if !is_bad(text) {
        return None;
    }
    // First the whole text, which is the most reliable: in one of the encodings it must be UTF-8.
    let mut latin1_bytes = None;
    for page in CODE_PAGES.iter() {
        let Some(bytes) = page.encode(text) else {
            continue;
        };
        let restored = restore_bytes(bytes.clone(), page.kind);
        if let Some(fixed) = decode_utf8(restored) {
            return Some(fixed);
        }
        if page.kind == CodePageKind::Latin1 {
            latin1_bytes = Some(bytes);
        }
    }
    // Then the parts of the text that look like UTF-8 by themselves.
    let fixed = decode_inconsistent_utf8(text);
    if fixed != text {
        return Some(fixed);
    }
    // Then Windows-1252 that was decoded as Latin-1.
    if let Some(bytes) = latin1_bytes
        && !bytes.iter().copied().any(is_unassigned_in_windows_1252)
    {
        let fixed: String = bytes
            .iter()
            .map(|&byte| {
                if byte < 0x80 {
                    char::from(byte)
                } else {
                    windows_1252(byte)
                }
            })
            .collect();
        if fixed != text {
            return Some(fixed);
        }
    }
    Some(fix_c1_controls(text))
}

/// Restores UTF-8 bytes that single-byte encodings commonly lose.
fn restore_bytes(bytes: Vec<u8>, kind: CodePageKind) -> Vec<u8> {
    let bytes = if kind == CodePageKind::MacRoman {
        bytes
    } else {
        restore_no_break_spaces(bytes)
    };
    if kind == CodePageKind::Windows {
        replace_lossy_sequences(&bytes)
    } else {
        bytes
    }
}

/// Turns plain spaces back into byte 0xA0 if only that byte completes a UTF-8 sequence
/// (`restore_byte_a0` in ftfy).
fn restore_no_break_spaces(bytes: Vec<u8>) -> Vec<u8> {
    static ALTERED: LazyLock<Regex> = LazyLock::new(|| {
        // First bytes after which the result would be a rare script are not included.
        let sequences = [
            r"[\xc2\xc3\xc5\xce\xd0\xd9] ",
            r"[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]",
            r"[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] ",
            r"\xf0 [\x80-\xbf][\x80-\xbf]",
            r"\xf0[\x80-\xbf] [\x80-\xbf]",
            r"\xf0[\x80-\xbf][\x80-\xbf] ",
        ];
        alternatives(&sequences)
    });
    if !ALTERED.is_match(&bytes) {
        return bytes;
    }
    let bytes = separate_a_grave(&bytes);
    let restored = ALTERED.replace_all(&bytes, |found: &Captures| {
        found[0]
            .iter()
            .map(|&byte| if byte == b' ' { 0xA0 } else { byte })
            .collect::<Vec<u8>>()
    });
    restored.into_owned()
}

/// Inserts byte 0xA0 after the first byte of an `à` whose second byte merged with the space that
/// follows, and keeps the space.
fn separate_a_grave(bytes: &[u8]) -> Vec<u8> {
    // Exceptions: a second space, and the continuations of Portuguese words that begin with `à`.
    const EXCEPTIONS: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let after = bytes.get(i + 2..).unwrap_or_default();
        if bytes[i..].starts_with(b"\xc3 ")
            && !EXCEPTIONS.iter().any(|prefix| after.starts_with(prefix))
        {
            out.extend_from_slice(b"\xc3\xa0 ");
            i += 2;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    out
}

/// Replaces each UTF-8 sequence in which a byte was lost, and became 0x1A or `?`, with one
/// replacement character.
fn replace_lossy_sequences(bytes: &[u8]) -> Vec<u8> {
    static LOSSY: LazyLock<Regex> = LazyLock::new(|| {
        let sequences = [
            r"[\xc2-\xdf]\x1a",
            r"[\xc2-\xc3]\?",
            r"\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]",
            r"\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]",
            r"[\xe0-\xef][\x1a?][\x1a\x80-\xbf]",
            r"[\xe0-\xef][\x1a\x80-\xbf][\x1a?]",
            r"[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]",
            r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]",
            r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]",
            r"\x1a",
        ];
        alternatives(&sequences)
    });
    LOSSY.replace_all(bytes, "\u{FFFD}".as_bytes()).into_owned()
}

fn alternatives(sequences: &[&str]) -> Regex {
    Regex::new(&format!("(?-u){}", sequences.join("|")))
        .expect("the sequences are constants that compile")
}

/// Decodes UTF-8 and two common variants (`utf-8-variants` in ftfy): CESU-8, which encodes a
/// character above U+FFFF as a surrogate pair, and Java's two-byte null character. Returns `None`
/// for anything else.
fn decode_utf8(bytes: Vec<u8>) -> Option<String> {
    if !bytes.iter().any(|byte| matches!(byte, 0xC0 | 0xED)) {
        return String::from_utf8(bytes).ok();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let Some(&first) = rest.first() {
        let used = match *rest {
            [0xC0, 0x80, ..] => {
                out.push(0);
                2
            }
            [
                0xED,
                a @ 0xA0..=0xAF,
                b @ 0x80..=0xBF,
                0xED,
                c @ 0xB0..=0xBF,
                d @ 0x80..=0xBF,
                ..,
            ] => {
                let bits = |byte: u8, mask: u8| u32::from(byte & mask);
                let code_point = (bits(a, 0x0F) << 16
                    | bits(b, 0x3F) << 10
                    | bits(c, 0x0F) << 6
                    | bits(d, 0x3F))
                    + 0x10000;
                out.extend_from_slice(
                    char::from_u32(code_point)?
                        .encode_utf8(&mut [0; 4])
                        .as_bytes(),
                );
                6
            }
            _ => {
                out.push(first);
                1
            }
        };
        rest = &rest[used..];
    }
    String::from_utf8(out).ok()
}

/// Repairs the parts of a text that look like UTF-8 sequences and are bad by themselves.
fn decode_inconsistent_utf8(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let length = if before.is_some_and(|before| UTF8_CLUES.is_strict(before)) {
            0
        } else {
            UTF8_CLUES.run_length(rest)
        };
        let part = if length == 0 {
            &rest[..c.len_utf8()]
        } else {
            &rest[..length]
        };
        // Recurse only into parts shorter than the whole text, so that the recursion terminates.
        if length > 0 && part.len() < text.len() && is_bad(part) {
            out.push_str(&fix_encoding(part));
        } else {
            out.push_str(part);
        }
        before = part.chars().next_back();
        rest = &rest[part.len()..];
    }
    out
}

static UTF8_CLUES: LazyLock<Utf8Clues> = LazyLock::new(Utf8Clues::new);

/// Characters that the bytes of a UTF-8 sequence become when decoded as one of the common code
/// pages.
struct Utf8Clues {
    /// Characters of the first bytes of sequences of two, three and four bytes.
    first: [Vec<char>; 3],
    /// Characters of continuation bytes.
    continuation: Vec<char>,
}

impl Utf8Clues {
    fn new() -> Self {
        let decode = |bytes: &[u8]| {
            let pages = CODE_PAGES.iter().filter(|page| page.has_utf8_clues());
            let mut chars: Vec<char> = pages
                .flat_map(|page| bytes.iter().map(|&byte| page.decode(byte)))
                .collect();
            chars.sort_unstable();
            chars.dedup();
            chars
        };
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        // Of the first bytes of four-byte sequences, only those with assigned characters.
        Self {
            first: [
                decode(&range(0xC2, 0xDF)),
                decode(&range(0xE0, 0xEF)),
                decode(&[0xF0, 0xF3]),
            ],
            continuation: decode(&range(0x80, 0xBF)),
        }
    }

    fn is_continuation(&self, c: char) -> bool {
        // A space may have been byte 0xA0, the no-break space.
        c == ' ' || self.continuation.binary_search(&c).is_ok()
    }

    /// Whether the character is a continuation that is unlikely to be genuine next to mojibake, so
    /// no dash, quotation mark, bullet or ellipsis.
    fn is_strict(&self, c: char) -> bool {
        !matches!(
            c,
            '–' | '—' | '―' | '‘' | '’' | '‚' | '“' | '”' | '„' | '•' | '…'
        ) && self.continuation.binary_search(&c).is_ok()
    }

    /// Length in bytes of the UTF-8-like sequences at the start of the text.
    fn run_length(&self, text: &str) -> usize {
        let mut length = 0;
        loop {
            let mut chars = text[length..].chars();
            let Some(c) = chars.next() else { return length };
            let Some(extra) = self
                .first
                .iter()
                .position(|first| first.binary_search(&c).is_ok())
            else {
                return length;
            };
            for _ in 0..=extra {
                if !chars.next().is_some_and(|c| self.is_continuation(c)) {
                    return length;
                }
            }
            length = text.len() - chars.as_str().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_mojibake() {
        for (text, expected) in [
            ("Ã©tÃ©", "été"),
            ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"),
            ("voilÃ le travail", "voilà le travail"),
            (
                "com especial atenÃ§Ã£o Ã s crianÃ§as",
                "com especial atenção às crianças",
            ),
            ("â€œlossy decodingâ€\u{FFFD}", "“lossy decoding\u{FFFD}"),
            ("UkrsotsbankвЂ™s вЂњB-вЂњ", "Ukrsotsbank’s “B-“"),
            ("Le Vigne di Zam√≤", "Le Vigne di Zamò"),
        ] {
            assert_eq!(fix_encoding(text), expected, "{text}");
        }
    }

    #[test]
    fn keeps_correct_text() {
        for text in [
            "",
            "été",
            "C O N C L U S Ã O",
            "(-1/2)! = √π",
            "├┤a┼┐a┼┐a┼┐a┼┐a",
            "a radius of 10 Å—",
        ] {
            assert_eq!(fix_encoding(text), text);
        }
    }

    #[test]
    fn decodes_utf8_variants() {
        let decode = |bytes: &[u8]| decode_utf8(bytes.to_vec());
        assert_eq!(decode(b"\xed\xa0\xbd\xed\xb8\x8d"), Some("😍".into()));
        assert_eq!(decode(b"a\xc0\x80b"), Some("a\0b".into()));
        assert_eq!(decode(b"\xed\x95\x9c"), Some("한".into()));
        assert_eq!(decode(b"\xed\xa0\xbd"), None);
        assert_eq!(decode(b"\xc0"), None);
        assert_eq!(decode(b"\xff"), None);
    }
}
