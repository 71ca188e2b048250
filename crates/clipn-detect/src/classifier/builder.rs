use std::fmt;

use clipn_base::progress::{NoProgress, Progress};
use clipn_engine::CpuFactory;
use clipn_model::{
    LogitScale, ModelWeights, NoSideOrigin, Real, TextSide, TextTower, TowerFactory,
    WeightsMetadata,
};
use clipn_text::prompts::{ClassList, ClassNames, PromptVariant, TemplateSet};

use crate::classifier::encode::encode_classes;
use crate::classifier::{BuiltClassifier, ClassPrompts, Classifier, ClassifierError};

/// Builds a [`Classifier`] from class names: fills them into templates, encodes the texts with the text
/// towers, and averages over the templates. Weights of a plain CLIP give a classifier without "no" rows.
///
/// Every setting is optional, and can also be unset by `None`:
///
/// | Setting | Default |
/// |---|---|
/// | [templates](Self::with_templates) | the set named in the [metadata](Self::with_metadata), else [`TemplateSet::DEFAULT_NAME`] |
/// | [variant](Self::with_variant) | the one that suits the weights, see [`ClassPrompts::for_weights`] |
/// | [logit scale](Self::with_logit_scale) | the one named in the metadata, else the published 100 |
/// | [progress](Self::with_progress) | none |
/// | [device](Self::with_towers) | the CPU |
///
/// ```
/// use clipn_detect::classifier::ClassifierBuilder;
/// use clipn_model::PretrainedWeights;
/// use clipn_text::prompts::TemplateSet;
///
/// let mini = PretrainedWeights::mini()?;
/// let weights = mini.weights(None)?;
/// let classifier = ClassifierBuilder::new(["school bus", "pizza"])
///     .with_metadata(&mini.metadata())
///     .with_templates(TemplateSet::built_in("simple")?)
///     .build(&weights)?;
/// assert_eq!(classifier.class_names(), ["school bus", "pizza"]);
/// // The metadata of this model names its trained scale.
/// assert_eq!(classifier.scale(), weights.logit_scale());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`build_with_towers`](Self::build_with_towers) uses text towers that exist already, for many
/// classifiers of one model or for towers of another engine.
#[derive(Clone)]
pub struct ClassifierBuilder<'a> {
    class_names: Vec<String>,
    templates: Option<TemplateSet>,
    variant: Option<PromptVariant>,
    logit_scale: Option<LogitScale>,
    allow_duplicates: bool,
    /// Template set that the metadata of the weights names.
    metadata_templates: Option<String>,
    /// Logit scale that the metadata of the weights names.
    metadata_scale: Option<LogitScale>,
    /// Factor of the "no" logits that the metadata of the weights names.
    metadata_no_scale: Option<f64>,
    progress: &'a dyn Progress,
    towers: &'a dyn TowerFactory,
}

impl<'a> ClassifierBuilder<'a> {
    /// Creates a builder for class names, in row order.
    pub fn new(class_names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            class_names: class_names.into_iter().map(Into::into).collect(),
            templates: None,
            variant: None,
            logit_scale: None,
            allow_duplicates: false,
            metadata_templates: None,
            metadata_scale: None,
            metadata_no_scale: None,
            progress: &NoProgress,
            towers: &CpuFactory,
        }
    }

    /// Sets the device that encodes the texts; the CPU by default.
    #[must_use]
    pub fn with_towers(self, towers: &'a dyn TowerFactory) -> Self {
        Self { towers, ..self }
    }

    /// Takes the defaults of templates and logit scale, and the factor of the "no" logits, from the metadata
    /// of the weights.
    #[must_use]
    pub fn with_metadata(self, metadata: &WeightsMetadata) -> Self {
        Self {
            metadata_templates: metadata.templates.clone(),
            metadata_scale: metadata.logit_scale,
            metadata_no_scale: metadata.no_scale,
            ..self
        }
    }

    /// Sets the templates that class names are filled into.
    #[must_use]
    pub fn with_templates(self, templates: impl Into<Option<TemplateSet>>) -> Self {
        Self {
            templates: templates.into(),
            ..self
        }
    }

    /// Sets which templates the "no" tower encodes.
    #[must_use]
    pub fn with_variant(self, variant: impl Into<Option<PromptVariant>>) -> Self {
        Self {
            variant: variant.into(),
            ..self
        }
    }

    /// Sets templates and variant, such as those of a bundle to add classes to.
    #[must_use]
    pub fn with_prompts(self, prompts: ClassPrompts) -> Self {
        let variant = prompts.variant();
        self.with_templates(prompts.into_templates())
            .with_variant(variant)
    }

    /// Sets the factor between cosines and logits: the published 100, or that of the model's
    /// training. [`Classifier::with_scale`] sets any other.
    #[must_use]
    pub fn with_logit_scale(self, scale: impl Into<Option<LogitScale>>) -> Self {
        Self {
            logit_scale: scale.into(),
            ..self
        }
    }

    /// Sets whether several classes may have the same name or the same texts, so that images cannot
    /// distinguish them [default: false]. The built-in list `imagenet-1k`, which has two such pairs, may always.
    #[must_use]
    pub fn with_duplicates(self, allow_duplicates: bool) -> Self {
        Self {
            allow_duplicates,
            ..self
        }
    }

    /// Sets the observer of the work, which can also cancel it. One stage is reported, with a unit per
    /// text.
    #[must_use]
    pub fn with_progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Resolves templates and variant as [`build`](Self::build) does, for example to store them with
    /// the classifier.
    ///
    /// # Errors
    /// [`ClassifierError::Prompt`] if the template set that the metadata names is unknown.
    pub fn prompts(&self, weights: &ModelWeights) -> Result<ClassPrompts, ClassifierError> {
        let templates = self.resolve_templates()?;
        Ok(match self.variant {
            Some(variant) => ClassPrompts::new(templates, variant),
            None => ClassPrompts::for_weights(templates, weights),
        })
    }

    /// Builds the classifier with the text towers of `weights`, which are created and dropped again. A
    /// "no" tower that is a copy of the "yes" tower, as in a plain CLIP, is not used.
    ///
    /// Texts that exceed the context length are truncated;
    /// [`build_with_report`](Self::build_with_report) counts them.
    ///
    /// # Errors
    /// A [`ClassifierError`] if there are no names, two names are equal for the tokenizer or a class is
    /// called `unknown`, if the template set is unknown or lacks the `no` templates of the hand-crafted
    /// variant or the sentences of a class, if the towers return non-finite features, or if the
    /// progress is cancelled.
    pub fn build(&self, weights: &ModelWeights) -> Result<Classifier, ClassifierError> {
        Ok(self.build_with_report(weights)?.classifier)
    }

    /// Same as [`build`](Self::build), and reports the classes with truncated texts and with words that
    /// did not occur in the training captions.
    ///
    /// # Errors
    /// Same as [`build`](Self::build).
    pub fn build_with_report(
        &self,
        weights: &ModelWeights,
    ) -> Result<BuiltClassifier, ClassifierError> {
        let prompts = self.prompts(weights)?;
        let yes = self.towers.text_tower(weights, TextSide::Yes)?;
        let has_no = weights.no_side_origin() == NoSideOrigin::Stored;
        let no = match has_no {
            true => Some(self.towers.text_tower(weights, TextSide::No)?),
            false => None,
        };
        let built = self.encode(&prompts, &*yes, no.as_deref())?;
        let classifier = match self.scale() {
            LogitScale::Trained => built.classifier.with_scale(weights.logit_scale()),
            LogitScale::Published => built.classifier,
        };
        let classifier = classifier.with_no_scale(weights.no_scale());
        let built = BuiltClassifier {
            classifier,
            ..built
        };
        Ok(match weights.training_vocabulary() {
            Some(vocabulary) => built.with_vocabulary(vocabulary, prompts.templates()),
            None => built,
        })
    }

    /// Builds the classifier with given text towers; without a "no" tower, it has no "no" rows. Without
    /// weights, the default of the variant is
    /// [`PromptVariant::Learnable`].
    ///
    /// ```
    /// use clipn_detect::classifier::ClassifierBuilder;
    /// use clipn_engine::TextEncoder;
    /// use clipn_model::{PretrainedWeights, TextSide};
    /// use clipn_text::prompts::TemplateSet;
    ///
    /// let weights = PretrainedWeights::mini()?.weights(None)?;
    /// let [yes, no] = [TextSide::Yes, TextSide::No].map(|side| TextEncoder::from_weights(&weights, side));
    /// for names in [["school bus", "pizza"], ["banana", "teapot"]] {
    ///     let classifier = ClassifierBuilder::new(names)
    ///         .with_templates(TemplateSet::built_in("simple")?)
    ///         .build_with_towers(&yes, Some(&no))?
    ///         .with_scale(weights.logit_scale())
    ///         .with_no_scale(weights.no_scale());
    ///     assert_eq!(classifier.class_names(), names);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`build`](Self::build); also if the towers differ in dimension or reject the texts,
    /// and [`ClassifierError::UnknownLogitScale`] for [`LogitScale::Trained`], which only weights
    /// have.
    pub fn build_with_towers<T: Real>(
        &self,
        yes: &dyn TextTower<T>,
        no: Option<&dyn TextTower<T>>,
    ) -> Result<Classifier<T>, ClassifierError> {
        if self.scale() == LogitScale::Trained {
            return Err(ClassifierError::UnknownLogitScale);
        }
        let variant = self.variant.unwrap_or_default();
        let prompts = ClassPrompts::new(self.resolve_templates()?, variant);
        let classifier = self.encode(&prompts, yes, no)?.classifier;
        Ok(classifier.with_no_scale(self.metadata_no_scale.unwrap_or(1.0)))
    }

    fn encode<T: Real>(
        &self,
        prompts: &ClassPrompts,
        yes: &dyn TextTower<T>,
        no: Option<&dyn TextTower<T>>,
    ) -> Result<BuiltClassifier<T>, ClassifierError> {
        let allow_duplicates = self.allow_duplicates || self.is_published_list();
        if !self.class_names.is_empty() {
            let list = ClassList::new(ClassNames::new(self.class_names.clone())?);
            if allow_duplicates {
                list.check_reserved()?;
            } else {
                list.check_names()?;
            }
        }
        let class_names = self.class_names.clone();
        encode_classes(
            class_names,
            prompts,
            yes,
            no,
            allow_duplicates,
            self.progress,
        )
    }

    /// Whether the names are those of a built-in list, in its order.
    fn is_published_list(&self) -> bool {
        let is_list = |name: &&str| {
            ClassNames::built_in(name).is_ok_and(|list| list.names() == self.class_names)
        };
        ClassNames::built_in_names().iter().any(is_list)
    }

    fn resolve_templates(&self) -> Result<TemplateSet, ClassifierError> {
        let name = self.metadata_templates.as_deref();
        match &self.templates {
            Some(templates) => Ok(templates.clone()),
            None => Ok(TemplateSet::resolve(
                name.unwrap_or(TemplateSet::DEFAULT_NAME),
            )?),
        }
    }

    fn scale(&self) -> LogitScale {
        let named = self.logit_scale.or(self.metadata_scale);
        named.unwrap_or(LogitScale::Published)
    }
}

impl fmt::Debug for ClassifierBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifierBuilder")
            .field("class_names", &self.class_names)
            .field("templates", &self.templates.as_ref().map(TemplateSet::name))
            .field("variant", &self.variant)
            .field("logit_scale", &self.logit_scale)
            .field("allow_duplicates", &self.allow_duplicates)
            .field("metadata_templates", &self.metadata_templates)
            .field("metadata_scale", &self.metadata_scale)
            .field("metadata_no_scale", &self.metadata_no_scale)
            .finish_non_exhaustive()
    }
}
