//! What the text towers are asked: class names put into template sentences.
//!
//! A [`TemplateSet`] holds the sentences, [`ClassNames`] the names in the order of the classes; both come by
//! name (built in), from a file, or, for class names, from a list written out. `resolve` takes any of these.
mod class_names;
mod error;
mod source;
mod template;
mod template_set;

pub use class_names::ClassNames;
pub use error::PromptError;
pub use template::Template;
pub use template_set::TemplateSet;
