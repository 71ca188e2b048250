//! GPUs of this machine.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use clipn_model::Precision;

use crate::error::DeviceError;

/// Kind of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the memory of the CPU.
    Integrated,
    /// A GPU of a virtual machine.
    Virtual,
    /// Software on the CPU, much slower than the towers of `clipn_engine`.
    Cpu,
    /// Unknown.
    Other,
}

impl AdapterKind {
    /// Returns the name, such as `discrete GPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "virtual GPU",
            Self::Cpu => "software on the CPU",
            Self::Other => "unknown kind",
        }
    }
}

/// An adapter of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterDescription {
    /// Name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// Kind.
    pub kind: AdapterKind,
    /// Interface: `vulkan`, `metal` or `dx12`.
    pub interface: String,
    /// Name and version of the driver, if known.
    pub driver: String,
    /// Precisions that it computes in.
    pub precisions: Vec<Precision>,
}

/// Returns the adapters of this machine. GPUs come before software; otherwise, the order is that of the
/// drivers. Without a driver, there are none.
pub fn adapters() -> Vec<AdapterDescription> {
    sorted().iter().map(describe).collect()
}

fn describe(adapter: &wgpu::Adapter) -> AdapterDescription {
    let info = adapter.get_info();
    let mut precisions = vec![Precision::F32];
    if adapter.features().contains(wgpu::Features::SHADER_F16) {
        precisions.push(Precision::F16);
    }
    AdapterDescription {
        kind: kind(info.device_type),
        interface: format!("{:?}", info.backend).to_lowercase(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        name: info.name,
        precisions,
    }
}

fn kind(kind: wgpu::DeviceType) -> AdapterKind {
    match kind {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu => AdapterKind::Cpu,
        wgpu::DeviceType::Other => AdapterKind::Other,
    }
}

/// Returns the adapters, which are searched once: that takes a while, and some drivers print messages.
fn sorted() -> &'static [wgpu::Adapter] {
    static ADAPTERS: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(search)
}

fn search() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = block_on(instance.enumerate_adapters(backends));
    adapters.sort_by_key(|adapter| match kind(adapter.get_info().device_type) {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated | AdapterKind::Virtual => 1,
        AdapterKind::Other => 2,
        AdapterKind::Cpu => 3,
    });
    adapters
}

/// Returns the adapter `index` of [`adapters`].
pub(super) fn open(index: usize) -> Result<wgpu::Adapter, DeviceError> {
    let adapters = sorted();
    if let Some(adapter) = adapters.get(index) {
        return Ok(adapter.clone());
    }
    let names: Vec<String> = adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| format!("gpu:{index} ({})", adapter.get_info().name))
        .collect();
    let reason = match names[..] {
        [] => "no Vulkan, Metal or DirectX 12 driver reports a device".to_owned(),
        _ => format!("there are {}", names.join(", ")),
    };
    Err(DeviceError::NotFound {
        requested: format!("gpu:{index}"),
        reason,
    })
}

/// Runs a future to its end. Those of native `wgpu` are complete when they are made.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}
