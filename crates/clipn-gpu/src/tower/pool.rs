//! Reuse of the buffers and programs of batches.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::DeviceError;
use crate::memory::{Idle, IdleWorkspaces};

/// Maximum number of idle workspaces that are kept.
const MAX_IDLE: usize = 4;

/// Maximum number of calls for inference under way: one computes while another copies. More would only
/// take memory.
const MAX_CALLS: usize = 2;

/// Permits of calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    under_way: Mutex<usize>,
    ended: Condvar,
}

/// A call under way, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a>(&'a Calls);

impl Calls {
    /// Waits until fewer than [`MAX_CALLS`] are under way.
    pub(crate) fn begin(&self) -> Call<'_> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *under_way >= MAX_CALLS {
            let waited = self.ended.wait(under_way);
            under_way = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *under_way += 1;
        Call(self)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let calls = self.0;
        let mut under_way = calls
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *under_way -= 1;
        calls.ended.notify_one();
    }
}

/// Workspaces by their size, oldest first.
struct IdleList<K, W>(Mutex<Vec<(K, W)>>);

impl<K, W> std::fmt::Debug for IdleList<K, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdleList").finish_non_exhaustive()
    }
}

impl<K: Send, W: Send> Idle for IdleList<K, W> {
    fn clear(&self) -> bool {
        let idle = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        !idle.is_empty()
    }
}

/// Workspaces of a tower that no call uses. Each call takes one for itself, so that several calls can be under way.
#[derive(Debug)]
pub(crate) struct Pool<K, W> {
    idle: Arc<IdleList<K, W>>,
}

impl<K: PartialEq + Copy + Send + 'static, W: Send + 'static> Pool<K, W> {
    /// Creates a pool that makes room for the other towers of a device.
    pub(crate) fn new(of_device: &IdleWorkspaces) -> Self {
        let idle = Arc::new(IdleList(Mutex::new(Vec::new())));
        let list: Arc<dyn Idle> = idle.clone();
        of_device.add(Arc::downgrade(&list));
        Self { idle }
    }

    /// Takes an idle workspace of this size, or builds one. If the memory does not suffice, the idle
    /// workspaces of the device are freed first: those of other sizes, and of other towers.
    pub(crate) fn take(
        &self,
        of_device: &IdleWorkspaces,
        key: K,
        build: impl Fn() -> Result<W, DeviceError>,
    ) -> Result<W, DeviceError> {
        {
            let mut idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = idle.iter().position(|(other, _)| *other == key) {
                return Ok(idle.remove(at).1);
            }
        }
        match build() {
            Err(DeviceError::OutOfMemory { .. }) if of_device.clear() => build(),
            built => built,
        }
    }

    /// Returns a workspace after use.
    pub(crate) fn put(&self, key: K, workspace: W) {
        let mut idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == MAX_IDLE {
            idle.remove(0);
        }
        idle.push((key, workspace));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_workspace_is_used_again() {
        let all = IdleWorkspaces::default();
        let pool = Pool::new(&all);
        assert_eq!(pool.take(&all, 1, || Ok("first")).unwrap(), "first");
        pool.put(1, "first");
        assert_eq!(pool.take(&all, 2, || Ok("other")).unwrap(), "other");
        assert_eq!(pool.take(&all, 1, || Ok("new")).unwrap(), "first");
        assert_eq!(pool.take(&all, 1, || Ok("new")).unwrap(), "new");
    }

    #[test]
    fn few_calls_are_under_way_at_a_time() {
        let (calls, most) = (Calls::default(), Mutex::new((0, 0)));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let _call = calls.begin();
                    {
                        let mut most = most.lock().unwrap();
                        most.0 += 1;
                        most.1 = most.1.max(most.0);
                    }
                    std::thread::yield_now();
                    most.lock().unwrap().0 -= 1;
                });
            }
        });
        let (left, most) = *most.lock().unwrap();
        assert!(left == 0 && most <= MAX_CALLS, "{most}");
    }

    /// An old workspace of the tower itself, or of another tower of the device.
    #[test]
    fn idle_workspaces_make_room() {
        for own in [true, false] {
            let all = IdleWorkspaces::default();
            let (pool, other) = (Pool::new(&all), Pool::new(&all));
            let old = if own { &pool } else { &other };
            old.put(1, "old");
            let attempts = std::cell::Cell::new(0);
            let built = pool.take(&all, 2, || {
                attempts.set(attempts.get() + 1);
                match attempts.get() {
                    1 => Err(DeviceError::OutOfMemory {
                        what: "a batch".to_owned(),
                        device: "test".to_owned(),
                        needed: 2,
                        available: 1,
                    }),
                    _ => Ok("new"),
                }
            });
            assert_eq!((built.unwrap(), attempts.get()), ("new", 2));
            assert_eq!(old.take(&all, 1, || Ok("rebuilt")).unwrap(), "rebuilt");
        }
    }
}
