//! The open connections: how many an address has, and which one is closed first when there is no room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Time after which a client that reads nothing of its response may lose its connection to another.
const STALLED: Duration = Duration::from_millis(250);
/// Time after which one that sends no request may.
const WAITING: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// No request is complete: it is idle, or its head is missing.
    Waiting,
    /// A request is in progress.
    Working,
    /// The client does not read its response.
    Stalled,
}

/// A connection that the registry can close.
#[derive(Debug)]
pub(super) struct Tracked {
    activity: Mutex<(Activity, Instant)>,
    closed: Notify,
}

impl Tracked {
    fn new() -> Self {
        Self {
            activity: Mutex::new((Activity::Waiting, Instant::now())),
            closed: Notify::new(),
        }
    }

    pub(super) fn set(&self, activity: Activity) {
        *lock(&self.activity) = (activity, Instant::now());
    }

    pub(super) fn is(&self, activity: Activity) -> bool {
        lock(&self.activity).0 == activity
    }

    /// Waits until the connection has to be closed for another.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    connections: HashMap<u64, Arc<Tracked>>,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection in the registry, until it is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    registry: Arc<Registry>,
    id: u64,
    address: IpAddr,
    pub(super) tracked: Arc<Tracked>,
}

impl Registry {
    /// Adds a connection; `None` if its address has `limit` of them. Those of this machine, such as a
    /// proxy, have no limit.
    pub(super) fn add(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Registered> {
        let address = client_of(address);
        let mut entries = lock(&self.entries);
        let count = entries.by_address.entry(address).or_insert(0);
        if *count >= limit && !address.is_loopback() {
            return None;
        }
        *count += 1;
        let id = entries.next;
        entries.next += 1;
        let tracked = Arc::new(Tracked::new());
        entries.connections.insert(id, Arc::clone(&tracked));
        Some(Registered {
            registry: Arc::clone(self),
            id,
            address,
            tracked,
        })
    }

    /// Closes the connection that has made no progress for the longest time: one whose client does not
    /// read, else one without a request. Returns whether there is one.
    pub(super) fn close_slowest(&self) -> bool {
        let mut entries = lock(&self.entries);
        let slowest = |kind: Activity, least: Duration| {
            let times = entries.connections.iter().filter_map(|(id, tracked)| {
                let (activity, since) = *lock(&tracked.activity);
                (activity == kind && since.elapsed() >= least).then_some((since, *id))
            });
            times.min().map(|(_, id)| id)
        };
        let found =
            slowest(Activity::Stalled, STALLED).or_else(|| slowest(Activity::Waiting, WAITING));
        // Removed, so that the next one closes another.
        match found.and_then(|id| entries.connections.remove(&id)) {
            Some(tracked) => {
                tracked.closed.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut entries = lock(&self.registry.entries);
        entries.connections.remove(&self.id);
        if let Some(count) = entries.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                entries.by_address.remove(&self.address);
            }
        }
    }
}

/// The address that counts as one client: an IPv6 network of 64 bits is usually one machine's.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(Ipv6Addr::from(segments))
        }
        address => address,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_limit_and_this_machine_has_none() {
        let registry = Arc::new(Registry::default());
        let add = |address: &str| registry.add(address.parse().unwrap(), 2);
        let first = add("192.0.2.1").unwrap();
        let _second = add("::ffff:192.0.2.1").unwrap();
        assert!(add("192.0.2.1").is_none());
        let _other = [add("192.0.2.2").unwrap(), add("2001:db8::1").unwrap()];
        let _same_network = add("2001:db8::2").unwrap();
        assert!(add("2001:db8::3").is_none());
        let _local: Vec<_> = (0..5).map(|_| add("127.0.0.1").unwrap()).collect();
        drop(first);
        assert!(add("192.0.2.1").is_some());
    }

    #[test]
    fn slow_readers_are_closed_before_idle_connections() {
        let registry = Arc::new(Registry::default());
        let add = || registry.add(IpAddr::from([127, 0, 0, 1]), 9).unwrap();
        let (idle, stalled, working) = (add(), add(), add());
        working.tracked.set(Activity::Working);
        assert!(!registry.close_slowest());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        for connection in [&idle, &stalled, &working] {
            lock(&connection.tracked.activity).1 = long_ago;
        }
        lock(&stalled.tracked.activity).0 = Activity::Stalled;
        let is_closed = |connection: &Registered| {
            !lock(&registry.entries)
                .connections
                .contains_key(&connection.id)
        };
        assert!(registry.close_slowest());
        assert!(is_closed(&stalled) && !is_closed(&idle));
        assert!(registry.close_slowest());
        assert!(is_closed(&idle) && !is_closed(&working));
        assert!(!registry.close_slowest());
    }
}
