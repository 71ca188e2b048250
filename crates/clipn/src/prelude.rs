//! The types and traits that most programs use: `use clipn::prelude::*;`.
//!
//! ```
//! use clipn::prelude::*;
//!
//! let weights = PretrainedWeights::mini()?.weights(None)?;
//! let classifier = ClassifierBuilder::new(["school bus", "pizza"])
//!     .with_templates(TemplateSet::built_in("simple")?)
//!     .build(&weights)?;
//! let preprocessing = Preprocessing::clip(weights.config().vision.image_size);
//! let tower = clipn::engine::image_tower(&weights);
//! let detector = Detector::from_classifier(classifier, tower.into(), preprocessing)?;
//! let gray = RgbImage::new(8, 8, vec![128; 3 * 8 * 8])?;
//! assert!(!detector.detect(&gray)?.reason.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use clipn_base::progress::{NoProgress, Progress};
pub use clipn_detect::bundle::{Bundle, BundleBuilder};
pub use clipn_detect::classifier::{Classifier, ClassifierBuilder};
pub use clipn_detect::detector::{Detection, Detector};
pub use clipn_image::{DecodeOptions, ImageSource, Preprocessing, RgbImage};
pub use clipn_model::{ImageTower, ModelConfig, PretrainedWeights, TextTower};
pub use clipn_ood::scores::{DecisionRule, Score};
pub use clipn_text::prompts::{ClassNames, PromptVariant, TemplateSet};
