//! Accounting of a device's memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::DeviceError;

/// Memory that a device may use. Drivers do not all report a lack of memory, so it is counted here.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    limit: Option<u64>,
    used: Arc<AtomicU64>,
}

/// Part of a budget, which is returned when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl MemoryBudget {
    /// Creates a budget of `limit` bytes, or one that only counts.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// Returns the bytes left; `None` without a limit.
    pub(crate) fn available(&self) -> Option<u64> {
        let used = self.used.load(Ordering::Relaxed);
        self.limit.map(|limit| limit.saturating_sub(used))
    }

    /// Reserves memory for a buffer.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] if less is left.
    pub(crate) fn reserve(&self, device: &str, bytes: u64) -> Result<Reservation, DeviceError> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let add = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= limit);
        let ordering = Ordering::Relaxed;
        match self.used.fetch_update(ordering, ordering, add) {
            Ok(_) => Ok(Reservation {
                bytes,
                used: Arc::clone(&self.used),
            }),
            Err(used) => Err(DeviceError::OutOfMemory {
                what: "a buffer".to_owned(),
                device: device.to_owned(),
                needed: bytes.div_ceil(1 << 20),
                available: limit.saturating_sub(used) >> 20,
            }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Workspaces of all towers of a device that no call uses: they make room for those of another tower.
#[derive(Debug, Default)]
pub struct IdleWorkspaces(Mutex<Vec<Weak<dyn Idle>>>);

impl IdleWorkspaces {
    pub(crate) fn add(&self, list: Weak<dyn Idle>) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|list| list.strong_count() > 0);
        lists.push(list);
    }

    /// Frees all; returns whether there were any.
    pub(crate) fn clear(&self) -> bool {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lists: Vec<_> = lists.iter().filter_map(Weak::upgrade).collect();
        lists.iter().filter(|list| list.clear()).count() > 0
    }
}

/// Idle workspaces of a tower.
pub(crate) trait Idle: std::fmt::Debug + Send + Sync {
    /// Frees them; returns whether there were any.
    fn clear(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_available_again_after_a_buffer_is_dropped() {
        let budget = MemoryBudget::new(Some(100));
        let first = budget.reserve("test", 60).unwrap();
        assert_eq!(budget.available(), Some(40));
        let error = budget.reserve("test", 41).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a buffer needs 1 MiB on test, which has 0 MiB left"
        );
        drop(first);
        assert!(budget.reserve("test", 100).is_ok());
    }
}
