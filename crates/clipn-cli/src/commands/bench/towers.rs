//! The towers alone, on images and on texts.

use clipn::count::count;
use clipn::model::{ImageBatch, ImageTower, ModelConfig, TextSide};
use serde_json::Map;

use super::args::BenchArgs;
use super::model::Model;
use super::random::RandomInputs;
use super::workload::Workload;
use crate::common::error::CliError;

/// A batch of images through the image tower.
pub(crate) fn image(model: &Model, batch: usize, args: &BenchArgs) -> Result<Workload, CliError> {
    let tower = model.image_tower_on(&args.device.open()?)?;
    let preferred = tower.preferred_batch().unwrap_or(batch);
    let batch = args.batch_size.map_or(preferred, usize::from);
    Ok(images(model, tower, batch))
}

/// One image through the image tower.
pub(crate) fn single_image(model: &Model, args: &BenchArgs) -> Result<Workload, CliError> {
    let tower = model.image_tower_on(&args.device.open()?)?;
    Ok(images(model, tower, 1))
}

fn images(model: &Model, tower: Box<dyn ImageTower<f32>>, batch: usize) -> Workload {
    let size = tower.image_size();
    let pixels = RandomInputs::new(9).values(batch * 3 * size * size, 2.0);
    Workload {
        run: Box::new(move || {
            tower.encode(ImageBatch::new(&pixels, size, size)?)?;
            Ok(())
        }),
        model: Some(model.config.name.clone()),
        shape: format!("{} of {size} px", count(batch, "image")),
        items: batch as f64,
        unit: "images",
        flops: Some(model.config.image_flops() * batch as f64),
        details: Map::new(),
    }
}

/// `length`, but at most the context length of the model.
pub(crate) fn clamped_length(config: &ModelConfig, length: usize) -> usize {
    length.min(config.text.context_length)
}

/// A batch of texts without padding through a text tower.
pub(crate) fn text(
    model: &Model,
    batch: usize,
    length: usize,
    args: &BenchArgs,
) -> Result<Workload, CliError> {
    let length = clamped_length(&model.config, length);
    let device = args.device.open()?;
    let preferred = if device.is_cpu() { batch } else { 256 };
    let batch = args.batch_size.map_or(preferred, usize::from);
    let tower = model.text_tower_on(&device, TextSide::Yes)?;
    let texts = RandomInputs::new(9).texts(batch, length, model.config.text.vocab_size)?;
    Ok(Workload {
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
