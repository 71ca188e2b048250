//! Building a classifier.

use clipn::classifier::ClassifierBuilder;
use clipn::model::TextSide;
use clipn::prompts::{ClassNames, PromptVariant, TemplateSet};
use serde_json::{Map, Value, json};

use super::model::Model;
use super::workload::{Measurement, Workload};
use crate::common::error::CliError;
use crate::common::progress::Bar;

/// Number of class names and templates of a sample. There are many names per template, so that
/// shared prefixes save as much time as with all names.
const SAMPLE: (usize, usize) = (125, 4);

/// Builds the classifier of ImageNet's names and the published templates: of an evenly spread
/// sample, or of all if `full`.
pub(crate) fn classifier(model: &Model, full: bool) -> Result<Workload, CliError> {
    let (names, templates) = (
        ClassNames::built_in("imagenet-1k")?,
        TemplateSet::built_in("clipn")?,
    );
    let all = names.names().len() * templates.yes().len();
    let (names, lines) = if full {
        (names.names().to_vec(), templates.yes().to_vec())
    } else {
        (
            spread(names.names(), SAMPLE.0),
            spread(templates.yes(), SAMPLE.1),
        )
    };
    let (names_count, lines_count) = (names.len(), lines.len());
    let builder = ClassifierBuilder::new(names)
        .with_templates(TemplateSet::new("sample", lines, None)?)
        .with_variant(PromptVariant::Learnable)
        // A sample of the list may have both classes of one name.
        .with_duplicates(true);
    let (yes, no) = (
        model.text_encoder(TextSide::Yes, 0),
        model.text_encoder(TextSide::No, 16),
    );
    let pairs = (names_count * lines_count) as f64;
    let context = model.config.text.context_length;
    Ok(Workload {
        run: Box::new(move || {
            builder
                .clone()
                .with_progress(&Bar::default())
                .build_with_towers(&yes, Some(&no))?;
            Ok(())
        }),
        model: Some(model.config.name.clone()),
        shape: format!("{names_count} names x {lines_count} templates"),
        items: pairs,
        unit: "pairs",
        flops: Some(2.0 * model.config.text_flops(context) * pairs),
        details: Map::from_iter([
            ("all_pairs".to_owned(), json!(all)),
            ("full".to_owned(), json!(full)),
        ]),
    })
}

/// Adds the time per pair, and for all pairs of ImageNet's names and the published templates.
pub(crate) fn add_details(measured: &mut Measurement) {
    let seconds = 1.0 / measured.rate;
    let all = measured
        .details
        .get("all_pairs")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    measured
        .details
        .insert("ms_a_pair".to_owned(), json!(seconds * 1e3));
    measured
        .details
        .insert("all_seconds".to_owned(), json!(seconds * all));
}

/// Selects `count` evenly spread items.
fn spread<T: Clone>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    (0..count)
        .map(|i| items[i * items.len() / count].clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use clipn::tokenizer::{Tokenizer, end_of_text_position};

    use super::*;

    #[test]
    fn spreads_a_sample_evenly() {
        assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6, 7], 4), [0, 2, 4, 6]);
        assert_eq!(spread(&[0, 1, 2], 4), [0, 1, 2]);
    }

    #[test]
    fn texts_of_the_sample_have_the_mean_length_of_all() {
        let ids = |texts: &[String]| {
            let rows = Tokenizer::clip().tokenize_batch(texts, 77);
            rows.rows().map(end_of_text_position).sum::<usize>() as f64 / texts.len() as f64
        };
        let (names, templates) = (
            ClassNames::built_in("imagenet-1k").unwrap(),
            TemplateSet::built_in("clipn").unwrap(),
        );
        let lines: Vec<String> = templates
            .yes()
            .iter()
            .map(|line| line.fill("cat"))
            .collect();
        for (all, count) in [(names.names(), SAMPLE.0), (&lines, SAMPLE.1)] {
            let (all, sample) = (ids(all), ids(&spread(all, count)));
            assert!((sample / all - 1.0).abs() < 0.06, "{sample} {all}");
        }
    }
}
