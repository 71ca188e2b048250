//! CLIPN over HTTP: pictures in, for each a label of yours or "unknown" out, with its reason.
//!
//! [`Server::bind`] takes a [`Detector`](clipn::detector::Detector) and [`ServeSettings`]; [`Server::run`] answers
//! until it is asked to stop. `docs/serving.md` tells the requests, the limits and the metrics.
mod api;
mod classes;
mod engine;
mod error;
mod failure;
mod keys;
mod metrics;
mod server;
mod settings;

pub use api::{openapi, routes};
pub use classes::ClassEncoder;
pub use error::ServeError;
pub use keys::ApiKeys;
pub use server::Server;
pub use settings::ServeSettings;
