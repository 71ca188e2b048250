use std::time::{Duration, Instant};

use crate::device::Device;
use crate::error::DeviceError;
use crate::op::{ElementKind, Gemm, Op, Operand};

/// Side of the smallest and of the largest square matrix.
const SIDES: std::ops::RangeInclusive<usize> = 256..=8192;

/// Duration of a product that is long beside its start.
const LONG: Duration = Duration::from_millis(5);

/// Measures the rate of matrix products on a device, in floating-point operations per second, to which
/// benchmarks relate the speed of a tower. The matrices are square, and as large as keeps the device busy.
///
/// # Errors
/// [`DeviceError`] if the device fails.
///
/// ```
/// use std::time::Duration;
///
/// use clipn_gpu::{HostDevice, peak_gemm_flops};
///
/// let rate = peak_gemm_flops(&HostDevice::<f32>::new(), Duration::ZERO)?;
/// assert!(rate > 0.0);
/// # Ok::<(), clipn_gpu::DeviceError>(())
/// ```
pub fn peak_gemm_flops<D: Device>(device: &D, duration: Duration) -> Result<f64, DeviceError> {
    let max_bytes = device.limits().max_buffer_bytes;
    let fits = |side: usize| side <= *SIDES.end() && 4 * (side as u64).pow(2) <= max_bytes;
    let mut side = *SIDES.start();
    loop {
        let product = Product::new(device, side)?;
        // The first run compiles and warms up.
        product.run(device, 1)?;
        let seconds = product.run(device, 1)?;
        if seconds < LONG.as_secs_f64() && fits(2 * side) {
            side *= 2;
            continue;
        }
        let flops = 2.0 * (side as f64).powi(3);
        let repetitions = (duration.as_secs_f64() / seconds).ceil().clamp(1.0, 1e4);
        let seconds = product.run(device, repetitions as usize)?;
        return Ok(flops * repetitions.floor() / seconds.max(1e-9));
    }
}

/// A product of square matrices.
struct Product<D: Device> {
    out: D::Buffer,
    program: D::Program,
}

impl<D: Device> Product<D> {
    fn new(device: &D, side: usize) -> Result<Self, DeviceError> {
        let operand = |transposed| {
            Ok(Operand {
                buffer: device.allocate(ElementKind::Compute, side * side)?,
                stride: side,
                transposed,
            })
        };
        let out = device.allocate(ElementKind::Compute, side * side)?;
        let gemm = Gemm {
            a: operand(false)?,
            b: operand(true)?,
            bias: None,
            activation: None,
            addend: None,
            out: out.clone(),
            m: side,
            n: side,
            k: side,
            accumulate: false,
        };
        let program = device.prepare(vec![Op::Gemm(gemm)])?;
        Ok(Self { out, program })
    }

    /// Returns the seconds of some runs.
    fn run(&self, device: &D, repetitions: usize) -> Result<f64, DeviceError> {
        let start = Instant::now();
        for _ in 0..repetitions {
            device.run(&self.program)?;
        }
        // Waits for all of them.
        device.read(&self.out, 1)?;
        Ok(start.elapsed().as_secs_f64())
    }
}
