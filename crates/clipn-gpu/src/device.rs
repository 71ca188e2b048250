//! What a tower needs of a device.

use std::fmt;

use clipn_model::{Precision, Real};

use crate::error::DeviceError;
use crate::memory::IdleWorkspaces;
use crate::op::{DeviceBuffer, ElementKind, Op};

/// A device that runs towers: memory, and programs of operations.
///
/// Calls may come from several threads. Results do not depend on the position of an image in its batch.
pub trait Device: fmt::Debug + Send + Sync + 'static {
    /// Type of the values that the host writes and reads.
    type Value: Real;
    /// Memory.
    type Buffer: DeviceBuffer;
    /// Prepared operations.
    type Program: Send + Sync;

    /// Returns the name, such as `NVIDIA H100 80GB HBM3`.
    fn name(&self) -> &str;

    /// Returns the precision of [`ElementKind::Compute`].
    fn precision(&self) -> Precision;

    /// Returns whether [`ElementKind::Compute`] has another format than [`ElementKind::Full`].
    fn is_narrow(&self) -> bool {
        self.precision() != Precision::F32
    }

    /// Returns the limits of shapes and memory.
    fn limits(&self) -> DeviceLimits;

    /// Returns the buffers of its towers that no call uses.
    fn idle_workspaces(&self) -> &IdleWorkspaces;

    /// Allocates `len` zeros.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] if the memory is not there, [`DeviceError::Lost`].
    fn allocate(&self, kind: ElementKind, len: usize) -> Result<Self::Buffer, DeviceError>;

    /// Writes the first values of a compute or full buffer, converted to its format.
    ///
    /// # Errors
    /// [`DeviceError`] if there are more values than the buffer has, or the device fails.
    fn write(&self, buffer: &Self::Buffer, values: &[Self::Value]) -> Result<(), DeviceError>;

    /// Writes the first values of an index buffer.
    ///
    /// # Errors
    /// Same as [`Device::write`].
    fn write_indices(&self, buffer: &Self::Buffer, values: &[u32]) -> Result<(), DeviceError>;

    /// Reads the first `len` values of a compute or full buffer, after everything that was run before.
    ///
    /// # Errors
    /// [`DeviceError`] if there are fewer values or the device fails.
    fn read(&self, buffer: &Self::Buffer, len: usize) -> Result<Vec<Self::Value>, DeviceError>;

    /// Checks operations and prepares them to be run any number of times.
    ///
    /// # Errors
    /// [`DeviceError::InvalidOperation`] for operands that do not fit, [`DeviceError::UnsupportedShape`]
    /// for a shape beyond the limits.
    fn prepare(&self, ops: Vec<Op<Self::Buffer>>) -> Result<Self::Program, DeviceError>;

    /// Starts a program after everything that was run before.
    ///
    /// # Errors
    /// [`DeviceError`] if the device fails. A failure may also be reported by the next read.
    fn run(&self, program: &Self::Program) -> Result<(), DeviceError>;
}

/// Limits of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Maximum size of a buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Maximum size of a part of a token table in bytes, at most `max_buffer_bytes`.
    pub max_table_bytes: u64,
    /// Memory left in bytes; `None` if it is not limited.
    pub available_bytes: Option<u64>,
    /// Maximum width of an attention head.
    pub max_head_width: usize,
    /// Preferred number of positions of all sequences per call; fewer leave the device idle.
    pub preferred_rows: usize,
}

/// Allocates the buffers of a program, or counts their bytes.
pub(crate) trait Allocate<B> {
    fn allocate(&mut self, kind: ElementKind, len: usize) -> Result<B, DeviceError>;
}

/// Allocates on a device.
pub(crate) struct OnDevice<'a, D>(pub(crate) &'a D);

impl<D: Device> Allocate<D::Buffer> for OnDevice<'_, D> {
    fn allocate(&mut self, kind: ElementKind, len: usize) -> Result<D::Buffer, DeviceError> {
        self.0.allocate(kind, len)
    }
}

/// A buffer without memory, to plan the memory of a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedBuffer {
    kind: ElementKind,
    len: usize,
}

impl PlannedBuffer {
    pub(crate) fn like(buffer: &impl DeviceBuffer) -> Self {
        Self {
            kind: buffer.kind(),
            len: buffer.len(),
        }
    }
}

impl DeviceBuffer for PlannedBuffer {
    fn kind(&self) -> ElementKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// Memory of a program that is not yet allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    pub(crate) total: u64,
    pub(crate) largest: u64,
}

/// Counts the bytes of buffers.
#[derive(Debug)]
pub(crate) struct Planner {
    precision: Precision,
    pub(crate) plan: MemoryPlan,
}

impl Planner {
    pub(crate) fn new(precision: Precision) -> Self {
        Self {
            precision,
            plan: MemoryPlan::default(),
        }
    }
}

impl Allocate<PlannedBuffer> for Planner {
    fn allocate(&mut self, kind: ElementKind, len: usize) -> Result<PlannedBuffer, DeviceError> {
        let element = match kind {
            ElementKind::Compute => self.precision.bytes(),
            ElementKind::Full | ElementKind::Index => 4,
        };
        let bytes = len as u64 * element as u64;
        self.plan.total += bytes;
        self.plan.largest = self.plan.largest.max(bytes);
        Ok(PlannedBuffer { kind, len })
    }
}

/// Checks a plan against the limits of a device.
///
/// # Errors
/// [`DeviceError::OutOfMemory`] if a buffer or their sum is too large.
pub(crate) fn check_plan<D: Device>(
    device: &D,
    what: &str,
    plan: MemoryPlan,
) -> Result<(), DeviceError> {
    let limits = device.limits();
    let available = limits.available_bytes.unwrap_or(u64::MAX);
    let (needed, available) = if plan.largest > limits.max_buffer_bytes {
        (plan.largest, limits.max_buffer_bytes)
    } else if plan.total > available {
        (plan.total, available)
    } else {
        return Ok(());
    };
    Err(DeviceError::OutOfMemory {
        what: what.to_owned(),
        device: device.name().to_owned(),
        needed: needed.div_ceil(1 << 20),
        available: available >> 20,
    })
}
