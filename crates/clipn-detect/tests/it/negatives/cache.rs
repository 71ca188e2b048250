use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use clipn_base::progress::NoProgress;
use clipn_checkpoint::{Checkpoint, Tensor, write_safetensors};
use clipn_detect::negatives::{CacheOutcome, CachedRows, TemplateJoin, WordFeatureCache, WordList};
use clipn_model::{
    FeatureMatrix, ModelError, ModelWeights, PretrainedWeights, PromptSelection, TextTower,
};
use clipn_text::prompts::Template;
use clipn_text::tokenizer::TokenBatch;

use super::encode::{strings, templates, tower};

/// A tower that counts the texts it encodes.
struct Counting<T> {
    tower: T,
    texts: AtomicUsize,
    delay: Duration,
}

impl<T: TextTower<f32>> TextTower<f32> for Counting<T> {
    fn embed_dim(&self) -> usize {
        self.tower.embed_dim()
    }
    fn context_length(&self) -> usize {
        self.tower.context_length()
    }
    fn encode_with(
        &self,
        tokens: &TokenBatch,
        prompt: PromptSelection,
    ) -> Result<FeatureMatrix<f32>, ModelError> {
        std::thread::sleep(self.delay);
        self.texts
            .fetch_add(tokens.rows().count(), Ordering::Relaxed);
        self.tower.encode_with(tokens, prompt)
    }
}

struct Setup {
    tower: Counting<clipn_engine::TextEncoder>,
    words: Vec<String>,
    templates: Vec<Template>,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        Self {
            tower: Counting {
                tower: tower(),
                texts: AtomicUsize::new(0),
                delay: Duration::ZERO,
            },
            words: strings(&["pizza", "bus", "school bus"]),
            templates: templates(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn list(&self) -> WordList<'_> {
        WordList {
            name: "mine",
            words: &self.words,
            templates: &self.templates,
            join: TemplateJoin::default(),
        }
    }

    fn cache(&self) -> WordFeatureCache {
        WordFeatureCache::new(self.folder.path().join("words"))
    }

    fn encode(&self, list: &WordList<'_>, hash: &str) -> CachedRows<f32> {
        self.cache()
            .encode(list, hash, &self.tower, &NoProgress)
            .unwrap()
    }

    fn texts(&self) -> usize {
        self.tower.texts.load(Ordering::Relaxed)
    }
}

#[test]
fn each_list_is_encoded_once() {
    let setup = Setup::new();
    let list = setup.list();
    let first = setup.encode(&list, "tower");
    assert!(matches!(first.outcome, CacheOutcome::Encoded));
    assert_eq!(setup.texts(), 6);
    let second = setup.encode(&list, "tower");
    assert!(matches!(second.outcome, CacheOutcome::Found));
    assert_eq!((setup.texts(), &second.rows), (6, &first.rows));
    // Whatever the features depend on gives another file.
    let other_words = strings(&["pizza", "bus", "cat"]);
    setup.encode(&list, "another tower");
    setup.encode(
        &WordList {
            words: &other_words,
            ..list
        },
        "tower",
    );
    setup.encode(
        &WordList {
            templates: &setup.templates[..1],
            ..list
        },
        "tower",
    );
    setup.encode(
        &WordList {
            join: TemplateJoin::RawMean,
            ..list
        },
        "tower",
    );
    assert_eq!(setup.texts(), 6 + 6 + 6 + 3 + 6);
    let files = setup.cache().inventory().unwrap();
    assert_eq!(files.len(), 5);
    let file = &files[0];
    assert_eq!((file.name.as_str(), file.words), ("mine", 3));
    assert_eq!(file.bytes, fs::metadata(&file.path).unwrap().len());
}

#[test]
fn an_empty_cache_has_no_files() {
    assert_eq!(Setup::new().cache().inventory().unwrap(), []);
}

#[test]
fn damaged_files_are_replaced_with_a_note() {
    let setup = Setup::new();
    let expected = setup.encode(&setup.list(), "tower").rows;
    let path = setup.cache().inventory().unwrap().remove(0).path;
    let whole = fs::read(&path).unwrap();
    let mut nan = whole.clone();
    let end = nan.len();
    nan[end - 2..].copy_from_slice(&[0xff, 0x7f]);
    let mut zero = whole.clone();
    zero[end - 256..].fill(0);
    let other = String::from_utf8_lossy(&whole[8..40]).into_owned();
    assert!(other.contains("__metadata__"), "{other}");
    for damaged in [
        &whole[..end / 2],
        &whole[..9],
        &[],
        &nan,
        &zero,
        &whole[1..],
    ] {
        fs::write(&path, damaged).unwrap();
        let again = setup.encode(&setup.list(), "tower");
        let CacheOutcome::Replaced { reason } = &again.outcome else {
            panic!("{:?}", again.outcome);
        };
        assert!(!reason.is_empty());
        assert_eq!(again.notes().len(), 1);
        assert_eq!(again.rows, expected);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_file_of_another_list_is_not_trusted() {
    let setup = Setup::new();
    let other_words = strings(&["cat", "bee", "sofa"]);
    let expected = setup.encode(&setup.list(), "tower").rows;
    let path = setup.cache().inventory().unwrap().remove(0).path;
    fs::remove_file(&path).unwrap();
    setup.encode(
        &WordList {
            words: &other_words,
            ..setup.list()
        },
        "tower",
    );
    let other = setup.cache().inventory().unwrap().remove(0).path;
    fs::rename(other, &path).unwrap();
    let again = setup.encode(&setup.list(), "tower");
    assert_eq!(
        again.notes(),
        ["replaced a damaged file of word features: it belongs to another word list or version"]
    );
    assert_eq!(again.rows, expected);
}

#[test]
fn the_least_recently_used_files_are_removed() {
    let setup = Setup::new();
    let age = |name: &str, seconds: u64| {
        let file = setup.cache().inventory().unwrap();
        let file = file.into_iter().find(|file| file.name == name).unwrap();
        let time = SystemTime::now() - Duration::from_secs(seconds);
        let open = fs::File::options().append(true).open(&file.path).unwrap();
        open.set_modified(time).unwrap();
        file.bytes
    };
    let encode = |cache: &WordFeatureCache, name: &str| {
        let list = WordList {
            name,
            ..setup.list()
        };
        cache
            .encode(&list, name, &setup.tower, &NoProgress)
            .unwrap()
    };
    let cache = setup.cache();
    for name in ["a", "b", "c"] {
        encode(&cache, name);
    }
    let bytes = ["a", "b", "c"].map(|name| age(name, 100))[0];
    // `a` is used again, so `b` and `c` are older.
    encode(&cache, "a");
    let cache = cache.with_max_bytes(2 * bytes + bytes / 2);
    let last = encode(&cache, "d");
    assert_eq!(last.removed.len(), 2);
    assert_eq!(
        last.notes(),
        ["removed 2 files of word features, the least recently used"]
    );
    let mut names: Vec<String> = cache
        .inventory()
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect();
    names.sort();
    assert_eq!(names, ["a", "d"]);
    // A list that is larger than the cache is kept while it is in use.
    let small = setup.cache().with_max_bytes(1);
    assert_eq!(encode(&small, "e").removed.len(), 2);
    assert_eq!(small.inventory().unwrap().len(), 1);
}

#[test]
fn concurrent_runs_encode_a_list_once() {
    let mut setup = Setup::new();
    setup.tower.delay = Duration::from_millis(200);
    let rows: Vec<CachedRows<f32>> = std::thread::scope(|scope| {
        let run = || setup.encode(&setup.list(), "tower");
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(setup.texts(), 6);
    assert!(rows.iter().all(|found| found.rows == rows[0].rows));
}

#[test]
fn a_cache_that_cannot_be_written_does_not_fail_the_run() {
    let setup = Setup::new();
    // A file where the directory should be.
    fs::write(setup.folder.path().join("words"), "").unwrap();
    let found = setup.encode(&setup.list(), "tower");
    assert!(matches!(found.outcome, CacheOutcome::NotStored { .. }));
    assert!(found.notes()[0].starts_with("the word features are not cached: cannot create"));
    assert_eq!(found.rows.len(), 3 * setup.tower.embed_dim());
}

#[test]
fn models_with_the_same_yes_tower_share_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let mini = PretrainedWeights::mini().unwrap();
    let (checkpoint, weights) = (mini.checkpoint(), mini.weights(None).unwrap());
    let changed = |name: &str, start: &str| {
        let path = folder.path().join(name);
        let tensors = checkpoint.iter().map(|(name, tensor)| {
            let tensor = match name.starts_with(start) {
                true => {
                    let doubled: Vec<f32> = tensor.to_f32().iter().map(|v| v * 2.0).collect();
                    Tensor::from_f32(tensor.shape(), doubled).unwrap()
                }
                false => tensor.clone(),
            };
            (name.to_owned(), tensor)
        });
        let metadata = checkpoint.metadata().iter();
        let metadata = metadata
            .map(|(key, text)| (key.to_owned(), text.to_owned()))
            .collect();
        write_safetensors(&path, tensors, &metadata).unwrap();
        let changed = Checkpoint::open(&path).unwrap();
        let changed = ModelWeights::new(weights.config().clone(), changed).unwrap();
        assert_ne!(
            (changed.image_tower_hash(), changed.text_towers_hash()),
            (weights.image_tower_hash(), weights.text_towers_hash())
        );
        changed.yes_tower_hash()
    };
    let hash = weights.yes_tower_hash();
    assert_eq!(changed("no.safetensors", "transformer_no."), hash);
    assert_eq!(changed("image.safetensors", "visual.conv1"), hash);
    assert_ne!(changed("yes.safetensors", "transformer.resblocks.1."), hash);
    assert_ne!(changed("table.safetensors", "token_embedding.weight"), hash);
}
