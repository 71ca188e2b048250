//! Words that are no class: what `--negatives` and `--reject` name, as negatives of a classifier.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Args;
use clipn::classifier::{ClassPrompts, Classifier};
use clipn::count::count;
use clipn::download::DownloadSettings;
use clipn::files::read_text;
use clipn::model::{
    FeatureMatrix, ModelError, ModelWeights, NoSideOrigin, PromptSelection, TextSide, TextTower,
    TowerFactory,
};
use clipn::negatives::{
    NegativeSource, Negatives, NegativesBuilder, NegativesError, NegativesOrigin, Selection,
    WordFeatureCache,
};
use clipn::progress::Progress;
use clipn::prompts::{ClassList, duplicate_names, looks_like_path};
use clipn::scores::Score;
use clipn::tokenizer::TokenBatch;

use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::{detail, hint, note, warning};
use crate::common::model::LoadedModel;

/// Extension of files of negatives; other files are lists.
const SAFETENSORS_EXTENSION: &str = "safetensors";

/// Words to reject with.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NegativesArgs {
    /// Words that are no class, to reject with: wordnet, neglabel, csp, none, or a file [default:
    /// wordnet if the weights have not learned "no", else none]
    ///
    /// wordnet leaves out what describes the classes; neglabel and csp are the published lists and
    /// rules. A file has one text per line, or negatives that `clipn classifier show --negatives`
    /// wrote (.safetensors).
    #[arg(long, value_name = "NAME|FILE", value_parser = parse_source)]
    pub negatives: Option<NegativeSource>,
    /// Things to reject, such as "a hand, an empty table", or a file of them; the answer names the one
    /// that is most alike
    #[arg(long, value_name = "LIST|FILE", conflicts_with = "negatives")]
    pub reject: Option<String>,
}

fn parse_source(text: &str) -> Result<NegativeSource, String> {
    text.parse()
        .map_err(|error: NegativesError| error.to_string())
}

impl NegativesArgs {
    /// Whether neither flag is given.
    pub(crate) fn is_default(&self) -> bool {
        self.negatives.is_none() && self.reject.is_none()
    }

    /// Whether the flags name negatives.
    pub(crate) fn are_given(&self) -> bool {
        self.reject.is_some()
            || matches!(&self.negatives, Some(source) if !matches!(source, NegativeSource::None))
    }

    /// The file of `--negatives`, if it names one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.negatives {
            Some(NegativeSource::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The source for these weights.
    fn source(&self, loaded: &LoadedModel) -> Result<NegativeSource, CliError> {
        Ok(match (&self.reject, &self.negatives) {
            (Some(list), _) => own_list(list)?,
            (None, Some(source)) => source.clone(),
            (None, None) if loaded.weights.no_side_origin() == NoSideOrigin::CopiedFromYes => {
                NegativeSource::WordNet
            }
            (None, None) => NegativeSource::None,
        })
    }

    /// Adds the negatives to a classifier of these prompts.
    pub(crate) fn attach(
        &self,
        loaded: &LoadedModel,
        classifier: Classifier,
        prompts: &ClassPrompts,
        progress: &dyn Progress,
    ) -> Result<Classifier, CliError> {
        self.attach_seeded(loaded, classifier, prompts, 0, progress)
    }

    /// Same as [`attach`](Self::attach), with another seed of what is drawn: the groups of the negatives, and
    /// the superclasses of CSP's adjectives.
    pub(crate) fn attach_seeded(
        &self,
        loaded: &LoadedModel,
        classifier: Classifier,
        prompts: &ClassPrompts,
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Classifier, CliError> {
        let source = self.source(loaded)?;
        let words = Words::Chosen { seed };
        attach(&source, loaded, classifier, prompts, words, progress)
    }

    /// All words of the source that describe no class.
    pub(crate) fn all_words(
        &self,
        loaded: &LoadedModel,
        classifier: &Classifier,
        prompts: &ClassPrompts,
        progress: &dyn Progress,
    ) -> Result<Negatives, CliError> {
        let source = match self.source(loaded)? {
            // The words stand beside the classes, also where no negatives do.
            NegativeSource::None => NegativeSource::WordNet,
            source => source,
        };
        open_or_build(&source, loaded, classifier, prompts, Words::All, progress)
    }
}

/// Warns of negatives that are given, if they have no part in the decisions of a score.
pub(crate) fn warn_if_unread(score: &dyn Score) {
    if score.uses_negatives() {
        return;
    }
    warning(format_args!(
        "the score {} does not read negatives: they name what an image resembles, and reject none",
        score.display_name()
    ));
    hint(
        "classify or calibrate with --score neglabel to reject with them, or with --score atd-neg to reject \
         with them and \"no\"",
    );
}

/// The texts of `--reject`: a file, or a list in any form.
fn own_list(list: &str) -> Result<NegativeSource, CliError> {
    if Path::new(list).exists() {
        return Ok(NegativeSource::File(list.into()));
    }
    if looks_like_path(list) {
        return Err(CliError::usage_with_hint(
            format!("--reject {list}: no such file"),
            "check the path, or separate texts by commas",
        ));
    }
    match ClassList::parse_inline(list) {
        Ok(list) => Ok(list_source(list)),
        Err(error) if list.trim_start().starts_with(['[', '{']) => Err(error.into()),
        // Empty texts are dropped.
        Err(_) => Ok(NegativeSource::list(list)),
    }
}

/// Adds negatives of a source to a classifier of these prompts.
fn attach(
    source: &NegativeSource,
    loaded: &LoadedModel,
    classifier: Classifier,
    prompts: &ClassPrompts,
    words: Words<'_>,
    progress: &dyn Progress,
) -> Result<Classifier, CliError> {
    let negatives = match source {
        NegativeSource::None => return Ok(classifier),
        source => open_or_build(source, loaded, &classifier, prompts, words, progress)?,
    };
    let origin = negatives.origin();
    let selection = match &origin.selection {
        Selection::Chosen {
            candidates,
            excluded,
            unseen,
            ..
        } => format!(
            "of {candidates} candidates; {excluded} describe the classes, {unseen} have words that the \
             model has not read"
        ),
        _ => "as listed".to_owned(),
    };
    detail(format_args!(
        "{} of {}, {selection}; {}",
        count(negatives.len(), "negative"),
        origin.source,
        count(negatives.groups(), "group")
    ));
    Ok(classifier.with_negatives(negatives)?)
}

/// Chooses the negatives of a bundle again for these classes, by the same rules. Those of a list, and those from
/// elsewhere, can only be left out.
pub(crate) fn attach_again(
    negatives: &Negatives,
    loaded: &LoadedModel,
    classifier: Classifier,
    prompts: &ClassPrompts,
    progress: &dyn Progress,
) -> Result<Classifier, CliError> {
    let origin = negatives.origin();
    let source = match origin.selection {
        Selection::UserList => None,
        _ => origin.source.parse().ok(),
    };
    match source {
        Some(
            source @ (NegativeSource::WordNet | NegativeSource::NegLabel | NegativeSource::Csp),
        ) => {
            let words = Words::ChosenAs(origin);
            attach(&source, loaded, classifier, prompts, words, progress)
        }
        _ => {
            let negatives = negatives.for_classes(classifier.class_names())?;
            Ok(classifier.with_negatives(negatives)?)
        }
    }
}

/// Opens the negatives of a file, or builds those of a list or of words.
fn open_or_build(
    source: &NegativeSource,
    loaded: &LoadedModel,
    classifier: &Classifier,
    prompts: &ClassPrompts,
    words: Words<'_>,
    progress: &dyn Progress,
) -> Result<Negatives, CliError> {
    let list;
    let source = match source {
        NegativeSource::File(path) if is_safetensors(path) => {
            let hash = loaded.weights.yes_tower_hash();
            let tower = DeferredEncoder::new(&loaded.weights, loaded.towers());
            let (negatives, left_out) =
                Negatives::open_for(path, &hash, &tower, classifier.class_names())?;
            left_out.iter().for_each(warning);
            return Ok(negatives);
        }
        NegativeSource::File(path) => {
            list = read_list(path)?;
            &list
        }
        source => source,
    };
    build(source, loaded, classifier, prompts, words, progress)
}

/// Which candidates become negatives.
#[derive(Clone, Copy)]
enum Words<'a> {
    /// Those of the source's rule, grouped by a seed.
    Chosen {
        seed: u64,
    },
    /// Those of the rules by which other negatives were made.
    ChosenAs(&'a NegativesOrigin),
    All,
}

fn build(
    source: &NegativeSource,
    loaded: &LoadedModel,
    classifier: &Classifier,
    prompts: &ClassPrompts,
    words: Words<'_>,
    progress: &dyn Progress,
) -> Result<Negatives, CliError> {
    let cache = cache();
    let tower = DeferredEncoder::new(&loaded.weights, loaded.towers());
    let mut builder = NegativesBuilder::new(source)
        .with_class_names(classifier.class_names())
        .with_vocabulary(loaded.weights.training_vocabulary())
        .with_progress(progress);
    builder = match words {
        Words::Chosen { seed } => builder.with_seed(seed),
        Words::ChosenAs(origin) => builder.with_rules_of(origin),
        Words::All => builder.with_all_words(),
    };
    if let NegativeSource::List(_) = source {
        builder = builder.with_list_templates(prompts.templates().yes().to_vec());
    }
    let hash = loaded.weights.yes_tower_hash();
    builder = match &cache {
        Some(cache) => builder.with_cache(cache, hash),
        None => builder.with_tower_hash(hash),
    };
    let built = builder.build(classifier.yes_weights(), &tower)?;
    built.notes.iter().for_each(warning);
    loaded.weights.release_pages();
    Ok(built.negatives)
}

/// "Yes" text tower that is built for the first text: with cached features there is none to encode.
struct DeferredEncoder<'a> {
    weights: &'a ModelWeights,
    towers: &'a dyn TowerFactory,
    tower: OnceLock<Box<dyn TextTower<f32>>>,
}

impl<'a> DeferredEncoder<'a> {
    fn new(weights: &'a ModelWeights, towers: &'a dyn TowerFactory) -> Self {
        Self {
            weights,
            towers,
            tower: OnceLock::new(),
        }
    }
}

impl TextTower<f32> for DeferredEncoder<'_> {
    fn embed_dim(&self) -> usize {
        self.weights.config().embed_dim
    }

    fn context_length(&self) -> usize {
        self.weights.config().text.context_length
    }

    fn encode_with(
        &self,
        tokens: &TokenBatch,
        prompt: PromptSelection,
    ) -> Result<FeatureMatrix<f32>, ModelError> {
        let tower = match self.tower.get() {
            Some(tower) => tower,
            None => {
                let built = self.towers.text_tower(self.weights, TextSide::Yes)?;
                self.tower.get_or_init(|| built)
            }
        };
        tower.encode_with(tokens, prompt)
    }
}

/// Cache of the words' features, in the directory of downloaded weights.
pub(crate) fn cache() -> Option<WordFeatureCache> {
    match DownloadSettings::from_env() {
        Ok(settings) => Some(WordFeatureCache::new(cache_directory(&settings))),
        Err(error) => {
            warning(format_args!(
                "the features of words are not cached: {}",
                chain_in_one_line(&error)
            ));
            None
        }
    }
}

/// Directory of the cache of words' features.
pub(crate) fn cache_directory(settings: &DownloadSettings) -> PathBuf {
    settings.assets.join("clipn").join("words")
}

fn is_safetensors(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(SAFETENSORS_EXTENSION))
}

/// Reads a file with one text per line, or in another form of class lists.
fn read_list(path: &Path) -> Result<NegativeSource, CliError> {
    let text = read_text(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => CliError::usage_with_hint(
            format!("{} is neither a list of words nor a file", path.display()),
            "the lists are wordnet, neglabel and csp; a path names a file of your own",
        ),
        _ => CliError::ReadFile {
            path: path.to_owned(),
            source,
        },
    })?;
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.is_empty() {
        return Err(CliError::usage_with_hint(
            format!("{} contains no texts", path.display()),
            "give one text per line",
        ));
    }
    let origin = path.display().to_string();
    Ok(list_source(ClassList::parse_text(
        &lines.join("\n"),
        &origin,
    )?))
}

/// Texts of a list in any form, each once.
fn list_source(list: ClassList) -> NegativeSource {
    if let Some(description) = list.description() {
        note(description.replacen("class name", "text", 1));
    }
    let mut texts: Vec<String> = list.into_names().into();
    let repeated: HashSet<usize> = duplicate_names(&texts)
        .into_iter()
        .flat_map(|group| group.into_iter().skip(1))
        .collect();
    if !repeated.is_empty() {
        note(format_args!(
            "dropped repeated texts to reject: {}",
            repeated.len()
        ));
        let mut index = 0;
        texts.retain(|_| {
            index += 1;
            !repeated.contains(&(index - 1))
        });
    }
    NegativeSource::List(texts)
}
