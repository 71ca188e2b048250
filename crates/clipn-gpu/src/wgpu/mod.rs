//! GPUs of every vendor, over `wgpu`: Vulkan, Metal or DirectX 12.

mod adapters;
mod dispatch;
mod errors;
mod kernels;
mod program;
mod transfer;

pub use adapters::{AdapterDescription, AdapterKind, adapters};
pub use program::WgpuProgram;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use clipn_model::Precision;

use crate::device::{Device, DeviceLimits};
use crate::error::DeviceError;
use crate::memory::{IdleWorkspaces, MemoryBudget, Reservation};
use crate::op::{DeviceBuffer, ElementKind, Op};
use crate::wgpu::errors::Failures;
use crate::wgpu::kernels::{Kernel, KernelName};

/// Maximum size of a buffer and of a binding in bytes, which every GPU supports.
const MAX_BUFFER_BYTES: u64 = 128 << 20;

/// Memory that a device may use by default in bytes: GPUs do not report theirs over `wgpu`.
pub const DEFAULT_MEMORY_BYTES: u64 = 4 << 30;

/// Maximum width of an attention head: 16 keys and values fill 16 KiB of workgroup memory.
const MAX_HEAD_WIDTH: usize = 128;

/// Positions that keep a GPU busy.
const PREFERRED_ROWS: usize = 16_384;

/// Maximum number of workgroups in a dimension of a grid.
const MAX_GROUPS: u32 = 65_535;

/// Options of a [`WgpuDevice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WgpuOptions {
    /// Precision of weights and activations: f32 or f16.
    pub precision: Precision,
    /// Memory that the device may use in bytes [default: 4 GiB].
    pub memory_bytes: u64,
}

impl Default for WgpuOptions {
    fn default() -> Self {
        Self {
            precision: Precision::F32,
            memory_bytes: DEFAULT_MEMORY_BYTES,
        }
    }
}

impl WgpuOptions {
    /// Sets the precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Sets the memory that the device may use, in bytes.
    #[must_use]
    pub fn with_memory_bytes(self, memory_bytes: u64) -> Self {
        Self {
            memory_bytes,
            ..self
        }
    }
}

/// A GPU over `wgpu`, which computes in f32, or in f16 with sums in f32.
///
/// It needs no more than every GPU has: buffers of 128 MiB, 16 KiB of workgroup memory, 256 invocations,
/// and no subgroup operations. Sums have a fixed order, so that results have the same bits on every run
/// and at every position of a batch.
///
/// ```no_run
/// use clipn_gpu::{WgpuDevice, WgpuOptions};
///
/// let device = WgpuDevice::open(0, &WgpuOptions::default())?;
/// # Ok::<(), clipn_gpu::DeviceError>(())
/// ```
pub struct WgpuDevice {
    name: String,
    precision: Precision,
    device: wgpu::Device,
    queue: wgpu::Queue,
    failures: Arc<Failures>,
    budget: MemoryBudget,
    idle: IdleWorkspaces,
    kernels: Mutex<HashMap<KernelName, Arc<Kernel>>>,
    /// Fills the bindings that an operation does not use.
    unused: wgpu::Buffer,
}

impl fmt::Debug for WgpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WgpuDevice")
            .field("name", &self.name)
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}

/// Buffer of a [`WgpuDevice`].
#[derive(Debug, Clone)]
pub struct WgpuBuffer {
    kind: ElementKind,
    len: usize,
    /// Size of an element in bytes.
    element: usize,
    buffer: wgpu::Buffer,
    _reservation: Arc<Reservation>,
}

impl DeviceBuffer for WgpuBuffer {
    fn kind(&self) -> ElementKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl WgpuDevice {
    /// Opens the adapter `index` of [`adapters`].
    ///
    /// # Errors
    /// [`DeviceError::NotFound`] if there is no such adapter, [`DeviceError::UnsupportedPrecision`] for a
    /// precision that it lacks, [`DeviceError::Backend`] if the driver fails.
    pub fn open(index: usize, options: &WgpuOptions) -> Result<Self, DeviceError> {
        let adapter = adapters::open(index)?;
        let name = adapter.get_info().name;
        let features = match options.precision {
            Precision::F32 => wgpu::Features::empty(),
            Precision::F16 if adapter.features().contains(wgpu::Features::SHADER_F16) => {
                wgpu::Features::SHADER_F16
            }
            other => {
                return Err(DeviceError::UnsupportedPrecision {
                    device: name,
                    precision: other.as_str(),
                });
            }
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("clipn"),
            required_features: features,
            required_limits: wgpu::Limits::default(),
            ..wgpu::DeviceDescriptor::default()
        };
        let failed = |error: wgpu::RequestDeviceError| DeviceError::Backend {
            device: name.clone(),
            call: "opening the device",
            message: error.to_string(),
        };
        let (device, queue) =
            adapters::block_on(adapter.request_device(&descriptor)).map_err(failed)?;
        let failures = Arc::new(Failures::new(&name));
        failures.listen(&device);
        let unused = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("unused"),
            size: 16,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        Ok(Self {
            name,
            precision: options.precision,
            device,
            queue,
            failures,
            budget: MemoryBudget::new(Some(options.memory_bytes)),
            idle: IdleWorkspaces::default(),
            kernels: Mutex::new(HashMap::new()),
            unused,
        })
    }

    /// Compiles every kernel for heads of `head_width`, which otherwise happens when one is first needed.
    ///
    /// # Errors
    /// [`DeviceError::Backend`] with the compiler's message.
    pub fn compile_all(&self, head_width: usize) -> Result<usize, DeviceError> {
        let names = KernelName::all(head_width);
        for &name in &names {
            self.kernel(name)?;
        }
        Ok(names.len())
    }

    /// Gives the device up, as a driver does after a fault: every later call reports
    /// [`DeviceError::Lost`].
    pub fn destroy(&self) {
        self.device.destroy();
        self.failures.set_lost("it was destroyed".to_owned());
    }

    fn kernel(&self, name: KernelName) -> Result<Arc<Kernel>, DeviceError> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&name) {
            return Ok(Arc::clone(kernel));
        }
        let build = || Kernel::compile(&self.device, name, self.is_narrow());
        let kernel = self
            .failures
            .catch(&self.device, "compiling a kernel", build)?;
        let kernel = Arc::new(kernel);
        kernels.insert(name, Arc::clone(&kernel));
        Ok(kernel)
    }

    /// Size of an element in bytes.
    fn element(&self, kind: ElementKind) -> usize {
        match kind {
            ElementKind::Compute => self.precision.bytes(),
            ElementKind::Full | ElementKind::Index => 4,
        }
    }
}

impl Device for WgpuDevice {
    type Value = f32;
    type Buffer = WgpuBuffer;
    type Program = WgpuProgram;

    fn name(&self) -> &str {
        &self.name
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            max_buffer_bytes: MAX_BUFFER_BYTES,
            max_table_bytes: MAX_BUFFER_BYTES,
            available_bytes: self.budget.available(),
            max_head_width: MAX_HEAD_WIDTH,
            preferred_rows: PREFERRED_ROWS,
        }
    }

    fn idle_workspaces(&self) -> &IdleWorkspaces {
        &self.idle
    }

    fn allocate(&self, kind: ElementKind, len: usize) -> Result<WgpuBuffer, DeviceError> {
        self.failures.check()?;
        let element = self.element(kind);
        // Buffers are written and bound in units of four bytes, and cannot be empty.
        let bytes = (len.max(1) * element).next_multiple_of(4) as u64;
        if bytes > MAX_BUFFER_BYTES {
            return Err(DeviceError::OutOfMemory {
                what: "a buffer".to_owned(),
                device: self.name.clone(),
                needed: bytes.div_ceil(1 << 20),
                available: MAX_BUFFER_BYTES >> 20,
            });
        }
        let reservation = self.budget.reserve(&self.name, bytes)?;
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        };
        let create = || self.device.create_buffer(&descriptor);
        let buffer = self.failures.catch(&self.device, "allocating", create)?;
        Ok(WgpuBuffer {
            kind,
            len,
            element,
            buffer,
            _reservation: Arc::new(reservation),
        })
    }

    fn write(&self, buffer: &WgpuBuffer, values: &[f32]) -> Result<(), DeviceError> {
        self.write_values(buffer, values)
    }

    fn write_indices(&self, buffer: &WgpuBuffer, values: &[u32]) -> Result<(), DeviceError> {
        self.write_bytes(buffer, bytemuck::cast_slice(values), values.len())
    }

    fn read(&self, buffer: &WgpuBuffer, len: usize) -> Result<Vec<f32>, DeviceError> {
        self.read_values(buffer, len)
    }

    fn prepare(&self, ops: Vec<Op<WgpuBuffer>>) -> Result<WgpuProgram, DeviceError> {
        program::prepare(self, &ops)
    }

    fn run(&self, program: &WgpuProgram) -> Result<(), DeviceError> {
        program::run(self, program)
    }
}
