//! The towers alone: images, texts, and the training of a text tower.

use clipn::model::{
    ImageTower, Images, ModelConfig, NoPrompt, Side, TensorGradient, TextGradient, TextTower, TrainText,
};
use clipn::training::{AdamW, AdamWSettings, Gradient, TrainingError, Update};
use serde_json::Map;

use super::flops;
use super::model::Model;
use super::random::Random;
use super::work::Work;
use crate::error::CliError;

/// Images of so many at a time through the image tower.
pub fn image(model: &Model, batch: usize) -> Result<Work, CliError> {
    let tower = model.image()?;
    let size = tower.image_size();
    let pixels = Random::new(9).values(batch * 3 * size * size, 2.0);
    Ok(Work {
        run: Box::new(move || {
            tower.encode(Images::new(&pixels, size, size)?)?;
            Ok(())
        }),
        model: Some(model.config.name.clone()),
        shape: format!("{batch} images of {size} px"),
        items: batch as f64,
        unit: "images",
        flops: flops::image(&model.config).map(|each| each * batch as f64),
        details: Map::new(),
    })
}

/// Positions of texts that are asked to have `length`, in a model whose context may be shorter.
fn fitted(config: &ModelConfig, length: usize) -> usize {
    length.min(config.text.context_length)
}

/// Texts that fill their rows through a text tower.
pub fn text(model: &Model, batch: usize, length: usize) -> Result<Work, CliError> {
    let length = fitted(&model.config, length);
    let tower = model.text(Side::Yes, 0);
    let texts = Random::new(9).texts(batch, length, model.config.text.vocab_size)?;
    Ok(Work {
        run: Box::new(move || {
            tower.encode(&texts)?;
            Ok(())
        }),
        model: Some(model.config.name.clone()),
        shape: format!("{batch} x {length} ids"),
        items: (batch * length) as f64,
        unit: "tokens",
        flops: Some(flops::text(&model.config, length) * batch as f64),
        details: Map::new(),
    })
}

/// Forward, backward and AdamW of a text tower, its token table among the parameters.
pub fn train(model: &Model, batch: usize, length: usize) -> Result<Work, CliError> {
    let length = fitted(&model.config, length);
    let mut tower = model.text(Side::Yes, 0);
    let mut random = Random::new(9);
    let texts = random.texts(batch, length, model.config.text.vocab_size)?;
    let d_features = random.values(batch * model.config.embed_dim, 1e-2);
    let prompts = vec![NoPrompt::Mean; batch];
    let mut gradient = TextGradient::zeros_like(tower.params());
    let mut optimizer = AdamW::new(AdamWSettings::default()).map_err(TrainingError::from)?;
    Ok(Work {
        run: Box::new(move || {
            gradient.clear();
            let (_, tape) = tower.forward(&texts, &prompts)?;
            tower.backward(tape, &d_features, &mut gradient)?;
            let rows: Vec<u32> = gradient.tokens.iter().map(|(id, _)| id).collect();
            let values: Vec<f32> = gradient.tokens.iter().flat_map(|(_, row)| row).copied().collect();
            let mut named = tower.params_mut().with_gradient(&gradient, Side::Yes);
            let updates = named.iter_mut().map(|(tensor, gradient)| Update {
                name: &tensor.name,
                shape: &tensor.shape,
                values: tensor.values,
                gradient: match gradient {
                    TensorGradient::Dense(values) => Gradient::Dense(values),
                    TensorGradient::Rows(_) => Gradient::Rows { ids: &rows, values: &values },
                },
            });
            optimizer.step(1e-5, updates).map_err(TrainingError::from)?;
            Ok(())
        }),
        model: Some(model.config.name.clone()),
        shape: format!("{batch} x {length} ids"),
        items: batch as f64,
        unit: "samples",
        flops: Some(flops::text_training(&model.config, length) * batch as f64),
        details: Map::new(),
    })
}
