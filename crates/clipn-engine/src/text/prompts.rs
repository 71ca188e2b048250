use std::borrow::Cow;

use clipn_model::{ModelError, NoPrompt, Real, TextConfig, TextParams};

/// Positional embeddings with the "no" prompt added, `[context_length, width]`.
pub(crate) fn positions_with_prompt<'a, T: Real>(
    params: &'a TextParams<T>,
    config: &TextConfig,
    prompt: NoPrompt,
) -> Result<Cow<'a, [T]>, ModelError> {
    let positions: &[T] = &params.positional_embedding;
    let size = config.context_length * config.width;
    let prompts: &[T] = params.prompts.as_deref().unwrap_or_default();
    let count = prompts.len() / size;
    let added: Vec<T> = match prompt {
        NoPrompt::Mean if count == 0 => return Ok(Cow::Borrowed(positions)),
        NoPrompt::Mean => {
            let sum = |i: usize| prompts[i..].iter().step_by(size).copied().sum::<T>();
            (0..size).map(|i| sum(i) / T::of(count as f64)).collect()
        }
        NoPrompt::Index(index) if index < count => prompts[index * size..][..size].to_vec(),
        NoPrompt::Index(index) => return Err(ModelError::PromptOutOfRange { index, count }),
    };
    Ok(Cow::Owned(
        positions.iter().zip(added).map(|(&p, a)| p + a).collect(),
    ))
}

/// The positional embeddings with each text's own prompt added: one table, `[context_length, width]`, for each prompt
/// that occurs, and each text's table.
pub(crate) struct PromptTables<'a, T: Real> {
    tables: Vec<Cow<'a, [T]>>,
    of_text: Vec<usize>,
}

impl<'a, T: Real> PromptTables<'a, T> {
    /// The tables of one prompt a text, of `texts` texts.
    pub fn new(
        params: &'a TextParams<T>,
        config: &TextConfig,
        prompts: &[NoPrompt],
        texts: usize,
    ) -> Result<Self, ModelError> {
        if prompts.len() != texts {
            return Err(ModelError::Input(format!(
                "there are {} choices of a prompt for {texts} texts; give one a text",
                prompts.len()
            )));
        }
        let mut known: Vec<NoPrompt> = Vec::new();
        let mut all = Self {
            tables: Vec::new(),
            of_text: Vec::with_capacity(texts),
        };
        for &prompt in prompts {
            let place = match known.iter().position(|&k| k == prompt) {
                Some(place) => place,
                None => {
                    known.push(prompt);
                    all.tables
                        .push(positions_with_prompt(params, config, prompt)?);
                    known.len() - 1
                }
            };
            all.of_text.push(place);
        }
        Ok(all)
    }

    /// What stands at a text's positions, `[context_length, width]`.
    pub fn of(&self, text: usize) -> &[T] {
        &self.tables[self.of_text[text]]
    }
}

/// The gradients of positional embeddings and prompts, from those of the embedded texts: each text's, `[length, width]`
/// with length at most the context's, and the prompt that it had. That of a mean prompt is spread over all prompts.
pub(crate) fn add_position_gradients<'a, T: Real>(
    gradient: &mut TextParams<T>,
    texts: impl Iterator<Item = (&'a [T], NoPrompt)>,
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
            NoPrompt::Mean => add(&mut mean, d),
            NoPrompt::Index(index) => add(&mut prompts[index * size..], d),
        }
    }
    let count = T::of((prompts.len() / size.max(1)) as f64);
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
