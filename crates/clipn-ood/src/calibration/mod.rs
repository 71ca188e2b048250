//! Thresholds with guarantees: from the scores of pictures that are known to be of the classes (and, where there are
//! any, of some that are not) to the least score that is kept, to p-values, and to decisions about many pictures at once.

mod conformal;
mod contamination;
mod error;
mod fitted;
mod interval;
mod settings;
mod threshold;
mod unknown;
mod warning;

pub use conformal::{benjamini_hochberg, p_value};
pub use contamination::{Looked, examine};
pub use error::CalibrationError;
pub use fitted::Facts;
pub use fitted::{Calibration, calibrate};
pub use interval::{Share, kept_share};
pub use settings::{Choice, Settings};
pub use threshold::fewest_for;
pub use unknown::UnknownPictures;
pub use warning::Warning;
