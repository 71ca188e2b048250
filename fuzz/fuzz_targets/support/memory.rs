//! How much memory a reader takes.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Reads, and stops where the memory taken on the way, freed again or not, was over `limit` bytes.
pub fn within<T>(limit: usize, read: impl FnOnce() -> T) -> T {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let result = read();
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    tell(taken);
    assert!(
        taken <= limit,
        "{taken} bytes were taken, and {limit} may be"
    );
    result
}

/// Tells the most memory that was taken so far, when it has grown by a quarter.
fn tell(taken: usize) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static MOST: AtomicUsize = AtomicUsize::new(0);
    let most = MOST.load(Ordering::Relaxed);
    if taken > most + most / 4 {
        MOST.store(taken, Ordering::Relaxed);
        eprintln!("taken: {taken} bytes");
    }
}
