use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::time::Duration;

use crate::ServeError;
use crate::keys::ApiKeys;

/// Everything that the server can be told. The defaults serve one machine behind a proxy.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// The address to listen on; the loopback one by default.
    pub host: IpAddr,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// Threads that decode pictures, and as many that compute.
    pub workers: usize,
    /// Most pictures that are computed together.
    pub max_batch: usize,
    /// Longest that a batch waits for pictures that are still being decoded.
    pub max_wait: Duration,
    /// Most pictures that are in work or wait for it; a request beyond that is answered with 429.
    pub queue: usize,
    /// Longest that a request may take after it has been read; then it is answered with 504.
    pub deadline: Duration,
    /// Most bytes of a request's body.
    pub max_request_bytes: usize,
    /// Most pixels of a picture; larger ones are refused before they are decoded.
    pub max_pixels: u64,
    /// Most pictures of a request.
    pub max_images: usize,
    /// Most classes that a request may name itself.
    pub max_classes: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Longest that a request's head, and then its body, may take to arrive; also how long an idle connection is kept.
    pub read_timeout: Duration,
    /// Longest that requests in work may take after the server was asked to stop.
    pub grace: Duration,
    /// After how long without progress a worker counts as stuck and `/health` says 503.
    pub stuck_after: Duration,
    /// The keys that are let in; none lets everybody in.
    pub keys: ApiKeys,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            max_batch: 16,
            max_wait: Duration::from_millis(5),
            queue: 256,
            deadline: Duration::from_secs(10),
            max_request_bytes: 32 << 20,
            max_pixels: 50_000_000,
            max_images: 64,
            max_classes: 100,
            max_connections: 512,
            read_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(20),
            stuck_after: Duration::from_secs(30),
            keys: ApiKeys::default(),
        }
    }
}

impl ServeSettings {
    /// Whether anybody beyond this machine could reach the server without a key.
    pub fn is_open_to_others(&self) -> bool {
        !self.host.is_loopback() && self.keys.is_empty()
    }

    /// Bytes of request bodies that are held at a time.
    pub(crate) fn body_budget(&self) -> usize {
        self.max_request_bytes.saturating_mul(8).max(64 << 20)
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let counts = [
            ("workers", self.workers, 1024),
            ("max-batch", self.max_batch, 4096),
            ("queue", self.queue, 1 << 20),
            ("max-request-bytes", self.max_request_bytes, 1 << 32),
            ("max-images", self.max_images, 1 << 16),
            ("max-classes", self.max_classes, 1 << 16),
            ("max-connections", self.max_connections, 1 << 16),
        ];
        for (name, value, most) in counts {
            if value == 0 || value > most {
                return Err(ServeError::Setting(format!(
                    "{name} is {value}, but must be from 1 to {most}"
                )));
            }
        }
        if self.max_pixels == 0 {
            return Err(ServeError::Setting(
                "max-pixels is 0, which leaves no picture; raise it".to_owned(),
            ));
        }
        for (name, value) in [
            ("deadline", self.deadline),
            ("read-timeout", self.read_timeout),
            ("stuck-after", self.stuck_after),
        ] {
            if value.is_zero() {
                return Err(ServeError::Setting(format!(
                    "{name} is 0, so that nothing could be answered; raise it"
                )));
            }
        }
        if self.max_images > self.queue {
            return Err(ServeError::Setting(format!(
                "a request may have {} pictures, but the queue takes {}; raise queue or lower max-images",
                self.max_images, self.queue
            )));
        }
        Ok(())
    }
}
