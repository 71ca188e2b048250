//! The towers alone, on images and on texts.

use clipn::model::{ImageTower, Images, ModelConfig, Side, TextTower};
use serde_json::Map;

use super::model::Model;
use super::random::Random;
use super::work::Work;
use crate::common::error::CliError;

/// Images of so many at a time through the image tower.
pub fn image(model: &Model, batch: usize) -> Result<Work, CliError> {
    let tower = model.image_encoder()?;
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
        flops: Some(model.config.image_flops() * batch as f64),
        details: Map::new(),
    })
}

/// Positions of texts that are asked to have `length`, in a model whose context may be shorter.
pub fn fitted(config: &ModelConfig, length: usize) -> usize {
    length.min(config.text.context_length)
}

/// Texts that fill their rows through a text tower.
pub fn text(model: &Model, batch: usize, length: usize) -> Result<Work, CliError> {
    let length = fitted(&model.config, length);
    let tower = model.text_encoder(Side::Yes, 0);
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
        flops: Some(model.config.text_flops(length) * batch as f64),
        details: Map::new(),
    })
}
