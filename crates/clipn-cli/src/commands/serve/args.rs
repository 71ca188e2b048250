use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clipn::files::read_text;
use clipn_serve::{ApiKeys, ServeSettings};

use crate::common::detector::DetectorArgs;
use crate::common::device::DeviceArgs;
use crate::common::error::CliError;
use crate::common::numbers::parse_bytes;

const BUNDLE_HELP: &str =
    "Bundle of `clipn classifier build`; repeatable with names: shop=shop.clipn";

const BUNDLE_LONG_HELP: &str = "Bundle of `clipn classifier build`; repeatable with names: shop=shop.clipn\n\n\
     /v1/bundles/NAME/classify answers with the bundle NAME, /v1/classify with the first one. Without a name, it \
     is that of the file without its extension. A bundle is opened again when its file changes. The variable \
     separates several with commas.";

/// Format of the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Minimum severity of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    /// Also each classification request
    Info,
    /// Also every other request
    Debug,
}

#[derive(Debug, Args)]
#[command(mut_arg("bundle", |arg| arg.value_name("[NAME=]FILE").help(BUNDLE_HELP).long_help(BUNDLE_LONG_HELP)))]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Address or host name to listen on; use API keys, or an authenticating proxy, beyond this machine
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CLIPN_HOST",
        default_value = "127.0.0.1",
        value_parser = parse_host
    )]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free port
    #[arg(long, value_name = "PORT", env = "CLIPN_PORT", default_value = "8080")]
    pub port: u16,
    /// Decoding threads, and as many computing threads [default: one per core]
    #[arg(long, value_name = "N", env = "CLIPN_WORKERS")]
    pub workers: Option<usize>,
    /// Maximum number of images per batch
    #[arg(long, value_name = "N", env = "CLIPN_MAX_BATCH", default_value = "16")]
    pub max_batch: usize,
    /// Maximum time that a batch waits for images that are being decoded
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_MAX_WAIT_MS",
        default_value = "5"
    )]
    pub max_wait_ms: u64,
    /// Maximum number of images in progress or waiting; further requests get status 429
    #[arg(long, value_name = "N", env = "CLIPN_QUEUE", default_value = "256")]
    pub queue: usize,
    /// Maximum response time; then the status is 504
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_DEADLINE_MS",
        default_value = "10000"
    )]
    pub deadline_ms: u64,
    /// Maximum number of bytes per request, such as 500kB or 32MiB
    #[arg(
        long,
        value_name = "BYTES",
        env = "CLIPN_MAX_REQUEST_BYTES",
        default_value = "32MiB",
        value_parser = parse_bytes
    )]
    pub max_request_bytes: usize,
    /// Maximum number of pixels per image
    #[arg(
        long,
        value_name = "N",
        env = "CLIPN_MAX_PIXELS",
        default_value = "50000000"
    )]
    pub max_pixels: u64,
    /// Maximum number of images per request
    #[arg(long, value_name = "N", env = "CLIPN_MAX_IMAGES", default_value = "64")]
    pub max_images: usize,
    /// Maximum number of classes that a request may define
    #[arg(
        long,
        value_name = "N",
        env = "CLIPN_MAX_CLASSES",
        default_value = "100"
    )]
    pub max_classes: usize,
    /// Maximum number of concurrent connections
    #[arg(
        long,
        value_name = "N",
        env = "CLIPN_MAX_CONNECTIONS",
        default_value = "512"
    )]
    pub max_connections: usize,
    /// Timeout of reading a request and of idle connections
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_READ_TIMEOUT_MS",
        default_value = "30000"
    )]
    pub read_timeout_ms: u64,
    /// Time after which a client that reads nothing of its response is disconnected
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_WRITE_TIMEOUT_MS",
        default_value = "30000"
    )]
    pub write_timeout_ms: u64,
    /// Maximum number of concurrent connections of one address other than this machine [default: half
    /// of --max-connections]
    #[arg(long, value_name = "N", env = "CLIPN_MAX_CONNECTIONS_PER_ADDRESS")]
    pub max_connections_per_address: Option<usize>,
    /// Host name that requests may be sent to, such as that of a proxy; repeatable, * allows any
    ///
    /// A server that listens on this machine only and has no API keys answers requests for localhost,
    /// 127.0.0.1, [::1] and these hosts: otherwise any web page in a browser on this machine could use
    /// it.
    #[arg(
        long,
        value_name = "HOST",
        env = "CLIPN_ALLOW_HOST",
        value_delimiter = ','
    )]
    pub allow_host: Vec<String>,
    /// Grace period of requests in progress after Ctrl-C or SIGTERM
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_GRACE_MS",
        default_value = "20000"
    )]
    pub grace_ms: u64,
    /// Time in one batch after which a worker counts as stuck and /health returns 503
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_STUCK_AFTER_MS",
        default_value = "30000"
    )]
    pub stuck_after_ms: u64,
    /// Polling interval of bundle files, which are opened again if they have changed; 0 turns it off
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_RELOAD_MS",
        default_value = "2000"
    )]
    pub reload_ms: u64,
    /// API key that requests must send; repeatable
    ///
    /// Other users of this machine can see it on the command line: prefer the environment variable
    /// (comma-separated keys) or --api-keys-file.
    #[arg(
        long,
        value_name = "KEY",
        env = "CLIPN_API_KEYS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub api_key: Vec<String>,
    /// File with one API key per line
    #[arg(long, value_name = "FILE", env = "CLIPN_API_KEYS_FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Query the health of a running server at --host and --port instead: exit code 0 if it is healthy
    #[arg(long)]
    pub check: bool,
    /// Format of the log on standard error
    #[arg(long, value_enum, env = "CLIPN_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Minimum severity of log messages
    #[arg(long, value_enum, env = "CLIPN_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// Parses an IP address, or resolves a host name; IPv4 addresses come first.
fn parse_host(text: &str) -> Result<IpAddr, String> {
    let host = text.trim();
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(address);
    }
    let resolved = (host, 0)
        .to_socket_addrs()
        .map_err(|error| format!("it is no IP address, and it cannot be resolved: {error}"))?;
    resolved
        .map(|address| address.ip())
        .min_by_key(IpAddr::is_ipv6)
        .ok_or_else(|| "the host name has no address".to_owned())
}

impl ServeArgs {
    pub(crate) fn settings(&self) -> Result<ServeSettings, CliError> {
        let defaults = ServeSettings::default();
        Ok(ServeSettings {
            host: self.host,
            port: self.port,
            workers: self.workers.unwrap_or(defaults.workers),
            max_batch: self.max_batch,
            max_batch_wait: Duration::from_millis(self.max_wait_ms),
            max_queued_images: self.queue,
            deadline: Duration::from_millis(self.deadline_ms),
            max_request_bytes: self.max_request_bytes,
            max_pixels: self.max_pixels,
            max_images: self.max_images,
            max_classes: self.max_classes,
            max_connections: self.max_connections,
            read_timeout: Duration::from_millis(self.read_timeout_ms),
            write_timeout: Duration::from_millis(self.write_timeout_ms),
            max_connections_per_address: self.max_connections_per_address,
            allowed_hosts: (self.allow_host.iter())
                .map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect(),
            shutdown_grace: Duration::from_millis(self.grace_ms),
            stuck_timeout: Duration::from_millis(self.stuck_after_ms),
            reload_interval: Duration::from_millis(self.reload_ms),
            api_keys: self.keys()?,
        })
    }

    fn keys(&self) -> Result<ApiKeys, CliError> {
        let flag_keys = ApiKeys::new(
            self.api_key
                .iter()
                .map(String::as_str)
                .filter(|key| !key.trim().is_empty()),
        )?;
        let Some(path) = &self.api_keys_file else {
            return Ok(flag_keys);
        };
        let unreadable = |source| CliError::KeysFile {
            path: path.clone(),
            source,
        };
        let file_keys = ApiKeys::from_lines(&read_text(path).map_err(unreadable)?)?;
        if file_keys.is_empty() {
            return Err(CliError::usage_with_hint(
                format!("no API keys in {}", path.display()),
                "write one key per line",
            ));
        }
        Ok(flag_keys.union(file_keys))
    }
}
