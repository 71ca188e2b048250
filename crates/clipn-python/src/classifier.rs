//! Classifiers: class names or features of texts.

use std::sync::Arc;

use clipn::classifier::{ClassPrompts, Classifier as Inner, ClassifierBuilder, ClassifierError};
use clipn::count::count;
use clipn::engine::TextEncoder;
use clipn::inference::unit_features;
use clipn::model::{LogitScale, TextSide};
use clipn::negatives::{NegativeSource, Negatives, NegativesBuilder, NegativesError};
use clipn::prompts::{ClassList, ClassNames, PromptVariant, TemplateSet};
use numpy::PyArray2;
use pyo3::prelude::*;

use crate::arrays::{Matrix, to_matrix};
use crate::errors::{IntoException, OrRaise, invalid, warn};
use crate::identity::{SharedIdentity, check_texts};
use crate::interrupt::{Reporter, run};
use crate::model::Model;
use crate::process;

/// A zero-shot classifier.
#[pyclass(frozen, module = "clipn")]
#[derive(Clone)]
pub(crate) struct Classifier {
    pub(crate) inner: Inner,
    /// Prompts of the classes, if they were encoded from names.
    pub(crate) prompts: Option<ClassPrompts>,
    /// The model that encoded the names.
    pub(crate) model: Option<SharedIdentity>,
}

/// Why a classifier could not be built.
enum Failed {
    Classifier(ClassifierError),
    Negatives(NegativesError),
}

impl From<ClassifierError> for Failed {
    fn from(error: ClassifierError) -> Self {
        Self::Classifier(error)
    }
}

impl From<NegativesError> for Failed {
    fn from(error: NegativesError) -> Self {
        Self::Negatives(error)
    }
}

impl IntoException for Failed {
    fn into_exception(self) -> PyErr {
        match self {
            Self::Classifier(error) => error.into_exception(),
            Self::Negatives(error) => error.into_exception(),
        }
    }
}

/// Settings of a classifier that is built from class names.
struct BuildSettings {
    templates: Option<TemplateSet>,
    variant: Option<PromptVariant>,
    logit_scale: Option<LogitScale>,
    allow_duplicates: bool,
    negatives: NegativeSource,
}

fn build(
    names: &[String],
    model: &Model,
    settings: &BuildSettings,
    reporter: &Reporter,
) -> Result<(Classifier, Vec<String>), Failed> {
    let builder = ClassifierBuilder::new(names)
        .with_metadata(&model.metadata)
        .with_templates(settings.templates.clone())
        .with_variant(settings.variant)
        .with_logit_scale(settings.logit_scale)
        .with_duplicates(settings.allow_duplicates)
        .with_progress(reporter);
    let prompts = builder.prompts(&model.weights)?;
    let built = builder.build_with_report(&model.weights)?;
    let mut notes = built.notes();
    let classifier = built.classifier;
    let negatives = match &settings.negatives {
        NegativeSource::None => None,
        NegativeSource::File(path) if path.extension().is_some_and(|e| e == "safetensors") => {
            let hash = model.weights.yes_tower_hash();
            let tower = TextEncoder::from_weights(&model.weights, TextSide::Yes);
            let (negatives, left_out) =
                Negatives::open_for(path, &hash, &tower, classifier.class_names())?;
            notes.extend(left_out);
            Some(negatives)
        }
        source => {
            let tower = TextEncoder::from_weights(&model.weights, TextSide::Yes);
            let mut builder = NegativesBuilder::new(source)
                .with_class_names(classifier.class_names())
                .with_vocabulary(model.weights.training_vocabulary())
                .with_tower_hash(model.weights.yes_tower_hash())
                .with_progress(reporter);
            if let NegativeSource::List(_) = source {
                builder = builder.with_list_templates(prompts.templates().yes().to_vec());
            }
            let built = builder.build(classifier.yes_weights(), &tower)?;
            notes.extend(built.notes);
            Some(built.negatives)
        }
    };
    let classifier = Classifier {
        inner: classifier.with_negatives(negatives)?,
        prompts: Some(prompts),
        model: Some(Arc::clone(&model.identity)),
    };
    Ok((classifier, notes))
}

impl Classifier {
    fn matrix<'py>(&self, py: Python<'py>, rows: &[f32]) -> PyResult<Bound<'py, PyArray2<f32>>> {
        to_matrix(py, rows.to_vec(), self.inner.dim())
    }
}

#[pymethods]
impl Classifier {
    #[staticmethod]
    fn build(
        py: Python<'_>,
        classes: Vec<String>,
        model: &Model,
        templates: Option<&str>,
        variant: Option<&str>,
        logit_scale: Option<&str>,
        allow_duplicates: bool,
        negatives: Option<&str>,
        reject: Option<Vec<String>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let settings = BuildSettings {
            templates: templates.map(TemplateSet::resolve).transpose().or_raise()?,
            variant: variant
                .map(str::parse)
                .transpose()
                .map_err(|_| invalid("expected variant \"learnable\" or \"handcrafted\""))?,
            logit_scale: logit_scale
                .map(str::parse)
                .transpose()
                .map_err(|_| invalid("expected logit_scale \"published\" or \"trained\""))?,
            allow_duplicates,
            negatives: match (reject, negatives) {
                (Some(texts), _) => NegativeSource::List(texts),
                (None, Some(source)) => source.parse().or_raise()?,
                (None, None) => NegativeSource::None,
            },
        };
        let reporter = Reporter::new(progress);
        let built = run(py, &reporter, || {
            build(&classes, model, &settings, &reporter)
        })?;
        let (classifier, notes) = built.or_raise()?;
        notes.iter().try_for_each(|note| warn(py, note))?;
        Ok(classifier)
    }

    #[staticmethod]
    fn from_features(
        yes: &Bound<'_, PyAny>,
        no: Option<&Bound<'_, PyAny>>,
        negatives: Option<&Bound<'_, PyAny>>,
        classes: Option<Vec<String>>,
        negative_names: Option<Vec<String>>,
        scale: f64,
        no_scale: f64,
    ) -> PyResult<Self> {
        let yes = Matrix::extract(yes, "the yes features")?;
        let [count, dim] = yes.shape();
        let names = classes.unwrap_or_else(|| (0..count).map(|class| class.to_string()).collect());
        if names.len() != count {
            return Err(invalid(format!(
                "expected {count} class names, one per row, got {}",
                names.len()
            )));
        }
        ClassNames::new(names.clone())
            .and_then(|names| ClassList::new(names).check_names())
            .or_raise()?;
        let rows = |array: &Bound<'_, PyAny>, name: &str| -> PyResult<(usize, Vec<f32>)> {
            let matrix = Matrix::extract(array, name)?;
            let [rows, found] = matrix.shape();
            if found != dim {
                return Err(invalid(format!(
                    "expected {name} of dimension {dim}, got {found}"
                )));
            }
            Ok((rows, matrix.to_f32()?))
        };
        let no = no.map(|no| rows(no, "no features")).transpose()?;
        let no = no.map(|(_, values)| values);
        let classifier = Inner::new(names, yes.to_f32()?, no).or_raise()?;
        let negatives = match negatives {
            None => None,
            Some(array) => {
                let (rows, values) = rows(array, "negative features")?;
                let words = negative_names
                    .unwrap_or_else(|| (0..rows).map(|word| word.to_string()).collect());
                if words.len() != rows {
                    return Err(invalid(format!(
                        "expected {rows} names of negatives, one per row, got {}",
                        words.len()
                    )));
                }
                Some(Negatives::from_features(&words, values, count).or_raise()?)
            }
        };
        let inner = classifier
            .with_scale(factor(scale, "scale")?)
            .with_no_scale(factor(no_scale, "no_scale")?)
            .with_negatives(negatives)
            .or_raise()?;
        Ok(Self {
            inner,
            prompts: None,
            model: None,
        })
    }

    /// Names of the K classes.
    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.inner.class_names().to_vec()
    }

    /// Dimension D of the features.
    #[getter]
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    /// Factor from cosines to logits.
    #[getter]
    fn scale(&self) -> f64 {
        self.inner.scale()
    }

    /// Factor of the "no" logits over "yes" logits of the same cosine.
    #[getter]
    fn no_scale(&self) -> f64 {
        self.inner.no_scale()
    }

    /// Names of the negatives.
    #[getter]
    fn negative_names(&self) -> Vec<String> {
        self.inner
            .negatives()
            .map(|negatives| negatives.words().to_vec())
            .unwrap_or_default()
    }

    /// Names of the scores that can be computed.
    #[getter]
    fn scores(&self) -> Vec<&'static str> {
        let available = self.inner.score_inputs().available();
        available.iter().map(|score| score.name()).collect()
    }

    /// W_yes [K, D].
    #[getter]
    fn yes_weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        self.matrix(py, self.inner.yes_weights())
    }

    /// W_no [K, D].
    #[getter]
    fn no_weights<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
        let rows = self.inner.no_weights();
        rows.map(|rows| self.matrix(py, rows)).transpose()
    }

    fn add(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        check_texts(py, self.model.as_ref(), other.model.as_ref())?;
        for (what, own, others) in [
            ("scale", self.inner.scale(), other.inner.scale()),
            ("no_scale", self.inner.no_scale(), other.inner.no_scale()),
        ] {
            if own != others {
                return Err(invalid(format!(
                    "expected classifiers of the same model, got the {what} {own} and {others}"
                )));
            }
        }
        // Classes of other prompts, or of features, are not made again from those of this classifier.
        let prompts = self
            .prompts
            .as_ref()
            .filter(|own| other.prompts.as_ref() == Some(own));
        Ok(Self {
            inner: self.inner.concat(&other.inner).or_raise()?,
            prompts: prompts.cloned(),
            // Of a row of features, nothing is known.
            model: self.model.as_ref().or(other.model.as_ref()).cloned(),
        })
    }

    fn remove(&self, names: Vec<String>) -> PyResult<Self> {
        Ok(Self {
            inner: self.inner.without_classes(&names).or_raise()?,
            prompts: self.prompts.clone(),
            model: self.model.clone(),
        })
    }

    fn prompt_variant(&self) -> Option<String> {
        self.prompts
            .as_ref()
            .map(|prompts| prompts.variant().to_string())
    }

    /// Classes with the prompts of this classifier.
    fn encode_like(
        &self,
        py: Python<'_>,
        classes: Vec<String>,
        model: &Model,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let Some(prompts) = &self.prompts else {
            return Err(invalid(
                "the classifier was made of features; build the new classes, and add them",
            ));
        };
        check_texts(py, self.model.as_ref(), Some(&model.identity))?;
        let reporter = Reporter::new(progress);
        let built = run(py, &reporter, || {
            ClassifierBuilder::new(&classes)
                .with_prompts(prompts.clone())
                .with_progress(&reporter)
                .build(&model.weights)
        })?;
        Ok(Self {
            inner: built.or_raise()?.with_scales_of(&self.inner),
            prompts: Some(prompts.clone()),
            model: Some(Arc::clone(&model.identity)),
        })
    }

    /// Logits of features [N, D]: yes [N, K], no [N, K] and negatives [N, M].
    #[expect(clippy::type_complexity, reason = "a tuple of three arrays")]
    fn logits<'py>(
        &self,
        py: Python<'py>,
        features: &Bound<'py, PyAny>,
    ) -> PyResult<(
        Bound<'py, PyArray2<f32>>,
        Option<Bound<'py, PyArray2<f32>>>,
        Option<Bound<'py, PyArray2<f32>>>,
    )> {
        let matrix = Matrix::extract(features, "features")?;
        let features = unit_features(matrix.to_f32()?, matrix.shape()[1]);
        process::check()?;
        let logits = py.detach(|| self.inner.logits(&features));
        let logits = logits.or_raise()?;
        let optional = |values: &[f32], width: usize| {
            let values = (!values.is_empty()).then(|| values.to_vec());
            values
                .map(|values| to_matrix(py, values, width))
                .transpose()
        };
        let classes = self.inner.len();
        let words = self.inner.negatives().map_or(0, Negatives::len);
        Ok((
            to_matrix(py, logits.yes().to_vec(), classes)?,
            optional(logits.no(), classes)?,
            optional(logits.negatives(), words)?,
        ))
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __repr__(&self) -> String {
        format!(
            "<clipn.Classifier: {}, D={}{}{}>",
            count(self.inner.len(), "class"),
            self.inner.dim(),
            if self.inner.has_no() {
                ", with \"no\""
            } else {
                ""
            },
            match self.inner.negatives() {
                Some(negatives) => format!(", {}", count(negatives.len(), "negative")),
                None => String::new(),
            }
        )
    }
}

/// Checks a factor of logits.
fn factor(value: f64, name: &str) -> PyResult<f64> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(invalid(format!("expected a positive {name}, got {value}")))
}
