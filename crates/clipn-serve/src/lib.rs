//! HTTP server for CLIPN: it answers each image with one of your labels or "unknown", and the
//! reason.
//!
//! [`Server::bind`] takes a [`Detector`](clipn::detector::Detector) and [`ServeSettings`];
//! [`Server::run`] serves requests until shutdown is requested.
//!
//! ```text
//! connection ──► request ID, log, metrics ──► API key ──► body, in a memory budget
//!  503 too many                                401         408, 413, 429
//!                                                               │
//!             ┌──── images, classes, top  ◄── bytes, form, JSON ┘
//!             │      400, 415, 422
//!             ▼
//!         admission ──► decoder threads ──► queue ──► workers: image tower on a batch, decision
//!          429, 503      413, 415, 422       504       500, 504
//!                                                               │
//! response ◄── one result per image, in request order ◄─────────┘
//! ```
//!
//! - A request is admitted with all of its images or not at all; it never waits for admission.
//! - A batch is what has arrived, up to [`max_batch`](ServeSettings::max_batch). It waits for images
//!   that are still being decoded, at most [`max_batch_wait`](ServeSettings::max_batch_wait).
//! - The [`deadline`](ServeSettings::deadline) counts from the last byte of the request. Work for a
//!   client that has disconnected is dropped.
//! - If a batch fails, its images are run one by one, so that only those at fault fail. A worker
//!   that panics nevertheless is restarted, at most 5 times a minute.
//!
//! | path | response |
//! |---|---|
//! | `POST /v1/classify` | a result per image |
//! | `POST /v1/classes` | custom classes, encoded in advance with a [`ClassEncoder`] |
//! | `GET /v1/info` | model, classes, rule, calibration and limits |
//! | `GET /v1/bundles` | the bundles that are served |
//! | `/v1/bundles/NAME/…` | the paths above for the bundle NAME, without it for the first one |
//! | `GET /health`, `/ready`, `/metrics` | state, for an orchestrator and for Prometheus |
//! | `GET /openapi.json`, `/docs`, `/` | the document of [`openapi`], and two pages |
//!
//! Bundles of one image tower share it in memory if they are opened with
//! [`Detector::open_with_same_tower`](clipn::detector::Detector::open_with_same_tower). A bundle that
//! is served with [`ServedBundle::open`] is opened again when its file changes, and requests in progress
//! finish with the one before.
//!
//! ```no_run
//! use clipn::detector::Detector;
//! use clipn_serve::{ApiKeys, ServeSettings, Server};
//!
//! let settings = ServeSettings {
//!     workers: 4,
//!     api_keys: ApiKeys::new(["0123456789abcdef"])?,
//!     ..ServeSettings::default()
//! };
//! let detector = Detector::open("shop.clipn")?;
//! let server = Server::bind(settings, detector, "shop", None)?;
//! println!("http://{}", server.local_addr());
//! let finished = server.run_until(|| false)?;
//! println!("all requests were answered: {finished}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate has no features.
mod api;
mod bundles;
mod classes;
mod classify_error;
mod engine;
mod error;
mod keys;
mod metrics;
mod server;
mod settings;

pub use api::{openapi, routes};
pub use bundles::{ServedBundle, ServedModel};
pub use classes::ClassEncoder;
pub use error::ServeError;
pub use keys::ApiKeys;
pub use server::Server;
pub use settings::ServeSettings;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
