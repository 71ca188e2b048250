//! CUDA: the kernels compile without a GPU, and the towers run where there is one.

use std::sync::Arc;

use clipn_gpu::{CudaDevice, CudaOptions, DeviceError, compile_ptx};
use clipn_model::Precision;

use crate::common::{features, gradients};

/// Every kernel, in order of the source.
const KERNELS: [&str; 22] = [
    "layer_norm_compute",
    "layer_norm_full",
    "layer_norm_statistics",
    "layer_norm_backward",
    "gain_gradient",
    "column_sums_compute",
    "column_sums_full",
    "finish_sums",
    "activate_elements",
    "activate_backward",
    "convert",
    "sums_of_squares",
    "patchify",
    "add_class_token",
    "drop_class_token",
    "embed_tokens",
    "scatter_rows",
    "adamw",
    "attention",
    "attention_statistics",
    "attention_d_queries",
    "attention_d_keys",
];

/// NVRTC is in Debian's and NVIDIA's toolkits, and in the Python package nvidia-cuda-nvrtc.
#[test]
fn every_kernel_compiles_to_ptx() {
    for capability in [80, 90, 100] {
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            // Every width once, and the usual one for every kind of GPU.
            let widths: &[usize] = match capability {
                90 => &[16, 64, 128],
                _ => &[64],
            };
            for &head_width in widths {
                let libraries =
                    std::env::var_os("CLIPN_CUDA_LIBRARIES").map(std::path::PathBuf::from);
                let ptx = match compile_ptx(libraries.as_deref(), capability, precision, head_width)
                {
                    Ok(ptx) => ptx,
                    Err(error @ DeviceError::MissingLibraries { .. }) => {
                        eprintln!("skipped: {error}; set CLIPN_CUDA_LIBRARIES to its directory");
                        return;
                    }
                    Err(error) => panic!("sm_{capability} {precision}: {error}"),
                };
                let what = format!("sm_{capability} {precision}");
                for kernel in KERNELS {
                    let entry = format!(".entry {kernel}(");
                    assert!(ptx.contains(&entry), "no {kernel} for {what}");
                }
                assert_eq!(ptx.matches(".entry ").count(), KERNELS.len(), "{what}");
                assert!(ptx.contains(&format!("sm_{capability}")), "sm_{capability}");
            }
        }
    }
}

/// The first GPU; prints why a test skips without one.
fn device(precision: Precision) -> Option<Arc<CudaDevice>> {
    match CudaDevice::open(0, &CudaOptions::default().with_precision(precision)) {
        Ok(device) => Some(Arc::new(device)),
        Err(error @ (DeviceError::MissingLibraries { .. } | DeviceError::NotFound { .. })) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn features_match_the_published_ones() {
    let tolerances = [
        (Precision::F32, 1e-5),
        (Precision::F16, 5e-3),
        (Precision::Bf16, 4e-2),
    ];
    for (precision, tolerance) in tolerances {
        let Some(device) = device(precision) else {
            return;
        };
        features::match_the_published_ones(&device, "io_f64", tolerance);
        features::do_not_depend_on_the_batch(&device);
    }
}

#[test]
fn gradients_match_the_reference() {
    let Some(device) = device(Precision::F32) else {
        return;
    };
    gradients::match_the_reference(&device, 1e-4);
    gradients::adamw_steps(&device, 1e-5);
    gradients::add_up_over_micro_batches(&device, 1e-4);
}

#[test]
fn every_missing_library_is_named() {
    let Err(error) = CudaDevice::open(0, &CudaOptions::default()) else {
        eprintln!("skipped: this machine has CUDA");
        return;
    };
    if let DeviceError::MissingLibraries { missing, .. } = &error {
        assert!(!missing.is_empty());
        assert!(error.to_string().contains("part of"), "{error}");
    }
}
