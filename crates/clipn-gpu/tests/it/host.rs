//! The logic of the towers, on the host device.

use std::sync::Arc;

use clipn_gpu::{
    Device, DeviceError, DeviceImageTower, DeviceTextTower, ElementKind, Gemm, HostDevice, Op,
    Operand, ParameterState,
};
use clipn_model::{
    Activation, ImageBatch, ImageTower, ModelError, PromptSelection, TextSide, TextTower,
};
use clipn_testing::figures::{Figures, weights};
use clipn_testing::fixture;
use clipn_text::tokenizer::TokenBatch;

use crate::common::{features, gradients, towers, trainable};

/// Tolerances relative to the largest magnitude.
const F32: f64 = 1e-5;
const F64: f64 = 1e-10;

fn f32_device() -> Arc<HostDevice<f32>> {
    Arc::new(HostDevice::new())
}

fn f64_device() -> Arc<HostDevice<f64>> {
    Arc::new(HostDevice::new())
}

#[test]
fn features_match_the_published_ones_in_f64() {
    features::match_the_published_ones(&f64_device(), "io_f64", F64);
}

#[test]
fn features_match_the_published_ones_in_f32() {
    features::match_the_published_ones(&f32_device(), "io_f32", F32);
}

#[test]
fn positions_are_interpolated_for_images_of_another_size() {
    features::interpolate_positions(&f32_device(), F32);
    features::nonsquare_images(&f32_device(), F32);
}

#[test]
fn features_do_not_depend_on_the_batch() {
    features::do_not_depend_on_the_batch(&f32_device());
}

#[test]
fn gradients_match_the_reference_in_f64() {
    gradients::match_the_reference(&f64_device(), F64);
}

#[test]
fn gradients_match_the_reference_in_f32() {
    gradients::match_the_reference(&f32_device(), F32);
}

#[test]
fn gradients_add_up_over_micro_batches() {
    gradients::add_up_over_micro_batches(&f64_device(), F64);
}

#[test]
fn adamw_steps_as_defined() {
    gradients::adamw_steps(&f64_device(), F64);
    gradients::adamw_steps(&f32_device(), F32);
}

#[test]
fn a_table_that_is_split_gives_the_same_features_and_gradients() {
    // The tables have 128 rows of at most 64 values: five parts or more.
    let device = Arc::new(HostDevice::<f64>::new().with_max_table_bytes(4 * 64 * 30));
    features::match_the_published_ones(&device, "io_f64", F64);
    gradients::match_the_reference(&device, F64);
}

#[test]
fn batches_whose_buffers_do_not_fit_are_computed_again() {
    // 300 KiB beside the weights, gradients and moments hold the buffers of some texts.
    let needed = 4 * 4 * 127_616;
    let device = HostDevice::<f64>::new().with_available_bytes(needed + (300 << 10));
    gradients::of_many_texts(&Arc::new(device), F64);
}

#[test]
fn invalid_inputs_are_rejected_and_named() {
    let all = towers(&f32_device(), "vit_gelu");
    let error = |ids: Vec<u32>, length| {
        all.yes
            .encode(&TokenBatch::new(ids, length).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert!(error(vec![1, 128], 2).contains("token id 128"));
    assert!(error(vec![1; 17], 17).contains("at most 16 tokens (the context length), got 17"));
    let one = TokenBatch::new(vec![1, 2], 2).unwrap();
    let prompt = all.yes.encode_with(&one, PromptSelection::Index(0));
    assert!(matches!(
        prompt.unwrap_err(),
        ModelError::PromptOutOfRange { index: 0, count: 0 }
    ));
    let pixels = vec![0.0; 3 * 4 * 4];
    let small = all
        .image
        .encode(ImageBatch::new(&pixels, 4, 4).unwrap())
        .unwrap_err();
    assert!(small.to_string().contains("at least 8×8 pixels, got 4×4"));
    let empty = all.yes.encode(&TokenBatch::new(Vec::new(), 16).unwrap());
    assert!(empty.unwrap().is_empty());
}

#[test]
fn a_resnet_is_refused_by_name() {
    let w = weights("rn_tiny");
    let error = DeviceImageTower::from_weights(f32_device(), &w).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image tower of the model `rn_tiny` is a ResNet, which runs on the CPU only"
    );
}

#[test]
fn memory_is_checked_before_it_is_allocated() {
    let device = Arc::new(HostDevice::<f32>::new().with_available_bytes(1 << 18));
    let w = weights("vit_gelu");
    let error = DeviceTextTower::from_weights(Arc::clone(&device), &w, TextSide::No)
        .map(|_| ())
        .unwrap_err();
    let DeviceError::OutOfMemory { .. } = error else {
        panic!("{error}");
    };
    // Larger batches than fit are cut.
    let device = Arc::new(HostDevice::<f32>::new().with_available_bytes(5 << 18));
    let tower = DeviceImageTower::from_weights(device, &w).unwrap();
    let free = DeviceImageTower::from_weights(f32_device(), &w).unwrap();
    assert!(
        (1..free.max_batch()).contains(&tower.max_batch()),
        "{} of {}",
        tower.max_batch(),
        free.max_batch()
    );
}

#[test]
fn a_tower_for_inference_cannot_be_trained() {
    let all = towers(&f32_device(), "vit_gelu");
    let error = all.image.clear_gradients().unwrap_err();
    assert!(
        error.to_string().contains("the tower is for inference"),
        "{error}"
    );
    let pixels = vec![0.0; 3 * 32 * 32];
    let images = ImageBatch::new(&pixels, 32, 32).unwrap();
    assert!(all.image.forward(images).is_err());
    // Gradients of interpolated positions are not computed.
    let trained = trainable(&f32_device(), "vit_gelu").image;
    let pixels = vec![0.0; 3 * 40 * 40];
    let images = ImageBatch::new(&pixels, 40, 40).unwrap();
    let error = trained.forward(images).unwrap_err();
    let ModelError::Tower { source } = error else {
        panic!("{error}");
    };
    assert!(
        source.to_string().contains("expected at most 16, got 25"),
        "{source}"
    );
}

#[test]
fn operands_that_do_not_fit_are_rejected() {
    let device = HostDevice::<f32>::new();
    let buffer = |kind, len| device.allocate(kind, len).unwrap();
    let operand = |len, stride| Operand {
        buffer: buffer(ElementKind::Compute, len),
        stride,
        transposed: false,
    };
    let gemm = |a, b, out| {
        device.prepare(vec![Op::Gemm(Gemm {
            a,
            b,
            bias: None,
            activation: None,
            addend: None,
            out: buffer(ElementKind::Full, out),
            m: 3,
            n: 4,
            k: 5,
            accumulate: false,
        })])
    };
    assert!(gemm(operand(15, 5), operand(20, 4), 12).is_ok());
    for (a, b, out, message) in [
        (
            operand(14, 5),
            operand(20, 4),
            12,
            "a: expected 15 elements, got 14",
        ),
        (
            operand(15, 5),
            operand(20, 3),
            12,
            "b: stride 3 below 4 columns",
        ),
        (
            operand(15, 5),
            operand(20, 4),
            11,
            "out: expected 12 elements, got 11",
        ),
    ] {
        let error = gemm(a, b, out).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("invalid operands of a matrix product: {message}")
        );
    }
}

#[test]
fn what_a_result_is_added_to_is_said_once() {
    let device = f32_device();
    let buffer = |kind| device.allocate(kind, 4).unwrap();
    let operand = || Operand {
        buffer: buffer(ElementKind::Compute),
        stride: 2,
        transposed: false,
    };
    let prepare = |activation, addend: bool, accumulate| {
        let gemm = Gemm {
            a: operand(),
            b: operand(),
            bias: None,
            activation,
            addend: addend.then(|| buffer(ElementKind::Full)),
            out: buffer(ElementKind::Full),
            m: 2,
            n: 2,
            k: 2,
            accumulate,
        };
        let prepared = device.prepare(vec![Op::Gemm(gemm)]);
        prepared.err().map(|error| error.to_string())
    };
    let gelu = Some(Activation::Gelu);
    for (activation, addend, accumulate) in [
        (gelu, false, false),
        (None, true, false),
        (None, false, true),
    ] {
        assert_eq!(prepare(activation, addend, accumulate), None);
    }
    let invalid = |problem| Some(format!("invalid operands of a matrix product: {problem}"));
    let twice = invalid("an addend of a result that is added to `out`");
    assert_eq!(prepare(None, true, true), twice);
    for (addend, accumulate) in [(true, false), (false, true)] {
        let found = prepare(gelu, addend, accumulate);
        assert_eq!(found, invalid("an activation of a sum"));
    }
}

#[test]
fn the_parameters_of_a_tower_for_inference_are_only_read() {
    let device = f32_device();
    let (frozen, trained) = (towers(&device, "vit_gelu"), trainable(&device, "vit_gelu"));
    let values = frozen.image.read(ParameterState::Value).unwrap();
    assert_eq!(values, trained.image.read(ParameterState::Value).unwrap());
    let slices: Vec<&[f32]> = values.iter().map(|t| &t.values[..]).collect();
    for state in [ParameterState::Value, ParameterState::Gradient] {
        let error = frozen.image.write(state, &slices).unwrap_err();
        let expected = "invalid operands of training: the tower is for inference";
        assert_eq!(error.to_string(), expected);
        trained.image.write(state, &slices).unwrap();
    }
    for state in [ParameterState::Gradient, ParameterState::FirstMoment] {
        assert!(frozen.image.read(state).is_err() && frozen.yes.read(state).is_err());
        let read = trained.image.read(state).unwrap();
        assert!(
            read.iter()
                .zip(&values)
                .all(|(a, b)| a.values.len() == b.values.len())
        );
    }
    let texts = frozen.yes.read(ParameterState::Value).unwrap();
    let slices: Vec<&[f32]> = texts.iter().map(|t| &t.values[..]).collect();
    assert!(frozen.yes.write(ParameterState::Value, &slices).is_err());
}

#[test]
fn the_published_logits_follow_from_the_features() {
    // The whole way of an evaluation: normalized features of both sides, and logits.
    let w = weights("vit_gelu");
    let all = towers(&f64_device(), "vit_gelu");
    let path = |name: &str| fixture(&format!("models/vit_gelu/{name}.safetensors"));
    let (inputs, expected) = (
        Figures::open(&path("inputs")),
        Figures::open(&path("io_f64")),
    );
    let side = inputs.shape("images")[2];
    let pixels = inputs.f64("images");
    let mut images = all
        .image
        .encode(ImageBatch::new(&pixels, side, side).unwrap())
        .unwrap();
    images.normalize();
    clipn_testing::figures::assert_close(
        images.values(),
        &expected.f64("image_features_norm"),
        F64,
        "normalized",
    );
    assert!((w.logit_scale() - expected.f64("logit_scale_exp")[0]).abs() < 1e-9);
}
