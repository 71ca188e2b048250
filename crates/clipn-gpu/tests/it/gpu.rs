//! The towers on a GPU over `wgpu`: on this machine's, or in software (lavapipe).

use std::sync::Arc;

use clipn_gpu::{
    AdapterKind, Device, DeviceError, DeviceImageTower, DeviceTextTower, ElementKind, WgpuDevice,
    WgpuOptions, adapters,
};
use clipn_model::{ImageBatch, ImageTower, ModelError, Precision, TextSide};
use clipn_testing::figures::weights;

use crate::common::{features, gradients, towers};

/// Tolerances relative to the largest magnitude.
const FORWARD: f64 = 1e-5;
const GRADIENTS: f64 = 1e-4;
const F16: f64 = 5e-3;

/// The first adapter; prints why a test skips without one.
fn device(options: WgpuOptions) -> Option<Arc<WgpuDevice>> {
    let all = adapters();
    let Some(adapter) = all.first() else {
        eprintln!(
            "skipped: no Vulkan, Metal or DirectX 12 device; Debian's mesa-vulkan-drivers has one in \
             software"
        );
        return None;
    };
    if !adapter.precisions.contains(&options.precision) {
        eprintln!("skipped: {} has no {}", adapter.name, options.precision);
        return None;
    }
    Some(Arc::new(WgpuDevice::open(0, &options).unwrap()))
}

fn f32_device() -> Option<Arc<WgpuDevice>> {
    device(WgpuOptions::default())
}

fn f16_device() -> Option<Arc<WgpuDevice>> {
    device(WgpuOptions::default().with_precision(Precision::F16))
}

#[test]
fn every_kernel_compiles() {
    for device in [f32_device(), f16_device()].into_iter().flatten() {
        for head in [16, 64, 128] {
            assert!(device.compile_all(head).unwrap() > 20);
        }
    }
}

#[test]
fn features_match_the_published_ones() {
    let Some(device) = f32_device() else { return };
    features::match_the_published_ones(&device, "io_f64", FORWARD);
}

#[test]
fn features_match_the_published_ones_in_f16() {
    let Some(device) = f16_device() else { return };
    features::match_the_published_ones(&device, "io_f64", F16);
}

#[test]
fn positions_are_interpolated_for_images_of_another_size() {
    let Some(device) = f32_device() else { return };
    features::interpolate_positions(&device, FORWARD);
    features::nonsquare_images(&device, FORWARD);
}

#[test]
fn features_do_not_depend_on_the_batch() {
    for device in [f32_device(), f16_device()].into_iter().flatten() {
        features::do_not_depend_on_the_batch(&device);
    }
}

#[test]
fn gradients_match_the_reference() {
    let Some(device) = f32_device() else { return };
    gradients::match_the_reference(&device, GRADIENTS);
}

#[test]
fn gradients_add_up_over_micro_batches() {
    let Some(device) = f32_device() else { return };
    gradients::add_up_over_micro_batches(&device, GRADIENTS);
}

#[test]
fn adamw_steps_as_defined() {
    let Some(device) = f32_device() else { return };
    gradients::adamw_steps(&device, 1e-5);
}

#[test]
fn batches_whose_buffers_do_not_fit_are_computed_again() {
    let memory = 4 * 4 * 127_616 + (300 << 10);
    let Some(device) = device(WgpuOptions::default().with_memory_bytes(memory)) else {
        return;
    };
    gradients::of_many_texts(&device, GRADIENTS);
}

#[test]
fn values_come_back_as_they_were_written() {
    for device in [f32_device(), f16_device()].into_iter().flatten() {
        for kind in [ElementKind::Compute, ElementKind::Full] {
            for len in [1, 2, 3, 255] {
                let buffer = device.allocate(kind, len).unwrap();
                assert_eq!(device.read(&buffer, len).unwrap(), vec![0.0; len]);
                // Exact in f16.
                let values: Vec<f32> = (0..len).map(|i| i as f32 - 1.5).collect();
                device.write(&buffer, &values).unwrap();
                assert_eq!(device.read(&buffer, len).unwrap(), values);
                assert!(device.read(&buffer, len + 1).is_err());
                assert!(device.write(&buffer, &vec![0.0; len + 1]).is_err());
            }
        }
    }
}

#[test]
fn an_adapter_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let error = WgpuDevice::open(99, &WgpuOptions::default()).unwrap_err();
    let DeviceError::NotFound { requested, reason } = error else {
        panic!("{error}");
    };
    assert_eq!(requested, "gpu:99");
    match adapters().first() {
        Some(adapter) => assert!(
            reason.contains(&format!("gpu:0 ({})", adapter.name)),
            "{reason}"
        ),
        None => assert!(reason.contains("no Vulkan"), "{reason}"),
    }
}

#[test]
fn bf16_is_refused() {
    if adapters().is_empty() {
        eprintln!("skipped: no adapter");
        return;
    }
    let options = WgpuOptions::default().with_precision(Precision::Bf16);
    let error = WgpuDevice::open(0, &options).unwrap_err();
    assert!(
        error.to_string().ends_with("does not compute in bf16"),
        "{error}"
    );
}

#[test]
fn memory_is_checked_before_it_is_allocated() {
    let Some(small) = device(WgpuOptions::default().with_memory_bytes(1 << 18)) else {
        return;
    };
    let error = DeviceImageTower::from_weights(small, &weights("vit_gelu")).unwrap_err();
    assert!(matches!(error, DeviceError::OutOfMemory { .. }), "{error}");
    let Some(device) = f32_device() else { return };
    // More than a binding holds, although there is memory.
    let error = device.allocate(ElementKind::Full, 40 << 20).unwrap_err();
    assert!(error.to_string().contains("needs 160 MiB"), "{error}");
}

#[test]
fn weights_that_f16_cannot_represent_are_refused() {
    let Some(device) = f16_device() else { return };
    let w = weights("vit_gelu");
    let mut params = w.text_params(TextSide::Yes);
    params.projection.make_mut()[3] = 70_000.0;
    let error = DeviceTextTower::new(device, w.config(), &params, TextSide::Yes).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("text_projection has the value 7e4, which f16"),
        "{error}"
    );
}

#[test]
fn a_lost_device_is_an_error_of_every_later_call() {
    let Some(device) = f32_device() else { return };
    let tower = towers(&device, "vit_gelu").image;
    let pixels = vec![0.0; 3 * 32 * 32];
    let images = ImageBatch::new(&pixels, 32, 32).unwrap();
    assert!(tower.encode(images).is_ok());
    device.destroy();
    for _ in 0..2 {
        let ModelError::Tower { source } = tower.encode(images).unwrap_err() else {
            panic!("not an error of the device");
        };
        assert!(source.to_string().contains("was lost"), "{source}");
    }
    assert!(device.allocate(ElementKind::Full, 1).is_err());
    // The adapter gives a new one.
    let Some(again) = f32_device() else { return };
    assert!(towers(&again, "vit_gelu").image.encode(images).is_ok());
}

#[test]
fn software_adapters_come_last() {
    let kinds: Vec<AdapterKind> = adapters().iter().map(|adapter| adapter.kind).collect();
    let software = kinds.iter().position(|&kind| kind == AdapterKind::Cpu);
    if let Some(first) = software {
        assert!(
            kinds[first..].iter().all(|&kind| kind == AdapterKind::Cpu),
            "{kinds:?}"
        );
    }
}
