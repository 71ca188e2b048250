use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use clipn::error::chain_in_one_line;

use super::source::{OpenError, WatchedFile};
use super::{Bundles, Deployment, ServedModel, Slot, engine_for};
use crate::engine::Resources;
use crate::metrics::Metrics;

/// State of a file, compared without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    modified: Option<SystemTime>,
    len: u64,
    /// Device and inode: a file that is renamed into place may be as old and as long as the one before.
    #[cfg(unix)]
    inode: (u64, u64),
}

impl FileStamp {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino())
            },
        })
    }
}

/// What was seen of a watched file.
#[derive(Debug)]
pub(super) struct WatchState {
    /// State that is in service, or that could not be opened.
    tried: Option<FileStamp>,
    /// Newer state that the last poll saw.
    changed: Option<FileStamp>,
    is_missing: bool,
    /// Why the state in `tried` could not be opened.
    failure: Option<Failure>,
}

/// A file that could not be opened, and is tried again: the cause may be outside of it, such as weights
/// that come later than their bundle.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    problem: String,
    /// Polls between two attempts.
    interval: u32,
    /// Polls until the next attempt.
    left: u32,
}

/// Maximum number of polls between two attempts, about a minute by default.
const MAX_RETRY_INTERVAL: u32 = 32;

/// What a poll of a file found.
#[derive(Debug, PartialEq, Eq)]
enum Poll {
    Unchanged,
    /// The metadata of the file cannot be read, for the first time.
    Missing(String),
    /// The file has changed, and then stayed the same for one interval, or it could not be opened and is due
    /// again.
    Changed,
}

impl WatchState {
    pub(super) fn new(opened: Option<FileStamp>) -> Self {
        Self {
            tried: opened,
            changed: None,
            is_missing: false,
            failure: None,
        }
    }

    fn poll(&mut self, found: std::io::Result<FileStamp>) -> Poll {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.changed = None;
                return match std::mem::replace(&mut self.is_missing, true) {
                    true => Poll::Unchanged,
                    false => Poll::Missing(error.to_string()),
                };
            }
        };
        self.is_missing = false;
        if self.tried == Some(found) {
            self.changed = None;
            return match &mut self.failure {
                Some(failure) => {
                    failure.left = failure.left.saturating_sub(1);
                    match failure.left {
                        0 => Poll::Changed,
                        _ => Poll::Unchanged,
                    }
                }
                None => Poll::Unchanged,
            };
        }
        // A file that is still being written changes again until the next poll.
        if self.changed.replace(found) != Some(found) {
            return Poll::Unchanged;
        }
        self.tried = Some(found);
        self.changed = None;
        self.failure = None;
        Poll::Changed
    }

    /// Records an attempt to open the file. Returns the problem if it is another one than that of the last
    /// attempt.
    fn attempted(&mut self, problem: Option<String>) -> Option<String> {
        let Some(problem) = problem else {
            self.failure = None;
            return None;
        };
        let before = self.failure.take();
        let interval = before.as_ref().map_or(1, |failure| failure.interval * 2);
        let interval = interval.min(MAX_RETRY_INTERVAL);
        let is_new = before.is_none_or(|failure| failure.problem != problem);
        self.failure = Some(Failure {
            problem: problem.clone(),
            interval,
            left: interval,
        });
        is_new.then_some(problem)
    }
}

/// Polls the files of all bundles once, and replaces the models of those that have changed.
pub(crate) fn watch(bundles: &Bundles, resources: &Arc<Resources>, metrics: &Metrics) {
    for slot in bundles.iter() {
        let Some((file, state)) = &slot.file else {
            continue;
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let poll = state.poll(FileStamp::of(&file.path));
        let (bundle, path) = (slot.name(), file.path.display());
        let problem = match poll {
            Poll::Unchanged => None,
            Poll::Missing(problem) => Some(problem),
            Poll::Changed => {
                let before = slot.current();
                let failed = reload(slot, file, bundles, resources).err();
                if failed.is_none() {
                    let now = slot.current();
                    let (classes, calibrated) =
                        (now.detector.classifier().len(), now.is_calibrated());
                    tracing::info!(bundle, %path, classes, calibrated, "bundle reloaded");
                    if before.is_calibrated() && !calibrated {
                        tracing::warn!(
                            bundle, %path,
                            "the reloaded bundle has no calibrated threshold, as the one before had; the published \
                             rule of its score decides"
                        );
                    }
                    metrics.record_reload(bundle, true);
                }
                state.attempted(failed.map(|error| chain_in_one_line(&*error)))
            }
        };
        slot.set_stale(state.is_missing || state.failure.is_some());
        if let Some(problem) = problem {
            metrics.record_reload(bundle, false);
            tracing::warn!(
                bundle, %path, problem,
                "cannot reload the bundle; the one before stays in service"
            );
        }
    }
}

/// Opens a file and puts its model into service.
fn reload(
    slot: &Slot,
    file: &WatchedFile,
    bundles: &Bundles,
    resources: &Arc<Resources>,
) -> Result<(), OpenError> {
    let running: Vec<Arc<Deployment>> = bundles.iter().map(Slot::current).collect();
    let others: Vec<ServedModel> = running.iter().map(|d| ServedModel::from(&**d)).collect();
    let model = (file.open)(&others)?;
    let engines = running.iter().map(|d| Arc::clone(&d.engine));
    let engine = engine_for(&model, engines, resources)?;
    slot.replace(Deployment::new(slot.name().to_owned(), model, engine));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(len: u64) -> FileStamp {
        FileStamp {
            modified: None,
            len,
            #[cfg(unix)]
            inode: (1, 2),
        }
    }

    fn missing() -> std::io::Error {
        std::io::ErrorKind::NotFound.into()
    }

    #[test]
    fn a_change_counts_once_it_has_settled() {
        let mut state = WatchState::new(Some(stamp(1)));
        let mut poll = |len| state.poll(Ok(stamp(len)));
        assert_eq!(poll(1), Poll::Unchanged);
        // The file grows while it is written.
        assert_eq!(
            [poll(2), poll(3), poll(4)],
            [(); 3].map(|()| Poll::Unchanged)
        );
        assert_eq!(poll(4), Poll::Changed);
        assert_eq!(poll(4), Poll::Unchanged);
        // Back to what is in service, before it was opened.
        assert_eq!(
            [poll(5), poll(4), poll(4)],
            [(); 3].map(|()| Poll::Unchanged)
        );
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_tried_again_and_reported_once() {
        let mut state = WatchState::new(Some(stamp(1)));
        let polls_until_changed = |state: &mut WatchState| {
            let polls = (1..100).find(|_| state.poll(Ok(stamp(2))) == Poll::Changed);
            polls.unwrap()
        };
        assert_eq!(polls_until_changed(&mut state), 2);
        let without_weights = || Some("no weights".to_owned());
        assert_eq!(state.attempted(without_weights()), without_weights());
        let mut waited = Vec::new();
        for _ in 0..7 {
            waited.push(polls_until_changed(&mut state));
            assert_eq!(state.attempted(without_weights()), None);
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 32, 32]);
        polls_until_changed(&mut state);
        let other = || Some("other weights".to_owned());
        assert_eq!(state.attempted(other()), other());
        // A new file is tried at once.
        assert_eq!(state.poll(Ok(stamp(3))), Poll::Unchanged);
        assert_eq!(state.poll(Ok(stamp(3))), Poll::Changed);
        assert_eq!(state.attempted(None), None);
        assert!((0..100).all(|_| state.poll(Ok(stamp(3))) == Poll::Unchanged));
    }

    #[test]
    fn a_missing_file_is_reported_once() {
        let mut state = WatchState::new(Some(stamp(1)));
        assert!(matches!(state.poll(Err(missing())), Poll::Missing(_)));
        assert_eq!(state.poll(Err(missing())), Poll::Unchanged);
        assert_eq!(state.poll(Ok(stamp(1))), Poll::Unchanged);
        assert!(matches!(state.poll(Err(missing())), Poll::Missing(_)));
        assert_eq!(state.poll(Ok(stamp(2))), Poll::Unchanged);
        assert_eq!(state.poll(Ok(stamp(2))), Poll::Changed);
    }
}
