//! HTML entities, decoded either completely, like a browser, or only if unambiguous, like
//! `ftfy.fix_text`.
use std::borrow::Cow;

use html_escape::NAMED_ENTITIES;

use super::codepage::windows_1252;

/// Decodes entities like Python's `html.unescape` and the HTML5 standard: with or without the
/// closing semicolon, even if the name is only the prefix of a longer word.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    replace_entities(text, |rest| {
        if let Some(number) = rest.strip_prefix('#') {
            return decode_number(number).map(|(value, length)| (value, 1 + length));
        }
        let name = &rest[..name_length(rest)];
        decode_name(name).map(|(value, length)| (value.into(), length))
    })
}

/// Decodes unambiguous entities only: names and numbers that end in a semicolon, and names in
/// capitals whose character has an upper-case form.
pub(super) fn unescape_unambiguous(text: &str) -> Cow<'_, str> {
    replace_entities(text, |rest| {
        let body = rest.strip_prefix('#').unwrap_or(rest);
        let length = body
            .bytes()
            .take(25)
            .take_while(u8::is_ascii_alphanumeric)
            .count();
        if !(1..=24).contains(&length) || body.as_bytes().get(length) != Some(&b';') {
            return None;
        }
        let whole = rest.len() - body.len() + length + 1;
        if body.len() == rest.len() {
            let name = &body[..length];
            let value = match lookup(name) {
                Some(value) => value.into(),
                None => decode_capitals(name)?,
            };
            return Some((value, whole));
        }
        // Keep a reference that does not end at the semicolon or that encodes a semicolon.
        let (value, used) = decode_number(body)?;
        (used == length + 1 && value != ";").then_some((value, whole))
    })
}

/// Calls `decode` with the text after each `&`; it returns the replacement and the number of bytes
/// after the `&` that it replaces.
fn replace_entities(text: &str, decode: impl Fn(&str) -> Option<(String, usize)>) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find('&') {
        let start = from + found;
        from = start + 1;
        if let Some((value, length)) = decode(&text[from..]) {
            out.push_str(&text[copied..start]);
            out.push_str(&value);
            from += length;
            copied = from;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Decodes a reference of the form `digits…`, `xdigits…` or `Xdigits…`; returns the character and
/// the length of the reference in bytes.
fn decode_number(reference: &str) -> Option<(String, usize)> {
    let (radix, digits) = match reference.strip_prefix(['x', 'X']) {
        Some(digits) => (16, digits),
        None => (10, reference),
    };
    let count = digits
        .bytes()
        .take_while(|&byte| char::from(byte).is_digit(radix))
        .count();
    if count == 0 {
        return None;
    }
    let closed = digits.as_bytes().get(count) == Some(&b';');
    let length = reference.len() - digits.len() + count + usize::from(closed);
    // A number that overflows is beyond Unicode as well.
    let number = u32::from_str_radix(&digits[..count], radix).unwrap_or(u32::MAX);
    let value = match number {
        0 => "\u{FFFD}".to_owned(),
        0x80..=0x9F => windows_1252(number as u8).to_string(),
        _ => match char::from_u32(number) {
            None => "\u{FFFD}".to_owned(),
            Some(c) if is_invalid_code_point(c) => String::new(),
            Some(c) => c.to_string(),
        },
    };
    Some((value, length))
}

/// Whether HTML5 counts the code point as an error, so that the reference is dropped.
fn is_invalid_code_point(c: char) -> bool {
    let is_control = matches!(c, '\u{1}'..='\u{8}' | '\u{B}' | '\u{E}'..='\u{1F}' | '\u{7F}');
    let is_noncharacter = matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE;
    is_control || is_noncharacter
}

/// Length in bytes of a possible entity name: up to 32 characters other than white space, `<`, `&`,
/// `#` and `;`, and a semicolon if one follows.
fn name_length(rest: &str) -> usize {
    let stops = |c| matches!(c, '\t' | '\n' | '\u{C}' | ' ' | '<' | '&' | '#' | ';');
    let length = rest
        .char_indices()
        .take(32)
        .take_while(|&(_, c)| !stops(c))
        .map(|(i, c)| i + c.len_utf8())
        .last();
    match length {
        None => 0,
        Some(length) => length + usize::from(rest.as_bytes().get(length) == Some(&b';')),
    }
}

/// Decodes a name, or else its longest prefix that is valid without a semicolon.
fn decode_name(name: &str) -> Option<(&'static str, usize)> {
    if let Some(value) = name.strip_suffix(';').and_then(lookup) {
        return Some((value, name.len()));
    }
    let longest = SEMICOLON_OPTIONAL
        .iter()
        .filter(|prefix| name.starts_with(**prefix))
        .max_by_key(|prefix| prefix.len());
    longest.and_then(|prefix| Some((lookup(prefix)?, prefix.len())))
}

/// Value of a name (without its closing semicolon).
fn lookup(name: &str) -> Option<&'static str> {
    let index = NAMED_ENTITIES
        .binary_search_by(|(known, _)| (*known).cmp(name.as_bytes()))
        .ok()?;
    Some(NAMED_ENTITIES[index].1)
}

/// Decodes a name in capitals such as `EACUTE` to `É`: the upper-case form of the lower-case name's
/// character, unless the name has another meaning.
fn decode_capitals(name: &str) -> Option<String> {
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) || decode_name(name).is_some() {
        return None;
    }
    lookup(&name.to_ascii_lowercase()).map(str::to_uppercase)
}

/// Names that HTML5 accepts without a semicolon.
const SEMICOLON_OPTIONAL: [&str; 106] = [
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil",
    "ETH", "Eacute", "Ecirc", "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT",
    "Ntilde", "Oacute", "Ocirc", "Ograve", "Oslash", "Otilde", "Ouml", "QUOT", "REG", "THORN",
    "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute", "acirc", "acute", "aelig", "agrave",
    "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent", "copy", "curren", "deg",
    "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt",
    "iacute", "icirc", "iexcl", "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro",
    "middot", "nbsp", "not", "ntilde", "oacute", "ocirc", "ograve", "ordf", "ordm", "oslash",
    "otilde", "ouml", "para", "plusmn", "pound", "quot", "raquo", "reg", "sect", "shy", "sup1",
    "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc", "ugrave", "uml", "uuml",
    "yacute", "yen", "yuml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tables_are_sorted_and_consistent() {
        assert!(NAMED_ENTITIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(SEMICOLON_OPTIONAL.iter().all(|name| lookup(name).is_some()));
    }

    #[test]
    fn unescape_decodes_like_a_browser() {
        for (text, expected) in [
            ("&amp;&lt&gt;", "&<>"),
            ("&notanentity; &notin; &notit;", "¬anentity; ∉ ¬it;"),
            ("&#65;&#x42;&#X43", "ABC"),
            (
                "&#0;&#xD800;&#x110000;&#99999999999999999999;",
                "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}",
            ),
            ("&#128;&#x85;&#1;&#xFFFE;|", "€…|"),
            ("& &; &# &#; &#x; &unknown;", "& &; &# &#; &#x; &unknown;"),
            ("&&amp;&", "&&&"),
            ("&é;&ampé", "&é;&é"),
            ("&NotEqualTilde;", "≂̸"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn unescape_unambiguous_decodes_unambiguous_entities_only() {
        for (text, expected) in [
            ("&amp; &amp &notin;", "& &amp ∉"),
            (
                "P&EACUTE;REZ &nTILDE; &SZLIG; &AMPLE;",
                "PÉREZ &nTILDE; SS &AMPLE;",
            ),
            ("&#65; &#65 &#59; &#6a; &#x6a;", "A &#65 &#59; &#6a; j"),
            ("&#1;|", "|"),
            (
                "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;",
                "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;",
            ),
        ] {
            assert_eq!(unescape_unambiguous(text), expected, "{text}");
        }
    }
}
