use std::borrow::Cow;

use clipn_model::{ModelError, PromptSelection, Real, TextConfig, TextParams};

/// Returns the positional embeddings plus the "no" prompt, `[context_length, width]`.
pub(crate) fn prompted_positions<'a, T: Real>(
    params: &'a TextParams<T>,
    config: &TextConfig,
    prompt: PromptSelection,
) -> Result<Cow<'a, [T]>, ModelError> {
    let positions: &[T] = &params.positional_embedding;
    let size = config.context_length * config.width;
    let prompts: &[T] = params.prompts.as_deref().unwrap_or_default();
    let count = prompts.len() / size;
    let added: Vec<T> = match prompt {
        PromptSelection::Mean if count == 0 => return Ok(Cow::Borrowed(positions)),
        PromptSelection::Mean => {
            let sum = |i: usize| prompts[i..].iter().step_by(size).copied().sum::<T>();
            (0..size)
                .map(|i| sum(i) / T::from_f64(count as f64))
                .collect()
        }
        PromptSelection::Index(index) if index < count => prompts[index * size..][..size].to_vec(),
        PromptSelection::Index(index) => return Err(ModelError::PromptOutOfRange { index, count }),
    };
    Ok(Cow::Owned(
        positions.iter().zip(added).map(|(&p, a)| p + a).collect(),
    ))
}

/// Positional embeddings plus the prompt of each text: one table, `[context_length, width]`, per
/// distinct prompt.
pub(crate) struct PromptTables<'a, T: Real> {
    tables: Vec<Cow<'a, [T]>>,
    /// Index into `tables` for each text.
    table_indices: Vec<usize>,
}

impl<'a, T: Real> PromptTables<'a, T> {
    /// Builds the tables for `texts` texts.
    ///
    /// # Errors
    ///
    /// [`ModelError::PromptCount`] if the number of prompts is not the number of texts, and
    /// [`ModelError::PromptOutOfRange`] for a prompt that the tower does not have.
    pub(crate) fn new(
        params: &'a TextParams<T>,
        config: &TextConfig,
        prompts: &[PromptSelection],
        texts: usize,
    ) -> Result<Self, ModelError> {
        if prompts.len() != texts {
            return Err(ModelError::PromptCount {
                texts,
                prompts: prompts.len(),
            });
        }
        let mut known: Vec<PromptSelection> = Vec::new();
        let mut all = Self {
            tables: Vec::new(),
            table_indices: Vec::with_capacity(texts),
        };
        for &prompt in prompts {
            let index = match known.iter().position(|&k| k == prompt) {
                Some(index) => index,
                None => {
                    known.push(prompt);
                    all.tables.push(prompted_positions(params, config, prompt)?);
                    known.len() - 1
                }
            };
            all.table_indices.push(index);
        }
        Ok(all)
    }

    /// Returns the table of a text, `[context_length, width]`.
    pub(crate) fn for_text(&self, text: usize) -> &[T] {
        &self.tables[self.table_indices[text]]
    }
}

/// Adds the gradients of the positional embeddings and prompts, given the gradient of each embedded
/// text and its prompt.
///
/// The gradient of a text is `[length, width]`, with at most `context_length` rows. The gradient of
/// the mean prompt is distributed evenly over all prompts.
pub(crate) fn add_position_gradients<'a, T: Real>(
    gradient: &mut TextParams<T>,
    texts: impl Iterator<Item = (&'a [T], PromptSelection)>,
) {
    let positions = gradient.positional_embedding.make_mut();
    let size = positions.len();
    let mut none = [];
    let prompts = gradient
        .prompts
        .as_mut()
        .map_or(&mut none[..], |prompts| prompts.make_mut());
    let mut mean = vec![T::zero(); if prompts.is_empty() { 0 } else { size }];
    for (d, prompt) in texts {
        add(positions, d);
        match prompt {
            PromptSelection::Mean => add(&mut mean, d),
            PromptSelection::Index(index) => add(&mut prompts[index * size..], d),
        }
    }
    let count = T::from_f64((prompts.len() / size.max(1)) as f64);
    for value in &mut mean {
        *value = *value / count;
    }
    for prompt in prompts.chunks_exact_mut(size.max(1)) {
        add(prompt, &mean);
    }
}

fn add<T: Real>(sum: &mut [T], d: &[T]) {
    for (sum, &d) in sum.iter_mut().zip(d) {
        *sum = *sum + d;
    }
}
