//! Repair of a whole text, a port of `ftfy.fix_text`.
use std::borrow::Cow;

use super::characters::fix_characters;
use super::entities::unescape_unambiguous;
use super::mojibake::fix_encoding;

/// Maximum number of characters repaired together; longer lines are split.
const MAX_SEGMENT_LENGTH: usize = 1_000_000;

/// Maximum number of passes over a segment, which otherwise stop when nothing changes. Each pass
/// removes one layer, and ordinary text has only a few; the limit keeps `&amp;amp;amp;…` from
/// taking quadratic time.
const MAX_PASSES: usize = 64;

/// Repairs a text line by line. Entities are decoded up to the first line that contains a `<`,
/// which indicates HTML.
pub(super) fn fix_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_html = false;
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest
                .char_indices()
                .nth(MAX_SEGMENT_LENGTH)
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
    for _ in 0..MAX_PASSES {
        let unescaped = if decode_entities {
            unescape_unambiguous(&text)
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
    fn removes_several_layers() {
        assert_eq!(fix_text("&amp;amp;eacute;"), "é");
        assert_eq!(fix_text("PÃÂ©rez"), fix_text("PÃ©rez"));
        assert_eq!(fix_text("&Atilde;&copy;t&Atilde;&copy;"), "été");
    }

    #[test]
    fn a_tag_stops_entity_decoding_from_its_line_on() {
        assert_eq!(fix_text("&lt;\n<&lt;\n&lt;"), "<\n<&lt;\n&lt;");
    }

    #[test]
    fn deep_nesting_terminates() {
        let text = format!("&{}", "amp;".repeat(20_000));
        assert!(fix_text(&text).starts_with("&amp;"));
    }
}
