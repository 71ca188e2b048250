//! Numbers of things in words.

use std::borrow::Cow;
use std::fmt;

/// A number with its noun, in the singular for 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a, N> {
    number: N,
    singular: &'a str,
}

/// A number with its noun, which is in the singular for 1.
///
/// ```
/// use clipn_base::count::count;
///
/// assert_eq!(count(1, "image").to_string(), "1 image");
/// assert_eq!(count(2, "class").to_string(), "2 classes");
/// ```
pub fn count<N>(number: N, singular: &str) -> Count<'_, N> {
    Count { number, singular }
}

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Count<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = noun(&self.number, self.singular);
        write!(f, "{} {noun}", self.number)
    }
}

/// The noun for a number that is written in another form: `singular` for 1, else its plural, by the rules of
/// English for regular nouns.
///
/// ```
/// use clipn_base::count::noun;
///
/// assert_eq!(noun(&1, "batch"), "batch");
/// assert_eq!(noun(&60_000, "batch"), "batches");
/// ```
pub fn noun<'a, N: PartialEq + From<u8>>(number: &N, singular: &'a str) -> Cow<'a, str> {
    if *number == N::from(1) {
        return singular.into();
    }
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| singular.ends_with(ending));
    match singular.strip_suffix('y') {
        Some(stem) if !ends_with(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        _ if ends_with(&["s", "x", "z", "ch", "sh"]) => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_the_rest_plural() {
        for (number, expected) in [(0_usize, "0 images"), (1, "1 image"), (12, "12 images")] {
            assert_eq!(count(number, "image").to_string(), expected);
        }
        for (singular, plural) in [
            ("process", "processes"),
            ("batch", "batches"),
            ("prefix", "prefixes"),
            ("entry", "entries"),
            ("key", "keys"),
            ("in-distribution image", "in-distribution images"),
        ] {
            assert_eq!(noun(&2_u64, singular), plural);
            assert_eq!(noun(&1_u64, singular), singular);
        }
    }
}
