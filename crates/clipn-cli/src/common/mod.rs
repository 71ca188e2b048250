//! What several commands share: arguments, opening of models, errors, messages, output.

pub(crate) mod adaptation;
#[cfg(feature = "serve")]
pub(crate) mod allocator;
pub(crate) mod args;
pub(crate) mod bundle_output;
#[cfg(all(unix, feature = "serve"))]
pub(crate) mod children;
pub(crate) mod classes;
pub(crate) mod coarse;
pub(crate) mod cores;
pub(crate) mod detector;
pub(crate) mod device;
pub(crate) mod distributed;
pub(crate) mod error;
#[cfg(debug_assertions)]
pub(crate) mod faults;
pub(crate) mod feature_cache;
#[cfg(unix)]
pub(crate) mod file_signals;
pub(crate) mod fitting;
pub(crate) mod interrupt;
pub(crate) mod locks;
pub(crate) mod messages;
pub(crate) mod model;
pub(crate) mod negatives;
pub(crate) mod numbers;
pub(crate) mod overwriting;
pub(crate) mod pixels;
pub(crate) mod progress;
pub(crate) mod scores;
pub(crate) mod shared_images;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text_features;
pub(crate) mod usage;
pub(crate) mod version;
pub(crate) mod weights;
