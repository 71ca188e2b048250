//! Image and text towers of CLIP and CLIPN on GPUs, forward and backward.
//!
//! The towers are written once, as lists of operations ([`Op`]) on buffers, and a [`Device`] runs such
//! lists.
//!
//! | device | feature | runs on |
//! |---|---|---|
//! | [`HostDevice`] | | the host, in f32 or f64: plain loops, on which the towers are tested |
#![cfg_attr(
    feature = "gpu",
    doc = "| [`WgpuDevice`] | `gpu` | GPUs over Vulkan, Metal or DirectX 12 |"
)]
#![cfg_attr(
    feature = "cuda",
    doc = "| [`CudaDevice`] | `cuda` | NVIDIA GPUs, with cuBLASLt |"
)]
//!
//! | tower | for |
//! |---|---|
//! | [`DeviceImageTower`] | a ViT; a ResNet runs on the CPU (`clipn_engine`) |
//! | [`DeviceTextTower`] | the "yes" and the "no" text tower |
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use clipn_gpu::{DeviceImageTower, HostDevice};
//! use clipn_model::{ImageBatch, ImageTower};
//!
//! # let weights = clipn_testing::figures::weights("vit_gelu");
//! let device = Arc::new(HostDevice::<f32>::new());
//! let tower = DeviceImageTower::from_weights(device, &weights)?;
//! let side = tower.image_size();
//! let pixels = vec![0.0; 3 * side * side];
//! let features = tower.encode(ImageBatch::new(&pixels, side, side)?)?;
//! assert_eq!(features.dim(), tower.embed_dim());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod error;
mod factory;
mod host;
mod memory;
mod op;
mod peak;
mod tower;
#[cfg(feature = "gpu")]
mod wgpu;

#[cfg(feature = "gpu")]
pub use self::wgpu::{
    AdapterDescription, AdapterKind, DEFAULT_MEMORY_BYTES, WgpuBuffer, WgpuDevice, WgpuOptions,
    WgpuProgram, adapters,
};
#[cfg(feature = "cuda")]
pub use cuda::{
    CudaBuffer, CudaDescription, CudaDevice, CudaOptions, CudaProgram, compile_ptx, cuda_devices,
};
pub use device::{Device, DeviceLimits};
pub use error::DeviceError;
pub use factory::DeviceFactory;
pub use host::{HostBuffer, HostDevice, HostProgram};
pub use memory::IdleWorkspaces;
pub use op::{
    AdamWConstants, AttentionShape, DeviceBuffer, ElementKind, Gemm, LAYER_NORM_EPS, MEAN_PROMPT,
    NO_PROMPT, NormRows, Op, Operand, PatchShape, ROWS_PER_SUM, SCALED_ROW, SQUARES_PER_SUM,
    partial_sums, square_sums,
};
pub use peak::peak_gemm_flops;
pub use tower::{AdamWStep, DeviceImageTower, DeviceTape, DeviceTextTower, ParameterState};

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "gpu"))]
#[doc = include_str!("../README.md")]
struct Readme;
