//! Telling mojibake from text that is meant: pairs and triples of characters that hardly any text holds on
//! purpose.
//!
//! The classes and the combinations are those of ftfy 6.3.1, which found them on real text.
use std::sync::LazyLock;

use regex::Regex;

/// Whether the text looks as if it held mojibake.
pub(super) fn is_bad(text: &str) -> bool {
    static UNLIKELY: LazyLock<Regex> = LazyLock::new(|| {
        let mut pattern = UNLIKELY_SEQUENCES.join("|");
        for (name, class) in CLASSES {
            pattern = pattern.replace(name, class);
        }
        Regex::new(&pattern).expect("the sequences are constants that compile")
    });
    // All classes that open a sequence, or must stand in it, lie above ASCII.
    !text.is_ascii() && UNLIKELY.is_match(text)
}

/// Names that stand for characters, inside the brackets of [`UNLIKELY_SEQUENCES`].
const CLASSES: [(&str, &str); 16] = [
    // In many contexts; bad only together with others.
    ("{common}", "\u{a0}\u{ad}·´–—―…’"),
    ("{c1}", "\u{80}-\u{9f}"),
    ("{bad}", "¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\u{fffd}ªº"),
    ("{law}", "¶§"),
    ("{money}", "¢£¥₧€"),
    ("{start}", "¡«¿©΄΅‘‚“„•‹\u{f8ff}"),
    ("{end}", "®»˝”›™"),
    ("{numeric}", "²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№"),
    // Letters that make faces, and may stand in odd company.
    ("{face}", "Ò-ÖÙ-Üò-öø-üŐŌŪŲ°"),
    ("{upper}", "À-ÑØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ"),
    ("{lower}", "ßà-ñăąāćčďđęěēėğģįīķĺľłļœŕśşšťüźżžґﬁﬂ"),
    // Whole alphabets, which end words where accented letters would be suspicious.
    ("{capital}", "ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я"),
    ("{small}", "α-ωάέήίΰа-џ"),
    ("{box}", "│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓"),
    // White space and word characters as Python's `re` counts them.
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
    // The ligature, where no plain letter follows.
    "[Œœ][^A-Za-z]",
    "[{upper}]°",
    // Two bytes read as Windows-1252.
    "[ÂÃÎÐ][€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»{start}{end}–—´]",
    "×[²³]",
    // Arabic read as Windows-1252: two letters in a row.
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
    fn mojibake_is_told_from_text() {
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
