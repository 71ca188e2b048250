use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use clipn::classifier::ClassifierError;
use clipn::detector::Detector;
use clipn::progress::Progress;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::body::BodyLimits;
use super::observe::RequestIds;
use super::problem::Problem;
use crate::ServeSettings;
use crate::classes::Classes;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::metrics::SharedMetrics;

/// Requests that wait for the text towers at most.
const WAITING_FOR_TEXTS: usize = 4;

/// Characters of a class name at most.
pub(super) const LONGEST_NAME: usize = 100;

/// What all requests share.
pub(crate) struct App {
    pub(crate) settings: ServeSettings,
    pub(crate) detector: Detector,
    pub(crate) model: String,
    pub(crate) engine: Engine,
    pub(crate) classes: Arc<Classes>,
    pub(crate) metrics: SharedMetrics,
    pub(crate) bodies: BodyLimits,
    pub(crate) request_ids: RequestIds,
    pub(crate) stopping: AtomicBool,
    pub(crate) texts: Texts,
}

/// One classifier is built at a time, and few wait.
pub(crate) struct Texts {
    turn: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl App {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The detector for a request's classes, or the server's own.
    pub(super) async fn detector_for(
        &self,
        classes: Option<Vec<String>>,
        top: usize,
        deadline: Instant,
    ) -> Result<Detector, Problem> {
        let Some(names) = classes else {
            return Ok(self.detector.clone().with_top(top));
        };
        let names = self.checked(&names)?;
        let foreign = self.classes.foreign(&names);
        if let (Some(first), None) = (foreign.first(), self.classes.encoder()) {
            return Err(Problem::new(
                422,
                "classes_fixed",
                format!(
                    "`{first}` is none of the server's classes, and it has no text towers to learn others: it was \
                     started with a bundle alone; /v1/info lists its classes"
                ),
            ));
        }
        let classifier = if self.classes.is_at_hand(&names) {
            self.classes
                .classifier(&names, &clipn::progress::Silent)
                .map_err(|error| unbuilt(&error))?
        } else {
            self.encode(names, deadline).await?
        };
        let detector = self.detector.with_classifier(classifier);
        let failed = |error: clipn::detector::DetectorError| {
            Problem::new(422, "bad_classes", error.to_string())
        };
        Ok(detector.map_err(failed)?.with_top(top))
    }

    /// Builds a classifier on a thread of its own; stopped where nobody waits for it any more.
    async fn encode(
        &self,
        names: Vec<String>,
        deadline: Instant,
    ) -> Result<clipn::classifier::Classifier, Problem> {
        let waiting = Waiting::new(&self.texts.waiting)?;
        let late = |_| {
            Problem::from(Failure::Deadline {
                millis: self.settings.deadline.as_millis(),
            })
        };
        let turn = timeout_at(deadline.into(), self.texts.turn.acquire())
            .await
            .map_err(late)?;
        let _turn = turn.map_err(|_| Problem::from(Failure::Stopping))?;
        let stop = Stop::default();
        let (classes, progress) = (Arc::clone(&self.classes), UntilStopped(Arc::clone(&stop.0)));
        let building = tokio::task::spawn_blocking(move || classes.classifier(&names, &progress));
        let built = timeout_at(deadline.into(), building).await.map_err(late)?;
        drop(waiting);
        built
            .map_err(|_| Problem::internal())?
            .map_err(|error| unbuilt(&error))
    }

    /// Class names that may be asked for.
    fn checked(&self, names: &[String]) -> Result<Vec<String>, Problem> {
        let bad = |message: String| Err(Problem::new(422, "bad_classes", message));
        let most = self.settings.max_classes;
        if names.is_empty() || names.len() > most {
            return bad(format!(
                "{} classes are named; from 1 to {most} may be",
                names.len()
            ));
        }
        let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
        for (index, name) in names.iter().enumerate() {
            let place = index + 1;
            if name.is_empty() {
                return bad(format!("class {place} has no name"));
            }
            if name.chars().count() > LONGEST_NAME {
                return bad(format!(
                    "the name of class {place} has more than {LONGEST_NAME} characters"
                ));
            }
            if name.chars().any(char::is_control) {
                return bad(format!(
                    "the name of class {place} has control characters in it"
                ));
            }
            if names[..index].contains(name) {
                return bad(format!("class {place} is called as one before it"));
            }
        }
        Ok(names)
    }
}

fn unbuilt(error: &ClassifierError) -> Problem {
    Problem::new(422, "bad_classes", error.to_string())
}

/// A request in the line for the text towers.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Result<Self, Problem> {
        let waiting = Self(count);
        if count.fetch_add(1, Ordering::SeqCst) < WAITING_FOR_TEXTS {
            return Ok(waiting);
        }
        let message =
            "several others have named classes of their own just now; try again in a moment";
        Err(Problem::new(429, "texts_busy", message))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Dropped with the request that it belongs to.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct UntilStopped(Arc<AtomicBool>);

impl Progress for UntilStopped {
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
