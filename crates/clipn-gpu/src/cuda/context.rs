//! Connection to a GPU: its context and stream, and memory in it.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use crate::cuda::api::{DevicePointer, Driver, Handle};
use crate::cuda::libraries::{self, NvidiaLibrary};
use crate::error::DeviceError;

// Attributes of a device, `CUdevice_attribute`.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

/// Status of a lack of memory, `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: c_int = 2;

/// Statuses after which a context cannot be used: an illegal address, a launch that timed out or failed,
/// and others that NVIDIA documents as such.
const LOST: [c_int; 7] = [700, 702, 714, 715, 716, 717, 719];

/// An NVIDIA GPU of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaDescription {
    /// Name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Compute capability, such as 90 for 9.0.
    pub capability: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// Returns the NVIDIA GPUs of this machine.
///
/// # Errors
/// [`DeviceError::MissingLibraries`] without a driver, [`DeviceError::Backend`] if it fails.
pub fn cuda_devices() -> Result<Vec<CudaDescription>, DeviceError> {
    let driver = open_driver(None)?;
    (0..count(&driver)?)
        .map(|index| describe(&driver, index))
        .collect()
}

fn open_driver(libraries: Option<&Path>) -> Result<Driver, DeviceError> {
    let [library] = libraries::open_all([NvidiaLibrary::Driver], libraries)?;
    let driver = Driver::load(library)?;
    // SAFETY: the first call of the driver, without conditions.
    check(&driver, "starting the driver", unsafe { (driver.init)(0) })?;
    Ok(driver)
}

fn check(driver: &Driver, call: &'static str, status: c_int) -> Result<(), DeviceError> {
    match status {
        0 => Ok(()),
        _ => Err(DeviceError::Backend {
            device: "CUDA".to_owned(),
            call,
            message: driver.message(status),
        }),
    }
}

fn count(driver: &Driver) -> Result<c_int, DeviceError> {
    let mut count = 0;
    // SAFETY: writes an integer.
    let status = unsafe { (driver.device_count)(&mut count) };
    check(driver, "counting devices", status)?;
    Ok(count)
}

fn describe(driver: &Driver, index: c_int) -> Result<CudaDescription, DeviceError> {
    let mut device = 0;
    let mut name = [0u8; 256];
    let (mut major, mut minor, mut memory) = (0, 0, 0);
    // SAFETY: each call writes a value of the declared type, and at most 255 bytes and a zero of the name.
    let status = unsafe {
        [
            (driver.device)(&mut device, index),
            (driver.device_name)(name.as_mut_ptr().cast::<c_char>(), 255, device),
            (driver.device_attribute)(&mut major, CAPABILITY_MAJOR, device),
            (driver.device_attribute)(&mut minor, CAPABILITY_MINOR, device),
            (driver.device_memory)(&mut memory, device),
        ]
    };
    for status in status {
        check(driver, "describing a device", status)?;
    }
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
    Ok(CudaDescription {
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        capability: (10 * major + minor).unsigned_abs(),
        memory_bytes: memory as u64,
    })
}

/// A context on a GPU, with one stream, on which everything runs in order.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) driver: Driver,
    pub(super) description: CudaDescription,
    device: c_int,
    context: Handle,
    pub(super) stream: Handle,
}

// SAFETY: the driver's functions may be called from any thread; each makes the context current
// before its calls; the handles are never changed.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn open(index: usize, libraries: Option<&Path>) -> Result<Self, DeviceError> {
        let driver = open_driver(libraries)?;
        let count = count(&driver)?;
        let found = c_int::try_from(index).ok().filter(|&index| index < count);
        let Some(index) = found else {
            let reason = match count {
                0 => "the driver reports no GPU".to_owned(),
                _ => format!("the driver reports {count} GPUs"),
            };
            return Err(DeviceError::NotFound {
                requested: format!("cuda:{index}"),
                reason,
            });
        };
        let description = describe(&driver, index)?;
        let (mut device, mut context, mut stream) = (0, ptr::null_mut(), ptr::null_mut());
        // SAFETY: the device exists; each call writes a handle, and the context is current for the stream,
        // which does not wait for the default stream.
        let statuses = unsafe {
            let first = (driver.device)(&mut device, index);
            let second = (driver.retain_context)(&mut context, device);
            let third = (driver.set_context)(context);
            [first, second, third, (driver.create_stream)(&mut stream, 1)]
        };
        for status in statuses {
            check(&driver, "opening a context", status)?;
        }
        Ok(Self {
            driver,
            description,
            device,
            context,
            stream,
        })
    }

    /// Makes the context current, and returns the driver.
    pub(super) fn current(&self) -> Result<&Driver, DeviceError> {
        // SAFETY: the context is retained as long as `self` lives.
        let status = unsafe { (self.driver.set_context)(self.context) };
        self.check("selecting the context", status)?;
        Ok(&self.driver)
    }

    pub(super) fn check(&self, call: &'static str, status: c_int) -> Result<(), DeviceError> {
        match status {
            0 => Ok(()),
            _ if LOST.contains(&status) => Err(DeviceError::Lost {
                device: self.description.name.clone(),
                reason: self.driver.message(status),
            }),
            _ => Err(DeviceError::Backend {
                device: self.description.name.clone(),
                call,
                message: self.driver.message(status),
            }),
        }
    }

    /// Returns free memory in bytes.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let driver = self.current().ok()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two sizes.
        let status = unsafe { (driver.memory_info)(&mut free, &mut total) };
        (status == 0).then_some(free as u64)
    }

    pub(super) fn synchronize(&self) -> Result<(), DeviceError> {
        let driver = self.current()?;
        // SAFETY: the stream exists as long as `self`.
        let status = unsafe { (driver.synchronize)(self.stream) };
        self.check("waiting for the GPU", status)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nothing uses the stream or the context after this; errors of a lost GPU do not matter.
        unsafe {
            (self.driver.set_context)(self.context);
            (self.driver.synchronize)(self.stream);
            (self.driver.destroy_stream)(self.stream);
            (self.driver.release_context)(self.device);
        }
    }
}

/// Memory on a GPU.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) pointer: DevicePointer,
    bytes: usize,
    context: Arc<Context>,
}

impl Memory {
    /// Allocates zeros.
    pub(super) fn zeros(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        let driver = context.current()?;
        let mut pointer = 0;
        // SAFETY: writes an address.
        let status = unsafe { (driver.allocate)(&mut pointer, bytes) };
        if status == OUT_OF_MEMORY {
            return Err(DeviceError::OutOfMemory {
                what: "a buffer".to_owned(),
                device: context.description.name.clone(),
                needed: (bytes as u64).div_ceil(1 << 20),
                available: context.free_bytes().unwrap_or(0) >> 20,
            });
        }
        context.check("allocating", status)?;
        let memory = Self {
            pointer,
            bytes,
            context: Arc::clone(context),
        };
        // SAFETY: the memory has this size.
        let status = unsafe { (driver.set_bytes)(pointer, 0, bytes, context.stream) };
        context.check("clearing memory", status)?;
        Ok(memory)
    }

    /// Copies bytes to the start of the memory, after what runs.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), DeviceError> {
        let driver = self.context.current()?;
        let len = bytes.len().min(self.bytes);
        let source = bytes.as_ptr().cast::<c_void>();
        // SAFETY: both sides have `len` bytes. The copy is from pageable memory, which the driver has read
        // when the call returns.
        let status =
            unsafe { (driver.copy_to_device)(self.pointer, source, len, self.context.stream) };
        self.context.check("writing", status)
    }

    /// Copies bytes from the start of the memory, after what runs.
    pub(super) fn read(&self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let driver = self.context.current()?;
        let len = bytes.len().min(self.bytes);
        let target = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: both sides have `len` bytes, and the target lives until the stream is synchronized.
        let status =
            unsafe { (driver.copy_to_host)(target, self.pointer, len, self.context.stream) };
        let copied = self.context.check("reading", status);
        self.context.synchronize()?;
        copied
    }

    /// Sets the first bytes to zero, after what runs.
    pub(super) fn clear(&self, bytes: usize) -> Result<(), DeviceError> {
        let driver = self.context.current()?;
        let len = bytes.min(self.bytes);
        // SAFETY: the memory has at least this size.
        let status = unsafe { (driver.set_bytes)(self.pointer, 0, len, self.context.stream) };
        self.context.check("clearing memory", status)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Ok(driver) = self.context.current() {
            // SAFETY: the memory is not used after this. What was started before runs to its end first,
            // since the driver waits for it.
            unsafe { (driver.free)(self.pointer) };
        }
    }
}
