use super::GROUP;
use super::kernel::Int8Kernel;
use super::tiles::PanelJob;

/// Computes a panel with loops over integers: what every other kernel is tested against.
///
/// # Safety
///
/// Nothing else may access the output of the job.
pub(super) unsafe fn run(job: &PanelJob<'_>, kernel: Int8Kernel) {
    let width = kernel.panel_width();
    let is_signed = kernel.zero_point() == 0;
    for (row, &row_scale) in job.a_scales.iter().enumerate() {
        let values = &job.a[row * job.a_stride..][..job.groups * GROUP];
        for column in 0..job.columns {
            let mut sum = job.starts[column];
            for (group, values) in values.chunks_exact(GROUP).enumerate() {
                let weights = &job.panel[(group * width + column) * GROUP..][..GROUP];
                for (&value, &weight) in values.iter().zip(weights) {
                    let value = match is_signed {
                        true => i32::from(value.cast_signed()),
                        false => i32::from(value),
                    };
                    sum += value * i32::from(weight);
                }
            }
            let product = sum as f32 * row_scale * job.scales[column];
            // SAFETY: the caller guarantees exclusive access to the output.
            unsafe { job.finish(row, column, product) };
        }
        // SAFETY: as above.
        unsafe { job.activate(row) };
    }
}
