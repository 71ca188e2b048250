//! The built-in word list, its corpora, and what describes the classes.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use clipn_testing::wordnet::{Source, database, generate, sha256};
use clipn_text::prompts::{ClassNames, Template};
use clipn_text::wordnet::{
    Candidates, Corpus, ExclusionReason, LexFile, NEGLABEL_CODE_ADJECTIVE_TEMPLATE,
    NEGLABEL_CODE_NOUN_TEMPLATE, SUPERCLASSES, Synset, WordNet, WordNetError,
};

fn asset() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/wordnet/wordnet.bin");
    std::fs::read(path).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn lemmas<'a>(synsets: impl IntoIterator<Item = Synset<'a>>) -> HashSet<&'a str> {
    synsets.into_iter().flat_map(Synset::lemmas).collect()
}

#[test]
fn the_word_list_is_what_the_generator_makes_from_debians_files() {
    let Some(directory) = database() else { return };
    let generated = generate(&directory).unwrap();
    assert!(
        generated == asset(),
        "assets/wordnet/wordnet.bin is outdated: run scripts/wordnet.sh"
    );
}

#[test]
fn every_synset_is_the_one_of_debians_files() {
    let Some(directory) = database() else { return };
    let source = Source::read(&directory).unwrap();
    let spelled = |lemma: &String| lemma.to_lowercase().replace('_', " ");
    let expected: Vec<_> = source
        .nouns
        .iter()
        .map(|synset| {
            let first = |offset| {
                let parent = source.nouns.binary_search_by_key(offset, |s| s.offset);
                spelled(&source.nouns[parent.unwrap()].lemmas[0])
            };
            let parents: Vec<String> = synset.parents.iter().map(first).collect();
            let lemmas: Vec<String> = synset.lemmas.iter().map(spelled).collect();
            (
                lemmas[0].clone(),
                synset.file,
                synset.is_instance,
                parents,
                lemmas,
            )
        })
        .collect();
    let mut found: Vec<_> = WordNet::get()
        .synsets()
        .map(|synset| {
            let parents: Vec<String> = synset
                .parents()
                .map(|p| p.first_lemma().to_owned())
                .collect();
            let lemmas: Vec<String> = synset.lemmas().map(str::to_owned).collect();
            let file = synset.lex_file().number();
            (
                lemmas[0].clone(),
                file,
                synset.is_instance(),
                parents,
                lemmas,
            )
        })
        .collect();
    // Synsets that share all but their synonyms: those with the most words choose first.
    found.sort_by_key(|synset| std::cmp::Reverse(synset.4.len()));
    assert_eq!(found.len(), expected.len());
    let mut unmatched: BTreeMap<_, Vec<HashSet<String>>> = BTreeMap::new();
    for (first, file, is_instance, parents, lemmas) in expected {
        let key = (first, file, is_instance, parents);
        unmatched
            .entry(key)
            .or_default()
            .push(lemmas.into_iter().collect());
    }
    for (first, file, is_instance, parents, lemmas) in found {
        let key = (first, file, is_instance, parents);
        let candidates = unmatched.get_mut(&key).unwrap_or_else(|| panic!("{key:?}"));
        let i = candidates
            .iter()
            .position(|all| lemmas.iter().all(|lemma| all.contains(lemma)))
            .unwrap_or_else(|| panic!("{key:?} has {lemmas:?}"));
        candidates.swap_remove(i);
    }
}

#[test]
fn counts_are_those_of_wordnet_3() {
    let wordnet = WordNet::get();
    let adjectives = |file| wordnet.adjectives(file).len();
    assert_eq!(wordnet.len(), 82_115);
    assert_eq!(adjectives(LexFile::AdjectiveAll), 14_435);
    assert_eq!(adjectives(LexFile::AdjectivePertainym), 3_661);
    assert_eq!(adjectives(LexFile::AdjectiveParticiple), 60);
    assert_eq!(adjectives(LexFile::Animal), 0);
    assert_eq!(wordnet.synsets().filter(|s| s.is_instance()).count(), 7_730);
    let lemmas: usize = wordnet.synsets().map(|s| s.lemmas().len()).sum();
    assert_eq!(lemmas - wordnet.len(), 16_196);
    let size = asset().len();
    assert!(size <= 400_000, "{size} bytes");
}

#[test]
fn the_decoded_words_have_a_known_hash() {
    let wordnet = WordNet::get();
    let mut text = String::new();
    for synset in wordnet.synsets() {
        let parents: Vec<usize> = synset.parents().map(Synset::index).collect();
        let lemmas: Vec<&str> = synset.lemmas().collect();
        let (file, is_instance) = (synset.lex_file(), synset.is_instance());
        text += &format!("{file} {is_instance} {parents:?} {lemmas:?}\n");
    }
    for file in LexFile::all() {
        for word in wordnet.adjectives(file) {
            text += &format!("{file} {word}\n");
        }
    }
    assert_eq!(
        sha256(text.as_bytes()),
        "be05c40370843eeb3f11fc0c451ae28b56e3d887891d36e14b0c9ef708ec97b0"
    );
}

#[test]
fn lookup_normalizes_and_falls_back_to_the_singular() {
    let wordnet = WordNet::get();
    let first = |word| {
        wordnet
            .lookup(word)
            .map(Synset::first_lemma)
            .collect::<Vec<_>>()
    };
    assert_eq!(first("sofa"), ["sofa"]);
    assert!(first("couch").contains(&"sofa"));
    assert!(first("plane").contains(&"airplane"));
    assert_eq!(first("Great_White  SHARK (fish)"), ["great white shark"]);
    assert_eq!(first("sofas"), ["sofa"]);
    assert_eq!(first("fire engines"), ["fire engine"]);
    assert_eq!(first("puppies"), first("puppy"));
    assert_eq!(first("firemen"), first("fireman"));
    assert!(first("glasses").contains(&"spectacles"));
    assert!(first("zorgle").is_empty() && first("").is_empty() && first("|").is_empty());
}

#[test]
fn closures_follow_the_hypernym_tree() {
    let wordnet = WordNet::get();
    let dog = wordnet
        .lookup("dog")
        .find(|synset| synset.lex_file() == LexFile::Animal)
        .unwrap();
    let below = lemmas(dog.hyponyms());
    for word in [
        "puppy",
        "poodle",
        "toy poodle",
        "german shepherd",
        "boston terrier",
    ] {
        assert!(below.contains(word), "{word}");
    }
    assert!(!below.contains("cat") && !below.contains("domestic dog"));
    let above = lemmas(dog.hypernyms());
    // Two hypernyms: canine and domestic animal.
    for word in ["canine", "domestic animal", "carnivore", "animal", "entity"] {
        assert!(above.contains(word), "{word}");
    }
    assert!(
        dog.hyponyms()
            .all(|synset| synset.hypernyms().any(|above| above == dog))
    );
    let entity = wordnet.synsets().next().unwrap();
    assert_eq!(
        (entity.parents().len(), entity.hyponyms().len()),
        (0, 82_114)
    );
    let direct: usize = wordnet
        .synsets()
        .map(|synset| synset.children().len())
        .sum();
    assert_eq!(direct, 82_114 + 2_313);
}

#[test]
fn corpora_have_their_published_files() {
    let files = |corpus: Corpus| corpus.lex_files().collect::<Vec<_>>();
    assert_eq!(files(Corpus::WordNet), LexFile::all().collect::<Vec<_>>());
    let nouns = |files: &[LexFile]| files.iter().filter(|file| file.is_noun()).count();
    let neglabel = files(Corpus::NegLabel);
    assert_eq!((neglabel.len(), nouns(&neglabel)), (27, 24));
    assert!(!neglabel.contains(&LexFile::Animal) && !neglabel.contains(&LexFile::Food));
    let csp = files(Corpus::Csp);
    assert_eq!((csp.len(), nouns(&csp)), (23, 21));
}

#[test]
fn corpora_have_known_sizes_and_no_word_twice() {
    let mut sizes = Vec::new();
    for corpus in Corpus::ALL {
        let candidates = corpus.candidates(0);
        let words = candidates.nouns.iter().chain(&candidates.adjectives);
        assert_eq!(words.collect::<HashSet<_>>().len(), candidates.len());
        sizes.push((
            corpus.name(),
            candidates.nouns.len(),
            candidates.adjectives.len(),
        ));
    }
    let expected = [
        ("wordnet", 61_111, 12_250),
        // The published files have 58,546 nouns, and about 900 adjectives fewer.
        ("neglabel", 58_514, 12_280),
        ("csp", 47_287, 10_206),
    ];
    assert_eq!(sizes, expected);
}

#[test]
fn the_default_corpus_has_animals_and_food_but_no_proper_names() {
    let default = Corpus::default().candidates(0);
    let neglabel = Corpus::NegLabel.candidates(0);
    let has = |candidates: &Candidates, word: &str| candidates.nouns.iter().any(|n| n == word);
    for word in ["poodle", "pizza", "bookcase"] {
        assert!(has(&default, word), "{word}");
    }
    assert!(has(&neglabel, "paris") && !has(&neglabel, "poodle") && !has(&neglabel, "pizza"));
    assert!(!has(&default, "madagascar") && has(&neglabel, "madagascar"));
    assert!(default.adjectives.iter().any(|word| word == "striped"));
}

#[test]
fn phrases_of_csp_depend_on_the_seed_only() {
    let phrases = |seed| Corpus::Csp.candidates(seed).adjectives;
    let first = phrases(1);
    assert_eq!(first, phrases(1));
    assert_ne!(first, phrases(2));
    let mut counts = BTreeMap::new();
    for phrase in &first {
        let (_, superclass) = phrase.rsplit_once(' ').unwrap();
        *counts.entry(superclass).or_insert(0usize) += 1;
    }
    assert_eq!(counts.len(), SUPERCLASSES.len());
    let expected = first.len() / SUPERCLASSES.len();
    assert!(
        counts.values().all(|count| count.abs_diff(expected) < 120),
        "{counts:?}"
    );
    assert_eq!(
        Corpus::NegLabel.candidates(1),
        Corpus::NegLabel.candidates(2)
    );
}

#[test]
fn corpora_have_names() {
    for corpus in Corpus::ALL {
        assert_eq!(corpus.to_string().parse(), Ok(corpus));
        let json = serde_json::to_string(&corpus).unwrap();
        assert_eq!(json, format!("\"{corpus}\""));
        assert_eq!(serde_json::from_str::<Corpus>(&json).unwrap(), corpus);
    }
    let error: WordNetError = "words".parse::<Corpus>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown corpus `words`; expected one of wordnet, neglabel, csp"
    );
}

/// Word files and texts of a published program, `crates/clipn-testing/fixtures/wordnet`.
struct Golden(serde_json::Value);

impl Golden {
    fn open(name: &str) -> Self {
        let path = clipn_testing::fixture(&format!("wordnet/{name}.json"));
        Self(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    fn list(&self, key: &str) -> Vec<String> {
        serde_json::from_value(self.0[key].clone()).unwrap()
    }

    /// Word files in the order of reading.
    fn files(&self) -> Vec<(LexFile, Vec<String>)> {
        let files = self.0["files_in_order"].as_object().unwrap();
        // The keys are sorted, like the directory that the program read.
        let parse = |(name, words): (&String, &serde_json::Value)| {
            let file = name.strip_suffix(".txt").unwrap().parse().unwrap();
            (file, serde_json::from_value(words.clone()).unwrap())
        };
        files.iter().map(parse).collect()
    }

    /// Half of the nouns and half of the adjectives were chosen; texts are listed once.
    fn check(&self, candidates: &Candidates, mut texts: Vec<String>) {
        let nouns = self.0["adj_start"].as_u64().unwrap() as usize;
        let adjectives = self.0["n_neg"].as_u64().unwrap() as usize - nouns;
        assert_eq!(candidates.nouns.len() / 2, nouns);
        assert_eq!(candidates.adjectives.len() / 2, adjectives);
        let mut seen = HashSet::new();
        texts.retain(|text| seen.insert(text.clone()));
        assert_eq!(texts, self.list("texts"));
    }
}

fn candidates_of(files: &[(LexFile, Vec<String>)]) -> Candidates {
    let files = files.iter();
    Candidates::from_lists(files.map(|(file, words)| (*file, words.iter().map(String::as_str))))
}

/// Texts of each word with all templates.
fn fill(words: &[String], templates: &[Template]) -> Vec<String> {
    let texts = |word: &String| {
        templates
            .iter()
            .map(|template| template.fill(word))
            .collect::<Vec<_>>()
    };
    words.iter().flat_map(texts).collect()
}

#[test]
fn candidates_and_texts_are_those_of_the_neglabel_program() {
    let golden = Golden::open("neglabel");
    let candidates = candidates_of(&golden.files());
    let noun = [Template::parse(NEGLABEL_CODE_NOUN_TEMPLATE).unwrap()];
    let adjective = [Template::parse(NEGLABEL_CODE_ADJECTIVE_TEMPLATE).unwrap()];
    let mut texts = fill(&golden.list("classes"), &noun);
    texts.extend(fill(&candidates.nouns, &noun));
    texts.extend(fill(&candidates.adjectives, &adjective));
    golden.check(&candidates, texts);
}

#[test]
fn candidates_and_texts_are_those_of_the_csp_program() {
    let golden = Golden::open("csp");
    let mut files = golden.files();
    let excluded = [LexFile::Person, LexFile::AdjectivePertainym];
    files.retain(|(file, _)| !excluded.contains(file));
    for (_, words) in &mut files {
        words
            .iter_mut()
            .for_each(|word| *word = word.replace('_', " "));
    }
    let candidates = candidates_of(&files);
    let phrase = |word: &String| {
        let phrase = golden.0["adjective_phrases"][word].as_str().unwrap();
        let superclass = phrase.strip_prefix(word.as_str()).unwrap().trim();
        assert!(SUPERCLASSES.contains(&superclass));
        phrase.to_owned()
    };
    let phrases: Vec<String> = candidates.adjectives.iter().map(phrase).collect();
    let noun = Corpus::Csp.noun_templates();
    let classes = golden.list("classes");
    let mut texts: Vec<String> = noun
        .iter()
        .flat_map(|template| classes.iter().map(|name| template.fill(name)))
        .collect();
    texts.extend(fill(&candidates.nouns, &noun));
    texts.extend(fill(&phrases, &Corpus::Csp.adjective_templates()));
    golden.check(&candidates, texts);
}

#[test]
fn words_that_describe_a_class_are_excluded_with_a_reason() {
    let exclusions =
        WordNet::get().exclusions(&names(&["Dog", "couch", "bus (vehicle)", "zorgle"]));
    for (word, reason) in [
        ("dog", Some(ExclusionReason::ClassName)),
        ("bus", Some(ExclusionReason::ClassName)),
        ("zorgle", Some(ExclusionReason::ClassName)),
        ("omnibus", Some(ExclusionReason::Synonym)),
        ("domestic dog", Some(ExclusionReason::Synonym)),
        ("sofa", Some(ExclusionReason::Synonym)),
        ("Sofa", Some(ExclusionReason::Synonym)),
        ("poodle", Some(ExclusionReason::Hyponym)),
        ("school bus", Some(ExclusionReason::Hyponym)),
        ("love seat", Some(ExclusionReason::Hyponym)),
        ("animal", Some(ExclusionReason::Hypernym)),
        ("entity", Some(ExclusionReason::Hypernym)),
        ("big green bus", Some(ExclusionReason::LastWord)),
        ("small zorgle", Some(ExclusionReason::LastWord)),
        ("tram", None),
        ("bus driver", None),
        ("wolf", None),
        ("cat", None),
    ] {
        assert_eq!(exclusions.reason(word), reason, "{word}");
    }
    assert_eq!(exclusions.found(), ["Dog", "couch", "bus (vehicle)"]);
    assert_eq!(exclusions.not_found(), ["zorgle"]);
}

#[test]
fn the_last_word_of_an_unknown_class_name_is_not_looked_up() {
    let exclusions = WordNet::get().exclusions(&names(&["rescue bus"]));
    assert_eq!(exclusions.not_found(), ["rescue bus"]);
    assert_eq!(exclusions.reason("bus"), None);
    assert_eq!(exclusions.reason("school bus"), None);
}

#[test]
fn exclusions_are_the_same_in_any_order_of_the_classes() {
    let forward = WordNet::get().exclusions(&names(&["dog", "poodle", "animal"]));
    let backward = WordNet::get().exclusions(&names(&["animal", "poodle", "dog"]));
    for synset in WordNet::get().synsets().step_by(7) {
        let word = synset.first_lemma();
        assert_eq!(forward.reason(word), backward.reason(word), "{word}");
    }
    assert_eq!(forward.reason("poodle"), Some(ExclusionReason::ClassName));
    assert_eq!(forward.reason("toy poodle"), Some(ExclusionReason::Hyponym));
}

#[test]
fn excluded_candidates_are_counted() {
    let all = Corpus::WordNet.candidates(0);
    let exclusions = WordNet::get().exclusions(&names(&["dog"]));
    let mut rest = all.clone();
    let counts = rest.exclude(&exclusions);
    assert_eq!(rest.len() + counts.total(), all.len());
    assert_eq!(counts.class_names, 1);
    assert!(
        counts.hyponyms > 100 && counts.hypernyms > 10 && counts.last_words > 2,
        "{counts:?}"
    );
    assert!(
        rest.nouns
            .iter()
            .all(|word| exclusions.reason(word).is_none())
    );
    assert_eq!(rest.exclude(&exclusions).total(), 0);
}

#[test]
fn the_names_of_imagenet_leave_most_words() {
    let classes = ClassNames::built_in("imagenet-1k").unwrap();
    let exclusions = WordNet::get().exclusions(classes.names());
    let mut candidates = Corpus::WordNet.candidates(0);
    let counts = candidates.exclude(&exclusions);
    println!("{counts:?}, {} left", candidates.len());
    assert_eq!(
        (exclusions.found().len(), exclusions.not_found().len()),
        (846, 154)
    );
    assert!(candidates.len() > 60_000);
    // 32 class names are among the published negatives of NegLabel; none may be here.
    for class in classes.names() {
        assert!(exclusions.reason(class).is_some(), "{class}");
    }
}
