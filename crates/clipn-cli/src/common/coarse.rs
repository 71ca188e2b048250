//! Warnings of scores with few distinct values.

use clipn::count::{count, noun};
use clipn::metrics::{CoarseCause, CoarseScores};

use crate::common::messages::{hint, warning};
use crate::common::numbers::thousands;

/// What coarse scores are reported for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoarseEntry<'a> {
    pub score: &'a str,
    pub ood: &'a str,
    pub coarse: CoarseScores,
}

/// Warns of coarse scores, once per score with its coarsest set, and advises by `advice`.
pub(crate) fn warn_of_coarse<'a>(
    entries: impl Iterator<Item = CoarseEntry<'a>>,
    advice: fn(CoarseCause) -> Option<&'static str>,
) {
    let mut worst: Vec<(CoarseEntry<'a>, usize)> = Vec::new();
    for entry in entries {
        match worst
            .iter_mut()
            .find(|(other, _)| other.score == entry.score)
        {
            None => worst.push((entry, 1)),
            Some((other, sets)) => {
                *sets += 1;
                if fraction(entry.coarse) < fraction(other.coarse) {
                    *other = entry;
                }
            }
        }
    }
    for (entry, sets) in &worst {
        let CoarseScores {
            distinct,
            total,
            cause,
            ..
        } = entry.coarse;
        let others = match sets - 1 {
            0 => String::new(),
            n => format!(", and {}", count(n, "further set")),
        };
        warning(format_args!(
            "{} has {} {} among {} {} with {}{others}: {cause}; ties decide a part of its metrics",
            entry.score,
            thousands(distinct),
            noun(&distinct, "distinct value"),
            thousands(total),
            noun(&total, "score"),
            entry.ood
        ));
    }
    let mut given: Vec<&str> = Vec::new();
    for advice in worst
        .iter()
        .filter_map(|(entry, _)| advice(entry.coarse.cause))
    {
        if !given.contains(&advice) {
            given.push(advice);
            hint(advice);
        }
    }
}

fn fraction(coarse: CoarseScores) -> f64 {
    coarse.distinct as f64 / coarse.total as f64
}
