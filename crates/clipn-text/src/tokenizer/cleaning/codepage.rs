//! Single-byte encodings that UTF-8 is most often mistaken for.
//!
//! The tables are unicode.org's MAPPINGS, with two differences for the Windows code pages, ftfy's
//! "sloppy" encodings. An unassigned byte maps to the code point of the same value, as in the
//! WHATWG Encoding Standard. Byte 0x1A (SUBSTITUTE) maps to U+FFFD, so that the positions of lost
//! characters are kept.
use std::sync::LazyLock;

/// A single-byte encoding that agrees with ASCII below 0x80.
pub(super) struct CodePage {
    pub(super) kind: CodePageKind,
    /// Characters of bytes 0x80 to 0xFF.
    high: [char; 128],
    /// Inverse of `high`, sorted by character.
    by_char: Vec<(char, u8)>,
}

/// Family of a code page, which selects the repairs that apply to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CodePageKind {
    Latin1,
    /// A Windows code page with unassigned bytes filled in and 0x1A mapped to U+FFFD.
    Windows,
    MacRoman,
    Other,
}

/// Code pages in the order in which they are tried.
pub(super) static CODE_PAGES: LazyLock<Vec<CodePage>> = LazyLock::new(|| {
    TABLES
        .iter()
        .map(|&(kind, table)| {
            // Latin-1 needs no table: its bytes are its code points.
            let mut high = std::array::from_fn(|i| char::from(0x80 + i as u8));
            for (slot, c) in high.iter_mut().zip(table.chars()) {
                *slot = c;
            }
            let mut by_char: Vec<(char, u8)> = high.iter().copied().zip(0x80..=0xFF).collect();
            by_char.sort_unstable();
            CodePage {
                kind,
                high,
                by_char,
            }
        })
        .collect()
});

/// Decodes a byte above 0x7F as Windows-1252, with unassigned bytes filled in.
pub(super) fn windows_1252(byte: u8) -> char {
    CODE_PAGES[1].decode(byte)
}

/// Whether the byte is unassigned in Windows-1252.
pub(super) fn is_unassigned_in_windows_1252(byte: u8) -> bool {
    matches!(byte, 0x81 | 0x8D | 0x8F | 0x90 | 0x9D)
}

impl CodePage {
    /// Encodes the text, or returns `None` if a character is not in the code page.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| self.encode_char(c)).collect()
    }

    fn encode_char(&self, c: char) -> Option<u8> {
        match c {
            '\u{1A}' if self.kind == CodePageKind::Windows => None,
            '\u{FFFD}' if self.kind == CodePageKind::Windows => Some(0x1A),
            '\0'..='\x7F' => Some(c as u8),
            _ => {
                let index = self.by_char.binary_search_by_key(&c, |&(c, _)| c).ok()?;
                Some(self.by_char[index].1)
            }
        }
    }

    /// Decodes one byte.
    pub(super) fn decode(&self, byte: u8) -> char {
        match byte.checked_sub(0x80) {
            Some(i) => self.high[usize::from(i)],
            None if byte == 0x1A && self.kind == CodePageKind::Windows => '\u{FFFD}',
            None => char::from(byte),
        }
    }

    /// Whether mojibake of this code page is common enough for its characters to count as evidence
    /// inside other text (`UTF8_CLUES` in ftfy).
    pub(super) fn has_utf8_clues(&self) -> bool {
        matches!(self.kind, CodePageKind::Latin1 | CodePageKind::Windows)
    }
}

/// Latin-1, Windows-1252, -1251, -1250, -1253, -1254, -1257, ISO 8859-2, Mac Roman, code page 437.
const TABLES: [(CodePageKind, &str); 10] = [
    (CodePageKind::Latin1, ""),
    (
        CodePageKind::Windows,
        "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    ),
    (
        CodePageKind::Windows,
        "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕї\
         АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    ),
    (
        CodePageKind::Windows,
        "€\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż\
         ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    ),
    (
        CodePageKind::Windows,
        "€\u{81}‚ƒ„…†‡\u{88}‰\u{8a}‹\u{8c}\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}\u{9d}\u{9e}\u{9f}\
         \u{a0}΅Ά£¤¥¦§¨©ª«¬\u{ad}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ",
    ),
    (
        CodePageKind::Windows,
        "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}\u{9e}Ÿ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
    ),
    (
        CodePageKind::Windows,
        "€\u{81}‚\u{83}„…†‡\u{88}‰\u{8a}‹\u{8c}¨ˇ¸\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}¯˛\u{9f}\u{a0}¡¢£¤¥¦§Ø©Ŗ«¬\u{ad}®Æ\
         °±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
    ),
    (
        CodePageKind::Other,
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\
         \u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\
         \u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    ),
    (
        CodePageKind::MacRoman,
        "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊\
         ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
    ),
    (
        CodePageKind::Other,
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
         αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_complete_and_invertible() {
        for (&(_, table), page) in TABLES.iter().zip(CODE_PAGES.iter()) {
            assert!(
                matches!(table.chars().count(), 0 | 128),
                "{}",
                table.chars().count()
            );
            for byte in 0..=255 {
                assert_eq!(
                    page.encode(&page.decode(byte).to_string()),
                    Some(vec![byte])
                );
            }
        }
    }

    #[test]
    fn only_windows_code_pages_encode_the_replacement_character() {
        let encodes = |kind, text| {
            let page = CODE_PAGES.iter().find(|page| page.kind == kind).unwrap();
            page.encode(text).is_some()
        };
        assert!(
            encodes(CodePageKind::Windows, "\u{FFFD}")
                && !encodes(CodePageKind::Latin1, "\u{FFFD}")
        );
        assert!(
            !encodes(CodePageKind::Windows, "\u{1A}") && encodes(CodePageKind::Latin1, "\u{1A}")
        );
    }
}
