//! Freed memory that glibc's allocator keeps for later.

/// Makes the allocator return freed memory to the system, unless the user has set it up by environment variables.
///
/// glibc raises the size from which memory is returned with the largest block that was freed, up to 64 MiB in each of
/// its arenas: a server of a ViT-B-32 kept 110 MiB after a burst of photos, which is as much as its weights in int8.
/// A constant size keeps 30 MiB at the same rate. Blocks up to 1 MiB, such as the pixels of an image, come from the
/// arenas, since mapping each of them costs 5 % of the time of a small model.
pub(crate) fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if !is_set_up() {
        use nix::libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
        // SAFETY: changes two parameters of the allocator, under its own lock. What it does not accept has no effect.
        unsafe {
            mallopt(M_TRIM_THRESHOLD, 4 << 20);
            mallopt(M_MMAP_THRESHOLD, 1 << 20);
        }
    }
}

/// Whether the environment sets up the allocator.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn is_set_up() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    is_set("GLIBC_TUNABLES") || is_set("MALLOC_TRIM_THRESHOLD_") || is_set("MALLOC_MMAP_THRESHOLD_")
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Resident memory of this process in bytes.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// Bytes that stay resident after a thread has freed `blocks` of 600 kB.
    fn kept(blocks: usize) -> usize {
        std::thread::spawn(move || {
            let before = resident();
            drop(vec![vec![1u8; 600 << 10]; blocks]);
            resident().saturating_sub(before)
        })
        .join()
        .unwrap()
    }

    #[test]
    fn freed_memory_is_returned() {
        return_freed_memory();
        // Freeing a large block raises the sizes that are not set.
        drop(vec![1u8; 30 << 20]);
        let kept = kept(80);
        assert!(kept < 24 << 20, "{kept} bytes are kept");
    }
}
