use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::time::Duration;

use crate::ServeError;
use crate::keys::ApiKeys;

/// Maximum of every duration.
const MAX_DURATION: Duration = Duration::from_secs(30 * 86_400);

/// Configuration of a [`Server`](crate::Server). The defaults suit one machine behind a reverse
/// proxy.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Address to listen on. Default: `127.0.0.1`.
    pub host: IpAddr,
    /// TCP port; 0 selects a free one. Default: 8080.
    pub port: u16,
    /// Number of decoder threads, and also of inference threads, 1 to 1024. Default: one per core.
    pub workers: usize,
    /// Maximum number of images per batch, 1 to 4096. Default: 16.
    pub max_batch: usize,
    /// Maximum time that a batch waits for images that are still being decoded. Default: 5 ms.
    pub max_batch_wait: Duration,
    /// Maximum number of admitted images, queued or in progress, 1 to 2²⁰. Requests beyond it get
    /// status 429. Default: 256.
    pub max_queued_images: usize,
    /// Maximum processing time of a request, counted from its last byte. Requests that take longer
    /// get status 504. Default: 10 s.
    pub deadline: Duration,
    /// Maximum size of a request body in bytes, up to 4 GiB. Default: 32 MiB.
    pub max_request_bytes: usize,
    /// Maximum number of pixels per image, checked before decoding. Default: 50 million.
    pub max_pixels: u64,
    /// Maximum number of images per request, 1 to
    /// [`max_queued_images`](Self::max_queued_images). Default: 64.
    pub max_images: usize,
    /// Maximum number of classes in a request. Default: 100.
    pub max_classes: usize,
    /// Maximum number of open connections. Default: 512.
    pub max_connections: usize,
    /// Timeout for reading a request's head, then for its body, and for idle connections. Default:
    /// 30 s.
    pub read_timeout: Duration,
    /// Time after which a connection is closed whose client reads nothing of its response. Default:
    /// 30 s.
    pub write_timeout: Duration,
    /// Maximum number of open connections of one address, or of a 64-bit network of IPv6; those of this
    /// machine have no limit of their own. Default: half of `max_connections`.
    pub max_connections_per_address: Option<usize>,
    /// Host names that requests may be sent to, beside those of this machine; `*` allows any. They are
    /// checked, and the `Origin` of browsers with them, if there are some, or if the server listens on
    /// this machine only and has no API keys: otherwise any web page that is open on this machine could
    /// use it. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Time that requests in progress get to finish at shutdown. Default: 20 s.
    pub shutdown_grace: Duration,
    /// Time without progress after which a worker counts as stuck and `/health` returns 503.
    /// Default: 30 s.
    pub stuck_timeout: Duration,
    /// Polling interval of the files of bundles, which are opened again if they have changed; 0 turns
    /// polling off. Default: 2 s.
    pub reload_interval: Duration,
    /// Accepted API keys; an empty set disables authentication (default).
    pub api_keys: ApiKeys,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            max_batch: 16,
            max_batch_wait: Duration::from_millis(5),
            max_queued_images: 256,
            deadline: Duration::from_secs(10),
            max_request_bytes: 32 << 20,
            max_pixels: 50_000_000,
            max_images: 64,
            max_classes: 100,
            max_connections: 512,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_connections_per_address: None,
            allowed_hosts: Vec::new(),
            shutdown_grace: Duration::from_secs(20),
            stuck_timeout: Duration::from_secs(30),
            reload_interval: Duration::from_secs(2),
            api_keys: ApiKeys::default(),
        }
    }
}

impl ServeSettings {
    /// Whether the server accepts requests from other machines without an API key.
    pub fn allows_remote_access_without_key(&self) -> bool {
        !self.host.is_loopback() && self.api_keys.is_empty()
    }

    /// Maximum number of connections of one address.
    pub(crate) fn connections_per_address(&self) -> usize {
        self.max_connections_per_address
            .unwrap_or(self.max_connections.div_ceil(2))
    }

    /// Whether `Host` and `Origin` are checked.
    pub(crate) fn checks_hosts(&self) -> bool {
        let is_open_locally = self.host.is_loopback() && self.api_keys.is_empty();
        let allows_any = self.allowed_hosts.iter().any(|host| host == "*");
        !allows_any && (is_open_locally || !self.allowed_hosts.is_empty())
    }

    /// Maximum total size in bytes of all request bodies in memory.
    pub(crate) fn body_budget(&self) -> usize {
        self.max_request_bytes.saturating_mul(8).max(64 << 20)
    }

    /// Validates the ranges of all settings, as a server does before it starts.
    ///
    /// # Errors
    /// [`ServeError::InvalidSetting`] for the first setting that is out of range.
    pub fn check(&self) -> Result<(), ServeError> {
        let counts = [
            ("workers", self.workers, 1024),
            ("max_batch", self.max_batch, 4096),
            ("max_queued_images", self.max_queued_images, 1 << 20),
            ("max_request_bytes", self.max_request_bytes, 1 << 32),
            ("max_images", self.max_images, 1 << 16),
            ("max_classes", self.max_classes, 1 << 16),
            ("max_connections", self.max_connections, 1 << 16),
        ];
        for (name, value, max) in counts {
            if value == 0 || value > max {
                return Err(ServeError::InvalidSetting(format!(
                    "invalid {name}: expected 1 to {max}, got {value}"
                )));
            }
        }
        if self.max_connections_per_address == Some(0) {
            return Err(ServeError::InvalidSetting(
                "invalid max_connections_per_address: expected at least 1, got 0".to_owned(),
            ));
        }
        if self.max_pixels == 0 {
            return Err(ServeError::InvalidSetting(
                "invalid max_pixels: expected at least 1, got 0".to_owned(),
            ));
        }
        for (name, value) in [
            ("deadline", self.deadline),
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("stuck_timeout", self.stuck_timeout),
        ] {
            if value.is_zero() {
                return Err(ServeError::InvalidSetting(format!(
                    "invalid {name}: expected a positive duration, got 0"
                )));
            }
        }
        // Longer ones would leave the range of clocks.
        for (name, value) in [
            ("deadline", self.deadline),
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("stuck_timeout", self.stuck_timeout),
            ("max_batch_wait", self.max_batch_wait),
            ("shutdown_grace", self.shutdown_grace),
            ("reload_interval", self.reload_interval),
        ] {
            if value > MAX_DURATION {
                return Err(ServeError::InvalidSetting(format!(
                    "invalid {name}: expected at most {} days, got {} s",
                    MAX_DURATION.as_secs() / 86_400,
                    value.as_secs()
                )));
            }
        }
        if self.max_images > self.max_queued_images {
            return Err(ServeError::InvalidSetting(format!(
                "max_images ({}) exceeds max_queued_images ({})",
                self.max_images, self.max_queued_images
            )));
        }
        Ok(())
    }
}
