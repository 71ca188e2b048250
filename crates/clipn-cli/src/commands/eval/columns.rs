//! Rows and columns of the tables of results.

use clipn::dataset::OodKind;
use clipn::evaluation::{MetricSpread, Results, Spread};
use clipn::scores::by_name;

/// A set with its kind and number of images.
pub(super) type Set<'a> = (&'a str, Option<OodKind>, usize);

/// The sets, the scores, and the kinds of sets that have a mean.
pub(super) fn axes(results: &Results) -> (Vec<Set<'_>>, Vec<&'static str>, Vec<Option<OodKind>>) {
    let mut sets: Vec<Set<'_>> = Vec::new();
    let mut scores: Vec<&'static str> = Vec::new();
    for r in &results.results {
        if sets.last().is_none_or(|last| last.0 != r.ood) {
            sets.push((&r.ood, r.kind, r.n_ood));
        }
        if !scores.contains(&r.score) {
            scores.push(r.score);
        }
    }
    // The mean over one set is its column.
    let has_mean = |kind: &Option<OodKind>| {
        let members = sets.iter().filter(|set| kind.is_none() || set.1 == *kind);
        members.count() > 1 && results.averages.iter().any(|a| a.kind == *kind)
    };
    let kinds = [Some(OodKind::Near), Some(OodKind::Far), None]
        .into_iter()
        .filter(has_mean)
        .collect();
    (sets, scores, kinds)
}

/// Headings of the sets, and of the means over them.
pub(super) fn column_names(sets: &[Set<'_>], kinds: &[Option<OodKind>]) -> Vec<String> {
    let sets = sets.iter().map(|(name, kind, _)| match kind {
        Some(kind) => format!("{name} ({kind})"),
        None => (*name).to_owned(),
    });
    let means = kinds.iter().map(|kind| match kind {
        Some(kind) => format!("mean of {kind}"),
        None => "mean".to_owned(),
    });
    sets.chain(means).collect()
}

/// Name of a score in tables.
pub(super) fn display_name(score: &str) -> &str {
    by_name(score).map_or(score, |s| s.display_name())
}

/// Formats a metric in percent, with its spread if there is one.
pub(super) fn percent(value: f64, varied: Option<(&Spread, MetricSpread)>) -> String {
    match varied {
        Some((spread, v)) => format!(
            "{:.2} ± {:.2}",
            100.0 * spread.center(value, &v),
            100.0 * v.std
        ),
        None => format!("{:.2}", 100.0 * value),
    }
}
