use std::fmt;

use clipn_base::progress::{NoProgress, Progress};
use clipn_model::{Real, TextTower, TrainingVocabulary};
use clipn_text::prompts::Template;
use clipn_text::tokenizer::Tokenizer;
use clipn_text::wordnet::{Corpus, ExclusionReason, Exclusions, WordNet};

use crate::negatives::choice::{Choice, Chosen, Grouping, check_rows};
use crate::negatives::half_rows::round_to_half;
use crate::negatives::{
    NegativeSource, Negatives, NegativesError, NegativesOrigin, Selection, TemplateJoin,
    WordFeatureCache, WordList, encode_words,
};
use crate::texts::shortened;

/// Chooses [`Negatives`] for the rows of classes: encodes candidate words, keeps those that are least
/// similar to the classes, and groups them.
///
/// | Setting | Default |
/// |---|---|
/// | [nouns](Self::with_nouns), [adjectives](Self::with_adjectives) | the words of the source |
/// | [class names](Self::with_class_names) | none: no word is left out for what it means |
/// | [choice](Self::with_choice) | that of the source; none for a list: every text becomes a negative |
/// | [grouping](Self::with_grouping) | that of the source |
/// | [join](Self::with_join) | that of the source |
/// | [seed](Self::with_seed) | 0 |
/// | [vocabulary](Self::with_vocabulary), [cache](Self::with_cache), [progress](Self::with_progress) | none |
///
/// The sources `neglabel` and `csp` have the published choice and grouping: 100 groups, so they need
/// at least 100 negatives.
///
/// ```
/// use clipn_detect::negatives::{NegativeSource, NegativesBuilder};
/// use clipn_engine::TextEncoder;
/// use clipn_model::{FeatureMatrix, PretrainedWeights, TextSide, TextTower};
/// use clipn_text::prompts::Template;
/// use clipn_text::tokenizer::Tokenizer;
///
/// let weights = PretrainedWeights::mini()?.weights(None)?;
/// let tower = TextEncoder::from_weights(&weights, TextSide::Yes);
/// let mut classes = tower.encode(&Tokenizer::clip().tokenize_batch(&["a photo of a pizza."], 77))?;
/// classes.normalize();
///
/// let words = ["goldfish", "teapot", "chair"].map(String::from).to_vec();
/// let built = NegativesBuilder::new(&NegativeSource::WordNet)
///     .with_nouns(words, vec![Template::parse("a photo of a {}.")?])
///     .build(classes.values(), &tower)?;
/// assert_eq!(built.negatives.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NegativesBuilder<'a> {
    source: String,
    /// Corpus of the source, if it is one.
    corpus: Option<Corpus>,
    nouns: Candidates,
    adjectives: Candidates,
    class_names: Vec<String>,
    join: TemplateJoin,
    choice: Option<Choice>,
    grouping: Grouping,
    vocabulary: Option<&'a TrainingVocabulary>,
    cache: Option<(&'a WordFeatureCache, String)>,
    tower_hash: Option<String>,
    progress: &'a dyn Progress,
    /// Seed of the superclasses that CSP draws for adjectives.
    superclass_seed: u64,
}

/// Words with their templates.
#[derive(Debug, Clone, Default)]
struct Candidates {
    words: Vec<String>,
    templates: Vec<Template>,
}

/// Result of [`NegativesBuilder::build`].
#[derive(Debug)]
#[non_exhaustive]
pub struct BuiltNegatives<T: Real = f32> {
    /// The negatives.
    pub negatives: Negatives<T>,
    /// What a user should know about the cache and about the texts of a list, one line each.
    pub notes: Vec<String>,
}

impl<'a> NegativesBuilder<'a> {
    /// Creates a builder with the defaults of a source. The texts of a list are its candidates.
    pub fn new(source: &NegativeSource) -> Self {
        let published = Grouping::Published {
            groups: 100,
            seed: 0,
        };
        let (choice, grouping, join) = match source {
            NegativeSource::NegLabel => (
                Some(Choice::neglabel()),
                published,
                TemplateJoin::NormalizedMean,
            ),
            NegativeSource::Csp => (Some(Choice::csp()), published, TemplateJoin::RawMean),
            NegativeSource::List(_) => (None, Grouping::default(), TemplateJoin::default()),
            _ => (
                Some(Choice::default()),
                Grouping::default(),
                TemplateJoin::default(),
            ),
        };
        let corpus = match source {
            NegativeSource::WordNet => Some(Corpus::WordNet),
            NegativeSource::NegLabel => Some(Corpus::NegLabel),
            NegativeSource::Csp => Some(Corpus::Csp),
            _ => None,
        };
        let (name, words) = match source {
            NegativeSource::List(texts) => ("list".to_owned(), texts.clone()),
            source => (source.to_string(), Vec::new()),
        };
        Self {
            source: name,
            corpus,
            nouns: Candidates {
                words,
                templates: Vec::new(),
            },
            adjectives: Candidates::default(),
            class_names: Vec::new(),
            join,
            choice,
            grouping,
            vocabulary: None,
            cache: None,
            tower_hash: None,
            progress: &NoProgress,
            superclass_seed: 0,
        }
    }

    /// Sets the nouns and their templates.
    #[must_use]
    pub fn with_nouns(self, words: Vec<String>, templates: Vec<Template>) -> Self {
        Self {
            nouns: Candidates { words, templates },
            ..self
        }
    }

    /// Sets the adjectives and their templates.
    #[must_use]
    pub fn with_adjectives(self, words: Vec<String>, templates: Vec<Template>) -> Self {
        Self {
            adjectives: Candidates { words, templates },
            ..self
        }
    }

    /// Sets the templates of the texts of a list.
    #[must_use]
    pub fn with_list_templates(mut self, templates: Vec<Template>) -> Self {
        self.nouns.templates = templates;
        self
    }

    /// Sets the names of the classes: words that describe their images, see [`WordNet::exclusions`], are
    /// no negatives. Published sources have rules of their own, and of a user's list only the names of classes
    /// are left out.
    #[must_use]
    pub fn with_class_names(self, class_names: &[String]) -> Self {
        Self {
            class_names: class_names.to_vec(),
            ..self
        }
    }

    /// Sets how the features of several templates are joined.
    #[must_use]
    pub fn with_join(self, join: TemplateJoin) -> Self {
        Self { join, ..self }
    }

    /// Sets the rule that chooses among the candidates; `None` takes all of them.
    #[must_use]
    pub fn with_choice(self, choice: impl Into<Option<Choice>>) -> Self {
        Self {
            choice: choice.into(),
            ..self
        }
    }

    /// Sets how the negatives are grouped.
    #[must_use]
    pub fn with_grouping(self, grouping: Grouping) -> Self {
        Self { grouping, ..self }
    }

    /// Sets the seed of what is drawn: the order of the negatives in their groups, and the superclasses
    /// of CSP's adjectives. The published runs have 0.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self {
            grouping: self.grouping.with_seed(seed),
            superclass_seed: seed,
            ..self
        }
    }

    /// Takes over how other negatives were chosen, joined and grouped.
    #[must_use]
    pub fn with_rules_of(self, origin: &NegativesOrigin) -> Self {
        let choice = match &origin.selection {
            Selection::Chosen { choice, .. } => Some(*choice),
            Selection::UserList => None,
        };
        Self {
            choice,
            join: origin.join,
            grouping: origin.grouping,
            superclass_seed: origin.grouping.seed().unwrap_or(self.superclass_seed),
            ..self
        }
    }

    /// Keeps all candidates, in one group, for methods that choose among the words themselves. Words that
    /// describe the classes are left out as before.
    #[must_use]
    pub fn with_all_words(self) -> Self {
        Self {
            choice: self.choice.map(|choice| choice.with_fraction(1.0)),
            grouping: Grouping::Single,
            ..self
        }
    }

    /// Drops candidates with words that the model has never read, unless the user listed them.
    #[must_use]
    pub fn with_vocabulary(self, vocabulary: impl Into<Option<&'a TrainingVocabulary>>) -> Self {
        Self {
            vocabulary: vocabulary.into(),
            ..self
        }
    }

    /// Keeps the features of the candidates in a cache. `tower_hash` identifies the text tower, see
    /// [`yes_tower_hash`](clipn_model::ModelWeights::yes_tower_hash).
    #[must_use]
    pub fn with_cache(self, cache: &'a WordFeatureCache, tower_hash: impl Into<String>) -> Self {
        let tower_hash = tower_hash.into();
        Self {
            cache: Some((cache, tower_hash.clone())),
            tower_hash: Some(tower_hash),
            ..self
        }
    }

    /// Records the text tower, see [`yes_tower_hash`](clipn_model::ModelWeights::yes_tower_hash), so that a file of the
    /// negatives is not used with another one. [`with_cache`](Self::with_cache) does so too.
    #[must_use]
    pub fn with_tower_hash(self, tower_hash: impl Into<String>) -> Self {
        Self {
            tower_hash: Some(tower_hash.into()),
            ..self
        }
    }

    /// Sets the observer of the work, which can also cancel it.
    #[must_use]
    pub fn with_progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Chooses negatives for the rows of the classes `[K, D]`, which `tower` encoded and which have
    /// length 1.
    ///
    /// # Errors
    /// [`NegativesError::NoWords`] if no candidate is chosen, [`NegativesError::InvalidGroups`] if there
    /// are fewer negatives than published groups, and the errors of [`encode_words`] and
    /// [`Choice::choose`].
    pub fn build<T: Real>(
        mut self,
        classes: &[T],
        tower: &dyn TextTower<T>,
    ) -> Result<BuiltNegatives<T>, NegativesError> {
        let dim = tower.embed_dim();
        let count = check_rows("the classes", classes.len(), dim)?;
        if count == 0 {
            return Err(NegativesError::NoClasses);
        }
        self.add_words_of_source();
        let unseen = self.drop_unseen();
        let mut notes = Vec::new();
        if self.is_users_list() {
            notes.extend(self.drop_class_names()?);
            notes.extend(self.note_of_unseen());
            notes.extend(self.note_of_truncated(tower.context_length()));
        }
        // The rows of all words are encoded and cached, since the classes change from run to run.
        let mut nouns = self.rows("nouns", &self.nouns, tower, &mut notes)?;
        let mut adjectives = self.rows("adjectives", &self.adjectives, tower, &mut notes)?;
        let mut excluded = 0;
        if self.excludes_words_of_classes() {
            let exclusions = WordNet::get().exclusions(&self.class_names);
            let is_excluded = |word: &str| exclusions.reason(word).is_some();
            excluded += exclude(&mut self.nouns.words, &mut nouns, dim, is_excluded);
            excluded += exclude(
                &mut self.adjectives.words,
                &mut adjectives,
                dim,
                is_excluded,
            );
        }
        let candidates = self.nouns.words.len() + self.adjectives.words.len();
        let chosen = match &self.choice {
            Some(choice) => choice.choose(&nouns, &adjectives, classes, dim)?,
            None => Chosen {
                nouns: (0..self.nouns.words.len()).collect(),
                adjectives: (0..self.adjectives.words.len()).collect(),
            },
        };
        let all: Vec<(&String, &[T])> = chosen
            .nouns
            .iter()
            .map(|&noun| (&self.nouns.words[noun], &nouns[noun * dim..][..dim]))
            .chain(chosen.adjectives.iter().map(|&adjective| {
                (
                    &self.adjectives.words[adjective],
                    &adjectives[adjective * dim..][..dim],
                )
            }))
            .collect();
        if all.is_empty() {
            return Err(NegativesError::NoWords {
                candidates,
                chosen: 0,
            });
        }
        let groups = self.grouping.apply(all.len(), count)?;
        let in_order = || groups.order.iter().map(|&index| all[index]);
        let words = in_order().map(|(word, _)| word.clone()).collect();
        let rows: Vec<T> = in_order().flat_map(|(_, row)| row).copied().collect();
        let origin = NegativesOrigin {
            source: self.source,
            noun_templates: self.nouns.templates,
            adjective_templates: self.adjectives.templates,
            join: self.join,
            selection: match self.choice {
                None => Selection::UserList,
                Some(choice) => Selection::Chosen {
                    candidates,
                    excluded,
                    unseen,
                    choice,
                },
            },
            grouping: self.grouping,
            text_tower: self.tower_hash,
        };
        Ok(BuiltNegatives {
            negatives: Negatives::new(words, &rows, groups.ends, origin)?,
            notes,
        })
    }

    /// Whether the candidates are what a user listed, which become negatives without a choice.
    fn is_users_list(&self) -> bool {
        self.choice.is_none()
    }

    /// Drops the texts of a list that name classes, which would reject the images of their own class.
    fn drop_class_names(&mut self) -> Result<Option<String>, NegativesError> {
        let exclusions = Exclusions::of_names(&self.class_names);
        let names_class =
            |word: &String| exclusions.reason(word) == Some(ExclusionReason::ClassName);
        let mut dropped = Vec::new();
        for words in [&mut self.nouns.words, &mut self.adjectives.words] {
            dropped.extend(words.extract_if(.., |word| names_class(word)));
        }
        let Some(first) = dropped.first() else {
            return Ok(None);
        };
        if self.nouns.words.is_empty() && self.adjectives.words.is_empty() {
            let first = first.clone();
            return Err(NegativesError::OnlyClassNames { first });
        }
        Ok(Some(format!(
            "dropped texts to reject that name classes: {}, such as `{}`",
            dropped.len(),
            shortened(first)
        )))
    }

    /// Counts the texts of a list with words that the model has never read.
    fn note_of_unseen(&self) -> Option<String> {
        let vocabulary = self.vocabulary?;
        let words = self.nouns.words.iter().chain(&self.adjectives.words);
        let unseen: Vec<String> = words
            .filter_map(|text| vocabulary.unknown_words(text).into_iter().next())
            .collect();
        let first = unseen.first()?;
        Some(format!(
            "texts to reject with words that did not occur in the training captions: {} of {}, such as \
             `{}`; they reject unreliably",
            unseen.len(),
            self.nouns.words.len() + self.adjectives.words.len(),
            shortened(first)
        ))
    }

    /// Names the texts of a list that exceed the context length.
    fn note_of_truncated(&self, context_length: usize) -> Option<String> {
        let Candidates { words, templates } = &self.nouns;
        let is_truncated = |word: &&String| {
            let cut = |template: &Template| {
                let text = template.fill(word);
                Tokenizer::clip()
                    .tokenize_row(&text, context_length)
                    .truncated
            };
            templates.iter().any(cut)
        };
        let mut truncated = words.iter().filter(is_truncated);
        let first = truncated.next()?;
        Some(format!(
            "texts to reject cut to {context_length} tokens: {}, such as `{}`",
            1 + truncated.count(),
            shortened(first)
        ))
    }

    /// Takes the words of a corpus, unless words are set.
    fn add_words_of_source(&mut self) {
        let is_set = !self.nouns.words.is_empty() || !self.adjectives.words.is_empty();
        let Some(corpus) = self.corpus.filter(|_| !is_set) else {
            return;
        };
        let words = corpus.candidates(self.superclass_seed);
        self.nouns = Candidates {
            words: words.nouns,
            templates: corpus.noun_templates(),
        };
        self.adjectives = Candidates {
            words: words.adjectives,
            templates: corpus.adjective_templates(),
        };
    }

    /// Whether words that describe images of the classes are left out.
    fn excludes_words_of_classes(&self) -> bool {
        let is_published = matches!(self.corpus, Some(Corpus::NegLabel | Corpus::Csp));
        !self.class_names.is_empty() && !is_published && !self.is_users_list()
    }

    /// Drops candidates with unknown words; returns their number.
    fn drop_unseen(&mut self) -> usize {
        let (Some(vocabulary), Some(_)) = (self.vocabulary, &self.choice) else {
            return 0;
        };
        let mut dropped = 0;
        for words in [&mut self.nouns.words, &mut self.adjectives.words] {
            let before = words.len();
            words.retain(|word| vocabulary.unknown_words(word).is_empty());
            dropped += before - words.len();
        }
        dropped
    }

    /// Returns the rows of nouns or adjectives.
    fn rows<T: Real>(
        &self,
        what: &str,
        candidates: &Candidates,
        tower: &dyn TextTower<T>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<T>, NegativesError> {
        let Candidates { words, templates } = candidates;
        if words.is_empty() {
            return Ok(Vec::new());
        }
        match &self.cache {
            // The few texts of a user's list change from run to run.
            Some((cache, tower_hash)) if self.choice.is_some() => {
                let list = WordList {
                    name: &format!("{} {what}", self.source),
                    words,
                    templates,
                    join: self.join,
                };
                let cached = cache.encode(&list, tower_hash, tower, self.progress)?;
                notes.extend(cached.notes());
                Ok(cached.rows)
            }
            // Rounded like the rows of a cache, so that the choice is the same without one.
            _ => {
                let rows = encode_words(words, templates, self.join, tower, self.progress)?;
                round_to_half(&rows, tower.embed_dim(), words)
            }
        }
    }
}

/// Removes the words that describe images of the classes, with their rows; returns their number.
fn exclude<T: Real>(
    words: &mut Vec<String>,
    rows: &mut Vec<T>,
    dim: usize,
    is_excluded: impl Fn(&str) -> bool,
) -> usize {
    let before = words.len();
    let (mut kept_words, mut kept_rows) = (Vec::new(), Vec::new());
    for (word, row) in words.drain(..).zip(rows.chunks_exact(dim)) {
        if !is_excluded(&word) {
            kept_words.push(word);
            kept_rows.extend_from_slice(row);
        }
    }
    (*words, *rows) = (kept_words, kept_rows);
    before - words.len()
}

impl fmt::Debug for NegativesBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NegativesBuilder")
            .field("source", &self.source)
            .field("nouns", &self.nouns.words.len())
            .field("adjectives", &self.adjectives.words.len())
            .field("join", &self.join)
            .field("choice", &self.choice)
            .field("grouping", &self.grouping)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
