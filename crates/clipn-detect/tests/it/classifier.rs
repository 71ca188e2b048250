//! Zero-shot classifiers, compared with the published ones.

use clipn_base::progress::{NoProgress, Progress};
use clipn_checkpoint::Checkpoint;
use clipn_detect::classifier::{Classifier, PromptVariant, build};
use clipn_engine::reference::ReferenceText;
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{
    Features, ImageTower, Images, ModelConfig, NoSide, Real, Side, TextParams, TextTower, Weights,
};
use clipn_testing::figures::{Figures, assert_close};
use clipn_testing::fixture;
use clipn_text::prompts::{Template, TemplateSet};
use clipn_text::tokenizer::{CONTEXT_LENGTH, TokenBatch, Tokenizer};

const TINY: &str = "models/clipn-tiny-realvocab";

fn tiny() -> Weights {
    let config = ModelConfig::load(&fixture(&format!("{TINY}/clipn-tiny-realvocab.json"))).unwrap();
    Weights::new(
        config,
        Checkpoint::open(&fixture(&format!("{TINY}/model_fp16.safetensors"))).unwrap(),
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
        TextTransformer::from_weights(&weights, Side::Yes),
        TextTransformer::from_weights(&weights, Side::No),
    );
    build(
        &strings("classes"),
        set,
        PromptVariant::Learnable,
        &yes,
        &no,
        &NoProgress,
    )
    .unwrap()
}

fn check<T: Real + Into<f64>>(
    found: &Classifier<T>,
    yes: &[T],
    no: &[T],
    tolerance: f64,
    what: &str,
) {
    assert_close(found.yes(), yes, tolerance, &format!("{what} yes"));
    assert_close(found.no(), no, tolerance, &format!("{what} no"));
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
        ReferenceText::<f64>::from_weights(&weights, Side::Yes),
        ReferenceText::from_weights(&weights, Side::No),
    );
    let set = TemplateSet::built_in("clipn").unwrap();
    let found = build(
        &strings("classes"),
        &set,
        PromptVariant::Learnable,
        &yes,
        &no,
        &NoProgress,
    )
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
    let yes = TextTransformer::from_weights(&weights, Side::Yes);
    let without_prompts = TextParams {
        prompts: None,
        ..weights.text(Side::No)
    };
    let no = TextTransformer::new(weights.config(), without_prompts);
    let set = TemplateSet::built_in("clipn").unwrap();
    let found = build(
        &strings("classes"),
        &set,
        PromptVariant::HandCrafted,
        &yes,
        &no,
        &NoProgress,
    )
    .unwrap();
    check(
        &found,
        &figures.f32("fc_yes"),
        &figures.f32("fc_no"),
        1e-5,
        "hand-crafted",
    );

    let simple = TemplateSet::built_in("simple").unwrap();
    let error = build(
        &strings("classes"),
        &simple,
        PromptVariant::HandCrafted,
        &yes,
        &no,
        &NoProgress,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("`simple` has no `no` lines"),
        "{error}"
    );
}

#[test]
fn a_plain_clip_has_equal_yes_and_no_towers() {
    let config = ModelConfig::load(&fixture("models/plain_clip/plain_clip.json")).unwrap();
    let weights = Weights::new(
        config,
        Checkpoint::open(&fixture("checkpoint/plain_clip.pt")).unwrap(),
    )
    .unwrap();
    assert_eq!(
        (weights.no_side(), weights.no_prompts()),
        (NoSide::CopiedFromYes, 0)
    );
    let figures = Figures::open(&fixture("models/plain_clip/io.safetensors"));
    let tokens = TokenBatch::new(figures.ids("tokens"), figures.shape("tokens")[1]).unwrap();
    for (side, name) in [(Side::Yes, "text_yes"), (Side::No, "text_no")] {
        let found = TextTransformer::from_weights(&weights, side)
            .encode(&tokens)
            .unwrap();
        assert_close(found.values(), &figures.f32(name), 1e-5, name);
    }
    let (pixels, shape) = (figures.f32("images"), figures.shape("images"));
    let images = Images::new(&pixels, shape[2], shape[3]).unwrap();
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
        .logits(&Features::new(vec![0.6, 0.8, 1.0, 0.0], 2))
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
        .logits(&Features::new(vec![1.0; 3], 3))
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
    let tower = TextTransformer::from_weights(&weights, Side::Yes);
    let set = TemplateSet::built_in("simple").unwrap();
    let none = build(
        &[],
        &set,
        PromptVariant::Learnable,
        &tower,
        &tower,
        &NoProgress,
    )
    .unwrap_err();
    assert!(none.to_string().contains("no class names"), "{none}");

    struct Stop;
    impl Progress for Stop {
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let stopped = build(
        &strings("classes"),
        &set,
        PromptVariant::Learnable,
        &tower,
        &tower,
        &Stop,
    )
    .unwrap_err();
    assert!(stopped.to_string().contains("cancelled"), "{stopped}");

    let mut damaged = weights.text::<f32>(Side::Yes);
    damaged.projection.make_mut()[5] = f32::NAN;
    let damaged = TextTransformer::new(weights.config(), damaged);
    let error = build(
        &strings("classes"),
        &set,
        PromptVariant::Learnable,
        &damaged,
        &tower,
        &NoProgress,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("text features of class `tench` are NaN or infinite"),
        "{error}"
    );
}
