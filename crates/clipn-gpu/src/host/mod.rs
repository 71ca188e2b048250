//! The host as a device: plain loops in f32 or f64, on which the logic of the towers is tested.

mod attention;
mod elements;
mod products;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use clipn_model::{Precision, Real};

use crate::device::{Device, DeviceLimits};
use crate::error::DeviceError;
use crate::memory::{IdleWorkspaces, MemoryBudget, Reservation};
use crate::op::{DeviceBuffer, ElementKind, Op};

/// The host as a device, for tests: slow, exact, and without surprises.
///
/// ```
/// use clipn_gpu::{Device, ElementKind, HostDevice};
///
/// let device = HostDevice::<f64>::new();
/// let buffer = device.allocate(ElementKind::Full, 3)?;
/// device.write(&buffer, &[2.0, 3.0])?;
/// assert_eq!(device.read(&buffer, 3)?, [2.0, 3.0, 0.0]);
/// # Ok::<(), clipn_gpu::DeviceError>(())
/// ```
#[derive(Debug)]
pub struct HostDevice<T> {
    max_buffer_bytes: Option<u64>,
    max_table_bytes: Option<u64>,
    budget: MemoryBudget,
    idle: IdleWorkspaces,
    value: std::marker::PhantomData<T>,
}

impl<T: Real> Default for HostDevice<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> HostDevice<T> {
    /// Creates a device.
    pub fn new() -> Self {
        Self {
            max_buffer_bytes: None,
            max_table_bytes: None,
            budget: MemoryBudget::new(None),
            idle: IdleWorkspaces::default(),
            value: std::marker::PhantomData,
        }
    }

    /// Limits the size of a part of a token table, in bytes of f32.
    #[must_use]
    pub fn with_max_table_bytes(self, bytes: u64) -> Self {
        Self {
            max_table_bytes: Some(bytes),
            ..self
        }
    }

    /// Limits the size of a buffer, in bytes of f32.
    #[must_use]
    pub fn with_max_buffer_bytes(self, bytes: u64) -> Self {
        Self {
            max_buffer_bytes: Some(bytes),
            ..self
        }
    }

    /// Limits the memory, in bytes of f32.
    #[must_use]
    pub fn with_available_bytes(self, bytes: u64) -> Self {
        Self {
            budget: MemoryBudget::new(Some(bytes)),
            ..self
        }
    }
}

/// Buffer of a [`HostDevice`].
#[derive(Debug, Clone)]
pub struct HostBuffer<T> {
    kind: ElementKind,
    len: usize,
    values: Arc<RwLock<Vec<T>>>,
    indices: Arc<RwLock<Vec<u32>>>,
    _reservation: Arc<Reservation>,
}

impl<T: Real> HostBuffer<T> {
    fn get(&self) -> RwLockReadGuard<'_, Vec<T>> {
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy, so that an operation may write to the buffer that it reads.
    fn copy(&self) -> Vec<T> {
        self.get().clone()
    }

    fn indices(&self) -> Vec<u32> {
        self.indices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn update<R>(&self, change: impl FnOnce(&mut [T]) -> R) -> R {
        change(&mut self.values.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Real> DeviceBuffer for HostBuffer<T> {
    fn kind(&self) -> ElementKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// Operations of a [`HostDevice`], in order.
#[derive(Debug)]
pub struct HostProgram<T>(Vec<Op<HostBuffer<T>>>);

impl<T: Real> Device for HostDevice<T> {
    type Value = T;
    type Buffer = HostBuffer<T>;
    type Program = HostProgram<T>;

    fn name(&self) -> &str {
        "host"
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            max_buffer_bytes: self.max_buffer_bytes.unwrap_or(u64::MAX),
            max_table_bytes: self.max_table_bytes.unwrap_or(u64::MAX),
            available_bytes: self.budget.available(),
            max_head_width: usize::MAX,
            preferred_rows: 256,
        }
    }

    fn idle_workspaces(&self) -> &IdleWorkspaces {
        &self.idle
    }

    fn allocate(&self, kind: ElementKind, len: usize) -> Result<HostBuffer<T>, DeviceError> {
        let reservation = self.budget.reserve(self.name(), 4 * len as u64)?;
        let (values, indices) = match kind {
            ElementKind::Index => (0, len),
            ElementKind::Compute | ElementKind::Full => (len, 0),
        };
        Ok(HostBuffer {
            kind,
            len,
            values: Arc::new(RwLock::new(vec![T::zero(); values])),
            indices: Arc::new(RwLock::new(vec![0; indices])),
            _reservation: Arc::new(reservation),
        })
    }

    fn write(&self, buffer: &HostBuffer<T>, values: &[T]) -> Result<(), DeviceError> {
        buffer.update(|all| match all.get_mut(..values.len()) {
            Some(target) => {
                target.copy_from_slice(values);
                Ok(())
            }
            None => Err(outside("writing", values.len(), buffer.len)),
        })
    }

    fn write_indices(&self, buffer: &HostBuffer<T>, values: &[u32]) -> Result<(), DeviceError> {
        let mut all = buffer
            .indices
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(..values.len()) {
            Some(target) => {
                target.copy_from_slice(values);
                Ok(())
            }
            None => Err(outside("writing indices", values.len(), buffer.len)),
        }
    }

    fn read(&self, buffer: &HostBuffer<T>, len: usize) -> Result<Vec<T>, DeviceError> {
        match buffer.get().get(..len) {
            Some(values) => Ok(values.to_vec()),
            None => Err(outside("reading", len, buffer.len)),
        }
    }

    fn prepare(&self, ops: Vec<Op<HostBuffer<T>>>) -> Result<HostProgram<T>, DeviceError> {
        for op in &ops {
            op.check(self.is_narrow())?;
        }
        Ok(HostProgram(ops))
    }

    fn run(&self, program: &HostProgram<T>) -> Result<(), DeviceError> {
        for op in &program.0 {
            run(op);
        }
        Ok(())
    }
}

/// Error of an access outside a buffer.
pub(crate) fn outside(operation: &'static str, end: usize, len: usize) -> DeviceError {
    DeviceError::invalid(operation, format!("element {end} of {len}"))
}

fn run<T: Real>(op: &Op<HostBuffer<T>>) {
    match op {
        Op::Gemm(gemm) => products::gemm(gemm),
        Op::LayerNorm { .. }
        | Op::LayerNormStatistics { .. }
        | Op::LayerNormBackward { .. }
        | Op::LayerNormGainGradient { .. } => products::norm(op),
        Op::Attention { .. } | Op::AttentionStatistics { .. } | Op::AttentionBackward { .. } => {
            attention::run(op);
        }
        _ => elements::run(op),
    }
}
