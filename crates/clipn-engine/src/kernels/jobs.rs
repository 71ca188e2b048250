//! Work of one product on several threads.

use std::ops::Range;

use rayon::prelude::*;

/// Pointer to the first value of the output, shared by threads that write different columns of it.
#[derive(Clone, Copy)]
pub(crate) struct OutputPtr(pub *mut f32);

impl OutputPtr {
    /// Returns the pointer; a closure that calls it captures the whole, which other threads may
    /// use.
    pub(crate) fn as_ptr(self) -> *mut f32 {
        self.0
    }
}

// SAFETY: the threads write disjoint columns.
unsafe impl Send for OutputPtr {}
// SAFETY: as above.
unsafe impl Sync for OutputPtr {}

/// Divides `panels` column panels among up to `threads` jobs, which run in parallel.
pub(super) fn run_jobs(panels: usize, threads: usize, run: impl Fn(Range<usize>) + Sync) {
    let jobs = threads.clamp(1, panels.max(1));
    if jobs == 1 {
        return run(0..panels);
    }
    (0..jobs)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|i| run(i * panels / jobs..(i + 1) * panels / jobs));
}
