//! NVIDIA GPUs over CUDA: products by cuBLASLt, and own kernels that NVRTC compiles at run time. All
//! libraries are opened at run time; the build needs none.

mod api;
mod context;
mod gemm;
mod libraries;
mod nvrtc;
mod program;

pub use context::{CudaDescription, cuda_devices};
pub use nvrtc::compile_ptx;
pub use program::CudaProgram;

use std::collections::HashMap;
use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use clipn_model::Precision;
use half::{bf16, f16};

use crate::cuda::api::{CublasLt, DevicePointer, Handle, Nvrtc};
use crate::cuda::context::{Context, Memory};
use crate::cuda::gemm::Products;
use crate::cuda::libraries::NvidiaLibrary;
use crate::cuda::nvrtc::Target;
use crate::cuda::program::Module;
use crate::device::{Device, DeviceLimits};
use crate::error::DeviceError;
use crate::host::outside;
use crate::memory::{IdleWorkspaces, MemoryBudget, Reservation};
use crate::op::{DeviceBuffer, ElementKind, Op};

/// Maximum width of an attention head: 32 keys and values fill 32 KiB of shared memory.
const MAX_HEAD_WIDTH: usize = 128;

/// Positions that keep a GPU busy: 256 images of ViT-B/16, 1,024 of ViT-B/32.
const PREFERRED_ROWS: usize = 51_200;

/// Memory that is left to the libraries, in bytes.
const RESERVED_BYTES: u64 = 512 << 20;

/// Lowest compute capability: Ampere, which has bf16.
const MIN_CAPABILITY: u32 = 80;

/// Options of a [`CudaDevice`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Precision of weights and activations.
    pub precision: Precision,
    /// Directory in which NVIDIA's libraries are searched first.
    pub libraries: Option<PathBuf>,
    /// Memory that the device may use in bytes [default: what is free].
    pub memory_bytes: Option<u64>,
}

impl CudaOptions {
    /// Sets the precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Sets the directory in which NVIDIA's libraries are searched first.
    #[must_use]
    pub fn with_libraries(self, directory: impl AsRef<Path>) -> Self {
        Self {
            libraries: Some(directory.as_ref().to_owned()),
            ..self
        }
    }

    /// Sets the memory that the device may use, in bytes.
    #[must_use]
    pub fn with_memory_bytes(self, bytes: u64) -> Self {
        Self {
            memory_bytes: Some(bytes),
            ..self
        }
    }
}

/// An NVIDIA GPU, of compute capability 8.0 or higher, over CUDA.
///
/// ```no_run
/// use clipn_gpu::{CudaDevice, CudaOptions};
/// use clipn_model::Precision;
///
/// let options = CudaOptions::default().with_precision(Precision::Bf16);
/// let device = CudaDevice::open(0, &options)?;
/// # Ok::<(), clipn_gpu::DeviceError>(())
/// ```
pub struct CudaDevice {
    // Freed in this order: the context is shared, and lives as long as its memory.
    modules: Mutex<HashMap<usize, Arc<Module>>>,
    products: Arc<Products>,
    nvrtc: Nvrtc,
    context: Arc<Context>,
    precision: Precision,
    budget: MemoryBudget,
    idle: IdleWorkspaces,
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDevice")
            .field("description", &self.context.description)
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}

/// Buffer of a [`CudaDevice`].
#[derive(Debug, Clone)]
pub struct CudaBuffer {
    kind: ElementKind,
    len: usize,
    /// Size of an element in bytes.
    element: usize,
    memory: Arc<Memory>,
    _reservation: Arc<Reservation>,
}

impl CudaBuffer {
    fn pointer(&self) -> DevicePointer {
        self.memory.pointer
    }
}

impl DeviceBuffer for CudaBuffer {
    fn kind(&self) -> ElementKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl CudaDevice {
    /// Opens the GPU `index` of [`cuda_devices`].
    ///
    /// # Errors
    /// [`DeviceError::MissingLibraries`] with every library that is absent, [`DeviceError::NotFound`] if
    /// there is no such GPU or it is too old, [`DeviceError::UnsupportedPrecision`] for int8,
    /// [`DeviceError::Backend`] if the driver fails.
    pub fn open(index: usize, options: &CudaOptions) -> Result<Self, DeviceError> {
        if options.precision == Precision::Int8 {
            return Err(DeviceError::UnsupportedPrecision {
                device: format!("cuda:{index}"),
                precision: options.precision.as_str(),
            });
        }
        let directory = options.libraries.as_deref();
        // All at once, so that the error names every one that is missing.
        let [_, nvrtc, cublas_lt] = libraries::open_all(NvidiaLibrary::ALL, directory)?;
        let context = Arc::new(Context::open(index, directory)?);
        if context.description.capability < MIN_CAPABILITY {
            return Err(DeviceError::NotFound {
                requested: format!("cuda:{index}"),
                reason: format!(
                    "{} has compute capability {}, expected {MIN_CAPABILITY} or higher",
                    context.description.name, context.description.capability
                ),
            });
        }
        let products = Products::new(CublasLt::load(cublas_lt)?, &context)?;
        Ok(Self {
            modules: Mutex::new(HashMap::new()),
            products: Arc::new(products),
            nvrtc: Nvrtc::load(nvrtc)?,
            budget: MemoryBudget::new(options.memory_bytes),
            idle: IdleWorkspaces::default(),
            precision: options.precision,
            context,
        })
    }

    /// Returns the description of the GPU.
    pub fn description(&self) -> &CudaDescription {
        &self.context.description
    }

    /// Returns a kernel with its module, which is compiled when it is first needed.
    fn function(
        &self,
        head_width: usize,
        name: &CStr,
    ) -> Result<(Handle, Arc<Module>), DeviceError> {
        let module = self.module(head_width)?;
        let driver = self.context.current()?;
        let mut function = ptr::null_mut();
        // SAFETY: the module is loaded; writes a handle.
        let status = unsafe { (driver.function)(&mut function, module.handle, name.as_ptr()) };
        self.context.check("finding a kernel", status)?;
        Ok((function, module))
    }

    fn module(&self, head_width: usize) -> Result<Arc<Module>, DeviceError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&head_width) {
            return Ok(Arc::clone(module));
        }
        let target = Target {
            capability: self.context.description.capability,
            precision: self.precision,
            head_width,
            machine_code: true,
        };
        let mut code = nvrtc::compile(&self.nvrtc, target)?;
        code.push(0);
        let driver = self.context.current()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the code is that of the compiler for this GPU.
        let status = unsafe { (driver.load_module)(&mut handle, code.as_ptr().cast()) };
        self.context.check("loading kernels", status)?;
        let module = Arc::new(Module {
            handle,
            context: Arc::clone(&self.context),
        });
        modules.insert(head_width, Arc::clone(&module));
        Ok(module)
    }
}

impl Device for CudaDevice {
    type Value = f32;
    type Buffer = CudaBuffer;
    type Program = CudaProgram;

    fn name(&self) -> &str {
        &self.context.description.name
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn limits(&self) -> DeviceLimits {
        let free = self.context.free_bytes();
        let free = free.map(|free| free.saturating_sub(RESERVED_BYTES));
        let allowed = self.budget.available();
        DeviceLimits {
            max_buffer_bytes: u64::MAX,
            max_table_bytes: u64::MAX,
            available_bytes: free.into_iter().chain(allowed).min(),
            max_head_width: MAX_HEAD_WIDTH,
            preferred_rows: PREFERRED_ROWS,
        }
    }

    fn idle_workspaces(&self) -> &IdleWorkspaces {
        &self.idle
    }

    fn allocate(&self, kind: ElementKind, len: usize) -> Result<CudaBuffer, DeviceError> {
        let element = match kind {
            ElementKind::Compute => self.precision.bytes(),
            ElementKind::Full | ElementKind::Index => 4,
        };
        let bytes = (len.max(1) * element).next_multiple_of(16);
        let reservation = self.budget.reserve(self.name(), bytes as u64)?;
        Ok(CudaBuffer {
            kind,
            len,
            element,
            memory: Arc::new(Memory::zeros(&self.context, bytes)?),
            _reservation: Arc::new(reservation),
        })
    }

    fn write(&self, buffer: &CudaBuffer, values: &[f32]) -> Result<(), DeviceError> {
        if values.len() > buffer.len {
            return Err(outside("writing", values.len(), buffer.len));
        }
        match (buffer.element, self.precision) {
            (4, _) => buffer.memory.write(bytemuck::cast_slice(values)),
            (_, Precision::F16) => {
                let narrow = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes());
                buffer.memory.write(&narrow.collect::<Vec<u8>>())
            }
            _ => {
                let narrow = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes());
                buffer.memory.write(&narrow.collect::<Vec<u8>>())
            }
        }
    }

    fn write_indices(&self, buffer: &CudaBuffer, values: &[u32]) -> Result<(), DeviceError> {
        if values.len() > buffer.len {
            return Err(outside("writing indices", values.len(), buffer.len));
        }
        buffer.memory.write(bytemuck::cast_slice(values))
    }

    fn read(&self, buffer: &CudaBuffer, len: usize) -> Result<Vec<f32>, DeviceError> {
        if len > buffer.len {
            return Err(outside("reading", len, buffer.len));
        }
        if buffer.element == 4 {
            let mut values = vec![0.0; len];
            buffer.memory.read(bytemuck::cast_slice_mut(&mut values))?;
            return Ok(values);
        }
        let mut bytes = vec![0u8; 2 * len];
        buffer.memory.read(&mut bytes)?;
        let halves = bytes.as_chunks().0.iter();
        Ok(match self.precision {
            Precision::F16 => halves.map(|&h| f16::from_le_bytes(h).to_f32()).collect(),
            _ => halves.map(|&h| bf16::from_le_bytes(h).to_f32()).collect(),
        })
    }

    fn prepare(&self, ops: Vec<Op<CudaBuffer>>) -> Result<CudaProgram, DeviceError> {
        program::prepare(self, &ops)
    }

    fn run(&self, program: &CudaProgram) -> Result<(), DeviceError> {
        program::run(self, program)
    }
}
