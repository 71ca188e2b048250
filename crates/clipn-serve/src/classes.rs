use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use clipn::classifier::{ClassPrompts, Classifier, ClassifierBuilder, ClassifierError};
use clipn::engine::CpuFactory;
use clipn::model::{
    ModelError, ModelWeights, NoSideOrigin, TextSide, TextTower, TowerFactory, TrainingVocabulary,
};
use clipn::progress::Progress;
use lru::LruCache;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::ServeError;

/// Capacity of the cache in classes.
const CACHED_CLASSES: NonZero<usize> = NonZero::new(2000).unwrap();

/// Number of classes that are encoded between two writes to the cache.
const CHUNK_CLASSES: usize = 4;

/// Text towers that encode the classes of a request, with an LRU cache of encoded classes. Clones
/// share both.
#[derive(Clone)]
pub struct ClassEncoder {
    towers: Arc<TextTowers>,
    prompts: ClassPrompts,
    cache: Arc<Mutex<LruCache<String, ClassRows>>>,
}

/// Source of the text towers, with the thread that runs them.
struct TextTowers {
    state: Mutex<TowerState>,
    vocabulary: Option<TrainingVocabulary>,
    pool: ThreadPool,
}

/// Text towers, which are built when the first class is encoded.
enum TowerState {
    Weights {
        weights: Box<ModelWeights>,
        factory: Arc<dyn TowerFactory>,
    },
    Built(Arc<TowerPair>),
}

/// The text towers of a model.
struct TowerPair {
    yes: Box<dyn TextTower<f32>>,
    /// `None` if the model has not learned "no".
    no: Option<Box<dyn TextTower<f32>>>,
}

impl TowerPair {
    fn build(weights: &ModelWeights, factory: &dyn TowerFactory) -> Result<Self, ModelError> {
        let pair = Self {
            yes: factory.text_tower(weights, TextSide::Yes)?,
            no: match weights.no_side_origin() {
                NoSideOrigin::Stored => Some(factory.text_tower(weights, TextSide::No)?),
                NoSideOrigin::CopiedFromYes => None,
            },
        };
        weights.release_pages();
        Ok(pair)
    }

    fn check_unchanged(&self) -> Result<(), ModelError> {
        self.yes.check_unchanged()?;
        self.no.as_ref().map_or(Ok(()), |no| no.check_unchanged())
    }
}

impl TextTowers {
    /// Returns the towers, and builds them if this is the first time.
    fn pair(&self) -> Result<Arc<TowerPair>, ModelError> {
        let mut state = self.state();
        let pair = match &*state {
            TowerState::Built(pair) => return Ok(Arc::clone(pair)),
            TowerState::Weights { weights, factory } => {
                weights.check_unchanged()?;
                let pair = TowerPair::build(weights, &**factory)?;
                // What was read before a change is right, and what came after it is not.
                weights.check_unchanged()?;
                Arc::new(pair)
            }
        };
        *state = TowerState::Built(Arc::clone(&pair));
        Ok(pair)
    }

    /// Does not wait for towers that are being built, which is checked there.
    fn check_unchanged(&self) -> Result<(), ModelError> {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        match &*state {
            TowerState::Weights { weights, .. } => weights.check_unchanged(),
            TowerState::Built(pair) => pair.check_unchanged(),
        }
    }

    fn state(&self) -> MutexGuard<'_, TowerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of the `W_yes` and, if there is one, the `W_no` matrix for one class, each `[D]`.
type ClassRows = (Vec<f32>, Option<Vec<f32>>);

impl fmt::Debug for ClassEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassEncoder")
            .field("prompts", &self.prompts)
            .finish_non_exhaustive()
    }
}

impl ClassEncoder {
    /// Creates an encoder with the text towers of the weights: "yes" and, unless it is a copy, "no".
    ///
    /// They are built when the first class is encoded, and then stay in memory: most servers never encode a
    /// class, and the tower of a ViT-B-32 takes 170 MB. Weights that are not memory-mapped would take as much until
    /// then, so that their towers are built at once.
    ///
    /// # Errors
    /// - [`ServeError::SpawnThreads`] if the text encoding thread cannot be started.
    /// - [`ServeError::Model`] if towers that are built at once fail.
    pub fn new(weights: &ModelWeights, prompts: ClassPrompts) -> Result<Self, ServeError> {
        Self::new_on(weights, prompts, Arc::new(CpuFactory))
    }

    /// Same as [`new`](Self::new), with the text towers on the device of `factory`.
    ///
    /// # Errors
    /// Same as [`new`](Self::new).
    pub fn new_on(
        weights: &ModelWeights,
        prompts: ClassPrompts,
        factory: Arc<dyn TowerFactory>,
    ) -> Result<Self, ServeError> {
        // One thread: new names are rare, and encoding them must not delay images.
        let pool = ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "clipn-text".to_owned())
            .build();
        let failed = |error: rayon::ThreadPoolBuildError| ServeError::SpawnThreads {
            what: "the text encoding thread",
            reason: error.to_string(),
        };
        let state = if weights.is_mapped() {
            // Pages that a hash of the weights has read.
            weights.release_pages();
            TowerState::Weights {
                weights: Box::new(weights.clone()),
                factory,
            }
        } else {
            TowerState::Built(Arc::new(TowerPair::build(weights, &*factory)?))
        };
        let towers = TextTowers {
            state: Mutex::new(state),
            vocabulary: weights.training_vocabulary().cloned(),
            pool: pool.map_err(failed)?,
        };
        Ok(Self::from_towers(Arc::new(towers), prompts))
    }

    /// Creates an encoder with the same text towers, in memory once, and other prompts.
    #[must_use]
    pub fn with_prompts(&self, prompts: ClassPrompts) -> Self {
        Self::from_towers(Arc::clone(&self.towers), prompts)
    }

    fn from_towers(towers: Arc<TextTowers>, prompts: ClassPrompts) -> Self {
        Self {
            towers,
            prompts,
            cache: Arc::new(Mutex::new(LruCache::new(CACHED_CLASSES))),
        }
    }

    /// Checks that the weights of the text towers were not changed on disk.
    pub(crate) fn check_unchanged(&self) -> Result<(), ModelError> {
        self.towers.check_unchanged()
    }

    /// Words of a class name that did not occur in the training captions. Empty if the weights do
    /// not record the training vocabulary.
    pub(crate) fn unseen(&self, name: &str) -> Vec<String> {
        self.towers
            .vocabulary
            .as_ref()
            .map(|words| words.unknown_words(name))
            .unwrap_or_default()
    }

    /// Returns the rows of the classes, from the cache or newly encoded. Finished chunks stay in
    /// the cache if the rest is cancelled, so that a retry resumes there.
    fn rows(
        &self,
        names: &[String],
        progress: &dyn Progress,
    ) -> Result<Vec<ClassRows>, ClassifierError> {
        let mut found: HashMap<String, ClassRows> = HashMap::new();
        {
            let mut cache = self.cache();
            found.extend(
                names
                    .iter()
                    .filter_map(|name| Some((name.clone(), cache.get(name)?.clone()))),
            );
        }
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !found.contains_key(*name))
            .cloned()
            .collect();
        for chunk in missing.chunks(CHUNK_CLASSES) {
            let builder = ClassifierBuilder::new(chunk)
                .with_prompts(self.prompts.clone())
                .with_progress(progress);
            let pair = self.towers.pair()?;
            let (yes, no) = (&*pair.yes, pair.no.as_deref());
            let built = self
                .towers
                .pool
                .install(|| builder.build_with_towers(yes, no))?;
            let mut cache = self.cache();
            for (index, name) in chunk.iter().enumerate() {
                let rows = class_rows(&built, index);
                cache.put(name.clone(), rows.clone());
                found.insert(name.clone(), rows);
            }
        }
        names
            .iter()
            .map(|name| found.get(name).cloned())
            .collect::<Option<_>>()
            .ok_or(ClassifierError::NoClasses)
    }

    fn cache(&self) -> MutexGuard<'_, LruCache<String, ClassRows>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all classes are in the cache, so that nothing has to be encoded.
    fn is_cached(&self, names: &[String]) -> bool {
        let cache = self.cache();
        names.iter().all(|name| cache.contains(name))
    }
}

/// Builder of classifiers for the classes of a request. They may mix the server's own classes and,
/// if there is an encoder, custom ones.
pub(crate) struct Classes {
    own: Classifier,
    /// Class name to index in `own`.
    indices: HashMap<String, usize>,
    encoder: Option<ClassEncoder>,
}

impl Classes {
    pub(crate) fn new(own: &Classifier, encoder: Option<ClassEncoder>) -> Self {
        let indices = own
            .class_names()
            .iter()
            .cloned()
            .enumerate()
            .map(|(index, name)| (name, index))
            .collect();
        Self {
            own: own.clone(),
            indices,
            encoder,
        }
    }

    pub(crate) fn encoder(&self) -> Option<&ClassEncoder> {
        self.encoder.as_ref()
    }

    /// Returns the names that are not among the server's own classes.
    pub(crate) fn custom(&self, names: &[String]) -> Vec<String> {
        names
            .iter()
            .filter(|name| !self.indices.contains_key(*name))
            .cloned()
            .collect()
    }

    /// Whether a classifier for these names can be built without encoding text.
    pub(crate) fn is_ready(&self, names: &[String]) -> bool {
        let custom = self.custom(names);
        custom.is_empty()
            || self
                .encoder
                .as_ref()
                .is_some_and(|encoder| encoder.is_cached(&custom))
    }

    /// Builds a classifier for these names. Custom names require an encoder; the caller checks
    /// that.
    pub(crate) fn classifier(
        &self,
        names: &[String],
        progress: &dyn Progress,
    ) -> Result<Classifier, ClassifierError> {
        let custom = self.custom(names);
        let encoded = match &self.encoder {
            Some(encoder) => encoder.rows(&custom, progress)?,
            None => Vec::new(),
        };
        let mut encoded: HashMap<String, ClassRows> = custom.into_iter().zip(encoded).collect();
        let mut yes = Vec::new();
        let mut no = self.own.has_no().then(Vec::new);
        for name in names {
            let rows = match self.indices.get(name) {
                Some(&index) => class_rows(&self.own, index),
                None => encoded.remove(name).ok_or(ClassifierError::NoClasses)?,
            };
            yes.extend(rows.0);
            if let Some(no) = &mut no {
                no.extend(rows.1.ok_or(ClassifierError::MixedNo)?);
            }
        }
        let negatives = self.own.negatives();
        let negatives = negatives.map(|own| own.for_classes(names)).transpose()?;
        Classifier::new(names.to_vec(), yes, no)?
            .with_scales_of(&self.own)
            .with_negatives(negatives)
    }
}

fn class_rows(classifier: &Classifier, index: usize) -> ClassRows {
    let dim = classifier.dim();
    let row = |rows: &[f32]| rows[index * dim..][..dim].to_vec();
    let no = classifier.no_weights().map(row);
    (row(classifier.yes_weights()), no)
}
