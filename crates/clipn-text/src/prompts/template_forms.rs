//! Template files in the forms that people have: lists in JSON or Python, lines of a notebook, and
//! sentences per class.
use std::sync::LazyLock;

use regex::Regex;

use super::PromptError;
use super::class_sentences::ClassSentences;
use super::fields::split_fields;
use super::literal::{Literal, Value};

/// Placeholders of other programs for the class name.
const OTHER_PLACEHOLDERS: [&str; 12] = [
    "{c}",
    "{cls}",
    "{class}",
    "{class_name}",
    "{classname}",
    "{label}",
    "{name}",
    "{category}",
    "{object}",
    "{0}",
    "{text}",
    "%s",
];

/// A template and where it stands.
#[derive(Debug)]
pub(super) struct TemplateLine {
    pub(super) text: String,
    /// Line or element number, such as `line 3`.
    pub(super) location: String,
}

/// Content of a template file.
#[derive(Debug)]
pub(super) enum TemplateContent {
    Templates {
        lines: Vec<TemplateLine>,
        /// Form of the lines; `None` for one template per line.
        form: Option<&'static str>,
    },
    /// Sentences for each class.
    PerClass(ClassSentences),
}

/// Replaces the placeholder of another program in a template without `{}`; returns the template and
/// the placeholder.
pub(super) fn with_own_placeholder(template: &str) -> Option<(String, &'static str)> {
    if template.contains("{}") {
        return None;
    }
    let found = OTHER_PLACEHOLDERS
        .iter()
        .find(|placeholder| template.contains(**placeholder))?;
    Some((template.replace(found, "{}"), found))
}

/// Reads a file with templates or with sentences per class.
pub(super) fn content(text: &str, origin: &str) -> Result<TemplateContent, PromptError> {
    if begins_like_literal(text) {
        let literal = Literal::parse(text).map_err(|error| PromptError::Malformed {
            origin: origin.to_owned(),
            format: "JSON or Python",
            expected: "a list of templates such as [\"a photo of a {}.\"], or an object from class \
                       names to lists of sentences",
            source: Box::new(error),
        })?;
        return structured(literal, origin);
    }
    lines(text, origin)
}

/// Whether a text begins with a list or dictionary of strings, and not with a template such as
/// `{} in the rain`.
fn begins_like_literal(text: &str) -> bool {
    static START: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"^(?:\s|#[^\n]*\n)*(?:[\w.]+\s*(?::[^=\n]*)?=\s*[\[{(]|[\[{])(?:\s|#[^\n]*\n)*(?:[rfuRFU]{0,2}["']|[\]})]\s*$)"#)
            .expect("a constant that compiles")
    });
    let is_bare_placeholder = text.trim_start().starts_with("{}");
    START.is_match(text) && !is_bare_placeholder
}

fn structured(literal: Literal, origin: &str) -> Result<TemplateContent, PromptError> {
    let unclear = |seen: String| PromptError::UnclearTemplates {
        origin: origin.to_owned(),
        seen,
    };
    match literal.value {
        Value::List(items) => {
            let line = |(index, item): (usize, Literal)| match item.value {
                Value::Text(text) => Ok(TemplateLine {
                    text,
                    location: format!("template {}", index + 1),
                }),
                _ => Err(unclear(format!(
                    "{item} in place of template {}",
                    index + 1
                ))),
            };
            let lines = items.into_iter().enumerate().map(line);
            Ok(TemplateContent::Templates {
                lines: lines.collect::<Result<_, _>>()?,
                form: Some("a list in JSON or Python"),
            })
        }
        Value::Dict(pairs) => per_class(pairs, origin),
        _ => Err(unclear(format!(
            "{literal} in place of a list of templates"
        ))),
    }
}

/// Reads a dictionary from class names to sentences.
fn per_class(pairs: Vec<(Literal, Literal)>, origin: &str) -> Result<TemplateContent, PromptError> {
    let unclear = |seen: String| PromptError::UnclearTemplates {
        origin: origin.to_owned(),
        seen,
    };
    let mut classes = Vec::new();
    for (key, value) in pairs {
        let Value::Text(name) = key.value else {
            return Err(unclear(format!("the key {key} in place of a class name")));
        };
        let sentences = match value.value {
            Value::Text(sentence) => vec![sentence],
            Value::List(items) => {
                let text = |item: Literal| match item.value {
                    Value::Text(text) => Ok(text),
                    _ => Err(unclear(format!(
                        "{item} in place of a sentence of `{name}`"
                    ))),
                };
                items.into_iter().map(text).collect::<Result<_, _>>()?
            }
            _ => {
                return Err(unclear(format!(
                    "{value} in place of sentences of `{name}`"
                )));
            }
        };
        classes.push((name, sentences));
    }
    let has_placeholder =
        |text: &String| text.contains("{}") || with_own_placeholder(text).is_some();
    let mut sentences = classes
        .iter()
        .flat_map(|(_, sentences)| sentences)
        .peekable();
    if sentences.peek().is_some() && sentences.all(has_placeholder) {
        let names: Vec<String> = classes
            .iter()
            .take(3)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        return Err(unclear(format!(
            "a dictionary of {} lists of templates ({})",
            classes.len(),
            names.join(", ")
        )));
    }
    ClassSentences::checked(classes, origin).map(TemplateContent::PerClass)
}

/// Reads lines: one template each, plain, or quoted as in a notebook.
fn lines(text: &str, origin: &str) -> Result<TemplateContent, PromptError> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            rows.push((index + 1, line));
        }
    }
    let quoted: Vec<Option<Vec<String>>> =
        rows.iter().map(|(_, line)| quoted_texts(line)).collect();
    // The lines with the brackets around a list.
    let is_bracket =
        |line: &str| line.ends_with(['[', '(']) && !line.contains('{') || matches!(line, "]" | ")");
    let counted = rows
        .iter()
        .zip(&quoted)
        .filter(|((_, line), _)| !is_bracket(line));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for ((line, _), quoted) in counted {
        if quoted.is_some() {
            with.push(*line);
        } else {
            without.push(*line);
        }
    }
    if !with.is_empty() && !without.is_empty() {
        return Err(PromptError::UnclearTemplates {
            origin: origin.to_owned(),
            seen: format!(
                "{} of {} templates are in quotes, such as line {}, but line {} is not",
                with.len(),
                with.len() + without.len(),
                with[0],
                without[0]
            ),
        });
    }
    if !with.is_empty() {
        let lines = rows.iter().zip(quoted).flat_map(|((line, _), texts)| {
            let location = format!("line {line}");
            texts.into_iter().flatten().map(move |text| TemplateLine {
                text,
                location: location.clone(),
            })
        });
        return Ok(TemplateContent::Templates {
            lines: lines.collect(),
            form: Some("quoted lines"),
        });
    }
    let unescaped = |line: &str| match line.strip_prefix('\\') {
        Some(rest) if rest.starts_with('#') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let line = |(line, text): (usize, &str)| TemplateLine {
        text: unescaped(text),
        location: format!("line {line}"),
    };
    Ok(TemplateContent::Templates {
        lines: rows.into_iter().map(line).collect(),
        form: None,
    })
}

/// Returns the texts of a line that consists of quoted texts, with commas behind them and a lambda in
/// front of them; `None` for any other line.
fn quoted_texts(line: &str) -> Option<Vec<String>> {
    static LAMBDA: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"^(?:lambda\s+\w+\s*:\s*)?[fFrRuU]{0,2}(["'])"#)
            .expect("a constant that compiles")
    });
    let quote = LAMBDA.captures(line)?.get(1)?.start();
    let fields = split_fields(&line[quote..], ',');
    fields
        .into_iter()
        .map(|field| field.quoted.then_some(field.text))
        .collect()
}
