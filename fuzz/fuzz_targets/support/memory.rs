//! Measurement of the peak memory of a reader.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Runs `read` and panics if its peak memory exceeds `limit` bytes, even if the memory was freed
/// again.
pub fn within_memory_limit<T>(limit: usize, read: impl FnOnce() -> T) -> T {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let result = read();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    report(peak);
    assert!(
        peak <= limit,
        "peak memory: expected at most {limit} bytes, got {peak}"
    );
    result
}

/// Prints the maximum peak memory of all runs, whenever it has grown by more than a quarter.
///
/// `fuzz/run.sh` parses the line.
fn report(peak: usize) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static MAX: AtomicUsize = AtomicUsize::new(0);
    let max = MAX.load(Ordering::Relaxed);
    if peak > max + max / 4 {
        MAX.store(peak, Ordering::Relaxed);
        eprintln!("peak memory: {peak} bytes");
    }
}
