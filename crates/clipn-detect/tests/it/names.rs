//! Names and texts that are equal for the text tower, texts that are cut, and sentences per class.

use clipn_detect::bundle::Bundle;
use clipn_detect::classifier::{Classifier, ClassifierBuilder, ClassifierError};
use clipn_model::{ModelWeights, PretrainedWeights};
use clipn_testing::fixture;
use clipn_text::prompts::{ClassNames, ClassSentences, PromptError, TemplateSet};

fn weights() -> ModelWeights {
    PretrainedWeights::mini().unwrap().weights(None).unwrap()
}

fn builder(names: &[&str]) -> ClassifierBuilder<'static> {
    ClassifierBuilder::new(names.iter().copied())
        .with_templates(TemplateSet::built_in("simple").unwrap())
}

fn long(end: &str) -> String {
    format!("{}{end}", "a pizza on a table and ".repeat(20))
}

#[test]
fn equal_names_are_refused_unless_they_are_allowed() {
    let weights = weights();
    for names in [
        ["pizza", "pizza"],
        ["pizza", " Pizza"],
        ["caf\u{e9}", "cafe\u{301}"],
    ] {
        let error = builder(&names).build(&weights).unwrap_err();
        assert!(
            matches!(
                error,
                ClassifierError::Prompt(PromptError::DuplicateNames { .. })
            ),
            "{error}"
        );
        let allowed = builder(&names)
            .with_duplicates(true)
            .build(&weights)
            .unwrap();
        assert_eq!(allowed.len(), 2);
    }
    let error = builder(&["pizza", "Unknown"])
        .with_duplicates(true)
        .build(&weights);
    assert!(error.unwrap_err().to_string().contains("`Unknown`"));
    assert!(
        builder(&["pizza", " "])
            .build(&weights)
            .unwrap_err()
            .to_string()
            .contains("empty class name")
    );
}

#[test]
fn the_list_of_imagenet_keeps_its_pairs() {
    let imagenet = ClassNames::built_in("imagenet-1k").unwrap();
    let classifier = ClassifierBuilder::new(imagenet.names())
        .with_templates(TemplateSet::built_in("simple").unwrap())
        .build(&weights())
        .unwrap();
    assert_eq!(classifier.len(), 1000);
}

#[test]
fn cut_texts_are_counted_and_equal_ones_are_refused() {
    let weights = weights();
    let (a, b) = (long("A"), long("B"));
    let built = builder(&["pizza", &a]).build_with_report(&weights).unwrap();
    let [cut] = &built.truncated[..] else {
        panic!("{:?}", built.truncated);
    };
    // One template in two towers.
    assert_eq!((cut.index, cut.truncated, cut.texts), (1, 2, 2));
    assert_eq!(built.context_length, 77);
    assert_eq!(
        cut.to_string(),
        "`a pizza on a table and a pizza… table and A` (2 of 2 texts)"
    );
    let short = builder(&["pizza", "banana"])
        .build_with_report(&weights)
        .unwrap();
    assert!(short.truncated.is_empty());

    let error = builder(&[&a, "pizza", &b]).build(&weights).unwrap_err();
    assert!(
        matches!(
            error,
            ClassifierError::EqualTexts {
                context_length: 77,
                ..
            }
        ),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("table and A` and") && message.contains("table and B`"),
        "{message}"
    );
    assert_eq!(
        builder(&[&a, &b])
            .with_duplicates(true)
            .build(&weights)
            .unwrap()
            .len(),
        2
    );
}

/// The classifier of one class with this template.
fn of_template(name: &str, template: &str) -> Classifier {
    let set = TemplateSet::new("t", vec![template.parse().unwrap()], None).unwrap();
    ClassifierBuilder::new([name])
        .with_templates(set)
        .build(&weights())
        .unwrap()
}

#[test]
fn sentences_per_class_are_averaged_like_templates() {
    let weights = weights();
    let sentences = ClassSentences::new([
        ("Pizza".to_owned(), vec!["a photo of a pizza.".to_owned()]),
        (
            "school bus".to_owned(),
            vec!["a school bus".to_owned(), "a yellow school bus".to_owned()],
        ),
    ])
    .unwrap();
    let set = TemplateSet::per_class("own", sentences);
    let build = |names: &[&str]| builder(names).with_templates(set.clone()).build(&weights);
    let found = build(&["school bus", "pizza"]).unwrap();
    let dim = found.dim();
    let pizza = of_template("pizza", "a photo of a {}.");
    assert_eq!(found.yes_weights()[dim..], *pizza.yes_weights());
    assert_eq!(
        found.no_weights().unwrap()[dim..],
        *pizza.no_weights().unwrap()
    );
    let (one, two) = (
        of_template("school bus", "a {}"),
        of_template("school bus", "a yellow {}"),
    );
    let sum: Vec<f32> = one
        .yes_weights()
        .iter()
        .zip(two.yes_weights())
        .map(|(a, b)| a + b)
        .collect();
    let norm = sum.iter().map(|v| v * v).sum::<f32>().sqrt();
    for (found, sum) in found.yes_weights().iter().zip(&sum) {
        assert!((found - sum / norm).abs() < 1e-6);
    }

    let missing = build(&["pizza", "school bus", "cat"])
        .unwrap_err()
        .to_string();
    assert_eq!(missing, "no sentences for 1 of the classes: `cat`");
    let extra = build(&["pizza"]).unwrap_err().to_string();
    assert_eq!(
        extra,
        "sentences of 1 names that are no class: `school bus`"
    );
}

#[test]
fn equal_sentences_are_refused() {
    let of = || vec!["a photo of food.".to_owned()];
    let sentences = [("pizza".to_owned(), of()), ("pretzel".to_owned(), of())];
    let set = TemplateSet::per_class("own", ClassSentences::new(sentences).unwrap());
    let error = builder(&["pizza", "pretzel"])
        .with_templates(set)
        .build(&weights())
        .unwrap_err();
    assert!(
        matches!(error, ClassifierError::EqualTexts { .. }),
        "{error}"
    );
}

#[test]
fn bundles_keep_sentences_per_class() {
    let path = fixture("cases/templates/cupl.json");
    let set = TemplateSet::load(path).unwrap();
    let names: Vec<String> = set
        .sentences()
        .unwrap()
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    let classes = ClassifierBuilder::new(&names).with_templates(set.clone());
    let bundle = clipn_detect::bundle::BundleBuilder::new(classes)
        .build(&PretrainedWeights::mini().unwrap())
        .unwrap();
    // A factor of the "no" logits would have a version of its own.
    let bundle = Bundle::new(
        bundle.classifier().clone().with_no_scale(1.0),
        bundle.prompts().clone(),
        bundle.identity().clone(),
        bundle.preprocessing().clone(),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.clipn");
    bundle.write(&path).unwrap();
    let back = Bundle::open(&path).unwrap();
    assert_eq!(back.templates(), &set);
    assert_eq!(
        back.classifier().yes_weights(),
        bundle.classifier().yes_weights()
    );
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains(r#"\"version\":3"#),
        "earlier versions must refuse it"
    );
}
