//! Optimizer steps of a text tower alone, and of the objective `clipn` as in `clipn train`.

use clipn::engine::{TextTransformer, VisionTransformer};
use clipn::model::{
    FeatureMatrix, ModelConfig, PromptSelection, TextConfig, TextSide, TrainableTextTower,
    VisionConfig,
};
use clipn::random::{RandomSource, Xoshiro256};
use clipn::tokenizer::Tokenizer;
use clipn::training::{
    AdamW, AdamWSettings, GradientScaling, ImageInput, MicroBatch, NoTexts, ObjectiveSettings,
    SingleProcess, TextInput, Towers, Trainer, TrainingError,
};
use serde_json::{Map, json};

use super::args::BenchArgs;
use super::captions::captions;
use super::model::Model;
use super::random::RandomInputs;
use super::towers::clamped_length;
use super::workload::Workload;
use crate::common::error::CliError;

/// Samples per step with captions.
const BATCH: usize = 32;

/// Learnable "no" prompts, as published.
const PROMPTS: usize = 16;

/// ln 100, the maximum that the logit scale of CLIP reaches in training.
const LOGIT_SCALE: f32 = 4.605_17;

/// Small enough that the weights hardly change.
const LEARNING_RATE: f64 = 1e-5;

/// Forward, loss, backward and AdamW of a text tower including its token table, on texts without
/// padding.
pub(crate) fn text(model: &Model, batch: usize, length: usize) -> Result<Workload, CliError> {
    let config = &model.config;
    let length = clamped_length(config, length);
    let mut random = RandomInputs::new(9);
    let tokens = random.texts(batch, length, config.text.vocab_size)?;
    let mut features = || unit_rows(&mut random, batch, config.embed_dim);
    let (images, yes) = (features(), features());
    // The features of the frozen towers are given, so the smallest towers suffice.
    let small = smallest(config);
    let mut trainer = trainer(Towers {
        image: VisionTransformer::new(&small, RandomInputs::new(1).vision(&small)),
        yes: TextTransformer::new(&small, RandomInputs::new(1).text(&small, 0)),
        no: Some(model.text_tower(TextSide::No, 0)),
        logit_scale: LOGIT_SCALE,
    })?;
    Ok(Workload {
        run: Box::new(move || {
            trainer.step(
                &[MicroBatch {
                    images: ImageInput::Features(images.clone()),
                    yes: TextInput::Features(yes.clone()),
                    no: Some(NoTexts {
                        tokens: tokens.clone(),
                        prompts: vec![PromptSelection::Mean; batch],
                    }),
                    outliers: None,
                }],
                LEARNING_RATE,
            )?;
            Ok(())
        }),
        model: Some(config.name.clone()),
        shape: format!("{batch} x {length} ids"),
        items: batch as f64,
        unit: "samples",
        flops: Some(config.text_training_flops(length) * batch as f64),
        details: Map::new(),
    })
}

/// A step of the objective `clipn` on decoded pixels: tokenization, forward passes of both frozen
/// towers, forward and backward pass of the "no" tower, AdamW. With `cached`, the features of the
/// frozen towers are given. Each repetition has other captions.
pub(crate) fn step(model: &Model, args: &BenchArgs, cached: bool) -> Result<Workload, CliError> {
    let table = args
        .data
        .as_ref()
        .map(|folder| folder.join("captions.tsv"))
        .filter(|table| table.is_file());
    let captions = captions(table.as_deref(), BATCH * 64)?;
    let config = model.config.clone();
    let (size, context) = (config.vision.image_size, config.text.context_length);
    let no = model.text_tower(TextSide::No, PROMPTS);
    let prompts = prompts_of(&no, &config.text);
    let towers = Towers {
        image: model.image_tower()?,
        yes: model.text_tower(TextSide::Yes, 0),
        no: Some(no),
        logit_scale: LOGIT_SCALE,
    };
    let mut trainer = trainer(towers)?;

    let mut random = RandomInputs::new(9);
    let (cached_features, pixels) = if cached {
        let mut features = || unit_rows(&mut random, BATCH, config.embed_dim);
        (Some((features(), features())), Vec::new())
    } else {
        (None, random.values(BATCH * 3 * size * size, 2.0))
    };
    let words = captions
        .iter()
        .map(|caption| caption.split_whitespace().count())
        .sum::<usize>();
    let source = table.map_or_else(|| "made up".to_owned(), |table| table.display().to_string());
    let details = Map::from_iter([
        ("captions".to_owned(), json!(source)),
        (
            "words_a_caption".to_owned(),
            json!(words as f64 / captions.len().max(1) as f64),
        ),
    ]);
    let flops = Some(step_flops(&config, cached) * BATCH as f64);
    let mut rng = Xoshiro256::new(11);
    let mut first = 0;
    Ok(Workload {
        run: Box::new(move || {
            let batch: Vec<&String> = captions.iter().cycle().skip(first).take(BATCH).collect();
            first = (first + BATCH) % captions.len().max(1);
            let tokens = Tokenizer::clip().tokenize_batch(&batch, context);
            let drawn: Vec<_> = batch.iter().map(|_| draw(&mut rng, prompts)).collect();
            let (images, yes) = match &cached_features {
                Some((images, yes)) => (
                    ImageInput::Features(images.clone()),
                    TextInput::Features(yes.clone()),
                ),
                None => (
                    ImageInput::Pixels {
                        values: (&pixels[..]).into(),
                        size,
                    },
                    TextInput::Tokens(tokens.clone()),
                ),
            };
            let micro_batch = MicroBatch {
                images,
                yes,
                no: Some(NoTexts {
                    tokens,
                    prompts: drawn,
                }),
                outliers: None,
            };
            trainer.step(&[micro_batch], LEARNING_RATE)?;
            Ok(())
        }),
        model: Some(config.name),
        shape: format!("{BATCH} images with captions"),
        items: BATCH as f64,
        unit: "samples",
        flops,
        details,
    })
}

/// Operations per sample of the published step; frozen towers do not count if `cached`.
fn step_flops(config: &ModelConfig, cached: bool) -> f64 {
    let context = config.text.context_length;
    let frozen = if cached {
        0.0
    } else {
        config.image_flops() + config.text_flops(context)
    };
    frozen + config.text_training_flops(context)
}

type CpuTrainer = Trainer<f32, VisionTransformer, TextTransformer, SingleProcess>;

fn trainer(
    towers: Towers<f32, VisionTransformer, TextTransformer>,
) -> Result<CpuTrainer, TrainingError> {
    let objective = ObjectiveSettings::default().build()?;
    let optimizer = AdamW::new(AdamWSettings::default())?;
    Trainer::new(
        towers,
        objective,
        GradientScaling::True,
        optimizer,
        SingleProcess,
    )
}

/// The smallest towers with the same number of features.
fn smallest(config: &ModelConfig) -> ModelConfig {
    let mut small = config.clone();
    let VisionConfig {
        image_size,
        patch_size,
        width,
        layers,
        heads,
        ..
    } = &mut small.vision;
    (*image_size, *patch_size, *width, *layers, *heads) = (1, 1, 1, 0, 1);
    let TextConfig {
        context_length,
        vocab_size,
        width,
        layers,
        heads,
        ..
    } = &mut small.text;
    (*context_length, *vocab_size, *width, *layers, *heads) = (1, 1, 1, 0, 1);
    small
}

/// Number of learnable prompts of a "no" tower.
fn prompts_of(no: &TextTransformer, config: &TextConfig) -> usize {
    let each = config.context_length * config.width;
    no.params()
        .prompts
        .as_ref()
        .map_or(0, |prompts| prompts.len() / each.max(1))
}

/// Draws one of the prompts or their mean, as training does.
fn draw(rng: &mut Xoshiro256, prompts: usize) -> PromptSelection {
    match rng.below(prompts as u64 + 1) as usize {
        index if index < prompts => PromptSelection::Index(index),
        _ => PromptSelection::Mean,
    }
}

/// Random features of a batch, normalized rows `[batch, dim]`.
fn unit_rows(random: &mut RandomInputs, batch: usize, dim: usize) -> Vec<f32> {
    let mut rows = FeatureMatrix::new(random.values(batch * dim, 1.0), dim);
    rows.normalize();
    rows.values().to_vec()
}
