//! The repair of a whole text, after `ftfy.fix_text`.
use std::borrow::Cow;

use super::characters::fix_characters;
use super::entities::unescape_plain;
use super::mojibake::fix_encoding;

/// The most characters that are repaired together; longer lines are cut.
const LONGEST_SEGMENT: usize = 1_000_000;

/// How often a segment is gone over until nothing changes. Each round peels one layer off, and no honest text
/// has more than a few; the bound keeps `&amp;amp;amp;…` from taking quadratic time.
const MOST_ROUNDS: usize = 64;

/// Repairs a text line by line. Entities are decoded until a line with a `<` shows that the text is HTML.
pub(super) fn fix_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_html = false;
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest
                .char_indices()
                .nth(LONGEST_SEGMENT)
                .map_or(rest.len(), |(i, _)| i);
            let (segment, after) = rest.split_at(end);
            is_html |= segment.contains('<');
            out.push_str(&fix_segment(segment, !is_html));
            rest = after;
        }
    }
    out
}

fn fix_segment(segment: &str, decode_entities: bool) -> String {
    let mut text = segment.to_owned();
    for _ in 0..MOST_ROUNDS {
        let unescaped = if decode_entities {
            unescape_plain(&text)
        } else {
            Cow::Borrowed(&*text)
        };
        let fixed = fix_characters(&fix_encoding(&unescaped));
        if fixed == text {
            break;
        }
        text = fixed;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_peeled_off() {
        assert_eq!(fix_text("&amp;amp;eacute;"), "é");
        assert_eq!(fix_text("PÃÂ©rez"), fix_text("PÃ©rez"));
        assert_eq!(fix_text("&Atilde;&copy;t&Atilde;&copy;"), "été");
    }

    #[test]
    fn a_tag_stops_the_decoding_from_its_line_on() {
        assert_eq!(fix_text("&lt;\n<&lt;\n&lt;"), "<\n<&lt;\n&lt;");
    }

    #[test]
    fn deep_nesting_ends() {
        let text = format!("&{}", "amp;".repeat(20_000));
        assert!(fix_text(&text).starts_with("&amp;"));
    }
}
