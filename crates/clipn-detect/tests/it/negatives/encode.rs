use std::sync::atomic::{AtomicUsize, Ordering};

use clipn_base::progress::{NoProgress, Progress};
use clipn_detect::negatives::choice::{Choice, Grouping};
use clipn_detect::negatives::{
    NegativeSource, Negatives, NegativesBuilder, NegativesError, Selection, TemplateJoin,
    WordFeatureCache, encode_words,
};
use clipn_engine::TextEncoder;
use clipn_model::{
    FeatureMatrix, ModelError, ModelWeights, PretrainedWeights, PromptSelection, TextSide,
    TextTower, normalize_row,
};
use clipn_text::prompts::Template;
use clipn_text::tokenizer::{TokenBatch, Tokenizer};

pub(super) fn weights() -> ModelWeights {
    PretrainedWeights::mini().unwrap().weights(None).unwrap()
}

pub(super) fn tower() -> TextEncoder {
    TextEncoder::from_weights(&weights(), TextSide::Yes)
}

pub(super) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn templates() -> Vec<Template> {
    ["a photo of a {}.", "{}"]
        .map(|line| Template::parse(line).unwrap())
        .to_vec()
}

/// Cancels after some polls.
struct CancelAfter(AtomicUsize);

impl Progress for CancelAfter {
    fn is_cancelled(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

#[test]
fn rows_are_means_of_features_one_by_one() {
    let (tower, words, templates) = (
        tower(),
        strings(&["pizza", "bus", "school bus"]),
        templates(),
    );
    for join in [TemplateJoin::NormalizedMean, TemplateJoin::RawMean] {
        let found = encode_words(&words, &templates, join, &tower, &NoProgress).unwrap();
        for (row, word) in found.chunks_exact(tower.embed_dim()).zip(&words) {
            let mut expected = vec![0.0; tower.embed_dim()];
            for template in &templates {
                let tokens = Tokenizer::clip().tokenize_batch(&[template.fill(word)], 77);
                let mut features = tower.encode(&tokens).unwrap();
                if join == TemplateJoin::NormalizedMean {
                    features.normalize();
                }
                expected
                    .iter_mut()
                    .zip(features.values())
                    .for_each(|(sum, v)| *sum += v);
            }
            normalize_row(&mut expected);
            for (found, expected) in row.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_other_words() {
    let (tower, templates) = (tower(), templates());
    let rows = |words: &[&str]| {
        let join = TemplateJoin::default();
        encode_words(&strings(words), &templates, join, &tower, &NoProgress).unwrap()
    };
    let dim = tower.embed_dim();
    let together = rows(&["pizza", "bus", "school bus", "pizza oven", "cat"]);
    assert_eq!(together[2 * dim..3 * dim], rows(&["school bus"]));
    assert_eq!(together[..dim], rows(&["pizza", "cat"])[..dim]);
}

#[test]
fn encoding_can_be_cancelled() {
    let words: Vec<String> = (0..3000).map(|i| format!("word {i}")).collect();
    let cancel = CancelAfter(AtomicUsize::new(1));
    let result = encode_words(
        &words,
        &templates()[..1],
        TemplateJoin::default(),
        &tower(),
        &cancel,
    );
    assert!(matches!(result, Err(NegativesError::Cancelled)));
}

#[test]
fn invalid_templates_and_features_are_errors() {
    /// Returns NaN for every text.
    struct Broken;
    impl TextTower<f32> for Broken {
        fn embed_dim(&self) -> usize {
            4
        }
        fn context_length(&self) -> usize {
            77
        }
        fn encode_with(
            &self,
            tokens: &TokenBatch,
            _: PromptSelection,
        ) -> Result<FeatureMatrix<f32>, ModelError> {
            Ok(FeatureMatrix::new(
                vec![f32::NAN; 4 * tokens.rows().count()],
                4,
            ))
        }
    }
    let encode = |templates: &[Template]| {
        let words = strings(&["cat"]);
        let join = TemplateJoin::default();
        encode_words(&words, templates, join, &Broken, &NoProgress)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(encode(&[]), "no templates for the words");
    assert_eq!(
        encode(&templates()),
        "text features of the word `cat` are not finite or zero"
    );
}

fn class_rows(names: &[&str]) -> Vec<f32> {
    let join = TemplateJoin::default();
    encode_words(&strings(names), &templates(), join, &tower(), &NoProgress).unwrap()
}

#[test]
fn the_builder_chooses_and_groups_words() {
    let classes = class_rows(&["pizza", "school bus", "goldfish"]);
    let nouns = strings(&["teapot", "pizza", "umbrella", "sofa", "xylophonist", "bee"]);
    let weights = weights();
    let builder = || {
        NegativesBuilder::new(&NegativeSource::WordNet)
            .with_nouns(nouns.clone(), templates())
            .with_adjectives(strings(&["red", "yellow"]), templates())
            .with_class_names(&strings(&["pizza", "school bus", "goldfish"]))
            .with_vocabulary(weights.training_vocabulary())
            .with_choice(Choice::default().with_min_count(3))
    };
    let tower = tower();
    let built = builder().build(&classes, &tower).unwrap().negatives;
    // `xylophonist` and perhaps others are unseen; a word that is a class is most similar to one.
    assert!(
        !built
            .words()
            .iter()
            .any(|word| word == "xylophonist" || word == "pizza")
    );
    let Selection::Chosen {
        candidates,
        excluded,
        unseen,
        ..
    } = built.origin().selection
    else {
        panic!("{:?}", built.origin());
    };
    assert_eq!((candidates + unseen + excluded, excluded), (8, 1));
    assert!(unseen >= 1);
    assert_eq!(built.group_ends().last(), Some(&built.len()));
    // The same with a cache, with the same bits.
    let hash = weights.yes_tower_hash();
    let named = builder().with_tower_hash(&hash).build(&classes, &tower);
    let named = named.unwrap().negatives;
    assert_eq!((named.rows(), named.words()), (built.rows(), built.words()));
    assert_eq!(named.origin().text_tower.as_ref(), Some(&hash));
    let folder = tempfile::tempdir().unwrap();
    let cache = WordFeatureCache::new(folder.path());
    for _ in 0..2 {
        let cached = builder()
            .with_cache(&cache, &hash)
            .build(&classes, &tower)
            .unwrap();
        assert!(cached.negatives == named);
        assert!(cached.notes.is_empty(), "{:?}", cached.notes);
    }
}

#[test]
fn every_text_of_a_list_is_a_negative() {
    let classes = class_rows(&["pizza", "goldfish"]);
    let built = NegativesBuilder::new(&NegativeSource::list("an empty table, goldfish, a hand"))
        .with_list_templates(templates())
        .build(&classes, &tower())
        .unwrap()
        .negatives;
    assert_eq!(built.words(), ["an empty table", "goldfish", "a hand"]);
    assert_eq!(
        (built.groups(), &built.origin().selection),
        (1, &Selection::UserList)
    );
    assert_eq!(built.origin().source, "list");
}

#[test]
fn a_list_is_used_without_the_names_of_classes_and_noted() {
    let (weights, classes) = (weights(), class_rows(&["pizza", "goldfish"]));
    let source = NegativeSource::list("a zeppelin, Goldfish, a hand, pizza");
    let builder = NegativesBuilder::new(&source)
        .with_list_templates(templates())
        .with_class_names(&strings(&["pizza", "goldfish"]))
        .with_vocabulary(weights.training_vocabulary());
    let built = builder.build(&classes, &tower()).unwrap();
    assert_eq!(built.negatives.words(), ["a zeppelin", "a hand"]);
    assert_eq!(
        built.notes,
        [
            "dropped texts to reject that name classes: 2, such as `Goldfish`",
            "texts to reject with words that did not occur in the training captions: 2 of 2, such as \
             `zeppelin`; they reject unreliably"
        ]
    );
    let only_classes = NegativesBuilder::new(&NegativeSource::list("pizza"))
        .with_list_templates(templates())
        .with_class_names(&strings(&["pizza", "goldfish"]));
    assert!(matches!(
        only_classes.build(&classes, &tower()),
        Err(NegativesError::OnlyClassNames { .. })
    ));
    // Other lists have other hashes.
    let other = NegativesBuilder::new(&NegativeSource::list("a hand"))
        .with_list_templates(templates())
        .build(&classes, &tower())
        .unwrap();
    assert_ne!(built.negatives.hash(), other.negatives.hash());
}

#[test]
fn impossible_choices_are_errors() {
    let (classes, tower) = (class_rows(&["pizza", "goldfish"]), tower());
    let build =
        |builder: NegativesBuilder<'_>| builder.build(&classes, &tower).unwrap_err().to_string();
    let nouns = || strings(&["teapot", "sofa"]);
    assert_eq!(
        build(NegativesBuilder::new(&NegativeSource::File(
            "none.txt".into()
        ))),
        "no negative words: 0 candidates, 0 chosen"
    );
    let published =
        NegativesBuilder::new(&NegativeSource::NegLabel).with_nouns(nouns(), templates());
    assert_eq!(
        build(published.clone()),
        "no negative words: 2 candidates, 0 chosen"
    );
    assert_eq!(
        build(published.with_choice(None)),
        "invalid groups of 2 negatives: expected 1 to 2 groups, got 100"
    );
    let grouping = Grouping::Proportional {
        ratio: Some(-1.0),
        seed: 0,
    };
    let builder = NegativesBuilder::new(&NegativeSource::WordNet).with_nouns(nouns(), templates());
    assert_eq!(
        build(builder.with_grouping(grouping)),
        "the ratio of group size to classes must be positive, got -1"
    );
}

/// The rows of classes in the templates of these tests.
fn rows_of(class_names: &[String], tower: &TextEncoder) -> Vec<f32> {
    encode_words(
        class_names,
        &templates(),
        TemplateJoin::default(),
        tower,
        &NoProgress,
    )
    .unwrap()
}

#[test]
fn a_file_belongs_to_its_text_tower_and_drops_words_of_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("negatives.safetensors");
    let (weights, tower) = (weights(), tower());
    let classes = rows_of(&strings(&["pizza"]), &tower);
    let list = NegativesBuilder::new(&NegativeSource::list("teapot, school bus, banana"))
        .with_list_templates(templates())
        .with_tower_hash(weights.yes_tower_hash());
    let all = list.build(&classes, &tower).unwrap().negatives;
    all.save(&path).unwrap();
    let hash = weights.yes_tower_hash();
    let open =
        |hash: &str, class: &str| Negatives::open_for(&path, hash, &tower, &strings(&[class]));
    assert!(open(&hash, "pizza").unwrap() == (all.clone(), None));
    let (left, note) = open(&hash, "banana").unwrap();
    assert_eq!(left.words(), ["teapot", "school bus"]);
    let note = note.unwrap();
    assert!(
        note.starts_with("left out words that describe the classes: 1 of 3 in ")
            && note.ends_with("such as `banana`"),
        "{note}"
    );
    // The same tower in another precision has another hash, and other features of a word are of another one.
    assert!(open("another", "pizza").is_ok());
    let mut rows = all.rows().to_vec();
    rows.rotate_left(tower.embed_dim());
    let ends = all.group_ends().to_vec();
    let mut origin = all.origin().clone();
    origin.text_tower = None;
    let other = Negatives::new(all.words().to_vec(), &rows, ends.clone(), origin.clone());
    other.unwrap().save(&path).unwrap();
    let error = open(&hash, "pizza").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("were encoded by the text tower of other weights"),
        "{error}"
    );
    // The published lists stay as they are.
    origin.source = "csp".to_owned();
    let published = Negatives::new(all.words().to_vec(), all.rows(), ends, origin).unwrap();
    published.save(&path).unwrap();
    assert!(open(&hash, "banana").unwrap() == (published.clone(), None));
    let others = published.for_classes(&strings(&["banana"])).unwrap();
    assert_eq!(others, published, "a server's other classes too");
}

/// Words in groups for ten classes, with none that describes a class of the test.
fn negatives_of_ten_classes() -> Negatives {
    let (weights, tower) = (weights(), tower());
    let numbered = |what: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| format!("{what} number {n}")).collect()
    };
    let classes = rows_of(&numbered("class", 10), &tower);
    NegativesBuilder::new(&NegativeSource::List(numbered("thing", 12)))
        .with_list_templates(templates())
        .with_tower_hash(weights.yes_tower_hash())
        .build(&classes, &tower)
        .unwrap()
        .negatives
}

/// Groups follow the number of classes, also where every word is kept.
#[test]
fn negatives_are_grouped_for_the_classes_that_they_stand_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("negatives.safetensors");
    let of_ten = negatives_of_ten_classes();
    assert_eq!(of_ten.groups(), 1);
    of_ten.save(&path).unwrap();
    let hash = weights().yes_tower_hash();
    let open = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("class number {n}")).collect();
        Negatives::open_for(&path, &hash, &tower(), &names).unwrap()
    };
    assert!(open(10) == (of_ten.clone(), None), "the same classes");
    let (of_two, note) = open(2);
    assert_eq!((of_two.groups(), of_two.len(), note), (2, 12, None));
    assert_eq!(of_ten.for_class_count(2).unwrap(), of_two);
    assert_eq!(of_ten.for_class_count(11).unwrap(), of_ten, "one group too");
}

#[test]
fn negatives_are_made_again_by_the_rules_of_others() {
    let tower = tower();
    let classes = rows_of(&strings(&["pizza"]), &tower);
    let words: Vec<String> = (0..12).map(|n| format!("thing number {n}")).collect();
    let new =
        || NegativesBuilder::new(&NegativeSource::WordNet).with_nouns(words.clone(), templates());
    let grouping = Grouping::Published { groups: 2, seed: 7 };
    let choice = Choice::neglabel().with_fraction(0.5);
    let first = new()
        .with_choice(choice)
        .with_grouping(grouping)
        .with_join(TemplateJoin::RawMean)
        .build(&classes, &tower)
        .unwrap()
        .negatives;
    let again = new().with_rules_of(first.origin());
    assert!(again.build(&classes, &tower).unwrap().negatives == first);
    assert!(new().build(&classes, &tower).unwrap().negatives != first);
}
