//! How long work tells that it goes on, and how it is asked to stop.

/// Watches work that may take long. The library never prints: a program shows what it is told here.
pub trait Progress: Sync {
    /// A stage begins: what is done, and how many units it has.
    fn begin(&self, _stage: &str, _total: u64) {}

    /// A stage whose units are bytes.
    fn begin_bytes(&self, stage: &str, total: u64) {
        self.begin(stage, total);
    }

    /// So many more units of the stage are done.
    fn advance(&self, _units: u64) {}

    /// The stage is over.
    fn end(&self) {}

    /// Whether the work should stop as soon as it can; asked between small pieces of work.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody watches and nothing is cancelled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
