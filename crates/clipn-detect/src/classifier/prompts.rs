use clipn_model::{ModelWeights, NoSideOrigin};
use clipn_text::prompts::{PromptVariant, Template, TemplateSet};

use crate::classifier::ClassifierError;

/// The texts that stand for a class: templates for its name, and which of them the "no" tower
/// encodes.
///
/// ```
/// use clipn_detect::classifier::{ClassPrompts, PromptVariant};
/// use clipn_text::prompts::TemplateSet;
///
/// let prompts = ClassPrompts::new(TemplateSet::built_in("clipn")?, PromptVariant::HandCrafted);
/// assert_eq!(prompts.no_templates()?.len(), prompts.templates().yes().len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassPrompts {
    templates: TemplateSet,
    variant: PromptVariant,
}

impl ClassPrompts {
    /// Combines templates with a variant.
    pub fn new(templates: TemplateSet, variant: PromptVariant) -> Self {
        Self { templates, variant }
    }

    /// Combines templates with the variant that suits `weights`: hand-crafted if the weights have a
    /// "no" tower without learnable prompts and there are `no` templates, else learnable.
    pub fn for_weights(templates: TemplateSet, weights: &ModelWeights) -> Self {
        let has_no_side = weights.no_side_origin() == NoSideOrigin::Stored;
        let variant = if has_no_side && weights.no_prompts() == 0 && templates.no().is_some() {
            PromptVariant::HandCrafted
        } else {
            PromptVariant::Learnable
        };
        Self::new(templates, variant)
    }

    /// Returns the template set.
    pub fn templates(&self) -> &TemplateSet {
        &self.templates
    }

    /// Returns the template set by value.
    pub fn into_templates(self) -> TemplateSet {
        self.templates
    }

    /// Returns the variant.
    pub fn variant(&self) -> PromptVariant {
        self.variant
    }

    /// Returns the templates that the "no" tower encodes: the `yes` templates in the learnable
    /// variant, the `no` templates in the hand-crafted one.
    ///
    /// # Errors
    /// [`ClassifierError::MissingNoTemplates`] if the variant is hand-crafted and the set has no `no`
    /// templates.
    pub fn no_templates(&self) -> Result<&[Template], ClassifierError> {
        match self.variant {
            PromptVariant::Learnable => Ok(self.templates.yes()),
            PromptVariant::HandCrafted => {
                self.templates
                    .no()
                    .ok_or_else(|| ClassifierError::MissingNoTemplates {
                        set: self.templates.name().to_owned(),
                    })
            }
        }
    }
}
