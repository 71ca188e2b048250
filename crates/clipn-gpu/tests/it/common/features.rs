//! Features of the small models, and their independence of the batch.

use std::sync::Arc;

use clipn_gpu::Device;
use clipn_model::{FeatureMatrix, ImageBatch, ImageTower, PromptSelection, TextTower};
use clipn_testing::figures::{Figures, assert_close, weights};
use clipn_text::tokenizer::TokenBatch;

use super::{MODELS, figures, to_f64, towers, values};

/// Compares all features with those of a file, `io_f32` or `io_f64`.
pub(crate) fn match_the_published_ones<D: Device>(device: &Arc<D>, io: &str, tolerance: f64) {
    for (model, _) in MODELS {
        let inputs = figures(&format!("models/{model}/inputs.safetensors"));
        let expected = figures(&format!("models/{model}/{io}.safetensors"));
        let towers = towers(device, model);
        let check = |found: FeatureMatrix<D::Value>, name: &str| {
            let what = format!("{} {model} {name}", device.name());
            let expected = expected.f64(name);
            assert_close(&to_f64(found.values()), &expected, tolerance, &what);
        };
        let shape = inputs.shape("images");
        let pixels = values::<D>(&inputs, "images");
        let images = ImageBatch::new(&pixels, shape[2], shape[3]).unwrap();
        check(towers.image.encode(images).unwrap(), "image_features");
        let tokens = TokenBatch::new(inputs.ids("tokens"), inputs.shape("tokens")[1]).unwrap();
        check(towers.yes.encode(&tokens).unwrap(), "text_features_yes");
        check(towers.no.encode(&tokens).unwrap(), "text_features_no");
        for index in [0, 7, 15] {
            let selection = PromptSelection::Index(index);
            let found = towers.no.encode_with(&tokens, selection).unwrap();
            check(found, &format!("text_features_no_prompt{index}"));
        }
    }
}

/// Compares images of other sizes than the model's with the published features.
pub(crate) fn interpolate_positions<D: Device>(device: &Arc<D>, tolerance: f64) {
    let expected = figures("models/posembed/posembed.safetensors");
    let tower = towers(device, "vit_gelu").image;
    for side in [48, 40, 24] {
        let name = |part: &str| format!("runtime_{side}x{side}.{part}");
        let pixels = values::<D>(&expected, &name("images"));
        let found = tower
            .encode(ImageBatch::new(&pixels, side, side).unwrap())
            .unwrap();
        let expected = expected.f64(&name("features"));
        assert_close(
            &to_f64(found.values()),
            &expected,
            tolerance,
            &name("features"),
        );
    }
}

/// Checks that features have the same bits at every position of every batch.
pub(crate) fn do_not_depend_on_the_batch<D: Device>(device: &Arc<D>) {
    let inputs: Figures = figures("models/vit_gelu/inputs.safetensors");
    let towers = towers(device, "vit_gelu");
    let side = inputs.shape("images")[2];
    let pixels = values::<D>(&inputs, "images");
    let each = 3 * side * side;
    let count = pixels.len() / each;
    let encode = |order: &[usize]| -> Vec<Vec<f64>> {
        let pixels: Vec<_> = order
            .iter()
            .flat_map(|&i| &pixels[i * each..][..each])
            .copied()
            .collect();
        let images = ImageBatch::new(&pixels, side, side).unwrap();
        let features = towers.image.encode(images).unwrap();
        features.rows().map(to_f64).collect()
    };
    let alone: Vec<Vec<f64>> = (0..count).flat_map(|i| encode(&[i])).collect();
    for length in [2, 3, 5, 8, 33] {
        let order: Vec<usize> = (0..length).map(|i| (7 * i + length) % count).collect();
        for (&image, found) in order.iter().zip(encode(&order)) {
            assert_eq!(found, alone[image], "image {image} in a batch of {length}");
        }
    }
    let rows: [&[u32]; 4] = [
        &[126, 5, 127],
        &[126, 9, 8, 7, 6, 5, 4, 127],
        &[126, 127],
        &[126, 3, 1, 2, 9, 8, 7, 6, 5, 4, 127, 127, 0, 0, 0, 0],
    ];
    let padded = |ids: &[u32], length: usize| {
        let mut ids = ids.to_vec();
        ids.resize(length, 0);
        ids
    };
    let together = rows.iter().flat_map(|row| padded(row, 16)).collect();
    let together = towers
        .no
        .encode(&TokenBatch::new(together, 16).unwrap())
        .unwrap();
    for (row, found) in rows.iter().zip(together.rows()) {
        let alone = TokenBatch::new(row.to_vec(), row.len()).unwrap();
        let alone = towers.no.encode(&alone).unwrap();
        assert_eq!(to_f64(found), to_f64(alone.values()), "{row:?}");
    }
}

/// Compares images that are not square with the towers of the CPU.
pub(crate) fn nonsquare_images<D: Device>(device: &Arc<D>, tolerance: f64) {
    let pixels: Vec<f32> = (0..3 * 24 * 56)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0)
        .collect();
    let own: Vec<D::Value> = pixels
        .iter()
        .map(|&v| <D::Value as clipn_model::Real>::from_f64(f64::from(v)))
        .collect();
    let found = towers(device, "vit_gelu")
        .image
        .encode(ImageBatch::new(&own, 24, 56).unwrap())
        .unwrap();
    let expected = clipn_engine::image_tower(&weights("vit_gelu"))
        .encode(ImageBatch::new(&pixels, 24, 56).unwrap())
        .unwrap();
    assert_close(
        &to_f64(found.values()),
        &to_f64(expected.values()),
        tolerance,
        "24×56",
    );
}
