//! Prompts for the text towers: class names inserted into template sentences.
//!
//! A [`TemplateSet`] contains the templates and [`ClassNames`] the names in class order. Both are
//! built in or read from a file; class names may also be an inline list. [`TemplateSet::resolve`]
//! and [`ClassNames::resolve`] accept all of these.
//!
//! ```
//! use clipn_text::prompts::{ClassNames, TemplateSet};
//!
//! let templates = TemplateSet::resolve("simple")?;
//! let classes = ClassNames::resolve("cat, great white shark")?;
//! let prompts: Vec<String> = classes.iter().map(|name| templates.yes()[0].fill(name)).collect();
//! assert_eq!(prompts, ["a photo of a cat.", "a photo of a great white shark."]);
//! # Ok::<(), clipn_text::prompts::PromptError>(())
//! ```
mod class_names;
mod error;
mod template;
mod template_set;
mod text_file;
mod variant;

pub use class_names::ClassNames;
pub use error::PromptError;
pub use template::Template;
pub use template_set::TemplateSet;
pub use variant::PromptVariant;
