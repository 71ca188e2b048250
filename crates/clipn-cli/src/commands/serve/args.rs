use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clipn_serve::{ApiKeys, ServeSettings};

use crate::common::detector::DetectorArgs;
use crate::common::error::CliError;

/// The form of the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    /// Also each request for pictures
    Info,
    /// Also every other request
    Debug,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// Address to listen on; beyond this machine only with API keys, or behind a proxy that asks for some
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CLIPN_HOST",
        default_value = "127.0.0.1"
    )]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any that is free
    #[arg(long, value_name = "PORT", env = "CLIPN_PORT", default_value = "8080")]
    pub port: u16,
    /// Threads that decode, and as many that compute [default: one a core]
    #[arg(long, value_name = "N", env = "CLIPN_WORKERS")]
    pub workers: Option<usize>,
    /// Most pictures that are computed together
    #[arg(long, value_name = "N", env = "CLIPN_MAX_BATCH", default_value = "16")]
    pub max_batch: usize,
    /// Longest that a batch waits for pictures that are still being decoded
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_MAX_WAIT_MS",
        default_value = "5"
    )]
    pub max_wait_ms: u64,
    /// Most pictures in work or waiting; requests beyond that are answered with 429
    #[arg(long, value_name = "N", env = "CLIPN_QUEUE", default_value = "256")]
    pub queue: usize,
    /// Longest that an answer may take; then it is 504
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_DEADLINE_MS",
        default_value = "10000"
    )]
    pub deadline_ms: u64,
    /// Most bytes of a request
    #[arg(
        long,
        value_name = "BYTES",
        env = "CLIPN_MAX_REQUEST_BYTES",
        default_value = "33554432"
    )]
    pub max_request_bytes: usize,
    /// Most pixels of a picture
    #[arg(
        long,
        value_name = "N",
        env = "CLIPN_MAX_PIXELS",
        default_value = "50000000"
    )]
    pub max_pixels: u64,
    /// Most pictures of a request
    #[arg(long, value_name = "N", env = "CLIPN_MAX_IMAGES", default_value = "64")]
    pub max_images: usize,
    /// Most classes that a request may name itself
    #[arg(
        long,
        value_name = "N",
        env = "CLIPN_MAX_CLASSES",
        default_value = "100"
    )]
    pub max_classes: usize,
    /// Most connections at a time
    #[arg(
        long,
        value_name = "N",
        env = "CLIPN_MAX_CONNECTIONS",
        default_value = "512"
    )]
    pub max_connections: usize,
    /// Longest that a request may take to arrive, and that an idle connection is kept
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_READ_TIMEOUT_MS",
        default_value = "30000"
    )]
    pub read_timeout_ms: u64,
    /// Longest that requests in work may take after Ctrl-C or SIGTERM
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_GRACE_MS",
        default_value = "20000"
    )]
    pub grace_ms: u64,
    /// After how long at one batch a worker counts as stuck and /health is 503
    #[arg(
        long,
        value_name = "MS",
        env = "CLIPN_STUCK_AFTER_MS",
        default_value = "30000"
    )]
    pub stuck_after_ms: u64,
    /// A key that requests must bring along; may be given again. Others on this machine can see it here: prefer the
    /// variable (keys with commas between) or --api-keys-file
    #[arg(
        long,
        value_name = "KEY",
        env = "CLIPN_API_KEYS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub api_key: Vec<String>,
    /// A file with a key a line
    #[arg(long, value_name = "FILE", env = "CLIPN_API_KEYS_FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Form of the log on standard error
    #[arg(long, value_enum, env = "CLIPN_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged
    #[arg(long, value_enum, env = "CLIPN_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

impl ServeArgs {
    pub fn settings(&self) -> Result<ServeSettings, CliError> {
        let defaults = ServeSettings::default();
        Ok(ServeSettings {
            host: self.host,
            port: self.port,
            workers: self.workers.unwrap_or(defaults.workers),
            max_batch: self.max_batch,
            max_wait: Duration::from_millis(self.max_wait_ms),
            queue: self.queue,
            deadline: Duration::from_millis(self.deadline_ms),
            max_request_bytes: self.max_request_bytes,
            max_pixels: self.max_pixels,
            max_images: self.max_images,
            max_classes: self.max_classes,
            max_connections: self.max_connections,
            read_timeout: Duration::from_millis(self.read_timeout_ms),
            grace: Duration::from_millis(self.grace_ms),
            stuck_after: Duration::from_millis(self.stuck_after_ms),
            keys: self.keys()?,
        })
    }

    fn keys(&self) -> Result<ApiKeys, CliError> {
        let given = ApiKeys::new(
            self.api_key
                .iter()
                .map(String::as_str)
                .filter(|key| !key.trim().is_empty()),
        )?;
        let Some(path) = &self.api_keys_file else {
            return Ok(given);
        };
        let unread = |source| CliError::KeysFile {
            path: path.clone(),
            source,
        };
        let of_file = ApiKeys::from_lines(&std::fs::read_to_string(path).map_err(unread)?)?;
        if of_file.is_empty() {
            let message = format!(
                "--api-keys-file {} has no key; write one a line",
                path.display()
            );
            return Err(CliError::Usage(message));
        }
        Ok(given.and(of_file))
    }
}
