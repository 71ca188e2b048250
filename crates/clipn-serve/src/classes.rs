use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;

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
    pub fn new(weights: &Weights, templates: TemplateSet, wording: Wording) -> Result<Self, ServeError> {
        // One thread: new names are rare, and pictures must not wait for them.
        let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "clipn-text".to_owned()).build();
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
        self.seen_words.as_ref().map(|words| words.unseen(name)).unwrap_or_default()
    }

    /// The rows of these classes, encoded now or before.
    fn rows(&self, names: &[String], progress: &dyn Progress) -> Result<Vec<Rows>, ClassifierError> {
        let mut fresh = HashMap::new();
        let missing = self.missing(names);
        if !missing.is_empty() {
            let run = || build(&missing, &self.templates, self.wording, &self.yes, &self.no, progress);
            let built = self.pool.install(run)?;
            for (index, name) in missing.into_iter().enumerate() {
                fresh.insert(name, rows_of(&built, index));
            }
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, rows) in &fresh {
            kept.put(name.clone(), rows.clone());
        }
        let row = |name: &String| fresh.get(name).or_else(|| kept.get(name)).cloned();
        names.iter().map(row).collect::<Option<_>>().ok_or(ClassifierError::NoClasses)
    }

    /// The classes that are not kept, each once. What is kept is used, so that it stays.
    fn missing(&self, names: &[String]) -> Vec<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<String> = Vec::new();
        for name in names {
            if kept.get(name).is_none() && !missing.contains(name) {
                missing.push(name.clone());
            }
        }
        missing
    }

    /// Whether all of these are kept, so that nothing has to be encoded.
    fn has(&self, names: &[String]) -> bool {
        self.missing(names).is_empty()
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
        let places =
            own.class_names().iter().cloned().enumerate().map(|(index, name)| (name, index)).collect();
        Self { own: own.clone(), places, encoder }
    }

    pub(crate) fn encoder(&self) -> Option<&ClassEncoder> {
        self.encoder.as_ref()
    }

    /// The names that are not the server's own.
    pub(crate) fn foreign(&self, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| !self.places.contains_key(*name)).cloned().collect()
    }

    /// Whether a classifier of these names takes no computation.
    pub(crate) fn is_at_hand(&self, names: &[String]) -> bool {
        let foreign = self.foreign(names);
        foreign.is_empty() || self.encoder.as_ref().is_some_and(|encoder| encoder.has(&foreign))
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
