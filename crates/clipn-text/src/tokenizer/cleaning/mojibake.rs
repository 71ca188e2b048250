//! Undoing mojibake: UTF-8 that was read as a single-byte encoding.
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::badness::is_bad;
use super::characters::fix_c1_controls;
use super::codepage::{CODE_PAGES, Kind, is_hole_of_windows_1252, windows_1252};

/// How often one text is taken through the repair; mojibake shrinks with each layer taken off.
const MOST_LAYERS: usize = 64;

/// Undoes mojibake, layer by layer, as long as the text looks bad.
pub(super) fn fix_encoding(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..MOST_LAYERS {
        match fix_one_layer(&text) {
            Some(fixed) if fixed != text => text = fixed,
            _ => break,
        }
    }
    text
}

/// The text with one layer of mojibake undone, or `None` when there is nothing to do.
fn fix_one_layer(text: &str) -> Option<String> {
    if !is_bad(text) {
        return None;
    }
    // First the whole text, which is the surest: it must be UTF-8 in one of the encodings.
    let mut is_latin1 = None;
    for page in CODE_PAGES.iter() {
        let Some(bytes) = page.encode(text) else {
            continue;
        };
        let restored = restore(bytes.clone(), page.kind);
        if let Some(fixed) = decode_utf8(restored) {
            return Some(fixed);
        }
        if page.kind == Kind::Latin1 {
            is_latin1 = Some(bytes);
        }
    }
    // Then the parts that look like UTF-8 by themselves.
    let fixed = fix_parts(text);
    if fixed != text {
        return Some(fixed);
    }
    // Then Windows-1252 that was read as Latin-1.
    if let Some(bytes) = is_latin1
        && !bytes.iter().copied().any(is_hole_of_windows_1252)
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

/// Puts back what commonly gets lost from UTF-8 on its way through a single-byte encoding.
fn restore(bytes: Vec<u8>, kind: Kind) -> Vec<u8> {
    let bytes = if kind == Kind::MacRoman {
        bytes
    } else {
        restore_no_break_spaces(bytes)
    };
    if kind == Kind::Windows {
        mark_lost_characters(&bytes)
    } else {
        bytes
    }
}

/// Byte 0xA0 that became a plain space, in places where only it makes sense.
fn restore_no_break_spaces(bytes: Vec<u8>) -> Vec<u8> {
    static ALTERED: LazyLock<Regex> = LazyLock::new(|| {
        // After some first bytes the result would be a rare script, and is not restored.
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

/// `à` that took the space after it for its own second byte: the byte is put in, and the space kept.
fn separate_a_grave(bytes: &[u8]) -> Vec<u8> {
    // The beginnings that speak for Portuguese, where `à` is part of a longer word, and a second space.
    const PART_OF_WORD: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let after = bytes.get(i + 2..).unwrap_or_default();
        if bytes[i..].starts_with(b"\xc3 ")
            && !PART_OF_WORD.iter().any(|part| after.starts_with(part))
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

/// Sequences in which a character was lost, as byte 0x1A or `?`, become one replacement character.
fn mark_lost_characters(bytes: &[u8]) -> Vec<u8> {
    static LOST: LazyLock<Regex> = LazyLock::new(|| {
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
    LOST.replace_all(bytes, "\u{FFFD}".as_bytes()).into_owned()
}

fn alternatives(sequences: &[&str]) -> Regex {
    Regex::new(&format!("(?-u){}", sequences.join("|")))
        .expect("the sequences are constants that compile")
}

/// Decodes UTF-8, and its common variants where a character above U+FFFF is a pair of encoded surrogates
/// (CESU-8) and the null character two bytes (Java); `None` for anything else.
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
                let number = (bits(a, 0x0F) << 16
                    | bits(b, 0x3F) << 10
                    | bits(c, 0x0F) << 6
                    | bits(d, 0x3F))
                    + 0x10000;
                out.extend_from_slice(char::from_u32(number)?.encode_utf8(&mut [0; 4]).as_bytes());
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

/// Undoes mojibake in those parts of a text that look like UTF-8 sequences and are bad by themselves.
fn fix_parts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let length = if before.is_some_and(|before| CLUES.is_strict(before)) {
            0
        } else {
            CLUES.run_length(rest)
        };
        let part = if length == 0 {
            &rest[..c.len_utf8()]
        } else {
            &rest[..length]
        };
        // Only parts shorter than the whole, so that this ends.
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

static CLUES: LazyLock<Clues> = LazyLock::new(Clues::new);

/// Which characters the bytes of a UTF-8 sequence turn into when they are read as one of the common code
/// pages.
struct Clues {
    /// First bytes of sequences of two, three and four.
    first: [Vec<char>; 3],
    continuation: Vec<char>,
}

impl Clues {
    fn new() -> Self {
        let read = |bytes: &[u8]| {
            let pages = CODE_PAGES.iter().filter(|page| page.gives_clues());
            let mut chars: Vec<char> = pages
                .flat_map(|page| bytes.iter().map(|&byte| page.decode(byte)))
                .collect();
            chars.sort_unstable();
            chars.dedup();
            chars
        };
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        // Of the first bytes of four, only those with assigned characters.
        Self {
            first: [
                read(&range(0xC2, 0xDF)),
                read(&range(0xE0, 0xEF)),
                read(&[0xF0, 0xF3]),
            ],
            continuation: read(&range(0x80, 0xBF)),
        }
    }

    fn is_continuation(&self, c: char) -> bool {
        // A space may have been a no-break space.
        c == ' ' || self.continuation.binary_search(&c).is_ok()
    }

    /// A continuation that hardly stands for itself next to mojibake: no dash, quotation mark, bullet or
    /// ellipsis.
    fn is_strict(&self, c: char) -> bool {
        !matches!(
            c,
            '–' | '—' | '―' | '‘' | '’' | '‚' | '“' | '”' | '„' | '•' | '…'
        ) && self.continuation.binary_search(&c).is_ok()
    }

    /// The length in bytes of the UTF-8-like sequences that the text begins with.
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
    fn mojibake_is_undone() {
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
    fn what_is_meant_stays() {
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
    fn variants_of_utf8_are_read() {
        let read = |bytes: &[u8]| decode_utf8(bytes.to_vec());
        assert_eq!(read(b"\xed\xa0\xbd\xed\xb8\x8d"), Some("😍".into()));
        assert_eq!(read(b"a\xc0\x80b"), Some("a\0b".into()));
        assert_eq!(read(b"\xed\x95\x9c"), Some("한".into()));
        assert_eq!(read(b"\xed\xa0\xbd"), None);
        assert_eq!(read(b"\xc0"), None);
        assert_eq!(read(b"\xff"), None);
    }
}
