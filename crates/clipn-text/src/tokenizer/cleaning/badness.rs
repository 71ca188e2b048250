//! Detects mojibake: sequences of characters that hardly ever occur in correct text.
//!
//! The character classes and their combinations are those of `ftfy.badness` 6.3.1, which are
//! derived from real text.
use std::sync::LazyLock;

use regex::Regex;

/// Whether the text probably contains mojibake (`is_bad` in ftfy).
pub(super) fn is_bad(text: &str) -> bool {
    static UNLIKELY: LazyLock<Regex> = LazyLock::new(|| {
        let mut pattern = UNLIKELY_SEQUENCES.join("|");
        for (name, class) in CLASSES {
            pattern = pattern.replace(name, class);
        }
        Regex::new(&pattern).expect("the sequences are constants that compile")
    });
    // Every sequence needs at least one character above ASCII.
    !text.is_ascii() && UNLIKELY.is_match(text)
}

/// Character classes by name, for use inside the brackets of [`UNLIKELY_SEQUENCES`].
const CLASSES: [(&str, &str); 16] = [
    // Common in many contexts; bad only in combination.
    ("{common}", "\u{a0}\u{ad}·´–—―…’"),
    ("{c1}", "\u{80}-\u{9f}"),
    ("{bad}", "¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\u{fffd}ªº"),
    ("{law}", "¶§"),
    ("{money}", "¢£¥₧€"),
    ("{start}", "¡«¿©΄΅‘‚“„•‹\u{f8ff}"),
    ("{end}", "®»˝”›™"),
    ("{numeric}", "²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№"),
    // Letters that occur in kaomoji, next to characters that would otherwise be suspicious.
    ("{face}", "Ò-ÖÙ-Üò-öø-üŐŌŪŲ°"),
    ("{upper}", "À-ÑØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ"),
    ("{lower}", "ßà-ñăąāćčďđęěēėğģįīķĺľłļœŕśşšťüźżžґﬁﬂ"),
    // Whole alphabets, whose letters can end a word where accented Latin letters would be
    // suspicious.
    ("{capital}", "ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я"),
    ("{small}", "α-ωάέήίΰа-џ"),
    ("{box}", "│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓"),
    // White space and word characters as defined by Python's `re`.
    ("{blank}", r"\s\x1c-\x1f"),
    ("{word}", r"\p{L}\p{N}_"),
];

const UNLIKELY_SEQUENCES: [&str; 37] = [
    "[{c1}]",
    "[{bad}{lower}{upper}{box}{start}{end}{money}{numeric}{law}][{bad}]",
    "[a-zA-Z][{small}{capital}][{bad}]",
    "[{bad}][{lower}{upper}{box}{start}{end}{money}{numeric}{law}]",
    "[{lower}{small}{box}{end}{money}{numeric}][{upper}]",
    "[{box}{end}{money}{numeric}][{lower}]",
    "[{lower}{box}{end}][{money}]",
    "[{blank}][{upper}][{money}]",
    "[{upper}{box}][{numeric}{law}]",
    "[{lower}{upper}{box}{money}{end}][{start}][{numeric}]",
    "[{lower}{upper}{money}{numeric}{box}{law}][{end}][{start}]",
    "[{money}{numeric}{box}][{start}]",
    "[a-z][{upper}][{start}{money}]",
    "[{box}][{face}]",
    "[{lower}{upper}{money}{numeric}{start}{end}{law}][{box}]",
    "[{box}][{end}]",
    "[{lower}{upper}][{start}{end}][{word}]",
    // The ligature, unless a plain letter follows.
    "[Œœ][^A-Za-z]",
    "[{upper}]°",
    // Two-byte sequences decoded as Windows-1252.
    "[ÂÃÎÐ][€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»{start}{end}–—´]",
    "×[²³]",
    // Arabic decoded as Windows-1252: two letters in a row.
    "[ØÙ][{common}{money}{bad}{numeric}{start}ŸŠ®°µ»][ØÙ][{common}{money}{bad}{numeric}{start}ŸŠ®°µ»]",
    // South Asian scripts.
    "à[²µ¹¼½¾]",
    // Mac Roman.
    "√[±∂†≠®™´≤≥¥µø]",
    "≈[°¢]",
    "‚Ä[ìîïòôúùû†°¢π]",
    "‚[âó][àä°ê]",
    // Windows-1251.
    "вЂ",
    "[ВГРС][{c1}{bad}{start}{end}{money}°µ][ВГРС]",
    "ГўВЂВ.[A-Za-z ]",
    // à, á and the no-break space.
    "Ã[\u{a0}¡]",
    "[a-z][{blank}]?[ÃÂ] ",
    "^[ÃÂ] ",
    "[a-z.,?!{end}]Â[ {start}{end}]",
    // Windows-1253.
    "β€[™\u{a0}Ά\u{ad}®°]",
    "[ΒΓΞΟ][{c1}{bad}{start}{end}{money}°][ΒΓΞΟ]",
    // Windows-1257.
    "ā€",
];

#[cfg(test)]
mod tests {
    use super::is_bad;

    #[test]
    fn distinguishes_mojibake_from_text() {
        for text in [
            "Ã©tÃ©",
            "voilÃ  le travail",
            "â€œquotesâ€\u{9d}",
            "\u{80}",
            "вЂ™",
            "∂√≤∂†",
            "ā€œ",
        ] {
            assert!(is_bad(text), "{text:?}");
        }
        for text in [
            "",
            "plain",
            "été",
            "naïve café",
            "ПРИВЕТ мир",
            "¡Hola!",
            "(°□°)",
            "AHÅ™, the new sofa from IKEA",
        ] {
            assert!(!is_bad(text), "{text:?}");
        }
    }
}
