//! Spelling of class names and the singular of regular plurals.

/// Spells a name as the word list does: lower case, single blanks instead of underscores and white
/// space, no remark in parentheses at the end, plain apostrophes.
pub(super) fn normalize(name: &str) -> String {
    let name = name.trim();
    let name = match name.rsplit_once('(') {
        Some((before, remark)) if remark.ends_with(')') && !before.trim().is_empty() => before,
        _ => name,
    };
    let lower = name.to_lowercase().replace(['’', '‘'], "'");
    let words = lower.split(|c: char| c == '_' || c.is_whitespace());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Endings of plurals and their singular: the rules of detachment for nouns of WordNet's
/// `morphy(7WN)`.
const DETACHMENTS: [(&str, &str); 8] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
];

/// Possible singulars of a normalized name. Like in `morphy`, words of two letters and words that
/// end with `ss` are no plurals.
pub(super) fn singulars(name: &str) -> impl Iterator<Item = String> {
    let is_singular = name.ends_with("ss") || name.rsplit(' ').next().is_some_and(|w| w.len() < 3);
    DETACHMENTS
        .iter()
        .filter(move |_| !is_singular)
        .filter_map(move |(plural, singular)| {
            let stem = name.strip_suffix(plural)?;
            (!stem.is_empty() && !stem.ends_with(' ')).then(|| format!("{stem}{singular}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_case_blanks_remarks_and_apostrophes() {
        for (name, expected) in [
            ("Great_White  Shark ", "great white shark"),
            ("kite (bird of prey)", "kite"),
            ("(unknown)", "(unknown)"),
            ("a (b) c", "a (b) c"),
            ("Lady’s slipper", "lady's slipper"),
            ("", ""),
        ] {
            assert_eq!(normalize(name), expected);
        }
    }

    #[test]
    fn detaches_plural_endings() {
        let all = |name| singulars(name).collect::<Vec<_>>();
        assert_eq!(all("dogs"), ["dog"]);
        assert_eq!(all("buses"), ["buse", "bus"]);
        assert_eq!(all("fire trucks"), ["fire truck"]);
        assert_eq!(all("ponies"), ["ponie", "pony"]);
        assert_eq!(all("policemen"), ["policeman"]);
        assert!(all("glass").is_empty() && all("as").is_empty() && all("a men").is_empty());
    }
}
