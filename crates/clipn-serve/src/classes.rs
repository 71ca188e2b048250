use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clipn::classifier::{Classifier, ClassifierError, Wording, build};
use clipn::engine::TextEncoder;
use clipn::model::{SeenWords, Side, Weights};
use clipn::progress::Progress;
use clipn::prompts::TemplateSet;
use lru::LruCache;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::ServeError;

/// Classes whose rows are kept.
const KEPT: NonZero<usize> = NonZero::new(2000).unwrap();

/// Classes that are encoded before those done are kept.
const AT_ONCE: usize = 4;

/// The text towers, for classes that are named in a request. What has been encoded once is kept.
pub struct ClassEncoder {
    yes: TextEncoder,
    no: TextEncoder,
    templates: TemplateSet,
    wording: Wording,
    seen_words: Option<SeenWords>,
    kept: Mutex<LruCache<String, Rows>>,
    pool: ThreadPool,
}

/// One class: W_yes and W_no, each `[D]`.
type Rows = (Vec<f32>, Vec<f32>);

impl ClassEncoder {
    /// Takes both text towers out of the weights. They stay in memory.
    ///
    /// # Errors
    /// The thread that they run on cannot be started.
    pub fn new(
        weights: &Weights,
        templates: TemplateSet,
        wording: Wording,
    ) -> Result<Self, ServeError> {
        // One thread: new names are rare, and pictures must not wait for them.
        let pool = ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "clipn-text".to_owned())
            .build();
        let failed = |error: rayon::ThreadPoolBuildError| ServeError::Threads {
            what: "the thread of the text towers",
            reason: error.to_string(),
        };
        Ok(Self {
            yes: TextEncoder::from_weights(weights, Side::Yes),
            no: TextEncoder::from_weights(weights, Side::No),
            templates,
            wording,
            seen_words: weights.seen_words().cloned(),
            kept: Mutex::new(LruCache::new(KEPT)),
            pool: pool.map_err(failed)?,
        })
    }

    /// The words of a class name that the model has never read, where its weights tell.
    pub(crate) fn unseen(&self, name: &str) -> Vec<String> {
        self.seen_words
            .as_ref()
            .map(|words| words.unseen(name))
            .unwrap_or_default()
    }

    /// The rows of these classes, encoded now or before. What has been encoded is kept although the rest is cancelled, so
    /// that asking again goes on there.
    fn rows(
        &self,
        names: &[String],
        progress: &dyn Progress,
    ) -> Result<Vec<Rows>, ClassifierError> {
        let mut found: HashMap<String, Rows> = HashMap::new();
        {
            let mut kept = self.kept();
            found.extend(
                names
                    .iter()
                    .filter_map(|name| Some((name.clone(), kept.get(name)?.clone()))),
            );
        }
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !found.contains_key(*name))
            .cloned()
            .collect();
        for missing in missing.chunks(AT_ONCE) {
            let run = || {
                build(
                    missing,
                    &self.templates,
                    self.wording,
                    &self.yes,
                    &self.no,
                    progress,
                )
            };
            let built = self.pool.install(run)?;
            let mut kept = self.kept();
            for (index, name) in missing.iter().enumerate() {
                let rows = rows_of(&built, index);
                kept.put(name.clone(), rows.clone());
                found.insert(name.clone(), rows);
            }
        }
        names
            .iter()
            .map(|name| found.get(name).cloned())
            .collect::<Option<_>>()
            .ok_or(ClassifierError::NoClasses)
    }

    fn kept(&self) -> MutexGuard<'_, LruCache<String, Rows>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all of these are kept, so that nothing has to be encoded.
    fn has(&self, names: &[String]) -> bool {
        let kept = self.kept();
        names.iter().all(|name| kept.contains(name))
    }
}

/// Classifiers for the classes of a request: of the server's own classes, and of others where there is an encoder.
pub(crate) struct Classes {
    own: Classifier,
    places: HashMap<String, usize>,
    encoder: Option<ClassEncoder>,
}

impl Classes {
    pub(crate) fn new(own: &Classifier, encoder: Option<ClassEncoder>) -> Self {
        let places = own
            .class_names()
            .iter()
            .cloned()
            .enumerate()
            .map(|(index, name)| (name, index))
            .collect();
        Self {
            own: own.clone(),
            places,
            encoder,
        }
    }

    pub(crate) fn encoder(&self) -> Option<&ClassEncoder> {
        self.encoder.as_ref()
    }

    /// The names that are not the server's own.
    pub(crate) fn foreign(&self, names: &[String]) -> Vec<String> {
        names
            .iter()
            .filter(|name| !self.places.contains_key(*name))
            .cloned()
            .collect()
    }

    /// Whether a classifier of these names takes no computation.
    pub(crate) fn is_at_hand(&self, names: &[String]) -> bool {
        let foreign = self.foreign(names);
        foreign.is_empty()
            || self
                .encoder
                .as_ref()
                .is_some_and(|encoder| encoder.has(&foreign))
    }

    /// A classifier of these names. The caller has seen to it that there is an encoder where one is needed.
    pub(crate) fn classifier(
        &self,
        names: &[String],
        progress: &dyn Progress,
    ) -> Result<Classifier, ClassifierError> {
        let foreign = self.foreign(names);
        let encoded = match &self.encoder {
            Some(encoder) => encoder.rows(&foreign, progress)?,
            None => Vec::new(),
        };
        let mut encoded: HashMap<String, Rows> = foreign.into_iter().zip(encoded).collect();
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        for name in names {
            let rows = match self.places.get(name) {
                Some(&index) => rows_of(&self.own, index),
                None => encoded.remove(name).ok_or(ClassifierError::NoClasses)?,
            };
            yes.extend(rows.0);
            no.extend(rows.1);
        }
        Ok(Classifier::new(names.to_vec(), yes, no)?.with_scale(self.own.scale()))
    }
}

fn rows_of(classifier: &Classifier, index: usize) -> Rows {
    let dim = classifier.dim();
    let row = |rows: &[f32]| rows[index * dim..][..dim].to_vec();
    (row(classifier.yes()), row(classifier.no()))
}
