//! Prompts for the text towers: class names inserted into template sentences.
//!
//! A [`TemplateSet`] contains the templates and [`ClassNames`] the names in class order. Both are
//! built in or read from a file; class names may also be an inline list. [`TemplateSet::resolve`]
//! and [`ClassNames::resolve`] accept all of these. [`ClassList`] recognizes the forms that lists of
//! class names have and finds names that are equal for the text towers.
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
mod class_list;
mod class_names;
mod class_sentences;
mod error;
mod fields;
mod literal;
mod name_check;
mod template;
mod template_forms;
mod template_set;
mod text_file;
mod variant;

pub use class_list::{ClassList, ClassListForm};
pub use class_names::{ClassNames, looks_like_path};
pub use class_sentences::ClassSentences;
pub use error::PromptError;
pub use name_check::{RESERVED_NAME, duplicate_names, is_reserved_name};
pub use template::Template;
pub use template_set::TemplateSet;
pub use variant::PromptVariant;
