//! Progress reports and cancellation of long-running work.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use clipn_base::progress::Progress;
//!
//! #[derive(Default)]
//! struct Counter(AtomicU64);
//!
//! impl Progress for Counter {
//!     fn advance(&self, units: u64) {
//!         self.0.fetch_add(units, Ordering::Relaxed);
//!     }
//! }
//!
//! let counter = Counter::default();
//! counter.begin("encoding images", 3);
//! counter.advance(3);
//! counter.end();
//! assert_eq!(counter.0.into_inner(), 3);
//! ```

/// Observer of long-running work, which can also cancel it.
///
/// The library never prints; a program implements this trait to show progress. Every method has a
/// default that does nothing.
pub trait Progress: Sync {
    /// Begins a stage of `total` units; `stage` describes the work.
    fn begin(&self, _stage: &str, _total: u64) {}

    /// Begins a stage whose units are bytes.
    fn begin_bytes(&self, stage: &str, total: u64) {
        self.begin(stage, total);
    }

    /// Reports that `units` more units of the stage are complete.
    fn advance(&self, _units: u64) {}

    /// Ends the stage.
    fn end(&self) {}

    /// Whether the work should stop as soon as possible. It is polled between small pieces of work.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// [`Progress`] that ignores all reports and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
