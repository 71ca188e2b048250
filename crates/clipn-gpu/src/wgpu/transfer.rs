//! Copies between the host and a GPU.

use std::sync::mpsc;
use std::time::Duration;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::DeviceError;
use crate::host::outside;
use crate::op::DeviceBuffer;
use crate::wgpu::{WgpuBuffer, WgpuDevice};

/// Interval in which a wait looks for a lost device.
const WAIT: Duration = Duration::from_millis(200);

impl WgpuDevice {
    pub(super) fn write_values(
        &self,
        buffer: &WgpuBuffer,
        values: &[f32],
    ) -> Result<(), DeviceError> {
        if buffer.element == 4 {
            return self.write_bytes(buffer, bytemuck::cast_slice(values), values.len());
        }
        let mut narrow: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        if !narrow.len().is_multiple_of(2) {
            if values.len() < buffer.len {
                let problem = format!("an odd part of {} values", buffer.len);
                return Err(DeviceError::invalid("writing", problem));
            }
            // The buffer is padded to four bytes.
            narrow.push(f16::ZERO);
        }
        self.write_bytes(
            buffer,
            bytemuck::cast_slice(narrow.reinterpret_cast()),
            values.len(),
        )
    }

    pub(super) fn write_bytes(
        &self,
        buffer: &WgpuBuffer,
        bytes: &[u8],
        len: usize,
    ) -> Result<(), DeviceError> {
        if len > buffer.len() {
            return Err(outside("writing", len, buffer.len()));
        }
        if len == 0 {
            return Ok(());
        }
        let write = || self.queue.write_buffer(&buffer.buffer, 0, bytes);
        self.failures.catch(&self.device, "writing", write)
    }

    pub(super) fn read_values(
        &self,
        buffer: &WgpuBuffer,
        len: usize,
    ) -> Result<Vec<f32>, DeviceError> {
        if len > buffer.len() {
            return Err(outside("reading", len, buffer.len()));
        }
        if len == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.read_bytes(buffer, (len * buffer.element).next_multiple_of(4) as u64)?;
        if buffer.element == 4 {
            let mut values = vec![0.0; len];
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(&bytes);
            return Ok(values);
        }
        let halves = bytes.as_chunks().0.iter();
        Ok(halves
            .take(len)
            .map(|&bytes| f16::from_le_bytes(bytes).to_f32())
            .collect())
    }

    fn read_bytes(&self, buffer: &WgpuBuffer, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        let staging = wgpu::BufferDescriptor {
            label: Some("read"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let (sender, receiver) = mpsc::channel();
        let start = || {
            let staging = self.device.create_buffer(&staging);
            let mut encoder = self
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&buffer.buffer, 0, &staging, 0, bytes);
            self.queue.submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                // The receiver is gone only if the read has already failed.
                let _ = sender.send(result.is_ok());
            });
            staging
        };
        let staging = self.failures.catch(&self.device, "reading", start)?;
        loop {
            if let Ok(is_mapped) = receiver.try_recv() {
                if !is_mapped {
                    self.failures.check()?;
                    return Err(self.failures.backend("reading", "not mapped".to_owned()));
                }
                break;
            }
            let poll = wgpu::PollType::Wait {
                submission_index: None,
                timeout: Some(WAIT),
            };
            match self.device.poll(poll) {
                Ok(_) | Err(wgpu::PollError::Timeout) => self.failures.check()?,
                Err(error) => return Err(self.failures.backend("waiting", error.to_string())),
            }
        }
        let view = staging.get_mapped_range(..);
        let view = view.map_err(|error| self.failures.backend("reading", error.to_string()))?;
        let copy = view.to_vec();
        drop(view);
        staging.unmap();
        self.failures.check()?;
        Ok(copy)
    }
}
