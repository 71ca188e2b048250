use clipn_text::prompts::Template;
use serde::{Deserialize, Serialize};

use crate::negatives::TemplateJoin;
use crate::negatives::choice::{Choice, Grouping};

/// How negatives were made, to show it and to make them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NegativesOrigin {
    /// Name of the word list: `wordnet`, `neglabel`, `csp`, a path, or `list`.
    pub source: String,
    /// Templates of nouns, and of the texts of a user's list.
    pub noun_templates: Vec<Template>,
    /// Templates of adjectives.
    pub adjective_templates: Vec<Template>,
    /// How the features of several templates are joined.
    pub join: TemplateJoin,
    /// How the words were selected.
    pub selection: Selection,
    /// How the words are grouped.
    pub grouping: Grouping,
    /// SHA-256 of the text tower that encoded them, see [`yes_tower_hash`](clipn_model::ModelWeights::yes_tower_hash);
    /// `None` if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_tower: Option<String>,
}

impl NegativesOrigin {
    /// Describes a user's own list in the given templates.
    pub fn user_list(templates: Vec<Template>, join: TemplateJoin, grouping: Grouping) -> Self {
        Self {
            source: "list".to_owned(),
            noun_templates: templates,
            adjective_templates: Vec::new(),
            join,
            selection: Selection::UserList,
            grouping,
            text_tower: None,
        }
    }
}

/// How the words of negatives were selected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Selection {
    /// A user listed every word.
    UserList,
    /// A rule chose among candidates.
    Chosen {
        /// Number of candidates.
        candidates: usize,
        /// Number of words that were no candidates, because the classes cover them.
        excluded: usize,
        /// Number of words that were no candidates, because the model has never read them.
        unseen: usize,
        /// The rule.
        choice: Choice,
    },
}
