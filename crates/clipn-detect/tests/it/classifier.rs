//! Zero-shot classifiers, compared with the published ones.

use clipn_base::progress::Progress;
use clipn_checkpoint::Checkpoint;
use clipn_detect::classifier::{
    ClassPrompts, Classifier, ClassifierBuilder, ClassifierError, PromptVariant,
};
use clipn_engine::reference::ReferenceText;
use clipn_engine::{TextEncoder, TextTransformer, VisionTransformer};
use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, LogitScale, ModelConfig, ModelWeights, NoSideOrigin,
    PretrainedWeights, Real, TextParams, TextSide, TextTower,
};
use clipn_testing::figures::{Figures, assert_close};
use clipn_testing::fixture;
use clipn_text::prompts::{Template, TemplateSet};
use clipn_text::tokenizer::{CONTEXT_LENGTH, TokenBatch, Tokenizer};

const TINY: &str = "models/clipn-tiny-realvocab";

fn tiny() -> ModelWeights {
    let config = ModelConfig::load(fixture(&format!("{TINY}/clipn-tiny-realvocab.json"))).unwrap();
    ModelWeights::new(
        config,
        Checkpoint::open(fixture(&format!("{TINY}/model_fp16.safetensors"))).unwrap(),
    )
    .unwrap()
}

fn strings(key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(fixture(&format!("{TINY}/classes.json"))).unwrap();
    serde_json::from_value(serde_json::from_str::<serde_json::Value>(&text).unwrap()[key].take())
        .unwrap()
}

fn templates(lines: &[String]) -> TemplateSet {
    let lines = lines
        .iter()
        .map(|line| Template::parse(line).unwrap())
        .collect();
    TemplateSet::new("test", lines, None).unwrap()
}

fn f32_classifier(set: &TemplateSet) -> Classifier {
    let weights = tiny();
    let (yes, no) = (
        TextTransformer::from_weights(&weights, TextSide::Yes),
        TextTransformer::from_weights(&weights, TextSide::No),
    );
    ClassifierBuilder::new(strings("classes"))
        .with_templates(set.clone())
        .with_variant(PromptVariant::Learnable)
        .build_with_towers(&yes, Some(&no))
        .unwrap()
}

fn check<T: Real + Into<f64>>(
    found: &Classifier<T>,
    yes: &[T],
    no: &[T],
    tolerance: f64,
    what: &str,
) {
    assert_close(found.yes_weights(), yes, tolerance, &format!("{what} yes"));
    assert_close(
        found.no_weights().unwrap(),
        no,
        tolerance,
        &format!("{what} no"),
    );
}

#[test]
fn the_published_templates_give_the_published_classifiers() {
    let figures = Figures::open(&fixture(&format!("{TINY}/classifier.safetensors")));
    let lines = strings("prompts_raw");
    let bare = |line: &String| line.trim_matches('\'').to_owned();
    let sets = [
        ("all128", TemplateSet::built_in("clipn").unwrap()),
        ("first3", templates(&lines[..3])),
        ("line35_comma", templates(&lines[34..35])),
        (
            "clean_first3",
            templates(&lines[..3].iter().map(bare).collect::<Vec<_>>()),
        ),
    ];
    for (name, set) in sets {
        let (yes, no) = (
            figures.f32(&format!("{name}.fc_yes")),
            figures.f32(&format!("{name}.fc_no")),
        );
        check(&f32_classifier(&set), &yes, &no, 1e-5, name);
        if name != "all128" {
            let texts: Vec<String> = set
                .yes()
                .iter()
                .flat_map(|t| strings("classes").into_iter().map(move |c| t.fill(&c)))
                .collect();
            let ids = Tokenizer::clip().tokenize_batch(&texts, CONTEXT_LENGTH);
            assert_eq!(ids.ids(), figures.ids(&format!("{name}.tokens")), "{name}");
        }
    }
}

#[test]
fn the_plain_engine_gives_the_published_f64_classifier() {
    let figures = Figures::open(&fixture(&format!("{TINY}/classifier_f64.safetensors")));
    let weights = tiny();
    let (yes, no) = (
        ReferenceText::<f64>::from_weights(&weights, TextSide::Yes),
        ReferenceText::from_weights(&weights, TextSide::No),
    );
    let set = TemplateSet::built_in("clipn").unwrap();
    let found = ClassifierBuilder::new(strings("classes"))
        .with_templates(set)
        .with_variant(PromptVariant::Learnable)
        .build_with_towers(&yes, Some(&no))
        .unwrap();
    check(
        &found,
        &figures.f64("all128.fc_yes"),
        &figures.f64("all128.fc_no"),
        1e-10,
        "f64",
    );
}

#[test]
fn the_hand_crafted_variant_uses_paired_templates() {
    let figures = Figures::open(&fixture("scores/handcrafted/scores.safetensors"));
    let weights = tiny();
    let yes = TextTransformer::from_weights(&weights, TextSide::Yes);
    let without_prompts = TextParams {
        prompts: None,
        ..weights.text_params(TextSide::No)
    };
    let no = TextTransformer::new(weights.config(), without_prompts);
    let set = TemplateSet::built_in("clipn").unwrap();
    let found = ClassifierBuilder::new(strings("classes"))
        .with_templates(set)
        .with_variant(PromptVariant::HandCrafted)
        .build_with_towers(&yes, Some(&no))
        .unwrap();
    check(
        &found,
        &figures.f32("fc_yes"),
        &figures.f32("fc_no"),
        1e-5,
        "hand-crafted",
    );

    let simple = TemplateSet::built_in("simple").unwrap();
    let error = ClassifierBuilder::new(strings("classes"))
        .with_templates(simple)
        .with_variant(PromptVariant::HandCrafted)
        .build_with_towers(&yes, Some(&no))
        .unwrap_err();
    assert!(
        error.to_string().contains("`simple` has no `no` lines"),
        "{error}"
    );
}

#[test]
fn a_plain_clip_has_equal_yes_and_no_towers() {
    let config = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
    let weights = ModelWeights::new(
        config,
        Checkpoint::open(fixture("checkpoint/plain_clip.pt")).unwrap(),
    )
    .unwrap();
    assert_eq!(
        (weights.no_side_origin(), weights.no_prompts()),
        (NoSideOrigin::CopiedFromYes, 0)
    );
    let figures = Figures::open(&fixture("models/plain_clip/io.safetensors"));
    let tokens = TokenBatch::new(figures.ids("tokens"), figures.shape("tokens")[1]).unwrap();
    for (side, name) in [(TextSide::Yes, "text_yes"), (TextSide::No, "text_no")] {
        let found = TextTransformer::from_weights(&weights, side)
            .encode(&tokens)
            .unwrap();
        assert_close(found.values(), &figures.f32(name), 1e-5, name);
    }
    let (pixels, shape) = (figures.f32("images"), figures.shape("images"));
    let images = ImageBatch::new(&pixels, shape[2], shape[3]).unwrap();
    let found = VisionTransformer::from_weights(&weights)
        .encode(images)
        .unwrap();
    assert_close(
        found.values(),
        &figures.f32("image_features"),
        1e-5,
        "image_features",
    );
}

#[test]
fn logits_are_100_times_the_cosines() {
    let names = vec!["a".to_owned(), "b".to_owned()];
    let classifier =
        Classifier::new(names, vec![1.0, 0.0, 0.0, 1.0], vec![0.6, 0.8, -1.0, 0.0]).unwrap();
    let logits = classifier
        .logits(&FeatureMatrix::new(vec![0.6, 0.8, 1.0, 0.0], 2))
        .unwrap();
    let rows: Vec<_> = logits.rows().collect();
    assert_eq!(
        (rows[0].yes, rows[0].no),
        (&[60.0, 80.0][..], &[100.0, -60.0][..])
    );
    assert_eq!(
        (rows[1].yes, rows[1].no),
        (&[100.0, 0.0][..], &[60.0, -100.0][..])
    );
    let error = classifier
        .logits(&FeatureMatrix::new(vec![1.0; 3], 3))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected image features of dimension 2, got 3"),
        "{error}"
    );
}

#[test]
fn reports_why_a_classifier_cannot_be_built() {
    let weights = tiny();
    let tower = TextTransformer::from_weights(&weights, TextSide::Yes);
    let set = TemplateSet::built_in("simple").unwrap();
    let none = ClassifierBuilder::new(Vec::<String>::new())
        .with_templates(set.clone())
        .with_variant(PromptVariant::Learnable)
        .build_with_towers(&tower, Some(&tower))
        .unwrap_err();
    assert!(none.to_string().contains("no class names"), "{none}");

    struct Stop;
    impl Progress for Stop {
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let stopped = ClassifierBuilder::new(strings("classes"))
        .with_templates(set.clone())
        .with_variant(PromptVariant::Learnable)
        .with_progress(&Stop)
        .build_with_towers(&tower, Some(&tower))
        .unwrap_err();
    assert!(stopped.to_string().contains("cancelled"), "{stopped}");

    let mut damaged = weights.text_params::<f32>(TextSide::Yes);
    damaged.projection.make_mut()[5] = f32::NAN;
    let damaged = TextTransformer::new(weights.config(), damaged);
    let error = ClassifierBuilder::new(strings("classes"))
        .with_templates(set)
        .with_variant(PromptVariant::Learnable)
        .build_with_towers(&damaged, Some(&tower))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("text features of class `tench` are NaN, infinite or zero"),
        "{error}"
    );
}

#[test]
fn the_builder_takes_defaults_from_the_weights() {
    let mini = PretrainedWeights::mini().unwrap();
    let weights = mini.weights(None).unwrap();
    let metadata = mini.metadata();
    let names = ["school bus", "banana"];
    let builder = ClassifierBuilder::new(names).with_metadata(&metadata);
    let prompts = builder.prompts(&weights).unwrap();
    assert_eq!(
        Some(prompts.templates().name()),
        metadata.templates.as_deref()
    );
    assert_eq!(prompts.variant(), PromptVariant::Learnable);
    let found = builder.build(&weights).unwrap();
    assert_eq!(found.scale(), weights.logit_scale());

    // The same with given towers, templates and scale, to the bit.
    let [yes, no] =
        [TextSide::Yes, TextSide::No].map(|side| TextEncoder::from_weights(&weights, side));
    let given = ClassifierBuilder::new(names).with_prompts(prompts);
    let given = given.build_with_towers(&yes, Some(&no)).unwrap();
    assert_eq!(given.scale(), 100.0);
    assert_eq!((given.no_scale(), found.no_scale()), (1.0, 2.5));
    let given = given.with_scale(weights.logit_scale());
    assert_eq!(given.with_no_scale(weights.no_scale()), found);
}

#[test]
fn settings_of_the_builder_precede_the_metadata() {
    let mini = PretrainedWeights::mini().unwrap();
    let weights = mini.weights(None).unwrap();
    let builder = ClassifierBuilder::new(["banana"]).with_metadata(&mini.metadata());
    let simple = TemplateSet::built_in("simple").unwrap();
    let changed = builder
        .clone()
        .with_templates(simple.clone())
        .with_logit_scale(LogitScale::Published);
    assert_eq!(changed.prompts(&weights).unwrap().templates(), &simple);
    assert_eq!(changed.build(&weights).unwrap().scale(), 100.0);
    // `None` restores the defaults.
    let restored = changed.with_templates(None).with_logit_scale(None);
    assert_eq!(
        restored.build(&weights).unwrap(),
        builder.build(&weights).unwrap()
    );
    // Without metadata, the published templates and scale.
    let bare = ClassifierBuilder::new(["banana"]);
    let prompts = bare.prompts(&weights).unwrap();
    assert_eq!(prompts.templates().name(), TemplateSet::DEFAULT_NAME);
}

#[test]
fn the_variant_suits_the_weights_unless_it_is_set() {
    let weights = tiny();
    let set = TemplateSet::built_in("clipn").unwrap();
    // These weights have learnable prompts.
    assert!(weights.no_prompts() > 0);
    let builder = ClassifierBuilder::new(["a"]).with_templates(set.clone());
    let variant = |builder: &ClassifierBuilder<'_>| builder.prompts(&weights).unwrap().variant();
    assert_eq!(variant(&builder), PromptVariant::Learnable);
    let set_variant = builder.with_variant(PromptVariant::HandCrafted);
    assert_eq!(variant(&set_variant), PromptVariant::HandCrafted);
    assert_eq!(
        ClassPrompts::new(set.clone(), PromptVariant::HandCrafted)
            .no_templates()
            .unwrap(),
        set.no().unwrap()
    );
}

#[test]
fn text_towers_have_no_trained_scale() {
    let weights = tiny();
    let tower = TextTransformer::from_weights(&weights, TextSide::Yes);
    let error = ClassifierBuilder::new(["a"])
        .with_logit_scale(LogitScale::Trained)
        .build_with_towers(&tower, Some(&tower))
        .unwrap_err();
    assert!(
        matches!(error, ClassifierError::UnknownLogitScale),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("with_scale"));
}

#[test]
fn rows_are_normalized() {
    let names = || vec!["a".to_owned(), "b".to_owned()];
    // The length that OpenAI's text features have.
    let found = Classifier::new(
        names(),
        vec![9.4_f32, 0.0, 0.0, 9.4],
        vec![-3.0, 4.0, 0.0, 0.5],
    )
    .unwrap();
    assert_eq!(found.yes_weights(), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(found.no_weights().unwrap(), [-0.6, 0.8, 0.0, 1.0]);
    // What rounding to 16 bits leaves is kept to the bit.
    let rounded = vec![0.599_609_4_f32, 0.800_292_97, 1.0, 0.0];
    let kept = Classifier::new(names(), rounded.clone(), None).unwrap();
    assert_eq!(kept.yes_weights(), rounded);
    for broken in [f32::NAN, f32::INFINITY, 0.0] {
        let error = Classifier::new(names(), vec![1.0, 0.0, broken, 0.0], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "text features of class `b` are NaN, infinite or zero"
        );
        Classifier::new(
            names(),
            vec![1.0, 0.0, 0.0, 1.0],
            vec![broken, 0.0, 1.0, 0.0],
        )
        .unwrap_err();
    }
}

#[test]
fn rejects_values_that_are_no_rows() {
    let names = || vec!["a".to_owned(), "b".to_owned()];
    for (yes, no) in [(3, 3), (0, 0), (4, 2)] {
        let error = Classifier::new(names(), vec![0.5_f32; yes], vec![0.5; no]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "expected \"yes\" and \"no\" rows of equal length for 2 classes, got {yes} and {no} \
                 values"
            )
        );
    }
    let error = Classifier::<f32>::new(Vec::new(), Vec::new(), Vec::new()).unwrap_err();
    assert!(matches!(error, ClassifierError::NoClasses), "{error}");
}
