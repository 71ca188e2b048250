use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clipn::classifier::{ClassPrompts, Classifier, ClassifierBuilder, ClassifierError};
use clipn::engine::CpuFactory;
use clipn::model::{
    ModelWeights, NoSideOrigin, TextSide, TextTower, TowerFactory, TrainingVocabulary,
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

/// Text towers with the thread that runs them.
struct TextTowers {
    yes: Box<dyn TextTower<f32>>,
    /// `None` if the model has not learned "no".
    no: Option<Box<dyn TextTower<f32>>>,
    vocabulary: Option<TrainingVocabulary>,
    pool: ThreadPool,
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
    /// Builds the text towers from the weights: "yes" and, unless it is a copy, "no". They stay in
    /// memory.
    ///
    /// # Errors
    /// [`ServeError::SpawnThreads`] if the text encoding thread cannot be started.
    pub fn new(weights: &ModelWeights, prompts: ClassPrompts) -> Result<Self, ServeError> {
        Self::new_on(weights, prompts, &CpuFactory)
    }

    /// Same as [`new`](Self::new), with the text towers on the device of `towers`.
    ///
    /// # Errors
    /// Same as [`new`](Self::new), and [`ServeError::Model`] if the device fails.
    pub fn new_on(
        weights: &ModelWeights,
        prompts: ClassPrompts,
        factory: &dyn TowerFactory,
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
        let towers = TextTowers {
            yes: factory.text_tower(weights, TextSide::Yes)?,
            no: match weights.no_side_origin() {
                NoSideOrigin::Stored => Some(factory.text_tower(weights, TextSide::No)?),
                _ => None,
            },
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
            let TextTowers { yes, no, pool, .. } = &*self.towers;
            let no = no.as_deref();
            let built = pool.install(|| builder.build_with_towers(&**yes, no))?;
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
            .with_scale(self.own.scale())
            .with_negatives(negatives)
    }
}

fn class_rows(classifier: &Classifier, index: usize) -> ClassRows {
    let dim = classifier.dim();
    let row = |rows: &[f32]| rows[index * dim..][..dim].to_vec();
    let no = classifier.no_weights().map(row);
    (row(classifier.yes_weights()), no)
}
