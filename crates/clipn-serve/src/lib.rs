//! HTTP server for CLIPN: it answers each image with one of your labels or "unknown", and the
//! reason.
//!
//! [`Server::bind`] takes a [`Detector`](clipn::detector::Detector) and [`ServeSettings`];
//! [`Server::run`] serves requests until shutdown is requested. `docs/serving.md` describes the
//! API, the limits and the metrics.
//!
//! ```no_run
//! use clipn::detector::Detector;
//! use clipn_serve::{ServeSettings, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let detector = Detector::open("shop.clipn")?;
//! let server = Server::bind(ServeSettings::default(), detector, "shop", None)?;
//! println!("http://{}", server.local_addr());
//! server.run_until(|| false)?;
//! # Ok(())
//! # }
//! ```
mod api;
mod classes;
mod classify_error;
mod engine;
mod error;
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
