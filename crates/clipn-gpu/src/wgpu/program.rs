//! Programs: bind groups and grids that are replayed.

use std::fmt;
use std::sync::Arc;

use crate::device::Device;
use crate::error::DeviceError;
use crate::op::Op;
use crate::wgpu::dispatch::{Dispatch, PARAMETERS, dispatches};
use crate::wgpu::kernels::Kernel;
use crate::wgpu::{MAX_GROUPS, WgpuBuffer, WgpuDevice};

/// Kernels of one submission: drivers abort submissions that take seconds.
const DISPATCHES_PER_SUBMISSION: usize = 24;

/// Prepared operations of a [`WgpuDevice`].
pub struct WgpuProgram {
    steps: Vec<Step>,
}

impl fmt::Debug for WgpuProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WgpuProgram")
            .field("kernels", &self.steps.len())
            .finish_non_exhaustive()
    }
}

struct Step {
    kernel: Arc<Kernel>,
    bindings: wgpu::BindGroup,
    grid: [u32; 3],
}

pub(super) fn prepare(
    device: &WgpuDevice,
    ops: &[Op<WgpuBuffer>],
) -> Result<WgpuProgram, DeviceError> {
    let mut all = Vec::new();
    for op in ops {
        op.check(device.is_narrow())?;
        let own = dispatches(op);
        for dispatch in &own {
            check_grid(dispatch)?;
        }
        // Nothing is done without elements.
        all.extend(own.into_iter().filter(|own| !own.grid.contains(&0)));
    }
    let kernels = all
        .iter()
        .map(|dispatch| device.kernel(dispatch.kernel))
        .collect::<Result<Vec<_>, _>>()?;
    let bind = || bind(device, &all, kernels);
    let steps = device
        .failures
        .catch(&device.device, "preparing a program", bind)?;
    Ok(WgpuProgram { steps })
}

fn check_grid(dispatch: &Dispatch) -> Result<(), DeviceError> {
    match dispatch.grid.iter().find(|&&groups| groups > MAX_GROUPS) {
        Some(&groups) => Err(DeviceError::UnsupportedShape {
            what: "number of workgroups in a dimension",
            max: MAX_GROUPS as usize,
            found: groups as usize,
        }),
        None => Ok(()),
    }
}

/// Creates the bind groups, with the parameters of all kernels in one buffer.
fn bind(device: &WgpuDevice, all: &[Dispatch], kernels: Vec<Arc<Kernel>>) -> Vec<Step> {
    let size = 4 * PARAMETERS;
    let alignment = device.device.limits().min_uniform_buffer_offset_alignment as usize;
    let step = size.next_multiple_of(alignment.max(1));
    let mut bytes = vec![0; step * all.len().max(1)];
    for (dispatch, bytes) in all.iter().zip(bytes.chunks_exact_mut(step)) {
        for (parameter, bytes) in dispatch.parameters.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = parameter.to_le_bytes();
        }
    }
    let parameters = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("parameters"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    device.queue.write_buffer(&parameters, 0, &bytes);
    let step_of = |(index, (dispatch, kernel)): (usize, (&Dispatch, Arc<Kernel>))| {
        let uniform = wgpu::BufferBinding {
            buffer: &parameters,
            offset: (index * step) as u64,
            size: std::num::NonZero::new(size as u64),
        };
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(uniform),
        }];
        for (binding, buffer) in (1..).zip(&dispatch.bindings) {
            let buffer = buffer.as_ref().map_or(&device.unused, |own| &own.buffer);
            entries.push(wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            });
        }
        let bindings = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &kernel.layout,
            entries: &entries,
        });
        Step {
            kernel,
            bindings,
            grid: dispatch.grid,
        }
    };
    all.iter().zip(kernels).enumerate().map(step_of).collect()
}

pub(super) fn run(device: &WgpuDevice, program: &WgpuProgram) -> Result<(), DeviceError> {
    for steps in program.steps.chunks(DISPATCHES_PER_SUBMISSION) {
        let submit = || {
            let mut encoder = device
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for step in steps {
                    pass.set_pipeline(&step.kernel.pipeline);
                    pass.set_bind_group(0, &step.bindings, &[]);
                    pass.dispatch_workgroups(step.grid[0], step.grid[1], step.grid[2]);
                }
            }
            device.queue.submit([encoder.finish()]);
        };
        device
            .failures
            .catch(&device.device, "running a program", submit)?;
    }
    Ok(())
}
