use clipn::engine::TransformerText;
use clipn::model::{Features, ModelConfig, NoPrompt, Side, TrainText};
use clipn::tokenizer::Tokenizer;
use clipn::training::{
    AdamW, AdamWSettings, GradientScaling, ImageInput, MicroBatch, ObjectiveSettings, SingleProcess,
    TextInput, Towers, Trainer, TrainingError, TrainingRng,
};
use serde_json::{Map, json};

use super::args::BenchArgs;
use super::captions::captions;
use super::flops;
use super::model::Model;
use super::random::Random;
use super::work::Work;
use crate::error::CliError;

/// Samples of a step.
const BATCH: usize = 32;

/// Learnable "no" prompts, as published.
const PROMPTS: usize = 16;

/// ln 100, to which CLIP's training drives the logit scale.
const LOGIT_SCALE: f32 = 4.605_17;

/// An optimizer step of objective `clipn` as `clipn train` takes it, its pixels at hand: the captions tokenized, both
/// frozen towers forward, the "no" tower forward and backward, AdamW. With `cached`, the features of the frozen towers
/// are known. Each repetition has other captions.
pub fn step(model: &Model, args: &BenchArgs, cached: bool) -> Result<Work, CliError> {
    let table = args.data.as_ref().map(|folder| folder.join("captions.tsv")).filter(|table| table.is_file());
    let captions = captions(table.as_deref(), BATCH * 64)?;
    let config = model.config.clone();
    let (size, context) = (config.vision.image_size, config.text.context_length);
    let no = model.text(Side::No, PROMPTS);
    let prompts = prompts_of(&no, &config);
    let towers = Towers {
        image: model.image()?,
        yes: model.text(Side::Yes, 0),
        no: Some(no),
        logit_scale: LOGIT_SCALE,
    };
    let objective = ObjectiveSettings::default().build().map_err(TrainingError::from)?;
    let optimizer = AdamW::new(AdamWSettings::default()).map_err(TrainingError::from)?;
    let mut trainer = Trainer::new(towers, objective, GradientScaling::True, optimizer, SingleProcess)?;

    let mut random = Random::new(9);
    let (images, yes) = if cached {
        let mut known = || unit_rows(&mut random, config.embed_dim);
        (ImageInput::Features(known()), Some(known()))
    } else {
        (ImageInput::Pixels { values: random.values(BATCH * 3 * size * size, 2.0), size }, None)
    };
    let image_flops = flops::image(&config);
    let text_flops = flops::text(&config, context);
    let frozen = if cached { Some(0.0) } else { image_flops.map(|image| image + text_flops) };
    let flops = frozen.map(|frozen| BATCH as f64 * (frozen + flops::text_training(&config, context)));
    let words = captions.iter().map(|caption| caption.split_whitespace().count()).sum::<usize>();
    let details = Map::from_iter([
        (
            "captions".to_owned(),
            json!(table.map_or_else(|| "made up".to_owned(), |t| t.display().to_string())),
        ),
        ("words_a_caption".to_owned(), json!(words as f64 / captions.len().max(1) as f64)),
    ]);
    let mut rng = TrainingRng::new(11);
    let mut first = 0;
    Ok(Work {
        run: Box::new(move || {
            let batch: Vec<&String> = captions.iter().cycle().skip(first).take(BATCH).collect();
            first = (first + BATCH) % captions.len().max(1);
            let tokens = Tokenizer::clip().tokenize_batch(&batch, context);
            let drawn = batch.iter().map(|_| draw(&mut rng, prompts)).collect();
            let yes = match &yes {
                Some(known) => TextInput::Features(known.clone()),
                None => TextInput::Tokens(tokens.clone()),
            };
            trainer.step(&[MicroBatch { images: images.clone(), yes, no: Some((tokens, drawn)) }], 1e-5)?;
            Ok(())
        }),
        model: Some(model.config.name.clone()),
        shape: format!("{BATCH} images with captions"),
        items: BATCH as f64,
        unit: "samples",
        flops,
        details,
    })
}

/// Learnable prompts that a "no" tower has.
fn prompts_of(no: &TransformerText, config: &ModelConfig) -> usize {
    let each = config.text.context_length * config.text.width;
    no.params().prompts.as_ref().map_or(0, |prompts| prompts.len() / each.max(1))
}

/// One of the prompts or their mean, as training draws them.
fn draw(rng: &mut TrainingRng, prompts: usize) -> NoPrompt {
    match rng.below(prompts as u64 + 1) as usize {
        index if index < prompts => NoPrompt::Index(index),
        _ => NoPrompt::Mean,
    }
}

/// Features of a batch, rows of length 1.
fn unit_rows(random: &mut Random, dim: usize) -> Vec<f32> {
    let mut rows = Features::new(random.values(BATCH * dim, 1.0), dim);
    rows.normalise();
    rows.values().to_vec()
}
